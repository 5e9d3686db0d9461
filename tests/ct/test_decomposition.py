"""Materials from arrays of attenuation: oracles of ct.md sections 4.4 and 6, and Monte Carlo."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.ct.decomposition import (
    k_edge,
    pure_attenuation,
    three_materials,
    two_materials,
    with_flat_background,
)
from imgtheranostics.ct.prior_slopes import prior_slope
from imgtheranostics.ct.slope import Slope
from imgtheranostics.errors import IllConditioned
from imgtheranostics.volume import Flag

SET_A = {
    "80": {"I": 43.8, "Gd": 46.9, "HfO2": 26.7, "Hf": 31.3, "Au": 26.3, "Bi": 30.4, "Fe": 7.1},
    "140": {"I": 23.8, "Gd": 32.3, "HfO2": 24.7, "Hf": 29.0, "Au": 25.9, "Bi": 25.0, "Fe": 4.0},
    "Sn140": {"I": 14.9, "Gd": 23.4, "HfO2": 22.9, "Hf": 26.9, "Au": 25.7, "Bi": 23.8, "Fe": 2.7},
}
"""ct.md table 4.2, set A."""

BINS = np.array(
    [
        [69.3, 30.8, 47.7, 54.9],
        [40.5, 15.6, 24.1, 27.8],
        [25.1, 43.7, 15.5, 17.7],
        [16.5, 29.6, 43.0, 12.0],
        [10.2, 18.8, 27.3, 30.1],
    ]
)
"""I, HfO2, Au, Bi in bins of 25, 50, 65, 81, 90 and 140 keV, about as mu/rho of ct.md 4.1 over water's."""


def slopes(*materials, pair=("80", "140")):
    return {name: tuple(SET_A[beam][name] for beam in pair) for name in materials}


def test_iodine_and_hafnium_oxide_of_set_a_are_recovered():
    assert np.allclose(
        [5 * SET_A[beam]["I"] + 3 * SET_A[beam]["HfO2"] for beam in ("80", "140")], [299.1, 193.1]
    )
    fit = two_materials([299.1, 193.1], slopes("I", "HfO2"), noise_sd=10)
    assert float(fit.parameters["I"]) == pytest.approx(5.0, abs=1e-9)
    assert float(fit.parameters["HfO2"]) == pytest.approx(3.0, abs=1e-9)
    assert fit.units == {"I": "mg/mL", "HfO2": "mg/mL"}
    assert fit.condition_number == pytest.approx(8.4, abs=0.05)
    assert fit.warnings == ()


def test_virtual_non_contrast_and_its_standard_errors():
    fit = with_flat_background([259.0, 159.0], slopes("I"), noise_sd=10)
    assert float(fit.parameters["I"]) == pytest.approx(5.0)
    assert float(fit.parameters["virtual_non_contrast"]) == pytest.approx(40.0)
    assert float(fit.standard_errors["I"]) == pytest.approx(0.7071, abs=1e-4)
    hafnium = with_flat_background([40 + 26.7 * 4, 40 + 24.7 * 4], slopes("HfO2"), noise_sd=10)
    assert float(hafnium.parameters["virtual_non_contrast"]) == pytest.approx(40.0)
    assert float(hafnium.standard_errors["HfO2"]) == pytest.approx(7.071, abs=1e-3)
    assert [caution.code for caution in hafnium.warnings] == ["weak-separation"]
    assert "7.07" in hafnium.warnings[0].message


def test_gold_cannot_be_told_from_a_flat_background():
    """26.3 and 25.9 HU per mg/mL differ by 0.4: 35 mg/mL at 10 HU."""
    with pytest.raises(IllConditioned, match="flat background"):
        with_flat_background([60.0, 59.0], slopes("Au"), noise_sd=10)
    forced = with_flat_background([60.0, 59.0], slopes("Au"), noise_sd=10, force=True)
    assert float(forced.standard_errors["Au"]) == pytest.approx(np.hypot(10, 10) / 0.4, rel=1e-6)
    with pytest.raises(IllConditioned):
        with_flat_background([60.0, 60.0], {"x": (20.0, 20.0)}, force=True)


