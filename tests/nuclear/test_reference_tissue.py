"""Reference-tissue models against curves of one tissue compartment each, by their exact convolutions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.signal import lfilter

from imgtheranostics.errors import IllConditioned, ImplausibleValue
from imgtheranostics.nuclear import kinetics
from imgtheranostics.volume import Flag

DURATION = np.array([10.0] * 12 + [30.0] * 6 + [60.0] * 5 + [300.0] * 16)
END = np.cumsum(DURATION)
START = END - DURATION
MID = 0.5 * (START + END)
FINE = np.arange(0.0, END[-1] + 0.5, 0.5)
GIVEN = {"time_s": MID, "frame_duration_s": DURATION}


def frame_means(curve):
    area = np.r_[0.0, np.cumsum(0.25 * (curve[1:] + curve[:-1]))]
    return (np.interp(END, FINE, area) - np.interp(START, FINE, area)) / DURATION


def one_tissue(k1, k2):
    """C = K1 cp (*) exp(-k2 t) for cp = e^{-a t} - e^{-b t}, in closed form; rates per min."""
    k1, k2 = k1 / 60, k2 / 60
    total = np.zeros(FINE.size)
    for sign, rate in ((1.0, 1 / 1710.0), (-1.0, 1 / 53.0)):
        total += sign * (np.exp(-rate * FINE) - np.exp(-k2 * FINE)) / (k2 - rate)
    return 1000 * k1 * total


REFERENCE = frame_means(one_tissue(0.1, 0.1))


def target(r1, bp, k2_reference=0.1):
    """R1 = K1/K1', k2 = R1 k2', and the apparent k2 is k2/(1 + BP)."""
    return frame_means(one_tissue(0.1 * r1, r1 * k2_reference / (1 + bp)))


TRUTH = [(1.0, 0.5), (1.2, 2.0), (0.8, 3.5), (1.1, 0.4)]


@pytest.mark.parametrize("method", [kinetics.srtm, kinetics.srtm2])
def test_binding_and_delivery_are_recovered(method):
    """To 1 %: the reference is known by its frames only, with straight lines between them."""
    curves = np.stack([target(*each) for each in TRUTH])
    found = method(curves, REFERENCE, **GIVEN)
    assert not found.flags.any()
    for name, column in (("R1", 0), ("BP_ND", 1)):
        expected = [each[column] for each in TRUTH]
        np.testing.assert_allclose(found.parameters[name], expected, rtol=1e-2, atol=0.01)
    np.testing.assert_allclose(found.parameters["k2_reference"], 0.1, rtol=2e-2)
    np.testing.assert_allclose(
        found.parameters["k2"], found.parameters["k2a"] * (1 + found.parameters["BP_ND"]), rtol=1e-9
    )
    assert found.units["k2"] == "1/min"


def basis(rate):
    """The reference's convolution, averaged over frames, on a fine grid: straight lines between middles."""
    end = REFERENCE[-1] + (REFERENCE[-1] - REFERENCE[-2]) / (MID[-1] - MID[-2]) * (END[-1] - MID[-1])
    curve = np.interp(FINE, np.r_[0.0, MID, END[-1]], np.r_[0.0, REFERENCE, end])
    decay = np.exp(-rate * 0.5)
    return frame_means(lfilter([0.25, 0.25 * decay], [1.0, -decay], curve))


def test_fit_and_errors_are_those_of_curve_fit(rng):
    """The rate is continuous: the minimum and the covariance are SciPy's, whatever the number of bases."""
    noisy = target(1.1, 1.5) + rng.normal(0, 1.0, MID.size)
    found = kinetics.srtm(noisy, REFERENCE, **GIVEN)
    coarse = kinetics.srtm(noisy, REFERENCE, **GIVEN, n_bases=40)

    def model(_, r1, k2, bp):
        rate = k2 / 60 / (1 + bp)
        return r1 * REFERENCE + (k2 / 60 - r1 * rate) * basis(rate)

    expected, covariance = curve_fit(model, MID, noisy, p0=[1.0, 0.1, 1.0], xtol=1e-10, ftol=1e-12)
    for j, name in enumerate(("R1", "k2", "BP_ND")):
        assert found.parameters[name] == pytest.approx(expected[j], rel=2e-4)
        assert coarse.parameters[name] == pytest.approx(float(found.parameters[name]), rel=1e-4)
        error = np.sqrt(covariance[j, j])
        assert found.standard_errors[name] == pytest.approx(error, rel=0.02)


