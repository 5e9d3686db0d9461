"""Amounts and moments as people type them."""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone

import pytest
import typer

from imgtheranostics.cli.administration_options import build, parse_amount, parse_moment

NOTHING = dict.fromkeys(
    [
        *("dose", "injected_at", "delay", "residual", "residual_at", "infiltrated", "dose_uncertainty"),
        *("nuclide", "weight_kg", "height_m", "sex"),
    ]
)


@pytest.mark.parametrize(
    ("text", "becquerel"),
    [
        ("400MBq", 4e8),
        ("400 MBq", 4e8),
        ("10mCi", 3.7e8),
        ("1.5e2 kBq", 1.5e5),
        ("20 µCi", 7.4e5),
        ("0.4GBq", 4e8),
    ],
)
def test_activities_are_converted(text, becquerel):
    assert parse_amount(text, "--dose", "Bq", "400MBq") == pytest.approx(becquerel)


@pytest.mark.parametrize("text", ["400", "400 kg", "MBq", "4 5 MBq", "400MBq!", ""])
def test_an_amount_without_a_fitting_unit_is_a_usage_error(text):
    with pytest.raises(typer.BadParameter):
        parse_amount(text, "--dose", "Bq", "400MBq")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2022-03-01T09:30", datetime(2022, 3, 1, 9, 30)),
        ("2022-03-01 09:30:15", datetime(2022, 3, 1, 9, 30, 15)),
        ("2022-03-01T09:30+01:00", datetime(2022, 3, 1, 9, 30, tzinfo=timezone(timedelta(hours=1)))),
        ("09:30", time(9, 30)),
    ],
)
def test_moments_keep_their_zone(text, moment):
    assert parse_moment(text, "--injected-at") == moment


@pytest.mark.parametrize("text", ["1.3.2022 9:30", "yesterday", "25:00"])
def test_an_illegible_moment_is_a_usage_error(text):
    with pytest.raises(typer.BadParameter):
        parse_moment(text, "--injected-at")


def test_no_option_leaves_everything_to_the_file():
    assert build(**NOTHING) is None


def test_options_become_one_administration():
    given = build(**{**NOTHING, "dose": "8.1MBq", "delay": "60min", "residual": "0.3MBq", "sex": "f"})
    assert (given.activity_bq, given.at, given.residual_bq, given.sex) == (8.1e6, 3600.0, 0.3e6, "F")
    only_weight = build(**{**NOTHING, "weight_kg": 0.02})
    assert (only_weight.activity_bq, only_weight.at, only_weight.weight_kg) == (None, None, 0.02)


def test_two_ways_to_say_when_are_refused():
    with pytest.raises(typer.BadParameter):
        build(**{**NOTHING, "delay": "60min", "injected_at": "09:30"})
