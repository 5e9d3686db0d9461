"""Counted samples from tables of people's own: units in headings, replicates, references, and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, MissingMetadata, NothingUsable, UnitMismatch
from imgtheranostics.nuclear.activity_tables import read_activity_table
from imgtheranostics.nuclear.unit_tables import read_unit_table

HOUR = 3600.0
CU64_S = 12.7 * HOUR
"""ICRP-107, as in reference/pet.md section 4.1: 12.700 h."""

HOURS = (0.5, 2.0, 6.0, 24.0, 48.0)


def write(folder, text, name="samples.csv"):
    path = folder / name
    path.write_text(text)
    return path


def wide(folder, unit="%ID/g", time="time [h]", scale=1.0, name="samples.csv"):
    """Tumour 12 %ID/g cleared with 60 h, liver 8 with 20 h; decay corrected."""
    rows = [f"{time},tumour [{unit}],liver [{unit}]"]
    for hours in HOURS:
        values = [amount * scale * 2 ** (-hours / half) for amount, half in ((12, 60), (8, 20))]
        rows.append(f"{hours},{values[0]!r},{values[1]!r}")
    return write(folder, "\n".join(rows) + "\n", name)


def test_a_column_for_each_region_gives_half_lives_and_areas(tmp_path):
    """Closed form: 0.12 per gram, T_eff of 12.7 h and 60 h, area T_eff / ln 2."""
    table = read_activity_table(wide(tmp_path), decay_corrected=True, nuclide_name="Cu-64")
    found = it.nuclear.fit_curve(table, "mono").set_index(["region", "quantity"])["mean"]
    effective = 1 / (1 / 60 + 1 / 12.7)
    assert found["tumour", "effective_half_life"] / HOUR == pytest.approx(effective, rel=1e-5)
    assert found["tumour", "biological_half_life"] / HOUR == pytest.approx(60, rel=1e-5)
    assert found["tumour", "tiac_per_g"] == pytest.approx(0.12 * effective * HOUR / np.log(2), rel=1e-5)
    assert found["liver", "biological_half_life"] / HOUR == pytest.approx(20, rel=1e-5)


@pytest.mark.parametrize(
    ("unit", "quantity", "factor"),
    [
        ("kBq/mL", "activity_concentration", 1e3),
        ("nCi/cc", "activity_concentration", 37.0),
        ("%ID/mL", "id_per_ml", 1.0),
        ("%ID", "id_per_region", 1.0),
        ("%IA/g", "id_per_g", 1.0),
        ("SUV", "suv_bw", 1.0),
    ],
)
def test_units_stand_in_the_heading(tmp_path, unit, quantity, factor):
    table = read_activity_table(wide(tmp_path, unit), decay_corrected=True, half_life_s=CU64_S)
    assert set(table["quantity"]) == {quantity}
    assert table["mean"].iloc[0] == pytest.approx(12 * factor * 2 ** (-0.5 / 60))


@pytest.mark.parametrize(
    ("heading", "seconds"),
    [
        ("time [min]", 60.0),
        ("time_h", 3600.0),
        ("Time [hours]", 3600.0),
        ("time [d]", 86400.0),
        ("t [s]", 1.0),
    ],
)
def test_times_are_in_the_unit_that_they_state(tmp_path, heading, seconds):
    table = read_activity_table(wide(tmp_path, time=heading), decay_corrected=True, half_life_s=CU64_S)
    assert sorted(set(table["axis_value"])) == pytest.approx([hours * seconds for hours in HOURS])


def test_replicates_become_their_mean_with_its_standard_error(tmp_path):
    """Three animals per time: mean, and SD over the root of three."""
    rows = [
        f"{hours}\tblood\t{value}\tfalse"
        for hours, values in ((1, (10.0, 12.0, 14.0)), (4, (5.0, 5.0, 5.6)))
        for value in values
    ]
    path = write(tmp_path, "time [h]\tregion\tactivity [%ID/g]\tdecay_corrected\n" + "\n".join(rows), "s.tsv")
    table = read_activity_table(path, nuclide_name="Cu-64")
    assert table["mean"].tolist() == pytest.approx([12.0, 5.2])
    assert table["standard_error"].tolist() == pytest.approx([2 / 3**0.5, 0.2])
    assert table["n_valid"].tolist() == [3, 3]
    assert not table["decay_corrected"].any()
    assert [caution.code for caution in table.attrs["warnings"]] == ["samples-averaged"]


def test_subjects_keep_their_own_curves_and_errors_of_their_own(tmp_path):
    text = "subject;time [h];organ;activity [%ID/g];standard_error\n"
    text += "".join(f"m{n};{hours};liver;{10 - n - hours};0.{n + 1}\n" for n in (0, 1) for hours in (1, 2))
    table = read_activity_table(write(tmp_path, text), decay_corrected=True, half_life_s=CU64_S)
    assert table["subject"].tolist() == ["m0", "m0", "m1", "m1"]
    assert table["standard_error"].tolist() == pytest.approx([0.1, 0.1, 0.2, 0.2])
    assert table.attrs["warnings"] == ()


def test_units_may_stand_in_a_json_file_as_in_bids(tmp_path):
    path = write(tmp_path, "time,liver\n1,5\n2,4\n")
    path.with_suffix(".json").write_text(json.dumps({"time": {"Units": "h"}, "liver": {"Units": "kBq/mL"}}))
    table = read_activity_table(path, decay_corrected=True, half_life_s=CU64_S)
    assert table["mean"].tolist() == [5000.0, 4000.0]
    path.with_suffix(".json").write_text(json.dumps({"liver": {"Units": "kBq/mL"}}))
    write(tmp_path, "time [h],liver [Bq/mL]\n1,5\n")
    with pytest.raises(UnitMismatch, match="different units"):
        read_activity_table(path, decay_corrected=True, half_life_s=CU64_S)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("time,liver [%ID/g]\n1,2\n", MissingMetadata, "unit of the times"),
        ("time [h],liver\n1,2\n", MissingMetadata, "unit of the activities"),
        ("time [h],liver [%ID/lb]\n1,2\n", UnitMismatch, "not known"),
        ("time [kg],liver [%ID/g]\n1,2\n", UnitMismatch, "convert|not known"),
        ("liver [%ID/g]\n2\n", CorruptInput, "lacks its times"),
        ("time [h]\n2\n", CorruptInput, "lacks them"),
        ("time [h],liver [%ID/g]\n1,two\n", CorruptInput, "no number"),
        ("time [h],liver [%ID/g]\n1,inf\n", CorruptInput, "no number"),
        ("time [h],liver [%ID/g]\n1,2,3\n", CorruptInput, "does not fit"),
        ("time [h],time [h]\n1,2\n", CorruptInput, "no name, or that of another"),
        ("time [h],liver [%ID/g]\n", CorruptInput, "no rows"),
        ("time [h],liver [%ID/g]\n1,n/a\n", CorruptInput, "no sample"),
        ("time [h],liver [%ID/g],decay_corrected\n1,2,maybe\n", CorruptInput, "neither yes nor no"),
        ("time [h],liver [%ID/g],decay_corrected\n1,2,yes\n2,1,no\n", UnitMismatch, "mixed"),
        ("time [h],liver [%ID/g],decay_corrected\n1,2,no\n", UnitMismatch, "mixed"),
        ("", CorruptInput, "empty|no rows"),
    ],
)
def test_what_a_table_cannot_be(tmp_path, text, error, message):
    with pytest.raises(error, match=message):
        read_activity_table(write(tmp_path, text), decay_corrected=True, half_life_s=CU64_S)


def test_what_a_table_does_not_say_is_asked_for(tmp_path):
    path = wide(tmp_path)
    with pytest.raises(MissingMetadata, match="half-life"):
        read_activity_table(path, decay_corrected=True)
    with pytest.raises(MissingMetadata, match="decay reference"):
        read_activity_table(path, nuclide_name="Cu-64")
    with pytest.raises(ValueError, match="half_life_s"):
        read_activity_table(path, decay_corrected=True, half_life_s=-1.0)
    with pytest.raises(NothingUsable):
        read_activity_table(tmp_path / "none.csv", decay_corrected=True, half_life_s=1.0)
    (tmp_path / "image.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(CorruptInput, match="text"):
        read_unit_table(tmp_path / "image.csv", "a table")
