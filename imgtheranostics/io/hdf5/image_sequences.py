"""Reconstructions and raw signals in the common HDF5 layout whose arrays begin with frame and wavelength.

Reconstructions are (frame, wavelength, z, y, x) below ``recons``, raw signals (frame, wavelength, detector,
sample) in ``raw_data``; lengths are in m, places of the stage in mm, time stamps in 100 ns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import PhotoacousticAcquisition
from imgtheranostics.errors import Caution, CorruptInput, MissingMetadata
from imgtheranostics.io.frame_stack import FrameStack
from imgtheranostics.io.hdf5.safe_file import SafeFile
from imgtheranostics.io.ithera.frames import moment_of
from imgtheranostics.io.wavelength_units import check_count, checked_nm, in_nm, repeated
from imgtheranostics.optoacoustic_signals import OptoacousticSignals
from imgtheranostics.volume import FloatArray, Source, make_step

RAW = "raw_data"
_IMAGES = "recons"
_WAVELENGTHS = "wavelengths"
_FIELDS = tuple(f"RECONSTRUCTION_FIELD_OF_VIEW_{axis}" for axis in "XYZ")
_SQUARE_FIELD = "RECON_FOV"
_WAVELENGTH_KEYS = ("wavelengths", "WAVELENGTHS")
_TICK_S = 1e-7
_THICKEST_SLICE_M = 5e-3
_DEEPEST = 3


def reconstruction_names(file: SafeFile) -> list[str]:
    """Paths of the reconstructions in a file, sorted."""
    found: list[str] = []
    waiting = [(_IMAGES, 0)]
    while waiting:
        name, depth = waiting.pop()
        shape = file.shape(name)
        if shape is not None and len(shape) == 5:
            found.append(name)
        elif depth < _DEEPEST:
            waiting += [(f"{name}/{one}", depth + 1) for one in file.names(name)]
    return sorted(found)


def has_raw_signals(file: SafeFile) -> bool:
    """Whether the file holds raw signals in this layout."""
    shape = file.shape(RAW)
    return shape is not None and len(shape) == 4


def reconstruction(file: SafeFile, index: int, wavelength_nm: Sequence[float] | None = None) -> FrameStack:
    """One reconstruction of a file, without reading an image.

    Parameters
    ----------
    file : SafeFile
    index : int
        Place in the list of `reconstruction_names`.
    wavelength_nm : sequence of float, optional
        Overrules those of the file, one per image along the second axis.

    Raises
    ------
    MissingMetadata
        If wavelengths or field of view are not stated.
    CorruptInput, UnitMismatch
        If there is not one wavelength per image, or they can be neither nm nor m.
    """
    name = reconstruction_names(file)[index]
    shape = file.shape(name) or ()
    if 0 in shape:
        raise CorruptInput("a reconstruction is empty", where=file.where(name))
    n_frames, n_wavelengths, nz, ny, nx = shape
    stated, cautions = _wavelengths(file, name, n_wavelengths, wavelength_nm)
    order = np.argsort(stated, kind="stable")
    speed = file.attribute(name, "speedofsound")
    wavelengths = stated[order]
    return FrameStack(
        where=file.path,
        read=_Images(file.path, name, order).read,
        n_frames=n_frames,
        wavelength_nm=wavelengths,
        pixels=(nx, ny, nz),
        spacing_mm=_spacing(file, name, (nx, ny, nz)),
        stage_mm=_per_frame(file, "Z-POS", n_frames),
        seconds=_seconds(file, (n_frames, n_wavelengths), order),
        acquisition=PhotoacousticAcquisition(
            wavelength_nm=tuple(float(one) for one in wavelengths),
            speed_of_sound_m_s=_plausible_speed(speed),
        ),
        cautions=cautions,
        history=(
            make_step(
                "load",
                format="HDF5 (frame, wavelength, z, y, x)",
                number=index + 1,
                pixel_rule="field of view over number of pixels",
                wavelength_order_nm=stated.tolist(),
            ),
        ),
        source=Source((file.path,), identifiers={"path": str(file.path), "name": name}),
        label=f"reconstruction {index + 1}",
    )


def load_raw(path: Path, wavelength_nm: Sequence[float] | None = None) -> OptoacousticSignals:
    """The raw signals of a file in this layout.

    Raises
    ------
    MissingMetadata
        If wavelengths or sampling rate are not stated.
    CorruptInput, UnsupportedInput, GeometryMismatch
        As the file and the signals demand.
    """
    with SafeFile(path) as file:
        stored = file.array(RAW)
        if stored is None or stored.ndim != 4:
            raise CorruptInput(
                "the file holds no raw signals",
                where=file.where(RAW),
                needed="numbers: frames x wavelengths x detectors x samples",
            )
        stated, cautions = _wavelengths(file, RAW, stored.shape[1], wavelength_nm)
        order = np.argsort(stated, kind="stable")
        rate = _first_number(file.attribute(RAW, "fs"), file.attribute("/", "fs"))
        if rate is None or not rate > 0:
            raise MissingMetadata("the file does not state a sampling rate", where=file.where(f"{RAW}, fs"))
        geometry, response = file.numbers("GEOMETRY"), file.numbers("irf")
        grid = stored.shape[:2]
        temperature = file.numbers("TEMPERATURE")
        speed = file.attribute(RAW, "speedofsound")
        text = "the file does not say whether the signals are divided by the laser energy"
        cautions = (*cautions, Caution("energy-normalisation-unknown", text, RAW))
        return OptoacousticSignals(
            samples=np.ascontiguousarray(stored[:, order], dtype=np.float32),
            wavelength_nm=stated[order],
            sampling_rate_hz=rate,
            detector_positions_mm=None if geometry is None else _three_columns(geometry) * 1e3,
            speed_of_sound_m_s=_plausible_speed(speed),
            temperature_cel=temperature[:, order]
            if temperature is not None and temperature.shape == grid
            else None,
            impulse_response=response
            if response is not None and response.shape == stored.shape[3:]
            else None,
            frame_time_s=_seconds(file, grid, order),
            stage_position_mm=_per_frame(file, "Z-POS", stored.shape[0]),
            history=(
                make_step(
                    "load",
                    format="HDF5 (frame, wavelength, detector, sample)",
                    stored_type=str(stored.dtype),
                    wavelength_order_nm=stated.tolist(),
                ),
            ),
            warnings=cautions,
            source=Source((path,), identifiers={"path": str(path)}),
        )


@dataclass(eq=False)
class _Images:
    """The images of one reconstruction, read together when the first is asked for."""

    path: Path
    name: str
    order: npt.NDArray[np.intp]
    values: npt.NDArray[np.float32] | None = None

    def read(self, frame: int, wavelength: int) -> npt.NDArray[np.float32]:
        if self.values is None:
            with SafeFile(self.path) as file:
                self.values = file.array(self.name)
        if self.values is None:
            raise CorruptInput("a reconstruction is gone", where=str(self.path))
        image: npt.NDArray[np.float32] = self.values[frame, self.order[wavelength]]
        return image


def _wavelengths(
    file: SafeFile, name: str, length: int, given: Sequence[float] | None
) -> tuple[FloatArray, tuple[Caution, ...]]:
    """Wavelengths in nm in the order of the images, and what to know of them."""
    where = file.where(_WAVELENGTHS)
    cautions: tuple[Caution, ...] = ()
    if given is not None:
        wavelengths = checked_nm(given, "wavelength_nm")
        text = "the wavelengths are those given, not those of the file"
        cautions = (Caution("wavelengths-given", text, _WAVELENGTHS),)
    else:
        stated = next(
            (
                value
                for key in _WAVELENGTH_KEYS
                if isinstance(value := file.attribute(name, key), np.ndarray) and value.size
            ),
            file.numbers(_WAVELENGTHS),
        )
        if stated is None:
            raise MissingMetadata(
                "the file does not state its wavelengths",
                where=where,
                needed=f"{_WAVELENGTHS}, or WAVELENGTHS of the images",
                next_step="give them with wavelength_nm= (--wavelengths), in nm",
            )
        wavelengths = in_nm(stated.ravel(), where)
    check_count(wavelengths, length, where)
    return wavelengths, (*cautions, *repeated(wavelengths, _WAVELENGTHS))


def _spacing(file: SafeFile, name: str, pixels: tuple[int, int, int]) -> tuple[float, float, float | None]:
    """Field of view over number of pixels.

    Some programs count it between the centres of the outer pixels, which makes pixels larger by one part in
    that number; no file says which, so that the history keeps the rule.

    The extent of a single slice counts where it can be one: programs that image planes write anything there.
    """
    fields = [_first_number(file.attribute(name, key)) for key in _FIELDS]
    square = _first_number(file.attribute(name, _SQUARE_FIELD))
    if fields[0] is None and square is not None:
        fields = [square, square, square]
    spacing: list[float | None] = []
    for field, count, axis in zip(fields, pixels, "XYZ", strict=True):
        if count == 1 and (axis == "Z" or field is None):
            thin = axis == "Z" and field is not None and 0 < field <= _THICKEST_SLICE_M
            spacing.append(1e3 * field if thin and field is not None else None)
            continue
        if field is None or not field > 0:
            raise MissingMetadata(
                "a reconstruction does not state its field of view",
                where=file.where(f"{name}, {_FIELDS['XYZ'.index(axis)]}"),
                needed="the extent of the image in m",
            )
        spacing.append(1e3 * field / count)
    x, y, z = spacing
    known = [one for one in (x, y) if one is not None]
    if not known:
        raise MissingMetadata("a reconstruction of one pixel has no field of view", where=file.where(name))
    return x or known[0], y or known[0], z


def _first_number(*values: object) -> float | None:
    for value in values:
        if isinstance(value, np.ndarray) and value.size == 1 and np.isfinite(value).all():
            return float(value.ravel()[0])
    return None


def _plausible_speed(value: object) -> float | None:
    speed = _first_number(value)
    return speed if speed is not None and 300.0 <= speed <= 7000.0 else None


def _per_frame(file: SafeFile, name: str, n_frames: int) -> FloatArray | None:
    values = file.numbers(name)
    if values is None or values.shape[:1] != (n_frames,) or not np.isfinite(values).all():
        return None
    means: FloatArray = values.reshape(n_frames, -1).mean(axis=1)
    return means


def _seconds(file: SafeFile, grid: tuple[int, ...], order: npt.NDArray[np.intp]) -> FloatArray | None:
    """Times after the first frame; the stamps are moments, which may identify."""
    stamps = file.array("timestamp", most=10_000_000)
    if stamps is None or stamps.shape != grid or not np.isfinite(stamps.astype(np.float64)).all():
        return None
    relative: FloatArray = (stamps - stamps.min()).astype(np.float64)[:, order] * _TICK_S
    return relative


def begin_of(file: SafeFile) -> datetime | None:
    """When the first frame was taken, on the scanner's clock; None where no stamp says it."""
    stamps = file.array("timestamp", most=10_000_000)
    if stamps is None or not stamps.size or not np.isfinite(stamps.astype(np.float64)).all():
        return None
    return moment_of(int(stamps.min()))


def _three_columns(positions: FloatArray) -> FloatArray:
    """Positions with z = 0 where the file has x and y alone; a table on its side is turned."""
    table = positions if positions.ndim == 2 else positions.reshape(len(positions), -1)
    if table.shape[1] not in (2, 3) and table.shape[0] in (2, 3):
        table = table.T
    missing = 3 - table.shape[1]
    return np.pad(table, ((0, 0), (0, missing))) if missing > 0 else table
