"""What a phantom file may say in each of its parts and yet contradict between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations

import numpy as np

from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    ImgTheranosticsError,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.phantom.shapes import Norms
from imgtheranostics.phantom.spec import EMISSION, UPTAKE, AxisSpec, PhantomSpec
from imgtheranostics.phantom.templates import region_shapes, template
from imgtheranostics.yaml_lines import KeyPath


@dataclass(frozen=True, slots=True)
class Problem:
    """One contradiction: the error to raise, the entry that it is about, and its words."""

    kind: type[ImgTheranosticsError]
    path: KeyPath
    what: str
    found: str
    needed: str = ""


def contradictions(spec: PhantomSpec) -> Iterator[Problem]:
    """Everything that does not fit together, in the order of the file's importance."""
    yield from _region_problems(spec)
    yield from _order_problems(spec)
    yield from _axis_problems(spec)
    yield from _case_problems(spec)
    if any(modality in EMISSION for modality in spec.modalities):
        yield from _emission_problems(spec)
    yield from _agent_problems(spec)
    yield from _expect_problems(spec)
    yield from _provenance_problems(spec)


def _region_problems(spec: PhantomSpec) -> Iterator[Problem]:
    half = [n * h / 2 for n, h in zip(spec.grid.shape, spec.grid.voxel_mm, strict=True)]
    names = [region.name for region in spec.regions]
    for n, region in enumerate(spec.regions):
        path = ("regions", n)
        if names.index(region.name) != n:
            yield Problem(CorruptInput, path, "a region name repeats", region.name)
        if not region.shape and region.name not in template(spec.template):
            known = ", ".join(template(spec.template)) or "none, no template is named"
            yield Problem(CorruptInput, path, "the template has no such organ", region.name, known)
            continue
        for shape in region_shapes(spec.template, region):
            norms = shape.norms()
            ends = [abs(c) + r for c, r in zip(norms.centre, norms.reach, strict=True)]
            if any(end > h + 1e-6 for end, h in zip(ends, half, strict=True)):
                yield Problem(
                    GeometryMismatch,
                    path,
                    "the region reaches outside the grid",
                    f"{region.name} reaches {_listed(ends)} mm from the centre",
                    f"at most {_listed(half)} mm",
                )


def _order_problems(spec: PhantomSpec) -> Iterator[Problem]:
    names = [region.name for region in spec.regions]
    if spec.order == "listed":
        return
    if spec.order is not None:
        if sorted(spec.order) != sorted(names):
            wrong = sorted(set(spec.order) ^ set(names)) or ["a name repeats"]
            yield Problem(
                CorruptInput,
                ("order",),
                "the order does not name every region once",
                ", ".join(wrong),
                "all of " + ", ".join(names),
            )
        return
    shapes = [[s.norms() for s in region_shapes(spec.template, region)] for region in spec.regions]
    for (a, first), (b, second) in combinations(enumerate(shapes), 2):
        if any(overlap(one, other) for one in first for other in second):
            yield Problem(
                GeometryMismatch,
                ("regions", b),
                "two regions overlap and nothing says which one lies on top",
                f"{names[a]} and {names[b]}",
                "order: listed (a later region covers an earlier one), or order: [names from the bottom up]",
            )


def overlap(first: Norms, second: Norms) -> bool:
    """Whether two shapes share more than their surfaces; the bore of a tube counts as its own.

    The larger of two norms is a convex function, so its least value is found by looking on ever finer
    grids around the best point.
    """
    low = np.maximum(first.centre - first.reach, second.centre - second.reach)
    high = np.minimum(first.centre + first.reach, second.centre + second.reach)
    if (low >= high).any():
        return False
    steps = np.stack(np.meshgrid(*[np.linspace(-1, 1, 7)] * 3, indexing="ij"), -1).reshape(-1, 3)
    centre, half = (low + high) / 2, (high - low) / 2
    for _ in range(24):
        points = np.clip(centre + steps * half, low, high)
        worst = np.maximum(first.largest(points), second.largest(points))
        best = int(np.argmin(worst))
        if worst[best] < 1 - 1e-6:
            return True
        centre, half = points[best], half * 0.6
    return False


