"""Input functions from tables as PET-BIDS has them, from images with a known truth, and from templates."""

from __future__ import annotations

import json

import numpy as np
import pytest

from imgtheranostics.errors import (
    CorruptInput,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.nuclear import kinetics
from imgtheranostics.nuclear.input_functions import InputFunction, image_derived, read_blood, scaled_template

UNITS = {
    "time": {"Units": "s"},
    "plasma_radioactivity": {"Units": "kBq/mL"},
    "whole_blood_radioactivity": {"Units": "kBq/mL"},
    "metabolite_parent_fraction": {"Units": "unitless"},
}
ROWS = [
    ("time", "plasma_radioactivity", "whole_blood_radioactivity", "metabolite_parent_fraction"),
    (0, 0, 0, "n/a"),
    (30, 50, 40, "n/a"),
    (120, 20, 16, 0.9),
    (600, 8, 7, 0.5),
    (3600, 2, 2, 0.2),
]


@pytest.fixture
def written(tmp_path):
    def write(rows=ROWS, sidecar=UNITS, name="sub-01_recording-manual_blood"):
        table = tmp_path / f"{name}.tsv"
        table.write_text("\n".join("\t".join(str(cell) for cell in row) for row in rows) + "\n")
        if sidecar is not None:
            (tmp_path / f"{name}.json").write_text(json.dumps(sidecar))
        return table

    return write


def codes(found):
    return {caution.code for caution in found.warnings}


def test_plasma_times_parent_fraction_in_bq(written):
    found = read_blood(written(), decay_corrected=True)
    np.testing.assert_array_equal(found.time_s, [0, 30, 120, 600, 3600])
    # The fraction is 1 at the injection and 0.9 at 120 s: 0.975 at 30 s.
    np.testing.assert_allclose(found.plasma, [0, 50e3 * 0.975, 20e3 * 0.9, 8e3 * 0.5, 2e3 * 0.2])
    np.testing.assert_allclose(found.whole_blood, [0, 40e3, 16e3, 7e3, 2e3])
    assert not codes(found)


def test_what_is_not_stated_is_cautioned(written):
    rows = [row[:3] for row in ROWS]
    found = read_blood(written(rows, {**UNITS, "DispersionCorrected": False}))
    assert codes(found) == {"blood-decay-assumed", "metabolites-not-corrected", "dispersion-not-corrected"}
    np.testing.assert_allclose(found.plasma[1], 50e3)


def test_decay_is_corrected_to_time_zero(written):
    given = read_blood(written(), decay_corrected=True)
    found = read_blood(written(), decay_corrected=False, half_life_s=1200.0)
    np.testing.assert_allclose(found.plasma, given.plasma * 2 ** (given.time_s / 1200))
    np.testing.assert_allclose(found.whole_blood, given.whole_blood * 2 ** (given.time_s / 1200))
    with pytest.raises(MissingMetadata, match="half-life"):
        read_blood(written(), decay_corrected=False)


def test_minutes_and_two_tables(written):
    minutes = [ROWS[0], *[(row[0] / 60, *row[1:]) for row in ROWS[1:]]]
    one = written(minutes, {**UNITS, "time": {"Units": "min"}}, "sub-01_recording-manual_blood")
    sampler = [("time", "whole_blood_radioactivity"), (0, 0), (15, 25), (30, 41), (45, 38)]
    two = written(sampler, UNITS, "sub-01_recording-autosampler_blood")
    found = read_blood([two, one], decay_corrected=True)
    np.testing.assert_allclose(found.time_s, [0, 15, 30, 45, 120, 600, 3600])
    np.testing.assert_allclose(found.whole_blood, 1e3 * np.array([0, 25, 41, 38, 16, 7, 2]))
    # Plasma over blood is 50/41 at 30 s and before it, and the parent fraction falls from 1 to 0.9 at 120 s.
    assert found.plasma[1] == pytest.approx(25e3 * 50 / 41 * (1 - 0.1 * 15 / 120))
    assert found.plasma[4] == pytest.approx(20e3 * 0.9)


def test_whole_blood_alone_needs_its_ratio(written):
    rows = [(row[0], row[2]) for row in ROWS]
    with pytest.raises(MissingMetadata, match="no plasma"):
        read_blood(written(rows))
    found = read_blood(written(rows), plasma_over_blood=1.2)
    np.testing.assert_allclose(found.plasma, 1.2 * found.whole_blood)


@pytest.mark.parametrize(
    ("rows", "sidecar", "error", "message"),
    [
        (ROWS, None, MissingMetadata, "no sidecar"),
        (ROWS, {**UNITS, "time": {}}, MissingMetadata, "unit of a column"),
        (ROWS, {**UNITS, "time": {"Units": "h"}}, MissingMetadata, "times"),
        (ROWS, {**UNITS, "plasma_radioactivity": {"Units": "mm"}}, UnitMismatch, "none of activity"),
        (ROWS, {**UNITS, "plasma_radioactivity": {"Units": "furlong"}}, UnitMismatch, "plasma_radioactivity"),
        (ROWS, [], CorruptInput, "no table"),
        ([ROWS[0], *ROWS[:0:-1]], UNITS, CorruptInput, "do not increase"),
        ([*ROWS, (3600, 0, 0, 0)], UNITS, CorruptInput, "do not increase"),
        ([*ROWS, (4000, "many", 0, 0)], UNITS, CorruptInput, "no number"),
        ([*ROWS, (4000, "inf", 0, 0)], UNITS, CorruptInput, "infinite"),
        ([*ROWS, (4000, 1, 1, 15)], UNITS, ImplausibleValue, "percent"),
        ([row[1:] for row in ROWS], UNITS, CorruptInput, "lacks its times"),
        ([ROWS[0]], UNITS, CorruptInput, "lacks its times"),
    ],
)
def test_bad_tables_are_refused(written, rows, sidecar, error, message):
    with pytest.raises(error, match=message):
        read_blood(written(rows, sidecar))


def test_an_absent_table_is_refused(tmp_path):
    with pytest.raises(NothingUsable):
        read_blood(tmp_path / "none_blood.tsv")


def test_samples_that_do_not_cover_the_scan_are_refused(written):
    found = read_blood(written(), decay_corrected=True)
    assert found.covering(3600.0) is found
    with pytest.raises(ImplausibleValue, match="do not cover the scan"):
        found.covering(3601.0)
    mid = np.arange(30.0, 5400.0, 60.0)
    with pytest.raises(ImplausibleValue, match="do not cover the scan"):
        kinetics.patlak(mid, time_s=mid, input_time_s=found.time_s, plasma=found.plasma, start_s=1200)


MID = np.array([5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 2400.0])
DURATION = np.array([10.0, 10.0, 20.0, 40.0, 440.0, 760.0, 2240.0])
BLOOD = np.array([10.0, 90.0, 60.0, 40.0, 20.0, 15.0, 10.0])
AROUND = np.array([0.0, 5.0, 20.0, 30.0, 30.0, 28.0, 25.0])


def test_spill_in_is_corrected_exactly():
    """Sheet 3.6: measured mean = T RC + B (1 - RC)."""
    measured = 0.7 * BLOOD + 0.3 * AROUND
    parent = np.linspace(1.0, 0.4, MID.size)
    found = image_derived(
        measured,
        time_s=MID,
        frame_duration_s=DURATION,
        recovery=0.7,
        surroundings=AROUND,
        plasma_over_blood=1.1,
        parent_fraction=parent,
    )
    np.testing.assert_allclose(found.whole_blood, [0, *BLOOD, BLOOD[-1]])
    np.testing.assert_allclose(found.plasma[1:-1], 1.1 * parent * BLOOD)
    assert found.time_s[-1] == MID[-1] + DURATION[-1] / 2
    assert not codes(found)


def test_what_an_image_does_not_tell_is_cautioned():
    found = image_derived(BLOOD, time_s=MID)
    assert codes(found) == {"plasma-is-blood", "metabolites-not-corrected", "spill-in-not-corrected"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"recovery": 70.0}, ImplausibleValue, "percent"),
        ({"recovery": 0.0}, ImplausibleValue, "recovery"),
        ({"recovery": 0.7}, MissingMetadata, "around the vessel"),
        ({"recovery": 0.3, "surroundings": 10 * AROUND}, ImplausibleValue, "negative"),
        ({"parent_fraction": 90 * np.ones(7)}, ImplausibleValue, "fraction"),
        ({"plasma_over_blood": -1.0}, ImplausibleValue, "positive"),
        ({"surroundings": AROUND[1:]}, ValueError, "one value per frame"),
        ({"time_s": MID[::-1]}, ValueError, "increase"),
    ],
)
def test_bad_vessels_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        image_derived(BLOOD, **{"time_s": MID, **change})


def test_a_template_is_scaled_to_samples():
    template = InputFunction(MID, BLOOD, 0.8 * BLOOD)
    found = scaled_template(template, sample_time_s=[300, 900], samples=[44.0, 33.0])
    np.testing.assert_allclose(found.plasma, 2.2 * BLOOD)
    np.testing.assert_allclose(found.whole_blood, 0.8 * 2.2 * BLOOD)
    assert codes(found) == {"input-from-template"}
    with pytest.raises(ImplausibleValue, match="outside the template"):
        scaled_template(template, sample_time_s=[9000], samples=[1.0])
    with pytest.raises(ImplausibleValue, match="not positive"):
        scaled_template(template, sample_time_s=[300], samples=[-1.0])
    with pytest.raises(ValueError, match="one length"):
        scaled_template(template, sample_time_s=[300, 900], samples=[-1.0])
