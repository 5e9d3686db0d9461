"""Which SOP classes are images that the loader takes, and what the others are."""

from __future__ import annotations

from imgtheranostics.io.dicom.header import Header

_ROOT = "1.2.840.10008.5.1.4.1.1."

IMAGE_CLASSES: dict[str, str] = {
    _ROOT + "2": "CT",
    _ROOT + "2.1": "CT",
    _ROOT + "2.2": "CT",
    _ROOT + "4": "MR",
    _ROOT + "4.1": "MR",
    _ROOT + "4.4": "MR",
    _ROOT + "128": "PT",
    _ROOT + "128.1": "PT",
    _ROOT + "130": "PT",
    _ROOT + "20": "NM",
    _ROOT + "6.1": "US",
    _ROOT + "3.1": "US",
    _ROOT + "6": "US",
    _ROOT + "3": "US",
    _ROOT + "6.3": "PA",
}
"""SOP class UID to modality."""

ENHANCED_CLASSES = frozenset(_ROOT + tail for tail in ("2.1", "2.2", "4.1", "4.4", "128.1", "130", "6.3"))
"""Classes whose frames are described by functional groups."""

_OTHER = {
    _ROOT + "66.4": "segmentation",
    _ROOT + "66.1": "registration",
    _ROOT + "481.2": "radiotherapy dose",
    _ROOT + "481.3": "radiotherapy structure set",
    _ROOT + "481.5": "radiotherapy plan",
    _ROOT + "7": "secondary capture",
    _ROOT + "30": "parametric map",
    "1.2.840.10008.1.3.10": "media directory",
}


def image_modality(header: Header) -> str | None:
    """Modality of an image that the loader takes, or None for any other object."""
    if header.layout.pixel_offset < 0 or header.layout.float_pixels:
        return None
    return IMAGE_CLASSES.get(header.text("SOPClassUID") or "")


def is_image_without_pixels(header: Header) -> bool:
    """Whether the object is of an image class but ends before its pixel data."""
    return header.layout.pixel_offset < 0 and header.text("SOPClassUID") in IMAGE_CLASSES


def object_name(header: Header) -> str:
    """What an object that is no image series is, in words."""
    uid = header.text("SOPClassUID") or ""
    if uid in _OTHER:
        return _OTHER[uid]
    if uid.startswith(_ROOT + "88."):
        return "structured report"
    if uid.startswith(_ROOT + "7."):
        return "secondary capture"
    return f"object of modality {_short(header.text('Modality'))}"


def _short(text: str | None) -> str:
    return text if text is not None and len(text) <= 16 and text.isalnum() else "unknown"