def _axis_problems(spec: PhantomSpec) -> Iterator[Problem]:
    kinds = [axis.kind for axis in (spec.axis, *spec.axes)]
    for n, kind in enumerate(kinds):
        if kind in kinds[:n]:
            yield Problem(CorruptInput, ("axes", n - 1), "an axis of this kind is there already", kind)
    known: dict[str, tuple[str, set[str]]] = {
        "header_variant": ("variant", {variant.name for variant in spec.variants}),
        "group": ("group", {group.name for group in spec.groups}),
        "modality": ("modality", {str(modality) for modality in spec.modalities}),
    }
    for path, axis in _axes(spec):
        if axis.kind not in known:
            continue
        word, names = known[axis.kind]
        for value in axis.values:
            if value not in names:
                yield Problem(CorruptInput, (*path, "values"), f"the {word} is not described", str(value))
    for modality in spec.scanners:
        if modality not in spec.modalities:
            yield Problem(
                CorruptInput, ("scanners", modality), "the modality is not one of the phantom's", modality
            )


def _axes(spec: PhantomSpec) -> Iterator[tuple[KeyPath, AxisSpec]]:
    yield ("axis",), spec.axis
    for n, axis in enumerate(spec.axes):
        yield ("axes", n), axis


def _case_problems(spec: PhantomSpec) -> Iterator[Problem]:
    """Truths that differ along an axis name the axis and each of its values."""
    for n, region in enumerate(spec.regions):
        for m, truth in enumerate(region.truth):
            if truth.along is None:
                continue
            path: KeyPath = ("regions", n, "truth", m)
            axis = spec.axis_of(truth.along)
            if axis is None:
                yield Problem(CorruptInput, path, "the phantom has no such axis", truth.along)
                continue
            cases = {f"{value:g}" if axis.is_numeric else str(value) for value in axis.values}
            if set(truth.values) != cases:
                yield Problem(
                    CorruptInput,
                    path,
                    f"the values along {truth.along} are not those of the axis",
                    ", ".join(sorted(truth.values)),
                    ", ".join(sorted(cases)),
                )


def _emission_problems(spec: PhantomSpec) -> Iterator[Problem]:
    if "subject" not in spec.model_fields_set:
        yield Problem(MissingMetadata, ("slug",), "an emission phantom needs a subject", "none", "subject")
    if spec.administration.activity_bq <= 0:
        needed = "administration.activity_bq, more than 0"
        path: KeyPath = ("administration",)
        yield Problem(MissingMetadata, path, "an emission phantom needs an injected activity", "none", needed)
    yield from _clock_problems(spec)
    for n, region in enumerate(spec.regions):
        if not any(truth.quantity in UPTAKE for truth in region.truth):
            needed = "one of " + ", ".join(UPTAKE)
            yield Problem(
                MissingMetadata,
                ("regions", n),
                "a region of an emission phantom holds activity",
                region.name,
                needed,
            )


def _clock_problems(spec: PhantomSpec) -> Iterator[Problem]:
    time = spec.axis_of("time")
    durations = spec.physics.frame_duration_s
    length = 1 if time is None else len(time.values)
    if len(durations) not in (1, length, len(spec.axis.values)):
        yield Problem(
            CorruptInput,
            ("physics", "frame_duration_s"),
            "frame durations do not fit the axis",
            f"{len(durations)} durations",
            "1" if length == 1 else f"1 or {length}",
        )
        return
    stated = time if time is not None else spec.axis
    path: KeyPath = next((place for place, axis in _axes(spec) if axis is stated), ("axis",))
    if stated.truth_at <= 0:
        what = "an emission phantom states when its truths hold"
        yield Problem(MissingMetadata, path, what, "no truth_at", "truth_at in h, more than 0")
    if time is None:
        return
    if time.unit != "h":
        what = "the times of an emission phantom are stated in h"
        yield Problem(UnitMismatch, (*path, "unit"), what, time.unit, "h")
        return
    longest = max(durations) / 2 / 3600
    if float(time.values[0]) < longest:
        yield Problem(
            ImplausibleValue,
            (*path, "values"),
            "the first frame would start before the injection",
            f"mid-frame {time.values[0]} h",
            f"at least {longest:.4g} h",
        )


