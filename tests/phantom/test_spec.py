"""What the specification of any modality may say, and what it refuses with file, line and expectation."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
)
from imgtheranostics.phantom import load_spec
from imgtheranostics.phantom.checks import overlap
from imgtheranostics.phantom.reading import parse_spec
from imgtheranostics.phantom.shapes import Box, Sphere, Tube

VIALS = {
    "slug": "two-vials",
    "title": "two vials of gadolinium",
    "review_claim": "18",
    "modality": "MRI",
    "template": "vials",
    "grid": {"shape": [48, 48, 44], "voxel_mm": [1.0, 1.0, 1.0]},
    "agent": {"record": "aguix", "name": "AGuIX"},
    "axis": {"kind": "dose", "unit": "mg/kg", "values": [15, 30]},
    "regions": [
        {
            "name": "vial_01",
            "shape": "template",
            "truth": [
                {"quantity": "t1", "value": 1400, "unit": "ms"},
                {
                    "quantity": "gd_concentration",
                    "along": "dose",
                    "values": {"15": 0.02, "30": 0.04},
                    "unit": "mmol/L",
                },
            ],
        },
        {"name": "vial_02", "shape": "template", "truth": {"quantity": "t1", "value": 500, "unit": "ms"}},
    ],
    "physics": {"levels": [0], "mri": {"sequence": "spoiled_gradient_echo", "field_t": 3.0}},
    "seed": 1,
    "outputs": ["nifti"],
    "provenance": {"regions.vial_*.truth": {"status": "computed", "source": "chosen"}},
}


@pytest.fixture
def vials():
    return copy.deepcopy(VIALS)


def refused(tmp_path, content, kind):
    """Write it as a file, load it, and give the error with the text of the line that it names."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    with pytest.raises(kind) as caught:
        load_spec(path)
    found = re.search(rf"{re.escape(str(path))}:(\d+)", caught.value.where)
    assert found, caught.value
    assert caught.value.needed
    return path.read_text(encoding="utf-8").splitlines()[int(found[1]) - 1], str(caught.value)


def test_values_convert_to_the_quantity_s_own_unit_and_differ_by_case(vials):
    region = parse_spec(vials).region("vial_01")
    assert region.states("t1").in_own_unit() == pytest.approx(1.4)
    assert region.states("gd_concentration").at(30) == 0.04
    assert region.states("gd_concentration").at("15") == 0.02
    with pytest.raises(MissingMetadata, match="not stated for this case"):
        region.states("gd_concentration").at(75)
    assert region.states("r2star") is None
    with pytest.raises(MissingMetadata, match="states no activity"):
        _ = region.uptake


def set_in(content, path, value):
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


