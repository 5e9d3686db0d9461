"""Raw detector signals of an optoacoustic scan: what a reconstruction makes a Volume of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import Subject
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnsupportedInput,
    merge_cautions,
)
from imgtheranostics.pickling import reduced
from imgtheranostics.volume import FloatArray, Source, Step, make_step

SignalArray = npt.NDArray[np.float32]

_AXES = ("frames", "wavelengths", "detectors", "samples")


@dataclass(frozen=True, eq=False)
class OptoacousticSignals:
    """Pressure signals of every detector, as the scanner digitised them.

    Arrays are read-only; frames are numbered in the order of their acquisition, wavelengths rise.

    Parameters
    ----------
    samples : (frames, wavelengths, detectors, samples) array_like
        Digitised signal in the scanner's own scale, float32, C order. A constant offset is left in.
    wavelength_nm : (wavelengths,) array_like
    sampling_rate_hz : float
    detector_positions_mm : (detectors, 3) array_like or None
        In the frame of reference of the detector array; None where the file does not state them.
    speed_of_sound_m_s : float or None
        Speed of sound for the reconstruction; None where the file does not state it. An offset that a file
        states instead is in `speed_of_sound_offset_m_s`.
    laser_energy_mj : (frames, wavelengths) array_like or None
        Energy of the pulse, or the mean of those averaged; NaN where it was not measured.
    energy_corrected : bool or None
        Whether `samples` are divided by the energy already; None where the file does not say.
    first_sample_s : float
        Time from the laser pulse to the first sample.
    temperature_cel : (frames, wavelengths) array_like or None
        Of the coupling medium.
    couplant : str or None
        Coupling medium, such as ``D2O``.
    couplant_coefficient : (wavelengths,) array_like or None
        Absorption coefficient of the couplant as the file states it, which gives no unit.
    couplant_path_mm : float or None
        Path of the light through it.
    impulse_response : (samples,) array_like or None
        Of the detectors at the sampling rate, as the file holds it: iThera's is cyclic and begins at its
        peak.
    frame_time_s : (frames, wavelengths) array_like or None
        Start of each acquisition after the first one.
    stage_position_mm : (frames,) array_like or None
        Of the subject along the detector array's axis.
    subject : Subject
    manufacturer, model, software_version : str or None
    history : tuple of Step
    warnings : tuple of Caution
    source : Source

    Raises
    ------
    GeometryMismatch
        If the shapes do not fit.
    """

    samples: SignalArray
    wavelength_nm: FloatArray
    sampling_rate_hz: float
    detector_positions_mm: FloatArray | None = None
    speed_of_sound_m_s: float | None = None
    laser_energy_mj: FloatArray | None = None
    energy_corrected: bool | None = None
    speed_of_sound_offset_m_s: float | None = None
    first_sample_s: float = 0.0
    temperature_cel: FloatArray | None = None
    couplant: str | None = None
    couplant_coefficient: FloatArray | None = None
    couplant_path_mm: float | None = None
    impulse_response: FloatArray | None = None
    frame_time_s: FloatArray | None = None
    stage_position_mm: FloatArray | None = None
    subject: Subject = field(default=Subject())
    manufacturer: str | None = None
    model: str | None = None
    software_version: str | None = None
    history: tuple[Step, ...] = ()
    warnings: tuple[Caution, ...] = ()
    source: Source = field(default=Source(), repr=False)

    def __post_init__(self) -> None:
        samples = np.asarray(self.samples)
        if samples.ndim != len(_AXES) or 0 in samples.shape or samples.dtype.kind not in "biuf":
            raise GeometryMismatch(
                "the signals have no shape to work with",
                where="samples",
                found=f"{samples.dtype} of shape {samples.shape}",
                needed=f"real numbers with the axes {', '.join(_AXES)}",
            )
        frozen = np.ascontiguousarray(samples, dtype=np.float32)
        frozen = frozen.view() if frozen is samples and frozen.flags.writeable else frozen
        frozen.setflags(write=False)
        object.__setattr__(self, "samples", frozen)
        frames, wavelengths, detectors, length = frozen.shape
        shapes: dict[str, tuple[int, ...]] = {
            "wavelength_nm": (wavelengths,),
            "detector_positions_mm": (detectors, 3),
            "laser_energy_mj": (frames, wavelengths),
            "temperature_cel": (frames, wavelengths),
            "couplant_coefficient": (wavelengths,),
            "impulse_response": (length,),
            "frame_time_s": (frames, wavelengths),
            "stage_position_mm": (frames,),
        }
        for name, shape in shapes.items():
            self._freeze(name, shape)
        rate = float(self.sampling_rate_hz)
        if not (np.isfinite(rate) and rate > 0):
            raise ImplausibleValue("the sampling rate is not positive", where="sampling_rate_hz")
        object.__setattr__(self, "sampling_rate_hz", rate)
        object.__setattr__(self, "history", tuple(self.history))
        object.__setattr__(self, "warnings", tuple(self.warnings))

    def _freeze(self, name: str, shape: tuple[int, ...]) -> None:
        value = getattr(self, name)
        if value is None and name != "wavelength_nm":
            return
        array = np.array(value, dtype=np.float64)
        if array.shape != shape:
            raise GeometryMismatch(
                f"{name} does not fit the signals", where=name, found=str(array.shape), needed=str(shape)
            )
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)

    def __repr__(self) -> str:
        frames, wavelengths, detectors, length = self.shape
        span = f"{self.wavelength_nm.min():g} to {self.wavelength_nm.max():g} nm"
        return (
            f"OptoacousticSignals({frames} frames x {wavelengths} wavelengths ({span}) x {detectors} "
            f"detectors x {length} samples, {self.sampling_rate_hz / 1e6:g} MHz"
            + (f", {len(self.warnings)} warnings" if self.warnings else "")
            + ")"
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of frames, wavelengths, detectors and samples."""
        frames, wavelengths, detectors, length = self.samples.shape
        return frames, wavelengths, detectors, length

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.shape[0]

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def with_step(self, name: str, /, **parameters: Any) -> Self:
        """A copy whose history records one more step, with this package's version."""
        return replace(self, history=(*self.history, make_step(name, **parameters)))

    def with_warnings(self, *cautions: Caution) -> Self:
        """A copy that carries more warnings; one that is there already is not repeated."""
        return replace(self, warnings=merge_cautions(self.warnings, cautions))

    def energy_normalised(self) -> Self:
        """The signals divided by the energy of their pulses, in the scanner's scale per mJ.

        The division is done once: signals that the scanner or an earlier call has divided stay as they are.

        Returns
        -------
        OptoacousticSignals
            With `energy_corrected` set; the history says who divided.

        Raises
        ------
        MissingMetadata
            If no energies are stated, or not whether they are divided out already.
        ImplausibleValue
            If an energy is missing, zero or negative.
        """
        if self.energy_corrected:
            if any(step.name == "energy_normalisation" for step in self.history):
                return self
            return self.with_step("energy_normalisation", divided_by="scanner")
        if self.laser_energy_mj is None:
            raise MissingMetadata(
                "the laser energies are not stated",
                where="laser_energy_mj",
                needed="the energy of each pulse",
                next_step="set them with signals.replace(laser_energy_mj=...), or go on without division",
            )
        if self.energy_corrected is None:
            raise MissingMetadata(
                "the file does not say whether the signals are divided by the laser energy already",
                where="energy_corrected",
                next_step="set it with signals.replace(energy_corrected=False) if they are not",
            )
        energy = self.laser_energy_mj
        wrong = int(np.count_nonzero(~(np.isfinite(energy) & (energy > 0))))
        if wrong:
            raise ImplausibleValue(
                "laser energies are missing, zero or negative",
                where="laser_energy_mj",
                found=f"{wrong} of {energy.size}",
                needed="positive energies in mJ",
                next_step="leave out these frames, or go on without division",
            )
        divided = self.samples / energy.astype(np.float32)[:, :, np.newaxis, np.newaxis]
        step = make_step(
            "energy_normalisation",
            divided_by="imgtheranostics",
            mean_energy_mj=float(energy.mean()),
            lowest_energy_mj=float(energy.min()),
            highest_energy_mj=float(energy.max()),
        )
        return replace(self, samples=divided, energy_corrected=True, history=(*self.history, step))

    def of_wavelengths(self, wavelength_nm: Sequence[float], *, tolerance_nm: float = 0.5) -> Self:
        """The signals at some of the wavelengths, chosen by value.

        Parameters
        ----------
        wavelength_nm : sequence of float
            Any order; the result's wavelengths rise as those of the scan do.
        tolerance_nm : float

        Raises
        ------
        UnsupportedInput
            If one was not measured; the message lists requested, found and nearest.
        """
        chosen = set()
        for wanted in wavelength_nm:
            distance = np.abs(self.wavelength_nm - wanted)
            if not np.isfinite(wanted) or distance.min() > tolerance_nm:
                raise UnsupportedInput(
                    "a wavelength was not measured",
                    found=", ".join(f"{value:g}" for value in self.wavelength_nm) + " nm",
                    needed=f"{wanted:g} nm within {tolerance_nm:g} nm",
                    next_step=f"the nearest is {self.wavelength_nm[int(np.nanargmin(distance))]:g} nm"
                    if np.isfinite(wanted)
                    else None,
                )
            chosen.add(int(np.argmin(distance)))
        index = sorted(chosen)
        per_wavelength: dict[str, Any] = {
            name: None if getattr(self, name) is None else getattr(self, name)[..., index]
            for name in (
                "wavelength_nm",
                "laser_energy_mj",
                "temperature_cel",
                "couplant_coefficient",
                "frame_time_s",
            )
        }
        step = make_step("choose_wavelengths", wavelength_nm=self.wavelength_nm[index].tolist())
        return replace(self, samples=self.samples[:, index], history=(*self.history, step), **per_wavelength)
