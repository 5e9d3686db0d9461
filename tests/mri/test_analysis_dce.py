"""Perfusion on Volumes: entered at signal or concentration, with every kind of input function."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import (
    CorruptInput,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnsupportedInput,
)
from imgtheranostics.mri import perfusion_maps, plasma_curve
from imgtheranostics.mri.input_function import population_aif
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Estimate, Flag, Volume

SHAPE = (3, 2, 1)
TIME = np.arange(0.0, 300.0, 4.0)
SPGR = MrAcquisition(field_strength_t=3.0, repetition_time_s=0.005, echo_time_s=0.002, flip_angle_deg=30.0)
R1 = 4.0


def series(curve, quantity="gd_concentration", unit="mmol/L"):
    data = np.broadcast_to(curve, (*SHAPE, TIME.size))
    return Volume(np.array(data), np.eye(4), quantity, unit, (Axis("time", TIME, "s"),), acquisition=SPGR)


def tofts(ktrans_per_min, ve):
    """Constant plasma of 1 mmol/L from the first image on: ve (1 - exp(-kep t)), in closed form."""
    return ve * (1.0 - np.exp(-ktrans_per_min / 60.0 / ve * TIME))


def spgr(mm, t10=1.4):
    angle = np.radians(SPGR.flip_angle_deg)
    e1 = np.exp(-SPGR.repetition_time_s * (1 / t10 + R1 * mm))
    return 800 * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))


STEP = np.ones(TIME.size)


class TestModels:
    def test_tofts_of_a_constant_input_is_its_closed_form(self):
        found = it.mri.dce_map(series(tofts(0.25, 0.3)), model="tofts", aif=STEP, compartment="plasma")
        assert list(found) == ["ktrans", "ve"]
        assert found["ktrans"].unit == "1/min"
        assert found["ktrans"].value.data == pytest.approx(0.25, rel=2e-3)
        assert found["ve"].value.data == pytest.approx(0.3, rel=2e-3)
        assert found["ktrans"].decisions["method"]["rule"] == "tofts"
        assert found["ktrans"].maps["r_squared"].data == pytest.approx(1.0, abs=1e-4)

    def test_patlak_of_a_constant_input_is_a_straight_line(self):
        curve = 0.05 + 0.02 / 60.0 * TIME
        found = it.mri.dce_map(series(curve), model="patlak", aif=STEP, compartment="plasma")
        assert set(found) == {"ps", "vp"}
        assert found["ps"].value.data == pytest.approx(0.02, rel=1e-4)
        assert found["vp"].value.data == pytest.approx(0.05, rel=1e-4)

    def test_whole_blood_needs_the_haematocrit_and_scales_with_it(self):
        blood = it.mri.dce_map(series(tofts(0.25, 0.3)), model="tofts", aif=0.6 * STEP, haematocrit=0.4)
        assert blood["ktrans"].value.data == pytest.approx(0.25, rel=2e-3)
        with pytest.raises(MissingMetadata, match="haematocrit") as refusal:
            it.mri.dce_map(series(tofts(0.25, 0.3)), model="tofts", aif=STEP)
        assert "--haematocrit" in refusal.value.next_step
        with pytest.raises(UnsupportedInput, match="one of plasma"):
            it.mri.dce_map(series(STEP), aif=STEP, compartment="plasma", haematocrit=0.4)
        with pytest.raises(ImplausibleValue, match="haematocrit"):
            it.mri.dce_map(series(tofts(0.25, 0.3)), aif=STEP, haematocrit=42.0)

    def test_unknown_models_and_lengths_are_refused(self):
        with pytest.raises(ValueError, match="model must be one of"):
            it.mri.dce_map(series(STEP), model="brix")
        with pytest.raises(UnsupportedInput, match="does not fit the series"):
            it.mri.dce_map(series(STEP), aif=np.ones(5), compartment="plasma")

    def test_curves_of_regions_carry_the_model(self):
        plan = perfusion_maps.dce_plan(
            series(tofts(0.25, 0.3)), model="tofts", aif=STEP, compartment="plasma"
        )
        regions = Regions.from_masks({"left": np.eye(3, 2)[..., None]}, plan.series.volume.grid)
        (curve,) = plan.curves(regions)
        assert (curve.label, curve.n_voxels, curve.quantity) == ("left", 2, "ktrans")
        assert curve.fitted == pytest.approx(tofts(0.25, 0.3), abs=1e-4)
        assert curve.value == pytest.approx(0.25, rel=2e-3)


class TestPopulations:
    def test_the_bolus_arrives_when_stated(self):
        fine = np.arange(0.0, TIME[-1] + 1, 0.05)
        plasma = population_aif("parker", fine, delay_s=20.0) / (1 - 0.42)
        area = np.concatenate([[0], np.cumsum((plasma[1:] + plasma[:-1]) / 2 * 0.05)])
        curve = np.interp(TIME, fine, 0.04 * plasma + 0.1 / 60 * area)
        found = it.mri.dce_map(series(curve), model="patlak", aif="parker", aif_delay_s=20.0)
        assert found["ps"].value.data == pytest.approx(0.1, rel=1e-3)
        assert found["vp"].value.data == pytest.approx(0.04, rel=1e-3)
        codes = {c.code for c in found["ps"].warnings}
        assert "haematocrit-assumed" in codes
        assert "aif-delay-assumed" not in codes
        assert found["ps"].decisions["input_function"]["haematocrit"] == 0.42

    @pytest.mark.parametrize("baseline", [(0, 3), (0, 5), None])
    def test_otherwise_when_the_enhancing_voxels_show_it(self, baseline, rng):
        """The baseline may end long before the bolus; an error of one image shifts every parameter."""
        fine = np.arange(0.0, TIME[-1] + 1, 0.05)
        plasma = population_aif("parker", fine, delay_s=33.0) / (1 - 0.42)
        area = np.concatenate([[0], np.cumsum((plasma[1:] + plasma[:-1]) / 2 * 0.05)])
        share = np.array([[1.0, 0.8], [0.6, 0.0], [0.0, 0.0]])[..., None, None]
        curves = share * np.interp(TIME, fine, 0.04 * plasma + 0.1 / 60 * area)
        curves = curves + 0.002 * rng.normal(size=(*SHAPE, TIME.size))
        found = it.mri.dce_map(
            series(curves), model="patlak", aif="parker", haematocrit=0.42, baseline=baseline
        )
        decision = found["ps"].decisions["input_function"]
        assert decision["delay_s"] == pytest.approx(33.0, abs=0.5)
        assert decision["delay_rule"] == "fitted to the mean of enhancing voxels"
        assert found["ps"].value.data[0, 0].mean() == pytest.approx(0.1, rel=0.03)
        codes = {c.code for c in found["ps"].warnings}
        assert "aif-delay-fitted" in codes
        assert "haematocrit-assumed" not in codes

    def test_without_a_bolus_at_the_end_of_the_baseline_with_a_caution(self, rng):
        noise = 0.01 * rng.normal(size=(3, 2, 1, TIME.size))
        found = it.mri.dce_map(series(noise), model="tofts", haematocrit=0.42, baseline=(0, 5))
        assert found["ktrans"].decisions["input_function"]["delay_s"] == 16.0
        assert "aif-delay-assumed" in {c.code for c in found["ktrans"].warnings}

    def test_a_curve_of_plasma_takes_no_haematocrit(self):
        with pytest.raises(UnsupportedInput, match="measured in plasma"):
            it.mri.dce_map(series(STEP), aif="weinmann", haematocrit=0.42)


class TestFiles:
    def test_blood_samples_closer_than_the_images_are_all_used(self, tmp_path):
        """Images 4 s apart would miss a bolus of 2 s: 5 mmol/L from 20.5 to 22.5 s adds 10 mmol/L s."""
        knots = np.array([0, 20.4, 20.5, 22.5, 22.6, 300])
        plasma = np.array([0.0, 0, 5, 5, 0, 0])
        path = tmp_path / "aif.tsv"
        rows = "\n".join(f"{t:.6f}\t{c}" for t, c in zip(knots, plasma, strict=True))
        path.write_text(f"time_s\tplasma_mm\n{rows}\n", encoding="utf-8")
        area = np.concatenate([[0], np.cumsum(np.diff(knots) * (plasma[1:] + plasma[:-1]) / 2)])
        curve = 0.1 / 60 * np.interp(TIME, knots, area)
        found = it.mri.dce_map(series(curve), model="patlak", aif=path)
        assert found["ps"].value.data == pytest.approx(0.1, rel=1e-5)

    def test_a_table_in_minutes_is_read(self, tmp_path):
        path = tmp_path / "aif.tsv"
        rows = "\n".join(f"{t / 60:.9f}\t1.0" for t in TIME)
        path.write_text(f"time_min\tplasma_mm\n{rows}\n", encoding="utf-8")
        found = it.mri.dce_map(series(tofts(0.25, 0.3)), model="tofts", aif=path)
        assert found["ktrans"].value.data == pytest.approx(0.25, rel=2e-3)
        assert found["ktrans"].decisions["input_function"]["compartment"] == "plasma"

    def test_what_is_neither_name_nor_table_is_refused(self, tmp_path):
        with pytest.raises(NothingUsable, match="neither a population"):
            it.mri.dce_map(series(STEP), aif="parkr")
        path = tmp_path / "aif.csv"
        path.write_text("t,c\n0,1\n", encoding="utf-8")
        with pytest.raises(CorruptInput, match="lacks a column"):
            plasma_curve.read_curve(path)
        path.write_text("time_s,blood_mm\n0,high\n", encoding="utf-8")
        with pytest.raises(CorruptInput, match="no number"):
            plasma_curve.read_curve(path)

    def test_a_curve_that_ends_before_the_scan_is_refused(self):
        with pytest.raises(UnsupportedInput, match="ends at"):
            it.mri.dce_map(series(STEP), aif=(TIME[:40], STEP[:40]), compartment="plasma")


class TestFromSignal:
    def mm(self):
        plasma = population_aif("parker", TIME, delay_s=20.0) / 0.58
        return 0.04 * plasma + 0.1 / 60 * np.concatenate(
            [[0], np.cumsum((plasma[1:] + plasma[:-1]) / 2 * np.diff(TIME))]
        )

    def test_signal_and_concentration_give_the_same(self):
        options = {"model": "patlak", "aif_delay_s": 20.0, "haematocrit": 0.42, "baseline": (0, 5)}
        by_signal = it.mri.dce_map(
            series(spgr(self.mm()), "signal", "[arb'U]"),
            t1=1.4, relaxivity=R1, relaxivity_uncertainty=0.2, per="Gd", **options,
        )  # fmt: skip
        by_concentration = it.mri.dce_map(series(self.mm()), **options)
        for name in ("ps", "vp"):
            assert by_signal[name].value.data == pytest.approx(by_concentration[name].value.data, rel=1e-3), (
                name
            )
        assert by_signal["ps"].calibration_relative == pytest.approx(0.05)
        assert by_signal["iauc"].axes[0].values.tolist() == [60.0, 90.0, 120.0]

    def test_the_error_of_the_initial_area_is_the_scatter_of_repeats(self, rng):
        """Noise in the signals: the baseline's mean scales each curve whole, which its scatter hides."""
        clean = spgr(0.5 * -np.expm1(-np.clip(TIME - 30.0, 0.0, None) / 25.0))
        noisy = clean + 0.005 * clean[0] * rng.normal(size=(30, 40, 1, TIME.size))
        v = Volume(noisy, np.eye(4), "signal", "[arb'U]", (Axis("time", TIME, "s"),), acquisition=SPGR)
        found = it.mri.dce_map(
            v, model="patlak", t1=1.4, relaxivity=R1, per="Gd", aif=STEP, compartment="plasma",
            baseline=(0, 7),
            noise_sd=0.005 * clean[0],
        )["iauc"]  # fmt: skip
        value, error = found.value.data, found.standard_error.data
        assert np.isfinite(error).mean() > 0.95
        scatter = np.nanstd(np.where(np.isfinite(error), value, np.nan), axis=(0, 1, 2))
        assert np.nanmean(error, axis=(0, 1, 2)) == pytest.approx(scatter, rel=0.1)

    def test_what_is_not_known_of_t1_is_not_known_of_the_parameters(self):
        """Against the same analysis with T1 one standard error longer; what all share stays a share."""
        v = series(spgr(self.mm()), "signal", "[arb'U]")
        options = {
            "model": "patlak", "aif_delay_s": 20.0, "haematocrit": 0.42, "baseline": (0, 5),
            "relaxivity": R1, "per": "Gd",
        }  # fmt: skip
        t1 = Volume(np.full(SHAPE, 1.4), np.eye(4), "t1", "s")
        error, flags = (
            t1.replace(data=np.full(SHAPE, 0.07)),
            t1.replace(data=np.zeros(SHAPE), quantity="flags", unit="1"),
        )
        found = it.mri.dce_map(v, t1=Estimate(t1, error, flags, calibration_relative=0.03), **options)
        longer = it.mri.dce_map(v, t1=1.47, **options)
        for name in ("ps", "vp"):
            change = np.abs(longer[name].value.data - found[name].value.data)
            assert found[name].standard_error.data == pytest.approx(change, rel=0.15), name
            assert found[name].calibration_relative == pytest.approx(0.03)

    def test_the_relaxivity_cancels_when_a_vessel_of_the_images_is_the_input(self):
        data = np.array(series(spgr(self.mm()), "signal", "[arb'U]").data)
        blood = population_aif("parker", TIME, delay_s=20.0)
        data[0, 0, 0] = spgr(blood, 1.9)
        v = series(0.0, "signal", "[arb'U]").replace(data=data)
        t1 = np.full(SHAPE, 1.4)
        t1[0, 0, 0] = 1.9
        vessel = np.zeros(SHAPE)
        vessel[0, 0, 0] = 1
        options = {
            "model": "patlak", "aif": Regions.from_masks({"artery": vessel}, v.grid), "baseline": (0, 3),
            "t1": Volume(t1, np.eye(4), "t1", "s"), "relaxivity": R1, "relaxivity_uncertainty": 0.4,
            "haematocrit": 0.42,
        }  # fmt: skip
        found = it.mri.dce_map(v, t1_blood_s=1.9, **options)
        assert found["ps"].value.data[1, 1, 0] == pytest.approx(0.1, rel=2e-3)
        assert found["ps"].calibration_relative == 0.0
        with pytest.raises(MissingMetadata, match="T1 of blood"):
            it.mri.dce_map(v, **options)

    def test_signals_need_their_baseline(self):
        with pytest.raises(MissingMetadata, match="images before the agent"):
            it.mri.dce_map(series(STEP, "signal", "[arb'U]"), t1=1.0, relaxivity=R1)


def test_noise_alone_is_not_enhancing_and_outside_the_mask_is_masked(rng):
    v = series(tofts(0.25, 0.3))
    data = np.array(v.data)
    data[0] = rng.normal(0, 0.01, data[0].shape)
    mask = np.ones(SHAPE)
    mask[2] = 0
    found = it.mri.dce_map(v.replace(data=data), model="tofts", aif=STEP, compartment="plasma", mask=mask)
    flags = found["ktrans"].flags.data
    assert (flags[0] & Flag.NOT_ENHANCING).all()
    assert (flags[2] == Flag.MASKED_OUT).all()
    assert np.isnan(found["ktrans"].value.data[[0, 2]]).all()
    assert found["ktrans"].value.data[1] == pytest.approx(0.25, rel=2e-3)
