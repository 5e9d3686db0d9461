"""Figures of CT: before and after, voxels against their limit, what is retained."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from imgtheranostics import ct
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.report.figures import before_after, detection, points, retention, scene
from imgtheranostics.report.figures.theme import style
from imgtheranostics.report.registry import render_figures
from imgtheranostics.report.run import Run
from imgtheranostics.volume import Axis, Estimate, Volume

SHAPE = (40, 36, 16)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
BEAM = CtAcquisition(tube_voltage_kv=120.0, kernel="B30f", slice_thickness_mm=2.0)
DAY_S = 86400.0


def ball(centre, radius):
    place = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.linalg.norm(place - np.array(centre), axis=-1) < radius


TUMOUR, MUSCLE = ball((12, 12, 8), 4.5), ball((28, 24, 8), 4.5)


def scan(rng, agent_hu=0.0):
    i, j, _ = np.indices(SHAPE)
    hu = np.where(((i - 20) / 18) ** 2 + ((j - 18) / 16) ** 2 < 1, 40.0, -1000.0) + agent_hu * TUMOUR
    field = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 0.7)
    return Volume(hu + 10 * field / field.std(), AFFINE, "attenuation", "[HU]", acquisition=BEAM)


@pytest.fixture
def run(rng):
    change = ct.enhancement(scan(rng), scan(rng, 142.0))
    agent = ct.concentration(change, material="HfO2", slope=ct.Slope(26.6, 0.5, "HfO2", kvp=120.0))
    regions = Regions.from_masks({"muscle": MUSCLE, "tumour": TUMOUR}, change.grid)
    return Run("ct concentration", [agent], ct.region_table(agent, regions), regions=regions)


def follow_ups(run):
    """Three scans with less and less of the agent."""
    agent = run.maps[0]
    axes = (Axis("time", np.array([0.0, 5.0, 12.0]) * DAY_S, "s"),)

    def stacked(volume, factors):
        data = np.stack([volume.data * factor for factor in factors], axis=-1)
        return volume.replace(data=data.astype(volume.data.dtype), axes=axes, warnings=())

    return Estimate(
        stacked(agent.value, (1.0, 0.9, 0.6)),
        stacked(agent.standard_error, (1, 1, 1)),
        stacked(agent.flags, (1, 1, 1)),
        decisions=agent.decisions,
        maps={"pre": agent.maps["pre"]},
    )


def words_of(drawing):
    return [text.get_text() for text in drawing.figure.findobj(lambda one: hasattr(one, "get_text"))]


def test_before_and_after_stand_beside_the_agent_in_the_region_with_most(run):
    assert before_after.keys(run) == ("concentration",)
    with style():
        drawing = before_after.draw(run, "concentration")
    words = words_of(drawing)
    assert [word for word in words if word in ("Before", "After", "Agent over before")] == [
        "Before",
        "After",
        "Agent over before",
    ]
    assert "tumour" in words
    assert "muscle" not in words
    assert "planes through the middle of tumour" in drawing.caption


def test_colour_is_where_the_agent_is_and_not_where_noise_is(run):
    """At 5.3 mg/mL a voxel is ten standard deviations above nothing."""
    chosen = scene.scene_of(run, "concentration")
    target = before_after._target(chosen)
    assert list(chosen.regions)[target] == "tumour"
    columns = before_after._columns(chosen.estimate)
    scale = before_after._scale(chosen, target, columns)
    sd = before_after._voxel_sd(chosen.estimate)
    assert sd == pytest.approx(np.hypot(10, 10) / 26.6, rel=0.15)
    rows, _ = before_after._placed(chosen, target, len(columns))
    item = rows[0][-1]
    grey = before_after._pixels(columns[0], chosen, item, scale, sd).astype(float)
    coloured = before_after._pixels(columns[-1], chosen, item, scale, sd).astype(float)
    painted = np.abs(coloured - grey).max(axis=-1) > 40
    inside, _ = before_after.planes.sample(TUMOUR.astype(float), AFFINE, chosen.stage, item.plane)
    assert painted[inside > 0].mean() > 0.9
    assert painted[inside == 0].mean() < 0.02


def test_follow_ups_stand_side_by_side_by_their_day(run):
    series = replace(run, estimates=[follow_ups(run)])
    with style():
        drawing = before_after.draw(series, "concentration")
    words = words_of(drawing)
    assert [word for word in words if word.startswith("Day ")] == ["Day 0", "Day 5", "Day 12"]


def test_voxels_stand_against_their_limit_of_detection(run):
    assert detection.keys(run) == ("concentration",)
    with style():
        drawing = detection.draw(run, "concentration")
    lod = run.maps[0].decisions["detection"]["voxel_lod_mg_ml"]
    shares = {
        name: 100 * np.mean(run.maps[0].value.data[mask] > lod)
        for name, mask in (("tumour", TUMOUR), ("muscle", MUSCLE))
    }
    words = " ".join(words_of(drawing))
    assert re.search(rf"{shares['tumour']:.3g} % above LOD".replace(".", r"\."), words)
    assert {"LOD", "LOQ", "noise alone"} <= set(words_of(drawing))
    assert "0.05 % of noise" in drawing.caption


def test_a_map_without_a_known_noise_has_no_histogram(run):
    silent = replace(run.maps[0], decisions={})
    assert detection.keys(replace(run, estimates=[silent])) == ()


def table_of(rows):
    blank = dict.fromkeys(STATISTICS_COLUMNS, np.nan)
    text = dict.fromkeys(("subject", "session", "flags", "warnings"), "")
    return pd.DataFrame([blank | text | row for row in rows], columns=list(STATISTICS_COLUMNS))


@pytest.fixture
def retained(run):
    rows = []
    for day, mass in ((0, 175.0), (12, 105.0)):
        place = {"axis": "time", "axis_value": day * DAY_S, "region": "tumour"}
        rows += [
            place | {"quantity": "agent_mass", "unit": "mg", "mean": mass, "standard_error": 3.0},
            place
            | {"quantity": "retained_fraction", "unit": "%", "mean": mass / 1.75, "standard_error": 1.5},
            place
            | {"quantity": "recovered_fraction", "unit": "%", "mean": mass / 2.0, "standard_error": 1.0},
            place | {"quantity": "occupancy", "unit": "%", "mean": 17.0},
            place | {"region": "shell 0-5 mm", "quantity": "agent_mass", "unit": "mg", "mean": 1.0,
                     "standard_error": 2.0},
        ]  # fmt: skip
    rows.append({"axis": "time", "axis_value": 5 * DAY_S, "region": "tumour", "quantity": "agent_mass",
                 "unit": "mg", "warnings": "missing-scan"})  # fmt: skip
    return replace(run, table=table_of(rows), figures=())


def test_retention_shows_mass_share_injected_mass_and_the_missing_scan(retained):
    assert retention.keys(retained) == ("retained_fraction",)
    with style():
        drawing = retention.draw(retained, "retained_fraction")
    words = words_of(drawing)
    assert "injected 200 mg" in words
    assert "60.0 ± 1.5" in words
    assert words.count("no scan") == 2
    assert "shells 0-5 mm" in words
    assert "one follow-up was not made" in drawing.caption
    left, right = drawing.figure.axes[:2]
    assert left.get_xlim()[0] < 0 < 12 < left.get_xlim()[1]
    assert right.get_ylim()[0] == 0.0


def test_retention_belongs_to_tables_of_follow_ups(run):
    assert retention.keys(run) == ()


def test_limits_of_detection_have_no_figure_of_their_own(run):
    assert "detection_limit" in set(run.table["quantity"])
    assert points.keys(run) == ("concentration",)


def test_the_figures_of_a_concentration_are_the_same_bytes_each_time(run):
    chosen = replace(run, figures=("before-after", "detection"))
    first, second = ({one.file: one.svg for one in render_figures(chosen)} for _ in range(2))
    assert first == second
    assert set(first) == {"before-after_concentration.svg", "detection_concentration.svg"}


def test_ct_is_shown_in_a_window_of_soft_tissue(rng):
    grey = scene.anatomy_scale(scan(rng).data, "attenuation")
    assert (grey.low, grey.high) == (-160.0, 240.0)


def test_the_report_of_follow_ups_leads_with_what_is_retained_and_shows_each(retained):
    """A peak along time would always be the first scan's 100 %."""
    from imgtheranostics.report.html import headline_tables
    from imgtheranostics.report.tables import table_rows

    tables = {one.heading: one for one in headline_tables(table_rows(retained.table), [])}
    shares = tables["Agent that is still there, of that in the first scan with it"]
    assert [(row["at"], row["value"]) for row in shares.rows] == [("0 s", "100.0"), ("12 d", "60.0")]


def test_images_in_hu_are_grey_and_amounts_are_not(run):
    amount = scene.scale_of(scene.scene_of(run, "concentration"))
    assert amount.colours == "viridis"
    before = run.maps[0].maps["pre"].replace(quantity="virtual_non_contrast")
    error = before.replace(data=np.ones(SHAPE, np.float32))
    flags = before.replace(data=np.zeros(SHAPE, np.uint16), quantity="flags", unit="1")
    bare = replace(run, estimates=[Estimate(before, error, flags)])
    assert scene.scale_of(scene.scene_of(bare, "virtual_non_contrast")).colours == "gray"
