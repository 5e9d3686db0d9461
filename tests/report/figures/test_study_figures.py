"""Figures of studies: what they show is what they were given."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.report.figures import kaplan_meier, spider, theme
from imgtheranostics.report.figures.forest import Forest, ForestRow
from imgtheranostics.report.figures.group_curves import AnimalCurve, GroupCurves, means_of
from imgtheranostics.report.figures.kaplan_meier import FollowedGroup, KaplanMeier, at_risk
from imgtheranostics.report.figures.organ_points import OrganPoint, OrganPoints
from imgtheranostics.report.figures.study_axes import apart, spread_out
from imgtheranostics.report.figures.waterfall import Bar, Waterfall
from imgtheranostics.report.study_figures import Shown, group_colours, render_shown

CURVES = (
    AnimalCurve("m1", "a", (0.0, 24.0), (1.0, 4.0)),
    AnimalCurve("m2", "a", (0.0, 24.0), (4.0, 1.0)),
    AnimalCurve("m3", "b", (0.0,), (2.0,)),
)


def svg(kind: str, content: object) -> str:
    [drawn] = render_shown([Shown(kind, "title", content)], "name")
    return drawn.svg.decode()


def test_every_animal_has_a_line_and_every_group_its_geometric_mean() -> None:
    shown = GroupCurves("uptake", "time after the injection", CURVES, logarithmic=True)
    assert means_of(shown, "a") == ([0.0, 24.0], pytest.approx([2.0, 2.0]))
    text = svg("group_curves", shown)
    assert text.count("stroke-width: 0.7") == 3  # animals
    assert text.count("stroke-width: 2.2") == 2  # groups
    assert "a (n = 2)" in text


def test_numbers_at_risk_count_those_under_observation_just_before() -> None:
    group = FollowedGroup("all", (2.0, 5.0, 5.0, 9.0), (True, True, False, False), ((2.0, 0.75, 0.3, 0.96),))
    np.testing.assert_array_equal(at_risk(group, [0.0, 2.0, 5.0, 5.1, 10.0]), [4, 4, 3, 1, 0])
    with theme.style():
        drawing = kaplan_meier.draw(KaplanMeier("time [mo]", (group,)))
    written = [text.get_text() for axes in drawing.figure.axes for text in axes.texts]
    assert written[:3] == ["At risk", "all", "4"]
    assert "2 events of 4" in drawing.alt


def test_change_is_from_the_first_session() -> None:
    assert spider.changes(CURVES[0]) == [0.0, 300.0]


def test_waterfall_goes_from_high_to_low_and_names_every_subject() -> None:
    shown = Waterfall("change", (Bar("p1", -5.0, "x"), Bar("p2", 3.0, "y"), Bar("p3", 0.0, "x")))
    text = svg("waterfall", shown)
    assert text.index(">p2<") < text.index(">p3<") < text.index(">p1<")


def test_every_point_of_an_organ_is_drawn() -> None:
    points = tuple(OrganPoint("liver", "a", f"m{n}", 1.0 + 0.001 * n) for n in range(7))
    with theme.style():
        from imgtheranostics.report.figures import organ_points

        axes = organ_points.draw(OrganPoints("uptake", points)).figure.axes[0]
    drawn = np.concatenate([line.get_xydata() for line in axes.lines if line.get_marker() == "o"])
    np.testing.assert_allclose(np.sort(drawn[:, 1]), [one.value for one in points])
    assert len(np.unique(drawn[:, 0])) == 7  # side by side, none hides another


def test_forest_stands_endless_limits_and_keeps_scales_apart() -> None:
    rows = (
        ForestRow("cox", 2.0, 0.0, float("inf"), 9, "ratio"),
        ForestRow("rho", -0.4, -0.8, 0.1, 12, "correlation"),
        ForestRow("none", 0.2, float("nan"), float("nan"), 4, "correlation"),
    )
    text = svg("forest", Forest(rows))
    assert "2 (0 to ∞)" in text
    assert "−0.40 (−0.80 to 0.10)" in text


def test_points_and_words_that_would_touch_are_moved_apart() -> None:
    shifts = spread_out([1.0, 1.0, 1.0, 5.0], 0.3, 0.5)
    assert len(set(shifts[:3])) == 3
    assert shifts[3] == 0.0
    moved = apart([1.0, 1.0, 1.0], 2.0)
    assert moved == pytest.approx([-1.0, 1.0, 3.0])


def test_groups_have_colours_of_their_own_in_any_order() -> None:
    assert group_colours(["b", "a"]) == group_colours(["a", "b", "a"])
    assert len(set(group_colours("abcdefgh").values())) == 9


def test_an_unknown_kind_is_refused_and_bytes_are_the_same_again() -> None:
    with pytest.raises(ValueError, match="pie"):
        render_shown([Shown("pie", "", None)], "x")
    shown = GroupCurves("uptake", "time", CURVES)
    assert svg("group_curves", shown) == svg("group_curves", shown)
