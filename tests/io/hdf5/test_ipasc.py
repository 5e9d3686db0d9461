"""Raw signals in IPASC files: units, orders, and odd files that load with their problems told."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)

load = it.msot.load_signals


def codes(signals):
    return {caution.code for caution in signals.warnings}


def test_public_file_needs_wavelengths_and_loads_with_its_problems_told(public_data):
    """Placeholder values: both wavelengths are 2, which is neither nm nor m (msot.md 5.3)."""
    path = public_data("msot/ipasc/ipasc_compatible_V1.hdf5")
    with pytest.raises(UnitMismatch, match="wavelength_nm") as caught:
        load(path)
    assert caught.value.exit_code == 6
    assert "2, 2" in caught.value.found
    signals = load(path, wavelength_nm=[700, 800])
    assert signals.shape == (1, 2, 4, 100)
    with h5py.File(path) as file:
        stored = file["binary_time_series_data"][()]
    assert_array_equal(signals.samples[0, 1], stored[:, :, 1].astype(np.float32))
    assert signals.speed_of_sound_m_s == 1540.0
    assert_allclose(signals.temperature_cel, 17.15)
    assert_allclose(signals.detector_positions_mm[0], [0.202, 8.680, -22.625], atol=1e-3)
    assert codes(signals) == {
        "wavelengths-given",
        "pulse-energy-implausible",
        "sizes-differ",
        "element-dependent-gain-length",
        "time-gain-compensation-length",
        "sampling-rate-implausible",
    }
    text = repr(signals) + repr(signals.warnings) + repr(signals.history)
    assert "a2fd-48nbsh" not in text
    assert "0.9654474" not in text


@pytest.mark.parametrize("wavelengths", [(8e-7, 7e-7, 7.6e-7), (800.0, 700.0, 760.0)])
def test_wavelengths_are_metres_or_nanometres_by_their_size(tmp_path, files, wavelengths):
    signals = load(files.ipasc(tmp_path / "a.hdf5", wavelengths=wavelengths))
    assert_allclose(signals.wavelength_nm, [700, 760, 800])
    assert signals.shape == (2, 3, 4, 12)
    expected = np.arange(4)[:, None] + 10 * np.arange(12)
    for measurement in range(2):
        for place, position in enumerate((1, 2, 0)):
            values = expected + 1000 * position + 10000 * measurement
            assert_array_equal(signals.samples[measurement, place], values)
    assert codes(signals) == set()


@pytest.mark.parametrize(
    "wavelengths",
    [
        (0.8, 0.7, 0.76),
        (800, 700, 7.6e-7),
        (-800, 700, 760),
        (5000, 5100, 5200),
        (1e-9, 2e-9, 3e-9),
        (np.nan, 700, 760),
    ],
)
def test_wavelengths_in_another_unit_or_mixed_are_refused(tmp_path, files, wavelengths):
    with pytest.raises(UnitMismatch, match="wavelengths"):
        load(files.ipasc(tmp_path / "a.hdf5", wavelengths=wavelengths))


def test_repeated_wavelengths_are_told(tmp_path, files):
    assert codes(load(files.ipasc(tmp_path / "a.hdf5", wavelengths=(700, 700, 800)))) == {
        "wavelength-repeated"
    }


def test_values_have_the_units_of_the_glossary(tmp_path, files):
    """J, K, s and m by the consortium's glossary; times are told after the first."""
    signals = load(files.ipasc(tmp_path / "a.hdf5"))
    assert_allclose(signals.laser_energy_mj, [[40] * 3, [50] * 3])
    assert_allclose(signals.temperature_cel, [[34.0] * 3, [35.0] * 3])
    assert_allclose(signals.frame_time_s, [[0.0] * 3, [2.5] * 3])
    assert_allclose(signals.detector_positions_mm[2], [2.0, 40.5, 0.0])
    assert (signals.sampling_rate_hz, signals.speed_of_sound_m_s, signals.couplant) == (4e7, 1520.0, "D2O")
    assert signals.energy_corrected is False
    assert_allclose(signals.energy_normalised().samples[1], signals.samples[1] / 50.0, rtol=1e-6)


def replaced(name, value):
    def edit(file):
        del file[name]
        if value is not None:
            file[name] = value

    return edit


