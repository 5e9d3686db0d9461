"""Contrasts and their change on Volumes; truths are closed forms of Lorentzian lines (cest.md F3-F8, F21)."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import imgtheranostics as it
from imgtheranostics.cest.contrast_plan import ContrastPlan
from imgtheranostics.cest.prepared_spectra import Handling
from imgtheranostics.errors import (
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
)
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Flag, Volume

INSIDE = (slice(1, -1),) * 3


def line(w, centre, width, amplitude):
    half = (width / 2.0) ** 2
    return amplitude * half / (half + (w - centre) ** 2)


def z_of(w, label=0.06):
    return 1.0 - line(w, 0.0, 1.6, 0.85) - line(w, 3.5, 1.2, label)


def codes(result):
    return {caution.code for caution in result.warnings}


def halves(volume):
    tumour = np.zeros(volume.grid.shape, bool)
    tumour[:2] = True
    return Regions.from_masks({"tumour": tumour, "muscle": ~tumour}, volume.grid)


class TestKinds:
    def value(self, kind):
        """Of the label at 3.5 ppm and its mirror at -3.5 ppm, by the formulas of the sheet."""
        lab, ref = z_of(3.5), z_of(-3.5)
        rex = 1.0 / lab - 1.0 / ref
        return {
            "mtr_asym": 100.0 * (ref - lab),
            "aptw": 100.0 * (ref - lab),
            "mtr_norm_ref": 100.0 * (ref - lab) / ref,
            "pcm": 100.0 * (ref - lab) / (ref - lab + ref * lab),
            "mtr_rex": 100.0 * rex,
            "arex": rex / 1.5,
        }[kind]

    @pytest.mark.parametrize("kind", ["mtr_asym", "aptw", "mtr_norm_ref", "pcm", "mtr_rex", "arex"])
    def test_contrasts_have_the_value_of_their_formula_and_unit(self, made, kind):
        scan = made(shift=np.linspace(-0.3, 0.3, 60).reshape(5, 4, 3))
        more = {"t1": 1.5} if kind == "arex" else {}
        found = it.cest.contrast(scan.volume, kind=kind, at_ppm=3.5, **more)
        assert (found.quantity, found.unit) == (kind, "1/s" if kind == "arex" else "%")
        assert found.axes == ()
        np.testing.assert_allclose(found.value.data, self.value(kind), rtol=0.01)

    def test_several_offsets_are_an_axis(self, made):
        found = it.cest.contrast(made().volume, at_ppm=[2.0, 3.5, 5.0])
        assert found.axes[0].same_as(Axis("saturation_offset", np.array([2.0, 3.5, 5.0]), "ppm"))
        expected = [100 * (z_of(-at) - z_of(at)) for at in (2.0, 3.5, 5.0)]
        np.testing.assert_allclose(found.value.data[2, 2, 1], expected, atol=0.02)

    def test_offsets_beyond_the_measured_range_are_missing_with_a_flag(self, made):
        offsets = np.linspace(-3.0, 6.0, 37)
        found = it.cest.contrast(made(offsets=offsets).volume, at_ppm=[2.0, 3.5])
        assert np.isfinite(found.value.data[..., 0]).all()
        assert np.isnan(found.value.data[..., 1]).all()
        assert (found.flags.data[..., 1] & Flag.OUTSIDE_RANGE).all()

    def test_the_lorentzian_difference_removes_the_water_line(self, made):
        found = it.cest.contrast(made().volume, kind="lorentzian_difference", at_ppm=3.5)
        np.testing.assert_allclose(found.value.data, 6.0, rtol=0.15)

    def test_maps_and_history_go_along(self, made):
        found = it.cest.contrast(made(shift=0.1).volume, at_ppm=3.5)
        assert {"b0_shift", "m0", "noise"} <= set(found.maps)
        assert found.value.history[-1].name == "contrast"
        assert found.value.history[-1].parameters["kind"] == "mtr_asym"
        assert found.decisions["saturation"] == {"rule": "file", "b1_rms_ut": 2.0}

    @pytest.mark.parametrize("kind", ["mtr_asym", "mtr_rex"])
    def test_standard_errors_are_the_scatter_of_repeats(self, made, kind):
        """1,200 repeats with water located anew in each: within 10 %, as the issue asks."""
        scan = made(shape=(20, 20, 3), shift=0.1, noise=0.005, seed=7).volume
        found = it.cest.contrast(scan, kind=kind, at_ppm=3.5, noise_sd=0.005)
        assert np.median(found.standard_error.data) == pytest.approx(found.value.data.std(), rel=0.10)

    def test_the_shift_of_water_is_in_the_standard_error(self, made, b0_volume):
        scan = made().volume
        zero = b0_volume(scan, 0.0)
        error = b0_volume(scan, 0.05)
        known = it.Estimate(zero, error, zero.replace(quantity="flags", unit="1"))
        found = it.cest.contrast(scan, at_ppm=1.0, b0=known, noise_sd=1e-6)
        slope = [(z_of(w + 1e-5) - z_of(w - 1e-5)) / 2e-5 for w in (-1.0, 1.0)]
        np.testing.assert_allclose(found.standard_error.data, 5.0 * abs(slope[0] - slope[1]), rtol=0.02)


class TestChoices:
    def test_the_offset_of_the_label_must_be_given(self, made):
        with pytest.raises(UnknownChoice, match="at_ppm"):
            it.cest.contrast(made().volume)

    def test_aptw_is_taken_at_the_amide(self, made):
        found = it.cest.contrast(made().volume, kind="aptw")
        assert found.decisions["contrast"]["at_ppm"] == [3.5]

    def test_aptw_at_an_unusual_b1_says_so(self, made):
        assert "aptw-b1-differs" not in codes(it.cest.contrast(made().volume, kind="aptw"))
        strong = made(saturation={"b1_rms_ut": 4.0}).volume
        assert "aptw-b1-differs" in codes(it.cest.contrast(strong, kind="aptw"))

    def test_a_scan_that_does_not_state_its_b1_says_so(self, made):
        assert "b1-not-stated" in codes(it.cest.contrast(made(saturation={}).volume, at_ppm=3.5))

    def test_labels_between_coarse_offsets_are_told(self, made):
        """The loss by SciPy's spline: a line of 2 B1 / B0 = 0.67 ppm midway between samples each 0.5 ppm."""
        weak, offsets = {"b1_rms_ut": 1.0}, np.linspace(-6, 6, 25)
        found = it.cest.contrast(made(offsets=offsets, saturation=weak).volume, at_ppm=[2.1, 3.5])
        told = next(caution for caution in found.warnings if caution.code == "label-between-offsets")
        between = CubicSpline(offsets, line(offsets, 3.25, 2.0 / 3.0, 1.0))(3.25)
        assert f"up to {100 * (1 - between):.0f} %" in told.message
        assert "2.1, 3.5 ppm" in told.message
        for fine in ({"offsets": offsets}, {"saturation": weak}):
            contrast = it.cest.contrast(made(**fine).volume, at_ppm=[2.1, 3.5])
            assert "label-between-offsets" not in codes(contrast)
        assert "label-between-offsets" not in codes(
            it.cest.contrast(made(offsets=offsets, saturation={}).volume, at_ppm=3.5)
        )

    def test_kinds_that_do_not_exist_are_refused_with_those_that_do(self, made):
        with pytest.raises(UnknownChoice, match="mtr_asym, aptw"):
            it.cest.contrast(made().volume, kind="mtrasym", at_ppm=3.5)

    def test_options_in_vain_are_refused(self, made):
        with pytest.raises(UnknownChoice, match="t1="):
            it.cest.contrast(made().volume, at_ppm=3.5, t1=1.0)
        with pytest.raises(UnknownChoice, match="register"):
            it.cest.contrast(made().volume, at_ppm=3.5, register=True)

    def test_pulsed_arex_says_which_form_it_is(self, made):
        scan = made(saturation={"b1_rms_ut": 2.0, "duty_cycle": 0.5}).volume
        plain = it.cest.contrast(scan, kind="arex", at_ppm=3.5, t1=1.5)
        pulsed = it.cest.contrast(scan, kind="arex", at_ppm=3.5, t1=1.5, duty_cycle=0.5)
        assert "arex-of-pulses" in codes(plain)
        assert "arex-of-pulses" not in codes(pulsed)
        np.testing.assert_allclose(pulsed.value.data, 2.0 * plain.value.data, rtol=1e-6)


