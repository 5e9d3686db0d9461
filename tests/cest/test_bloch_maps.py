"""Fits of the simulation on Volumes; truth are the pools that simulated spectra were made with."""

from dataclasses import replace

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.cest.bloch_maps import BlochPlan
from imgtheranostics.cest.bloch_mcconnell import ExchangePool, PoolSystem, PulseTrain, WaterPool, simulate
from imgtheranostics.cest.prepared_spectra import Handling
from imgtheranostics.errors import IllConditioned, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Flag, Volume

SHAPE = (3, 2, 2)
OFFSETS = np.sort(np.r_[np.linspace(-12.0, 12.0, 31), 9.4, 9.8, 10.2])
LABEL = ExchangePool("label", 3e-4, 1.0, 0.02, 1000.0, 9.8)
POOLS = PoolSystem(WaterPool(2.0, 0.045), (LABEL,), field_t=11.7)
FRACTIONS = np.linspace(1e-4, 6e-4, 12).reshape(SHAPE)
RATES = np.linspace(600.0, 1400.0, 12)[::-1].reshape(SHAPE)
POWERS = (1.2, 3.6)


def train(b1_ut, offsets=OFFSETS):
    return PulseTrain(offsets, [b1_ut], 3.0)


def scan(b1_ut, *, shift=0.0, field_ratio=1.0, saturation=None, affine=None, noise=0.0):
    systems = [
        replace(POOLS, exchange=(replace(LABEL, fraction=float(f), exchange_rate_per_s=float(k)),))
        for f, k in zip(FRACTIONS.ravel(), RATES.ravel(), strict=True)
    ]
    z = simulate(systems, train(b1_ut), b0_ppm=shift, relative_b1=field_ratio).reshape((*SHAPE, -1))
    signal = 900.0 * np.concatenate([np.ones((*SHAPE, 1)), z], axis=-1)
    signal += np.random.default_rng(0).normal(0, 900 * noise, signal.shape) if noise else 0.0
    record = MrAcquisition(
        field_strength_t=11.7,
        imaging_frequency_mhz=498.0,
        saturation={"b1_rms_ut": b1_ut, "duration_s": 3.0, "duty_cycle": 1.0}
        if saturation is None
        else saturation,
    )
    axis = Axis("saturation_offset", np.r_[np.nan, OFFSETS], "ppm")
    return Volume(signal, np.eye(4) if affine is None else affine, "signal", "[arb'U]", (axis,), record)


BOTH = {"label": ("fraction", "exchange_rate_per_s")}


def test_fraction_rate_and_concentration_are_those_of_the_simulation():
    """F16: two protons, so that f = 3.6036e-4 is 20 mmol/L."""
    found = it.cest.exchange_rate(
        [scan(b1) for b1 in POWERS],
        method="bloch",
        pools=POOLS,
        sequence=[train(b1) for b1 in POWERS],
        free=BOTH,
        protons={"label": 2},
        b0=0.0,
    )
    assert set(found) == {"label_fraction", "label_exchange_rate", "label_pool_concentration"}
    assert found["label_pool_concentration"].unit == "mmol/L"
    np.testing.assert_allclose(found["label_fraction"].value.data, FRACTIONS, rtol=2e-3)
    np.testing.assert_allclose(found["label_exchange_rate"].value.data, RATES, rtol=2e-3)
    np.testing.assert_allclose(
        found["label_pool_concentration"].value.data, FRACTIONS * 20.0 / 3.6036e-4, rtol=2e-3
    )


def test_the_sequence_may_be_what_the_scans_state():
    found = it.cest.exchange_rate([scan(b1) for b1 in POWERS], method="bloch", pools=POOLS, free=BOTH, b0=0.0)
    np.testing.assert_allclose(found["label_fraction"].value.data, FRACTIONS, rtol=2e-3)


def test_the_shift_of_water_and_the_transmit_field_enter_the_simulation():
    shift = np.linspace(-0.2, 0.2, 12)
    scans = [scan(b1, field_ratio=0.85) for b1 in POWERS]
    found = it.cest.exchange_rate(scans, method="bloch", pools=POOLS, free=BOTH, b0=0.0, b1=0.85)
    np.testing.assert_allclose(found["label_fraction"].value.data, FRACTIONS, rtol=5e-3)
    shifted = [scan(b1, shift=float(shift[0])) for b1 in POWERS]
    found = it.cest.exchange_rate(shifted, method="bloch", pools=POOLS, free=BOTH, b0=float(shift[0]))
    np.testing.assert_allclose(found["label_exchange_rate"].value.data, RATES, rtol=5e-3)


def test_pools_that_overlap_are_unidentifiable():
    """Two pools of one offset and rate: only the sum of their fractions shows (issue, item 7)."""
    twin = replace(LABEL, name="twin")
    with pytest.raises(IllConditioned):
        it.cest.exchange_rate(
            [scan(3.6)],
            method="bloch",
            pools=replace(POOLS, exchange=(LABEL, twin)),
            free={"label": "fraction", "twin": "fraction"},
            b0=0.0,
        )


