"""Figures of tracer curves: which apply, what they draw, and what they say to who cannot see them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from imgtheranostics.fit import CurveFit
from imgtheranostics.regions import STATISTICS_COLUMNS
from imgtheranostics.report.figures import (
    activity_fits,
    curve_panels,
    fitted_curves,
    kinetic_fits,
    kinetic_plots,
    theme,
)
from imgtheranostics.report.registry import render_figures
from imgtheranostics.report.run import Run

HOUR = 3600.0
X = np.array([0.5, 1, 2, 4, 8, 24, 48]) * HOUR


def activity(label="tumour", half_life=12 * HOUR, factor=1.0, *, band=True):
    line_x = np.concatenate([np.linspace(0, X[-1], 100), np.linspace(X[-1], 1.5 * X[-1], 30)[1:]])
    line = factor * 2 ** (-line_x / half_life)
    fitted = factor * 2 ** (-X / half_life)
    wobble = 1 + 0.05 * np.array([1, -1, 1, -1, 1, -1, 1])
    return CurveFit(
        label, "tiac_per_g", "time", "s", X, fitted * wobble, fitted, line_x, line, "%/g",
        kind="activity", measured_quantity="id_per_g", errors=0.04 * fitted,
        band=(0.9 * line, 1.1 * line) if band else None,
        results={"effective_half_life": (half_life, 600.0), "tiac_per_g": (5000.0, 100.0)},
    )  # fmt: skip


def kinetics(label="putamen", quantity="distribution_volume"):
    x = np.array([30.0, 90.0, 300.0, 900.0, 1800.0, 3600.0])
    fitted = np.array([500.0, 2000.0, 4000.0, 3000.0, 2000.0, 1000.0])
    return CurveFit(
        label, quantity, "time", "s", x, fitted + 40.0, fitted, x, fitted, "Bq/mL", kind="kinetics",
        measured_quantity="activity_concentration", used=np.array([False] + [True] * 5),
        errors=np.full(6, np.nan), results={quantity: (2.0, 0.1), "tissue_influx": (0.1, 0.002)},
    )  # fmt: skip


def source(quantity="distribution_volume"):
    x = np.linspace(0.0, 3600.0, 50)
    values = 1e4 * np.exp(-x / 900) + 1
    return CurveFit(
        "plasma", quantity, "time", "s", x, values, values, x, values, "Bq/mL", kind="input",
        parts={"whole blood": 2 * values},
    )  # fmt: skip


def plot(label="putamen", method="logan"):
    x = np.linspace(5.0, 60.0, 12)
    line_x = np.linspace(0.0, 60.0, 100)
    y, line = 2.0 * x - 8.0, 2.0 * line_x - 8.0
    return CurveFit(
        label, "distribution_volume", "plot", "min", x, y, np.where(x > 20, y, np.nan), line_x, line, "min",
        marks=(21.0, 60.0), kind="plot", measured_quantity=method, used=x > 20,
        band=(line - 1, line + 1), results={"distribution_volume": (2.0, 0.05)},
    )  # fmt: skip


def run_of(*curves, **changes):
    table = pd.DataFrame(columns=list(STATISTICS_COLUMNS))
    return Run("nuclear curves", (), table, curves=curves, **changes)


def axes_of(drawing):
    return drawing.figure.axes


def test_each_kind_of_curve_has_its_own_figure():
    run = run_of(activity(), source(), kinetics(), plot("caudate"))
    assert activity_fits.keys(run) == ("id_per_g",)
    assert kinetic_fits.keys(run) == ("distribution_volume",)
    assert kinetic_plots.keys(run) == ("distribution_volume",)
    assert fitted_curves.keys(run) == ()
    files = {figure.file for figure in render_figures(run)}
    assert {
        "activity-fits_id_per_g.svg",
        "kinetic-fits_distribution_volume.svg",
        "kinetic-plots_distribution_volume.svg",
    } <= files


def test_what_is_extrapolated_is_dashed_and_the_rest_is_not():
    with theme.style():
        upper, lower = axes_of(activity_fits.draw(run_of(activity()), "id_per_g"))
    solid, dashed = upper.lines[:2]
    assert solid.get_xdata().max() == pytest.approx(48.0)
    assert dashed.get_xdata().min() == pytest.approx(48.0)
    assert dashed.is_dashed()
    assert not solid.is_dashed()
    assert lower.get_xlim() == upper.get_xlim()


def test_the_value_axis_is_logarithmic_where_a_linear_one_hides_the_end():
    with theme.style():
        wide = axes_of(activity_fits.draw(run_of(activity(half_life=6 * HOUR)), "id_per_g"))[0]
        narrow = axes_of(activity_fits.draw(run_of(activity(half_life=60 * HOUR)), "id_per_g"))[0]
        negative = replace(activity(half_life=6 * HOUR), measured=np.r_[-0.1, np.ones(6)])
        below = axes_of(activity_fits.draw(run_of(negative), "id_per_g"))[0]
    assert (wide.get_yscale(), narrow.get_yscale(), below.get_yscale()) == ("log", "linear", "linear")
    assert narrow.get_ylim()[0] == 0


def test_areas_by_trapezoids_have_no_residuals():
    with theme.style():
        drawing = activity_fits.draw(run_of(activity(band=False)), "id_per_g")
    assert len(axes_of(drawing)) == 1
    assert "tail that was assumed" in drawing.caption


def test_captions_name_the_level_and_the_decay_reference():
    table = pd.DataFrame(columns=[*STATISTICS_COLUMNS, "decay_corrected"])
    table.loc[0, ["region", "decay_corrected"]] = ["tumour", True]
    run = Run("nuclear curves", (), table, curves=[activity()], parameters={"level": 0.9})
    with theme.style():
        drawing = activity_fits.draw(run, "id_per_g")
    assert "90 % confidence" in drawing.caption
    assert "decay corrected to the injection" in drawing.caption
    assert "tumour: 7 samples" in drawing.alt


def test_more_regions_than_there_is_room_for_are_counted():
    many = [activity(f"r{n}") for n in range(11)]
    with theme.style():
        drawing = activity_fits.draw(run_of(*many), "id_per_g")
    assert "8 of 11 regions" in drawing.caption
    assert len(axes_of(drawing)) == 16


def test_the_input_is_beside_the_tissue_and_left_out_frames_are_open():
    with theme.style():
        drawing = kinetic_fits.draw(run_of(source(), kinetics()), "distribution_volume")
    first, upper, lower = axes_of(drawing)
    assert first.get_yscale() == "log"
    faces = [line.get_markerfacecolor() for line in upper.lines if line.get_marker() == "o"]
    assert faces.count("none") == 1
    assert "open points were left out" in drawing.caption
    assert "kBq/mL" in drawing.caption
    stems = lower.lines[-1].get_ydata()
    assert np.isnan(stems[0])
    assert stems[1:] == pytest.approx(np.full(5, 0.04))
    assert "2.00 ± 0.10" in drawing.alt


def test_a_plot_marks_the_frames_of_its_line():
    with theme.style():
        drawing = kinetic_plots.draw(run_of(plot()), "distribution_volume")
    (axes,) = axes_of(drawing)
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in points] == [8, 4]
    assert points[1].get_markerfacecolor() == "none"
    assert "Filled: the 8 frames" in drawing.caption
    assert "Noise of the tissue is in both axes" in drawing.caption
    texts = [text.get_text() for text in drawing.figure.texts]
    assert "slope: VT 2.000 ± 0.050 mL/cm³" in texts
    assert "∫Cₚ dt / C [min]" in texts


@pytest.mark.parametrize(
    ("quantity", "value", "error", "words"),
    [
        ("effective_half_life", 31 * HOUR, HOUR, "31.0 ± 1.0 h"),
        ("tiac_per_g", 7200.0, 360.0, "2.00 ± 0.10 h/g"),
        ("time_integrated_activity", 3.6e9, 3.6e8, "1.00 ± 0.10 MBq·h/mL"),
        ("net_influx", 0.03, 0.001, "0.0300 ± 0.0010 mL/cm³/min"),
        ("binding_potential", 1.5, np.nan, "1.500"),
    ],
)
def test_values_are_in_the_units_of_readers(quantity, value, error, words):
    assert curve_panels.quantity_value(quantity, value, error) == words


def test_a_curve_without_a_fit_says_so():
    nothing = replace(activity(), results={}, line=np.full(129, np.nan), fitted=np.full(7, np.nan), band=None)
    with theme.style():
        drawing = activity_fits.draw(run_of(nothing, activity("liver")), "id_per_g")
    assert "no fit" in {text.get_text() for text in drawing.figure.texts}
