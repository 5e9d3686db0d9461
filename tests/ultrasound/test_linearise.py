"""Grey to linear power: the definition, what has to be known, and the ends of the scale."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.volume import Volume

GREY = np.array([0.0, 100.0, 128.0, 200.0, 254.0, 255.0, np.nan]).reshape(7, 1, 1)


def image(data=GREY, quantity="signal", unit="[arb'U]", **record):
    return Volume(data, np.eye(4), quantity, unit, (), UltrasoundAcquisition(**record))


def test_power_of_the_reference_sheet():
    """ultrasound.md section 6: DR 60, g_max 255, g 128 give P = 1027.46; level 0 has the power 1."""
    linear = it.ultrasound.linearise(image(grey_max=255), dynamic_range_db=60)
    assert (linear.quantity, linear.unit) == ("echo_intensity", "1")
    assert linear.data[2, 0, 0] == pytest.approx(1027.46, abs=0.01)
    assert linear.data[0, 0, 0] == 1.0
    assert linear.data[5, 0, 0] == pytest.approx(1e6)
    assert np.isnan(linear.data[6, 0, 0])
    assert linear.history[-1].parameters["dynamic_range_db"] == 60


def test_averages_in_decibels_are_wrong_by_what_the_sheet_says():
    """Grey 100 and 200 of DR 60: the linear mean is 44.07 dB, the grey mean 35.29 dB, an error of 8.77 dB."""
    linear = it.ultrasound.linearise(image(grey_max=255), dynamic_range_db=60).data[[1, 3], 0, 0]
    of_means = 10 * np.log10(linear.astype(float).mean())
    of_grey = 60 * 150 / 255
    assert of_means == pytest.approx(44.07, abs=0.005)
    assert of_means - of_grey == pytest.approx(8.77, abs=0.01)


def test_log_bias_of_speckle(rng):
    """U18: the mean of dB is 2.507 dB below the dB of the mean, the spread 5.57 dB, for exponential power."""
    level = 10 * np.log10(rng.exponential(size=1_000_000).astype(np.float64))
    linear = it.ultrasound.linearise(image(level.reshape(100, 100, 100), "echo_level", "dB"))
    of_mean = 10 * np.log10(linear.data.mean(dtype=float))
    assert level.mean() - of_mean == pytest.approx(-2.507, abs=0.02)
    assert level.std() == pytest.approx(5.57, abs=0.02)


def test_gain_is_added_and_gamma_bends_the_scale():
    plain = it.ultrasound.linearise(image(grey_max=255), dynamic_range_db=60)
    louder = it.ultrasound.linearise(image(grey_max=255), dynamic_range_db=60, gain_db=10)
    assert_allclose(louder.data[:6], 10 * plain.data[:6], rtol=1e-6)
    bent = it.ultrasound.linearise(image(grey_max=255), dynamic_range_db=60, gamma=2.0)
    assert bent.data[2, 0, 0] == pytest.approx(10 ** (6 * (128 / 255) ** 2), rel=1e-6)
    assert bent.data[5, 0, 0] == plain.data[5, 0, 0]


def test_dynamic_range_that_nobody_gives_is_missing():
    """Issue, bad input: dynamic range not given is refused, DICOM does not carry it."""
    with pytest.raises(MissingMetadata, match="--dynamic-range") as caught:
        it.ultrasound.linearise(image(grey_max=255))
    assert "log-compressed grey" in str(caught.value)
    assert caught.value.exit_code == 5


def test_dynamic_range_of_the_sidecar_serves_and_another_one_is_told(codes):
    volume = image(grey_max=255, dynamic_range_db=60.0)
    assert it.ultrasound.linearise(volume).data[2, 0, 0] == pytest.approx(1027.46, abs=0.01)
    other = it.ultrasound.linearise(volume, dynamic_range_db=50)
    assert codes(other.warnings) == ["dynamic-range-differs"]
    assert other.data[5, 0, 0] == pytest.approx(1e5)


@pytest.mark.parametrize("value", [0, -60, np.nan, np.inf])
def test_dynamic_range_that_is_no_number_above_zero_is_a_usage_error(value):
    with pytest.raises(ValueError, match="dynamic_range_db"):
        it.ultrasound.linearise(image(grey_max=255), dynamic_range_db=value)


@pytest.mark.parametrize(("name", "value"), [("gamma", 0), ("gamma", np.nan), ("gain_db", np.inf)])
def test_other_options_out_of_range_are_usage_errors(name, value):
    with pytest.raises(ValueError, match=name):
        it.ultrasound.linearise(image(grey_max=255), dynamic_range_db=60, **{name: value})


def test_dynamic_range_beyond_all_scanners_is_implausible():
    with pytest.raises(ImplausibleValue, match="decibels"):
        it.ultrasound.linearise(image(grey_max=255), dynamic_range_db=60_000)


def test_full_scale_is_that_of_the_stored_bits():
    """g_max counts the bits stored: level 100 of 7 bits is not level 100 of 8."""
    data = np.full((2, 2, 1), 100.0)
    seven = it.ultrasound.linearise(image(data, grey_max=127), dynamic_range_db=60)
    assert seven.data[0, 0, 0] == pytest.approx(10 ** (6 * 100 / 127), rel=1e-6)
    assert it.ultrasound.linearise(image(data, grey_max=127), dynamic_range_db=60, grey_max=255).data[
        0, 0, 0
    ] == pytest.approx(10 ** (6 * 100 / 255), rel=1e-6)


def test_unknown_full_scale_is_taken_as_8_bits_with_a_word_or_refused(codes):
    assert codes(it.ultrasound.linearise(image(), dynamic_range_db=60).warnings) == ["grey-max-assumed"]
    with pytest.raises(MissingMetadata, match="full scale"):
        it.ultrasound.linearise(image(np.full((2, 2, 1), 300.0)), dynamic_range_db=60)
    with pytest.raises(MissingMetadata, match="full scale"):
        it.ultrasound.linearise(image(np.full((2, 2, 1), 0.5)), dynamic_range_db=60)


@pytest.mark.parametrize("level", [256.0, -1.0])
def test_values_outside_the_scale_are_refused(level):
    with pytest.raises(ImplausibleValue, match="no grey levels"):
        it.ultrasound.linearise(image(np.full((2, 2, 1), level), grey_max=255), dynamic_range_db=60)


def test_decibels_and_linear_images_are_not_linearised_again(codes):
    """Section 5, NIfTI: dB or linear input is not linearised again."""
    decibel = image(np.array([0.0, 10.0, -30.0]).reshape(3, 1, 1), "echo_level", "dB")
    linear = it.ultrasound.linearise(decibel, dynamic_range_db=60)
    assert_allclose(linear.data.ravel(), [1, 10, 1e-3], rtol=1e-6)
    again = it.ultrasound.linearise(linear, dynamic_range_db=60)
    assert_array_equal(again.data, linear.data)
    assert codes(again.warnings) == ["already-linear"]
    for volume in (decibel, linear):
        with pytest.raises(UnsupportedInput, match="log-compressed"):
            it.ultrasound.linearise(volume, gamma=2.0)


def test_other_quantities_and_negative_power_are_refused():
    with pytest.raises(UnitMismatch, match="ultrasound"):
        it.ultrasound.linearise(image(quantity="t1", unit="s"), dynamic_range_db=60)
    with pytest.raises(ImplausibleValue, match="negative"):
        it.ultrasound.linearise(image(np.full((1, 1, 1), -1.0), "echo_intensity", "1"))


def test_caller_keeps_its_array():
    data = np.full((4, 4, 1), 100.0)
    it.ultrasound.linearise(image(data, grey_max=255), dynamic_range_db=60)
    assert_array_equal(data, 100.0)


@pytest.mark.parametrize("gamma", [1.0, 0.7])
@pytest.mark.parametrize("gain_db", [0.0, -7.3])
def test_clipped_pixels_are_the_same_in_grey_and_in_what_was_made_of_it(gamma, gain_db):
    grey = image(grey_max=255)
    linear = it.ultrasound.linearise(grey, dynamic_range_db=60, gamma=gamma, gain_db=gain_db)
    for volume in (grey, linear):
        masks = it.ultrasound.clipped(volume)
        assert masks.known
        assert_array_equal(masks.floor.ravel(), [True] + [False] * 6)
        assert_array_equal(masks.saturated.ravel(), [False] * 5 + [True, False])
        assert masks.any_saturated


def test_decibels_do_not_tell_what_was_clipped():
    masks = it.ultrasound.clipped(image(np.zeros((2, 2, 1)), "echo_level", "dB"))
    assert not masks.known
    assert not masks.any_saturated