def _agent_problems(spec: PhantomSpec) -> Iterator[Problem]:
    entries: list[tuple[KeyPath, str, str]] = [(("agent",), spec.agent.record, spec.agent.label)]
    entries += [(("agents", n), agent.record, agent.label) for n, agent in enumerate(spec.agents)]
    for path, record, label in entries:
        if not _has_record(record):
            needed = "a record of imgtheranostics.agents; 'agents list' prints them"
            yield Problem(MissingMetadata, (*path, "record"), "the agent has no record", record, needed)
        if label:
            yield from _nuclide_problem((*path, "label"), label)
    emission = spec.modality in EMISSION
    isotopes = spec.axis_of("isotope")
    if emission and not spec.agent.label and isotopes is None:
        yield Problem(
            MissingMetadata, ("agent",), "an emission phantom names its nuclide", "no label", "label"
        )
    for path, axis in _axes(spec):
        if axis.kind == "isotope":
            for value in axis.values:
                yield from _nuclide_problem((*path, "values"), str(value))
    known = {record for _, record, _ in entries}
    held: list[tuple[KeyPath, str | None]] = [
        *((("regions", n), region.agent) for n, region in enumerate(spec.regions)),
        *((("groups", n), group.agent) for n, group in enumerate(spec.groups)),
    ]
    for path, agent in held:
        if agent is not None and agent not in known:
            needed = ", ".join(sorted(known))
            yield Problem(MissingMetadata, (*path, "agent"), "the phantom has no such agent", agent, needed)


def _has_record(record: str) -> bool:
    from imgtheranostics import agents

    return record in agents.available()


def _nuclide_problem(path: KeyPath, label: str) -> Iterator[Problem]:
    from imgtheranostics.data.nuclides import nuclide

    try:
        nuclide(label)
    except UnsupportedInput as error:
        yield Problem(CorruptInput, path, "the nuclide is not known", label, error.needed or "such as Cu-64")


def _expect_problems(spec: PhantomSpec) -> Iterator[Problem]:
    names = {region.name for region in spec.regions}
    values = {value for _, axis in _axes(spec) for value in axis.values}
    for n, expectation in enumerate(spec.expect):
        path = ("expect", n)
        asked = {
            *(name for name in expectation.roi if name != "all"),
            *((expectation.over,) if expectation.over else ()),
        }
        for name in sorted({name.removesuffix("_core") for name in asked} - names):
            yield Problem(
                CorruptInput, path, "the region is not in the phantom", name, ", ".join(sorted(names))
            )
        for value in expectation.at:
            if value != "all" and value not in values:
                yield Problem(CorruptInput, path, "the axis has no such value", str(value))
        for kind, value in expectation.when.items():
            axis = spec.axis_of(kind)
            if axis is None or value not in axis.values:
                yield Problem(CorruptInput, path, "the axis has no such value", f"{kind} {value}")
        offered = spec.physics_of(expectation.modality or spec.modality).levels
        for level in sorted(set(expectation.level) - set(offered)):
            yield Problem(CorruptInput, path, "the phantom does not offer the level", str(level))


def _provenance_problems(spec: PhantomSpec) -> Iterator[Problem]:
    truths = [f"regions.{region.name}.truth" for region in spec.regions]
    for key in truths:
        if not any(fnmatchcase(key, given) for given in spec.provenance):
            name = key.split(".")[1]
            yield Problem(CorruptInput, ("provenance",), "a truth has no provenance", name, f"an entry {key}")
    for key in spec.provenance:
        head, _, rest = key.partition(".")
        region = rest.partition(".")[0]
        unknown = head == "regions" and not any(fnmatchcase(r.name, region) for r in spec.regions)
        if head not in PhantomSpec.model_fields or unknown:
            yield Problem(CorruptInput, ("provenance", key), "provenance of something not in the file", key)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{float(value):.4g}" for value in values)