class TestT1:
    def test_arex_needs_t1(self, made):
        with pytest.raises(MissingMetadata, match="T1") as refusal:
            it.cest.contrast(made().volume, kind="arex", at_ppm=3.5)
        assert "t1=" in (refusal.value.next_step or "")

    def test_a_map_of_t1_or_of_r1_is_the_same_as_its_number(self, made, b0_volume):
        scan = made().volume
        number = it.cest.contrast(scan, kind="arex", at_ppm=3.5, t1=1.25)
        for given in (b0_volume(scan, 1.25, "t1", "s"), b0_volume(scan, 0.8, "r1", "1/s")):
            found = it.cest.contrast(scan, kind="arex", at_ppm=3.5, t1=given)
            np.testing.assert_allclose(found.value.data, number.value.data, rtol=1e-5)

    def test_a_t1_map_on_another_grid_is_refused_with_the_way_to_resample_it(self, made, b0_volume):
        scan = made().volume
        other = b0_volume(scan, 1.5, "t1", "s", affine=np.diag([0.6, 0.5, 1.0, 1.0]))
        with pytest.raises(GeometryMismatch, match="T1 map") as refusal:
            it.cest.contrast(scan, kind="arex", at_ppm=3.5, t1=other)
        assert "resample" in (refusal.value.next_step or "")

    def test_t1_in_milliseconds_is_refused(self, made, b0_volume):
        scan = made().volume
        for given in (1500.0, b0_volume(scan, 1500.0, "t1", "s")):
            with pytest.raises(ImplausibleValue, match="milliseconds"):
                it.cest.contrast(scan, kind="arex", at_ppm=3.5, t1=given)

    def test_a_map_of_something_else_is_no_t1(self, made, b0_volume):
        scan = made().volume
        with pytest.raises(UnitMismatch, match="t1"):
            it.cest.contrast(scan, kind="arex", at_ppm=3.5, t1=b0_volume(scan, 0.1))

    def test_voxels_without_t1_are_missing_and_flagged(self, made, b0_volume):
        scan = made().volume
        values = np.full(scan.grid.shape, 1.5)
        values[0, 0, 0], values[1, 0, 0] = np.nan, 0.0
        found = it.cest.contrast(scan, kind="arex", at_ppm=3.5, t1=b0_volume(scan, values, "t1", "s"))
        for i in range(2):
            assert np.isnan(found.value.data[i, 0, 0])
            assert found.flags.data[i, 0, 0] & Flag.INVALID_INPUT
        assert np.isfinite(found.value.data[2:]).all()

    def test_the_standard_error_of_t1_counts(self, made, b0_volume):
        """10 % of T1 are 10 % of AREX."""
        scan = made().volume
        t1 = it.Estimate(
            b0_volume(scan, 1.5, "t1", "s"),
            b0_volume(scan, 0.15, "t1", "s"),
            b0_volume(scan, 0, "flags", "1"),
        )
        found = it.cest.contrast(scan, kind="arex", at_ppm=3.5, t1=t1, noise_sd=1e-6, b0=0.0)
        np.testing.assert_allclose(found.standard_error.data, 0.1 * found.value.data, rtol=1e-3)