TABLE_4_4 = [
    ("I", "HfO2", "140", 8.4, 0.81, 1.12, "solve"),
    ("I", "Au", "140", 7.4, 0.73, 0.98, "solve"),
    ("Gd", "HfO2", "140", 15.4, 1.23, 1.92, "solve"),
    ("I", "Gd", "140", 19.1, 1.91, 1.67, "warn"),
    ("Bi", "Au", "140", 22.4, 2.84, 3.03, "refuse"),
    ("Bi", "HfO2", "140", 34.4, 4.36, 4.72, "refuse"),
    ("HfO2", "Au", "140", 64.0, 8.81, 8.68, "refuse"),
    ("I", "HfO2", "Sn140", 5.4, 0.58, 0.76, "solve"),
    ("I", "Au", "Sn140", 4.5, 0.50, 0.63, "solve"),
    ("Gd", "HfO2", "Sn140", 8.8, 0.78, 1.17, "solve"),
    ("I", "Gd", "Sn140", 14.9, 1.61, 1.42, "warn"),
    ("Bi", "Au", "Sn140", 18.2, 2.37, 2.49, "refuse"),
    ("Bi", "HfO2", "Sn140", 44.9, 5.79, 6.36, "refuse"),
    ("HfO2", "Au", "Sn140", 30.8, 4.38, 4.19, "refuse"),
]


@pytest.mark.parametrize(("first", "second", "high", "number", "sd_one", "sd_two", "behaviour"), TABLE_4_4)
@pytest.mark.parametrize("noise", [10.0, None, 0.0, 2.0])
def test_every_row_of_the_table_of_separations(first, second, high, number, sd_one, sd_two, behaviour, noise):
    given = slopes(first, second, pair=("80", high))
    hu = np.array(list(given.values())).T @ [5.0, 3.0]
    options = {"noise_sd": noise, "force": behaviour == "refuse"}
    if behaviour == "refuse":
        with pytest.raises(IllConditioned, match=rf"condition number {number:.1f}"):
            two_materials(hu, given, noise_sd=noise)
    fit = two_materials(hu, given, **options)
    assert [float(value) for value in fit.parameters.values()] == pytest.approx([5.0, 3.0])
    assert fit.condition_number == pytest.approx(number, abs=0.051)
    expected = {first: sd_one, second: sd_two}
    for name, sd in expected.items():
        assert fit.separability.reference_sd[name] == pytest.approx(sd, abs=0.0051)
        if noise is not None:
            assert float(fit.standard_errors[name]) == pytest.approx(sd * noise / 10, abs=0.0051)
    codes = {"solve": [], "warn": ["weak-separation"], "refuse": ["forced-separation"]}
    assert [caution.code for caution in fit.warnings] == codes[behaviour]
    assert all(f"condition number {number:.1f}" in caution.message for caution in fit.warnings)


@pytest.mark.parametrize("model", ["B", "spectrum"])
def test_other_slopes_of_the_same_beams_lead_to_the_same_behaviour(model):
    """Set B and the spectrum model are other calculations of the beams of set A, within 5 %."""
    beams = {"80": (80, 0.0), "140": (140, 0.0), "Sn140": (140, 0.4)}
    for first, second, high, *_, behaviour in TABLE_4_4:
        if model == "B" and high == "Sn140":
            continue
        given = {
            name: [
                prior_slope(
                    name, beams[beam][0], tin_mm=beams[beam][1], water_cm=20, model=model, displacement=False
                )
                for beam in ("80", high)
            ]
            for name in (first, second)
        }
        if behaviour == "refuse":
            with pytest.raises(IllConditioned):
                two_materials([100.0, 90.0], given)
            continue
        fit = two_materials([100.0, 90.0], given)
        weak = [caution for caution in fit.warnings if caution.code == "weak-separation"]
        assert bool(weak) == (behaviour == "warn"), (model, first, second, high)


def test_three_heavy_metals_from_two_energies_are_refused_even_when_forced():
    for force in (False, True):
        with pytest.raises(IllConditioned, match="HfO2, Au and Bi") as refusal:
            k_edge([100.0, 90.0], slopes("HfO2", "Au", "Bi"), force=force)
        for number in ("64.0", "34.4", "22.4"):
            assert number in str(refusal.value)
        assert "80.7" in refusal.value.next_step
    alone = {
        name: pure_attenuation(slopes(name)[name], density)
        for name, density in (("HfO2", 9.7), ("Au", 19.3), ("Bi", 9.78))
    }
    with pytest.raises(IllConditioned, match="none is a tissue"):
        three_materials([100.0, 90.0], alone, force=True)


