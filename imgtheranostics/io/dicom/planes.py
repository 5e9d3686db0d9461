"""The planes of one file, whichever way its object describes them."""

from __future__ import annotations

from imgtheranostics.errors import CorruptInput, ImgTheranosticsError, MissingMetadata
from imgtheranostics.io.dicom.frames import Frame, classic_frame, is_enhanced
from imgtheranostics.io.dicom.header import Header, too_deep


def planes_of(header: Header, modality: str) -> list[Frame]:
    """All planes of a file, in the order of its frames.

    Raises
    ------
    MissingMetadata, CorruptInput
        If the geometry is absent or malformed.
    UnsupportedInput
        If the object describes no volume.
    """
    try:
        return _planes_of(header, modality)
    except ImgTheranosticsError:
        raise
    except RecursionError:
        raise too_deep(header.path) from None
    except Exception as error:  # what pydicom raises on damaged nested values has no common type
        raise CorruptInput(
            "the description of the frames cannot be read",
            where=str(header.path),
            found=type(error).__name__,
        ) from None


def _planes_of(header: Header, modality: str) -> list[Frame]:
    if is_enhanced(header):
        from imgtheranostics.io.dicom.functional import enhanced_frames

        return enhanced_frames(header, modality)
    if modality == "NM":
        from imgtheranostics.io.dicom.gamma_camera import nuclear_frames

        return nuclear_frames(header)
    if modality == "US":
        from imgtheranostics.io.dicom.ultrasound import ultrasound_frames

        return ultrasound_frames(header)
    if modality == "RTDOSE":
        from imgtheranostics.io.dicom.rtdose import dose_frames

        return dose_frames(header)
    frames = header.integer("NumberOfFrames") or 1
    if frames != 1:
        raise MissingMetadata(
            "a multi-frame file of this kind does not say where its frames lie",
            where=header.where("NumberOfFrames"),
            found=f"{frames} frames",
            needed="one frame per file, or an enhanced object",
        )
    if modality == "MR" and "MOSAIC" in header.strings("ImageType"):
        from imgtheranostics.io.dicom.mosaic import mosaic_frames

        return mosaic_frames(header)
    return [classic_frame(header, modality)]
