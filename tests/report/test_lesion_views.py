"""Close-ups of outlined lesions: which runs have them, how many, and what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imgtheranostics.nuclear import lesion_table
from imgtheranostics.regions import Regions
from imgtheranostics.report.figures import lesion_views, theme
from imgtheranostics.report.run import Run
from imgtheranostics.segmentation import fixed_threshold
from imgtheranostics.volume import Axis, Estimate, Volume


def image(n, shape=(64, 24, 20)):
    data = np.full(shape, 1.0)
    for number in range(n):
        data[4 + 7 * number : 7 + 7 * number, 8 : 12 + number % 3, 8:12] = 5.0 + number
    return Volume(data, np.diag([-2.0, 2.0, 3.0, 1.0]), "suv_bw", "g/mL")


def as_estimate(v):
    flags = v.replace(data=np.zeros(v.shape), quantity="flags", unit="1")
    return Estimate(v, v.replace(data=0.1 * v.data), flags)


def run_of(n, **changes):
    v = image(n)
    lesions = fixed_threshold(v, 4.0, quantity="suv_bw", keep="each")
    table = lesion_table(v, lesions)
    given = {"regions": lesions, "delineated": lesions} | changes
    return Run(command="nuclear segment", estimates=(as_estimate(v),), table=table, **given)


def drawn(run):
    with theme.style():
        return lesion_views.draw(run, "suv_bw")


def test_only_runs_that_outlined_something_have_close_ups():
    assert lesion_views.keys(run_of(2)) == ("suv_bw",)
    assert lesion_views.keys(run_of(2, delineated=None)) == ()
    run = run_of(1)
    v = run.maps[0].value
    series = v.replace(data=np.stack([v.data, v.data], -1), axes=(Axis("time", [0.0, 1.0], "s"),))
    assert lesion_views.keys(replace(run, estimates=(as_estimate(series),))) == ()
    other = Regions.from_masks(
        {"lesion": np.ones((4, 4, 4))}, Volume(np.ones((4, 4, 4)), np.eye(4), "suv_bw", "g/mL").grid
    )
    assert lesion_views.keys(replace(run, delineated=other)) == ()


def test_each_lesion_has_three_planes_and_a_colour_bar():
    figure = drawn(run_of(2))
    labels = [text.get_text() for axes in figure.figure.axes for text in axes.texts]
    assert sum(label.startswith("axial") for label in labels) == 2
    assert sum(label.startswith(("coronal", "sagittal")) for label in labels) == 4
    assert labels.count("SUV (body weight) [g/mL]") == 2
    headings = [text.get_text() for text in figure.figure.texts]
    assert any(heading.startswith("lesion-1: ") and "threshold 4 g/mL" in heading for heading in headings)
    assert "outlined by the method fixed" in figure.caption
    assert "lesion-1, lesion-2" in figure.alt


def test_of_many_lesions_the_largest_are_shown():
    figure = drawn(run_of(8))
    assert "the 6 largest of 8 lesions" in figure.caption
    headings = [text.get_text() for text in figure.figure.texts]
    assert len(headings) == 6


def test_over_anatomy_and_at_the_border():
    run = run_of(8)
    anatomy = image(0).replace(quantity="signal", unit="[arb'U]")
    figure = drawn(replace(run, anatomy=anatomy))
    assert theme.as_svg(figure.figure)


def test_a_drawn_region_says_so():
    v = image(1)
    mask = np.zeros(v.shape, bool)
    mask[4:7, 8:12, 8:12] = True
    figure = drawn(run_of(1, delineated=Regions.from_masks({"mine": mask}, v.grid)))
    assert [text.get_text() for text in figure.figure.texts] == ["mine: drawn"]


@pytest.mark.parametrize("bad", [np.nan, -1.0])
def test_voxels_without_a_value_do_not_matter(bad):
    run = run_of(1)
    v = run.maps[0].value
    data = np.array(v.data)
    data[5, 9, 9] = bad
    assert drawn(replace(run, estimates=(as_estimate(v.replace(data=data)),))).caption
