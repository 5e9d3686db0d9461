"""Raw signals of an iThera scan: ``.bin`` beside its ``.msot``, with the impulse response in ``.irf``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imgtheranostics.acquisition import Subject
from imgtheranostics.errors import Caution, CorruptInput, NothingUsable
from imgtheranostics.io.budget import check_budget
from imgtheranostics.io.git_lfs import is_lfs_pointer_file, refuse_lfs_pointer
from imgtheranostics.io.ithera.description import Description, read_description, response_in
from imgtheranostics.io.ithera.frames import grid_of_frames, relative_seconds
from imgtheranostics.optoacoustic_signals import OptoacousticSignals, SignalArray
from imgtheranostics.volume import FloatArray, Source, make_step

_STORED = np.dtype("<u2")
_FULL_SCALE = 65535
MANUFACTURER = "iThera Medical"


def load_ithera(path: Path, *, drop_incomplete: bool = False) -> OptoacousticSignals:
    """The raw signals that a ``.msot`` file describes.

    Parameters
    ----------
    path : Path
    drop_incomplete : bool
        Leave out the last repetition of a scan that was broken off.

    Raises
    ------
    NothingUsable
        If there is no ``.bin`` beside it.
    CorruptInput
        If its size is not that of the frames, wavelengths, detectors and samples.
    """
    description = read_description(path)
    wavelengths, index = grid_of_frames(description.frames, path, drop_incomplete=drop_incomplete)
    data = beside(path, ".bin")
    if data is None:
        raise NothingUsable(
            "the description has no signals beside it", where=str(path), needed="a .bin file of its name"
        )
    samples, cautions = _samples(data, description, index)
    response = _impulse_response(path, description)
    if beside(path, ".img") is not None:
        text = "the .img beside it holds how the vendor's software showed the scan, and is not read"
        cautions = (*cautions, Caution("img-not-read", text, ".img"))
    if description.speed_of_sound_offset_m_s is not None:
        text = (
            f"the file states an offset of {description.speed_of_sound_offset_m_s:g} m/s from the couplant's "
            "speed of sound, but no speed"
        )
        cautions = (*cautions, Caution("speed-of-sound-unknown", text, "TrimSpeedOfSound"))
    frames = description.frames
    if index.size < len(frames):
        text = f"{len(frames) - index.size} images of a last repetition without all wavelengths are left out"
        cautions = (*cautions, Caution("incomplete-frame-dropped", text, "ScanFrames"))
    order = list(dict.fromkeys(frame.wavelength_nm for frame in frames))
    seconds = relative_seconds(description.frames)
    stage = _each([frame.stage_mm for frame in frames], index)
    files = tuple(one for one in (path, data, beside(path, ".irf")) if one is not None)
    return OptoacousticSignals(
        samples=samples,
        wavelength_nm=wavelengths,
        sampling_rate_hz=description.sampling_rate_hz,
        detector_positions_mm=description.detector_positions_mm,
        laser_energy_mj=_each([frame.energy_mj for frame in frames], index),
        energy_corrected=description.energy_corrected,
        speed_of_sound_offset_m_s=description.speed_of_sound_offset_m_s,
        first_sample_s=description.first_sample_s,
        temperature_cel=_each([frame.temperature_cel for frame in frames], index),
        couplant=description.couplant,
        couplant_coefficient=_coefficient(description, wavelengths),
        couplant_path_mm=description.couplant_path_mm,
        impulse_response=response,
        frame_time_s=None if seconds is None else seconds[index],
        stage_position_mm=None if stage is None else stage.mean(axis=1),
        subject=Subject(species=description.species),
        manufacturer=MANUFACTURER,
        software_version=description.software_version,
        history=(
            make_step(
                "load",
                format="iThera .msot",
                data_model=description.data_model,
                stored_type="uint16",
                wavelength_order_nm=order,
            ),
        ),
        warnings=(*description.cautions, *cautions),
        source=Source(files, identifiers={"path": str(path)}),
    )


def beside(path: Path, suffix: str) -> Path | None:
    """The file of the same name with another suffix, in either case of letters."""
    for ending in (suffix, suffix.upper()):
        candidate = path.with_suffix(ending)
        if candidate.is_file():
            return candidate
    return None


def _samples(
    data: Path, description: Description, index: np.ndarray
) -> tuple[SignalArray, tuple[Caution, ...]]:
    if is_lfs_pointer_file(data):
        raise refuse_lfs_pointer(data)
    detectors, length = len(description.detector_positions_mm), description.n_samples
    n_stored = len(description.frames) * detectors * length
    size = data.stat().st_size
    if length == 0 or size != n_stored * _STORED.itemsize:
        raise CorruptInput(
            "the size of the signals is not that of the scan",
            where=str(data),
            found=f"{size} bytes",
            needed=f"{n_stored * _STORED.itemsize} bytes: {len(description.frames)} frames x wavelengths, "
            f"each {detectors} detectors x {length} samples x {_STORED.itemsize}",
            next_step="copy the scan again: it may be cut off, or belong to another description",
        )
    check_budget(n_stored * (_STORED.itemsize + 4), where=data, what="the signals")
    stored = np.fromfile(data, _STORED, count=n_stored).reshape(-1, detectors, length)
    samples = np.empty((*index.shape, detectors, length), dtype=np.float32)
    at_limits = 0
    for place in np.ndindex(index.shape):
        frame = stored[index[place]]
        samples[place] = frame
        at_limits += int(np.count_nonzero((frame == 0) | (frame == _FULL_SCALE)))
    if not at_limits:
        return samples, ()
    text = f"{at_limits} samples are at the limits of the converter, 0 or {_FULL_SCALE}: they may be cut off"
    return samples, (Caution("samples-at-limits", text, data.suffix),)


def _impulse_response(path: Path, description: Description) -> FloatArray | None:
    file = beside(path, ".irf")
    if file is None:
        inside = response_in(description.root, description.n_samples)
        return inside if inside is None or np.isfinite(inside).all() else None
    size, needed = file.stat().st_size, description.n_samples * 8
    if size != needed:
        raise CorruptInput(
            "the impulse response does not have one value per sample",
            where=str(file),
            found=f"{size} bytes",
            needed=f"{needed} bytes: {description.n_samples} numbers of 8 bytes",
        )
    response = np.fromfile(file, "<f8")
    if not np.isfinite(response).all():
        raise CorruptInput("the impulse response holds numbers that are not finite", where=str(file))
    return response


def _each(values: list[float | None], index: np.ndarray) -> FloatArray | None:
    """Values in the order of the file as (frames, wavelengths); None where no frame has one."""
    if all(value is None for value in values):
        return None
    listed: FloatArray = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    sorted_in: FloatArray = listed[index]
    return sorted_in


def _coefficient(description: Description, wavelengths: FloatArray) -> FloatArray | None:
    """Coefficients by wavelength, where the list of the file has one for each."""
    values = description.couplant_coefficients
    ordered = list(dict.fromkeys(frame.wavelength_nm for frame in description.frames))
    if not values or len(values) != len(ordered):
        return None
    by_wavelength = dict(zip(ordered, values, strict=True))
    return np.array([by_wavelength[float(one)] for one in wavelengths])
