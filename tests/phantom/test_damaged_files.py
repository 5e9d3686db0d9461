"""Phantom files with anything anywhere in them are read or refused by type, never with another error."""

from __future__ import annotations

import copy
import datetime
import random

import pytest

from imgtheranostics.errors import CorruptInput, ImgTheranosticsError, UnsupportedInput
from imgtheranostics.phantom import available, make
from imgtheranostics.phantom.reading import parse_spec, path_of
from imgtheranostics.yaml_lines import read

ODD = (
    None, -1, 0, 1e300, float("inf"), float("nan"), 10**30, 1e-300, 1.5, True, "", "text", "*", "[",
    "template", "mg/kg", [], {}, [1, 2], ["a", "a"], [[1]], {"a": 1}, {1: 2}, {"start": 0, "stop": 1, "n": 5},
    {"start": None, "stop": 1, "n": 5}, datetime.date(2026, 1, 1),
)  # fmt: skip


def places(content, path=()):
    yield path
    if isinstance(content, dict):
        for key in content:
            yield from places(content[key], (*path, key))
    elif isinstance(content, list):
        for n, item in enumerate(content):
            yield from places(item, (*path, n))


def damaged(content, chooser):
    """The content with one or two entries removed or replaced."""
    content = copy.deepcopy(content)
    for _ in range(chooser.choice((1, 1, 2))):
        path = chooser.choice([place for place in places(content) if place])
        holder = content
        for key in path[:-1]:
            holder = holder[key]
        if chooser.random() < 0.25:
            del holder[path[-1]]
        else:
            holder[path[-1]] = copy.deepcopy(chooser.choice(ODD))
    return content


@pytest.mark.parametrize("seed", range(4))
def test_damaged_specification_is_read_or_refused_by_type(seed):
    chooser = random.Random(seed)
    documents = [read(path_of(slug), subject="phantom file").content for slug in available()]
    refused: list[ImgTheranosticsError] = []
    for _ in range(120):
        try:
            parse_spec(damaged(chooser.choice(documents), chooser))
        except ImgTheranosticsError as error:
            refused.append(error)
    assert all(error.where for error in refused)
    assert 60 < len(refused) < 120


def test_grid_that_does_not_fit_into_memory_is_refused_before_it_is_made(small, monkeypatch):
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", "0.0001")
    with pytest.raises(UnsupportedInput, match="more memory"):
        make(small)


def test_shape_beyond_any_scanner_is_refused(small):
    small["regions"][1]["shape"]["diameter_mm"] = 1e300
    with pytest.raises(CorruptInput, match="diameter_mm"):
        parse_spec(small)
