"""PH from ratios of saturation transfer (cest.md F20): ratios, conversion, and calibrations by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtheranostics.cest import ph
from imgtheranostics.cest.bloch_mcconnell import ExchangePool, PoolSystem, PulseTrain, WaterPool, simulate
from imgtheranostics.errors import (
    ImplausibleValue,
    MissingMetadata,
)
from imgtheranostics.volume import Flag

OFFSET = np.arange(-10.0, 10.01, 0.25)
SOLUTION = {
    "b1_ut": 3.0,
    "saturation_time_s": 5.0,
    "field_t": 7.0,
    "water_t1_s": 1.5,
    "water_t2_s": 0.04,
    "pool_t2_s": 0.02,
}
"""The sheet's protocol for iopamidol, 7 T, 3 uT, 5 s; the relaxation times are chosen."""


def spectrum(first=0.06, second=0.03, offset=OFFSET, b0=0.0, width=(1.0, 1.2)):
    """Water, and a line at each site of iopamidol."""
    x = offset - b0

    def line(depth, fwhm, at):
        return depth / (1 + (2 * (x - at) / fwhm) ** 2)

    return 1 - line(0.9, 1.6, 0.0) - line(first, width[0], 4.2) - line(second, width[1], 5.5)


def transfer(z, offset, at, kind):
    label, mirror = np.interp([at, -at], offset, z)
    return {
        "mtr_asym": mirror - label,
        "inverse": (mirror - label) / label,
        "norm_ref": 1 - label / mirror,
    }[kind]


# Ratios


@pytest.mark.parametrize("kind", ["mtr_asym", "inverse", "norm_ref"])
def test_ratio_at_measured_offsets_is_that_of_the_samples(kind):
    """Where both sites were measured, interpolation changes nothing."""
    offset = np.unique(np.concatenate([OFFSET, [-4.2, 4.2]]))
    z = spectrum(offset=offset)
    found = ph.ratio(z, offset, kind=kind)
    expected = transfer(z, offset, 4.2, kind) / transfer(z, offset, 5.5, kind)
    assert found.parameters["ratio"] == pytest.approx(expected, rel=1e-12)
    assert dict(found.units) == {"ratio": "1"}


@pytest.mark.parametrize("kind", ["mtr_asym", "inverse", "norm_ref"])
@settings(max_examples=20)
@given(b0=st.floats(-0.5, 0.5))
def test_ratio_does_not_depend_on_where_water_lies(kind, b0):
    still, moved = (ph.ratio(spectrum(b0=at), OFFSET, kind=kind, b0_ppm=at) for at in (0.0, b0))
    assert moved.parameters["ratio"] == pytest.approx(float(still.parameters["ratio"]), rel=0.01)


@pytest.mark.parametrize("kind", ["mtr_asym", "inverse", "norm_ref"])
def test_standard_error_is_the_scatter_of_repeats(kind, rng):
    repeats, sd, b0_sd = 4000, 1.5e-3, 0.01
    b0 = rng.uniform(-0.3, 0.3, repeats)
    x = OFFSET[np.newaxis] - b0[:, np.newaxis]
    z = np.array([spectrum(offset=row) for row in x]) + rng.normal(0, sd, x.shape)
    found_at = b0 + rng.normal(0, b0_sd, repeats)
    found = ph.ratio(z, OFFSET, kind=kind, b0_ppm=found_at, b0_se_ppm=b0_sd, noise_sd=sd)
    assert (found.flags == 0).all()
    scatter = found.parameters["ratio"].std()
    assert found.standard_errors["ratio"].mean() == pytest.approx(scatter, rel=0.1)


def test_noise_is_estimated_where_it_is_not_given(rng):
    z = spectrum() + rng.normal(0, 1e-3, (1500, OFFSET.size))
    found = ph.ratio(z, OFFSET)
    assert np.median(found.standard_errors["ratio"]) == pytest.approx(
        found.parameters["ratio"].std(), rel=0.1
    )


def test_sites_close_together_share_samples(rng):
    """At 4.2 and 4.45 ppm and 0.5 ppm between samples, both transfers come from the same ones."""
    offset = np.arange(-8, 8.01, 0.5)
    z = spectrum(offset=offset) + rng.normal(0, 5e-4, (4000, offset.size))
    found = ph.ratio(z, offset, at_ppm=(4.2, 4.45), noise_sd=5e-4)
    scatter = found.parameters["ratio"].std()
    assert found.standard_errors["ratio"].mean() == pytest.approx(scatter, rel=0.1)