class TestChange:
    def pair(self, made, before=0.02, after=0.08, **more):
        shifts = np.linspace(-0.2, 0.2, 60).reshape(5, 4, 3)
        return made(shift=shifts, label=before, **more), made(shift=-shifts, label=after, seed=1, **more)

    def test_the_change_is_post_minus_pre(self, made):
        pre, post = self.pair(made)
        found = it.cest.contrast(pre.volume, post.volume, at_ppm=3.5)
        assert (found.quantity, found.unit) == ("delta_mtr_asym", "%")
        expected = post.contrast() - pre.contrast()
        np.testing.assert_allclose(found.value.data, expected, rtol=0.01)
        np.testing.assert_allclose(found.maps["pre"].data, pre.contrast(), atol=0.05)
        assert found.value.history[-1].parameters["order"] == "post minus pre"
        assert {"pre_b0_shift", "post_b0_shift"} <= set(found.maps)

    def test_errors_of_both_scans_add_in_quadrature(self, made):
        pre, post = self.pair(made, noise=0.005)
        found = it.cest.contrast(pre.volume, post.volume, at_ppm=3.5)
        both = np.hypot(found.maps["pre_se"].data, found.maps["post_se"].data)
        np.testing.assert_allclose(found.standard_error.data, both, rtol=1e-6)

    def test_voxels_missing_in_one_scan_are_missing_in_the_change(self, made):
        pre, post = self.pair(made)
        data = np.array(post.volume.data)
        data[0, 0, 0, 4] = np.nan
        found = it.cest.contrast(pre.volume, post.volume.replace(data=data), at_ppm=3.5)
        assert np.isnan(found.value.data[0, 0, 0])
        assert found.flags.data[0, 0, 0] & Flag.INVALID_INPUT

    def test_scans_on_different_grids_are_refused(self, made):
        pre, post = made().volume, made(affine=np.diag([0.6, 0.5, 1.0, 1.0])).volume
        with pytest.raises(GeometryMismatch) as refusal:
            it.cest.contrast(pre, post, at_ppm=3.5)
        assert "register" in (refusal.value.next_step or "")

    def test_scans_that_were_saturated_differently_are_refused(self, made):
        pre, post = made().volume, made(saturation={"b1_rms_ut": 3.0}).volume
        with pytest.raises(UnitMismatch, match="B1rms"):
            it.cest.contrast(pre, post, at_ppm=3.5)

    def test_a_second_scan_that_moved_is_registered_by_its_unsaturated_image(self, made):
        """Shifted by one voxel of 0.5 mm along x: the change is then that of the truth."""
        shape = (24, 20, 8)
        i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        inside = (i / 0.7) ** 2 + (j / 0.6) ** 2 + (k / 0.8) ** 2 < 1
        pattern = inside * (1.0 + 0.4 * np.sin(5 * i) * np.cos(4 * j + k))
        pre = made(shape=shape, label=0.02).volume
        post = made(shape=shape, label=0.08).volume
        weights = (np.where(inside, pattern, 0.02))[..., None].astype(np.float32)
        pre, post = (scan.replace(data=scan.data * weights) for scan in (pre, post))
        moved = np.array(post.affine)
        moved[0, 3] += 0.5
        found = it.cest.contrast(pre, post.replace(affine=moved), at_ppm=3.5, register=True)
        assert "rigid" in found.decisions["alignment"]["rule"]
        assert found.decisions["alignment"]["largest_displacement_mm"] == pytest.approx(0.5, abs=0.1)
        core = (i / 0.5) ** 2 + (j / 0.4) ** 2 + (k / 0.5) ** 2 < 1
        truth = 100 * ((z_of(-3.5, 0.08) - z_of(3.5, 0.08)) - (z_of(-3.5, 0.02) - z_of(3.5, 0.02)))
        assert np.nanmedian(found.value.data[core]) == pytest.approx(truth, rel=0.03)

    @pytest.mark.parametrize(("before", "marked"), [(0.02, False), (-0.01, True)])
    def test_the_fold_is_the_ratio_of_changes_and_a_raw_ratio_that_is_none_is_marked(
        self, made, before, marked
    ):
        """Tumour to 0.08, muscle to 0.04 (F21); a contrast that is negative before has no ratio."""
        label = np.full((5, 4, 3), 0.04)
        label[:2] = 0.08
        pre, post = made(label=before, noise=0.001), made(label=label, noise=0.001, seed=4)
        delta = it.cest.contrast(pre.volume, post.volume, at_ppm=3.5)
        table, cautions = it.cest.fold_table(delta, halves(pre.volume), "muscle")
        [row] = table.to_dict("records")
        assert (row["region"], row["quantity"], row["unit"]) == ("tumour", "contrast_fold", "1")
        assert row["mean"] == pytest.approx((0.08 - before) / (0.04 - before), rel=0.02)
        assert row["standard_error"] < 0.1
        assert ("raw-ratio" in row["warnings"]) is marked
        assert any(caution.code.startswith("raw-ratio") for caution in cautions) is marked
        raw = table.attrs["details"][0]["raw_ratio_which_is_no_fold"]
        assert raw == pytest.approx(post.contrast()[0, 0, 0] / pre.contrast()[0, 0, 0], rel=0.05)

    def test_a_fold_over_a_reference_that_did_not_change_is_undefined(self, made):
        label = np.full((5, 4, 3), 0.02)
        label[:2] = 0.08
        pre, post = made(label=0.02, noise=0.003), made(label=label, noise=0.003, seed=4)
        delta = it.cest.contrast(pre.volume, post.volume, at_ppm=3.5)
        table, cautions = it.cest.fold_table(delta, halves(pre.volume), "muscle")
        assert np.isnan(table["mean"]).all()
        assert "fold-undefined" in {caution.code for caution in cautions}

    def test_a_fold_needs_two_scans_and_a_known_region(self, made):
        scan = made().volume
        one = it.cest.contrast(scan, at_ppm=3.5)
        with pytest.raises(MissingMetadata, match="two scans"):
            it.cest.fold_table(one, halves(scan), "muscle")
        with pytest.raises(UnknownChoice, match="tumour, muscle"):
            it.cest.fold_table(one, halves(scan), "liver")


