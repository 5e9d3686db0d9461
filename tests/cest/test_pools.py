"""Fits of pools to Z-spectra: what comes back, what is flagged, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtheranostics.cest import pools
from imgtheranostics.errors import IllConditioned, ImplausibleValue
from imgtheranostics.fit import Fit
from imgtheranostics.volume import Flag

OFFSETS = np.concatenate([[-20.0, -12.0, -8.0], np.linspace(-6, 6, 45), [8.0, 12.0, 20.0]])
FIVE = pools.preset("7t_5pool")
NAMES = [pool.name for pool in FIVE]
ENDS = ("amplitude", "width_ppm", "centre_ppm")


def brain(rng, shape, smooth=False):
    """Parameters as in brain at 7 T, without structure or as slow waves over an image."""
    ranges = {
        "water": ((0.6, 0.85), (1.2, 2.5), (-0.3, 0.3)),
        "amide": ((0.03, 0.08), (0.8, 2.5), (3.3, 3.7)),
        "noe": ((0.03, 0.1), (2, 4.5), (-3.8, -3.0)),
        "mt": ((0.05, 0.15), (20, 60), (-3, -1)),
        "amine": ((0.02, 0.05), (0.8, 2.0), (1.8, 2.2)),
    }
    found = {}
    for n, (name, three) in enumerate(ranges.items()):
        for m, (end, (low, high)) in enumerate(zip(ENDS, three, strict=True)):
            part = rng.random(shape)
            if smooth:
                i, j = np.indices(shape) / np.array(shape).reshape(2, 1, 1)
                part = 0.5 + 0.4 * np.sin(2 * np.pi * (i * (1 + n % 2) / 2 + j * (1 + m) / 2) + n + m)
            found[f"{name}_{end}"] = low + (high - low) * part
    return found


def lorentzians(parameters, offsets=OFFSETS, baseline=1.0):
    """Z = Zi - sum A (G/2)^2/((G/2)^2 + (w - c)^2): F8 of the CEST sheet."""
    z = np.broadcast_to(baseline, (*np.shape(next(iter(parameters.values()))), offsets.size)).copy()
    for name in {key.rsplit("_amplitude")[0] for key in parameters if key.endswith("_amplitude")}:
        a, g, c = (np.asarray(parameters[f"{name}_{end}"])[..., None] for end in ENDS)
        z -= a * (g / 2) ** 2 / ((g / 2) ** 2 + (offsets - c) ** 2)
    return z


def pool(name, amplitude, width, centre, **options):
    """A pool with bounds around its start."""
    return pools.Pool(
        name,
        (amplitude, 0.0, 1.0),
        (width, width / 3, 3 * width),
        (centre, centre - 1, centre + 1),
        **options,
    )


def held(name, amplitude, width, centre):
    return pools.Pool(name, *((value, value, value) for value in (amplitude, width, centre)))


def test_parameters_of_noise_free_spectra_come_back(rng):
    truth = brain(rng, (3, 4))
    found = pools.fit(lorentzians(truth), OFFSETS, FIVE)
    for name, expected in truth.items():
        np.testing.assert_allclose(found.parameters[name], expected, atol=1e-7)
    assert found.parameters["baseline"].shape == (3, 4)
    assert (found.parameters["baseline"] == 1.0).all()
    assert (found.standard_errors["baseline"] == 0.0).all()
    np.testing.assert_allclose(found.r_squared, 1.0)
    assert (found.flags == 0).all()
    assert found.units["amide_amplitude"] == "1"
    assert found.units["amide_width_ppm"] == "ppm"
    assert set(found.parameters) == {"baseline", *(f"{n}_{e}" for n in NAMES for e in ENDS)}


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_order_of_offsets_does_not_matter(rng, order):
    truth = brain(rng, (5,))
    z = lorentzians(truth) + rng.normal(0, 2e-3, (5, OFFSETS.size))
    expected = pools.fit(z, OFFSETS, FIVE)
    index = {"ascending": np.arange(51), "descending": np.arange(51)[::-1], "shuffled": rng.permutation(51)}
    found = pools.fit(z[:, index[order]], OFFSETS[index[order]], FIVE)
    for name, value in expected.parameters.items():
        np.testing.assert_array_equal(found.parameters[name], value)


def test_a_shared_shift_moves_all_centres_together(rng):
    """Centres of pools other than water are held where they are published, relative to water."""
    shift, three = np.array([-0.4, 0.0, 0.7]), pools.preset("3t_mplf")
    truth = {"water": (0.7, 2.0, 0.0), "amide": (0.06, 2.0, 3.5), "noe": (0.08, 4.0, -3.5)}
    truth |= {"mt": (0.1, 60.0, -2.5), "guanidine": (0.04, 1.5, 2.0)}
    z = lorentzians(
        {
            f"{name}_{end}": np.full(3, value) + (shift if end == "centre_ppm" else 0.0)
            for name, values in truth.items()
            for end, value in zip(ENDS, values, strict=True)
        }
    )
    found = pools.fit(z, OFFSETS, three, shared_shift=True)
    np.testing.assert_allclose(found.parameters["shift_ppm"], shift, atol=1e-6)
    np.testing.assert_allclose(found.parameters["water_centre_ppm"], shift, atol=1e-6)
    np.testing.assert_allclose(found.parameters["amide_centre_ppm"], 3.5)
    np.testing.assert_allclose(found.parameters["amide_amplitude"], 0.06, atol=1e-6)
    np.testing.assert_allclose(pools.evaluate(found, OFFSETS).total, z, atol=1e-7)
    alone = pools.fit(z, OFFSETS, three)
    assert "shift_ppm" not in alone.parameters
    assert alone.rmse[2] > 0.005


def test_a_free_baseline_is_fitted():
    z = lorentzians({f"water_{end}": v for end, v in zip(ENDS, (0.6, 1.5, 0.1), strict=True)}, baseline=0.87)
    found = pools.fit(z, OFFSETS, [pool("water", 0.9, 1.4, 0.0)], baseline=(1, 0.5, 1.1))
    assert found.parameters["baseline"] == pytest.approx(0.87, abs=1e-9)
    assert found.parameters["water_amplitude"] == pytest.approx(0.6, abs=1e-9)


def test_pulses_with_a_bandwidth_flatten_the_lines():
    """Half of the height is reached half a bandwidth further out on either side."""
    given = {"baseline": 1.0, "water_amplitude": 0.8, "water_width_ppm": 1.0, "water_centre_ppm": 0.2}
    half = pools.evaluate(given, [0.2 - 0.75, 0.2 + 0.25, 0.2 + 0.75], bandwidth_ppm=0.5).pools["water"]
    np.testing.assert_allclose(half, [0.4, 0.8, 0.4])
    z = pools.evaluate(given, OFFSETS, bandwidth_ppm=0.5).total
    found = pools.fit(z, OFFSETS, [pool("water", 0.9, 1.4, 0.0)], bandwidth_ppm=0.5)
    assert found.parameters["water_width_ppm"] == pytest.approx(1.0, abs=1e-6)
    assert found.parameters["water_centre_ppm"] == pytest.approx(0.2, abs=1e-6)


def test_a_super_lorentzian_is_told_from_a_lorentzian():
    """T2 of 9 us at 3 T: 1/(pi T2 FREQ) = 277 ppm; offsets to +-60 ppm."""
    width = 1 / (np.pi * 9e-6 * 127.7)
    given = {"baseline": 1.0, "water_amplitude": 0.7, "water_width_ppm": 1.5, "water_centre_ppm": 0.0}
    given |= {"mt_amplitude": 0.3, "mt_width_ppm": width, "mt_centre_ppm": 0.0}
    offsets = np.concatenate([np.linspace(-6, 6, 41), [-60, -40, -25, -15, -10, 10, 15, 25, 40, 60]])
    z = pools.evaluate(given, offsets, line_shapes={"mt": "super_lorentzian"}).total
    both = [pool("water", 0.9, 1.4, 0.0), pool("mt", 0.1, 150.0, 0.0, line_shape="super_lorentzian")]
    found = pools.fit(z, offsets, both)
    assert found.parameters["mt_width_ppm"] == pytest.approx(width, rel=1e-4)
    assert found.parameters["mt_amplitude"] == pytest.approx(0.3, rel=1e-4)
    assert pools.fit(z, offsets, [both[0], pool("mt", 0.1, 150.0, 0.0)]).rmse > 100 * found.rmse


@pytest.mark.parametrize(("dtype", "exact"), [(np.float32, 2e-4), (np.float64, 1e-8)])
def test_results_have_the_type_of_the_spectra(rng, dtype, exact):
    truth = brain(rng, (4,))
    found = pools.fit(lorentzians(truth).astype(dtype), OFFSETS, FIVE)
    assert {value.dtype for value in found.parameters.values()} == {np.dtype(dtype)}
    assert {value.dtype for value in found.standard_errors.values()} == {np.dtype(dtype)}
    np.testing.assert_allclose(found.parameters["water_amplitude"], truth["water_amplitude"], atol=exact)


def test_a_single_spectrum_gives_numbers(rng):
    found = pools.fit(lorentzians(brain(rng, ())), OFFSETS, FIVE)
    assert found.parameters["amide_amplitude"].shape == ()
    assert found.flags == 0


def test_results_do_not_depend_on_threads_or_layout(rng):
    truth = brain(rng, (16, 12))
    z = lorentzians(truth) + rng.normal(0, 4e-3, (16, 12, OFFSETS.size))
    for near in (False, True):
        expected = pools.fit(z, OFFSETS, FIVE, workers=1, neighbours=near)
        for other in (z, np.asfortranarray(z)):
            found = pools.fit(other, OFFSETS, FIVE, workers=2, neighbours=near)
            for name, value in expected.parameters.items():
                np.testing.assert_array_equal(found.parameters[name], value)
            np.testing.assert_array_equal(found.flags, expected.flags)


def test_neighbours_save_iterations_and_change_nothing(rng):
    """A smooth image of 40 x 40 voxels at a noise of 0.002: parameters within a tenth of a standard error."""
    truth = brain(rng, (40, 40), smooth=True)
    z = lorentzians(truth) + rng.normal(0, 2e-3, (40, 40, OFFSETS.size))
    alone, near = (pools.fit(z, OFFSETS, FIVE, noise_sd=2e-3, neighbours=n) for n in (False, True))
    assert near.iterations.mean() < 0.9 * alone.iterations.mean()
    np.testing.assert_allclose(near.rmse, alone.rmse, rtol=5e-3)
    same = np.abs(near.rmse / alone.rmse - 1) < 1e-6
    assert same.mean() > 0.98
    for name in truth:
        apart = np.abs(near.parameters[name] - alone.parameters[name]) / alone.standard_errors[name]
        assert np.nanmax(apart[same]) < 0.1


def test_masked_and_invalid_spectra_are_nan_and_flagged(rng):
    z = lorentzians(brain(rng, (4,)))
    z[1, 3], z[2, 5] = np.nan, np.inf
    found = pools.fit(z, OFFSETS, FIVE, mask=[True, True, True, False])
    assert list(found.flags) == [0, Flag.INVALID_INPUT, Flag.INVALID_INPUT, Flag.MASKED_OUT]
    for table in (found.parameters, found.standard_errors):
        for value in table.values():
            assert np.isnan(value[1:]).all()
    assert np.isnan(found.rmse[1:]).all()


def test_samples_above_1_2_are_flagged_and_kept(rng):
    z = lorentzians(brain(rng, (2,)))
    z[0, 0] = 1.3
    found = pools.fit(z, OFFSETS, FIVE)
    assert found.flags[0] & Flag.OUTSIDE_RANGE
    assert not found.flags[1]
    assert np.isfinite(found.parameters["water_amplitude"]).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 0.3])
def test_noise_alone_is_no_spectrum(rng, level):
    """At the chance of 0.001 that the test leaves, one of 300 may pass."""
    z = level + rng.normal(0, 0.05, (300, OFFSETS.size))
    found = pools.fit(z, OFFSETS, FIVE, baseline=(1, 0, 1.1))
    silent = (found.flags & Flag.BELOW_NOISE) > 0
    assert silent.sum() >= 297
    assert np.isnan(found.parameters["amide_amplitude"][silent]).all()


def test_a_constant_spectrum_is_no_spectrum():
    found = pools.fit(np.ones(OFFSETS.size), OFFSETS, FIVE)
    assert found.flags & Flag.BELOW_NOISE
    assert np.isnan(found.parameters["water_amplitude"])


def test_a_pool_that_is_not_there_is_at_its_bound_without_width():
    truth = {"water_amplitude": 0.8, "water_width_ppm": 1.5, "water_centre_ppm": 0.0}
    z = lorentzians(truth) + 0.02 / (1 + ((OFFSETS - 3.5) / 0.6) ** 2)
    found = pools.fit(z, OFFSETS, [pool("water", 0.9, 1.4, 0.0), pool("amide", 0.05, 1.0, 3.5)])
    assert found.parameters["amide_amplitude"] == 0.0
    assert found.flags & Flag.AT_BOUND
    assert np.isnan(found.standard_errors["amide_amplitude"])
    assert np.isnan(found.parameters["amide_width_ppm"])
    assert np.isfinite(found.standard_errors["water_amplitude"])
    curves = pools.evaluate(found, OFFSETS)
    assert (curves.pools["amide"] == 0.0).all()
    assert np.isfinite(curves.total).all()


def test_a_held_pool_keeps_its_value_and_has_no_error(rng):
    truth = {"water_amplitude": 0.8, "water_width_ppm": 1.5, "water_centre_ppm": 0.0}
    truth |= {"mt_amplitude": 0.1, "mt_width_ppm": 40.0, "mt_centre_ppm": -2.0}
    z = lorentzians(truth) + rng.normal(0, 1e-3, OFFSETS.size)
    found = pools.fit(z, OFFSETS, [pool("water", 0.9, 1.4, 0.0), held("mt", 0.1, 40.0, -2.0)])
    assert found.parameters["mt_width_ppm"] == 40.0
    assert found.standard_errors["mt_width_ppm"] == 0.0
    assert not found.flags
    assert found.parameters["water_amplitude"] == pytest.approx(0.8, abs=3e-3)


def test_a_fit_that_is_cut_short_is_flagged(rng):
    z = lorentzians(brain(rng, (3,))) + rng.normal(0, 1e-3, (3, OFFSETS.size))
    found = pools.fit(z, OFFSETS, FIVE, max_iterations=4)
    assert (found.flags == Flag.NOT_CONVERGED).all()
    assert np.isnan(found.parameters["water_amplitude"]).all()


def test_pools_that_are_alike_are_flagged_in_every_voxel(rng):
    """Two lines 0.1 ppm apart with the same width: condition number of the lines about 60."""
    two = [pools.Pool(n, (0.1, 0, 1), (1.0, 1.0, 1.0), (c, c, c)) for n, c in (("a", 2.0), ("b", 2.02))]
    lines = [pool("water", 0.9, 1.4, 0.0), *two]
    condition = pools.condition_number(OFFSETS, two)
    assert condition > 50
    z = lorentzians({"water_amplitude": 0.8, "water_width_ppm": 1.5, "water_centre_ppm": 0.0})
    z = z - 0.1 / (1 + (2 * (OFFSETS - 2.01)) ** 2) + rng.normal(0, 1e-3, (20, OFFSETS.size))
    found = pools.fit(z, OFFSETS, lines)
    assert ((found.flags & Flag.ILL_CONDITIONED) > 0).all()
    with pytest.raises(IllConditioned, match="a by b; b by a"):
        pools.fit(z, OFFSETS, lines, refuse_overlap=True)
    assert not pools.identifiable(OFFSETS, lines)
    assert pools.mimics(OFFSETS, lines) == {"water": (), "a": ("b",), "b": ("a",)}


def test_condition_number_is_that_of_the_lines():
    three = [pool("water", 0.9, 1.4, 0.0), pool("a", 0.1, 1.0, 2.0), pool("b", 0.1, 3.0, 2.5)]
    lines = np.array([1 / (1 + (2 * (OFFSETS - c) / g) ** 2) for g, c in ((1.4, 0), (1.0, 2), (3.0, 2.5))])
    sizes = np.linalg.svd(lines / np.linalg.norm(lines, axis=1)[:, None], compute_uv=False)
    assert pools.condition_number(OFFSETS, three) == pytest.approx(sizes[0] / sizes[-1], rel=1e-6)
    assert pools.condition_number(OFFSETS, three, parameters="all") > sizes[0] / sizes[-1]
    assert pools.identifiable(OFFSETS, three)
    assert pools.condition_number(OFFSETS, [three[0], three[0].with_(name="twin")]) == np.inf


@pytest.mark.parametrize("shift", [-0.9, -0.5, 0.5, 0.9])
def test_a_shifted_water_line_is_found(rng, shift):
    """Beyond half of its width from its start."""
    truth = brain(rng, (20,))
    truth["water_centre_ppm"] = np.full(20, shift)
    z = lorentzians(truth) + rng.normal(0, 1e-3, (20, OFFSETS.size))
    found = pools.fit(z, OFFSETS, FIVE)
    apart = np.abs(found.parameters["water_centre_ppm"] - shift)
    assert np.median(apart) < 0.01
    assert (apart < 0.06).all()


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_scaling_the_depths_scales_the_amplitudes(seed):
    """1 - Z is linear in the amplitudes: half as deep spectra, half the amplitudes, the same widths."""
    rng = np.random.default_rng(seed)
    z = lorentzians(brain(rng, ()))
    whole, half = pools.fit(z, OFFSETS, FIVE), pools.fit(1 - 0.5 * (1 - z), OFFSETS, FIVE)
    for name in NAMES:
        amplitude, width = f"{name}_amplitude", f"{name}_width_ppm"
        assert half.parameters[amplitude] == pytest.approx(0.5 * whole.parameters[amplitude], abs=1e-7)
        assert half.parameters[width] == pytest.approx(whole.parameters[width], abs=1e-4)


def test_references_are_the_fit_without_a_pool(rng):
    """F7: Zref = Zfit + L; MTRrex = 1/Z - 1/Zref of a spectrum with one more pool."""
    truth = brain(rng, (3,))
    found = pools.fit(lorentzians(truth), OFFSETS, FIVE)
    without = {name: value for name, value in truth.items() if not name.startswith("amide")}
    reference = pools.reference(found, "amide", [3.5, 3.0])
    np.testing.assert_allclose(reference, lorentzians(without, np.array([3.5, 3.0])), atol=1e-7)
    with pytest.raises(ValueError, match="no pool is named 'oh'"):
        pools.reference(found, "oh", [3.5])


def test_contrast_of_a_pool_is_that_of_the_fit_with_and_without_it():
    """F5 and F6 at 3.5 ppm: Z = 1 - 0.5 - 0.1 there, without the amide 1 - 0.5."""
    given = {"water_amplitude": 0.5, "water_width_ppm": 1e4, "water_centre_ppm": 3.5}
    given |= {"amide_amplitude": 0.1, "amide_width_ppm": 1.0, "amide_centre_ppm": 3.5, "baseline": 1.0}
    fitted = Fit({n: np.array([v]) for n, v in given.items()}, {}, *4 * [np.zeros(1)])
    expected = 1 / 0.4 - 1 / 0.5
    assert pools.pool_contrast(fitted, "amide", [3.5]) == pytest.approx(expected)
    arex = pools.pool_contrast(fitted, "amide", [3.5], kind="arex", t1_s=[1.6], duty_cycle=0.5)
    assert arex == pytest.approx(expected / 0.8)
    with pytest.raises(ValueError, match="needs t1_s"):
        pools.pool_contrast(fitted, "amide", [3.5], kind="arex")
    with pytest.raises(ValueError, match="no pool is named"):
        pools.pool_contrast(fitted, "oh", [3.5])


def test_fits_that_explain_a_spectrum_are_not_repeated(rng):
    """Where the noise is given a second start is for residuals above it."""
    truth = brain(rng, (50,))
    z = lorentzians(truth) + rng.normal(0, 1e-3, (50, OFFSETS.size))
    once = pools.fit(z, OFFSETS, FIVE, noise_sd=1.0)
    twice = pools.fit(z, OFFSETS, FIVE, noise_sd=0.0)
    assert (twice.iterations > once.iterations).all()
    assert (twice.rmse <= once.rmse * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offset_ppm": OFFSETS[:50]}, "z has shape"),
        ({"offset_ppm": np.append(OFFSETS[:50], OFFSETS[0])}, "occurs twice"),
        ({"offset_ppm": np.append(OFFSETS[:50], np.nan)}, "finite"),
        ({"pools": []}, "1 to 12 Pool"),
        ({"pools": [FIVE[0], FIVE[0]]}, "same name"),
        ({"pools": FIVE[1:], "shared_shift": True}, "named water"),
        ({"baseline": (1, 2)}, "baseline must be"),
        ({"baseline": (1, 2, 1)}, "low <= high"),
        ({"bandwidth_ppm": -1}, "bandwidth_ppm"),
        ({"noise_sd": -1}, "noise_sd"),
        ({"noise_sd": [1, 2, 3]}, "noise_sd has shape"),
        ({"mask": [True]}, "mask has shape"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"workers": 0}, "workers"),
        ({"pools": [held("water", 0.9, 1.4, 0.0)]}, "nothing is left to fit"),
    ],
)
def test_usage_errors_are_refused(change, message):
    arguments = {"z": np.ones((2, 51)), "offset_ppm": OFFSETS, "pools": FIVE} | change
    with pytest.raises(ValueError, match=message):
        pools.fit(**arguments)


def test_fewer_offsets_than_parameters_are_refused():
    with pytest.raises(ValueError, match="15 parameters and need at least as many offsets, found 14"):
        pools.fit(np.ones(14), np.linspace(-5, 5, 14), FIVE)


def test_as_many_offsets_as_parameters_have_no_errors():
    offsets = np.array([-2.0, 0.1, 1.0])
    z = lorentzians({f"water_{end}": v for end, v in zip(ENDS, (0.6, 1.5, 0.1), strict=True)}, offsets)
    found = pools.fit(z, offsets, [pool("water", 0.9, 1.4, 0.0)])
    assert found.parameters["water_amplitude"] == pytest.approx(0.6, abs=1e-6)
    assert np.isnan(found.standard_errors["water_amplitude"])


@pytest.mark.parametrize("offset_ppm", [OFFSETS * 300, np.append(OFFSETS[:50], -300.0)])
def test_offsets_in_hz_and_unsaturated_references_are_refused(offset_ppm):
    with pytest.raises(ImplausibleValue, match="too far from water"):
        pools.fit(np.ones(51), offset_ppm, FIVE)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (7,), (5, 6, 2)])
def test_neighbours_on_any_shape_and_mask(rng, shape):
    """The tiles of the first two axes cover every voxel once, with and without a mask."""
    z = lorentzians(brain(rng, shape)) if np.prod(shape) else np.empty((*shape, 51))
    mask = rng.random(shape) < 0.6
    found = pools.fit(np.asfortranarray(z), OFFSETS, FIVE, neighbours=True, mask=mask)
    alone = pools.fit(z, OFFSETS, FIVE, mask=mask)
    np.testing.assert_array_equal(found.flags, alone.flags)
    assert ((found.flags == 0) == mask).all()
    np.testing.assert_allclose(
        found.parameters["amide_width_ppm"], alone.parameters["amide_width_ppm"], rtol=1e-6
    )


def test_twelve_pools_and_a_baseline_alone_can_be_fitted():
    many = [pool(f"p{n}", 0.1, 1.0, 3.0 * (n - 5.5)) for n in range(12)]
    offsets = np.linspace(-20, 20, 201)
    z = 1 - sum(0.2 / (1 + (2 * (offsets - 3.0 * (n - 5.5) - 0.1)) ** 2) for n in range(12))
    found = pools.fit(z, offsets, many)
    assert found.parameters["p7_amplitude"] == pytest.approx(0.2, abs=1e-6)
    water = {"water_amplitude": 0.5, "water_width_ppm": 1.0, "water_centre_ppm": 0.0}
    z = lorentzians(water, offsets, baseline=0.95)
    alone = pools.fit(z, offsets, [held("water", 0.5, 1.0, 0.0)], baseline=(1, 0, 2))
    assert alone.parameters["baseline"] == pytest.approx(0.95, abs=1e-9)


def test_a_super_lorentzian_centre_and_a_shared_shift(rng):
    """All kinds of parameters together: the curve that comes back is the one that went in."""
    given = {"baseline": 0.99, "water_amplitude": 0.6, "water_width_ppm": 1.6, "water_centre_ppm": 0.3}
    given |= {"amide_amplitude": 0.08, "amide_width_ppm": 1.5, "amide_centre_ppm": 3.5, "shift_ppm": 0.3}
    given |= {"mt_amplitude": 0.2, "mt_width_ppm": 60.0, "mt_centre_ppm": -2.0}
    offsets = np.concatenate([np.linspace(-6, 6, 49), [-60, -30, -15, -10, 10, 15, 30, 60]])
    shapes = {"mt": "super_lorentzian"}
    z = pools.evaluate(given, offsets, line_shapes=shapes).total
    three = [
        pool("water", 0.9, 1.4, 0.0),
        pool("amide", 0.1, 1.0, 3.5),
        pool("mt", 0.1, 50.0, -2.0, line_shape="super_lorentzian"),
    ]
    found = pools.fit(z, offsets, three, baseline=(1, 0.5, 1.1), shared_shift=True)
    for name, value in given.items():
        assert found.parameters[name] == pytest.approx(value, abs=1e-4, rel=1e-4), name
    back = pools.evaluate(found, offsets, line_shapes=shapes).total
    np.testing.assert_allclose(back, z, atol=1e-7)
