"""Bodies made of analytic shapes: organ sizes are from memory (unconfirmed) unless a phantom says otherwise.

Coordinates are patient RAS millimetres around the middle of the grid: x to the right, y to the front, z to
the head. All organs of an animal or a patient lie in ``body``; kidneys and bladder of the mouse cut into
``muscle``, all else is disjoint. A phantom lists the outer one first and says ``order: listed``, so that
the inner ones lie on top. The blood that is not in the drawn pool (heart, aorta) is part of the organs. In
the head, skull, cerebrospinal fluid, grey and white matter lie in each other. The vials stand in a box of
water as ``vial_01`` to ``vial_16``, row by row from the front left. The slab is layered along y, skin at
the front.
"""

from __future__ import annotations

from collections.abc import Mapping

from imgtheranostics.phantom.shapes import Box, Cylinder, Ellipsoid, Rack, Solid
from imgtheranostics.phantom.spec import RegionSpec

Organs = Mapping[str, tuple[Solid, ...]]


def _ellipsoid(centre: tuple[float, float, float], *semi_axes: float) -> Ellipsoid:
    x, y, z = semi_axes
    return Ellipsoid(kind="ellipsoid", centre_mm=centre, semi_axes_mm=(x, y, z))


def _cylinder(centre: tuple[float, float, float], a: float, b: float, length: float) -> Cylinder:
    return Cylinder(kind="cylinder", centre_mm=centre, semi_axes_mm=(a, b), length_mm=length)


def _box(centre: tuple[float, float, float], x: float, y: float, z: float) -> Box:
    return Box(kind="box", centre_mm=centre, size_mm=(x, y, z))


_MOUSE: Organs = {
    "body": (_ellipsoid((0, 0, 0), 12.0, 10.0, 42.5),),
    "muscle": (_ellipsoid((0, 0, -15.0), 10.3, 8.85, 22.0),),
    "liver": (_ellipsoid((1.0, 1.0, 12.6), 8.8, 6.2, 5.25),),
    "spleen": (_ellipsoid((-6.6, -5.0, 5.6), 2.0, 2.0, 5.97),),
    "kidneys": (_ellipsoid((5.2, -5.0, 1.0), 2.6, 2.6, 5.65), _ellipsoid((-4.6, -4.6, -6.0), 2.6, 2.6, 5.65)),
    "lungs": (_ellipsoid((-4.6, 0, 25.0), 2.8, 4.2, 5.07), _ellipsoid((4.6, 0, 25.0), 2.8, 4.2, 5.07)),
    "blood": (_ellipsoid((0, 1.0, 24.5), 1.7, 4.4, 6.4),),
    "bone": (_ellipsoid((0, 0, 36.0), 4.5, 4.5, 5.0),),
    "bladder": (_ellipsoid((0, 0, -33.0), 2.4, 2.4, 4.14),),
}

_TORSO: Organs = {
    "body": (_cylinder((0, 0, 0), 160.0, 110.0, 280.0),),
    "liver": (_ellipsoid((62, 10, 55), 85.0, 62.0, 77.0),),
    "spleen": (_ellipsoid((-100, -30, 60), 30.0, 35.0, 41.0),),
    "kidneys": (_ellipsoid((66, -55, -62), 28.0, 25.0, 53.0), _ellipsoid((-66, -55, -62), 28.0, 25.0, 53.0)),
    "blood": (_cylinder((-22, -34, 0), 11.0, 11.0, 270.0),),
    "spine": (_cylinder((0, -75, 0), 20.0, 20.0, 270.0),),
}

_HEAD: Organs = {
    "skull": (_ellipsoid((0, 0, 0), 76.0, 94.0, 72.0),),
    "csf": (_ellipsoid((0, 0, 0), 70.0, 88.0, 66.0),),
    "gm": (_ellipsoid((0, 0, 0), 66.0, 84.0, 62.0),),
    "wm": (_ellipsoid((0, 0, 0), 59.0, 77.0, 55.0),),
    "ventricles": (_ellipsoid((9, 4, 6), 6.0, 22.0, 9.0), _ellipsoid((-9, 4, 6), 6.0, 22.0, 9.0)),
}


def _vials() -> Organs:
    rack = Rack(
        kind="rack",
        centre_mm=(0.0, 0.0, 0.0),
        rows=4,
        columns=4,
        pitch_mm=9.0,
        diameter_mm=6.0,
        length_mm=30.0,
    )
    vials = {f"vial_{n:02d}": (vial,) for n, vial in enumerate(rack.parts(), 1)}
    return {"water": (_box((0, 0, 0), 40.0, 40.0, 36.0),), **vials}


_SLAB: Organs = {
    "skin": (_box((0, 11.5, 0), 30.0, 1.0, 20.0),),
    "fat": (_box((0, 10.0, 0), 30.0, 2.0, 20.0),),
    "tissue": (_box((0, -1.5, 0), 30.0, 21.0, 20.0),),
}

_TEMPLATES: Mapping[str, Organs] = {
    "mouse20g": _MOUSE,
    "torso70kg": _TORSO,
    "head": _HEAD,
    "vials": _vials(),
    "slab": _SLAB,
}


def templates() -> tuple[str, ...]:
    """Names of all templates."""
    return tuple(_TEMPLATES)


def template(name: str | None) -> Organs:
    """The organs of a template by name, each as shapes to be united; empty for None."""
    return _TEMPLATES[name] if name else {}


def region_shapes(name: str | None, region: RegionSpec) -> tuple[Solid, ...]:
    """The shapes of a region, a rack taken apart: its own, or the template's organ of that name."""
    if not region.shape:
        return template(name)[region.name]
    return tuple(
        part for shape in region.shape for part in (shape.parts() if isinstance(shape, Rack) else (shape,))
    )
