"""Dose-volume histograms, recovery of regions, and images before and after: what they say and show."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from imgtheranostics.nuclear.dose_statistics import dose_statistics
from imgtheranostics.nuclear.partial_volume import sphere_recovery
from imgtheranostics.nuclear.recovery_tables import correct_partial_volume
from imgtheranostics.nuclear.scan_dosimetry import per_activity
from imgtheranostics.regions import Regions
from imgtheranostics.report.figures import corrected_image, dose_volume, partial_volume, theme
from imgtheranostics.report.registry import render_figures
from imgtheranostics.report.run import Run
from imgtheranostics.volume import Estimate, Volume

SHAPE = (24, 20, 16)
SHARED = 0.05


@pytest.fixture(scope="module")
def dose():
    values = np.random.default_rng(7).gamma(20.0, 0.5, SHAPE)
    v = Volume(values, np.eye(4), "absorbed_dose", "Gy")
    zero = v.replace(data=np.zeros(SHAPE, np.uint16), quantity="flags", unit="1")
    return Estimate(v, v.replace(data=SHARED * values), zero, SHARED)


@pytest.fixture(scope="module")
def rois(dose):
    tumour, liver = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    tumour[4:10, 4:10, 4:10], liver[14:20, 4:16, 4:12] = True, True
    return Regions.from_masks({"tumour": tumour, "liver": liver}, dose.grid)


def run_of(dose, rois, **changes):
    return Run("nuclear dose", [dose], dose_statistics(dose, rois), regions=rois, figures=("dvh",), **changes)


def drawn(run, name):
    [figure] = render_figures(replace(run, figures=(name,)))
    return figure


def test_histograms_state_means_and_doses_of_the_voxels(dose, rois):
    with theme.style():
        figure = dose_volume.draw(run_of(dose, rois), "absorbed_dose")
    inside = np.sort(dose.value.data[rois.mask("tumour")].astype(float))
    d98, d50, d2 = (f"{np.quantile(inside, q):.3g}" for q in (0.02, 0.5, 0.98))
    assert f"D98 {d98}, D50 {d50}, D2 {d2}" in figure.alt
    assert "5 % of the dose" in figure.caption
    axes = figure.figure.axes[0]
    assert axes.get_xlabel() == "Absorbed dose [Gy]"
    texts = {text.get_text() for text in figure.figure.texts}
    assert {"tumour", "liver"} <= texts
    lines = [line for line in axes.lines if len(line.get_xdata()) > 10]
    assert len(lines) == 2
    for line in lines:
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        values = inside if math.isclose(x[-1], inside[-1], rel_tol=1e-6) else None
        if values is not None:
            expected = [100 * np.mean(values >= at) for at in x[:-1]]
            np.testing.assert_allclose(y[:-1], expected)
        assert (np.diff(y) <= 0).all()
        assert y[0] == 100.0
        assert y[-1] == 0.0


def test_colours_are_those_of_the_regions(dose, rois):
    svg = drawn(run_of(dose, rois), "dvh").svg.decode()
    assert theme.region_colour(0) in svg
    assert theme.region_colour(1) in svg


def test_histograms_of_dose_per_activity_and_of_effects_alone(dose, rois):
    one = per_activity(dose)
    run = Run("nuclear dose", [one], dose_statistics(one, rois), regions=rois)
    assert dose_volume.keys(run) == ("absorbed_dose_per_activity",)
    with theme.style():
        label = dose_volume.draw(run, "absorbed_dose_per_activity").figure.axes[0].get_xlabel()
    assert label == "Absorbed dose per activity given [Gy/MBq]"
    eqd2 = replace(dose, value=dose.value.replace(quantity="equieffective_dose_2gy"))
    assert dose_volume.keys(Run("x", [eqd2], dose_statistics(eqd2, rois), regions=rois)) == (
        "equieffective_dose_2gy",
    )
    assert dose_volume.keys(Run("x", [dose], dose_statistics(dose, rois))) == ()


def test_without_errors_there_is_no_band(dose, rois):
    unknown = replace(dose, calibration_relative=math.nan)
    with theme.style():
        figure = dose_volume.draw(run_of(unknown, rois), "absorbed_dose")
    assert "bands" not in figure.caption
    assert not figure.figure.axes[0].collections


FWHM, H = 2.0, 0.8


@pytest.fixture(scope="module")
def sphere():
    shape = (32, 28, 24)
    place = np.moveaxis(np.indices(shape), 0, -1) * H
    masks = {
        name: np.linalg.norm(place - np.array(at), axis=-1) <= d / 2
        for name, at, d in (("big", (8.0, 8.0, 9.6), 9.0), ("small", (18.4, 14.4, 9.6), 5.0))
    }
    image = ndimage.gaussian_filter(10.0 * sum(masks.values()) + 1.0, FWHM / 2.354820045 / H, mode="reflect")
    v = Volume(image, np.diag([H, H, H, 1.0]), "id_per_g", "%/g")
    return v, Regions.from_masks(masks, v.grid)


def corrected(sphere, method):
    v, rois = sphere
    found = correct_partial_volume(v, rois, psf_fwhm_mm=FWHM, method=method)
    maps = [] if found.map is None else [replace(found.map, maps={**found.map.maps, "uncorrected": v})]
    return Run(
        "nuclear pvc", maps, found.table, regions=rois, decisions=found.decisions, warnings=found.warnings
    )


def test_recovery_shows_both_means_and_the_closed_form(sphere):
    run = corrected(sphere, "gtm")
    assert partial_volume.keys(run) == ("id_per_g",)
    with theme.style():
        figure = partial_volume.draw(run, "id_per_g")
    left, right = figure.figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["background", "small", "big"]
    assert re.search(r"big 8\.\d+ before, 11\.\d+ after, keeps 0\.\d+", re.sub(r" ± [\d.]+", "", figure.alt))
    curve = next(line for line in right.lines if len(line.get_xdata()) > 50)
    x, y = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
    expected = [sphere_recovery(float(at), FWHM)[0] for at in x]
    np.testing.assert_allclose(y, expected)
    dots = [line for line in right.lines if len(line.get_xdata()) == 1]
    for dot in dots:
        at, value = float(dot.get_xdata()[0]), float(dot.get_ydata()[0])
        assert value == pytest.approx(sphere_recovery(at, FWHM)[0], abs=0.02)
    assert len(dots) == 2


def test_images_before_and_after_share_a_scale_and_a_profile(sphere):
    run = corrected(sphere, "iterative_yang")
    assert corrected_image.keys(run) == ("id_per_g",)
    with theme.style():
        figure = corrected_image.draw(run, "id_per_g")
    texts = {text.get_text() for text in figure.figure.texts}
    assert {"Before", "After"} <= texts
    profile = figure.figure.axes[-1]
    before, after = (np.asarray(line.get_ydata()) for line in profile.lines[:2])
    assert np.nanmax(after) > np.nanmax(before)
    assert np.nanmax(after) == pytest.approx(11.0, rel=0.05)
    assert "Both pictures share one scale" in figure.caption
    assert corrected_image.keys(corrected(sphere, "gtm")) == ()


def test_figures_are_the_same_bytes_again(sphere, dose, rois):
    for make, name in (
        (lambda: run_of(dose, rois), "dvh"),
        (lambda: corrected(sphere, "rbv"), "corrected"),
        (lambda: corrected(sphere, "gtm"), "recovery-regions"),
    ):
        assert drawn(make(), name).svg == drawn(make(), name).svg
