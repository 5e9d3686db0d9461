"""Bad rows: refused by a typed error that says what and where, or left out and counted."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import imgtheranostics as it
from imgtheranostics.study import statistics as tool

RNG = np.random.default_rng(0)
N = 16
X, Y, TIME = RNG.normal(size=N), RNG.normal(size=N), RNG.exponential(6, N)
EVENT, LABEL = (np.arange(N) % 3 > 0).astype(float), np.repeat(np.arange(8), 2)
GROUP = np.tile(["a", "b"], N // 2)

CALLS = {
    "spearman": (tool.spearman, {"x": X, "y": Y}),
    "kendall": (tool.kendall, {"x": X, "y": Y}),
    "partial_spearman": (lambda x, y, z: tool.partial_spearman(x, y, {"z": z}), {"x": X, "y": Y, "z": TIME}),
    "lesion_association": (tool.lesion_association, {"uptake": X, "response": Y, "patient": LABEL}),
    "ecological_association": (tool.ecological_association, {"x": X, "y": Y, "group": GROUP}),
    "cutpoint_search": (tool.cutpoint_search, {"uptake": X, "time": TIME, "event": EVENT}),
    "kaplan_meier": (tool.kaplan_meier, {"time": TIME, "event": EVENT}),
    "log_rank": (tool.log_rank, {"time": TIME, "event": EVENT, "group": GROUP}),
    "landmark": (tool.landmark, {"time": TIME, "event": EVENT, "measured_at": 0 * TIME}),
    "cox_regression": (
        lambda **columns: tool.cox_regression(**columns, n_resamples=0),
        {"uptake": np.exp(X), "time": TIME, "event": EVENT},
    ),
    "roc_area": (tool.roc_area, {"score": X, "outcome": EVENT}),
    "bland_altman": (tool.bland_altman, {"x": X, "y": Y}),
    "concordance_correlation": (tool.concordance_correlation, {"x": X, "y": Y}),
    "deming_regression": (tool.deming_regression, {"x": X, "y": X + 0.3 * Y}),
    "equivalence_test": (lambda x, y: tool.equivalence_test(x, y, margin=1, paired=True), {"x": X, "y": Y}),
    "repeatability": (tool.repeatability, {"values": X, "subject": LABEL}),
    "intraclass_correlation": (tool.intraclass_correlation, {"values": X, "subject": LABEL}),
    "two_way": (
        lambda value, one, two: tool.two_way(value, {"one": one, "two": two}),
        {"value": X, "one": GROUP, "two": np.repeat(["c", "d"], N // 2)},
    ),
    "mixed_model": (
        lambda value, z, subject: tool.mixed_model(value, {"z": z}, subject),
        {"value": X, "z": Y, "subject": LABEL},
    ),
}


@pytest.fixture(params=CALLS)
def call(request):
    if request.param in ("cox_regression", "mixed_model"):
        pytest.importorskip("statsmodels")
    return CALLS[request.param]


def test_clean_rows_are_all_used(call):
    function, columns = call
    found = function(**columns)
    assert getattr(found, "left_out", getattr(found, "incomplete", None)) == 0
    assert all(warning.code != "rows-left-out" for warning in found.warnings)


def test_a_row_with_something_missing_is_left_out_and_counted(call):
    function, columns = call
    for name, values in columns.items():
        if values.dtype.kind != "f":
            continue
        holed = values.copy()
        holed[4] = np.nan
        found = function(**{**columns, name: holed})
        assert getattr(found, "left_out", getattr(found, "incomplete", None)) == 1
        messages = [warning.message for warning in found.warnings if warning.code == "rows-left-out"]
        assert messages == [f"1 row was left out: 1 without {'z' if name == 'z' else name}"]


def test_missing_labels_are_left_out_too(call):
    function, columns = call
    for name, values in columns.items():
        if values.dtype.kind == "f":
            continue
        holed = values.astype(object)
        holed[4] = None
        found = function(**{**columns, name: holed})
        assert found.left_out == 1


def test_columns_of_different_length_are_refused(call):
    function, columns = call
    name, values = next(iter(columns.items()))
    with pytest.raises(ValueError, match="differ in length"):
        function(**{**columns, name: values[:-1]})


def test_infinite_values_are_refused(call):
    function, columns = call
    name, values = next(iter(columns.items()))
    endless = values.copy()
    endless[2] = np.inf
    with pytest.raises(it.ImplausibleValue, match="infinite"):
        function(**{**columns, name: endless})


def test_two_rows_are_too_few(call):
    function, columns = call
    with pytest.raises((it.IllConditioned, ValueError)) as refusal:
        function(**{name: values[:1] for name, values in columns.items()})
    assert isinstance(refusal.value, it.IllConditioned)
    assert "too few" in refusal.value.what
    assert refusal.value.next_step


def test_words_and_tables_are_no_columns(call):
    function, columns = call
    name = next(iter(columns))
    with pytest.raises(ValueError, match="must be"):
        function(**{**columns, name: ["high"] * N})
    with pytest.raises(ValueError, match="must be one"):
        function(**{**columns, name: np.zeros((N, 2))})


@pytest.mark.parametrize(
    "name", ["cutpoint_search", "kaplan_meier", "log_rank", "landmark", "cox_regression"]
)
def test_survival_without_event_with_odd_events_or_negative_times_is_refused(name):
    if name == "cox_regression":
        pytest.importorskip("statsmodels")
    function, columns = CALLS[name]
    with pytest.raises(it.IllConditioned, match="all 16 subjects are censored"):
        function(**{**columns, "event": np.zeros(N)})
    with pytest.raises(ValueError, match="1 \\(or True\\)"):
        function(**{**columns, "event": EVENT + 1})
    with pytest.raises(it.ImplausibleValue, match="time is negative"):
        function(**{**columns, "time": columns["time"] - 100})


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("spearman", "x"),
        ("kendall", "y"),
        ("partial_spearman", "z"),
        ("lesion_association", "uptake"),
        ("cutpoint_search", "uptake"),
        ("cox_regression", "uptake"),
        ("roc_area", "score"),
        ("concordance_correlation", "x"),
        ("deming_regression", "y"),
        ("ecological_association", "x"),
        ("mixed_model", "z"),
    ],
)
def test_constant_columns_are_refused_by_name(name, column):
    if name in ("cox_regression", "mixed_model"):
        pytest.importorskip("statsmodels")
    function, columns = CALLS[name]
    with pytest.raises(it.IllConditioned, match="same in all") as refusal:
        function(**{**columns, column: np.full(N, 2.5)})
    assert column in refusal.value.where


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("spearman", "x_unit"),
        ("spearman", "y_unit"),
        ("kendall", "x_unit"),
        ("cutpoint_search", "unit"),
        ("cutpoint_search", "time_unit"),
        ("kaplan_meier", "time_unit"),
        ("log_rank", "time_unit"),
        ("landmark", "time_unit"),
        ("lesion_association", "unit"),
        ("roc_area", "unit"),
        ("bland_altman", "unit"),
        ("concordance_correlation", "unit"),
        ("deming_regression", "x_unit"),
        ("repeatability", "unit"),
        ("intraclass_correlation", "unit"),
    ],
)
def test_units_mixed_between_subjects_are_refused(name, option):
    function, columns = CALLS[name]
    with pytest.raises(it.UnitMismatch, match="mixes units") as refusal:
        function(**columns, **{option: ["%/g"] * (N - 1) + ["%/kg"]})
    assert refusal.value.found == "%/g, %/kg"
    same = ["Bq/mL", "BQML", None] + ["Bq/mL"] * (N - 3)
    assert function(**columns, **{option: same}) is not None


def test_tables_of_pandas_are_taken_with_their_missing_values():
    table = pd.DataFrame({"x": X, "y": Y}, index=np.arange(N)[::-1])
    table["y"] = table["y"].astype("Float64")
    table.loc[3, "y"] = pd.NA
    found = tool.spearman(table["x"], table["y"])
    assert (found.n, found.left_out) == (N - 1, 1)


def test_masked_values_are_missing_values():
    hidden = np.ma.masked_array(X, mask=np.arange(N) == 5)
    assert tool.spearman(hidden, Y).left_out == 1


def test_every_finding_says_how_it_was_had(call):
    function, columns = call
    found = function(**columns)
    if isinstance(found, tool.Finding):
        assert found.method
        assert found.assumed
        assert found.n > 0
        assert str(found).startswith(found.measure)
        record = found.as_record()
        assert (record["estimate"], record["n"]) == (found.estimate, found.n)
        assert (record["low"], record["high"]) == pytest.approx(tuple(found.interval), nan_ok=True)


def test_importing_statistics_imports_neither_scipy_nor_pandas():
    code = (
        "import sys, imgtheranostics.study.statistics;"
        "print([one for one in ('scipy', 'pandas', 'statsmodels', 'numba') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
