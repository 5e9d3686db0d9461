"""What an analysis must find in a phantom, as one row per region and axis value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.nuclear.partial_volume import sphere_recovery
from imgtheranostics.phantom.cases import places
from imgtheranostics.phantom.physics import part_with, parts_of
from imgtheranostics.phantom.shapes import Sphere
from imgtheranostics.phantom.spec import ExpectSpec, PhantomSpec
from imgtheranostics.phantom.templates import region_shapes


@dataclass(frozen=True, slots=True)
class Expectation:
    """One number that an analysis must find, or one refusal.

    Attributes
    ----------
    claim : str
        The review's claim that it tests.
    quantity, method, region : str
        As in the phantom file; a ratio's region is ``a/b``.
    places : tuple of (int, int)
        Volume and frame to measure; several for a spread.
    axis_value : str
        Time in h or name of the header variant, as a table prints it.
    truth : float or None
        None for a refusal.
    tolerance : float
        Absolute, in the quantity's unit; 0 for a refusal.
    background : float or None
        For a recovery: the surrounding value; `contrast` is what an unblurred image would show above it.
    provenance : str
        review, published, computed or unconfirmed; the weakest of the regions that take part.
    modality : str
        Of the image to measure. An expectation about a modality without physics has no places.
    """

    claim: str
    quantity: str
    method: str
    region: str
    places: tuple[tuple[int, int], ...]
    axis_value: str
    truth: float | None
    tolerance: float
    level: int
    provenance: str
    background: float | None = None
    contrast: float | None = None
    modality: str = ""


def expectations_of(spec: PhantomSpec, level: int) -> tuple[Expectation, ...]:
    """Every expectation of a phantom at one level."""
    rows: list[Expectation] = []
    for item in spec.expect:
        if level in item.level:
            for region in item.roi:
                rows.extend(_rows(spec, item, region, level))
    return tuple(rows)


def region_truth(spec: PhantomSpec, region: str, quantity: str, volume: int, frame: int = 0) -> float:
    """What a perfect analysis of this modality finds in a region."""
    physics, number = part_with(spec, volume)
    return physics.region_truth(spec, region, quantity, number, frame)


SINGLE = (
    "mean",
    "ratio",
    "recovery",
    "refusal",
    "partial_volume_corrected",
    "transfer_matrix",
    "region_based_voxels",
    "iterative_yang",
)
"""Methods that speak of one image; every other one speaks of all its images together."""


def _rows(spec: PhantomSpec, item: ExpectSpec, region: str, level: int) -> Iterator[Expectation]:
    modality = item.modality or spec.modality
    row = partial(
        Expectation,
        claim=item.claim or spec.review_claim,
        quantity=item.quantity,
        method=item.method,
        region=f"{region}/{item.over}" if item.over else region,
        level=level,
        provenance=_provenance(spec, item, region),
        modality=modality,
    )
    found = list(_places(spec, item, modality))
    if not found or item.method not in SINGLE:
        stated = _stated(item.value) if isinstance(item.value, (int, float)) else None
        if item.value == "truth":
            stated = _shared_truth(spec, item, region, found)
        tolerance = _tolerance(item, stated)
        together = _together([name for _, _, name in found]) or modality
        yield row(
            places=tuple(place[:2] for place in found), axis_value=together, truth=stated, tolerance=tolerance
        )
        return
    for volume, frame, name in found:
        truth, background, contrast = _truth(spec, item, region, volume, frame)
        yield row(
            places=((volume, frame),),
            axis_value=name,
            truth=truth,
            tolerance=_tolerance(item, truth),
            background=background,
            contrast=contrast,
        )


def _shared_truth(
    spec: PhantomSpec, item: ExpectSpec, region: str, found: Sequence[tuple[int, int, str]]
) -> float | None:
    """The truth that all images of an expectation have in common; None where they differ."""
    known = {_truth(spec, item, region, volume, frame)[0] for volume, frame, _ in found}
    return known.pop() if len(known) == 1 else None


def _together(names: Sequence[str]) -> str:
    """Several axis values as one: what they have in common, and how many they are."""
    if len(names) < 2:
        return "".join(names)
    parts = [name.split(", ") for name in names]
    common = [values[0] for values in zip(*parts, strict=False) if len(set(values)) == 1]
    return ", ".join([*common, f"{len(names)} together"])


def _places(spec: PhantomSpec, item: ExpectSpec, modality: str) -> Iterator[tuple[int, int, str]]:
    """Volume, frame and printed axis value of each place that an expectation speaks of."""
    for part in parts_of(spec):
        if part.physics.modality == modality:
            for volume, frame, name in places(
                spec, part.physics.cases(spec), item.at, dict(item.when), item.quantity
            ):
                yield part.first + volume, frame, name


def _truth(
    spec: PhantomSpec, item: ExpectSpec, region: str, volume: int, frame: int
) -> tuple[float | None, float | None, float | None]:
    if item.method == "refusal":
        return None, None, None
    if item.method == "recovery":
        background = region_truth(spec, surroundings(spec, region), item.quantity, volume, frame)
        contrast = region_truth(spec, region, item.quantity, volume, frame) - background
        return (
            sphere_recovery(sphere_diameter_mm(spec, region), resolution_mm(spec, volume))[0],
            background,
            contrast,
        )
    if item.value != "truth":
        return _stated(item.value), None, None
    value = region_truth(spec, region, item.quantity, volume, frame)
    if item.over:
        value /= region_truth(spec, item.over, item.quantity, volume, frame)
    return value, None, None


def resolution_mm(spec: PhantomSpec, volume: int) -> float:
    """Resolution of one of the phantom's images at level 2."""
    return part_with(spec, volume)[0].resolution_mm(spec)


