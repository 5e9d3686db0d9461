"""Temperature from phase: the sheet's figure, wraps, drift, fat, errors by repetition, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri.thermometry import absolute_temperature, radians_per_degree, temperature_change
from imgtheranostics.volume import Flag

NAME = "temperature_change_c"
SCAN = {"echo_time_s": 0.010, "field_t": 3.0}
SHAPE, FRAMES = (24, 20, 3), 8
RADIANS = -2 * np.pi * 42.577e6 * 0.01e-6 * 3.0 * 0.010
"""gamma alpha B0 TE, written out."""


def heated(peak=12.0):
    """A warm spot that grows over the frames, 0 in the first, and the region that stays cold."""
    i, j, _ = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    spot = np.exp(-((i - 12) ** 2 + (j - 10) ** 2) / 18.0)
    spot[spot < 1e-3] = 0.0
    return spot[..., np.newaxis] * peak * np.arange(FRAMES) / (FRAMES - 1), spot == 0


def drift(frame_scale=0.3):
    """A drift of order 2 in space that grows over the frames, rad."""
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    plane = 0.8 + 0.5 * i - 0.3 * j + 0.2 * k + 0.15 * i * j - 0.1 * i**2
    return plane[..., np.newaxis] * frame_scale * np.arange(FRAMES)


def image(temperature, extra=0.0, magnitude=100.0, offset=2.0):
    return magnitude * np.exp(1j * (RADIANS * temperature + extra + offset))


def test_phase_per_degree_at_3_t_and_10_ms():
    """mri.md section 6: 0.08026 rad per degree."""
    assert abs(radians_per_degree(3.0, 0.010)) == pytest.approx(0.08026, abs=5e-6)
    assert radians_per_degree(3.0, 0.010) == pytest.approx(RADIANS, rel=1e-12)
    assert radians_per_degree(7.0, 0.005) == pytest.approx(RADIANS * 7 / 3 / 2)


def test_temperature_of_a_spot_comes_back_through_wraps():
    """12 degrees at 3 T and 10 ms are 0.96 rad: with an offset of 2 and 3 rad the phase wraps on the way."""
    truth, _ = heated(40.0)
    for offset in (2.0, 3.0):
        fit = temperature_change(image(truth, offset=offset), **SCAN)
        np.testing.assert_allclose(fit.parameters[NAME], truth, atol=1e-9)
        assert fit.units[NAME] == "Cel"
    assert not fit.flags.any()


def test_phase_images_give_the_same_as_complex_ones():
    truth, _ = heated()
    whole = temperature_change(image(truth), **SCAN)
    phase = temperature_change(np.angle(image(truth)), **SCAN)
    np.testing.assert_allclose(phase.parameters[NAME], whole.parameters[NAME], atol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_drift_of_its_order_is_removed_exactly_and_of_a_lower_one_is_not(order):
    truth, cold = heated()
    i = np.linspace(-1, 1, SHAPE[0])[:, np.newaxis, np.newaxis, np.newaxis]
    field = {0: 0.2 + 0 * i, 1: 0.2 + 0.3 * i, 2: 0.2 + 0.3 * i**2}[order] * np.arange(FRAMES)
    fit = temperature_change(image(truth, field), unheated=cold, drift_order=order, **SCAN)
    np.testing.assert_allclose(fit.parameters[NAME], truth, atol=1e-9)
    if order:
        lower = temperature_change(image(truth, field), unheated=cold, drift_order=order - 1, **SCAN)
        assert np.abs(lower.parameters[NAME] - truth).max() > 1.0
    assert fit.decisions["drift"] == {
        "rule": "polynomial per frame",
        "order": order,
        "n_voxels": int(cold.sum()),
    }


def test_without_an_unheated_region_drift_looks_like_temperature_and_is_said():
    truth, _ = heated()
    fit = temperature_change(image(truth, drift()), **SCAN)
    assert "drift-not-removed" in {caution.code for caution in fit.warnings}
    assert np.abs(fit.parameters[NAME] - truth).max() > 5


def test_fat_is_left_out_of_the_map_and_of_the_drift():
    """Fat does not shift with temperature, and its phase moves on its own here."""
    truth, cold = heated()
    fat = np.zeros(SHAPE, bool)
    fat[:3] = True
    moving = drift() + np.where(fat, 0.4, 0.0)[..., np.newaxis] * np.arange(FRAMES)
    fit = temperature_change(image(truth, moving), unheated=cold, drift_order=2, fat=fat, **SCAN)
    np.testing.assert_allclose(fit.parameters[NAME][~fat], truth[~fat], atol=1e-9)
    assert np.isnan(fit.parameters[NAME][fat]).all()
    assert (fit.flags[fat] == Flag.MASKED_OUT).all()
    assert fit.decisions["n_fat_voxels"] == int(fat.sum())
    spoilt = temperature_change(image(truth, moving), unheated=cold, drift_order=2, **SCAN)
    assert np.abs(spoilt.parameters[NAME][~fat] - truth[~fat]).max() > 0.5


def test_reference_window_is_the_mean_of_its_frames():
    truth, _ = heated()
    fit = temperature_change(image(truth), reference=(2, 5), **SCAN)
    np.testing.assert_allclose(
        fit.parameters[NAME], truth - truth[..., 2:5].mean(axis=-1, keepdims=True), atol=1e-9
    )


def test_steps_near_half_a_turn_are_flagged_from_there_on():
    phase = np.array([0.0, 0.1, 0.1 + 0.8 * np.pi, 0.2 + 0.8 * np.pi])
    fit = temperature_change(phase, **SCAN)
    np.testing.assert_array_equal(fit.flags, [0, 0, Flag.AMBIGUOUS_BRANCH, Flag.AMBIGUOUS_BRANCH])
    assert np.isfinite(fit.parameters[NAME]).all()
    assert "phase-step-ambiguous" in {caution.code for caution in fit.warnings}


def test_continuous_phase_is_taken_as_it_is_only_when_said():
    phase = np.array([0.0, 4.0, 8.0])
    fit = temperature_change(phase, unwrapped=True, **SCAN)
    np.testing.assert_allclose(fit.parameters[NAME], phase / RADIANS)
    assert not fit.flags.any()
    with pytest.raises(ImplausibleValue, match="radians"):
        temperature_change(phase, **SCAN)


@given(st.floats(-20, 20), st.floats(1.0, 9.4), st.floats(0.002, 0.02), st.floats(-3, 3))
def test_round_trip_of_any_change_within_half_a_turn(change, field, echo, offset):
    radians = radians_per_degree(field, echo)
    if abs(change * radians) > 3.1:
        return
    phase = np.angle(np.exp(1j * (offset + radians * np.array([0.0, change]))))
    fit = temperature_change(phase, echo_time_s=echo, field_t=field)
    assert fit.parameters[NAME][1] == pytest.approx(change, abs=1e-6)


def test_scanner_that_counts_phase_the_other_way():
    fit = temperature_change(np.conj(image(heated()[0])), alpha_ppm_per_c=0.01, **SCAN)
    np.testing.assert_allclose(fit.parameters[NAME], heated()[0], atol=1e-9)


def repeats(rng, magnitude=100.0, noise=3.0, n=3000):
    """Voxels in a row with one temperature curve, noise in both parts of the signal."""
    truth = np.broadcast_to(np.linspace(0, 10, 6), (n, 6))
    clean = image(truth, magnitude=magnitude)
    return truth, clean + noise * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))


@pytest.mark.parametrize("reference", [(0, 1), (0, 3)])
def test_error_from_noise_over_magnitude_is_the_scatter_of_repeats(rng, reference):
    _, noisy = repeats(rng)
    fit = temperature_change(noisy, noise_sd=3.0, reference=reference, **SCAN)
    for frame in range(reference[1], 6):
        scatter = fit.parameters[NAME][:, frame].std()
        assert fit.standard_errors[NAME][:, frame].mean() == pytest.approx(scatter, rel=0.1)
    if reference == (0, 3):
        assert fit.standard_errors[NAME][:, 1].mean() == pytest.approx(
            fit.parameters[NAME][:, 1].std(), rel=0.1
        )


def test_shared_error_is_what_frames_of_a_voxel_have_in_common(rng):
    _, noisy = repeats(rng)
    fit = temperature_change(noisy, noise_sd=3.0, **SCAN)
    common = np.cov(fit.parameters[NAME][:, 4], fit.parameters[NAME][:, 5])[0, 1]
    assert fit.parameters["shared_error_c"].mean() == pytest.approx(np.sqrt(common), rel=0.1)


@pytest.mark.parametrize("with_magnitude", [True, False])
def test_error_from_the_unheated_region_is_the_scatter_of_repeats(rng, with_magnitude):
    """A slab of 3,000 voxels is heated alike, another 1,000 stay cold; drift is linear."""
    truth, noisy = repeats(rng, n=4000)
    cold = np.arange(4000) >= 3000
    ramp = np.linspace(-1, 1, 4000)[:, np.newaxis] * np.arange(6) * 0.1
    noisy = noisy * np.exp(1j * ramp)
    noisy[cold] *= np.exp(-1j * RADIANS * truth[cold])
    signal = {"signal": noisy} if with_magnitude else {"signal": np.angle(noisy)}
    fit = temperature_change(**signal, unheated=cold, drift_order=1, **SCAN)
    error, value = fit.standard_errors[NAME][~cold], fit.parameters[NAME][~cold]
    for frame in range(1, 6):
        line = np.polyfit(np.arange(3000), value[:, frame], 1)
        scatter = (value[:, frame] - np.polyval(line, np.arange(3000))).std()
        assert error[:, frame].mean() == pytest.approx(scatter, rel=0.15)
    assert fit.parameters["shared_error_c"][~cold].mean() == pytest.approx(
        error[:, 1:].mean() / np.sqrt(2), rel=0.1
    )


def test_error_of_the_drift_itself_is_part_of_it(rng):
    """Repeats of a whole image whose few unheated voxels decide the drift elsewhere."""
    cold = np.zeros((6, 5), bool)
    cold[:2] = True
    values, errors = [], []
    for _ in range(600):
        clean = image(np.zeros((6, 5, 3)))
        noisy = clean + 3.0 * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
        fit = temperature_change(noisy, unheated=cold, drift_order=1, noise_sd=3.0, **SCAN)
        values.append(fit.parameters[NAME][5, 4, 2])
        errors.append(fit.standard_errors[NAME][5, 4, 2])
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.1)


def test_voxels_in_the_noise_are_nan_and_flagged():
    magnitude = np.full((3, 4), 100.0)
    magnitude[1, 2], magnitude[2, 0] = 2.0, 2.0
    fit = temperature_change(np.zeros((3, 4)), magnitude=magnitude, noise_sd=1.0, **SCAN)
    assert (fit.flags == Flag.BELOW_NOISE).sum() == 1 + 4
    np.testing.assert_array_equal(np.isnan(fit.parameters[NAME]), fit.flags == Flag.BELOW_NOISE)


def test_a_lost_frame_makes_all_later_ones_invalid():
    phase = np.zeros((2, 5))
    phase[0, 2] = np.inf
    fit = temperature_change(phase, **SCAN)
    np.testing.assert_array_equal(fit.flags[0], [0, 0] + [Flag.INVALID_INPUT] * 3)
    assert not fit.flags[1].any()


def test_mask_order_and_precision():
    truth, cold = heated()
    noisy = np.angle(image(truth, drift())).astype(np.float32)
    mask = np.zeros(SHAPE, bool)
    mask[4:20, 4:16] = True
    one = temperature_change(noisy, unheated=cold, drift_order=2, mask=mask, **SCAN)
    other = temperature_change(np.asfortranarray(noisy), unheated=cold, drift_order=2, mask=mask, **SCAN)
    assert one.parameters[NAME].dtype == np.float32
    np.testing.assert_allclose(one.parameters[NAME], other.parameters[NAME], atol=1e-5)
    np.testing.assert_allclose(one.parameters[NAME][mask], truth[mask], atol=1e-4)
    assert (one.flags[~mask] == Flag.MASKED_OUT).all()


def test_temperature_coefficient_is_unconfirmed_unless_given_and_its_error_kept_apart():
    fit = temperature_change(image(heated()[0]), alpha_relative_uncertainty=0.05, **SCAN)
    assert "unconfirmed-value" in {caution.code for caution in fit.warnings}
    np.testing.assert_allclose(fit.calibration_errors[NAME], 0.05 * np.abs(fit.parameters[NAME]))
    own = temperature_change(image(heated()[0]), alpha_ppm_per_c=-0.0094, **SCAN)
    assert "unconfirmed-value" not in {caution.code for caution in own.warnings}
    assert own.decisions["alpha_ppm_per_c"] == -0.0094


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"echo_time_s": 10.0}, ImplausibleValue, "milliseconds"),
        ({"echo_time_s": 0.0}, ImplausibleValue, "echo_time_s"),
        ({"field_t": 127.7}, ImplausibleValue, "field"),
        ({"field_t": 0.0}, ImplausibleValue, "field"),
        ({"alpha_ppm_per_c": 0.0}, ImplausibleValue, "coefficient"),
        ({"alpha_ppm_per_c": -10.0}, ImplausibleValue, "coefficient"),
        ({"alpha_ppm_per_c": -1e-8}, ImplausibleValue, "coefficient"),
        ({"reference": (3, 3)}, ValueError, "reference"),
        ({"drift_order": 3}, ValueError, "drift_order"),
        ({"noise_sd": 1.0}, ValueError, "magnitude"),
        ({"magnitude": np.ones((3, FRAMES))}, ValueError, "magnitude has shape"),
        ({"unheated": np.ones(3, bool)}, ValueError, "mask has shape"),
        ({"unheated": np.zeros(SHAPE, bool)}, ValueError, "found 0"),
    ],
)
def test_units_and_choices_that_do_not_fit_are_refused(change, error, match):
    arguments = {"unheated": heated()[1]} | SCAN | change
    with pytest.raises(error, match=match):
        temperature_change(np.angle(image(heated()[0])), **arguments)


def test_an_unheated_line_cannot_tell_a_plane():
    line = np.zeros(SHAPE, bool)
    line[:, 0, 0] = True
    with pytest.raises(ValueError, match="too flat"):
        temperature_change(np.angle(image(heated()[0])), unheated=line, **SCAN)


def test_complex_signal_and_magnitude_together_are_refused():
    with pytest.raises(ValueError, match="own magnitude"):
        temperature_change(image(heated()[0]), magnitude=np.ones((*SHAPE, FRAMES)), **SCAN)


def test_absolute_temperature_adds_the_start():
    np.testing.assert_array_equal(
        absolute_temperature([[0.0, 4.0], [1.0, 2.0]], [37.0, 20.0]), [[37, 41], [21, 22]]
    )
    for start, error, match in (
        (310.0, ImplausibleValue, "Celsius"),
        ([37.0] * 3, ValueError, "shape"),
        (np.nan, ImplausibleValue, "no number"),
    ):
        with pytest.raises(error, match=match):
            absolute_temperature(np.zeros((2, 2)), start)
