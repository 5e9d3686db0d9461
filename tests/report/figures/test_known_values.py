"""Measured beside known values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.report.figures import known_values
from imgtheranostics.report.registry import render_figures
from imgtheranostics.report.run import KnownValue, Run
from imgtheranostics.volume import Volume


@pytest.fixture
def run():
    image = Volume(np.full((4, 4, 4), 9.75), np.eye(4), "id_per_g", "%/g")
    regions = Regions.from_masks(
        {"tumour": np.ones((4, 4, 4)), "liver": np.eye(4)[..., None] * np.ones(4)}, image.grid
    )
    return Run("v", (), roi_statistics(image, regions))


def test_nothing_is_drawn_without_known_values_or_for_regions_that_were_not_measured(run):
    assert known_values.keys(run) == ()
    other = dataclasses.replace(run, known=[KnownValue("spleen", "id_per_g", "truth", 5.0)])
    assert known_values.keys(other) == ()


def test_words_name_every_value_and_the_note_is_the_caption(run):
    known = [
        KnownValue("tumour", "id_per_g", "truth", 12.0),
        KnownValue("tumour", "id_per_g", "expected", 9.78),
        KnownValue("liver", "id_per_g", "truth", 8.0),
        KnownValue("spleen", "id_per_g", "truth", 5.0),
    ]
    (figure,) = render_figures(dataclasses.replace(run, known=known, known_note="Why.", figures=("known",)))
    assert figure.file == "known_id_per_g.svg"
    assert (
        "tumour measured 9.750 ± 0, truth 12, expected 9.78; liver measured 9.750 ± 0, truth 8" in figure.alt
    )
    assert "spleen" not in figure.alt
    assert figure.caption.endswith("truth: upright line; expected: open diamond. Why.")