def test_an_energy_of_zero_says_that_it_is_divided_out(tmp_path, files):
    """Glossary: if the energy has been accounted for, the array must read [0]."""
    signals = load(files.ipasc(tmp_path / "a.hdf5", edit=replaced("meta_data/pulse_energy", np.array([0.0]))))
    assert (signals.energy_corrected, signals.laser_energy_mj) == (True, None)


def test_energies_of_every_image_follow_the_sorted_wavelengths(tmp_path, files):
    energies = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    signals = load(files.ipasc(tmp_path / "a.hdf5", edit=replaced("meta_data/pulse_energy", energies)))
    assert_allclose(signals.laser_energy_mj, [[30, 50, 10], [40, 60, 20]])


@pytest.mark.parametrize(
    ("name", "value", "code", "field"),
    [
        ("speed_of_sound", 43.0, "speed-of-sound-implausible", "speed_of_sound_m_s"),
        ("speed_of_sound", np.full((2, 2, 2), 1500.0), "speed-of-sound-map", "speed_of_sound_m_s"),
        ("temperature_control", np.array([34.0, 35.0]), "temperature-implausible", "temperature_cel"),
        ("measurement_timestamps", np.arange(5.0), "measurement-timestamps-length", "frame_time_s"),
        ("pulse_energy", np.ones(5), "pulse-energy-length", "laser_energy_mj"),
    ],
)
def test_what_cannot_be_meant_is_not_used_and_told(tmp_path, files, name, value, code, field):
    signals = load(files.ipasc(tmp_path / "a.hdf5", edit=replaced(f"meta_data/{name}", value)))
    assert code in codes(signals)
    assert getattr(signals, field) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("meta_data/acquisition_wavelengths", MissingMetadata),
        ("meta_data/ad_sampling_rate", MissingMetadata),
        ("meta_data_device/detectors/detection_element_2/detector_position", GeometryMismatch),
        ("meta_data_device/detectors/detection_element_3", GeometryMismatch),
    ],
)
def test_what_is_missing_is_named(tmp_path, files, name, kind):
    with pytest.raises(kind, match="detectors" if "element" in name else name):
        load(files.ipasc(tmp_path / "a.hdf5", edit=replaced(name, None)))


def test_detectors_may_be_undescribed(tmp_path, files):
    signals = load(files.ipasc(tmp_path / "a.hdf5", edit=replaced("meta_data_device/detectors", None)))
    assert signals.detector_positions_mm is None
    assert "detectors-unknown" in codes(signals)


def test_more_than_nine_detectors_are_in_the_order_of_their_numbers(tmp_path, files):
    signals = load(files.ipasc(tmp_path / "a.hdf5", shape=(12, 5, 3, 2)))
    assert_allclose(signals.detector_positions_mm[:, 0], np.arange(12.0))


@pytest.mark.parametrize("given", [[700], [700, 800], [700, 750, 800, 850]])
def test_one_wavelength_is_needed_for_each_image(tmp_path, files, given):
    with pytest.raises(CorruptInput, match="wavelength"):
        load(files.ipasc(tmp_path / "a.hdf5"), wavelength_nm=given)


def test_given_wavelengths_must_be_light_in_nm(tmp_path, files):
    with pytest.raises(UnitMismatch):
        load(files.ipasc(tmp_path / "a.hdf5"), wavelength_nm=[7e-7, 7.5e-7, 8e-7])


@pytest.mark.parametrize("shape", [(4, 12), (4, 12, 3)])
def test_fewer_axes_are_one_measurement_or_wavelength(tmp_path, files, shape):
    given = [700, 760, 800][: shape[2] if len(shape) > 2 else 1]
    signals = load(files.ipasc(tmp_path / "a.hdf5", shape=shape), wavelength_nm=given)
    assert signals.shape == (1, len(given), 4, 12)


def test_load_names_the_reader_of_signals(tmp_path, files):
    path = files.ipasc(tmp_path / "a.hdf5")
    for place in (path, tmp_path):
        with pytest.raises(UnsupportedInput, match="load_signals"):
            it.load(place)
    assert [(one.kind, one.modality) for one in it.info(tmp_path)] == [("other", "raw optoacoustic signals")]


def test_no_identifier_of_the_device_leaves(tmp_path, files):
    signals = load(files.ipasc(tmp_path / "a.hdf5"))
    assert "CANARY" not in repr(signals) + repr(signals.history) + repr(signals.warnings)
    assert "1700000000" not in repr(signals.frame_time_s)