class TestCurves:
    def test_regions_have_their_mean_spectrum_with_water_at_zero(self, made):
        shifts = np.linspace(-0.3, 0.3, 60).reshape(5, 4, 3)
        label = np.full((5, 4, 3), 0.03)
        label[:2] = 0.09
        scan = made(shift=shifts, label=label).volume
        plan = ContrastPlan.of(scan, Handling(), at_ppm=3.5)
        curves = plan.curves(halves(scan))
        assert [curve.label for curve in curves[:2]] == ["tumour", "muscle"]
        assert curves[2].label.startswith("voxel ")
        for curve, amount in zip(curves[:2], (0.09, 0.03), strict=True):
            np.testing.assert_allclose(curve.measured, z_of(curve.x, amount), atol=3e-3)
            assert curve.value == pytest.approx(100 * (z_of(-3.5, amount) - z_of(3.5, amount)), rel=0.02)
            part = curve.parts["mtr_asym"]
            assert np.isnan(part[curve.line_x <= 0]).all()
            k = int(np.argmin(np.abs(curve.line_x - 3.5)))
            assert part[k] == pytest.approx(
                z_of(-curve.line_x[k], amount) - z_of(curve.line_x[k], amount), abs=2e-3
            )

    def test_a_region_without_any_value_has_no_curve(self, made):
        scan = made().volume
        mask = np.zeros(scan.grid.shape, bool)
        mask[2:] = True
        plan = ContrastPlan.of(scan, Handling(mask=mask), at_ppm=3.5)
        labels = [curve.label for curve in plan.curves(halves(scan))]
        assert "tumour" not in labels
        assert "muscle" in labels


