"""Siemens mosaics: the slices of a volume as tiles of one image, placed by the vendor's CSA header."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import numpy as np

from imgtheranostics.errors import CorruptInput, MissingMetadata, UnsupportedInput
from imgtheranostics.io.dicom.frames import Frame, classic_frame
from imgtheranostics.io.dicom.header import Header

CSA_CREATOR = "SIEMENS CSA HEADER"
MR_CREATOR = "SIEMENS MR HEADER"

_TAG_HEAD = struct.Struct("<64si4siii")
_ITEM_HEAD = struct.Struct("<4i")
_MOST_TAGS = 1024


def mosaic_frames(header: Header) -> list[Frame]:
    """One frame per tile that holds a slice.

    The position that the header gives is that of the mosaic's corner, as if the whole mosaic were one
    slice around the tile's centre; the first slice begins half the difference of the extents further in.
    Slices follow each other along SliceNormalVector of the CSA header, which may oppose the normal of
    rows and columns.

    Raises
    ------
    MissingMetadata
        If the number of slices, their normal or their spacing is not stated.
    CorruptInput
        If the tiles do not fit the image.
    """
    whole = classic_frame(header, "MR")
    csa = read_csa(header)
    count = _slice_count(header, csa)
    side = math.ceil(math.sqrt(count))
    rows, columns = header.required_integer("Rows"), header.required_integer("Columns")
    if rows % side or columns % side or count < 1:
        raise CorruptInput(
            "the tiles do not fit the mosaic",
            where=str(header.path),
            found=f"{count} slices in {rows} x {columns} pixels",
        )
    tile_rows, tile_columns = rows // side, columns // side
    spacing = header.number("SpacingBetweenSlices")
    if spacing is None or spacing <= 0:
        raise MissingMetadata(
            "a mosaic does not say how far its slices lie apart", where=header.where("SpacingBetweenSlices")
        )
    step = _step(header, whole, csa, spacing)
    first = _first_position(whole, rows - tile_rows, columns - tile_columns)
    frames = []
    for number in range(count):
        top, left = divmod(number, side)
        frames.append(
            replace(
                whole,
                position=tuple(float(v) for v in first + number * step),
                tile=(top * tile_rows, left * tile_columns, tile_rows, tile_columns),
                parameters=dict(whole.parameters),
                details=dict(whole.details),
            )
        )
    return frames


def _slice_count(header: Header, csa: dict[str, list[str]]) -> int:
    stated = header.private_number(MR_CREATOR, 0x0019, 0x0A, b"US")
    if stated is None and csa.get("NumberOfImagesInMosaic"):
        stated = _csa_number(csa["NumberOfImagesInMosaic"][0], header)
    if stated is None:
        raise MissingMetadata(
            "a mosaic does not say how many slices it holds",
            where=f"{header.path}: NumberOfImagesInMosaic (0019,xx0A)",
            next_step="export the series with the vendor's private attributes, or as enhanced DICOM",
        )
    if stated != int(stated) or not 1 <= stated <= 4096:
        raise CorruptInput(
            "the number of slices of a mosaic is none", where=f"{header.path}: NumberOfImagesInMosaic"
        )
    return int(stated)


def _step(
    header: Header, whole: Frame, csa: dict[str, list[str]], spacing: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    stated = csa.get("SliceNormalVector", [])
    if len(stated) < 3:
        raise MissingMetadata(
            "a mosaic does not say in which direction its slices follow each other",
            where=f"{header.path}: SliceNormalVector of the CSA header (0029,xx10)",
            next_step="export the series with the vendor's private attributes, or as enhanced DICOM",
        )
    vector = np.array([_csa_number(text, header) for text in stated[:3]])
    cosines = np.array(whole.orientation, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    along = float(vector @ normal)
    if abs(abs(along) - 1.0) > 1e-2:
        raise CorruptInput(
            "the slice normal of the CSA header is not normal to the image",
            where=f"{header.path}: SliceNormalVector of the CSA header (0029,xx10)",
        )
    if csa.get("ProtocolSliceNumber") and _csa_number(csa["ProtocolSliceNumber"][0], header) > 0:
        raise UnsupportedInput(
            "a mosaic with reversed slice numbering is not handled",
            where=f"{header.path}: ProtocolSliceNumber of the CSA header (0029,xx10)",
        )
    return np.asarray(math.copysign(spacing, along) * normal / np.linalg.norm(normal))


def _first_position(
    whole: Frame, row_excess: int, column_excess: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    cosines = np.array(whole.orientation, dtype=np.float64)
    row_spacing, column_spacing = whole.spacing or (1.0, 1.0)
    return np.asarray(
        np.array(whole.position)
        + cosines[:3] * column_spacing * column_excess / 2.0
        + cosines[3:] * row_spacing * row_excess / 2.0
    )


def _csa_number(text: str, header: Header) -> float:
    try:
        return float(text)
    except ValueError:
        raise CorruptInput(
            "a number of the CSA header is none", where=f"{header.path}: CSA header (0029,xx10)"
        ) from None


def read_csa(header: Header) -> dict[str, list[str]]:
    """Names and texts of the CSA image header (version 2); empty when the file has none.

    Raises
    ------
    CorruptInput
        If its lengths contradict its size.
    """
    found = header.private(CSA_CREATOR, 0x0029, 0x10)
    if found is None or not found[1].startswith(b"SV10"):
        return {}
    try:
        return parse_csa(found[1])
    except (struct.error, ValueError):
        raise CorruptInput(
            "the CSA header is damaged", where=f"{header.path}: CSA header (0029,xx10)"
        ) from None


def parse_csa(raw: bytes) -> dict[str, list[str]]:
    """Parse the bytes of a CSA header of version 2; ValueError or struct.error when they are damaged."""
    (n_tags,) = struct.unpack_from("<i", raw, 8)
    if not 0 < n_tags <= _MOST_TAGS:
        raise ValueError("number of tags")
    position = 16
    tags: dict[str, list[str]] = {}
    for _ in range(n_tags):
        name, _vm, _vr, _kind, n_items, _mark = _TAG_HEAD.unpack_from(raw, position)
        position += _TAG_HEAD.size
        texts: list[str] = []
        if not 0 <= n_items <= _MOST_TAGS:
            raise ValueError("number of items")
        for _ in range(n_items):
            length = _ITEM_HEAD.unpack_from(raw, position)[1]
            position += _ITEM_HEAD.size
            if length < 0 or position + length > len(raw):
                raise ValueError("length of an item")
            text = raw[position : position + length].split(b"\0")[0].decode("latin-1").strip()
            if text:
                texts.append(text)
            position += -(-length // 4) * 4
        tags[name.split(b"\0")[0].decode("latin-1")] = texts
    return tags
