"""Figures of contrast ultrasound: before and after, long curves, fits of echo power, many quantities."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.errors import Caution
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.report.figures import curves, echo_change, mosaic, scene
from imgtheranostics.report.figures.theme import style
from imgtheranostics.report.html import headline_tables
from imgtheranostics.report.run import Run
from imgtheranostics.report.tables import run_rows, table_rows
from imgtheranostics.ultrasound import enhancement, enhancement_map
from imgtheranostics.volume import Axis, Volume

SHAPE = (36, 30, 1)
N_FRAMES, BEFORE = 80, 20


@pytest.fixture(scope="module")
def cine():
    rng = np.random.default_rng(9)
    power = 100.0 * rng.exponential(1.0, (*SHAPE, N_FRAMES))
    power[4:16, 6:24, :, BEFORE:] *= 6.0
    axis = Axis("time", 0.1 * np.arange(N_FRAMES), "s")
    nowhere = Caution("no-patient-geometry", "the image has no place in the patient")
    affine = np.diag([-0.25, -0.25, 2.0, 1.0])
    return Volume(power, affine, "echo_intensity", "1", axes=(axis,), warnings=(nowhere,))


@pytest.fixture(scope="module")
def run(cine):
    masks = {name: np.zeros(SHAPE, bool) for name in ("tumour", "muscle")}
    masks["tumour"][4:16, 6:24], masks["muscle"][20:32, 6:24] = True, True
    rois = Regions.from_masks(masks, cine.grid)
    estimate = enhancement_map(cine, baseline_frames=BEFORE, frames=(BEFORE, N_FRAMES), window=3)
    table = enhancement(cine, rois=rois, baseline_frames=BEFORE)
    return Run("ultrasound enhancement", [estimate], table, regions=rois)


def words_of(drawing):
    return [text.get_text() for text in drawing.figure.findobj(lambda one: hasattr(one, "get_text"))]


def test_before_and_after_share_a_grey_scale_and_enhancement_is_over_before(run):
    assert echo_change.keys(run) == ("echo_enhancement",)
    assert mosaic.keys(run) == ()
    with style():
        drawing = echo_change.draw(run, "echo_enhancement")
    words = words_of(drawing)
    for said in ("Before", "After", "Enhancement over before", "Echo level [dB]", "Echo enhancement [dB]"):
        assert words.count(said) == 1
    assert {"tumour", "muscle", "5 mm"} <= set(words) or {"tumour", "muscle", "2 mm"} <= set(words)
    assert "means over 3 x 3 pixels" in drawing.caption
    before, after, over = (axes.images[0].get_array() for axes in drawing.figure.axes[:3])
    # columns 4-16 of the image are left of its middle, as on the scanner's screen
    left, right = np.s_[8:22, 6:14], np.s_[8:22, 22:30]
    assert after[left].mean() > before[left].mean() + 30
    assert after[right].mean() == pytest.approx(before[right].mean(), abs=12)
    red, _, blue = (over[left][..., n].astype(float).mean() for n in range(3))
    assert red > blue + 40


def test_no_left_and_right_without_a_place_in_a_patient(run):
    chosen = scene.scene_of(run, "echo_enhancement")
    assert not scene.has_place(chosen)
    with style():
        words = words_of(mosaic.draw(run, "echo_enhancement"))
    assert not {"R", "L", "A", "P"} & set(words)
    with style():
        words = words_of(echo_change.draw(run, "echo_enhancement"))
    assert not any("axial" in word for word in words)


def test_many_frames_are_a_line_with_a_band(run):
    with style():
        drawing = curves.draw(run, "echo_enhancement")
    assert "band: one standard error" in drawing.caption
    axes = drawing.figure.axes[0]
    assert len(axes.collections) == 2
    (tumour, *_) = (line for line in axes.lines if len(line.get_xdata()) == N_FRAMES)
    assert float(np.max(tumour.get_ydata())) == pytest.approx(10 * np.log10(6), abs=1.0)


def test_rows_of_a_run_are_made_once(run):
    assert run_rows(run) is run_rows(run)
    assert run_rows(run) == table_rows(run.table)


def test_what_holds_for_a_period_stands_before_the_highest_of_its_frames():
    rows = [
        dict.fromkeys(STATISTICS_COLUMNS, "")
        | {"region": "muscle", "quantity": "echo_enhancement", "unit": "dB", "axis_value": at, "mean": value}
        | {"standard_error": 0.2, "volume_ml": None, "n_valid": 5, "n_voxels": 5, "axis": axis}
        for at, axis, value in ((None, "", 0.01), (0.1, "time", 0.7), (0.2, "time", -0.3))
    ]
    (table,) = headline_tables(rows, [])
    assert [row["value"] for row in table.rows] == ["0.01"]
    assert table.axis == ""
    (frames,) = headline_tables(rows[1:], [])
    assert [(row["value"], row["at"]) for row in frames.rows] == [("0.70", "0.1 s")]


def test_many_regions_without_a_value_are_one_line():
    rows = [
        dict.fromkeys(STATISTICS_COLUMNS, "")
        | {"region": name, "quantity": "time_to_peak", "unit": "s", "axis_value": None, "mean": value}
        | {"standard_error": None, "volume_ml": None, "n_valid": 5, "n_voxels": 5, "flags": flags}
        for name, value, flags in (
            ("tumour", 7.8, ""),
            ("skin", None, "NOT_ENHANCING:5"),
            ("fat", None, "NOT_ENHANCING:5"),
            ("muscle", None, "NOT_CONVERGED:5"),
        )
    ]
    (table,) = headline_tables(rows, [])
    assert [row["region"] for row in table.rows] == ["tumour"]
    assert table.without == "No value in skin, fat, muscle (not enhancing, not converged)."
    (few,) = headline_tables(rows[:3], [])
    assert [row["region"] for row in few.rows] == ["tumour", "skin", "fat"]
    assert few.without == ""
