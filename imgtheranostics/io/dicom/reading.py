"""The voxels of a planned series: every plane scaled into its place of one array."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.errors import Caution, CorruptInput
from imgtheranostics.io.budget import check_budget
from imgtheranostics.io.dicom.decoding import Decoder
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.grey import to_grey
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.palette import echo_top, without_graphics
from imgtheranostics.io.dicom.pixels import (
    PixelFormat,
    is_padded,
    is_plain,
    pixel_format,
    read_native,
)
from imgtheranostics.io.dicom.plane_scale import Scale
from imgtheranostics.io.dicom.planning import Plan, common_place
from imgtheranostics.io.dicom.series import Series
from imgtheranostics.io.dicom.ultrasound import tissue_window
from imgtheranostics.io.offset_order import check_order
from imgtheranostics.io.pseudonym import pseudonym
from imgtheranostics.io.untagged_fill import fill_cautions
from imgtheranostics.volume import Source, Volume, make_step

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]

_PARALLEL_FROM = 32


@dataclass(slots=True)
class _Tally:
    """What the reading of pixels finds out on its way."""

    padding: int = 0
    unmapped: int = 0
    padded_files: int = 0
    coloured: bool = False
    graphics: int = 0
    mapped: bool = False
    names: list[str] = field(default_factory=list)


def read(planned: Plan) -> Volume:
    """Read the voxels of a planned series.

    Raises
    ------
    CorruptInput
        If pixel bytes contradict the headers.
    UnsupportedInput
        If the volume exceeds the memory budget.
    """
    frames = planned.series.frames
    n_slices, n_samples = planned.order.shape
    rows, columns = frames[0].rows, frames[0].columns
    headers = list(dict.fromkeys(frame.header for frame in frames))
    formats = {header: pixel_format(header) for header in headers}
    _check_frames_exist(frames, formats)
    check_budget(4 * rows * columns * n_slices * n_samples, where=common_place(planned.series.files))
    voxels = np.empty((n_samples, n_slices, rows, columns), dtype=np.float32)
    places = np.empty((len(frames), 2), dtype=np.intp)
    slices, samples = np.indices(planned.order.shape)
    places[planned.order.ravel()] = np.stack([samples.ravel(), slices.ravel()], axis=1)
    by_header: dict[Header, list[int]] = {}
    for number, frame in enumerate(frames):
        by_header.setdefault(frame.header, []).append(number)
    job = _Job(planned, formats, voxels, places)
    tally = _Tally()
    for part in job.run(by_header):
        tally.padding += part.padding
        tally.unmapped += part.unmapped
        tally.padded_files += part.padded_files
        tally.coloured |= part.coloured
        tally.graphics += part.graphics
        tally.mapped |= part.mapped
    return _volume(planned, voxels, tally, formats)


def _check_frames_exist(frames: Sequence[Frame], formats: dict[Header, PixelFormat]) -> None:
    for frame in frames:
        if frame.index >= formats[frame.header].frames:
            raise CorruptInput(
                "the header describes more frames than it counts",
                where=frame.header.where("NumberOfFrames"),
                found=str(formats[frame.header].frames),
            )


class _Job:
    """Reads files into their places of one array."""

    def __init__(
        self,
        planned: Plan,
        formats: dict[Header, PixelFormat],
        voxels: npt.NDArray[np.float32],
        places: npt.NDArray[np.intp],
    ) -> None:
        self.planned = planned
        self.formats = formats
        self.voxels = voxels
        self.places = places

    def run(self, by_header: dict[Header, list[int]]) -> Iterator[_Tally]:
        """Read every file; those that need a decoder one after the other, the rest in parallel."""
        plain = {h: n for h, n in by_header.items() if is_plain(h, self.formats[h])}
        chunks = _chunks(list(plain.items()))
        if len(plain) >= _PARALLEL_FROM:
            with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
                yield from pool.map(self._read_plain, chunks)
        else:
            yield from map(self._read_plain, chunks)
        rest = [(h, n) for h, n in by_header.items() if h not in plain]
        if rest:
            yield self._read_decoded(rest)

    def _read_plain(self, files: list[tuple[Header, list[int]]]) -> _Tally:
        tally = _Tally()
        scratch = np.empty(self.voxels.shape[2:], dtype=np.float64)
        for header, numbers in files:
            found = self.formats[header]
            tally.padded_files += is_padded(header, found)
            by_index: dict[int, list[int]] = {}
            for number in numbers:
                by_index.setdefault(self.planned.series.frames[number].index, []).append(number)
            for index, members in by_index.items():
                raw = read_native(header, found, index, 1)[0]
                for number in members:
                    self._place(number, raw, scratch, tally)
        return tally

    def _read_decoded(self, files: list[tuple[Header, list[int]]]) -> _Tally:
        tally = _Tally()
        scratch = np.empty(self.voxels.shape[2:], dtype=np.float64)
        with Decoder() as decoder:
            for header, numbers in files:
                found = self.formats[header]
                check_budget(found.frame_pixels * found.samples * found.frames * 4, where=header.path)
                top = echo_top(header) if found.photometric == "PALETTE COLOR" else None
                decoded = decoder.decode(header, found, indices=top is not None)
                window = tissue_window(header) if self.planned.series.modality == "US" else None
                for number in numbers:
                    raw = decoded[self.planned.series.frames[number].index]
                    if raw.ndim == 3:
                        grey = to_grey(raw, window)
                        tally.coloured |= grey.coloured
                        tally.graphics += grey.graphics
                        tally.mapped |= grey.mapped
                        raw = grey.levels
                    elif top is not None:
                        raw = without_graphics(raw, top)
                        tally.graphics += int(np.count_nonzero(np.isnan(raw)))
                    self._place(number, raw, scratch, tally)
        return tally

    def _place(self, number: int, raw: Array, scratch: FloatArray, tally: _Tally) -> None:
        frame = self.planned.series.frames[number]
        if frame.tile is not None:
            top, left, rows, columns = frame.tile
            raw = raw[top : top + rows, left : left + columns]
        sample, place = self.places[number]
        scale = self.planned.scaling.scales[number]
        out = self.voxels[sample, place]
        try:
            apply_scale(raw, scale, self.planned.scaling.factor, out, scratch)
        except FloatingPointError:
            raise CorruptInput(
                "scaled values exceed the range of float32", where=str(frame.header.path)
            ) from None
        tally.padding += _mask_padding(raw, frame.header, self.formats[frame.header], out)
        if scale.mapped is not None:
            outside = (raw < scale.mapped[0]) | (raw > scale.mapped[1])
            tally.unmapped += int(np.count_nonzero(outside))
            out[outside] = np.nan


def _chunks(items: list[tuple[Header, list[int]]]) -> list[list[tuple[Header, list[int]]]]:
    size = max(1, min(64, -(-len(items) // 4)))
    return [items[n : n + size] for n in range(0, len(items), size)]


def apply_scale(
    raw: Array, scale: Scale, factor: float, out: npt.NDArray[np.float32], scratch: FloatArray
) -> None:
    """``(raw * slope + intercept) * factor`` in float64, stored in float32."""
    with np.errstate(over="raise"):
        if scale.slope == 1.0 and scale.intercept == 0.0 and factor == 1.0:
            out[...] = raw
            return
        np.multiply(raw, scale.slope, out=scratch, dtype=np.float64)
        if scale.intercept != 0.0:
            scratch += scale.intercept
        if factor != 1.0:
            scratch *= factor
        out[...] = scratch


def _mask_padding(raw: Array, header: Header, found: PixelFormat, out: npt.NDArray[np.float32]) -> int:
    bounds = padding_bounds(header, found)
    if bounds is None:
        return 0
    padded = (raw >= bounds[0]) & (raw <= bounds[1])
    count = int(np.count_nonzero(padded))
    if count:
        out[padded] = np.nan
    return count


def padding_bounds(header: Header, found: PixelFormat) -> tuple[int, int] | None:
    """Stored values that are padding, read with the sign of PixelRepresentation; None without the tag."""
    if not header.has("PixelPaddingValue") and "PixelPaddingValue" not in header.elements:
        return None
    value = _stored_value(header, "PixelPaddingValue", found)
    if value is None:
        return None
    limit = _stored_value(header, "PixelPaddingRangeLimit", found)
    other = value if limit is None else limit
    return min(value, other), max(value, other)


def _stored_value(header: Header, keyword: str, found: PixelFormat) -> int | None:
    element = header.elements.get(keyword)
    if element is None or len(element[1]) != 2:
        return None
    order = "big" if header.big_endian else "little"
    return int.from_bytes(element[1], order, signed=found.signed)  # type: ignore[arg-type]


def _largest_storable(planned: Plan, formats: dict[Header, PixelFormat]) -> float:
    """Largest value that the stored type of every plane can hold, after scaling."""
    tops = set()
    for frame, scale in zip(planned.series.frames, planned.scaling.scales, strict=True):
        found = formats[frame.header]
        levels = 1 << found.bits_stored
        low = -levels // 2 if found.signed else 0
        ends = scale.mapped or (low, low + levels - 1)
        tops.add(max(end * scale.slope + scale.intercept for end in ends) * planned.scaling.factor)
    return min(tops)


def _volume(
    planned: Plan, voxels: npt.NDArray[np.float32], tally: _Tally, formats: dict[Header, PixelFormat]
) -> Volume:
    n_samples, n_slices, rows, columns = voxels.shape
    lengths = [len(axis) for axis in planned.axes]
    data = voxels.reshape(n_samples * n_slices * rows * columns).reshape(
        (columns, rows, n_slices, *lengths), order="F"
    )
    cautions = [*planned.cautions, *_pixel_cautions(planned, data, tally)]
    acquisition = planned.acquisition
    if isinstance(acquisition, CtAcquisition):
        acquisition = replace(
            acquisition, padding_voxels=tally.padding, largest_storable=_largest_storable(planned, formats)
        )
    steps = [make_step("load_dicom", files=len(planned.series.files), modality=planned.series.modality)]
    steps.append(make_step("scale", **planned.scaling.parameters()))
    if tally.padding:
        steps.append(make_step("padding_to_nan", voxels=tally.padding))
    volume = Volume(
        data=data,
        affine=planned.affine,
        quantity=planned.quantity,
        unit=planned.unit,
        axes=planned.axes,
        acquisition=acquisition,
        history=(*steps, *planned.history),
        warnings=tuple(dict.fromkeys(cautions)),
        source=_source(planned.series),
    )
    return volume.with_warnings(*check_order(volume))


def _pixel_cautions(planned: Plan, data: Array, tally: _Tally) -> list[Caution]:
    cautions = []
    if tally.padding:
        cautions.append(
            Caution(
                "padding-to-nan",
                f"{tally.padding} voxels hold the padding value and are not a number here",
                "PixelPaddingValue (0028,0120)",
            )
        )
    if tally.unmapped:
        cautions.append(
            Caution(
                "outside-real-world-mapping",
                f"{tally.unmapped} voxels lie outside the range of the real-world value mapping",
                "RealWorldValueMappingSequence (0040,9096)",
            )
        )
    if tally.padded_files:
        cautions.append(
            Caution(
                "trailing-pixel-bytes",
                f"{tally.padded_files} files have unused bytes after their last frame",
                "PixelData (7FE0,0010)",
            )
        )
    if tally.coloured:
        cautions.append(
            Caution(
                "colour-overlay",
                "colour channels differ: the image holds a colour overlay or map, not grey levels alone",
                "PhotometricInterpretation (0028,0004)",
            )
        )
    if tally.mapped:
        cautions.append(
            Caution(
                "colour-map",
                "the image is drawn with a colour map that cannot be undone: its levels are luminance, not "
                "on the scale of the log compression",
                "PhotometricInterpretation (0028,0004)",
            )
        )
    if tally.graphics:
        cautions.append(
            Caution(
                "graphics-to-nan",
                f"{tally.graphics} pixels are graphics or text in colour, no echo, and not a number here",
                "PhotometricInterpretation (0028,0004)",
            )
        )
    if planned.quantity == "attenuation":
        cautions += fill_cautions(data, "PixelPaddingValue (0028,0120)")
    return cautions


def _source(series: Series) -> Source:
    header = series.header
    kept = {
        keyword: text
        for keyword in (
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "StudyDate",
            "StudyInstanceUID",
            "FrameOfReferenceUID",
            "SeriesDate",
            "SeriesDescription",
        )
        if (text := header.text(keyword))
    }
    if series.uid:
        kept["SeriesInstanceUID"] = series.uid
    return Source(
        files=tuple(series.files), subject=pseudonym(header.text("PatientID") or ""), identifiers=kept
    )
