"""Bodies: the total over the image is the sum over the regions, and shapes that are hollow or many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from imgtheranostics.grid import Grid
from imgtheranostics.phantom.mixture import rasterise
from imgtheranostics.phantom.shapes import Cylinder, Rack, Tube
from imgtheranostics.phantom.templates import template, templates

SPACING = {"mouse20g": 0.8, "torso70kg": 4.0, "head": 2.5, "vials": 0.6, "slab": 0.5}
UNCOVERED = {
    "mouse20g": ("liver", "spleen", "lungs", "blood", "bone", "bladder"),
    "torso70kg": ("liver", "spleen", "kidneys", "blood", "spine"),
    "head": ("ventricles",),
    "vials": ("vial_01", "vial_07", "vial_16"),
    "slab": ("skin", "fat", "tissue"),
}


def grid_around(organs, spacing):
    reach = np.max([np.abs(s.norms().centre) + s.norms().reach for o in organs.values() for s in o], axis=0)
    shape = tuple(int(n) for n in np.ceil(2 * reach / spacing) + 2)
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def test_every_template_is_tested():
    assert set(templates()) == set(SPACING)


@pytest.mark.parametrize("name", SPACING)
def test_sum_over_the_image_is_the_sum_over_the_regions(name):
    """Mass balance within 0.1 %, with another concentration in each organ."""
    organs = template(name)
    grid = grid_around(organs, SPACING[name])
    mixture = rasterise(organs, grid)
    held = {organ: 1.0 + 0.37 * n for n, organ in enumerate(organs)}
    image = mixture.paint(held).astype(np.float64).sum() * grid.voxel_volume_ml
    volumes = mixture.volumes_ml()
    assert image == pytest.approx(sum(held[o] * volumes[o] for o in organs), rel=1e-5)
    # against closed forms: what lies in something else is taken from it
    closed = {organ: sum(shape.volume_ml for shape in shapes) for organ, shapes in organs.items()}
    outermost = [*closed] if name == "slab" else [next(iter(closed))]
    assert sum(volumes.values()) == pytest.approx(sum(closed[o] for o in outermost), rel=1e-3)
    for organ in UNCOVERED[name]:
        assert volumes[organ] == pytest.approx(closed[organ], rel=1e-3), organ


def test_layers_of_the_head_lie_in_each_other():
    volumes = [sum(s.volume_ml for s in template("head")[name]) for name in ("skull", "csf", "gm", "wm")]
    assert volumes == sorted(volumes, reverse=True)


def test_vials_of_the_template_are_four_by_four_of_6_mm():
    vials = {name: shapes for name, shapes in template("vials").items() if name.startswith("vial")}
    assert len(vials) == 16
    assert {shape.semi_axes_mm for shapes in vials.values() for shape in shapes} == {(3.0, 3.0)}
    assert vials["vial_01"][0].centre_mm == (-13.5, 13.5, 0.0)
    assert vials["vial_16"][0].centre_mm == (13.5, -13.5, 0.0)


def tube(centre=(0, 0, 0), outer=8.0, inner=5.0, turn=(0, 0, 0), length=10.0) -> Tube:
    return Tube(
        kind="tube",
        centre_mm=centre,
        outer_diameter_mm=outer,
        inner_diameter_mm=inner,
        length_mm=length,
        rotation_deg=turn,
    )


def volume_on_grid(shapes, spacing=0.5):
    return rasterise({"a": shapes}, grid_around({"a": shapes}, spacing)).volumes_ml()["a"]


@pytest.mark.parametrize("turn", [(0, 0, 0), (90, 0, 0), (0, 90, 0), (35, 20, 10), (70, 10, 0)])
@pytest.mark.parametrize("inner", [1.0, 5.0, 7.0])
def test_wall_of_a_tube_has_its_closed_volume(turn, inner):
    closed = math.pi / 4 * (64 - inner**2) * 10 / 1000
    shape = tube(inner=inner, turn=turn, centre=(0.11, -0.07, 0.2))
    assert shape.volume_ml == pytest.approx(closed, rel=1e-12)
    assert volume_on_grid([shape]) == pytest.approx(closed, rel=1e-3)


@settings(max_examples=12)
@given(inner=st.floats(0.5, 6.0), turn=st.tuples(*[st.floats(-90, 90)] * 3))
def test_tube_and_its_bore_make_a_cylinder(inner, turn):
    """The wall and a cylinder in the bore share every voxel as one solid cylinder does."""
    wall = tube(inner=inner, turn=turn)
    bore = Cylinder(
        kind="cylinder",
        centre_mm=(0, 0, 0),
        semi_axes_mm=(inner / 2, inner / 2),
        length_mm=10,
        rotation_deg=turn,
    )
    solid = bore.model_copy(update={"semi_axes_mm": (4.0, 4.0)})
    grid = grid_around({"a": [solid]}, 1.0)
    apart = rasterise({"bore": [bore], "wall": [wall]}, grid)
    whole = rasterise({"a": [solid]}, grid)
    assert_allclose(apart.paint({"bore": 1.0, "wall": 1.0}), whole.occupancy("a"), atol=0.02)


def test_what_stands_in_the_bore_of_a_later_tube_stays():
    core = Cylinder(kind="cylinder", centre_mm=(0, 0, 0), semi_axes_mm=(2, 2), length_mm=10)
    volumes = rasterise({"core": [core], "wall": [tube()]}, grid_around({"a": [tube()]}, 0.5)).volumes_ml()
    assert volumes["core"] == pytest.approx(core.volume_ml, rel=1e-3)


def test_rack_is_its_vials():
    rack = Rack(
        kind="rack",
        centre_mm=(1, 2, 3),
        rows=2,
        columns=3,
        pitch_mm=5,
        diameter_mm=4,
        length_mm=6,
        rotation_deg=(0, 0, 90),
    )
    parts = rack.parts()
    assert len(parts) == 6
    assert volume_on_grid(parts) == pytest.approx(6 * math.pi * 4 * 6 / 1000, rel=1e-3)
    # turned by 90 degrees about z, what lay towards +x lies towards +y
    single = rack.model_copy(update={"vial": (1, 3)}).parts()
    assert single == (parts[2],)
    assert_allclose(single[0].centre_mm, (1 - 2.5, 2 + 5, 3), atol=1e-9)