def test_one_free_parameter_needs_one_scan():
    known = replace(POOLS, exchange=(replace(LABEL, exchange_rate_per_s=1000.0),))
    one = scan(3.6)
    found = it.cest.exchange_rate(one, method="bloch", pools=known, free={"label": "fraction"}, b0=0.0)
    assert set(found) == {"label_fraction"}
    assert found["label_fraction"].decisions["simulation"]["free"] == {"label": ["fraction"]}
    assert found["label_fraction"].value.history[-1].name == "fit_bloch"


@pytest.mark.parametrize("drift", ["mean", "linear"])
def test_standard_errors_are_the_scatter_of_repeats(drift):
    """1,000 repeats of one pool with noise in saturated and in unsaturated images: within 10 %."""
    z, one = simulate(POOLS, train(3.6)), scan(3.6)
    signal, axis = np.r_[1.0, z], one.axes[0]
    if drift == "linear":
        signal, axis = np.r_[signal, 1.0], replace(axis, values=np.r_[axis.values, np.nan])
    noise = np.random.default_rng(8).normal(0, 900 * 0.004, (20, 25, 2, signal.size))
    many = Volume(900.0 * signal + noise, np.eye(4), "signal", "[arb'U]", (axis,), one.acquisition)
    found = it.cest.exchange_rate(
        many, method="bloch", pools=POOLS, free={"label": "fraction"}, b0=0.0, noise_sd=0.004, drift=drift
    )["label_fraction"]
    stated = np.nanmedian(found.standard_error.data)
    assert stated == pytest.approx(np.nanstd(found.value.data), rel=0.10)


class TestRefusals:
    def fit(self, scans, **more):
        options = {"method": "bloch", "pools": POOLS, "free": BOTH, "b0": 0.0} | more
        return it.cest.exchange_rate(scans, **options)

    def test_a_scan_that_does_not_state_its_pulses_needs_the_sequence(self):
        with pytest.raises(MissingMetadata, match="block pulses") as refusal:
            self.fit([scan(b1, saturation={"b1_rms_ut": b1}) for b1 in POWERS])
        assert "sequence=" in (refusal.value.next_step or "")

    def test_a_sequence_of_other_offsets(self):
        with pytest.raises(UnsupportedInput, match="offsets of the scan"):
            self.fit([scan(b1) for b1 in POWERS], sequence=[train(b1, OFFSETS[:-3]) for b1 in POWERS])

    def test_another_number_of_sequences(self):
        with pytest.raises(UnsupportedInput, match="sequences"):
            self.fit([scan(b1) for b1 in POWERS], sequence=train(1.2))

    def test_pools_of_another_field(self):
        with pytest.raises(UnitMismatch, match="field"):
            self.fit([scan(b1) for b1 in POWERS], pools=replace(POOLS, field_t=3.0))

    def test_options_that_do_not_belong_together(self):
        scans = [scan(b1) for b1 in POWERS]
        with pytest.raises(UnknownChoice, match="pools="):
            it.cest.exchange_rate(scans, method="bloch")
        with pytest.raises(UnknownChoice, match="at_ppm"):
            self.fit(scans, at_ppm=9.8)
        with pytest.raises(UnknownChoice, match="pools"):
            it.cest.exchange_rate(scans, method="quesp", at_ppm=9.8, t1=2.0, pools=POOLS)
        with pytest.raises(UnknownChoice, match="protons"):
            self.fit(scans, protons={"amide": 1})
        with pytest.raises(UnknownChoice, match="at_ppm"):
            it.cest.exchange_rate(scans, method="quesp", t1=2.0)

    def test_bad_voxels_are_missing_and_flagged(self):
        scans = [scan(b1) for b1 in POWERS]
        data = np.array(scans[1].data)
        data[0, 0, 0, 5] = np.nan
        scans[1] = scans[1].replace(data=data)
        found = self.fit(scans)["label_fraction"]
        assert np.isnan(found.value.data[0, 0, 0])
        assert found.flags.data[0, 0, 0] & Flag.INVALID_INPUT
        assert np.isfinite(found.value.data).sum() == 11


def test_regions_have_their_spectra_with_the_simulation():
    scans = [scan(b1) for b1 in POWERS]
    inside = np.zeros(SHAPE, bool)
    inside[1, 1, 0] = True
    tube = Regions.from_masks({"tube": inside}, scans[0].grid)
    curves = BlochPlan.of(scans, Handling(b0=0.0), POOLS, free=BOTH).curves(tube)
    assert [curve.label for curve in curves[:2]] == ["tube, 1.2 uT", "tube, 3.6 uT"]
    for curve in curves[:2]:
        np.testing.assert_allclose(curve.fitted, curve.measured, atol=1e-4)
        assert curve.quantity == "label_fraction"
        assert curve.value == pytest.approx(FRACTIONS[1, 1, 0], rel=2e-3)
        assert curve.line.size == curve.line_x.size > 100