def test_amplitudes_are_divided_with_their_correlation(rng):
    z = spectrum(first=0.06, second=0.05) + rng.normal(0, 2e-3, (1500, OFFSET.size))
    exact = ph.ratio(spectrum(first=0.06, second=0.05), OFFSET, kind="amplitude")
    assert exact.parameters["ratio"] == pytest.approx(1.2, rel=1e-4)
    found = ph.ratio(z, OFFSET, kind="amplitude", noise_sd=2e-3)
    known = np.isfinite(found.standard_errors["ratio"])
    assert known.mean() > 0.95
    scatter = found.parameters["ratio"][known].std()
    assert found.standard_errors["ratio"][known].mean() == pytest.approx(scatter, rel=0.1)


def test_a_denominator_within_its_error_gives_no_ratio(rng):
    z = spectrum(second=0.0) + rng.normal(0, 2e-3, (500, OFFSET.size))
    # What is left at 5.5 ppm is the foot of the line at 4.2 ppm.
    found = ph.ratio(z, OFFSET, at_ppm=(4.2, 8.5), noise_sd=2e-3)
    hidden = found.flags == Flag.BELOW_NOISE
    assert hidden.mean() > 0.9
    np.testing.assert_array_equal(np.isnan(found.parameters["ratio"]), hidden)
    np.testing.assert_array_equal(np.isnan(found.standard_errors["ratio"]), hidden)


def test_what_was_not_measured_gives_no_ratio():
    found = ph.ratio(spectrum(), OFFSET, at_ppm=(4.2, 11.0))
    assert found.flags == Flag.OUTSIDE_RANGE
    assert np.isnan(found.parameters["ratio"])
    shifted = ph.ratio(spectrum(), OFFSET, at_ppm=(4.2, 9.9), b0_ppm=0.2)
    assert shifted.flags == Flag.OUTSIDE_RANGE


def test_shapes_masks_and_bad_samples():
    z = np.tile(spectrum(), (2, 3, 1)).astype(np.float32)
    z[0, 1, 5], z[1, 2] = np.nan, 1.5 * z[1, 2]
    mask, b0 = np.ones((2, 3), bool), np.zeros((2, 3))
    mask[0, 0], b0[1, 0] = False, np.nan
    for layout in (np.ascontiguousarray, np.asfortranarray):
        found = ph.ratio(layout(z), OFFSET, mask=mask, b0_ppm=b0, noise_sd=1e-3)
        expected = np.zeros((2, 3), int)
        expected[0, 0], expected[0, 1] = Flag.MASKED_OUT, Flag.INVALID_INPUT
        expected[1, 0], expected[1, 2] = Flag.INVALID_INPUT, Flag.OUTSIDE_RANGE
        np.testing.assert_array_equal(found.flags, expected)
        values = found.parameters["ratio"]
        assert values.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(values), [[True, True, False], [True, False, False]])
    high = np.array([2.0, *spectrum()[1:]])
    assert ph.ratio(high, OFFSET, noise_sd=1e-3).flags & Flag.OUTSIDE_RANGE


def test_order_of_offsets_does_not_matter(rng):
    order = rng.permutation(OFFSET.size)
    one = ph.ratio(spectrum(), OFFSET, noise_sd=1e-3)
    other = ph.ratio(spectrum()[order], OFFSET[order], noise_sd=1e-3)
    for table in ("parameters", "standard_errors"):
        assert getattr(other, table)["ratio"] == pytest.approx(float(getattr(one, table)["ratio"]), rel=1e-9)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"kind": "mtr"}, "unknown kind"),
        ({"at_ppm": (4.2,)}, "two different offsets"),
        ({"at_ppm": (4.2, -5.5)}, "two different offsets"),
        ({"pools": ()}, "do not apply"),
        ({"kind": "amplitude", "b0_ppm": 0.0}, "water itself"),
        ({"kind": "amplitude", "at_ppm": (4.2, 8.0)}, "no pool begins"),
        ({"kind": "amplitude", "at_ppm": (4.1, 4.3)}, "both nearest"),
    ],
)
def test_usage_errors_of_a_ratio(more, said):
    with pytest.raises(ValueError, match=said):
        ph.ratio(spectrum(), OFFSET, **more)


def test_offsets_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="twice"):
        ph.ratio(spectrum(), np.where(OFFSET == 1.0, 1.25, OFFSET))
    with pytest.raises(ValueError, match="last axis"):
        ph.ratio(spectrum()[:-1], OFFSET)
    with pytest.raises(ImplausibleValue, match="ppm"):
        ph.ratio(spectrum(), 300 * OFFSET)


# One site at two powers


SITES = np.unique(np.concatenate([OFFSET, [-4.3, 4.3]]))


def iodixanol(concentration, rate, b1):
    """One amide at 4.3 ppm, far enough from water at 11.7 T, saturated into the steady state."""
    pool = ExchangePool("amide", 2 * concentration / 111e3, 1.0, 0.1, rate, 4.3)
    system = PoolSystem(WaterPool(2.0, 0.5), (pool,), field_t=11.7)
    return simulate(system, PulseTrain(SITES, [b1], 20.0))


