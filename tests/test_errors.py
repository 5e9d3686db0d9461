"""Typed errors and cautions."""

from __future__ import annotations

import copy
import pickle

import pytest

from imgtheranostics import errors
from imgtheranostics.errors import Caution, CorruptInput, ImgTheranosticsError, NothingUsable, merge_cautions

EXIT_CODES = {
    "UnsupportedInput": 4,
    "NothingUsable": 3,
    "CorruptInput": 4,
    "MissingMetadata": 5,
    "GeometryMismatch": 6,
    "UnitMismatch": 6,
    "ImplausibleValue": 6,
    "IllConditioned": 6,
    "OutputError": 7,
}
"""DESIGN section 8."""


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_exit_codes_are_those_of_the_contract(name, code):
    kind = getattr(errors, name)
    assert issubclass(kind, ImgTheranosticsError)
    assert kind("what").exit_code == code


def test_every_class_of_the_module_is_in_the_contract():
    kinds = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type)
        and issubclass(kind, ImgTheranosticsError)
        and kind is not ImgTheranosticsError
    }
    assert kinds == set(EXIT_CODES)


def test_message_says_what_where_found_needed_and_next():
    error = CorruptInput("cut", where="a.nii", found="5 bytes", needed="10 bytes", next_step="copy it again")
    assert str(error) == "cut; where: a.nii; found: 5 bytes; needed: 10 bytes; next: copy it again"
    assert list(error.parts()) == ["what", "where", "found", "needed", "next"]
    assert str(CorruptInput("cut")) == "cut"
    assert CorruptInput("cut", where="").parts() == {"what": "cut"}


def test_message_follows_a_field_that_is_filled_in_later():
    error = CorruptInput("cut")
    error.where = "a.nii"
    assert "a.nii" in str(error)


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])  # noqa: S301
def test_error_reaches_another_process_whole(copied):
    error = NothingUsable("nothing", where="folder", found="2", needed="1", next_step="choose")
    again = copied(error)
    assert type(again) is NothingUsable
    assert again.parts() == error.parts()
    assert again.exit_code == 3


def test_nothing_usable_is_unsupported_input():
    with pytest.raises(errors.UnsupportedInput):
        raise NothingUsable("nothing")


def test_caution_reads_as_a_sentence():
    assert str(Caution("a-b", "Something differs.", "field")) == "Something differs. [a-b] (field)"
    assert str(Caution("a-b", "Something differs.")) == "Something differs. [a-b]"


def test_cautions_are_merged_in_first_seen_order_once():
    one, two, three = (Caution(code, "m") for code in ("one", "two", "three"))
    assert merge_cautions((two, one), (one, three), (two,)) == (two, one, three)
    assert merge_cautions() == ()
