"""Contrasts on arrays: definitions, mirror about the corrected water, common range, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from imgtheranostics.cest import contrast
from imgtheranostics.errors import ImplausibleValue

OFFSETS = np.round(np.linspace(-6.0, 6.0, 61), 10)
ASYMMETRIC = OFFSETS[OFFSETS >= -3.0]


def line(ppm, amplitude, width, centre):
    return amplitude * (width / 2) ** 2 / ((width / 2) ** 2 + (ppm - centre) ** 2)


def spectrum(ppm, b0=0.0, amide=0.06):
    ppm = ppm - b0
    return 1 - line(ppm, 0.9, 1.4, 0) - line(ppm, amide, 1.5, 3.5) - line(ppm, 0.08, 4, -3.5)


def exact(w, b0=0.0):
    """Label and mirrored label of the model itself, not of a spline."""
    return spectrum(np.asarray(w) + b0, b0), spectrum(-np.asarray(w) + b0, b0)


CASES = {
    "mtr_asym": lambda lab, ref: ref - lab,
    "mtr_norm_ref": lambda lab, ref: (ref - lab) / ref,
    "pcm": lambda lab, ref: (ref - lab) / (ref - lab + ref * lab),
    "mtr_rex": lambda lab, ref: 1 / lab - 1 / ref,
}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("b0", [0.0, 0.3, -0.17])
def test_contrasts_of_a_shifted_spectrum_are_their_definitions(kind, b0):
    """F3 to F5 of the sheet on the closed form of the spectrum; the spline's own error is below 2e-4."""
    z = spectrum(OFFSETS, b0)
    at = [2.0, 3.5, 5.0]
    found = getattr(contrast, kind)(z, OFFSETS, at_ppm=at, b0_ppm=b0)
    assert found.shape == (3,)
    np.testing.assert_allclose(found, CASES[kind](*exact(at, b0)), atol=2e-4)


def test_arex_is_the_inverse_contrast_over_t1_and_duty_cycle():
    z = np.stack([spectrum(OFFSETS), spectrum(OFFSETS, amide=0.1)])
    rex = contrast.mtr_rex(z, OFFSETS, at_ppm=3.5)
    t1 = np.array([1.0, 2.5])
    np.testing.assert_allclose(contrast.arex(z, OFFSETS, at_ppm=3.5, t1_s=t1), rex / t1[:, None])
    pulsed = contrast.arex(z, OFFSETS, at_ppm=3.5, t1_s=t1, duty_cycle=0.5)
    np.testing.assert_allclose(pulsed, 2 * rex / t1[:, None])


def test_inverse_contrast_cancels_direct_saturation_and_mt_at_steady_state():
    """1/Z adds rates: R1rho of water, MT and exchange over R1 cos^2(theta) (Zaiss and Bachert 2013)."""
    water = 1 + 0.8 / (OFFSETS**2 + 0.05) + 0.3
    exchange = 0.12 * line(OFFSETS, 1.0, 1.0, 3.6)
    z = 1 / (water + exchange)
    found = contrast.mtr_rex(z, OFFSETS, at_ppm=3.6)
    assert found[0] == pytest.approx(0.12 * (1 - line(-3.6, 1, 1, 3.6)), rel=1e-9)


def test_apt_weighted_is_the_asymmetry_at_3_5_ppm_as_fraction():
    z = spectrum(OFFSETS)
    lab, ref = exact(3.5)
    assert contrast.apt_weighted(z, OFFSETS)[0] == pytest.approx(ref - lab, abs=2e-4)


def test_an_asymmetric_list_is_mirrored_about_water_and_only_where_both_sides_are():
    """-3 to 6 ppm: the middle of the list is 1.5 ppm, where some tools mirror it."""
    z = spectrum(ASYMMETRIC)
    found = contrast.mtr_asym(z, ASYMMETRIC, at_ppm=[1.0, 2.0, 3.0, 3.2, 5.0])
    lab, ref = exact([1.0, 2.0, 3.0])
    np.testing.assert_allclose(found[:3], ref - lab, atol=2e-4)
    assert np.isnan(found[3:]).all()


def test_the_common_range_moves_with_water():
    z = np.stack([spectrum(OFFSETS, b0) for b0 in (-0.5, 0.0, 0.5)])
    found = contrast.mtr_asym(z, OFFSETS, at_ppm=[5.4, 5.8, 6.0, 6.2], b0_ppm=[-0.5, 0.0, 0.5])
    np.testing.assert_array_equal(np.isfinite(found).sum(axis=1), [1, 3, 1])


@given(st.permutations(range(OFFSETS.size)), st.floats(-0.5, 0.5))
def test_the_order_of_the_offsets_does_not_matter(order, b0):
    z = spectrum(OFFSETS, 0.1)
    expected = contrast.mtr_rex(z, OFFSETS, at_ppm=[1.0, 3.5], b0_ppm=b0)
    found = contrast.mtr_rex(z[list(order)], OFFSETS[list(order)], at_ppm=[1.0, 3.5], b0_ppm=b0)
    np.testing.assert_array_equal(found, expected)