@pytest.mark.parametrize("rate", [300.0, 1000.0])
def test_ratio_of_powers_tells_the_rate_and_not_the_concentration(rate):
    """F13 in the steady state: ST/(1 - ST) = f k alpha/R1, so that the ratio is alpha(high)/alpha(low)."""
    low, high = ((2 * np.pi * 42.5764 * b1) ** 2 for b1 in (1.0, 2.0))
    expected = (high / (high + rate**2)) / (low / (low + rate**2))
    values = [
        float(
            ph.two_b1_ratio(
                iodixanol(amount, rate, 1.0), iodixanol(amount, rate, 2.0), SITES, noise_sd=1e-4
            ).parameters["ratio"]
        )
        for amount in (5.0, 20.0)
    ]
    assert values[0] == pytest.approx(values[1], rel=0.01)
    # The formula leaves out spillover and the pool's R2, 10/s beside 300/s and more.
    assert values == pytest.approx([expected, expected], rel=0.04)


def test_ratio_of_powers_has_the_scatter_of_repeats(rng):
    weak, strong = iodixanol(20.0, 600.0, 1.0), iodixanol(20.0, 600.0, 2.0)
    noise = rng.normal(0, 1, (2, 4000, SITES.size))
    b0 = 0.005 * rng.normal(size=4000)
    found = ph.two_b1_ratio(
        weak + 1e-3 * noise[0],
        strong + 2e-3 * noise[1],
        SITES,
        b0_ppm=b0,
        b0_se_ppm=0.005,
        noise_sd=1e-3,
        noise_high_sd=2e-3,
    )
    scatter = found.parameters["ratio"].std()
    assert found.standard_errors["ratio"].mean() == pytest.approx(scatter, rel=0.1)


def test_spectra_of_two_powers_must_fit():
    with pytest.raises(ValueError, match="leading shapes"):
        ph.two_b1_ratio(np.tile(spectrum(), (2, 1)), np.tile(spectrum(), (3, 1)), OFFSET)
    silent = ph.two_b1_ratio(spectrum(0.0, 0.0), spectrum(), OFFSET, noise_sd=1e-3)
    assert silent.flags == Flag.BELOW_NOISE


def test_conversion_keeps_flags_and_carries_errors():
    acidity = np.array([6.4, 6.6, 6.8, 7.0, 7.2, 7.4])
    bent = 0.3 + 0.5 * (acidity - 6.9) - 0.15 * (acidity - 6.9) ** 2
    calibration = ph.calibrate(10**bent, acidity)
    z = np.stack([spectrum(0.06, 0.03), spectrum(0.06, 0.005), spectrum(0.0, 0.03)])
    z[2, 3] = np.nan
    ratio = ph.ratio(z, OFFSET, noise_sd=1e-3)
    found = ph.converted(calibration, ratio)
    assert list(found.flags) == [0, Flag.OUTSIDE_RANGE, Flag.INVALID_INPUT]
    np.testing.assert_array_equal(np.isnan(found.parameters["ph"]), [False, True, True])
    value, error = ratio.parameters["ratio"][0], ratio.standard_errors["ratio"][0]
    assert found.standard_errors["ph"][0] == pytest.approx(
        float(np.hypot(calibration.slope(value) * error, calibration.calibration_error(value)))
    )
    plain = ph.converted(calibration, np.float32([2.0, 99.0, np.nan]), ratio_se=0.1)
    assert plain.parameters["ph"].dtype == np.float32
    assert list(plain.flags) == [0, Flag.OUTSIDE_RANGE, Flag.INVALID_INPUT]


# From spectra and by simulation


def iopamidol(acidity, concentration=20.0):
    """Spectra of solutions at some pH, from the same record as the calibration."""
    from imgtheranostics.cest import agent_pools

    water = WaterPool(SOLUTION["water_t1_s"], SOLUTION["water_t2_s"])
    systems = [
        PoolSystem(
            water,
            agent_pools.simulator_pools("iopamidol", concentration_mm=concentration, ph=at, t2_s=0.02),
            field_t=7.0,
        )
        for at in acidity
    ]
    return simulate(systems, PulseTrain(OFFSET, [3.0], 5.0))


def test_simulated_calibration_gives_the_ph_of_simulated_solutions():
    """The phantom's tolerance without noise: 0.02, here between the pH of the calibration."""
    calibration = ph.simulated_calibration(concentration_mm=20.0, **SOLUTION)
    acidity = np.array([6.43, 6.62, 6.87, 7.03, 7.18])
    ratio = ph.ratio(iopamidol(acidity), OFFSET, noise_sd=1e-4)
    found = ph.converted(calibration, ratio, conditions=ph.Conditions(b1_ut=3.0, saturation_time_s=5.0))
    np.testing.assert_allclose(found.parameters["ph"], acidity, atol=0.02)
    codes = [caution.code for caution in calibration.warnings]
    assert codes[0] == "simulated-calibration"
    assert {"unconfirmed-value", "extrapolated-exchange-rate"} <= set(codes)
    assert "from memory" in calibration.warnings[0].message


