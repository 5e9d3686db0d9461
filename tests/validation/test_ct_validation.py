"""The CT phantoms measured as a user would, and each method where it must fail or refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

import imgtheranostics as it
from imgtheranostics.errors import IllConditioned
from imgtheranostics.phantom import make
from imgtheranostics.validation import ct_maps
from imgtheranostics.validation.methods import measure
from imgtheranostics.validation.session import Session

PHANTOMS = Path(it.__file__).parents[1] / "phantoms"


def shipped(slug):
    return yaml.safe_load((PHANTOMS / f"{slug}.yaml").read_text(encoding="utf-8"))


def validated(spec, folder, level=0):
    """The table without the row that compares file formats."""
    path = folder / f"{spec['slug']}.yaml"
    path.write_text(yaml.safe_dump({**spec, "outputs": ["dicom"]}, sort_keys=False), encoding="utf-8")
    return it.validate(path, level)


def row(method, value, tolerance, level, **more):
    kind = "tol_abs" if method == "retention" else "tol_rel"
    quantity = "retained_fraction" if method == "retention" else "concentration"
    return {
        "quantity": quantity, "roi": "tumour", "method": method, "value": value, kind: tolerance,
        "level": level, **more,
    }  # fmt: skip


@pytest.fixture
def hafnium():
    """The shipped phantom's tumour, fat, beam, pools and motion in a smaller body."""
    spec = shipped("nbtxr3-torso-ct")
    spec.pop("template")
    spec["grid"] = {"shape": [66, 62, 54], "voxel_mm": [2.0, 2.0, 2.0]}
    spec["regions"] = [r for r in spec["regions"] if r["name"] in ("body", "fat", "bed", "tumour")]
    spec["provenance"] = {"regions.*.truth": {"status": "computed", "source": "chosen"}}
    for region in spec["regions"]:
        if region["name"] == "body":
            region["shape"] = {
                "kind": "cylinder", "centre_mm": [0, 0, 0], "semi_axes_mm": [62, 56], "length_mm": 100,
            }  # fmt: skip
        else:
            region["shape"]["centre_mm"] = [0, 0, 0]
    return spec


def at(fill, state="no-swelling"):
    return {"when": {"fill": fill, "kvp": 120, "state": state}}


def test_change_mass_and_retention_without_noise(hafnium, tmp_path):
    """142 and 284 HU at 120 kVp, 1.00 of the mass swollen or not, all of it retained: most shipped rows."""
    others = ({"fill": 33}, {"kvp": 80}, {"kvp": 100})
    hafnium["expect"] = [
        item for item in hafnium["expect"] if not any(one.items() <= item["when"].items() for one in others)
    ]
    table = validated(hafnium, tmp_path)
    assert set(table["verdict"]) == {"pass"}
    changes = table[table["method"] == "change"]["measured"].tolist()
    assert changes == pytest.approx([142, 284], rel=0.01)
    assert table["method"].value_counts()["mass_recovery"] == 7


@pytest.mark.parametrize("fill", [10, 42])
def test_mass_survives_pools_noise_hardening_and_resolution(hafnium, tmp_path, fill):
    """5 % of the catalogue; dense pools lose more of it to hardening."""
    hafnium["expect"] = [
        row("mass_recovery", 1.0, 0.05, 2, at=0, **at(fill, state)) for state in ("no-swelling", "swelling")
    ]
    table = validated(hafnium, tmp_path, 2)
    assert set(table["verdict"]) == {"pass"}
    low, high = (0.97, 1.0) if fill == 10 else (0.95, 0.985)
    assert table["measured"].between(low, high).all()


def test_retention_holds_under_deformation_and_finds_what_was_lost(hafnium, tmp_path):
    """A fifth lost at day 12: 80 +/- 3 %; whoever expects all of it is told that it is not there."""
    truth = next(t for t in hafnium["regions"][-1]["truth"] if t["quantity"] == "retained_fraction")
    truth["values"]["12"] = 80
    hafnium["axis"]["values"] = [0, 12]
    truth["values"].pop("5")
    hafnium["expect"] = [row("retention", 80, 3, 2, **at(20))]
    table = validated(hafnium, tmp_path, 2)
    assert table["verdict"].tolist() == ["pass"]
    hafnium["expect"] = [row("retention", 100, 3, [0, 1], **at(20))]
    table = validated(hafnium, tmp_path, 1)
    assert table["verdict"].tolist() == ["fail"]
    assert table["measured"].tolist() == pytest.approx([80], abs=0.5)


def test_fat_that_a_swelling_pushes_aside_is_taken_for_metal(hafnium, tmp_path):
    """140 HU more where fat was: 5.28 mg/mL over the injected volume, a tenth of 53.3 mg/mL."""
    hafnium["regions"] = [r for r in hafnium["regions"] if r["name"] != "bed"]
    hafnium["expect"] = [row("mass_recovery", 1.0, 0.005, 0, at=0, **at(20, "swelling"))]
    table = validated(hafnium, tmp_path)
    assert table["verdict"].tolist() == ["fail"]
    excess = 140 / (26.6 - 1 / 9.7) / 53.3
    assert table["measured"].tolist() == pytest.approx([1 + excess], abs=2e-3)


