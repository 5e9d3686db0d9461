"""What an archive holds of a patient, however it pages, filters or misunderstands."""

from __future__ import annotations

import pytest

from imgtheranostics.errors import CorruptInput, NothingUsable
from imgtheranostics.io.dicomweb.searching import find_series
from imgtheranostics.io.pseudonym import pseudonym


@pytest.fixture
def filled(archive, write_series, tmp_path):
    """Two studies of one animal and one of another, whose ID differs in case only."""
    archive.add(write_series(tmp_path / "a", series="1.2.3.1", modality="CT"))
    archive.add(write_series(tmp_path / "a", series="1.2.3.2", modality="PT"))
    archive.add(write_series(tmp_path / "a", study="1.2.4", series="1.2.4.1", modality="PT"))
    archive.add(write_series(tmp_path / "b", patient="ANIMAL 7", study="1.2.5", series="1.2.5.1"))
    return archive


def uids(found):
    return [one.series_uid for one in found]


@pytest.mark.parametrize("fault", ["", "pages of one", "knows no pages", "knows no keys"])
def test_a_patient_has_the_series_of_this_very_id(filled, fault):
    filled.faults.add(fault)
    assert uids(find_series(filled.url, patient="animal 7")) == ["1.2.3.1", "1.2.3.2", "1.2.4.1"]


@pytest.mark.parametrize("fault", ["", "pages of one", "knows no pages", "knows no keys"])
def test_study_series_and_modality_narrow_it(filled, fault):
    filled.faults.add(fault)
    url = filled.url
    assert uids(find_series(url, patient="animal 7", study="1.2.4")) == ["1.2.4.1"]
    assert uids(find_series(url, patient="animal 7", modality="pt")) == ["1.2.3.2", "1.2.4.1"]
    assert uids(find_series(url, study="1.2.3")) == ["1.2.3.1", "1.2.3.2"]
    assert uids(find_series(url, study="1.2.3", series=["1.2.3.2"])) == ["1.2.3.2"]
    assert uids(find_series(url, study="1.2.3", series=["1.2.3.2", "1.2.3.1"])) == ["1.2.3.1", "1.2.3.2"]
    assert uids(find_series(url, series=["1.2.5.1", "1.2.3.2"])) == ["1.2.3.2", "1.2.5.1"]


def test_the_patient_of_a_series_is_a_pseudonym(filled):
    (one,) = find_series(filled.url, series=["1.2.5.1"])
    assert one.subject == pseudonym("ANIMAL 7")
    assert "ANIMAL" not in repr(one)


@pytest.mark.parametrize(
    "asked",
    [
        {"patient": "animal 8"},
        {"patient": "animal 7", "study": "1.2.5"},
        {"patient": "animal 7", "modality": "MR"},
        {"study": "1.2.9"},
        {"series": ["1.2.3.1", "1.2.3.9"]},
        {"study": "1.2.4", "series": ["1.2.3.1"]},
    ],
)
@pytest.mark.parametrize("fault", ["", "knows no keys"])
def test_what_is_not_there_is_refused_without_the_patients_id(filled, asked, fault):
    filled.faults.add(fault)
    with pytest.raises(NothingUsable) as caught:
        find_series(filled.url, **asked)
    assert caught.value.exit_code == 3
    assert "animal" not in str(caught.value).lower()


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"patient": ""},
        {"modality": "PT"},
        {"patient": "*"},
        {"patient": "animal ?"},
        {"study": "../1.2.3"},
        {"series": ["1.2.3/metadata"]},
        {"series": ["1." * 40 + "1"]},
    ],
)
def test_what_would_ask_for_more_than_is_meant_is_no_question(filled, asked):
    with pytest.raises(ValueError, match=r"named|wildcards"):
        find_series(filled.url, **asked)
    assert filled.asked == []


@pytest.mark.parametrize("fault", ["lists no UID", "no list"])
def test_an_answer_without_uids_is_refused(filled, fault):
    filled.faults.add(fault)
    with pytest.raises(CorruptInput):
        find_series(filled.url, study="1.2.3")
