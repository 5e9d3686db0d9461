"""The figure of theranostic pairs: what is drawn, and what its words say."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.nuclear import pair_table
from imgtheranostics.report.registry import render_figures
from imgtheranostics.report.run import Run

HOURS = np.array([1.0, 6, 24, 48])


def run_of(n_regions=2, amplitude=12.0, figures=("pair",), **options):
    rows = [
        {
            "subject": "m1", "session": "", "region": f"region {n}", "quantity": "id_per_g", "unit": "%/g",
            "axis": "time", "axis_value": hours * 3600.0, "n_voxels": 9, "n_valid": 9, "volume_ml": 0.3,
            "mean": (1 + off) * amplitude * 2 ** (-hours / 60), "standard_error": 0.3, "warnings": "",
            "decay_corrected": True,
        }
        for n in range(n_regions)
        for hours, off in zip(HOURS, (0.01, -0.02, 0.02, -0.01), strict=True)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    seconds = nuclide("Y-86").half_life_s
    table.attrs = {"decisions": [{"half_life": {"seconds": seconds, "nuclide": "Y-86"}}]}
    found = pair_table(table, given="Y-90", **options)
    return Run("nuclear pairs", (), found, curves=found.attrs["curves"], figures=figures)


def test_carrier_and_prediction_are_drawn_and_said():
    (figure,) = render_figures(run_of(model="mono"))
    assert figure.file == "pair_id_per_g.svg"
    assert "what of Y-90 would be there if it moved alike" in figure.caption
    assert "95 % confidence" in figure.caption
    assert re.search(r"T½ eff 3\d\.\d+ ± \d\.\d h", figure.alt)
    assert re.search(r"3\d % later", figure.alt)
    text = figure.svg.decode()
    assert "Y-90, predicted" in text
    assert "carrier" in text


def test_trapezoids_have_no_band_and_many_regions_are_counted():
    (figure,) = render_figures(run_of(9, model="linear_log"))
    assert "confidence" not in figure.caption
    assert "8 of 9 regions are shown" in figure.caption


def test_regions_without_activity_say_so():
    (figure,) = render_figures(run_of(1, amplitude=-1.0, model="mono"))
    assert "no fit" in figure.alt


@pytest.mark.parametrize("name", ["activity-fits", "fitted-curves"])
def test_other_figures_of_curves_leave_pairs_alone(name):
    assert render_figures(run_of(1, model="mono", figures=(name,))) == []
