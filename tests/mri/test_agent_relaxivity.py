"""Which relaxivity is used: of the record at the scan's field, or given; never another's by accident."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imgtheranostics.agents import get
from imgtheranostics.errors import (
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.mri.agent_relaxivity import (
    as_relaxivity,
    check_relaxivity,
    given_relaxivity,
    relaxivity_cautions,
    relaxivity_decision,
    relaxivity_for,
    shared_count,
)
from imgtheranostics.mri.concentration_choice import AgentChoice
from imgtheranostics.volume import Volume


def test_record_gives_the_value_of_its_field_and_medium():
    """mri.md 4.1: ferumoxytol 1.5 T, plasma, r2* 64.4 +- 2.5."""
    used = relaxivity_for("ferumoxytol", "r2star", field_t=1.5, medium="plasma")
    assert (used.value, used.uncertainty, used.per) == (64.4, 2.5, "Fe")


def test_field_is_needed():
    with pytest.raises(MissingMetadata, match="field") as refusal:
        relaxivity_for("aguix", "r1", field_t=None)
    assert "0018,0087" in str(refusal.value)
    assert "field_t" in str(refusal.value)


def test_medium_is_needed_where_the_record_holds_several():
    with pytest.raises(MissingMetadata, match="several") as refusal:
        relaxivity_for("ferumoxytol", "r1", field_t=3.0)
    assert "saline" in str(refusal.value)
    assert "plasma" in str(refusal.value)


def test_ferumoxytol_in_blood_is_refused():
    """mri.md 4.1: of second order in blood, so there is no relaxivity to give."""
    with pytest.raises(MissingMetadata, match="blood"):
        relaxivity_for("ferumoxytol", "r2star", field_t=3.0, medium="blood")


def test_another_field_is_refused_and_interpolated_only_when_asked():
    with pytest.raises(MissingMetadata, match=r"4\.7 T"):
        relaxivity_for("aguix", "r1", field_t=4.7)
    between = relaxivity_for("aguix", "r1", field_t=5.0, interpolate=True)
    # a straight line between 8.9 at 3 T and 6 at 7 T
    assert between.value == pytest.approx(8.9 + (6 - 8.9) / 2)
    assert "interpolated-relaxivity" in {caution.code for caution in between.warnings}
    with pytest.raises(MissingMetadata):
        relaxivity_for("aguix", "r1", field_t=11.7, interpolate=True)


def test_counts_of_the_record_are_respected():
    """mri.md 4.1: 237 per molecule, 79 per Gd."""
    assert relaxivity_for("gd3n-c80-peg", "r1", field_t=2.4, per="molecule").value == 237
    assert relaxivity_for("gd3n-c80-peg", "r1", field_t=2.4, per="Gd").value == 79
    with pytest.raises(MissingMetadata, match="several"):
        relaxivity_for("gd3n-c80-peg", "r1", field_t=2.4)


def test_a_relaxivity_of_another_field_kind_or_count_is_refused():
    at_3_t = get("aguix").relaxivity("r1", 3.0)
    assert relaxivity_for(at_3_t, "r1", field_t=2.89) is at_3_t
    for kind, field, per, word in (
        ("r1", 7.0, None, "field"),
        ("r2", 3.0, None, "kind"),
        ("r1", 3.0, "Fe", "count"),
    ):
        with pytest.raises(UnitMismatch, match=word):
            relaxivity_for(at_3_t, kind, field_t=field, per=per)


def test_a_number_is_the_explicit_choice():
    used = relaxivity_for(4.5, "r1", field_t=3.0)
    assert (used.value, used.provenance, used.uncertainty) == (4.5, "given", None)
    assert relaxivity_for(4.5, "r1", field_t=None).value == 4.5
    check_relaxivity(given_relaxivity(4.5, "r1"), "r1", field_t=7.0)


@pytest.mark.parametrize("number", [np.float32(4.5), np.float64(4.5), np.int64(4)])
def test_a_number_of_any_type_is_taken(number):
    assert relaxivity_for(number, "r1", field_t=3.0).value == number
    assert as_relaxivity(number, "r1").value == number
    scan = Volume(np.ones((2, 2, 2)), np.eye(4), "t1", "s")
    assert AgentChoice(relaxivity=number, relaxivity_uncertainty=0.1).at(scan, "r1").value == number


@pytest.mark.parametrize("given", ["gadobutrol", get("gadobutrol"), None, np.ones(3)])
def test_what_is_neither_number_nor_relaxivity_says_where_to_find_one(given):
    with pytest.raises(ValueError, match="relaxivity_for"):
        as_relaxivity(given, "r1")


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1e6])
def test_a_number_that_is_no_relaxivity_is_refused(value):
    with pytest.raises(ImplausibleValue, match="relaxivity"):
        relaxivity_for(value, "r1", field_t=3.0)


@pytest.mark.parametrize("uncertainty", [-1.0, math.nan])
def test_an_uncertainty_that_is_none_is_refused(uncertainty):
    with pytest.raises(ImplausibleValue, match="uncertainty"):
        given_relaxivity(4.5, "r1", uncertainty=uncertainty)


def test_unknown_kind_or_agent_is_refused():
    with pytest.raises(UnsupportedInput, match="kind"):
        given_relaxivity(4.5, "r3")
    with pytest.raises(NothingUsable, match="no agent"):
        relaxivity_for("unobtainium", "r1", field_t=3.0)


def test_relaxivities_of_different_counts_or_fields_do_not_mix():
    with pytest.raises(UnitMismatch, match="counts"):
        shared_count({"r1": given_relaxivity(4, "r1", per="Gd"), "r2": given_relaxivity(4, "r2", per="Fe")})
    with pytest.raises(UnitMismatch, match="fields"):
        shared_count({"r1": given_relaxivity(4, "r1", field_t=3), "r2": given_relaxivity(4, "r2", field_t=7)})
    assert shared_count({"r1": given_relaxivity(4, "r1", per="Fe"), "r2": given_relaxivity(4, "r2")}) == "Fe"


def test_decision_states_what_is_and_what_is_not_said():
    decision = relaxivity_decision(get("aguix").relaxivity("r1", 3.0))
    assert decision["value"] == 8.9
    assert decision["medium"] == "not stated"
    assert decision["relative_uncertainty"] is None
    assert decision["provenance"] == "review"


def test_cautions_of_unknown_uncertainty_memory_and_apparent_iron():
    def codes(used):
        return {caution.code for caution in relaxivity_cautions({used.kind: used})}

    assert codes(get("aguix").relaxivity("r1", 3.0)) == {"relaxivity-uncertainty-unknown"}
    assert "unconfirmed-value" in codes(get("aguix").relaxivity("r1", 7.0))
    assert codes(get("ferumoxytol").relaxivity("r2star", 1.5, medium="plasma")) == {"apparent-concentration"}
    assert codes(get("ferumoxytol").relaxivity("r1", 1.5, medium="plasma")) == set()
