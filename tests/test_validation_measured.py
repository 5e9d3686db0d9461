"""Another tool's table: the same truth and verdicts, and every fault named by line and column."""

from __future__ import annotations

import math

import pytest

from imgtheranostics.errors import CorruptInput, ImgTheranosticsError, NothingUsable, UnitMismatch
from imgtheranostics.validation import FAIL, NOT_IMPLEMENTED, NOT_MEASURED, PASS, REFUSED
from imgtheranostics.validation.measured import compare_measured

HEADING = "slug\tquantity\tregion\taxis_value\tvalue"
VARIANTS = ("start", "admin", "none", "philips-counts", "rewritten-series-time", "midnight-time-zone")
MOUSE, TRAP = "upsn-86y-mouse-pet", "mm302-decaytrap"


@pytest.fixture
def table(tmp_path):
    """A file with a heading and lines of cells; returns its path."""

    def write(*lines, heading=HEADING):
        path = tmp_path / "tool.tsv"
        path.write_text("\n".join([heading, *lines]) + "\n", encoding="utf-8")
        return path

    return write


def trap(value="3.50", last="refused"):
    lines = [f"{TRAP}\tsuv_bw\tsphere\t{name}\t{value}" for name in VARIANTS]
    return [*lines, f"{TRAP}\tsuv_bw\tsphere\twrong-half-life\t{last}"]


def test_a_tool_that_is_right_passes_and_its_spread_is_computed_from_its_means(table):
    found = compare_measured(table(*trap()))
    assert found.passed
    assert found.source == "tool.tsv"
    by_method = found.table.set_index("method")["verdict"]
    assert set(by_method["mean"]) == {PASS}
    assert by_method["spread"] == PASS
    assert by_method["refusal"] == REFUSED
    assert found.unused == ()


def test_a_tool_that_forgets_the_decay_fails(table):
    """24 h at a half-life of 12.7 h: the value without decay correction is 3.7 times too small."""
    wrong = 3.50 * 2 ** (-24 / 12.7)
    lines = trap()
    lines[2] = f"{TRAP}\tsuv_bw\tsphere\tnone\t{wrong}"
    found = compare_measured(table(*lines))
    rows = found.table.set_index(["method", "axis_value"])
    assert rows.loc[("mean", "none"), "verdict"] == FAIL
    assert rows.loc[("mean", "none"), "error"] == pytest.approx(wrong - 3.5)
    assert rows.loc[("mean", "admin"), "verdict"] == PASS
    assert (rows.loc["spread", "verdict"] == FAIL).all()
    assert not found.passed


def test_a_number_where_a_refusal_is_due_fails_and_a_refusal_where_a_number_is_due_too(table):
    rows = compare_measured(table(*trap(last="3.5"))).table.set_index(["method", "axis_value"])
    assert rows.loc[("refusal", "wrong-half-life"), "verdict"] == FAIL
    lines = trap()
    lines[0] = lines[0].replace("3.50", "refused")
    rows = compare_measured(table(*lines)).table.set_index(["method", "axis_value"])
    assert rows.loc[("mean", "start"), "verdict"] == FAIL
    assert "line 2" in rows.loc[("mean", "start"), "note"]


def test_what_the_table_leaves_out_is_not_measured_and_no_failure(table):
    found = compare_measured(table(f"{TRAP}\tsuv_bw\tsphere\tstart\t3.5"))
    verdicts = found.table.set_index(["method", "axis_value"])["verdict"]
    assert verdicts["mean", "start"] == PASS
    assert list(verdicts).count(NOT_MEASURED) == len(verdicts) - 1
    assert found.passed
    assert math.isnan(found.table.iloc[1]["measured"])
    assert "no suv_bw of sphere at admin" in found.table.iloc[1]["note"]


def test_ratio_of_two_states_comes_from_the_means_of_a_whole_series(table):
    """Ktrans has one value per series, not one per image of it."""
    slug = "gadofullerene-130nm-pdt"
    found = compare_measured(
        table(f"{slug}\tktrans\ttumour\tpre-light\t0.1", f"{slug}\tktrans\ttumour\tpost-light\t0.0501")
    )
    assert set(found.table["verdict"]) == {PASS}
    ratio = found.table[found.table["method"] == "state_ratio"].iloc[0]
    assert ratio["measured"] == pytest.approx(0.501)


