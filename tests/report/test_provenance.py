"""provenance.json: complete, without a person, the same for the same run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from imgtheranostics._version import VERSION
from imgtheranostics.report.provenance import combined_hash, package_versions, provenance_object
from imgtheranostics.report.run import Input

INPUTS = (
    Input(Path("/data/doe_jane/b.dcm"), "bb" * 32, 20),
    Input(Path("/data/doe_jane/a.dcm"), "aa" * 32, 10),
)


def test_inputs_are_numbered_and_hashed_not_named(mouse_run):
    record = provenance_object(mouse_run, INPUTS, {})
    assert record["inputs"] == [
        {"index": 1, "sha256": "bb" * 32, "bytes": 20},
        {"index": 2, "sha256": "aa" * 32, "bytes": 10},
    ]
    assert "doe_jane" not in json.dumps(record)
    assert "identifiers" not in record


def test_the_combined_hash_does_not_depend_on_order_and_names():
    assert combined_hash(INPUTS) == combined_hash(INPUTS[::-1])
    assert combined_hash(INPUTS) == hashlib.sha256(f"{'aa' * 32}\n{'bb' * 32}".encode()).hexdigest()


def test_it_states_versions_decisions_parameters_history_and_outputs(mouse_run):
    run = dataclasses.replace(
        mouse_run, seed=7, parameters={"density_g_ml": np.float64(1.04), "regions": ("a",)}
    )
    record = provenance_object(run, INPUTS, {"quantities.tsv": b"abc", "id_per_g.nii.gz": "ff" * 32})
    assert record["version"] == VERSION
    assert record["versions"]["python"] == platform.python_version()
    for name in ("numpy", "numba", "pydicom"):
        assert record["versions"][name] == version(name)
    assert record["seed"] == 7
    assert record["parameters"] == {"density_g_ml": 1.04, "regions": ["a"]}
    assert record["decisions"]["clock"]["rule"] == "earliest_time"
    assert record["decisions"]["scaling"]["units"] == "BQML"
    assert [step["name"] for step in record["history"]["id_per_g"]] == ["load", "percent_id_per_gram"]
    assert record["outputs"] == {
        "id_per_g.nii.gz": "ff" * 32,
        "quantities.tsv": hashlib.sha256(b"abc").hexdigest(),
    }
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_dates_of_parameters_stand_only_under_kept_identifiers(mouse_run):
    run = dataclasses.replace(mouse_run, parameters={"at": datetime(2024, 3, 1, 10, 20, tzinfo=UTC)})
    record = provenance_object(run, INPUTS, {}, keep_identifiers=True)
    assert record["parameters"] == {"at": "[date withheld]"}
    kept = record.pop("identifiers")
    assert kept["parameters"] == {"at": "2024-03-01T10:20:00+00:00"}
    assert kept["inputs"] == ["/data/doe_jane/b.dcm", "/data/doe_jane/a.dcm"]
    assert "2024" not in json.dumps(record)


def test_sections_are_the_same_with_and_without_identifiers(mouse_run):
    without = provenance_object(mouse_run, INPUTS, {})
    kept = provenance_object(mouse_run, INPUTS, {}, keep_identifiers=True)
    del kept["identifiers"]
    assert {**kept, "identifiers_kept": False} == without


def test_time_and_host_leave_no_trace(mouse_run):
    slow = dataclasses.replace(mouse_run, elapsed=12.5)
    record = provenance_object(slow, INPUTS, {})
    assert record == provenance_object(mouse_run, INPUTS, {})
    if len(platform.node()) > 3:
        assert platform.node() not in json.dumps(record)


def test_packages_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(
        "imgtheranostics.report.provenance.PACKAGES", ("numpy", "no-such-package-of-this-name")
    )
    assert set(package_versions()) == {"python", "imgtheranostics", "numpy"}