def test_k_edge_bins_separate_the_same_metals(rng):
    given = dict(zip(("I", "HfO2", "Au", "Bi"), BINS.T, strict=True))
    truth = np.array([2.0, 5.0, 4.0, 3.0])
    fit = k_edge(BINS @ truth, given, noise_sd=10)
    assert [float(value) for value in fit.parameters.values()] == pytest.approx(truth.tolist())
    assert fit.condition_number < 10
    assert fit.warnings == ()
    assert float(fit.rmse) == pytest.approx(0.0, abs=1e-9)
    metals = {name: given[name] for name in ("HfO2", "Au", "Bi")}
    assert k_edge(BINS[:, 1:] @ truth[1:], metals, noise_sd=10).separability.verdict == "solve"


def test_bins_above_all_k_edges_do_not_separate_them():
    """Without a bin between the edges the metals look alike, however many bins there are (ct.md 4.1)."""
    energies = {"HfO2": [3.545, 2.229, 1.511], "Au": [5.158, 3.252, 2.209], "Bi": [5.737, 3.629, 2.471]}
    water = np.array([0.1707, 0.1614, 0.1538])
    with pytest.raises(IllConditioned):
        k_edge([100.0, 80.0, 60.0], {name: np.array(mu) / water for name, mu in energies.items()})


@pytest.mark.parametrize(
    ("fit", "clean", "noise"),
    [
        (lambda hu, sd: two_materials(hu, slopes("I", "HfO2"), noise_sd=sd), [299.1, 193.1], (8.0, 12.0)),
        (lambda hu, sd: with_flat_background(hu, slopes("I"), noise_sd=sd), [259.0, 159.0], (8.0, 12.0)),
        (
            lambda hu, sd: k_edge(hu, BINS, noise_sd=sd),
            BINS @ [9.0, 8.0, 9.0, 10.0],
            (15.0, 8.0, 9.0, 14.0, 10.0),
        ),
        (
            lambda hu, sd: k_edge(hu, BINS[:, :2], noise_sd=sd, background="flat"),
            BINS[:, :2] @ [6.0, 7.0] + 40.0,
            (15.0, 8.0, 9.0, 14.0, 10.0),
        ),
        (
            lambda hu, sd: three_materials(
                hu,
                {"soft": (55.0, 50.0), "fat": (-120.0, -95.0), "I": pure_attenuation((43.8, 23.8), 4.93)},
                noise_sd=sd,
                densities_g_ml={"I": 4.93},
            ),
            [8 * 43.8 - 40, 8 * 23.8 - 30],
            (4.0, 4.0),
        ),
    ],
)
def test_covariance_equals_the_scatter_of_repeats(rng, fit, clean, noise):
    """4,000 repeats: the scatter of a standard deviation is 1.1 %, of a correlation at most 1.6 %."""
    hu = np.asarray(clean) + np.asarray(noise) * rng.standard_normal((4000, len(noise)))
    found = fit(hu, np.asarray(noise))
    assert (found.flags == 0).mean() > 0.99
    values = np.array(list(found.parameters.values()))
    for name, row in zip(found.parameters, values, strict=True):
        assert found.standard_errors[name].mean() == pytest.approx(row.std(), rel=0.05)
    deviations = np.sqrt(np.diag(found.covariance))
    np.testing.assert_allclose(deviations, values.std(axis=1), rtol=0.05)
    correlation = found.covariance / np.outer(deviations, deviations)
    np.testing.assert_allclose(correlation, np.corrcoef(values), atol=0.05)
    expected = fit(np.asarray(clean), np.asarray(noise))
    for name, row in zip(found.parameters, values, strict=True):
        assert row.mean() == pytest.approx(float(expected.parameters[name]), abs=4 * row.std() / 63)


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_errors_of_slopes_equal_the_scatter_of_repeated_calibrations(rng, correlation):
    """4,000 calibrations with slopes off by 2 %: of a prior, half of it alike at both energies."""
    source = "prior: spectrum model" if correlation else "calibration"
    given = {
        name: [Slope(value, 0.02 * value, name, source=source) for value in column]
        for name, column in slopes("I", "HfO2").items()
    }
    fit = two_materials([299.1, 193.1], given)
    values = []
    for _ in range(4000):
        shared = rng.standard_normal(2) * np.sqrt(correlation)
        own = rng.standard_normal((2, 2)) * np.sqrt(1 - correlation)
        matrix = np.array([[43.8, 26.7], [23.8, 24.7]]) * (1 + 0.02 * (shared + own))
        values.append(np.linalg.solve(matrix, [299.1, 193.1]))
    for name, scatter in zip(("I", "HfO2"), np.std(values, axis=0), strict=True):
        assert float(fit.calibration_errors[name]) == pytest.approx(scatter, rel=0.08)
    assert np.isnan(fit.standard_errors["I"])


