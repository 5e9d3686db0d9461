"""Fixed sentences: association, never causation; the futility of MM-302 beside its claim."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.study import wording


@pytest.mark.parametrize("name", ["mm-302", "coh-mm302", "64Cu-MM_302", "MM 302"])
def test_futility_is_mentioned_wherever_the_claim_is(name):
    notes = wording.notes("cohort", name)
    assert wording.MM302_FUTILITY in notes
    assert "NCT02213744" in wording.MM302_FUTILITY
    assert "futility" in wording.MM302_FUTILITY
    assert wording.MM302_FUTILITY not in wording.notes("coh-nanorad")


def test_notes_follow_the_design():
    assert wording.notes("x", control_arm=True) == (wording.ASSOCIATION,)
    assert wording.LESIONS in wording.notes("x", several_lesions=True)
    assert wording.NO_CONTROL_ARM in wording.notes("x")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Uptake predicts outcome", "predicts"),
        ("a predictive marker", "predictive"),
        ("radiosensitising effect", "radiosensitising"),
        ("it causes remission", "causes"),
    ],
)
def test_words_beyond_association_are_found(text, word):
    assert any(word in found for found in wording.claims_beyond_association(text))


def test_no_sentence_of_ours_claims_more_than_an_association():
    texts = [value for name, value in vars(wording).items() if name.isupper() and isinstance(value, str)]
    assert len(texts) >= 8
    for text in [*texts, *wording.MEASURED.values()]:
        assert wording.claims_beyond_association(text) == ()


def test_a_finding_is_printed_with_its_interval_and_what_was_left_out(rng):
    x = rng.normal(size=20)
    x[0] = np.nan
    text = wording.sentence(it.study.spearman(x, rng.normal(size=20)))
    assert "95 % interval" in text
    assert "p = " in text
    assert "n = 19" in text
    assert text.endswith("1 row left out.")
    assert wording.claims_beyond_association(text) == ()
