"""Saturation offsets of MR series in DICOM: those that Siemens protocols list; else what would be needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import Caution, CorruptInput
from imgtheranostics.io.dicom.frames import Frame, is_enhanced
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.mosaic import CSA_CREATOR
from imgtheranostics.io.dicom.samples import Arrangement
from imgtheranostics.io.saturation_offsets import Placed, SaturationOffsets, place
from imgtheranostics.volume import Axis

_XA_CREATOR = "SIEMENS MR SDS 01"
_PROTOCOLS = ((0x0029, CSA_CREATOR, 0x20), (0x0021, _XA_CREATOR, 0x19))
"""Where the protocol text stands: the CSA series header, and its successor of XA in interoperability mode."""

_MOST_BYTES = 16 * 2**20
_BEGIN, _END = b"### ASCCONV BEGIN", b"### ASCCONV END ###"
_FREE_TEXT = re.compile(r"^[ \t]*s[Ww]i[Pp]MemBlock\.tFree[ \t]*=[ \t]*\"+([^\"\n]*)\"", re.MULTILINE)
_FREQUENCY = re.compile(
    r"^[ \t]*sTXSPEC\.asNucleusInfo\[0\]\.lFrequency[ \t]*=[ \t]*(\d{6,12})[ \t\r]*$", re.MULTILINE
)
_LIST = re.compile(r"(?<![A-Za-z])l:([-+0-9.eE|,;\s]*)(?:d:|END|$)")
_CEST_WORDS = re.compile(r"cest|wassr|wasabi|z-?spec|(?<![a-z])apt(?![a-z]{2})", re.IGNORECASE)
_HINT = "give them as a list or file (with_offsets, --offsets FILE)"


def place_offsets(frames: Sequence[Frame], arrangement: Arrangement, record: MrAcquisition) -> Placed | None:
    """The axis of saturation offsets of a series of volumes that follow each other in time, or None.

    The order of the volumes is that of acquisition, by number or clock, never that of files.

    Raises
    ------
    ImgTheranosticsError
        If the list of a protocol contradicts itself.
    """
    axes = arrangement.axes
    if len(axes) != 1 or axes[0].name not in ("time", "component") or len(axes[0]) < 2:
        return None
    header = frames[0].header
    maker = (header.text("Manufacturer") or "").lower()
    if maker.startswith("siemens"):
        found = siemens_offsets(header, record.imaging_frequency_mhz)
        if found is not None and len(found) == len(axes[0]):
            return place(found, len(found))
        if found is not None:
            return _without(axes, _differs(len(found), len(axes[0])))
    if not any(_CEST_WORDS.search(header.text(k) or "") for k in ("SeriesDescription", "SequenceName")):
        return None
    return _without(axes, _missing(header, maker))


def with_saturation(record: MrAcquisition, placed: Placed) -> MrAcquisition:
    """The record with what is known of the saturation."""
    return replace(record, saturation=dict(record.saturation) | placed.record) if placed.record else record


def siemens_offsets(header: Header, imaging_frequency_mhz: float | None) -> SaturationOffsets | None:
    """The list of offsets in Hz that a work-in-progress sequence keeps in the free text of its protocol.

    It stands between ``l:`` and ``d:`` of ``sWipMemBlock.tFree``; the frequency is that of the protocol, else
    that of the image.

    Raises
    ------
    CorruptInput
        If the header cannot be read.
    """
    for text in _protocols(header):
        free = _FREE_TEXT.search(text)
        listed = _LIST.search(free[1]) if free else None
        if listed is None:
            continue
        values = _numbers(listed[1])
        if not values or not any(values):
            continue
        stated = _FREQUENCY.search(text)
        caution = Caution(
            "offset-sign-assumed",
            "the protocol lists offsets in Hz without their sign: taken as downfield positive",
            "sWipMemBlock.tFree",
        )
        return SaturationOffsets(
            tuple(values),
            "Hz",
            "downfield_positive",
            imaging_frequency_mhz=int(stated[1]) / 1e6 if stated else imaging_frequency_mhz,
            source="siemens_wip",
            where=f"{header.path}: sWipMemBlock.tFree",
            cautions=(caution,),
        )
    return None


def _protocols(header: Header) -> list[str]:
    found = []
    for group, creator, element in _PROTOCOLS:
        try:
            raw = header.dataset.private_block(group, creator)[element].value
        except KeyError:
            continue
        except Exception as error:
            raise CorruptInput(
                "a private attribute cannot be read",
                where=f"{header.path}: ({group:04X},xx{element:02X})",
                found=type(error).__name__,
            ) from None
        raw = raw.encode("latin-1", "replace") if isinstance(raw, str) else raw
        if not isinstance(raw, bytes) or len(raw) > _MOST_BYTES:
            continue
        begin = raw.find(_BEGIN)
        end = raw.find(_END, begin + 1)
        if 0 <= begin < end:
            found.append(raw[begin:end].decode("latin-1"))
    return found


def _numbers(text: str) -> list[float]:
    """Numbers between bars, commas or blanks; empty where one of them is none."""
    words = [word for word in re.split(r"[|,;\s]+", text) if word]
    try:
        values = [float(word) for word in words]
    except ValueError:
        return []
    return values if all(abs(value) < 1e9 for value in values) else []


def _without(axes: tuple[Axis, ...], reason: str) -> Placed:
    return Placed(axes, {}, (), (Caution("offsets-missing", f"{reason}; {_HINT}", "saturation offsets"),))


def _differs(n_listed: int, n_volumes: int) -> str:
    return f"the protocol lists {n_listed} saturation offsets for {n_volumes} volumes: they are not placed"


def _missing(header: Header, maker: str) -> str:
    """Why a series that is CEST by its name has no offsets."""
    if maker.startswith("siemens") and is_enhanced(header):
        return (
            "enhanced images of Siemens XA hold the protocol with the saturation offsets only when they are "
            "exported in interoperability mode"
        )
    if maker.startswith("siemens"):
        return "the protocol of the series holds no list of saturation offsets"
    if maker.startswith("ge"):
        return (
            "images of GE state no saturation offset: (0018,9022) is Blood Signal Nulling by the standard "
            "and is not taken for one"
        )
    if maker.startswith("philips"):
        return "no attribute of Philips is known to hold saturation offsets"
    return "the images state no saturation offsets"