def test_unbounded_means_are_unbiased_where_a_material_is_absent(rng):
    hu = np.array([219.0, 119.0]) + 10 * rng.standard_normal((20000, 2))
    free = two_materials(hu, slopes("I", "HfO2"), noise_sd=10)
    assert free.parameters["HfO2"].mean() == pytest.approx(0.0, abs=4 * 1.12 / 141)
    held = two_materials(hu, slopes("I", "HfO2"), noise_sd=10, non_negative=True)
    at_bound = (held.flags & Flag.AT_BOUND.value) != 0
    assert at_bound.mean() == pytest.approx(0.5, abs=0.02)
    assert (held.parameters["HfO2"][at_bound] == 0).all()
    assert held.parameters["HfO2"].mean() > 0.3


def test_volume_conservation_is_that_of_attenuation_coefficients():
    """F11 in mu, with F1: shares of tissue, fat and an iodine solution of 30 mg/mL."""
    water = np.array([0.24, 0.19])
    mu = {"soft": water * 1.05, "fat": water * 0.9, "solution": water * 1.0 + 0.03 * np.array([9.0, 4.0])}
    share = {"soft": 0.5, "fat": 0.3, "solution": 0.2}
    hu = {name: 1000 * (value - water) / water for name, value in mu.items()}
    mixed = 1000 * (sum(share[name] * mu[name] for name in mu) - water) / water
    fit = three_materials(mixed, hu, noise_sd=5)
    assert {name: float(value) for name, value in fit.parameters.items()} == pytest.approx(share)
    assert set(fit.units.values()) == {"1"}
    assert sum(float(value) for value in fit.parameters.values()) == pytest.approx(1.0)


def test_shares_of_the_volume_stay_between_zero_and_one(rng):
    hu = {"water": (0.0, 0.0), "fat": (-120.0, -95.0), "I": pure_attenuation((43.8, 23.8), 4.93)}
    noisy = np.array([-60.0, -48.0]) + 20 * rng.standard_normal((500, 2))
    fit = three_materials(noisy, hu, densities_g_ml={"I": 4.93})
    filled = fit.parameters["water"] + fit.parameters["fat"] + fit.parameters["I"] / 4930
    np.testing.assert_allclose(filled, 1.0, atol=1e-9)
    assert all((values >= 0).all() for values in fit.parameters.values())
    assert fit.units == {"water": "1", "fat": "1", "I": "mg/mL"}


def test_agents_displace_the_water_that_they_take_the_place_of():
    """HU of water with 50 mg/mL: each mg takes away 1/9.7 HU (F4)."""
    clean = 50 * (np.array([26.7, 24.7]) - 1 / 9.7)
    hu = {"water": (0.0, 0.0), "HfO2": pure_attenuation((26.7, 24.7), 9.7), "fat": (-120.0, -95.0)}
    with pytest.raises(IllConditioned, match="HfO2 and fat"):
        three_materials(clean, hu, densities_g_ml={"HfO2": 9.7})
    fit = three_materials(clean, hu, densities_g_ml={"HfO2": 9.7}, force=True)
    assert float(fit.parameters["HfO2"]) == pytest.approx(50.0)
    assert float(fit.parameters["water"]) == pytest.approx(1 - 50 / 9700)