def test_ratios_come_from_means_or_are_given(table):
    """12 over 12/12.4 %ID/g is the published tumour-to-muscle ratio of 12.4."""
    lines = [
        f"{MOUSE}\tid_per_g\t{name}\t24.0\t{value}" for name, value in (("tumour", 12), ("muscle", 12 / 12.4))
    ]
    rows = compare_measured(table(*lines)).table.set_index(["method", "region"])
    assert rows.loc[("ratio", "tumour/muscle"), "measured"] == pytest.approx(12.4)
    assert rows.loc[("ratio", "tumour/muscle"), "verdict"] == PASS
    assert rows.loc[("ratio", "tumour/liver"), "verdict"] == NOT_MEASURED
    given = compare_measured(table(f"{MOUSE}\tid_per_g\ttumour/liver\t24\t1.5")).table
    assert given.set_index("region").loc["tumour/liver", "verdict"] == PASS


def test_what_is_no_mean_needs_its_method(table):
    heading = f"{HEADING}\tlevel\tmethod"
    lines = [
        f"{MOUSE}\tid_per_g\ttumour\t24\t9.8\t2\t",
        f"{MOUSE}\tid_per_g\ttumour\t24\t11.9\t2\tpartial_volume_corrected",
    ]
    found = compare_measured(table(*lines, heading=heading))
    rows = found.table.set_index(["method", "region"])
    assert set(found.table["level"]) == {2}
    assert rows.loc[("mean", "tumour"), "verdict"] == PASS
    assert rows.loc[("partial_volume_corrected", "tumour"), "measured"] == 11.9
    # 9.8 above muscle 0.968 over a contrast of 11.03; closed form 0.799 for 8 mm at 1.6 mm
    assert rows.loc[("recovery", "tumour"), "measured"] == pytest.approx(0.8005, abs=1e-3)
    assert len(found.recoveries) == 1
    without = compare_measured(table(lines[0], heading=heading)).table.set_index("method")
    assert without.loc["partial_volume_corrected", "verdict"] == NOT_MEASURED


def test_units_are_converted_and_the_wrong_kind_is_refused(table):
    heading = f"{HEADING}\tunit"
    lines = [f"{MOUSE}\tid_per_g\ttumour\t24\t12000\t%/kg", f"{MOUSE}\tid_per_g\tliver\t24\t8\t%ID/g"]
    rows = compare_measured(table(*lines, heading=heading)).table
    means = rows[(rows["method"] == "mean") & (rows["axis_value"] == "24")].set_index("region")
    assert means.loc["tumour", "measured"].iloc[0] == pytest.approx(12.0)
    assert means.loc["liver", "measured"].iloc[0] == 8.0
    with pytest.raises(UnitMismatch) as wrong:
        compare_measured(table(f"{MOUSE}\tid_per_g\ttumour\t24\t12\tBq/mL", heading=heading))
    assert wrong.value.where.endswith("line 2, column unit")
    assert "%/g" in wrong.value.needed


def test_lines_without_a_truth_are_listed(table):
    lines = [f"{MOUSE}\tid_per_g\ttumour\t24\t12", f"{MOUSE}\tid_per_g\tlungs\t24\t3"]
    found = compare_measured(table(*lines))
    assert found.unused == (f"line 3: {MOUSE}, id_per_g of lungs at 24",)


def test_level_is_that_of_the_table_or_of_the_argument(table):
    line = f"{MOUSE}\tid_per_g\ttumour\t24\t9.8"
    assert set(compare_measured(table(line), level=2).table["level"]) == {2}
    mixed = table(f"{line}\t2", f"{MOUSE}\tid_per_g\ttumour\t24\t12\t0", heading=f"{HEADING}\tlevel")
    verdicts = compare_measured(mixed, level=1).table
    assert set(verdicts["level"]) == {0, 2}
    assert not (verdicts["verdict"] == FAIL).any()