BAD = {
    "wrong unit": (("regions", 1, "truth", "unit"), "mmol/L", UnitMismatch, "stated in s"),
    "unknown unit": (("regions", 1, "truth", "unit"), "fortnight", UnitMismatch, "fortnight"),
    "unknown quantity": (("regions", 1, "truth", "quantity"), "colour", CorruptInput, "colour"),
    "negative truth": (("regions", 1, "truth", "value"), -500, ImplausibleValue, "not negative"),
    "unknown axis": (("axis", "kind"), "moon_phase", CorruptInput, "moon_phase"),
    "axis without its unit": (("axis", "unit"), "nm", UnitMismatch, "mg/kg"),
    "axis of length 0": (("axis", "values"), [], CorruptInput, "axis.values"),
    "axis that falls": (("axis", "values"), [30, 15], CorruptInput, "ascending"),
    "axis of words": (("axis", "values"), ["low", "high"], CorruptInput, "float"),
    "missing agent": (("agent", "record"), "unobtainium", MissingMetadata, "agents list"),
    "agent of a region that is not described": (("regions", 1, "agent"), "nbtxr3", MissingMetadata, "aguix"),
    "nuclide that is none": (("agent", "label"), "Xx-99", CorruptInput, "Xx-99"),
    "unknown modality": (("modality",), "X-RAY VISION", CorruptInput, "MRI"),
    "unknown key of a scanner": (("physics", "mri", "colour"), "blue", CorruptInput, "colour"),
    "level 3 without sizes": (("physics", "levels"), [0, 3], CorruptInput, "misplacement"),
    "template without the organ": (("regions", 1, "name"), "spleen", CorruptInput, "vial_03"),
    "order that forgets a region": (("order",), ["vial_01"], CorruptInput, "vial_02"),
    "order that repeats": (("order",), ["vial_01", "vial_01"], CorruptInput, "vial_02"),
    "scanner of another modality": (("scanners",), {"CT": {"levels": [0]}}, CorruptInput, "CT"),
    "case of an axis that is not there": (
        ("regions", 0, "truth", 1, "along"),
        "fraction",
        CorruptInput,
        "fraction",
    ),
    "cases other than the axis'": (("regions", 0, "truth", 1, "values"), {"15": 1}, CorruptInput, "15, 30"),
    "energy window upside down": (("physics", "energy_windows_kev"), [[154, 126]], CorruptInput, "window"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_entry_is_refused_with_its_line(tmp_path, vials, name):
    path, value, kind, said = BAD[name]
    set_in(vials, path, value)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(vials, sort_keys=False), encoding="utf-8")
    with pytest.raises(kind) as caught:
        load_spec(file)
    assert re.search(rf"{re.escape(str(file))}:\d+$", caught.value.where), caught.value
    assert said in str(caught.value)


def test_line_is_that_of_the_entry(tmp_path, vials):
    set_in(vials, ("regions", 1, "truth", "unit"), "mmol/L")
    line, _ = refused(tmp_path, vials, UnitMismatch)
    assert "truth" in line or "mmol/L" in line or "quantity" in line
    vials = copy.deepcopy(VIALS)
    vials["agent"]["record"] = "unobtainium"
    line, said = refused(tmp_path, vials, MissingMetadata)
    assert "unobtainium" in line
    assert "a record of imgtheranostics.agents" in said


def overlapping(vials):
    vials["regions"].append(
        {
            "name": "ball",
            "shape": {"kind": "sphere", "centre_mm": [-13.5, 13.5, 0], "diameter_mm": 4},
            "truth": {"quantity": "t1", "value": 900, "unit": "ms"},
        }
    )
    vials["provenance"]["regions.ball.truth"] = {"status": "computed", "source": "chosen"}
    return vials


def test_overlapping_regions_need_an_order(tmp_path, vials):
    line, said = refused(tmp_path, overlapping(vials), GeometryMismatch)
    assert "ball" in line
    assert "vial_01 and ball" in said
    assert "order: listed" in said
    for order in ("listed", ["vial_02", "vial_01", "ball"]):
        vials["order"] = order
        assert parse_spec(vials).painted()[-1].name == "ball"


def test_order_decides_which_region_lies_on_top(vials):
    from imgtheranostics.phantom.making import grid_of
    from imgtheranostics.phantom.misplacement import shapes_on_grid

    overlapping(vials)["order"] = ["ball", "vial_01", "vial_02"]
    spec = parse_spec(vials)
    volumes = shapes_on_grid(spec, grid_of(spec)).volumes_ml()
    assert volumes["ball"] == pytest.approx(0.0, abs=1e-9)
    assert volumes["vial_01"] == pytest.approx(np.pi * 9 * 30 / 1000, rel=1e-3)


@given(
    distance=st.floats(0, 12),
    angle=st.floats(0, 6.28),
    radii=st.tuples(st.floats(0.5, 4), st.floats(0.5, 4)),
)
def test_overlap_of_two_spheres_is_that_of_geometry(distance, angle, radii):
    x, y = distance * np.cos(angle), distance * np.sin(angle)
    first = Sphere(kind="sphere", centre_mm=(0, 0, 0), diameter_mm=2 * radii[0])
    second = Sphere(kind="sphere", centre_mm=(x, y, 0), diameter_mm=2 * radii[1])
    gap = distance - sum(radii)
    if abs(gap) > 0.02:
        assert overlap(first.norms(), second.norms()) == (gap < 0)


def test_boxes_that_touch_do_not_overlap():
    left = Box(kind="box", centre_mm=(-1, 0, 0), size_mm=(2, 2, 2)).norms()
    right = Box(kind="box", centre_mm=(1, 0, 0), size_mm=(2, 2, 2)).norms()
    corner = Box(kind="box", centre_mm=(0.9, 1.9, 1.9), size_mm=(2, 2, 2)).norms()
    assert not overlap(left, right)
    assert overlap(left, corner)


def test_emission_phantom_needs_subject_activity_and_a_time(tmp_path, small):
    for key, said in (("subject", "subject"), ("administration", "activity")):
        broken = copy.deepcopy(small)
        del broken[key]
        _, text = refused(tmp_path, broken, MissingMetadata)
        assert said in text
    broken = copy.deepcopy(small)
    del broken["axis"]["truth_at"]
    line, text = refused(tmp_path, broken, MissingMetadata)
    assert "truth_at" in text
    assert "axis" in line or "kind" in line
    broken = copy.deepcopy(small)
    broken["regions"][1]["truth"] = {"quantity": "t1", "value": 1, "unit": "s"}
    _, text = refused(tmp_path, broken, MissingMetadata)
    assert "sphere" in text


def test_emission_phantom_states_its_times_in_hours(tmp_path, small):
    small["axis"].update(unit="min", values=[360.0])
    _, text = refused(tmp_path, small, UnitMismatch)
    assert "needed: h" in text


def test_evenly_spaced_axis_has_both_ends(vials):
    vials["axis"] = {"kind": "offset", "unit": "ppm", "values": {"start": -12, "stop": 12, "n": 61}}
    vials["regions"][0]["truth"] = vials["regions"][0]["truth"][0]
    values = parse_spec(vials).axis.values
    assert (len(values), values[0], values[30], values[-1]) == (61, -12, 0, 12)
    assert values[1] - values[0] == pytest.approx(0.4)
    for wrong in (
        {"start": 0, "stop": 1},
        {"start": 0, "stop": 1, "n": 1},
        {"start": 0, "stop": 1, "n": 2.5},
    ):
        vials["axis"]["values"] = wrong
        with pytest.raises(CorruptInput):
            parse_spec(vials)


def test_further_axes_groups_and_expectations_fit_together(vials):
    vials["axes"] = [{"kind": "flip_angle", "unit": "deg", "values": [2, 10]}]
    expectation = {"quantity": "t1", "roi": "vial_01", "value": "truth", "tol_rel": 0.1, "level": 0}
    vials["expect"] = [{**expectation, "at": 15, "when": {"flip_angle": 10}}]
    assert parse_spec(vials).axis_of("flip_angle").values == (2, 10)
    for wrong in ({"at": 99}, {"when": {"flip_angle": 15}}, {"when": {"echo": 1}}, {"roi": "vial_09"}):
        vials["expect"] = [{**expectation, **wrong}]
        with pytest.raises(CorruptInput):
            parse_spec(vials)
    vials["expect"] = []
    for wrong in ([{"kind": "dose", "unit": "mg/kg", "values": [1]}], [{"kind": "group", "values": ["a"]}]):
        vials["axes"] = wrong
        with pytest.raises(CorruptInput):
            parse_spec(vials)


def test_spect_of_groups_isotopes_and_windows_can_be_stated(small):
    small.update(
        modality="SPECT",
        groups=[
            {"name": "bilayer", "animals": 6, "variation": 0.2},
            {"name": "lumen", "animals": 6, "variation": 0.2},
        ],
        axis={"kind": "group", "values": ["bilayer", "lumen"]},
        axes=[{"kind": "time", "values": [4, 24], "truth_at": 24}],
    )
    small["agent"]["label"] = "In-111"
    small["physics"].update(
        sensitivity_cps_mbq=847, dead_time_s=1e-6, energy_windows_kev=[[154, 188], [220, 270]]
    )
    small["regions"][1]["truth"] = {
        "quantity": "id_per_g",
        "along": "group",
        "values": {"bilayer": 12, "lumen": 8},
        "unit": "%/g",
    }
    spec = parse_spec(small)
    assert spec.group("lumen").animals == 6
    assert spec.region("sphere").uptake.at("bilayer") == 12
    assert spec.physics.energy_windows_kev == ((154, 188), (220, 270))


@pytest.mark.parametrize(
    "shape",
    [
        {"kind": "tube", "outer_diameter_mm": 4, "inner_diameter_mm": 4, "length_mm": 3},
        {"kind": "rack", "rows": 2, "columns": 2, "pitch_mm": 3, "diameter_mm": 4, "length_mm": 3},
        {
            "kind": "rack",
            "rows": 2,
            "columns": 2,
            "pitch_mm": 5,
            "diameter_mm": 4,
            "length_mm": 3,
            "vial": [3, 1],
        },
        {"kind": "cone", "diameter_mm": 4},
    ],
)
def test_impossible_shapes_are_refused(small, shape):
    small["regions"][1]["shape"] = {"centre_mm": [0, 0, 0], **shape}
    with pytest.raises(CorruptInput):
        parse_spec(small)


def test_bore_of_a_tube_does_not_hide_an_overlap():
    """A wall and what stands in it are two regions that need an order, even where they do not touch."""
    tube = Tube(
        kind="tube", centre_mm=(0, 0, 0), outer_diameter_mm=8, inner_diameter_mm=6, length_mm=10
    ).norms()
    assert overlap(tube, Sphere(kind="sphere", centre_mm=(0, 0, 0), diameter_mm=2).norms())
