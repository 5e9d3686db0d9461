"""Body measures from participants.tsv, by the input rules for tables."""

from __future__ import annotations

import json

import pytest

from imgtheranostics.errors import CorruptInput, ImplausibleValue
from imgtheranostics.io.participants import participant


def dataset(tmp_path, table, units=None):
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    content = table if isinstance(table, bytes) else table.encode()
    (tmp_path / "participants.tsv").write_bytes(content)
    if units:
        (tmp_path / "participants.json").write_text(json.dumps(units))
    (tmp_path / "sub-01" / "pet").mkdir(parents=True)
    return tmp_path / "sub-01" / "pet" / "sub-01_pet.nii.gz"


KG = {"weight": {"Units": "kg"}, "height": {"Units": "cm"}}


def test_weight_height_and_sex(tmp_path):
    image = dataset(
        tmp_path, "participant_id\tsex\tweight\theight\nsub-01\tF\t62.5\t170\nsub-02\tM\t80\t180\n", KG
    )
    subject, cautions = participant(image)
    assert (subject.weight_kg, subject.height_m, subject.sex) == (62.5, pytest.approx(1.70), "F")
    assert cautions == ()


def test_grams_of_a_mouse_by_the_unit_of_the_column(tmp_path):
    image = dataset(
        tmp_path, "participant_id\tspecies\tweight\nsub-01\tmus musculus\t21\n", {"weight": {"Units": "g"}}
    )
    subject, _ = participant(image)
    assert subject.weight_kg == pytest.approx(0.021)
    assert subject.species == "mus musculus"


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    image = dataset(tmp_path, b"\xef\xbb\xbfparticipant_id\tweight\r\nsub-01\t70\r\n", KG)
    assert participant(image)[0].weight_kg == 70.0


@pytest.mark.parametrize("value", ["n/a", "", "N/A"])
def test_absent_values_are_absent(tmp_path, value):
    image = dataset(tmp_path, f"participant_id\tweight\tage\nsub-01\t{value}\t5\n", KG)
    assert participant(image)[0].weight_kg is None


def test_missing_unit_is_told(tmp_path):
    image = dataset(tmp_path, "participant_id\tweight\theight\nsub-01\t70\t175\n")
    subject, cautions = participant(image)
    assert (subject.weight_kg, subject.height_m) == (70.0, 1.75)
    assert [caution.code for caution in cautions] == ["unit-assumed", "height-in-cm"]


@pytest.mark.parametrize(
    "table",
    [
        "participant_id,weight\nsub-01,70\n",
        "participant_id;weight\nsub-01;70\n",
        "participant_id\tweight\nsub-01\t70\nsub-01\t80\n",
        "participant_id\tweight\nsub-01\t70\t3\n",
        "participant_id\tweight\tweight\nsub-01\t70\t80\n",
        b"participant_id\tweight\nsub-01\t\xff\n",
    ],
    ids=["comma", "semicolon", "twice", "ragged", "column twice", "not utf-8"],
)
def test_ambiguous_tables_are_refused(tmp_path, table):
    with pytest.raises(CorruptInput, match=r"participants\.tsv"):
        participant(dataset(tmp_path, table))


@pytest.mark.parametrize("value", ["heavy", "-3", "0", "nan", "inf"])
def test_impossible_weight_is_refused_without_quoting_it(tmp_path, value):
    with pytest.raises(ImplausibleValue, match="weight") as caught:
        participant(dataset(tmp_path, f"participant_id\tweight\nsub-01\t{value}\n", KG))
    assert "heavy" not in str(caught.value)


def test_unknown_unit_is_refused(tmp_path):
    with pytest.raises(ImplausibleValue, match="unit"):
        participant(dataset(tmp_path, "participant_id\tweight\nsub-01\t70\n", {"weight": {"Units": "stone"}}))


def test_nobody_of_that_label_or_no_dataset(tmp_path):
    image = dataset(tmp_path, "participant_id\tweight\nsub-02\t70\n", KG)
    assert participant(image) == (None, ())
    assert participant(tmp_path / "nowhere.nii") == (None, ())
