"""Groups of animals through validate: their means and scatter, and a scan whose calibration drifted."""

from __future__ import annotations

import pytest

from imgtheranostics.phantom.reading import library
from imgtheranostics.validation import FAIL, PASS, validate


@pytest.fixture
def mice(tmp_path):
    """The 111In mice on a coarse grid."""
    text = (library() / "in111-bilayer-vs-lumen.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("shape: [36, 30, 42], voxel_mm: [0.7, 0.7, 0.7]", "shape: [26, 22, 30], voxel_mm: [1.0, 1.0, 1.0]"),
        ("psf_fwhm_mm: 0.9", "psf_fwhm_mm: 1.2"),
        ("animals: 6", "animals: 3"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "mice.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def rows(table, method):
    found = table[table["method"] == method]
    assert len(found)
    return found


def test_groups_have_the_means_ratio_and_scatter_of_the_catalogue(mice):
    """systems.md P06: 22 and 14 %ID/g, ratio 1.57 within 2 %, animals scatter by 20 %."""
    table = validate(mice, 0)
    assert set(table["verdict"]) == {PASS}
    assert rows(table, "group_mean")["measured"].tolist() == pytest.approx([22, 14], rel=0.005)
    assert rows(table, "group_variation")["measured"].tolist() == pytest.approx([0.2, 0.2], rel=0.005)
    assert rows(table, "largest_drift")["measured"].abs().max() < 1e-4


def test_a_drifted_scan_is_seen_with_its_sign(mice):
    """A camera that counts 5 % too much on one day: the other animals and times do not show it."""
    up = rows(validate(mice, 2), "largest_drift").iloc[0]
    assert up["verdict"] == PASS
    assert up["measured"] == pytest.approx(0.05, abs=0.005)
    text = mice.read_text(encoding="utf-8")
    mice.write_text(text.replace("t0024.00h: 0.05", "t0024.00h: -0.08"), encoding="utf-8")
    down = rows(validate(mice, 2), "largest_drift").iloc[0]
    assert down["verdict"] == FAIL
    assert down["measured"] == pytest.approx(-0.08, abs=0.005)


def test_equal_groups_fail_the_ratio(mice):
    """A null twin: with 14 %ID/g in both groups nothing is 1.57."""
    text = mice.read_text(encoding="utf-8")
    mice.write_text(text.replace("bilayer: 22.0", "bilayer: 14.0"), encoding="utf-8")
    ratio = rows(validate(mice, 0), "group_ratio").query("region == 'liver'")
    assert set(ratio["verdict"]) == {FAIL}
    assert ratio["measured"].tolist() == pytest.approx([1.0] * len(ratio), rel=1e-3)
