"""Raw signals in the HDF5 container of the International Photoacoustics Standardisation Consortium.

Values are in SI units by the consortium's glossary, but for wavelengths, which files have in m or in nm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imgtheranostics.errors import Caution, CorruptInput, GeometryMismatch, MissingMetadata
from imgtheranostics.io.hdf5.safe_file import SafeFile
from imgtheranostics.io.wavelength_units import check_count, checked_nm, in_nm, repeated
from imgtheranostics.optoacoustic_signals import OptoacousticSignals
from imgtheranostics.volume import FloatArray, Source, make_step

SIGNALS = "binary_time_series_data"
_ACQUISITION = "meta_data"
_DETECTORS = "meta_data_device/detectors"
_ELEMENT = re.compile(r"^detection_element_(\d{1,12})$")
_COUPLANTS = {"d2o": "D2O", "h2o": "H2O", "water": "water", "gel": "gel"}
_RATES_HZ = (1e5, 1e10)
_SPEEDS_M_S = (300.0, 7000.0)
_ENERGIES_MJ = (1e-6, 1000.0)
_TEMPERATURES_K = (250.0, 400.0)
_RADII_MM = (0.1, 1000.0)
_ABSOLUTE_ZERO_CEL = -273.15


def load_ipasc(path: Path, wavelength_nm: Sequence[float] | None = None) -> OptoacousticSignals:
    """The raw signals of an IPASC file; whatever is odd about it becomes a warning.

    Parameters
    ----------
    path : Path
    wavelength_nm : sequence of float, optional
        Overrules those of the file.

    Raises
    ------
    CorruptInput, UnsupportedInput
        As `imgtheranostics.io.hdf5.safe_file.SafeFile`.
    UnitMismatch
        If the wavelengths can be neither nm nor m.
    MissingMetadata
        If the sampling rate is absent, or the wavelengths are and none are given.
    """
    with SafeFile(path) as file:
        return _Reading(file, wavelength_nm).signals()


class _Reading:
    """One file: its signals, and what is odd about it."""

    def __init__(self, file: SafeFile, wavelength_nm: Sequence[float] | None) -> None:
        self.file = file
        self.given = wavelength_nm
        self.cautions: list[Caution] = []
        shape = file.shape(SIGNALS)
        if shape is None or not 2 <= len(shape) <= 4 or 0 in shape:
            raise CorruptInput(
                "the signals have no shape to work with",
                where=file.where(SIGNALS),
                found="nothing" if shape is None else " x ".join(str(n) for n in shape),
                needed="numbers: detectors x samples x wavelengths x measurements",
            )
        self.shape = (*shape, 1, 1)[:4]

    def signals(self) -> OptoacousticSignals:
        _, _, n_wavelengths, n_measurements = self.shape
        wavelengths = self._wavelengths()
        order = np.argsort(wavelengths, kind="stable")
        stored = self.file.array(SIGNALS)
        if stored is None:
            raise CorruptInput("the signals are gone", where=self.file.where(SIGNALS))
        samples = stored.reshape(self.shape).transpose(3, 2, 0, 1)[:, order]
        energy, corrected = self._energy()
        temperature = self._celsius("temperature_control")
        seconds = self._seconds("measurement_timestamps")
        self._check_sizes()
        self._check_gains()

        def on_grid(values: FloatArray | None) -> FloatArray | None:
            grid = (n_measurements, n_wavelengths)
            return None if values is None else np.array(np.broadcast_to(values, grid)[:, order])

        return OptoacousticSignals(
            samples=np.ascontiguousarray(samples, dtype=np.float32),
            wavelength_nm=wavelengths[order],
            sampling_rate_hz=self._sampling_rate(),
            detector_positions_mm=self._positions(),
            speed_of_sound_m_s=self._speed_of_sound(),
            laser_energy_mj=on_grid(energy),
            energy_corrected=corrected,
            temperature_cel=on_grid(temperature),
            couplant=_COUPLANTS.get((self._text("acoustic_coupling_agent") or "").lower()),
            frame_time_s=on_grid(seconds),
            history=(
                make_step(
                    "load",
                    format="IPASC",
                    stored_type=str(stored.dtype),
                    wavelength_order_nm=wavelengths.tolist(),
                ),
            ),
            warnings=tuple(self.cautions),
            source=Source((self.file.path,), identifiers={"path": str(self.file.path)}),
        )

    def _note(self, code: str, message: str, name: str) -> None:
        self.cautions.append(Caution(code, message, name))

    def _numbers(self, name: str) -> FloatArray | None:
        return self.file.numbers(f"{_ACQUISITION}/{name}")

    def _text(self, name: str) -> str | None:
        return self.file.text(f"{_ACQUISITION}/{name}")

    def _wavelengths(self) -> FloatArray:
        name = f"{_ACQUISITION}/acquisition_wavelengths"
        if self.given is not None:
            wavelengths = checked_nm(self.given, "wavelength_nm")
            self._note("wavelengths-given", "the wavelengths are those given, not those of the file", name)
        else:
            stated = self.file.numbers(name)
            if stated is None:
                raise MissingMetadata(
                    "the file does not state its wavelengths",
                    where=self.file.where(name),
                    next_step="give them with wavelength_nm= (--wavelengths), in nm",
                )
            wavelengths = in_nm(stated.ravel(), self.file.where(name))
        check_count(wavelengths, self.shape[2], self.file.where(name))
        self.cautions += repeated(wavelengths, name)
        return wavelengths

    def _sampling_rate(self) -> float:
        name = "ad_sampling_rate"
        value = self._one(name)
        if value is None or not value > 0:
            raise MissingMetadata(
                "the file does not state a sampling rate", where=self.file.where(f"{_ACQUISITION}/{name}")
            )
        if not _RATES_HZ[0] <= value <= _RATES_HZ[1]:
            text = f"a sampling rate of {value:g} Hz is not plausible: images in mm cannot be made of it"
            self._note("sampling-rate-implausible", text, name)
        return value

    def _one(self, name: str) -> float | None:
        values = self._numbers(name)
        if values is None or values.size != 1 or not np.isfinite(values).all():
            return None
        return float(values.ravel()[0])

    def _speed_of_sound(self) -> float | None:
        name = "speed_of_sound"
        values = self._numbers(name)
        if values is None:
            return None
        value = self._one(name)
        if value is None:
            self._note("speed-of-sound-map", "the map of the speed of sound is not read", name)
            return None
        if not _SPEEDS_M_S[0] <= value <= _SPEEDS_M_S[1]:
            self._note("speed-of-sound-implausible", f"a speed of sound of {value:g} m/s is not used", name)
            return None
        return value

    def _per_measurement(self, name: str) -> FloatArray | None:
        """Values as (measurements or 1, wavelengths or 1); None where they fit neither."""
        values = self._numbers(name)
        if values is None:
            return None
        _, _, n_wavelengths, n_measurements = self.shape
        flat = values.ravel()
        if flat.size == n_measurements:
            return flat[:, np.newaxis]
        if flat.size == 1:
            return flat[np.newaxis]
        if flat.size == n_wavelengths * n_measurements:
            # as the signals have them, wavelengths before measurements
            return flat.reshape(n_wavelengths, n_measurements).T
        if flat.size == n_wavelengths:
            return flat[np.newaxis]
        text = f"{flat.size} values do not fit {n_measurements} measurements: they are not used"
        self._note(f"{name.replace('_', '-')}-length", text, name)
        return None

    def _energy(self) -> tuple[FloatArray | None, bool | None]:
        """Energies in mJ; by the glossary one 0 says that they are divided out already."""
        name = "pulse_energy"
        values = self._numbers(name)
        if values is None:
            return None, None
        if values.size and not values.any():
            return None, True
        energy = self._per_measurement(name)
        if energy is None:
            return None, None
        energy = energy * 1e3
        low, high = _ENERGIES_MJ
        if not ((energy >= low) & (energy <= high)).all():
            text = f"pulse energies of {np.nanmin(energy):g} to {np.nanmax(energy):g} mJ are not plausible"
            self._note("pulse-energy-implausible", text, name)
        return energy, False

    def _celsius(self, name: str) -> FloatArray | None:
        kelvin = self._per_measurement(name)
        if kelvin is None:
            return None
        if not ((kelvin >= _TEMPERATURES_K[0]) & (kelvin <= _TEMPERATURES_K[1])).all():
            self._note(
                "temperature-implausible", "temperatures are not plausible in K: they are not used", name
            )
            return None
        celsius: FloatArray = kelvin + _ABSOLUTE_ZERO_CEL
        return celsius

    def _seconds(self, name: str) -> FloatArray | None:
        """Times after the first measurement: those of the file are moments, which may identify."""
        seconds = self._per_measurement(name)
        if seconds is None or not np.isfinite(seconds).all():
            return None
        relative: FloatArray = seconds - seconds.min()
        return relative

    def _positions(self) -> FloatArray | None:
        numbered = {
            int(match[1]): name for name in self.file.names(_DETECTORS) if (match := _ELEMENT.match(name))
        }
        if not numbered:
            self._note("detectors-unknown", "the detectors are not described", _DETECTORS)
            return None
        rows = [
            self.file.numbers(f"{_DETECTORS}/{numbered[one]}/detector_position") for one in sorted(numbered)
        ]
        if len(rows) != self.shape[0] or any(row is None or row.size != 3 for row in rows):
            raise GeometryMismatch(
                "the detectors that are described are not those of the signals",
                where=self.file.where(_DETECTORS),
                found=f"{len(rows)} detectors",
                needed=f"a position of 3 numbers for each of {self.shape[0]}",
            )
        positions = 1e3 * np.array([row.ravel() for row in rows if row is not None])
        largest = float(np.linalg.norm(positions, axis=1).max())
        if not _RADII_MM[0] <= largest <= _RADII_MM[1]:
            text = f"detectors up to {largest:g} mm from the origin are not plausible: are they in m?"
            self._note("detector-positions-implausible", text, "detector_position")
        return positions

    def _check_sizes(self) -> None:
        sizes = self._numbers("sizes")
        stored = [n for n in self.shape if n > 1]
        if sizes is not None and [int(n) for n in sizes.ravel() if n > 1] != stored:
            text = (
                f"the sizes that are stated are not those of the signals, {' x '.join(map(str, self.shape))}"
            )
            self._note("sizes-differ", text, "sizes")

    def _check_gains(self) -> None:
        detectors, length = self.shape[:2]
        for name, fitting in (("element_dependent_gain", detectors), ("time_gain_compensation", length)):
            values = self._numbers(name)
            if values is None:
                continue
            if fitting not in values.shape:
                text = f"{' x '.join(map(str, values.shape))} factors do not fit the signals"
                self._note(f"{name.replace('_', '-')}-length", text, name)
            elif not (values == 1.0).all():
                self._note(f"{name.replace('_', '-')}-not-applied", "these factors are not applied", name)
