"""Pools of agents from their records (cest.md 4.1), and what a record does not tell."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.agents import get
from imgtheranostics.cest import agent_pools
from imgtheranostics.cest.bloch_mcconnell import ExchangePool, PoolSystem, PulseTrain, WaterPool, simulate
from imgtheranostics.errors import IllConditioned, ImplausibleValue, MissingMetadata

DRUGS = ("olsalazine", "gemcitabine", "melphalan", "salicylate", "iopamidol", "iodixanol")


def codes(pools):
    return {caution.code for caution in pools.warnings}


def test_fraction_of_20_mm_and_two_protons():
    """The sheet's oracle: 3.6036e-4 of 111 mol/L of water protons."""
    assert agent_pools.proton_fraction(20.0, 2) == pytest.approx(3.6036e-4, rel=1e-5)
    np.testing.assert_allclose(agent_pools.proton_fraction([1.0, 10.0], 1), [1 / 111e3, 10 / 111e3])


def test_olsalazine_shows_the_published_contrast():
    """The sheet's computed 2-pool oracle: 5.95 % at 5 mM, 11.7 T, 3.6 uT for 3 s."""
    pools = agent_pools.simulator_pools(
        "olsalazine", concentration_mm=5.0, exchange_rate_per_s=1000.0, t2_s=0.02
    )
    system = PoolSystem(WaterPool(2.0, 0.045), pools, field_t=11.7)
    z = simulate(system, PulseTrain([-9.8, 9.8], [3.6], 3.0))
    assert 100 * (z[0] - z[1]) == pytest.approx(5.95, abs=0.005)


@pytest.mark.parametrize(
    ("agent", "named", "told"),
    [
        ("olsalazine", {"exchange_rate_per_s", "t2_s"}, "1000 to 1500"),
        ("gemcitabine", {"offset_ppm", "exchange_rate_per_s", "protons", "t2_s"}, "2 to 2.4"),
        ("melphalan", {"offset_ppm", "exchange_rate_per_s", "protons", "t2_s"}, "1.5 to 2"),
        ("salicylate", {"exchange_rate_per_s", "protons", "t2_s"}, "400 to 1000"),
        ("iopamidol", {"ph", "t2_s"}, "pH 6.5 to 7.4"),
        ("iodixanol", {"exchange_rate_per_s", "protons", "t2_s"}, "300 to 1000"),
        ("dextran", {"exchange_rate_per_s", "protons", "t2_s"}, "not recorded"),
    ],
)
def test_what_is_unconfirmed_as_a_range_or_absent_must_be_given(agent, named, told):
    with pytest.raises(MissingMetadata) as caught:
        agent_pools.simulator_pools(agent, concentration_mm=10.0)
    assert set(caught.value.needed.split(", ")) == named
    assert told in caught.value.found


def test_what_is_given_completes_the_record():
    pools = agent_pools.simulator_pools(
        "melphalan",
        concentration_mm=10.0,
        exchange_rate_per_s=1200.0,
        protons=2,
        offset_ppm=1.8,
        t2_s=0.02,
    )
    assert pools == (ExchangePool("melphalan_amine", 20 / 111e3, 1.0, 0.02, 1200.0, 1.8),)
    assert codes(pools) == set()


def test_single_numbers_from_memory_carry_a_caution():
    pools = agent_pools.simulator_pools("Olsa", concentration_mm=1.0, exchange_rate_per_s=1000, t2_s=0.02)
    assert codes(pools) == {"unconfirmed-value"}
    assert [caution.where for caution in pools.warnings] == [
        "olsa-rvrr: cest_pools.0.protons",
        "olsa-rvrr: cest_pools.0.offset_ppm",
    ]
    published = agent_pools.simulator_pools(
        "salicylate", concentration_mm=1.0, exchange_rate_per_s=500.0, protons=1, t2_s=0.02
    )
    assert published.warnings == ()
    assert published[0].offset_ppm == 9.3


def test_values_outside_the_record_are_taken_with_a_caution():
    pools = agent_pools.simulator_pools(
        "Olsa", concentration_mm=1.0, exchange_rate_per_s=5000.0, offset_ppm=9.3, t2_s=0.02
    )
    told = [caution.message for caution in pools.warnings if caution.code == "outside-recorded-range"]
    assert len(told) == 2
    assert pools[0].exchange_rate_per_s == 5000.0


@pytest.mark.parametrize(
    ("ph", "expected"),
    [(6.5, (300, 1000)), (7.4, (1300, 4500)), (6.95, (np.sqrt(300 * 1300), np.sqrt(1000 * 4500)))],
)
def test_rates_of_iopamidol_go_straight_in_their_logarithm(ph, expected):
    pools = agent_pools.simulator_pools("iopamidol", concentration_mm=20.0, ph=ph, t2_s=0.02)
    assert [pool.exchange_rate_per_s for pool in pools] == pytest.approx(expected)
    assert [pool.offset_ppm for pool in pools] == [4.2, 5.5]
    assert [pool.name for pool in pools] == ["iopamidol_amide_4_2", "iopamidol_amide_5_5"]
    assert codes(pools) == {"unconfirmed-value"}
    assert sum("exchange rate" in caution.message for caution in pools.warnings) == 4


