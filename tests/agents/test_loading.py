"""Records are found by any of their names, and a wrong file is refused by file and line."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import imgtheranostics as it
from imgtheranostics.agents import available, get, load_file
from imgtheranostics.agents.listing import as_plain
from imgtheranostics.agents.loading import library, parse_agent
from imgtheranostics.errors import (
    CorruptInput,
    ImgTheranosticsError,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.yaml_lines import parse


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("aguix", "aguix"),
        ("AGuIX", "aguix"),
        ("Feraheme", "ferumoxytol"),
        ("gd@c82-ala", "gd-c82-ala"),
        ("GD C82 ALA", "gd-c82-ala"),
        ("v7-tros", "v7-ruby"),
        ("mm302-64cu", "mm-302"),
        ("64Cu-MM-302", "mm-302"),
        ("upsn-86y", "upsn"),
        ("UPSN_90Y", "upsn"),
        ("HfO2", "nbtxr3"),
    ],
)
def test_a_record_is_found_by_any_name_in_any_case(name, expected):
    assert get(name).id == expected
    assert it.agents.get(name) is get(name)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(NothingUsable) as caught:
        get("ferumoxitol")
    assert "near: ferumoxytol" in str(caught.value)
    assert "aguix" in str(caught.value)


def test_a_name_is_never_a_path_into_the_package():
    for name in ("../agents/aguix", "aguix.yaml.bak", "", "---"):
        with pytest.raises(NothingUsable):
            get(name) if name.strip("./-") != "agents/aguix" else get("nothing/aguix.yaml")


def test_a_users_own_file_is_read_and_checked_alike(written):
    path = written()
    agent = load_file(path)
    assert agent.relaxivity("r1", 3).value == 10
    assert agent.labels[0].half_life_s == pytest.approx(12.700 * 3600, rel=1e-3)
    assert agent.half_life("blood").seconds == 5400
    assert get(path).id == get(str(path)).id == "my-particle"


def test_a_record_from_python_is_checked_like_a_file():
    content = {
        "id": "a",
        "name": "A",
        "kind": "other",
        "summary": "s",
        "modalities": ["CT"],
        "signal_of": "drug",
    }
    assert parse_agent(content).labels == ()
    with pytest.raises(CorruptInput, match="agent record: "):
        parse_agent({**content, "colour": 1}, where="agent record: mine")


EDITS = {
    "unknown key": ("kind: iron oxide", "kind: iron oxide\ncolour: red", CorruptInput, "colour", 1),
    "unknown key deep inside": ("value: 9, unc", "valu: 9, unc", CorruptInput, "valu", 0),
    "published without source": (', source: "doi:10.1000/1"', "", CorruptInput, "DOI, PMID or title", 0),
    "published with an empty source": ('"doi:10.1000/1"', '" "', CorruptInput, "DOI, PMID or title", 0),
    "published from memory": ('"doi:10.1000/1"', "memory", CorruptInput, "DOI, PMID or title", 0),
    "computed without source": ("    source: atomic weights\n", "", CorruptInput, "calculated from", -4),
    "unconfirmed without memory": (
        "{value: -1.5, provenance: unconfirmed, source: memory}",
        "{value: -1.5, provenance: unconfirmed, source: a friend}",
        CorruptInput,
        "source: memory",
        0,
    ),
    "review from memory": (
        "value: 10, provenance: review",
        "value: 10, provenance: review, source: memory",
        CorruptInput,
        "not from the review",
        0,
    ),
    "no provenance": ("value: 10, provenance: review", "value: 10", CorruptInput, "provenance", 0),
    "unknown provenance": (
        "value: 10, provenance: review",
        "value: 10, provenance: rumour",
        CorruptInput,
        "rumour",
        0,
    ),
    "no number": ("value: 10, provenance", "provenance", CorruptInput, "exactly one of value", 0),
    "two numbers": ("value: 10, prov", "value: 10, at_most: 11, prov", CorruptInput, "exactly one", 0),
    "number as text": ("value: 10, prov", "value: '10', prov", CorruptInput, "valid number", 0),
    "yes for a number": ("value: 10, prov", "value: true, prov", CorruptInput, "valid number", 0),
    "infinite": ("value: 10, prov", "value: .inf, prov", CorruptInput, "inf", 0),
    "negative relaxivity": ("value: 10, prov", "value: -10, prov", ImplausibleValue, "not negative", 0),
    "negative uncertainty": ("uncertainty: 1", "uncertainty: -1", ImplausibleValue, "-1", 0),
    "uncertainty of a range": (
        "value: 9, unc",
        "between: [8, 9], unc",
        CorruptInput,
        "belongs to a value",
        0,
    ),
    "range upside down": ("between: [100, 200]", "between: [200, 100]", CorruptInput, "lower number", 0),
    "field not stated": ("field_t: 3.0, ", "", CorruptInput, "field_t", 0),
    "medium not stated": ("medium: plasma, ", "", CorruptInput, "medium", 0),
    "temperature not stated": ("temperature_c: 37, ", "", CorruptInput, "temperature_c", 0),
    "field of zero": ("field_t: 3.0", "field_t: 0", ImplausibleValue, "greater than 0", 0),
    "unknown medium": ("medium: plasma", "medium: beer", CorruptInput, "beer", 0),
    "unit of another quantity": ('unit: "%/g"', "unit: MBq", CorruptInput, "%/g", 0),
    "observation in a wrong unit": ("value: 100, unit: 1/s", "value: 100, unit: ms", UnitMismatch, "1/s", 0),
    "unknown quantity": ("quantity: delta_r2star", "quantity: sparkle", CorruptInput, "table of units", 0),
    "ratio of one": (
        "quantity: delta_r2star, region: liver, value: 100, unit: 1/s",
        "quantity: ratio, region: liver, value: 2, unit: '1'",
        CorruptInput,
        "belong together",
        0,
    ),
    "unknown nuclide": ("nuclide: Cu-64", "nuclide: Ga-69", CorruptInput, "does not hold it", 0),
    "nuclide in another spelling": ("nuclide: Cu-64", "nuclide: 64Cu", CorruptInput, "Cu-64", 0),
    "no nuclide at all": ("nuclide: Cu-64", "nuclide: copper", CorruptInput, "such as Cu-64", 0),
    "fractions that do not add up": ("O: 0.2764", "O: 0.3764", CorruptInput, "add up to 1", -2),
    "fractions of other elements": ("Fe: 0.7236, O", "Gd: 0.7236, O", CorruptInput, "different elements", -2),
    "no modality": ("modalities: [MRI, PET]", "modalities: []", CorruptInput, "modalities", 0),
    "duplicate key": ("signal_of: carrier", "signal_of: carrier\nsignal_of: drug", CorruptInput, "twice", 1),
    "id that is no slug": ("id: my-particle", "id: My Particle", CorruptInput, "My Particle", 0),
    "the same conditions twice": (
        "plasma, value: 10, provenance: review}",
        "plasma, value: 10, provenance: review}\n"
        "  - {kind: r1, per: Fe, field_t: 3.0, temperature_c: 37, medium: plasma, at_most: 9,\n"
        "     provenance: review}",
        CorruptInput,
        "twice for the same conditions",
        1,
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_wrong_record_is_refused_with_file_and_line(record, written, name):
    old, new, kind, said, offset = EDITS[name]
    assert record.count(old) == 1
    path = written(record.replace(old, new))
    with pytest.raises(kind) as caught:
        load_file(path)
    assert said in str(caught.value)
    place = re.fullmatch(rf"{re.escape(str(path))}:(\d+)", caught.value.where or "")
    assert place is not None
    edited = record[: record.index(old)].count("\n") + 1
    assert int(place[1]) == edited + offset


def test_an_entry_in_block_form_is_placed_at_its_first_line(written, record):
    text = record.replace(
        "{nuclide: Cu-64, chelator: NOTA, provenance: review}", "nuclide: Cu-64\n    chelator: 3"
    )
    with pytest.raises(CorruptInput) as caught:
        load_file(written(text))
    assert caught.value.where is not None
    assert caught.value.where.endswith((":11", ":12"))


JUNK = (
    "",
    "null",
    "[]",
    "{}",
    "-1",
    "1e400",
    "9" * 400,
    ".nan",
    "true",
    "'x'",
    "[1, 2, 3]",
    "{a: b}",
    "2026-01-01",
)
JUNK += ("!!binary aGk=", "!!set {a}", "? [a]", "&a", "*a", "\x1b", '"\\e[2J"', "0x10", "<<: {a: 1}", "1: 2")


@given(st.data())
def test_a_damaged_record_is_a_record_or_a_typed_refusal(data):
    """Words of shipped records replaced by what people and machines write by mistake."""
    name = data.draw(st.sampled_from(("upsn", "iopamidol", "v7-ruby", "spion-cluster", "icg-ha-mno2")))
    text = (library() / f"{name}.yaml").read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 3))):
        words = [match.span() for match in re.finditer(r"[^\s,{}\[\]:]+|[,{}\[\]:]", text)]
        first, last = data.draw(st.sampled_from(words))
        text = text[:first] + data.draw(st.sampled_from(JUNK)) + text[last:]
    with contextlib.suppress(ImgTheranosticsError):
        document = parse(text, where="damaged.yaml", subject="agent file")
        agent = parse_agent(document.content, where=document.where, lines=document.lines)
        json.dumps(as_plain(agent), allow_nan=False)


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b\n", "a: &x 1\nb: *x\n"])
def test_text_that_is_no_record_is_refused(written, text):
    with pytest.raises(CorruptInput, match=r"agent (file|record)"):
        load_file(written(text))


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(NothingUsable, match="agent file does not exist"):
        get(tmp_path / "none.yaml")


def test_a_range_gives_no_number_unless_one_is_chosen(written):
    exchange = load_file(written()).cest_pools[0].exchange[0]
    assert exchange.bounds == (100, 200)
    with pytest.raises(MissingMetadata, match="no single value") as caught:
        exchange.number()
    assert "my-particle: cest_pools.0.exchange.0" in str(caught.value)


def test_a_value_from_memory_says_so_and_where(written):
    agent = load_file(written())
    (caution,) = agent.cest_pools[0].offset_ppm.warnings
    assert caution.code == "unconfirmed-value"
    assert caution.where == "my-particle: cest_pools.0.offset_ppm"
    assert agent.relaxivities[0].warnings == ()
    assert "2 of 9 values" in agent.warnings[0].message


def test_a_record_cannot_be_changed(written):
    agent = load_file(written())
    with pytest.raises(ValueError, match="frozen"):
        agent.name = "other"
    with pytest.raises(ValueError, match="frozen"):
        agent.relaxivities[0].value = 1.0


def test_the_package_imports_no_numerics_and_finds_by_file_name_without_reading_the_rest():
    code = (
        "import sys, imgtheranostics as it; it.agents.get('aguix');"
        "print(sorted({'numpy', 'numba', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_of_the_package_are_public_and_nothing_else():
    assert set(dir(it.agents)) == {"Agent", "Relaxivity", "available", "get", "load_file"}
    assert available() == tuple(sorted(available()))
    with pytest.raises(AttributeError, match="nothing"):
        _ = it.agents.nothing
