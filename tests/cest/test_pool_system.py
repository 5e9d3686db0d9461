"""What a pool system and a pulse train may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imgtheranostics.cest.bloch_mcconnell import ExchangePool, MtPool, PoolSystem, PulseTrain, WaterPool
from imgtheranostics.cest.constants import GAMMA_RAD_PER_S_UT
from imgtheranostics.errors import ImplausibleValue

WATER = WaterPool(1.0, 0.05)
AMIDE: dict[str, Any] = {
    "name": "amide",
    "fraction": 1e-3,
    "t1_s": 1.0,
    "t2_s": 0.1,
    "exchange_rate_per_s": 30.0,
    "offset_ppm": 3.5,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fraction", 1.0),
        ("fraction", -1e-3),
        ("t1_s", 1200.0),
        ("t2_s", 15.0),
        ("t2_s", 1e-7),
        ("t2_s", 2.5),
        ("exchange_rate_per_s", -5.0),
        ("offset_ppm", 447.0),
    ],
)
def test_implausible_values_of_a_pool_are_refused_by_name(name: str, value: float) -> None:
    # cest.md section 5: T2 1e-6..10 s, fraction below 1; T2 of 2.5 s is above 2 T1.
    with pytest.raises(ImplausibleValue) as caught:
        ExchangePool(**{**AMIDE, name: value})
    assert caught.value.where == name
    assert caught.value.next_step


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="fraction"):
        ExchangePool(**{**AMIDE, "fraction": float("nan")})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("field_t", 127.7),
        ("gamma_rad_per_s_ut", 42.5764),
        ("b0_inhomogeneity_ppm", 64.0),
        ("relative_b1", 95.0),
    ],
)
def test_implausible_scanners_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ImplausibleValue) as caught:
        PoolSystem(WATER, **{name: value})  # type: ignore[arg-type]
    assert caught.value.where == name


def test_names_line_shapes_and_sample_counts_are_checked() -> None:
    with pytest.raises(ValueError, match="names of pools"):
        PoolSystem(WATER, (ExchangePool(**AMIDE), ExchangePool(**AMIDE)))
    with pytest.raises(ValueError, match="names of pools"):
        PoolSystem(WATER, (ExchangePool(**{**AMIDE, "name": "mt"}),))
    with pytest.raises(ValueError, match="line_shape"):
        MtPool(0.1, 1.0, 1e-5, 30.0, 0.0, "gaussian")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_pulse_samples"):
        PoolSystem(WATER, max_pulse_samples=0)


def test_one_ppm_is_gamma_times_field() -> None:
    # 42.5764 MHz/T.
    assert PoolSystem(WATER, field_t=3.0).larmor_rad_per_s_ppm / (2 * np.pi) == pytest.approx(
        127.729, abs=1e-3
    )
    assert GAMMA_RAD_PER_S_UT == 267.5154109126009


def test_powers_of_a_train_are_those_of_their_definitions() -> None:
    # F1 of cest.md: mean of one pulse, its rms, and times the root of the duty cycle.
    train = PulseTrain([3.5], [1.0, 3.0], 0.025, n_pulses=4, pulse_interval_s=0.05, post_delay_s=0.01)
    assert train.b1_mean_ut == 2.0
    assert train.b1_rms_ut == pytest.approx(np.sqrt(5.0))
    assert train.b1_cwpe_ut == pytest.approx(np.sqrt(2.5))
    assert train.duty_cycle == 0.5
    assert train.duration_s == pytest.approx(0.35)
    assert train.pulse_s == 0.05


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"offset_ppm": np.linspace(-1500.0, 1500.0, 31)}, "offset_ppm"),
        ({"offset_ppm": [40000.0]}, "offset_ppm"),
        ({"pulse_b1_ut": [250.0]}, "pulse_b1_ut"),
        ({"sample_s": 3000.0}, None),
    ],
)
def test_trains_in_other_units_are_refused(values: dict[str, Any], where: str | None) -> None:
    given: dict[str, Any] = {"offset_ppm": [1.0], "pulse_b1_ut": [1.0], "sample_s": 1.0, **values}
    with pytest.raises(ImplausibleValue) as caught:
        PulseTrain(**given)
    assert caught.value.where == where


def test_far_references_are_no_sign_of_hertz() -> None:
    # cest.md section 5: -300 ppm, in old protocols -1500 or -1560.
    offsets = np.concatenate([[-1560.0, -300.0], np.linspace(-4.0, 4.0, 9)])
    assert PulseTrain(offsets, [1.0], 1.0).offsets.size == 11
    assert PulseTrain([-300.0], [1.0], 1.0).offsets.size == 1


@pytest.mark.parametrize(
    "values",
    [
        {"offset_ppm": []},
        {"offset_ppm": [np.nan]},
        {"offset_ppm": [[1.0, 2.0]]},
        {"pulse_b1_ut": [np.inf]},
        {"sample_s": 0.0},
        {"sample_s": -1.0},
        {"n_pulses": 0},
        {"n_pulses": 1.5},
        {"pulse_interval_s": -0.1},
        {"post_delay_s": float("nan")},
    ],
)
def test_trains_that_cannot_be_played_are_refused(values: dict[str, Any]) -> None:
    given: dict[str, Any] = {"offset_ppm": [1.0], "pulse_b1_ut": [1.0], "sample_s": 1.0, **values}
    with pytest.raises(ValueError, match=next(iter(values))):
        PulseTrain(**given)


def test_a_train_cannot_be_changed_from_outside() -> None:
    offsets = np.array([1.0, 2.0])
    train = PulseTrain(offsets, [1.0], 1.0)
    offsets[0] = 9.0
    assert train.offsets[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        train.samples[0] = 2.0