def test_rates_are_continued_by_no_more_than_a_tenth_of_ph():
    """Phantoms reach pH 6.4, the record begins at 6.5."""
    pools = agent_pools.simulator_pools("iopamidol", concentration_mm=20.0, ph=6.4, t2_s=0.02)
    assert "extrapolated-exchange-rate" in codes(pools)
    assert pools[0].exchange_rate_per_s == pytest.approx(300 * (1300 / 300) ** (-0.1 / 0.9))
    for ph in (6.3, 7.6):
        with pytest.raises(MissingMetadata, match="exchange_rate_per_s"):
            agent_pools.simulator_pools("iopamidol", concentration_mm=20.0, ph=ph, t2_s=0.02)


@given(ph=st.floats(6.5, 7.39))
def test_rates_rise_with_ph(ph):
    low, high = (
        agent_pools.simulator_pools("iopamidol", concentration_mm=1.0, ph=at, t2_s=0.02)
        for at in (ph, ph + 0.01)
    )
    assert all(a.exchange_rate_per_s < b.exchange_rate_per_s for a, b in zip(low, high, strict=True))


def test_values_go_by_the_name_of_the_pool():
    pools = agent_pools.simulator_pools(
        "iodixanol",
        concentration_mm=5.0,
        exchange_rate_per_s={"amide": 600.0, "hydroxyl": 1500.0},
        protons={"amide": 2, "hydroxyl": 9},
        t2_s=0.02,
    )
    assert [pool.exchange_rate_per_s for pool in pools] == [600.0, 1500.0]
    only = agent_pools.simulator_pools(
        "iodixanol", concentration_mm=5.0, exchange_rate_per_s=600.0, protons=2, t2_s=0.02, pools=["amide"]
    )
    assert only[0] == pools[0]
    with pytest.raises(ValueError, match="give exchange_rate_per_s by name"):
        agent_pools.simulator_pools("iodixanol", concentration_mm=5.0, exchange_rate_per_s=600.0)
    with pytest.raises(ValueError, match="the pools are amide, hydroxyl"):
        agent_pools.simulator_pools("iodixanol", concentration_mm=5.0, protons={"amine": 2})
    with pytest.raises(ValueError, match="there are amide, hydroxyl"):
        agent_pools.simulator_pools("iodixanol", concentration_mm=5.0, pools=["amine"])
    with pytest.raises(ValueError, match="not a number"):
        agent_pools.simulator_pools("iodixanol", concentration_mm=5.0, protons={"amide": np.nan})


def test_the_same_protons_are_not_counted_twice():
    """Gemcitabine's amine is recorded in solution (a range) and in a hydrogel (2.2 ppm, published)."""
    assert [pool.name for pool in get("gemcitabine").cest_pools if pool.instead_of] == ["amine in a hydrogel"]
    free = agent_pools.lorentzian_pools("gemcitabine", offset_ppm={"amine": 2.1})
    assert [pool.name for pool in free] == ["gemcitabine_amine", "gemcitabine_hydroxyl"]
    gel = agent_pools.lorentzian_pools("gemcitabine", pools=["amine in a hydrogel"])
    assert gel[0].centre_ppm == pytest.approx((2.2, 1.9, 2.5))
    assert gel.warnings == ()
    with pytest.raises(ValueError, match="the same protons"):
        agent_pools.lorentzian_pools("gemcitabine", pools=["amine", "amine in a hydrogel"])


def test_lorentzian_pools_are_fitted():
    from imgtheranostics.cest import pools as fitting

    drug = agent_pools.lorentzian_pools("salicylate")
    water = fitting.Pool("water", (0.8, 0.02, 1.0), (1.5, 0.3, 10.0), (0.0, -1.0, 1.0))
    offset = np.linspace(-12, 12, 97)
    z = 1 - 0.9 * 0.8**2 / (0.8**2 + offset**2) - 0.05 * 0.6**2 / (0.6**2 + (offset - 9.35) ** 2)
    found = fitting.fit(z, offset, [water, *drug])
    assert found.parameters["salicylic_acid_hydroxyl_amplitude"] == pytest.approx(0.05, rel=1e-5)
    assert found.parameters["salicylic_acid_hydroxyl_centre_ppm"] == pytest.approx(9.35, abs=1e-5)


@pytest.mark.parametrize("agent", ["gemcitabine", "melphalan"])
def test_lorentzian_pools_need_an_offset_too(agent):
    with pytest.raises(MissingMetadata) as caught:
        agent_pools.lorentzian_pools(agent)
    assert caught.value.needed == "offset_ppm"