@pytest.mark.parametrize("method", [kinetics.srtm, kinetics.srtm2])
def test_standard_errors_are_the_scatter_of_repeats(method, rng):
    noisy = target(1.0, 1.0) + rng.normal(0, 4.0, (1500, MID.size))
    found = method(noisy, REFERENCE, **GIVEN)
    for name in ("R1", "BP_ND", "k2"):
        scatter = found.parameters[name].std(ddof=1)
        assert found.standard_errors[name].mean() == pytest.approx(scatter, rel=0.1), name


def test_a_known_clearance_is_taken():
    found = kinetics.srtm2(target(1.2, 2.0), REFERENCE, **GIVEN, k2_reference_per_min=0.1)
    assert found.parameters["BP_ND"] == pytest.approx(2.0, rel=1e-2)
    assert found.parameters["k2_reference"] == pytest.approx(0.1)
    assert np.isnan(found.standard_errors["k2_reference"])


def test_curves_that_tell_nothing_are_flagged():
    curves = np.stack([target(1, 1), REFERENCE, np.zeros(MID.size), target(1, 1), -target(1, 1)])
    curves[3, 4] = np.nan
    found = kinetics.srtm(curves, REFERENCE, **GIVEN)
    assert found.flags[0] == 0
    assert found.flags[2] & Flag.ILL_CONDITIONED
    assert found.flags[3] == Flag.INVALID_INPUT
    assert found.flags[4] == Flag.NEGATIVE_AMPLITUDE
    assert np.isnan(found.standard_errors["BP_ND"][2])
    with pytest.raises(IllConditioned, match="clearance"):
        kinetics.srtm2(curves[2], REFERENCE, **GIVEN)


def test_a_rate_beyond_its_bounds_is_flagged():
    found = kinetics.srtm(target(1, 1), REFERENCE, **GIVEN, k2a_bounds_per_min=(0.1, 1.0))
    assert found.flags & Flag.AT_BOUND
    assert np.isnan(found.standard_errors["BP_ND"])


def test_masks_weights_and_threads(rng):
    curves = (target(1.1, 1.5) + rng.normal(0, 1.0, (200, MID.size))).astype(np.float32)
    mask, weights = rng.random(200) < 0.5, np.ones(MID.size)
    weights[7] = 0.0
    curves[:, 7] = np.nan
    one = kinetics.srtm(curves, REFERENCE, **GIVEN, weights=weights, mask=mask, workers=1)
    two = kinetics.srtm(curves, REFERENCE, **GIVEN, weights=3 * weights)
    for name, values in one.parameters.items():
        np.testing.assert_allclose(values[mask], two.parameters[name][mask], rtol=1e-5)
        assert np.isnan(values[~mask]).all()
    assert (one.flags[~mask] == Flag.MASKED_OUT).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"time_s": MID + 1500}, ImplausibleValue, "too late"),
        ({"time_s": MID[::-1]}, ValueError, "increase"),
        ({"reference": REFERENCE[1:]}, ValueError, "one value per frame"),
        ({"reference": REFERENCE - 0.5 * REFERENCE.max()}, ImplausibleValue, "negative"),
        ({"reference": -REFERENCE}, ImplausibleValue, "nowhere above zero"),
        ({"k2a_bounds_per_min": (0.0, 1.0)}, ValueError, "above zero"),
        ({"weights": np.where(np.arange(MID.size) < 2, 1.0, 0.0)}, ValueError, "at least 3 frames"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    given = {"reference": REFERENCE, **GIVEN, **change}
    with pytest.raises(error, match=message):
        kinetics.srtm(np.ones(MID.size), given.pop("reference"), **given)
