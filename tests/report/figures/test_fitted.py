"""Figures of a fit: value beside error and flags, and curves with their residuals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imgtheranostics.fit import CurveFit
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.report.figures import asymmetry, fit_maps, fitted_curves, uncertainty
from imgtheranostics.report.registry import render_figures
from imgtheranostics.report.run import Run
from imgtheranostics.volume import Estimate, Flag, Volume

SHAPE = (48, 40, 3)
TUBES = {"0.1 mM": ((12, 12), 1.10), "0.5 mM": ((34, 12), 0.55), "2 mM": ((23, 28), 0.18)}


def _curve(label, t1_s, rng, n_voxels=40):
    x = np.array([0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.6, 3.0])
    line_x = np.linspace(0, 3, 80)
    fitted = 900 * np.abs(1 - 2 * np.exp(-x / t1_s))
    measured = fitted + rng.normal(0, 900 * 0.02 / np.sqrt(n_voxels) * 4, x.size)
    line = 900 * np.abs(1 - 2 * np.exp(-line_x / t1_s))
    return CurveFit(
        label, "t1", "inversion_time", "s", x, measured, fitted, line_x, line, "[arb'U]", t1_s, 0.01, n_voxels
    )


@pytest.fixture(scope="module")
def run():
    rng = np.random.default_rng(5)
    i, j, _ = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    body = (i - 23.5) ** 2 + (j - 19.5) ** 2 < 18.5**2
    t1 = np.where(body, 1.6, np.nan)
    masks = {}
    for name, ((x, y), value) in TUBES.items():
        masks[name] = (i - x) ** 2 + (j - y) ** 2 < 16
        t1[masks[name]] = value
    flags = np.where(body, 0, Flag.BELOW_NOISE.value).astype(np.uint16)
    flags[20:24, 18:20, 1] = Flag.NOT_CONVERGED.value
    t1 = np.where(flags, np.nan, t1 + rng.normal(0, 0.03, SHAPE))
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    value = Volume(t1, affine, "t1", "s")
    error = value.replace(data=np.where(flags, np.nan, 0.02 + 0.02 * np.abs(t1)))
    r_squared = Volume(np.where(flags, np.nan, 0.99), affine, "r_squared", "1")
    flag_map = Volume(flags, affine, "flags", "1")
    estimate = Estimate(value, error, flag_map, maps={"r_squared": r_squared})
    regions = Regions.from_masks(masks, value.grid)
    curves = [_curve(name, t1_s, rng) for name, (_, t1_s) in TUBES.items()]
    curves.append(_curve("voxel 12, 12, 1", 1.1, rng, 1))
    return Run("mri t1", (estimate,), roi_statistics(estimate, regions), regions=regions, curves=curves)


def test_a_fitted_map_is_shown_once_with_its_error_and_flags(run):
    assert fit_maps.keys(run) == ("t1",)
    assert uncertainty.keys(run) == ()
    names = [figure.file for figure in render_figures(run)]
    assert "fit_t1.svg" in names
    assert "fitted-curves_t1.svg" in names


def test_fits_that_ended_anywhere_do_not_rule_the_scale(run):
    """Flagged voxels, and air outside the regions, may hold any value; the tubes reach 1.1 s."""
    from imgtheranostics.report.figures import scene

    (estimate,) = run.maps
    data, flags = np.array(estimate.value.data), np.array(estimate.flags.data)
    data[:6], flags[:6] = 400.0, Flag.ILL_CONDITIONED.value
    data[:, :4] = 90.0
    wild = replace(
        estimate, value=estimate.value.replace(data=data), flags=estimate.flags.replace(data=flags)
    )
    scale = scene.scale_of(scene.scene_of(Run("mri t1", (wild,), run.table, regions=run.regions), "t1"))
    assert 1.1 < scale.high <= 2.5
    assert scale.colours == "viridis"


def test_regions_at_a_bound_all_over_rule_the_scale_all_the_same(run):
    """Every voxel of the tubes is flagged, the unflagged rest is near nothing: the tubes reach 1.1 s."""
    from imgtheranostics.report.figures import scene

    (estimate,) = run.maps
    inside = np.asarray(run.regions.labels.any(axis=-1))
    data = np.where(inside, estimate.value.data, 1e-3)
    flags = np.where(inside, Flag.AT_BOUND.value, 0).astype(np.uint16)
    bound = replace(
        estimate, value=estimate.value.replace(data=data), flags=estimate.flags.replace(data=flags)
    )
    scale = scene.scale_of(scene.scene_of(Run("mri t1", (bound,), run.table, regions=run.regions), "t1"))
    assert 1.1 < scale.high <= 2.5


def test_negative_fits_outside_the_regions_do_not_rule_the_scale(run):
    from imgtheranostics.report.figures import scene

    (estimate,) = run.maps
    data = np.array(estimate.value.data)
    data[:, :4] = -300.0
    wild = replace(
        estimate,
        value=estimate.value.replace(data=data),
        flags=estimate.flags.replace(data=np.zeros(data.shape, np.uint16)),
    )
    scale = scene.scale_of(scene.scene_of(Run("mri t1", (wild,), run.table, regions=run.regions), "t1"))
    assert -2.5 <= scale.low <= 0
    assert 1.1 < scale.high <= 2.5


def test_flags_are_counted_over_the_whole_map(run):
    drawing = fit_maps.draw(run, "t1")
    counts = {
        flag: int(np.count_nonzero(run.maps[0].flags.data & flag)) for flag in Flag if flag.name is not None
    }
    texts = {text.get_text() for text in drawing.figure.texts}
    assert f"not converged: {counts[Flag.NOT_CONVERGED]} voxels" in texts
    assert any(text.startswith("below noise") for text in texts)
    assert {"Value [s]", "Standard error", "Flags"} <= texts
    assert "n = " in drawing.caption


def test_each_curve_stands_with_its_result_and_its_residuals(run):
    drawing = fitted_curves.draw(run, "t1")
    texts = [text.get_text() for text in drawing.figure.texts]
    assert "1.100 ± 0.010 s; n = 40" in texts
    assert "Inversion time [s]" in texts
    upper, lower = drawing.figure.axes[:2]
    first = run.curves[0]
    assert np.allclose(upper.lines[1].get_ydata(), first.measured)
    percent = 100 * (first.measured - first.fitted) / first.measured.max()
    assert np.allclose(lower.lines[1].get_ydata(), percent)


def test_a_curve_without_a_fit_says_so(run):
    missing = np.full(8, np.nan)
    first = run.curves[0]
    failed = CurveFit(
        "failed", "t1", "inversion_time", "s", first.x, first.measured, missing, first.line_x,
        np.full(first.line_x.size, np.nan), "[arb'U]", n_voxels=3,
    )  # fmt: skip
    shown = Run("mri t1", run.maps, run.table, curves=[failed, first])
    texts = [text.get_text() for text in fitted_curves.draw(shown, "t1").figure.texts]
    assert "no fit; n = 3" in texts


def test_of_many_curves_the_voxel_stays(run):
    many = Run("mri t1", run.maps, run.table, curves=[*run.curves[:3] * 5, run.curves[-1]])
    drawing = fitted_curves.draw(many, "t1")
    texts = [text.get_text() for text in drawing.figure.texts]
    assert "voxel 12, 12, 1" in texts
    assert "9 of 16 curves" in drawing.caption


def _z_spectrum(label, amide, rng):
    x = np.linspace(-6, 6, 49)
    line_x = np.linspace(-6, 6, 301)
    pools = {
        "water": (0.9, 1.4, 0.0),
        "amide": (amide, 1.5, 3.5),
        "noe": (0.08, 3.0, -3.5),
        "mt": (0.1, 25, -2),
    }

    def parts(at):
        return {name: a * (w / 2) ** 2 / ((w / 2) ** 2 + (at - c) ** 2) for name, (a, w, c) in pools.items()}

    fitted, line = (1 - sum(parts(at).values()) for at in (x, line_x))
    measured = fitted + rng.normal(0, 0.004, x.size)
    return CurveFit(
        label,
        "mtr_asym",
        "saturation_offset",
        "ppm",
        x,
        measured,
        fitted,
        line_x,
        line,
        "1",
        100 * amide,
        0.2,
        40,
        parts(line_x),
    )


def test_a_z_spectrum_is_drawn_with_its_pools_from_downfield_on_the_left(run):
    rng = np.random.default_rng(7)
    curves = [_z_spectrum("0.1 mM", 0.02, rng), _z_spectrum("0.5 mM", 0.06, rng)]
    spectra = Run("cest pools", run.maps, run.table, regions=run.regions, curves=curves)
    drawing = fitted_curves.draw(spectra, "mtr_asym")
    upper = drawing.figure.axes[0]
    left, right = upper.get_xlim()
    assert left > 3.5 > -3.5 > right
    assert {"water", "amide", "NOE", "MT"} <= {text.get_text() for text in drawing.figure.texts}
    assert len(upper.collections) == 4
    assert "Coloured" in drawing.caption
    assert "0.5 mM 6.0" in drawing.alt


def test_spectra_before_and_after_share_a_panel_with_their_asymmetry(run):
    rng = np.random.default_rng(8)
    curves = []
    for suffix, amide in ((" before", 0.0), (" after", 0.05)):
        for name in ("0.1 mM", "0.5 mM"):
            one = _z_spectrum(name, amide, rng)
            asymmetry_line = np.where(one.line_x > 0, one.line[::-1] - one.line, np.nan)
            curves.append(replace(one, label=name + suffix, parts={"mtr_asym": asymmetry_line}))
    spectra = Run("cest contrast", run.maps, run.table, regions=run.regions, curves=curves)
    assert fitted_curves.keys(spectra) == ()
    assert asymmetry.keys(spectra) == ("mtr_asym",)
    drawing = asymmetry.draw(spectra, "mtr_asym")
    assert len(drawing.figure.axes) == 4
    upper, lower = drawing.figure.axes[:2]
    assert upper.get_xlim() == lower.get_xlim()
    assert upper.get_xlim()[0] > upper.get_xlim()[1]
    # amide at 3.5 ppm takes 5 %, the NOE of 8 % lies mirrored: after minus before is the amide
    at = np.argmin(np.abs(lower.lines[0].get_xdata() - 3.5))
    before, after = (line.get_ydata()[at] for line in lower.lines[:2])
    assert after - before == pytest.approx(5.0, rel=0.03)
    assert "before (pale)" in drawing.alt