def test_a_slope_of_another_scanner_is_found_out(hafnium, tmp_path, monkeypatch):
    right = ct_maps.shown_slope_hu
    monkeypatch.setattr(ct_maps, "shown_slope_hu", lambda *given: 1.1 * right(*given))
    hafnium["expect"] = [row("mass_recovery", 1.0, 0.05, [0, 2], at=0, **at(10))]
    table = validated(hafnium, tmp_path)
    assert table["verdict"].tolist() == ["fail"]
    assert table["measured"].tolist() == pytest.approx([1 / 1.1], rel=1e-3)


def test_iodine_and_heavy_metals_are_separated_and_heavy_ones_refused():
    """The shipped rows, with noise, resolution and hardening."""
    table = it.validate("spectral-ct-k-sep", 2)
    assert set(table["verdict"]) == {"pass", "refused-as-expected"}
    counts = table["method"].value_counts()
    assert counts["iodine_against_heavy"] == 4
    assert counts["heavy_against_iodine"] == 12
    assert counts["k_edge"] == 16
    refusals = table[table["method"] == "refusal"]
    assert set(refusals["verdict"]) == {"refused-as-expected"}
    assert refusals["note"].str.contains("cannot be told apart").all()


def test_the_refusal_of_three_heavy_metals_says_the_condition_number(tmp_path):
    session = Session(make("spectral-ct-k-sep"), tmp_path)
    with pytest.raises(IllConditioned) as caught:
        ct_maps.separated(session, ["HfO2", "Au", "Bi"])
    assert "condition" in str(caught.value)


def test_metals_in_the_wrong_vials_are_found_out(tmp_path):
    """Vials said to hold gold hold bismuth: the bins say so, and two energies with iodine too."""
    session = Session(make("spectral-ct-k-sep"), tmp_path)
    found = ct_maps.binned(session)
    bismuth = session.phantom.regions.mask("vial_12")
    assert found["Bi"].value.data[bismuth].mean() == pytest.approx(20, rel=0.05)
    for name in ("I", "Au", "HfO2"):
        assert abs(found[name].value.data[bismuth].mean()) < 0.05 * 20
    spec = shipped("spectral-ct-k-sep")
    spec["regions"] = [r for r in spec["regions"] if r["name"] in ("water", "vial_08", "vial_12", "vial_16")]
    spec["expect"] = [
        {"quantity": "concentration", "roi": "vial_08", "method": "k_edge", "value": 10, "tol_rel": 0.05,
         "level": 0}
    ]  # fmt: skip
    table = validated(spec, tmp_path)
    assert table["verdict"].tolist() == ["fail"]
    assert table["measured"].tolist() == pytest.approx([20], rel=0.05)


def test_liposomes_show_their_iodine_and_agree_with_cest_after_registration(tmp_path):
    """164 HU at 65 kVp in the rim; the stated shift is found; voxels of CT and CEST correlate."""
    session = Session(make("ixlipo-ct-cest", 2), tmp_path)
    found = ct_maps.alignment(session, 0)
    assert found is not None
    # a tenth of a voxel of 0.5 mm
    np.testing.assert_allclose(found.matrix[:3, 3], [0.2, -0.2, 0.1], atol=0.05)
    rows = {e.method: measure(session, e) for e in session.phantom.truth if e.modality == "CT"}
    assert rows["change"] == pytest.approx(164, rel=0.06)
    assert 0.9 < rows["correlation"] <= 1


def test_ct_of_the_same_table_is_not_moved(tmp_path):
    assert ct_maps.alignment(Session(make("ixlipo-ct-cest", 1), tmp_path), 0) is None


def test_one_particle_by_ct_mri_and_spect_is_one_concentration(tmp_path, monkeypatch):
    """Without noise; regions have no cores there: whole organs stand for them, with what lies around them."""
    from imgtheranostics.validation import ct_agreement

    spec = shipped("trimodal-fe-au-99mtc")
    spec["grid"] = {"shape": [28, 24, 90], "voxel_mm": [1.0, 1.0, 1.0]}
    spec["expect"] = [
        *({**item, "level": 0} for item in spec["expect"] if item.get("method") == "agreement"),
        *(item for item in spec["expect"] if item.get("modality") == "CT" and item["level"] == 0),
    ]
    monkeypatch.setattr(ct_agreement, "CORE", "")
    session = Session(make(spec), tmp_path)
    agreement, *means = session.phantom.truth
    assert [measure(session, one) for one in means] == pytest.approx([2, 5, 3], rel=0.005)
    assert abs(measure(session, agreement)) < 0.02
    right = ct_maps.shown_slope_hu
    monkeypatch.setattr(ct_maps, "shown_slope_hu", lambda *given: 0.9 * right(*given))
    assert abs(measure(session, agreement)) == pytest.approx(2 * 0.1 / 1.9, abs=0.02)
