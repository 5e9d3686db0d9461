"""Plain multi-frame files that hold photoacoustic images: only a sidecar beside them can say so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imgtheranostics.errors import CorruptInput, MissingMetadata
from imgtheranostics.io.bids_photoacoustic import interpret_pa, stated_wavelengths
from imgtheranostics.io.dicom.series import Series
from imgtheranostics.io.sidecar import Sidecar, read_sidecar
from imgtheranostics.io.wavelengths import sorted_by_wavelength, wavelength_last
from imgtheranostics.volume import Volume, make_step

_MODALITIES = frozenset({"PA", "MSOT"})


@dataclass(frozen=True, slots=True)
class _Extents:
    """What a sidecar is checked against."""

    shape: tuple[int, ...]
    step: float | None = None
    step_unit: str | None = None


def photoacoustic_sidecar(series: Series) -> Sidecar | None:
    """The sidecar that makes photoacoustic images of a plain ultrasound file; None where there is none."""
    if series.modality != "US" or len(series.files) != 1:
        return None
    beside = _beside(series.files[0])
    if beside is None:
        return None
    sidecar = read_sidecar(series.files[0], [beside])
    return sidecar if (sidecar.text("Modality") or "").upper() in _MODALITIES else None


def as_photoacoustic(volume: Volume, sidecar: Sidecar) -> Volume:
    """The frames of a cine as what the sidecar says that they are.

    Raises
    ------
    MissingMetadata
        If wavelengths are absent, or their order among the frames of a time series is not stated.
    CorruptInput, UnitMismatch
        If they do not fit the frames, or are no light in the unit that is stated.
    """
    n_frames = volume.shape[3] if volume.axes else 1
    count = len(stated_wavelengths(sidecar))
    extents = _extents(sidecar, n_frames, count)
    meaning = interpret_pa(sidecar, _Extents((*volume.shape[:3], *extents)))
    lengths = tuple(len(axis) for axis in meaning.axes)
    placed = volume.replace(
        data=volume.data.reshape((*volume.shape[:3], *lengths), order="F") * meaning.factor,
        quantity=meaning.quantity,
        unit=meaning.unit,
        axes=meaning.axes,
        acquisition=meaning.acquisition,
        history=(*volume.history, *meaning.history, make_step("frames_by_sidecar", frames=n_frames)),
    )
    return wavelength_last(sorted_by_wavelength(placed.with_warnings(*meaning.cautions)))


def _extents(sidecar: Sidecar, n_frames: int, n_wavelengths: int) -> tuple[int, ...]:
    """Extents of the frames beyond space; frames count the first axis of AxisOrder fastest."""
    if n_frames == n_wavelengths:
        return (n_frames,)
    if not n_wavelengths or n_frames % n_wavelengths:
        raise CorruptInput(
            "the frames are not a multiple of the wavelengths",
            where=sidecar.where("Wavelengths"),
            found=f"{n_frames} frames, {n_wavelengths} wavelengths",
        )
    times = n_frames // n_wavelengths
    order = sidecar.values.get("AxisOrder")
    if n_wavelengths > 1 and order is None:
        raise MissingMetadata(
            "the order of times and wavelengths among the frames is not stated",
            where=sidecar.where("AxisOrder"),
            needed='["wavelength", "time"] where wavelengths change first, or ["time", "wavelength"]',
        )
    words = order.replace(",", " ").split() if isinstance(order, str) else list(order or [])
    return (n_wavelengths, times) if "wavelength" in words[:-1] else (times, n_wavelengths)


def _beside(path: Path) -> Path | None:
    for candidate in (path.with_suffix(".json"), path.with_name(f"{path.name}.json")):
        if candidate.is_file():
            return candidate
    return None
