"""Phantom files are refused by file and line, and everything that they say has a source."""

from __future__ import annotations

import copy
import re

import pytest
import yaml

from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    ImplausibleValue,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.phantom import available, load_spec
from imgtheranostics.phantom.reading import library, parse_spec


def written(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def shipped(slug="mm302-decaytrap"):
    return (library() / f"{slug}.yaml").read_text(encoding="utf-8")


def refused(tmp_path, text, kind):
    path = written(tmp_path, text)
    with pytest.raises(kind) as caught:
        load_spec(path)
    match = re.search(rf"{re.escape(str(path))}:(\d+)", str(caught.value))
    return (int(match[1]) if match else None), caught.value


def line_of(text, needle):
    return next(n for n, line in enumerate(text.splitlines(), 1) if needle in line)


EDITS = {
    "unknown key": ("seed: 64", "seed: 64\ncolour: blue", CorruptInput, "colour"),
    "unknown key deep inside": (
        "diameter_mm: 60",
        "diameter_mm: 60, weight_kg: 1",
        CorruptInput,
        "weight_kg",
    ),
    "negative truth": ("value: 3.50, unit", "value: -3.50, unit", ImplausibleValue, "-3.5"),
    "wrong unit": ("value: 3.50, unit: g/mL", 'value: 3.50, unit: "%/g"', UnitMismatch, "suv_bw"),
    "unknown unit": ("value: 3.50, unit: g/mL", "value: 3.50, unit: stones", UnitMismatch, "stones"),
    "duplicate key": ("seed: 64", "seed: 64\nseed: 65", CorruptInput, "twice"),
    "region outside the grid": ("diameter_mm: 60", "diameter_mm: 400", GeometryMismatch, "outside the grid"),
    "axis of length 0": (
        "[start, admin, none, philips-counts, rewritten-series-time, midnight-time-zone, wrong-half-life]",
        "[]",
        CorruptInput,
        "axis.values",
    ),
    "variant that is not described": ("[start, admin, none", "[begin, admin, none", CorruptInput, "begin"),
    "zero size": ("diameter_mm: 60", "diameter_mm: 0", ImplausibleValue, "diameter_mm"),
    "not a number": ("value: 3.50, unit", "value: .nan, unit", CorruptInput, "nan"),
    "expected region that is not there": ("roi: sphere\n    at", "roi: cube\n    at", CorruptInput, "cube"),
    "level that is not offered": ("level: 0\n", "level: 3\n", CorruptInput, "does not offer"),
    "template organ without template": (
        "{kind: sphere, centre_mm: [0, 0, 0], diameter_mm: 60}",
        "template",
        CorruptInput,
        "no such organ",
    ),
    "truth without provenance": (
        "  regions.background.truth",
        "  regions.sphere.shape",
        CorruptInput,
        "background",
    ),
    "provenance of nothing": ("  physics: {status", "  magic: {status", CorruptInput, "magic"),
    "computed without source": (
        "source: chosen}\n  physics",
        "source: ''}\n  physics",
        CorruptInput,
        "source",
    ),
    "injection with an offset": (
        "2026-01-05 08:00:00",
        "2026-01-05 08:00:00+02:00",
        CorruptInput,
        "without an offset",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_bad_file_is_refused_with_its_line(tmp_path, name):
    old, new, kind, said = EDITS[name]
    original = shipped()
    assert old in original
    text = original.replace(old, new, 1)
    line, error = refused(tmp_path, text, kind)
    assert said in str(error)
    if name not in ("truth without provenance",):
        assert line is not None
        start = line_of(original, old.splitlines()[0])
        # the entry itself, or the region or list that holds it
        assert -6 <= line - start <= 2


def test_duplicate_key_names_both_lines(tmp_path):
    text = "slug: a\ntitle: b\nslug: c\n"
    line, error = refused(tmp_path, text, CorruptInput)
    assert line == 3
    assert "first on line 1" in str(error)


def test_missing_agent_is_refused(tmp_path):
    text = re.sub(r"agent: .*\n", "", shipped())
    _, error = refused(tmp_path, text, CorruptInput)
    assert "agent" in str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("slug: [1, 2", "not valid YAML"),
        ("a: &x 1\nb: *x\n", "alias"),
        ("slug: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("- just\n- a list\n", "not valid"),
        ("plain words", "not valid"),
    ],
)
def test_text_that_is_no_specification_is_refused(tmp_path, text, said):
    _, error = refused(tmp_path, text, CorruptInput)
    assert said in str(error)


def test_deep_nesting_is_refused(tmp_path):
    line, error = refused(tmp_path, "slug:\n  " + "[" * 5000 + "]" * 5000, CorruptInput)
    assert "nested too deeply" in str(error)
    assert line == 2


def test_large_and_binary_files_are_refused(tmp_path):
    path = written(tmp_path, "# " + "x" * (1 << 20) + "\n")
    with pytest.raises(CorruptInput, match="1 MiB"):
        load_spec(path)
    path.write_bytes(b"\xff\xfe\x00slug")
    with pytest.raises(CorruptInput, match="UTF-8"):
        load_spec(path)


def test_absent_file_is_refused(tmp_path):
    with pytest.raises(NothingUsable, match="does not exist"):
        load_spec(tmp_path / "none.yaml")


def test_python_specification_is_checked_like_a_file(small):
    spec = parse_spec(small)
    assert spec.region("sphere").uptake.value == 12.0
    broken = copy.deepcopy(small)
    broken["regions"][1]["truth"]["unit"] = "g/mL"
    with pytest.raises(UnitMismatch, match=r"regions\.1\.truth"):
        parse_spec(broken)


def test_frame_before_the_injection_is_refused(small):
    small["axis"]["values"] = [0.05]
    with pytest.raises(ImplausibleValue, match="before the injection"):
        parse_spec(small)


def test_times_must_ascend_and_differ(small):
    for values in ([3, 2], [2, 2]):
        small["axis"]["values"] = values
        with pytest.raises(CorruptInput, match="not valid"):
            parse_spec(small)


def test_region_names_must_differ(small):
    small["regions"][1]["name"] = "box"
    with pytest.raises(CorruptInput, match="repeats"):
        parse_spec(small)


@pytest.mark.parametrize(
    "change",
    [
        {"tol_rel": 0.1, "tol_abs": 0.1},
        {"tol_rel": None},
        {"method": "ratio"},
        {"method": "refusal"},
        {"value": None},
        {"method": "recovery"},
    ],
)
def test_incomplete_expectations_are_refused(small, change):
    whole = {"quantity": "id_per_g", "roi": "sphere", "value": 12.0, "tol_rel": 0.001, "level": 0}
    small["expect"] = [{name: value for name, value in {**whole, **change}.items() if value is not None}]
    with pytest.raises(CorruptInput, match="not valid"):
        parse_spec(small)


def test_floats_without_a_point_in_the_exponent_are_numbers():
    """PyYAML alone reads 7.4e6 as text."""
    assert load_spec("upsn-86y-mouse-pet").administration.activity_bq == 7.4e6


@pytest.mark.parametrize("slug", available())
def test_shipped_file_has_the_keys_of_the_catalogue(slug):
    content = yaml.safe_load(shipped(slug))
    assert content["slug"] == slug
    wanted = {"slug", "review_claim", "modality", "grid", "regions", "agent", "axis", "physics", "seed"}
    assert wanted | {"outputs", "expect", "provenance"} <= set(content)
    load_spec(slug)


@pytest.mark.parametrize("slug", available())
def test_unconfirmed_values_say_that_they_are_from_memory(slug):
    for item in load_spec(slug).provenance.values():
        assert item.status != "unconfirmed" or item.source == "memory"


def test_unconfirmed_needs_the_word_memory(small):
    small["provenance"]["regions.box.truth"] = {"status": "unconfirmed", "source": "a colleague"}
    with pytest.raises(CorruptInput, match="memory"):
        parse_spec(small)
