"""quantities.tsv, its JSON twin, and the object of --json."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import Caution, CorruptInput
from imgtheranostics.regions import STATISTICS_COLUMNS
from imgtheranostics.report.tables import (
    COLUMN_DESCRIPTIONS,
    as_tsv,
    quantities_object,
    read_tsv,
    run_as_json,
    table_rows,
)

# The columns as DESIGN section 6 lists them.
CONTRACT = (
    "subject session region quantity unit axis axis_value n_voxels n_valid volume_ml mean sd "
    "standard_error median p05 p95 min max flags warnings"
)
COLUMNS = CONTRACT.split(" ")


def row(**changes):
    base = {
        "subject": "sub-1", "session": "", "region": "liver", "quantity": "id_per_g", "unit": "%/g",
        "axis": "", "axis_value": math.nan, "n_voxels": 10, "n_valid": 9, "volume_ml": 0.1, "mean": 0.1 + 0.2,
        "sd": 1.0, "standard_error": 1 / 3, "median": 2.0, "p05": 1e-7, "p95": 1e300, "min": -0.0,
        "max": math.inf, "flags": "INVALID_INPUT:1", "warnings": "",
    }  # fmt: skip
    return {**base, **changes}


def frame(*rows):
    return pd.DataFrame(list(rows))


def test_columns_are_those_of_the_contract_in_that_order():
    first = as_tsv(table_rows(frame(row())[list(reversed(COLUMNS))])).splitlines()[0]
    assert first.split("\t") == COLUMNS
    assert tuple(COLUMNS) == STATISTICS_COLUMNS == tuple(COLUMN_DESCRIPTIONS)


def test_cells_are_written_in_their_shortest_exact_form():
    cells = dict(zip(COLUMNS, as_tsv(table_rows(frame(row()))).splitlines()[1].split("\t"), strict=True))
    assert cells["mean"] == "0.30000000000000004"
    assert cells["standard_error"] == "0.3333333333333333"
    assert cells["n_voxels"] == "10"
    assert cells["p95"] == "1e+300"
    # Missing numbers and texts, and infinities, which no image statistic should be, read as missing.
    assert (cells["axis_value"], cells["session"], cells["max"]) == ("n/a", "n/a", "n/a")


def test_integers_lists_and_missing_values_of_any_kind_are_accepted():
    rows = table_rows(
        frame(row(n_voxels=np.int64(3), n_valid=pd.NA, mean=np.float32(0.5), flags=["A", "B"], warnings=None))
    )
    assert (rows[0]["n_voxels"], rows[0]["n_valid"], rows[0]["mean"]) == (3, None, 0.5)
    assert (rows[0]["flags"], rows[0]["warnings"]) == ("A;B", "")


finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters='"'), min_size=1
)


@given(
    st.lists(
        st.tuples(names.map(str.strip).filter(bool), finite | st.just(math.nan), st.integers(0, 2**53)),
        min_size=1,
    )
)
def test_what_is_written_reads_back_equal(tmp_path_factory, values):
    table = frame(*(row(region=name, mean=mean, n_voxels=n, max=1.0) for name, mean, n in values))
    path = tmp_path_factory.mktemp("t") / "quantities.tsv"
    path.write_text(as_tsv(table_rows(table)), encoding="utf-8")
    back = read_tsv(path)
    assert back["n_voxels"].tolist() == table["n_voxels"].tolist()
    np.testing.assert_array_equal(back["mean"].to_numpy(float), table["mean"].to_numpy(float))
    regions = [name if name != "n/a" else "" for name in table["region"]]
    assert back["region"].tolist() == regions


@pytest.mark.parametrize(
    "name", ["tab\there", "line\nbreak", "carriage\r\nreturn", '"quoted"', "\u2028", "a\x00b"]
)
def test_hostile_names_keep_one_line_and_one_cell(name):
    text = as_tsv(table_rows(frame(row(region=name), row(region="after"))))
    lines = text.split("\n")
    assert len(lines) == 4
    assert all(line.count("\t") == len(COLUMNS) - 1 for line in lines[:3])
    # Any reader with default quoting splits it alike.
    parsed = list(csv.reader(text.splitlines(), delimiter="\t"))
    assert [len(cells) for cells in parsed] == [len(COLUMNS)] * 3
    assert parsed[2][2] == "after"


def test_pandas_reads_the_table_with_its_defaults(tmp_path, mouse_run):
    path = tmp_path / "quantities.tsv"
    path.write_text(as_tsv(table_rows(mouse_run.table)), encoding="utf-8")
    table = pd.read_csv(path, sep="\t")
    np.testing.assert_array_equal(table["mean"], mouse_run.table["mean"])
    assert table["axis_value"].isna().all()


def test_other_tables_are_refused(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(CorruptInput, match="lacks columns"):
        read_tsv(path)
    path.write_text(as_tsv(table_rows(frame(row()))).replace("0.30000000000000004", "much"))
    with pytest.raises(CorruptInput, match="mean does not hold a number"):
        read_tsv(path)


def test_the_json_twin_has_columns_rows_and_details(mouse_run):
    content = quantities_object(mouse_run.table)
    assert [column["name"] for column in content["columns"]] == COLUMNS
    assert all(set(column) == {"name", "unit", "description"} for column in content["columns"])
    assert [r["region"] for r in content["rows"]] == list(mouse_run.table["region"])
    assert len(content["details"]) == len(content["rows"])
    for r, detail in zip(content["rows"], content["details"], strict=True):
        assert detail["region"] == r["region"]
        # The parts of a standard error add in quadrature.
        total = math.hypot(detail["standard_error_sampling"], detail["standard_error_calibration"])
        assert r["standard_error"] == pytest.approx(total, rel=1e-12)
        assert detail["n_effective"] <= r["n_valid"]
    json.dumps(content, allow_nan=False)


def test_columns_of_a_method_stand_in_json_only(mouse_run):
    table = mouse_run.table.assign(peak=1.25, decay_corrected=True, note=np.nan)
    for rows in (
        quantities_object(table)["rows"],
        run_as_json(dataclasses.replace(mouse_run, table=table))["quantities"],
    ):
        assert list(rows[0]) == [*COLUMNS, "peak", "decay_corrected", "note"]
        assert (rows[0]["peak"], rows[0]["decay_corrected"], rows[0]["note"]) == (1.25, True, None)
    assert as_tsv(table_rows(table)).splitlines()[0].split("\t") == COLUMNS


def test_the_json_object_is_strict_and_complete(mouse_run, tmp_path):
    table = mouse_run.table.copy()
    table.loc[0, "mean"] = np.nan
    table["n_voxels"] = table["n_voxels"].astype(np.int32)
    run = dataclasses.replace(mouse_run, table=table)
    found = run_as_json(run, output="out", files=[Path("out/quantities.tsv"), Path("out/figures/a.svg")])
    assert list(found) == ["command", "version", "output", "quantities", "decisions", "warnings", "files"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["quantities"][0]["mean"] is None
    assert found["quantities"][1]["mean"] == table["mean"][1]
    assert found["quantities"][1]["axis_value"] is None
    assert found["warnings"] == [
        {
            "code": "clocks-differ",
            "message": "the clocks of the series differ by 2.4 % in activity; the rule is stated below",
            "where": "SeriesTime (0008,0031)",
        }
    ]
    assert found["decisions"]["clock"]["candidates_s"]["series_time"] == 1830.0
    assert found["files"] == ["quantities.tsv", "figures/a.svg"]
    assert found["output"] == "out"


def test_the_json_object_hides_paths_unless_asked(mouse_run):
    run = dataclasses.replace(
        mouse_run, warnings=(Caution("c", "see /data/doe_jane/x.dcm", "/data/doe_jane/x.dcm"),)
    )
    assert "doe_jane" not in json.dumps(run_as_json(run))
    assert "doe_jane" in json.dumps(run_as_json(run, keep_identifiers=True))
