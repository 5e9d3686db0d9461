"""Raw signals as a record: shapes that fit, nothing that changes behind one's back, energies divided once."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnsupportedInput,
)
from imgtheranostics.optoacoustic_signals import OptoacousticSignals

SHAPE = (2, 3, 4, 5)


def signals(**changes) -> OptoacousticSignals:
    values = {
        "samples": np.arange(120, dtype=np.float64).reshape(SHAPE),
        "wavelength_nm": [700, 760, 800],
        "sampling_rate_hz": 40e6,
        "detector_positions_mm": np.ones((4, 3)),
        "laser_energy_mj": [[10, 20, 30], [40, 50, 60]],
        "energy_corrected": False,
        "temperature_cel": np.full((2, 3), 34.0),
        "frame_time_s": np.arange(6.0).reshape(2, 3),
        "impulse_response": np.ones(5),
    }
    return OptoacousticSignals(**(values | changes))


def test_arrays_are_of_one_type_and_cannot_be_changed():
    one = signals()
    assert one.samples.dtype == np.float32
    assert one.samples.flags.c_contiguous
    assert one.wavelength_nm.dtype == np.float64
    for name in ("samples", "wavelength_nm", "detector_positions_mm", "laser_energy_mj"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(one, name)[...] = 0
    assert (one.shape, one.n_frames) == (SHAPE, 2)


def test_an_array_that_was_handed_over_stays_as_it_was():
    given = np.zeros(SHAPE, dtype=np.float32)
    one = signals(samples=given)
    assert given.flags.writeable
    assert not one.samples.flags.writeable
    assert np.shares_memory(one.samples, given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("samples", np.zeros((2, 3, 4))),
        ("samples", np.zeros((0, 3, 4, 5))),
        ("samples", np.zeros(SHAPE, dtype=complex)),
        ("wavelength_nm", [700, 800]),
        ("wavelength_nm", None),
        ("detector_positions_mm", np.ones((4, 2))),
        ("detector_positions_mm", np.ones((5, 3))),
        ("laser_energy_mj", np.ones((3, 2))),
        ("temperature_cel", np.ones(2)),
        ("impulse_response", np.ones(6)),
        ("frame_time_s", np.ones((2, 2))),
        ("stage_position_mm", np.ones(3)),
        ("couplant_coefficient", np.ones(2)),
    ],
)
def test_shapes_that_do_not_fit_are_refused_by_name(name, value):
    with pytest.raises(GeometryMismatch) as caught:
        signals(**{name: value})
    assert caught.value.where == name


@pytest.mark.parametrize("rate", [0.0, -1.0, np.nan, np.inf])
def test_a_sampling_rate_is_positive(rate):
    with pytest.raises(ImplausibleValue, match="sampling rate"):
        signals(sampling_rate_hz=rate)


def test_copies_survive_pickling_and_keep_their_history():
    one = signals().with_step("test", value=3).with_warnings(Caution("a", "b"), Caution("a", "b"))
    again = pickle.loads(pickle.dumps(one))  # noqa: S301 - from ourselves
    assert_array_equal(again.samples, one.samples)
    assert [step.name for step in again.history] == ["test"]
    assert again.warnings == (Caution("a", "b"),)
    assert repr(again) == repr(one)
    assert "2 frames x 3 wavelengths (700 to 800 nm) x 4 detectors x 5 samples, 40 MHz, 1 warnings" in repr(
        one
    )


def test_energies_divide_each_frame_and_wavelength_once():
    one = signals()
    divided = one.energy_normalised()
    assert_allclose(divided.samples, one.samples / one.laser_energy_mj[..., None, None], rtol=1e-6)
    assert divided.energy_corrected
    step = divided.history[-1]
    assert (step.name, step.parameters["mean_energy_mj"]) == ("energy_normalisation", 35.0)
    assert_array_equal(divided.energy_normalised().samples, divided.samples)
    assert len(divided.energy_normalised().history) == 1


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"laser_energy_mj": None}, MissingMetadata),
        ({"energy_corrected": None}, MissingMetadata),
        ({"laser_energy_mj": [[10, 20, 0], [40, 50, 60]]}, ImplausibleValue),
        ({"laser_energy_mj": [[10, 20, -3], [40, 50, 60]]}, ImplausibleValue),
        ({"laser_energy_mj": [[10, 20, np.nan], [40, 50, 60]]}, ImplausibleValue),
    ],
)
def test_energies_that_cannot_divide_are_refused(changes, kind):
    with pytest.raises(kind, match="energ"):
        signals(**changes).energy_normalised()


def test_wavelengths_are_chosen_by_value_whatever_their_order():
    one = signals()
    for wanted in ([800, 700], [700, 800], [700.4, 799.6, 700]):
        some = one.of_wavelengths(wanted)
        assert some.wavelength_nm.tolist() == [700.0, 800.0]
        assert_array_equal(some.samples, one.samples[:, [0, 2]])
        assert_array_equal(some.laser_energy_mj, [[10, 30], [40, 60]])
    for wanted in ([730], [760.6], [np.nan]):
        with pytest.raises(UnsupportedInput, match="not measured"):
            one.of_wavelengths(wanted)
