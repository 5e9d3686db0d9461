"""Fits by the simulation: parameters of noise-free spectra, standard errors, flags, identifiability."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from imgtheranostics.cest import bloch_fit
from imgtheranostics.cest.bloch_mcconnell import (
    ExchangePool,
    MtPool,
    PoolSystem,
    PulseTrain,
    WaterPool,
    simulate,
)
from imgtheranostics.errors import IllConditioned, ImplausibleValue
from imgtheranostics.fit import Fit
from imgtheranostics.volume import Flag

OFFSETS = np.array([-9.8, -5.0, -1.0, 0.5, 2.0, 6.0, 8.0, 9.0, 9.4, 9.8, 10.2, 10.6, 11.5])
TRAINS = [PulseTrain(OFFSETS, [b1], 2.0) for b1 in (1.2, 3.6)]
FREE = {"olsalazine": ("fraction", "exchange_rate_per_s")}


def olsalazine(fraction: float, rate: float, **water: Any) -> PoolSystem:
    pool = ExchangePool("olsalazine", fraction, 1.0, 0.02, rate, 9.8)
    return PoolSystem(WaterPool(**{"t1_s": 2.0, "t2_s": 0.045, **water}), (pool,), None, 11.7)


def spectra(pools: PoolSystem | list[PoolSystem], **field: Any) -> np.ndarray:
    return np.concatenate([simulate(pools, train, **field) for train in TRAINS], axis=-1)


def fit(z: np.ndarray, start: PoolSystem | None = None, **options: Any) -> Fit:
    given = {"free": FREE, **options}
    return bloch_fit.fit(z, start or olsalazine(5e-5, 700.0), TRAINS, **given)


def test_noise_free_spectra_give_their_parameters_back() -> None:
    rng = np.random.default_rng(0)
    fraction, rate = rng.uniform(2e-5, 3e-4, 12), rng.uniform(200.0, 4000.0, 12)
    b0, b1 = rng.uniform(-0.3, 0.3, 12), rng.uniform(0.85, 1.15, 12)
    pools = [olsalazine(f, k) for f, k in zip(fraction, rate, strict=True)]
    z = np.stack([spectra(p, b0_ppm=s, relative_b1=r) for p, s, r in zip(pools, b0, b1, strict=True)])
    found = fit(z.reshape(3, 4, -1), b0_ppm=b0.reshape(3, 4), relative_b1=b1.reshape(3, 4))
    assert found.parameters["olsalazine_fraction"].shape == (3, 4)
    assert found.parameters["olsalazine_fraction"].ravel() == pytest.approx(fraction, rel=1e-5)
    assert found.parameters["olsalazine_exchange_rate_per_s"].ravel() == pytest.approx(rate, rel=1e-5)
    assert not found.flags.any()
    assert found.r_squared.min() > 1 - 1e-9
    assert found.units == {"olsalazine_fraction": "1", "olsalazine_exchange_rate_per_s": "/s"}


def test_concentration_ratio_of_a_six_and_a_half_fold_signal_is_that_of_the_sheet() -> None:
    # cest.md section 6: 1 and 6.87 mM, 2 protons of 111 mol/L.
    found = fit(spectra([olsalazine(2 * c / 111e3, 1000.0) for c in (1.0, 6.87)]))
    one, more = found.parameters["olsalazine_fraction"] * 111e3 / 2
    assert one == pytest.approx(1.0, rel=1e-5)
    assert more / one == pytest.approx(6.87, rel=1e-4)


def test_water_and_bound_pool_can_be_free_too() -> None:
    truth = PoolSystem(
        WaterPool(1.4, 0.06), (), MtPool(0.09, 1.0, 1.1e-5, 35.0, -2.4, "super_lorentzian"), 3.0
    )
    offsets = np.concatenate([np.linspace(-4, 4, 17), [-60.0, -25.0, -10.0, 10.0, 25.0, 60.0]])
    trains = [PulseTrain(offsets, [b1], 3.0) for b1 in (0.8, 2.0, 5.0)]
    z = np.concatenate([simulate(truth, train) for train in trains])
    assert truth.mt is not None
    start = dataclasses.replace(
        truth, water=WaterPool(1.4, 0.1), mt=dataclasses.replace(truth.mt, fraction=0.04, t2_s=2e-5)
    )
    found = bloch_fit.fit(z, start, trains, free={"water": "t2_s", "mt": ("fraction", "t2_s")})
    assert found.parameters["water_t2_s"] == pytest.approx(0.06, rel=1e-4)
    assert found.parameters["mt_fraction"] == pytest.approx(0.09, rel=1e-4)
    assert found.parameters["mt_t2_s"] == pytest.approx(1.1e-5, rel=1e-4)


def test_pulsed_trains_are_fitted_as_well() -> None:
    shape = 4.0 * np.exp(-0.5 * np.linspace(-2.2, 2.2, 24) ** 2)
    trains = [
        PulseTrain(OFFSETS, shape * size, 0.002, n_pulses=15, pulse_interval_s=0.02) for size in (0.5, 1.0)
    ]
    z = np.concatenate([simulate(olsalazine(1e-4, 1200.0), train) for train in trains])
    found = bloch_fit.fit(z, olsalazine(5e-5, 700.0), trains, free=FREE)
    assert found.parameters["olsalazine_fraction"] == pytest.approx(1e-4, rel=1e-4)
    assert found.parameters["olsalazine_exchange_rate_per_s"] == pytest.approx(1200.0, rel=1e-4)


def test_standard_errors_are_the_scatter_of_repeats() -> None:
    # 1,000 repeats: the scatter is known to 2.2 %. The issue asks for 10 %.
    rng = np.random.default_rng(3)
    trains = [PulseTrain([-9.8, 9.2, 9.6, 9.8, 10.3], [b1], 2.0) for b1 in (1.2, 3.6)]
    clean = np.concatenate([simulate(olsalazine(2e-4, 900.0), train) for train in trains])
    z = clean + rng.normal(0.0, 0.004, (1000, clean.size))
    found = bloch_fit.fit(z, olsalazine(1e-4, 700.0), trains, free=FREE)
    assert not found.flags.any()
    for name, truth in (("olsalazine_fraction", 2e-4), ("olsalazine_exchange_rate_per_s", 900.0)):
        scatter = found.parameters[name].std(ddof=1)
        assert found.standard_errors[name].mean() == pytest.approx(scatter, rel=0.10)
        assert found.parameters[name].mean() == pytest.approx(truth, abs=0.1 * scatter + 0.01 * truth)
    given = bloch_fit.fit(z[:50], olsalazine(1e-4, 700.0), trains, free=FREE, noise_sd=0.004)
    error = given.standard_errors["olsalazine_fraction"].mean()
    assert error == pytest.approx(found.parameters["olsalazine_fraction"].std(ddof=1), rel=0.10)


def test_fit_reaches_the_minimum_that_scipy_finds() -> None:
    from scipy.optimize import least_squares

    rng = np.random.default_rng(5)
    z = spectra(olsalazine(1e-4, 1500.0)) + rng.normal(0.0, 0.003, 2 * OFFSETS.size)
    found = fit(z)

    def residual(u: np.ndarray) -> np.ndarray:
        return spectra(olsalazine(u[0] * 1e-4, u[1] * 1e3)) - z

    options = {"jac": "3-point", "method": "lm", "xtol": 1e-13, "ftol": 1e-13, "gtol": 1e-13}
    reference = least_squares(residual, [0.5, 0.7], **options)
    assert found.rmse == pytest.approx(np.sqrt(2 * reference.cost / z.size), rel=1e-6)
    assert found.parameters["olsalazine_fraction"] == pytest.approx(reference.x[0] * 1e-4, rel=1e-3)


def test_invalid_voxels_are_not_numbers_and_say_why() -> None:
    z = np.tile(spectra(olsalazine(1e-4, 1000.0)), (7, 1))
    z[0, 3] = np.nan
    z[4, 2] = 1.3
    rng = np.random.default_rng(1)
    z[6] = rng.uniform(0.0, 2.0, z.shape[1])
    b0, b1 = np.zeros(7), np.ones(7)
    b0[1], b1[2], b1[3] = np.nan, 0.0, np.nan
    mask = np.ones(7, bool)
    mask[5] = False
    found = fit(z, b0_ppm=b0, relative_b1=b1, mask=mask)
    expected = [
        Flag.INVALID_INPUT,
        Flag.INVALID_INPUT,
        Flag.INVALID_B1,
        Flag.INVALID_B1,
        Flag.OUTSIDE_RANGE,
        Flag.MASKED_OUT,
    ]
    assert found.flags[:6].tolist() == [flag.value for flag in expected]
    assert found.flags[6] & Flag.BELOW_NOISE
    values = found.parameters["olsalazine_fraction"]
    assert np.isfinite(values).tolist() == [False, False, False, False, True, False, False]
    loud = fit(z[4], noise_sd=0.5)
    assert loud.flags & Flag.BELOW_NOISE
    assert np.isnan(loud.parameters["olsalazine_fraction"])


def test_absent_pool_is_at_its_bound_and_its_rate_is_unknown() -> None:
    z = spectra(olsalazine(0.0, 1000.0))
    z[[9, 9 + OFFSETS.size]] += 1e-3
    found = fit(z)
    assert found.parameters["olsalazine_fraction"] == 0.0
    assert np.isnan(found.standard_errors["olsalazine_fraction"])
    assert np.isnan(found.parameters["olsalazine_exchange_rate_per_s"])
    assert found.flags & Flag.AT_BOUND
    assert found.flags & Flag.ILL_CONDITIONED


def test_value_at_a_bound_is_kept_without_a_standard_error() -> None:
    found = fit(spectra(olsalazine(1e-4, 1000.0)), bounds={"olsalazine_exchange_rate_per_s": (100.0, 800.0)})
    assert found.parameters["olsalazine_exchange_rate_per_s"] == pytest.approx(800.0)
    assert np.isnan(found.standard_errors["olsalazine_exchange_rate_per_s"])
    assert np.isfinite(found.standard_errors["olsalazine_fraction"])
    assert found.flags == Flag.AT_BOUND


def test_overlapping_pools_are_refused_as_ill_conditioned() -> None:
    # Two drugs 0.02 ppm apart with the same rate.
    first = olsalazine(1e-4, 1000.0)
    twin = dataclasses.replace(first.exchange[0], name="twin", offset_ppm=9.82)
    pools = dataclasses.replace(first, exchange=(*first.exchange, twin))
    with pytest.raises(IllConditioned) as caught:
        fit(spectra(pools), pools, free={"olsalazine": "fraction", "twin": "fraction"})
    assert caught.value.needed == "at most 50"
    assert "twin_fraction" in (caught.value.where or "")


def test_slow_labelling_at_one_b1_does_not_part_fraction_and_rate() -> None:
    # k far below w1: the contrast depends on f k alone.
    pools = olsalazine(1e-3, 2.0)
    train = PulseTrain([9.0, 9.4, 9.8, 10.2, 10.6], [10.0], 3.0)
    with pytest.raises(IllConditioned):
        bloch_fit.fit(simulate(pools, train), pools, train, free=FREE)


def test_single_precision_stays_single_and_threads_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    z = spectra(olsalazine(1e-4, 1000.0)) + rng.normal(0.0, 0.003, (6, 2 * OFFSETS.size))
    found = fit(z.astype(np.float32))
    assert found.parameters["olsalazine_fraction"].dtype == np.float32
    one, more = fit(z, workers=1), fit(z)
    for name in one.parameters:
        assert one.parameters[name].tobytes() == more.parameters[name].tobytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"free": {"amide": "fraction"}}, "no pool 'amide'"),
        ({"free": {"olsalazine": "k"}}, "no free parameter 'k'"),
        ({"free": {"water": "fraction"}}, "no free parameter 'fraction'"),
        ({"free": {}}, "free must name"),
        ({"free": {"olsalazine": ("fraction", "fraction")}}, "each once"),
        ({"bounds": {"olsalazine_fraction": (1e-3, 1e-4)}}, "bounds of olsalazine_fraction"),
        ({"bounds": {"olsalazine_t1_s": (0.1, 3.0)}}, "not free"),
        ({"noise_sd": -1.0}, "noise_sd"),
        ({"b0_ppm": np.zeros(3)}, "b0_ppm has shape"),
        ({"mask": np.ones(3, bool)}, "mask has shape"),
    ],
)
def test_wrong_use_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit(spectra(olsalazine(1e-4, 1000.0)), **options)


def test_wrong_number_of_samples_and_units_are_refused() -> None:
    z = spectra(olsalazine(1e-4, 1000.0))
    with pytest.raises(ValueError, match="26 samples"):
        fit(z[:-1])
    with pytest.raises(ValueError, match="need at least 2 samples"):
        bloch_fit.fit([0.5], olsalazine(1e-4, 900.0), PulseTrain([9.8], [1.0], 1.0), free=FREE)
    with pytest.raises(ImplausibleValue):
        fit(z, relative_b1=98.0)
    with pytest.raises(ValueError, match="no saturation sequence"):
        bloch_fit.fit(z, olsalazine(1e-4, 900.0), [], free=FREE)


def test_poor_start_is_searched_again_from_others() -> None:
    # From 1e-5 and 3,000 1/s a first search of these runs into the lower bound of the rate.
    fraction, rate = [6.5e-4, 5.3e-4, 1.3e-4, 1.5e-4], [1714.0, 2487.0, 1270.0, 2347.0]
    z = np.stack([spectra(olsalazine(f, k)) for f, k in zip(fraction, rate, strict=True)])
    found = fit(z, olsalazine(1e-5, 3000.0))
    assert not found.flags.any()
    assert found.parameters["olsalazine_fraction"] == pytest.approx(fraction, rel=1e-4)
    assert found.parameters["olsalazine_exchange_rate_per_s"] == pytest.approx(rate, rel=1e-4)
