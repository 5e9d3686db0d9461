"""Every phantom of the catalogue is there, and its file agrees with itself and with the catalogue."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics import agents
from imgtheranostics.phantom import available
from imgtheranostics.phantom import load_spec as read_spec
from imgtheranostics.phantom.making import grid_of
from imgtheranostics.phantom.misplacement import shapes_on_grid
from imgtheranostics.phantom.physics import PhysicsMissing
from imgtheranostics.phantom.templates import region_shapes
from imgtheranostics.units import QUANTITIES

load_spec = cache(read_spec)

# P01 to P26 of the catalogue: slug, claims of the review that it may state, modality
CATALOGUE = {
    "upsn-86y-mouse-pet": ("15", "PET"),
    "upsn-90y-dose": ("15", "PET"),
    "mm302-64cu-torso-pet": ("13", "PET"),
    "mm302-decaytrap": ("13", "PET"),
    "tc99m-plga-mouse-spect": ("4 10", "SPECT"),
    "in111-bilayer-vs-lumen": ("30", "SPECT"),
    "i123-i124-i131-pair": ("14", "PET SPECT"),
    "agents-multi-tracer-dualiso": ("5 12", "PET SPECT"),
    "aguix-brain-t1": ("18", "MRI"),
    "aguix-b1-trap": ("18", "MRI"),
    "gadofullerene-130nm-pdt": ("19", "MRI"),
    "ferumoxytol-liver-r2s": ("20", "MRI"),
    "uspion-dual-contrast": ("20", "MRI"),
    "spion-mht-230khz": ("21", "MRI"),
    "olsa-rvrr-cest": ("23", "CEST"),
    "iopamidol-ph-cest": ("23b", "CEST"),
    "drug-cest-panel": ("23b", "CEST"),
    "ixlipo-ct-cest": ("23b", "CT CEST"),
    "v7-ruby-msot": ("24", "MSOT"),
    "msot-window-aunr-vs-sphere": ("25", "MSOT"),
    "nbtxr3-torso-ct": ("29", "CT"),
    "spectral-ct-k-sep": ("29", "CT"),
    "us-phase-gas": ("26-28", "US"),
    "mpi-19f-linear": ("31", "MPI MRI"),
    "ladder-sensitivity": ("9", "PET SPECT MRI CT MSOT"),
    "trimodal-fe-au-99mtc": ("5 29", "CT MRI SPECT"),
}


def test_the_catalogue_is_complete():
    assert len(CATALOGUE) == 26
    assert set(CATALOGUE) <= set(available())


@pytest.mark.parametrize("slug", CATALOGUE)
def test_file_states_claim_modality_and_an_agent_with_a_record(slug):
    spec = load_spec(slug)
    claims, modalities = CATALOGUE[slug]
    assert set(spec.review_claim.replace(",", " ").split()) <= set(claims.split())
    assert set(spec.modalities) <= set(modalities.split())
    assert spec.expect
    assert {spec.agent.record, *(agent.record for agent in spec.agents)} <= set(agents.available())


@pytest.mark.parametrize("slug", CATALOGUE)
def test_every_region_shows_on_the_grid_and_nothing_is_covered_by_mistake(slug):
    """The uppermost region has the volume of its closed form; each other one keeps some voxels."""
    spec = load_spec(slug)
    mixture = shapes_on_grid(spec, grid_of(spec))
    counts = np.bincount(mixture.nominal().ravel(), minlength=len(mixture.names) + 1)[1:]
    assert (counts > 0).all(), [n for n, c in zip(mixture.names, counts, strict=True) if not c]
    top = spec.painted()[-1]
    closed = sum(shape.volume_ml for shape in region_shapes(spec.template, top))
    assert mixture.volumes_ml()[top.name] == pytest.approx(closed, rel=1e-3)


@pytest.mark.parametrize("slug", CATALOGUE)
def test_expected_truths_are_stated_by_the_regions(slug):
    """A mean that is compared with ``truth`` needs a region that states it, apart from derived uptake."""
    spec = load_spec(slug)
    derived = {
        "id_per_g",
        "id_per_ml",
        "suv_bw",
        "activity_concentration",
        "t1",
        "enhancement",
        "temperature_change",
        "cem43",
    }
    for item in spec.expect:
        if item.value != "truth" or item.quantity in derived:
            continue
        for name in item.roi:
            region = spec.region(name.removesuffix("_core"))
            if item.quantity in QUANTITIES and item.quantity == "retained_fraction":
                continue
            assert region.states(item.quantity) is not None, (name, item.quantity)


@pytest.mark.parametrize("slug", CATALOGUE)
def test_numbers_from_memory_are_marked(slug):
    spec = load_spec(slug)
    for region in spec.regions:
        item = spec.provenance_of(region.name)
        assert item.status in ("review", "published", "computed", "unconfirmed")
        assert item.status in ("review",) or item.source


def test_phantom_without_physics_is_refused_as_such(monkeypatch):
    from imgtheranostics.phantom import make, physics

    monkeypatch.delitem(physics._HOMES, "MPI")
    assert load_spec("mpi-19f-linear").modalities == ("MPI", "MRI")
    make("mpi-19f-linear")  # its MR images are there
    monkeypatch.delitem(physics._HOMES, "MSOT")
    with pytest.raises(PhysicsMissing, match="not implemented"):
        make("v7-ruby-msot")


# Section 4 of the catalogue: numbers that a phantom must not lose.
@pytest.mark.parametrize(
    ("slug", "region", "quantity", "case", "value"),
    [
        ("upsn-86y-mouse-pet", "tumour", "id_per_g", None, 12.0),
        ("mm302-64cu-torso-pet", "lesion_07", "id_per_kg", None, 18.5),
        ("aguix-brain-t1", "metastasis_1", "gd_concentration", 100, 0.14),
        ("ferumoxytol-liver-r2s", "liver", "delta_r2star", 1.5, 216),
        ("ferumoxytol-liver-r2s", "liver", "delta_r2star", 3, 276),
        ("ferumoxytol-liver-r2s", "spleen", "delta_r2star", 3, 464),
        ("spion-mht-230khz", "tumour", "specific_absorption_rate", None, 250),
        ("olsa-rvrr-cest", "tumour_rvrr", "molar_concentration", None, 6.87),
        ("ixlipo-ct-cest", "core", "concentration", "with-tnf", 2.5),
        ("nbtxr3-torso-ct", "tumour", "concentration", 10, 5.33),
        ("us-phase-gas", "tumour_mno2", "echo_intensity", "after", 2.25),
    ],
)
def test_truth_of_the_catalogue(slug, region, quantity, case, value):
    assert load_spec(slug).region(region).states(quantity).at(case) == pytest.approx(value)


def test_dye_ratios_of_the_msot_phantom():
    """Tumour over liver 7, over kidney more than 10 (the review's claim 24)."""
    spec = load_spec("v7-ruby-msot")
    dye = {n: spec.region(n).states("molar_concentration").at() for n in ("tumour", "liver", "kidney")}
    assert dye["tumour"] / dye["liver"] == pytest.approx(7.0)
    assert dye["tumour"] / dye["kidney"] > 10


def test_hafnium_enhancement_follows_from_slope_and_concentration():
    """26.6 HU per mg/mL at 120 kVp: 142 and 284 HU at 10 and 20 % filling (whole numbers in the sheet)."""
    spec = load_spec("nbtxr3-torso-ct")
    slope = spec.physics.ct.slope_hu["HfO2"]["120"]
    found = [item.value for item in spec.expect if item.quantity == "delta_attenuation"]
    held = [spec.region("tumour").states("concentration").at(fill) for fill in (10, 20)]
    assert [round(slope * c, 1) for c in held] == found
    assert found == pytest.approx([142, 284], abs=0.5)


def test_example_of_the_contributing_guide_is_a_phantom_that_validates(tmp_path):
    text = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.split("**A phantom.**")[1].split("```yaml\n")[1].split("```")[0]
    path = tmp_path / "example.yaml"
    path.write_text(block, encoding="utf-8")
    table = it.validate(path)
    assert table.attrs["passed"]
    assert set(table[table["method"] == "mean"]["verdict"]) == {"pass"}