def test_simulated_ratio_rises_until_it_turns():
    """At 3 uT the faster amide is no longer labelled fully above pH 7.3: nothing is converted there."""
    calibration = ph.simulated_calibration(concentration_mm=20.0, **SOLUTION)
    assert calibration.range[0] == 6.4
    assert 7.15 < calibration.range[1] < 7.4
    assert "calibration-not-monotone" in {caution.code for caution in calibration.warnings}
    stronger = ph.simulated_calibration(concentration_mm=20.0, **{**SOLUTION, "b1_ut": 6.0})
    assert stronger.range == (6.4, 7.4)


def test_a_calibration_from_spectra_is_that_of_their_ratios():
    acidity = np.arange(6.4, 7.21, 0.1)
    z = iopamidol(acidity)
    made = ph.calibrate_from_spectra(z, OFFSET, acidity, kind="inverse", conditions=ph.Conditions(b1_ut=3.0))
    ratio = ph.ratio(z, OFFSET, kind="inverse")
    np.testing.assert_allclose(made.invert(ratio.parameters["ratio"]), acidity, atol=0.005)
    assert made.conditions == ph.Conditions("inverse", (4.2, 5.5), (3.0,))
    with pytest.raises(ImplausibleValue, match="kind"):
        ph.calibrate_from_spectra(z, OFFSET, acidity, conditions=ph.Conditions(kind="inverse"))
    z[2] = np.nan
    with pytest.raises(ValueError, match=r"numbers \[2\]"):
        ph.calibrate_from_spectra(z, OFFSET, acidity)


def test_bias_by_concentration_is_that_of_the_sheet():
    """Up to 10 % between 2 and 20 mM (cest.md, section 6); the inverse form hardly depends on it."""
    found = ph.concentration_bias(**SOLUTION)
    worst = np.abs(found.ratio_bias).max(axis=1)
    assert 0.05 < worst[0] < 0.12
    assert worst[1] == 0.0
    assert np.nanmax(np.abs(found.ph_bias[1])) < 0.005
    assert np.nanmax(np.abs(found.ph_bias[0])) > 0.05
    inverse = ph.concentration_bias(kind="inverse", **SOLUTION)
    assert np.abs(inverse.ratio_bias).max() < 0.005
    assert {caution.code for caution in found.warnings} >= {"unconfirmed-value"}


def test_agents_without_rates_are_not_simulated():
    with pytest.raises(MissingMetadata, match="record of Iodixanol"):
        ph.simulated_calibration("iodixanol", concentration_mm=20.0, **SOLUTION)
    with pytest.raises(ValueError, match="unknown kind"):
        ph.simulated_calibration(concentration_mm=20.0, kind="amplitude", **SOLUTION)


@pytest.mark.parametrize("spacing", [0.05, 0.2])
def test_noise_of_the_points_does_not_tear_the_range(spacing, rng):
    """3 % noise, steps of 6 % at the closest spacing: steps back are seen in nearly every calibration."""
    acidity = np.arange(6.4, 7.41, spacing)
    exact = 10 ** (0.5 * (acidity - 6.9))
    spans, missed = [], []
    for _ in range(60):
        made = ph.calibrate(exact * (1 + 0.03 * rng.normal(size=acidity.size)), acidity)
        spans.append(np.ptp(made.range))
        missed.append(made.invert(10 ** (0.5 * np.array([-0.2, 0.0, 0.2]))) - [6.7, 6.9, 7.1])
    assert np.median(spans) > 0.95
    assert np.isfinite(missed).mean() > 0.95
    assert np.nanstd(missed) < 0.03


def test_a_turn_is_found_in_noise(rng):
    """The maximum is at pH 7.25: what is converted lies below, or little above."""
    acidity = np.arange(6.2, 7.81, 0.1)
    ends, missed = [], []
    for _ in range(60):
        made = ph.calibrate(2.0 - (acidity - 7.25) ** 2 + 0.01 * rng.normal(size=acidity.size), acidity)
        ends.append(made.range)
        missed.append(made.invert(2.0 - (np.array([6.5, 6.8, 7.0]) - 7.25) ** 2) - [6.5, 6.8, 7.0])
    ends = np.array(ends)
    assert (ends[:, 0] < 6.35).mean() > 0.9
    assert (ends[:, 1] < 7.45).mean() > 0.9
    assert np.nanstd(missed) < 0.03