def _stated(value: object) -> float:
    if not isinstance(value, (int, float)):
        raise UnsupportedInput("this expectation needs a number", found=repr(value))
    return float(value)


def _tolerance(item: ExpectSpec, truth: float | None) -> float:
    if item.tol_abs is not None:
        return item.tol_abs
    return abs(truth or 0.0) * (item.tol_rel or 0.0)


def sphere_diameter_mm(spec: PhantomSpec, region: str) -> float:
    """Diameter of a region that is one sphere.

    Raises
    ------
    UnsupportedInput
        If it is something else.
    """
    shapes = region_shapes(spec.template, spec.region(region))
    if len(shapes) != 1 or not isinstance(shapes[0], Sphere):
        raise UnsupportedInput("a recovery is known in closed form for one sphere only", found=region)
    return shapes[0].diameter_mm


def surroundings(spec: PhantomSpec, region: str) -> str:
    """The region that a sphere lies in: the last one before it that holds its centre and is not a sphere."""
    shape = region_shapes(spec.template, spec.region(region))[0]
    centre = shape.norms().centre
    found = ""
    for other in spec.painted():
        if other.name == region:
            break
        for candidate in region_shapes(spec.template, other):
            norms = candidate.norms()
            u = norms.rows @ (centre - norms.centre)
            groups = set(norms.groups)
            squared = [sum(u[n] ** 2 for n in range(3) if norms.groups[n] == g) for g in groups]
            found = other.name if max(squared) <= 1 else found
    if not found:
        raise UnsupportedInput("the sphere lies in no other region", found=region)
    return found


_WEAKEST_FIRST = ("unconfirmed", "computed", "published", "review")


def _provenance(spec: PhantomSpec, item: ExpectSpec, region: str) -> str:
    names = {name.removesuffix("_core") for name in (region, *((item.over,) if item.over else ()))}
    if region == "all":
        names = {known.name for known in spec.regions}
    found = {spec.provenance_of(name).status for name in names}
    return next(status for status in _WEAKEST_FIRST if status in found)