def test_the_module_of_the_array_level_is_the_job_on_volumes_too(made):
    """DESIGN section 5 names it.cest.contrast as the job, API.md contrast.mtr_asym on arrays."""
    scan = made().volume
    z = np.asarray(scan.data[..., 1:] / scan.data[..., :1])
    array = it.cest.contrast.mtr_asym(z, scan.axes[0].values[1:], at_ppm=3.5)
    found = it.cest.contrast(scan, at_ppm=3.5, b0=0.0)
    np.testing.assert_allclose(found.value.data, 100 * array[..., 0], rtol=1e-5)


def test_volumes_of_signals_only(made):
    scan = made().volume
    with pytest.raises(UnitMismatch):
        it.cest.contrast(Volume(scan.data[..., 0], scan.affine, "phase", "rad"), at_ppm=3.5)


@pytest.mark.parametrize("m0_at", [(0, 50), (0, 11, 22, 33, 44, 54)])
def test_noise_of_interpolated_references_is_in_the_error_of_the_background(made, m0_at):
    case = made(shape=(20, 20, 5), noise=0.005, seed=5, m0_at=m0_at)
    found = it.cest.contrast(
        case.volume, kind="lorentzian_difference", at_ppm=3.5, b0=0.0, drift="linear", noise_sd=0.005
    )
    assert np.median(found.standard_error.data) == pytest.approx(found.value.data.std(), rel=0.06)


@pytest.mark.parametrize("drift", ["mean", "linear"])
@pytest.mark.parametrize("m0_at", [(0, 50), (0, 11, 22, 33, 44, 54), (0, 1, 2, 3, 4, 54, 55, 56, 57, 58)])
def test_noise_of_references_that_are_interpolated_is_in_the_error(made, m0_at, drift):
    """Both sides of water then have references of their own; the error is the scatter of 2,000 repeats."""
    case = made(shape=(20, 20, 5), noise=0.01, seed=5, m0_at=m0_at)
    found = it.cest.contrast(case.volume, at_ppm=3.5, b0=0.0, drift=drift, noise_sd=0.01)
    assert np.median(found.standard_error.data) == pytest.approx(found.value.data.std(), rel=0.06)
    spectra = it.cest.correct(case.volume, b0=0.0, drift=drift, noise_sd=0.01)
    scatter = spectra.value.data.reshape(-1, 49).std(axis=0)
    error = np.median(spectra.standard_error.data.reshape(-1, 49), axis=0)
    assert error == pytest.approx(scatter, rel=0.1)
