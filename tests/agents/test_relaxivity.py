"""Relaxivity: what is recorded, a refusal that lists it, or an interpolation that was asked for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.agents import get
from imgtheranostics.errors import MissingMetadata, UnsupportedInput


def codes(found):
    return [caution.code for caution in found.warnings]


def test_aguix_at_three_tesla_is_the_review_number():
    """8.9 L/mmol/s per Gd at 3 T [review]."""
    found = get("AGuIX").relaxivity("r1", 3.0)
    assert (found.value, found.per, found.unit, found.provenance) == (8.9, "Gd", "L/mmol/s", "review")
    assert codes(found) == []
    assert found.uncertainty is None
    assert found.relative_uncertainty is None


def test_a_value_from_memory_is_flagged():
    found = get("AGuIX").relaxivity("r1", 7.0)
    assert (found.value, found.provenance, found.source) == (6, "unconfirmed", "memory")
    assert codes(found) == ["unconfirmed-value"]


@pytest.mark.parametrize("field_t", [0.5, 1.5, 4.7, 11.7, 100.0])
def test_a_field_that_is_not_recorded_is_refused_with_those_that_are(field_t):
    with pytest.raises(MissingMetadata) as caught:
        get("AGuIX").relaxivity("r1", field_t)
    for recorded in ("3 T", "1.4 T", "7 T", "9.4 T", "8.9 (review)"):
        assert recorded in (caught.value.found or "")
    assert f"{field_t:g} T" in caught.value.what


def test_the_half_tesla_chelate_number_is_no_use_at_three_tesla():
    """E9 of the specification: 3 to 4 L/mmol/s holds at 0.5 T only."""
    chelate = get("gd-chelate")
    found = chelate.relaxivity("r1", 0.5)
    assert (found.value, found.uncertainty) == (3.5, 0.5)
    assert codes(found) == ["relaxivity-is-a-range"]
    with pytest.raises(MissingMetadata):
        chelate.relaxivity("r1", 3.0, interpolate=True)


@pytest.mark.parametrize(
    ("field_t", "same"), [(2.89, True), (2.8936, True), (3.1, True), (2.8, False), (3.2, False)]
)
def test_a_nominal_field_covers_the_true_field_of_its_magnets(field_t, same):
    if same:
        assert get("aguix").relaxivity("r1", field_t).field_t == 3.0
    else:
        with pytest.raises(MissingMetadata):
            get("aguix").relaxivity("r1", field_t)


def test_media_are_never_chosen_silently():
    """Relaxometry of ferumoxytol at 37 Cel [published]: plasma 19.0 ± 1.7, saline 19.9 ± 2.3 at 1.5 T."""
    iron = get("ferumoxytol")
    with pytest.raises(MissingMetadata, match="several values") as caught:
        iron.relaxivity("r1", 1.5)
    assert "plasma" in str(caught.value)
    assert "saline" in str(caught.value)
    plasma, saline = (iron.relaxivity("r1", 1.5, medium=medium) for medium in ("plasma", "saline"))
    assert (plasma.value, plasma.uncertainty) == (19.0, 1.7)
    assert (saline.value, saline.uncertainty) == (19.9, 2.3)
    assert plasma.relative_uncertainty == pytest.approx(1.7 / 19.0)


def test_ferumoxytol_in_blood_is_not_linear_and_has_no_relaxivity():
    with pytest.raises(MissingMetadata):
        get("ferumoxytol").relaxivity("r1", 1.5, medium="blood")


@pytest.mark.parametrize(
    ("kind", "field_t", "medium", "value"),
    [
        ("r2", 1.5, "plasma", 64.9),
        ("r2star", 1.5, "plasma", 64.4),
        ("r2*", 1.5, "saline", 60.4),
        ("R2*", 3.0, "plasma", 55.7),
        ("r2", 3.0, "saline", 62.3),
        ("r1", 3.0, "plasma", 9.5),
        ("r1", 3.0, "saline", 10.0),
    ],
)
def test_ferumoxytol_is_the_published_table(kind, field_t, medium, value):
    assert get("ferumoxytol").relaxivity(kind, field_t, medium=medium).value == value


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gadobutrol", (4.78, 4.97, 3.83, 3.47)),
        ("gadoteridol", (3.80, 3.28, 3.21, 2.61)),
        ("gadoterate", (3.32, 3.00, 2.84, 2.72)),
    ],
)
def test_macrocyclic_chelates_are_the_published_table(name, values):
    """PMID 31124800: plasma at 1.5, 3 and 7 T, blood at 3 T."""
    agent = get(name)
    found = [agent.relaxivity("r1", field, medium="plasma").value for field in (1.5, 3.0, 7.0)]
    assert (*found, agent.relaxivity("r1", 3.0, medium="blood").value) == values


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gadopentetate", (3.8, 4.1, 3.7, 3.8)),
        ("gadobenate", (9.2, 6.3, 5.5, 5.2)),
        ("gadodiamide", (4.4, 4.3, 4.0, 3.9)),
        ("gadoxetate", (8.7, 8.1, 6.4, 6.4)),
    ],
)
def test_chelates_of_the_table_without_a_medium(name, values):
    """The relaxivity table of dcmri at 0.47, 1.5, 3 and 4.7 T; no medium needs to be said."""
    agent = get(name)
    assert tuple(agent.relaxivity("r1", field).value for field in (0.47, 1.5, 3.0, 4.7)) == values
    assert get("gadopiclenol").relaxivity("r1", 3.0).value == 11.6


def test_per_molecule_and_per_ion_are_told_apart():
    """Bioconjug. Chem. 2010 21:610: 237 per molecule, 79 per Gd, three Gd per cage."""
    cage = get("gd3n-c80-peg")
    with pytest.raises(MissingMetadata, match="several values") as caught:
        cage.relaxivity("r1", 2.4)
    assert "per=" in str(caught.value)
    molecule, ion = (cage.relaxivity("r1", 2.4, per=per).value for per in ("molecule", "Gd"))
    assert (molecule, ion) == (237, 79)
    assert molecule / ion == cage.particle.payload[0].number()


def test_temperature_must_fit_and_be_stated():
    assert get("aguix").relaxivity("r1", 3.0, temperature_c=37.4).temperature_c == 37
    with pytest.raises(MissingMetadata, match="25 Cel"):
        get("aguix").relaxivity("r1", 3.0, temperature_c=25)
    with pytest.raises(MissingMetadata):
        get("gd3n-c80-peg").relaxivity("r1", 2.4, per="Gd", temperature_c=37)


def test_a_value_without_a_field_answers_no_field():
    with pytest.raises(MissingMetadata, match="field not stated"):
        get("spion-pvp").relaxivity("r2", 3.0)


def test_a_kind_that_is_not_recorded_is_refused():
    with pytest.raises(MissingMetadata, match="no r2 at all"):
        get("aguix").relaxivity("r2", 3.0)
    with pytest.raises(MissingMetadata, match="no r1 at all"):
        get("icg").relaxivity("r1", 3.0)


@pytest.mark.parametrize("kind", ["t1", "r3", ""])
def test_an_unknown_kind_is_refused(kind):
    with pytest.raises(UnsupportedInput, match="not known"):
        get("aguix").relaxivity(kind, 3.0)


@pytest.mark.parametrize("field_t", [0.0, -3.0, math.nan, math.inf])
def test_a_field_that_is_no_field_is_refused(field_t):
    with pytest.raises(UnsupportedInput, match="not a positive number"):
        get("aguix").relaxivity("r1", field_t)


def test_interpolation_is_a_straight_line_and_says_so():
    """Gadobutrol in plasma between 3 T (4.97 ± 0.59) and 7 T (3.83 ± 0.24), half way: by hand."""
    found = get("gadobutrol").relaxivity("r1", 5.0, medium="plasma", interpolate=True)
    assert found.value == pytest.approx((4.97 + 3.83) / 2)
    assert found.uncertainty == pytest.approx(math.hypot(0.59, 0.24) / 2)
    assert found.interpolated_between == (3.0, 7.0)
    assert found.provenance == "computed"
    assert found.source == "PMID 31124800"
    assert codes(found) == ["interpolated-relaxivity"]
    assert found.field_t == 5.0


def test_interpolation_with_a_value_from_memory_stays_unconfirmed():
    found = get("aguix").relaxivity("r1", 1.5, interpolate=True)
    assert found.value == pytest.approx(11 + (8.9 - 11) * (1.5 - 1.4) / (3.0 - 1.4))
    assert found.provenance == "unconfirmed"
    assert codes(found) == ["unconfirmed-value", "interpolated-relaxivity"]


def test_interpolation_returns_a_recorded_field_as_it_is():
    plain, asked = (get("aguix").relaxivity("r1", 3.0, interpolate=flag) for flag in (False, True))
    assert plain == asked


def test_the_refusal_offers_interpolation_only_where_it_would_work():
    def step(field_t, **options):
        with pytest.raises(MissingMetadata) as caught:
            get("aguix").relaxivity("r1", field_t, **options)
        return caught.value.next_step

    assert "interpolate=True" in step(5.0)
    assert "interpolate=True" not in step(11.7)
    assert "interpolate=True" not in step(11.7, interpolate=True)


def test_interpolation_never_leaves_the_table_nor_mixes_media():
    for field_t in (0.3, 9.0):
        with pytest.raises(MissingMetadata):
            get("gadobutrol").relaxivity("r1", field_t, medium="plasma", interpolate=True)
    with pytest.raises(MissingMetadata, match="several conditions"):
        get("ferumoxytol").relaxivity("r1", 2.0, interpolate=True)
    with pytest.raises(MissingMetadata):
        get("gadobutrol").relaxivity("r1", 4.0, medium="blood", interpolate=True)


@given(st.floats(1.6, 2.8))
def test_an_interpolated_value_lies_between_its_neighbours(field_t):
    found = get("ferumoxytol").relaxivity("r1", field_t, medium="plasma", interpolate=True)
    assert 9.5 <= found.value <= 19.0
    assert found.uncertainty is not None
    assert found.uncertainty <= 1.7


def test_two_truths_of_the_literature_are_kept_by_name():
    """E1 of the specification: 12 from biodistribution, 10.4 ± 0.8 from PET."""
    upsn = get("upsn")
    with pytest.raises(MissingMetadata, match="several values"):
        upsn.uptake("tumour")
    biodist, pet = (upsn.uptake("tumour", name=name) for name in ("biodist", "pet"))
    assert (biodist.number(), biodist.provenance) == (12, "published")
    assert (pet.number(), pet.uncertainty, pet.provenance) == (10.4, 0.8, "review")
    assert biodist.unit == pet.unit == "%/g"


def test_uptake_is_told_apart_by_label():
    liposome = get("in111-liposome")
    found = [liposome.uptake("liver", label=label) for label in ("bilayer", "lumen")]
    assert [entry.number() for entry in found] == [22, 14]
    assert all(entry.warnings for entry in found)
    with pytest.raises(MissingMetadata, match="several values"):
        liposome.uptake("liver")
    with pytest.raises(MissingMetadata, match="no value"):
        liposome.uptake("brain")


def test_half_life_of_aguix_in_plasma():
    """1.3 h [review]; left after 0.5, 1, 2, 4 and 12 h: .766 .587 .344 .119 .0017 [computed]."""
    entry = get("aguix").half_life("plasma", species="human")
    left = [2 ** (-hours * 3600 / entry.seconds) for hours in (0.5, 1, 2, 4, 12)]
    assert left == pytest.approx([0.766, 0.587, 0.344, 0.119, 0.0017], abs=6e-4)
    with pytest.raises(MissingMetadata, match="no half-life"):
        get("aguix").half_life("plasma", species="mouse")
    with pytest.raises(MissingMetadata, match="no single value"):
        _ = get("mm-302").half_life("plasma").seconds