def test_phantoms_that_are_asked_for_but_not_in_the_table_are_listed(table):
    found = compare_measured(table(*trap()), [TRAP, MOUSE])
    mouse = found.table[found.table["slug"] == MOUSE]
    assert len(mouse)
    assert set(mouse["verdict"]) <= {NOT_MEASURED, NOT_IMPLEMENTED}


@pytest.mark.parametrize(
    ("line", "column", "expected"),
    [
        ("nope\tsuv_bw\tsphere\tstart\t3.5", "slug", TRAP),
        ("../secret.yaml\tsuv_bw\tsphere\tstart\t3.5", "slug", TRAP),
        (f"{TRAP}\tsuv_bw\tkidney\tstart\t3.5", "region", "sphere"),
        (f"{TRAP}\tsuv\tsphere\tstart\t3.5", "quantity", "suv_bw"),
        (f"{TRAP}\tt1\tsphere\tstart\t3.5", "quantity", "suv_bw"),
        (f"{TRAP}\tsuv_bw\tsphere\tstrat\t3.5", "axis_value", "start"),
        (f"{TRAP}\tsuv_bw\tsphere\tstart\t3,5", "value", "decimal point"),
        (f"{TRAP}\tsuv_bw\tsphere\tstart\tnan", "value", "a number"),
        (f"{TRAP}\tsuv_bw\tsphere\tstart\t", "value", "a number"),
        (f"{TRAP}\tsuv_bw\tsphere\tstart\t1_0", "value", "a number"),
    ],
)
def test_faults_are_named_by_line_and_column_with_what_was_expected(table, line, column, expected):
    with pytest.raises(CorruptInput) as refused:
        compare_measured(table(trap()[0], line))
    assert refused.value.where.endswith(f"tool.tsv, line 3, column {column}")
    assert expected in refused.value.needed


@pytest.mark.parametrize(
    ("extra", "cell", "column"),
    [
        ("level", "9", "level"),
        ("level", "", "level"),
        ("method", "magic", "method"),
        ("unit", "furlong", "unit"),
    ],
)
def test_faults_of_optional_columns_are_named_too(table, extra, cell, column):
    path = table(f"{trap()[0]}\t{cell}", heading=f"{HEADING}\t{extra}")
    with pytest.raises(ImgTheranosticsError) as refused:
        compare_measured(path)
    assert refused.value.where.endswith(f"line 2, column {column}")
    assert refused.value.needed


def test_headings_that_are_not_as_needed_are_refused(table):
    for heading in ("slug\tquantity\tregion\tvalue", f"{HEADING}\tlevl", f"{HEADING}\tvalue", "a,b,c"):
        with pytest.raises(CorruptInput, match="heading") as refused:
            compare_measured(table(*trap(), heading=heading))
        assert "axis_value" in refused.value.needed


def test_a_line_that_stands_twice_is_refused(table):
    with pytest.raises(CorruptInput, match="twice") as refused:
        compare_measured(table(trap()[0], trap()[1], trap()[0]))
    assert "line 2" in refused.value.found


def test_a_line_with_too_few_cells_is_refused(table):
    with pytest.raises(CorruptInput, match="number of columns"):
        compare_measured(table(f"{TRAP}\tsuv_bw"))


def test_missing_empty_and_binary_files_are_refused(table, tmp_path):
    with pytest.raises(NothingUsable, match="does not exist"):
        compare_measured(tmp_path / "none.tsv")
    with pytest.raises(NothingUsable, match="no line"):
        compare_measured(table())
    path = tmp_path / "binary.tsv"
    path.write_bytes(b"\xff\xfe\x00slug")
    with pytest.raises(CorruptInput, match="UTF-8"):
        compare_measured(path)


def test_a_slug_that_was_not_asked_for_is_refused(table):
    with pytest.raises(CorruptInput, match="not among those") as refused:
        compare_measured(table(*trap()), [MOUSE])
    assert refused.value.needed == f"one of {MOUSE}"