@given(st.floats(-5.9, 5.9), st.integers(0, 2**32 - 1))
def test_asymmetry_changes_sign_with_the_side(at, seed):
    z = np.random.default_rng(seed).uniform(0.2, 1, OFFSETS.size)
    there, back = contrast.mtr_asym(z, OFFSETS, at_ppm=[at, -at])
    assert there == pytest.approx(-back, abs=1e-12)
    spline = CubicSpline(OFFSETS, z)
    assert there == pytest.approx(spline(-at) - spline(at), abs=1e-12)


def test_a_given_reference_replaces_the_mirrored_offset():
    z = np.stack([spectrum(OFFSETS)] * 2)
    lab, _ = exact([2.0, 3.5])
    reference = np.array([[0.8, 0.85], [0.7, 0.9]])
    found = contrast.mtr_rex(z, OFFSETS, at_ppm=[2.0, 3.5], reference=reference)
    np.testing.assert_allclose(found, 1 / lab - 1 / reference, atol=2e-4)
    with pytest.raises(ValueError, match="reference has shape"):
        contrast.mtr_rex(z, OFFSETS, at_ppm=[2.0, 3.5], reference=np.ones((3, 2)))


def test_signals_that_cannot_be_divided_by_are_not_a_number():
    z = np.stack([spectrum(OFFSETS)] * 3)
    label, mirror = np.searchsorted(OFFSETS, [2.0 - 1e-9, -2.0 - 1e-9])
    z[1, label], z[2, mirror] = -0.01, 0.0
    at = {"at_ppm": [2.0]}
    assert np.isfinite(contrast.mtr_asym(z, OFFSETS, **at)).all()
    np.testing.assert_array_equal(
        np.isfinite(contrast.mtr_norm_ref(z, OFFSETS, **at))[:, 0], [True, True, False]
    )
    for kind in (contrast.mtr_rex, contrast.pcm):
        np.testing.assert_array_equal(np.isfinite(kind(z, OFFSETS, **at))[:, 0], [True, False, False])


def test_not_a_number_stays_in_its_voxel():
    z = np.stack([spectrum(OFFSETS)] * 4).reshape(2, 2, -1)
    z[0, 1, 7] = np.nan
    b0 = np.array([[0.0, 0.0], [np.nan, 0.1]])
    found = contrast.mtr_asym(z, OFFSETS, at_ppm=[1.0, 3.5], b0_ppm=b0)
    np.testing.assert_array_equal(np.isnan(found[..., 0]), [[False, True], [True, False]])
    np.testing.assert_array_equal(np.isnan(found[..., 1]), [[False, True], [True, False]])


def test_single_precision_stays_single():
    z = spectrum(OFFSETS).astype(np.float32)
    for kind in CASES:
        assert getattr(contrast, kind)(z, OFFSETS, at_ppm=3.5).dtype == np.float32
    assert contrast.arex(z, OFFSETS, at_ppm=3.5, t1_s=1.5).dtype == np.float32


@pytest.mark.parametrize("t1", [0.0, -1.0, np.nan, 1500.0, [1400.0, 1600.0]])
def test_a_t1_that_cannot_be_is_refused(t1):
    with pytest.raises(ImplausibleValue, match="T1"):
        contrast.arex(np.stack([spectrum(OFFSETS)] * 2), OFFSETS, at_ppm=3.5, t1_s=t1)


@pytest.mark.parametrize("duty_cycle", [0.0, 50.0, -0.5, np.nan])
def test_a_duty_cycle_that_is_no_fraction_is_refused(duty_cycle):
    with pytest.raises(ImplausibleValue, match="duty cycle"):
        contrast.arex(spectrum(OFFSETS), OFFSETS, at_ppm=3.5, t1_s=1.0, duty_cycle=duty_cycle)


def test_a_t1_map_of_another_shape_is_refused():
    z = np.stack([spectrum(OFFSETS)] * 6).reshape(2, 3, -1)
    with pytest.raises(ValueError, match="t1_s has shape"):
        contrast.arex(z, OFFSETS, at_ppm=3.5, t1_s=np.ones((3, 2)))
    with pytest.raises(ValueError, match="t1_s has shape"):
        contrast.arex(z, OFFSETS, at_ppm=3.5, t1_s=np.ones(3))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda w: np.r_[w[:-1], w[0]], ValueError, "twice"),
        (lambda w: w[:-1], ValueError, "last axis"),
        (lambda w: np.r_[w[:-1], -300.0], ImplausibleValue, "too far from water"),
        (lambda w: np.r_[w[:-1], np.nan], ValueError, "finite"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        contrast.mtr_asym(spectrum(OFFSETS), change(OFFSETS), at_ppm=3.5)


def test_the_module_is_also_the_job_on_volumes(monkeypatch):
    import imgtheranostics as it
    from imgtheranostics.cest import contrast_maps

    seen = []

    def job(*given, **options):
        seen.append((given, options))
        return "estimate"

    monkeypatch.setattr(contrast_maps, "contrast", job)
    assert it.cest.contrast("before", "after", kind="mtr_rex") == "estimate"
    assert seen == [(("before", "after"), {"kind": "mtr_rex"})]
    assert it.cest.contrast.mtr_asym is contrast.mtr_asym