def test_saturated_and_missing_samples_are_flagged_and_not_solved_for():
    hu = np.array([[299.1, 193.1], [np.nan, 193.1], [3071.0, 193.1], [299.1, np.inf]])
    fit = two_materials(hu, slopes("I", "HfO2"), noise_sd=10, saturation_hu=3071)
    assert np.isfinite(fit.parameters["I"]).tolist() == [True, False, False, False]
    assert np.isfinite(fit.standard_errors["I"]).tolist() == [True, False, False, False]
    assert fit.flags[1] == Flag.INVALID_INPUT
    assert fit.flags[2] == Flag.SATURATED | Flag.OUTSIDE_RANGE
    assert fit.flags[3] != 0


def test_background_mask_and_maps_of_noise(rng):
    shape = (3, 4, 5)
    hu = rng.uniform(100, 300, (*shape, 2))
    mask = rng.random(shape) < 0.5
    given = slopes("I", "HfO2")
    plain = two_materials(hu, given, noise_sd=10)
    behind = rng.uniform(20, 60, (*shape, 2))
    for background in ((40.0, 30.0), behind):
        shifted = two_materials(hu + background, given, noise_sd=10, background=background)
        np.testing.assert_allclose(shifted.parameters["I"], plain.parameters["I"], rtol=1e-9)
    masked = two_materials(hu, given, noise_sd=10, mask=mask)
    assert (np.isnan(masked.parameters["I"]) == ~mask).all()
    assert (masked.flags == np.where(mask, 0, Flag.MASKED_OUT.value)).all()
    maps = two_materials(hu, given, noise_sd=np.full((*shape, 2), [10.0, 10.0]))
    np.testing.assert_allclose(maps.standard_errors["I"], plain.standard_errors["I"], rtol=1e-6)


def test_float32_images_give_float32_results_of_the_same_value(rng):
    hu = rng.uniform(0, 300, (6, 7, 8, 2))
    double = two_materials(hu, slopes("I", "HfO2"), noise_sd=10)
    single = two_materials(np.asfortranarray(hu.astype(np.float32)), slopes("I", "HfO2"), noise_sd=10)
    assert single.parameters["I"].dtype == np.float32
    np.testing.assert_allclose(single.parameters["I"], double.parameters["I"], atol=2e-5)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(rng, workers):
    hu = rng.uniform(-50, 300, (70000, 2)).astype(np.float32)
    one = k_edge(hu, slopes("I", "HfO2"), noise_sd=10, workers=workers)
    again = k_edge(hu, slopes("I", "HfO2"), noise_sd=10)
    for name in one.parameters:
        assert one.parameters[name].tobytes() == again.parameters[name].tobytes()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: two_materials([1.0, 2.0, 3.0], BINS[:3, :2]), "two materials at two energies"),
        (lambda: two_materials([1.0, 2.0, 3.0], slopes("I", "HfO2")), "must have 2 samples"),
        (lambda: two_materials([1.0, 2.0], slopes("I", "HfO2"), noise_sd=[1, 2, 3]), "noise_sd has shape"),
        (lambda: two_materials([1.0, 2.0], slopes("I", "HfO2"), noise_sd=-1), "negative"),
        (lambda: two_materials([1.0, 2.0], slopes("I", "HfO2"), noise_sd=[0, 1]), "above 0"),
        (lambda: two_materials([1.0, 2.0], slopes("I", "HfO2"), workers=0), "workers"),
        (lambda: two_materials([1.0, 2.0], slopes("I", "HfO2"), mask=np.ones(3)), "mask has shape"),
        (lambda: two_materials([1.0, 2.0], {"I": (1.0, 2.0), "Au": (1.0,)}), "one slope for each energy"),
        (lambda: two_materials([1.0, 2.0], {"I": (1.0, 2.0), "Au": (1.0, np.nan)}), "finite"),
        (lambda: k_edge([1.0, 2.0], slopes("I"), background="none"), "flat"),
        (lambda: three_materials([1.0, 2.0], slopes("I", "HfO2")), "three"),
        (
            lambda: three_materials([1.0, 2.0], slopes("I", "HfO2", "Fe"), densities_g_ml={"Au": 19.3}),
            "not there",
        ),
    ],
)
def test_usage_errors(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_names_are_public():
    assert it.ct.two_materials is two_materials
    assert it.ct.condition_number([[43.8, 26.7], [23.8, 24.7]]) == pytest.approx(8.4, abs=0.05)