def test_records_without_pools_are_refused_with_what_carries_the_signal():
    with pytest.raises(MissingMetadata, match="iodixanol"):
        agent_pools.simulator_pools("ixlipo", concentration_mm=1.0)
    with pytest.raises(MissingMetadata, match="no pool for CEST"):
        agent_pools.lorentzian_pools("AGuIX")


def test_values_that_cannot_be_are_refused():
    def olsalazine(**more):
        return agent_pools.simulator_pools(
            "Olsa", **{"concentration_mm": 1.0, "exchange_rate_per_s": 1000.0, "t2_s": 0.02, **more}
        )

    with pytest.raises(ValueError, match="concentration_mm"):
        olsalazine(concentration_mm=-1.0)
    with pytest.raises(ImplausibleValue, match="umol/L"):
        olsalazine(concentration_mm=20000.0)
    with pytest.raises(ImplausibleValue, match="t2_s"):
        olsalazine(t2_s=20.0)
    with pytest.raises(ImplausibleValue, match="pH"):
        olsalazine(ph=74.0)
    with pytest.raises(ValueError, match="centre_tolerance_ppm"):
        agent_pools.lorentzian_pools("Olsa", centre_tolerance_ppm=-1)


def test_pools_survive_pickling():
    pools = agent_pools.simulator_pools("Olsa", concentration_mm=1.0, exchange_rate_per_s=1000.0, t2_s=0.02)
    again = pickle.loads(pickle.dumps(pools))  # noqa: S301 - our own bytes
    assert again == pools
    assert again.warnings == pools.warnings


def panel(**more):
    """Gemcitabine and melphalan with amines 0.4 ppm apart, at 3 T and one power."""

    def pool(agent, offset, rate):
        return agent_pools.simulator_pools(
            agent,
            concentration_mm=10.0,
            exchange_rate_per_s=rate,
            protons=2,
            offset_ppm=offset,
            t2_s=0.02,
            pools=["amine"],
        )

    protocol = {"b1_ut": 2.0, "saturation_time_s": 3.0, "field_t": 3.0, "water": WaterPool(2.0, 0.06)}
    return agent_pools.identifiability(
        {"gemcitabine": pool("gemcitabine", 2.2, 1000.0), "melphalan": pool("melphalan", 1.8, 1000.0)},
        np.linspace(-6, 6, 61),
        **{**protocol, **more},
    )


def test_overlapping_amines_are_refused():
    found = panel()
    assert found.condition_number > 50
    assert not found.identifiable
    with pytest.raises(IllConditioned, match="condition number") as caught:
        found.check()
    assert "at most 50" in str(caught.value)


def test_known_rates_and_offsets_and_a_higher_field_tell_them_apart():
    known = panel(free=["concentration"], field_t=9.4)
    assert known.identifiable
    known.check()
    assert known.parameters == ("gemcitabine: concentration", "melphalan: concentration")
    assert known.most_alike == known.parameters
    lower = panel(free=["concentration"], field_t=3.0)
    assert lower.condition_number > known.condition_number


def test_condition_number_is_that_of_differences_taken_by_hand():
    offsets, water = np.linspace(-6, 6, 61), WaterPool(2.0, 0.06)

    def spectrum(first, second):
        pools = tuple(
            ExchangePool(name, amount * 2 / 111e3, 1.0, 0.02, 1000.0, at)
            for name, amount, at in (("a", first, 2.2), ("b", second, 1.8))
        )
        return simulate(PoolSystem(water, pools, field_t=3.0), PulseTrain(offsets, [2.0], 3.0))

    columns = [
        spectrum(10.1, 10.0) - spectrum(9.9, 10.0),
        spectrum(10.0, 10.1) - spectrum(10.0, 9.9),
    ]
    scaled = np.stack([column / np.linalg.norm(column) for column in columns], axis=1)
    found = panel(free=["concentration"])
    assert found.condition_number == pytest.approx(np.linalg.cond(scaled), rel=1e-3)
    # For two columns of unit length it follows from the angle between them.
    cosine = found.resemblance
    assert found.condition_number == pytest.approx(np.sqrt((1 + cosine) / (1 - cosine)), rel=1e-9)


def test_what_is_free_may_differ_between_agents():
    found = panel(free={"gemcitabine": ["concentration"], "melphalan": ["concentration", "offset_ppm"]})
    assert found.parameters == (
        "gemcitabine: concentration",
        "melphalan: concentration",
        "melphalan: offset_ppm of melphalan_amine",
    )
    assert set(found.of_each) == {"gemcitabine", "melphalan"}
    assert found.of_each["gemcitabine"] == pytest.approx(1.0)
    for free in ([], ["amount"], {"salicylate": ["concentration"]}):
        with pytest.raises(ValueError, match=r"free|unknown"):
            panel(free=free)
