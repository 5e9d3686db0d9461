"""Phantom files: found, read with their line numbers, and refused by file and line when they are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    ImgTheranosticsError,
    ImplausibleValue,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.yaml_lines import Document, KeyPath, Lines, read

_KINDS: dict[str, type[ImgTheranosticsError]] = {
    "unit": UnitMismatch,
    "greater_than_equal": ImplausibleValue,
    "greater_than": ImplausibleValue,
}


def library() -> Path:
    """The folder of the shipped phantom files: inside the package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "library", package.parent.parent / "phantoms"):
        if folder.is_dir():
            return folder
    raise NothingUsable(
        "the phantom files are missing", where=str(package / "library"), next_step="install the package again"
    )


def available() -> tuple[str, ...]:
    """Slugs of the shipped phantoms, sorted."""
    return tuple(sorted(path.stem for path in library().glob("*.yaml")))


def load_spec(slug_or_path: str | Path) -> PhantomSpec:
    """A phantom's specification, by slug or from a file.

    Raises
    ------
    NothingUsable
        If there is no such phantom or file; the known slugs are listed.
    CorruptInput, UnitMismatch, ImplausibleValue, GeometryMismatch
        If the file is not a valid specification, with its line.
    """
    path = Path(slug_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = library() / f"{slug_or_path}.yaml"
        if str(slug_or_path) not in available():
            raise NothingUsable(
                f"there is no phantom {str(slug_or_path)!r}",
                found="known: " + ", ".join(available()),
                next_step="choose one of these, or give a .yaml file",
            )
    document = read(path, subject="phantom file")
    return parse_spec(document.content, where=document.where, lines=document.lines)


def parse_spec(
    content: object, *, where: str = "phantom specification", lines: Lines | None = None
) -> PhantomSpec:
    """A specification from plain data, checked as a file is.

    Parameters
    ----------
    content : mapping
        What the YAML file would hold.
    where : str
        Name for error messages.
    lines : mapping of path to int, optional
        Line of each entry.
    """
    from pydantic import ValidationError

    document = Document(content, where, lines or {})
    try:
        spec = PhantomSpec.model_validate(content)
    except ValidationError as error:
        raise document.refusal(error, "the phantom specification is not valid", kinds=_KINDS) from None
    for problem in _contradictions(spec):
        raise problem.kind(
            problem.what,
            where=document.place(problem.path),
            found=problem.found,
            needed=problem.needed or None,
        )
    return spec


@dataclass(frozen=True, slots=True)
class _Problem:
    kind: type[ImgTheranosticsError]
    path: KeyPath
    what: str
    found: str
    needed: str = ""


def _contradictions(spec: PhantomSpec) -> Iterator[_Problem]:
    yield from _region_problems(spec)
    yield from _axis_problems(spec)
    yield from _expect_problems(spec)
    yield from _provenance_problems(spec)


def _region_problems(spec: PhantomSpec) -> Iterator[_Problem]:
    from imgtheranostics.phantom.templates import region_shapes, template

    half = [n * h / 2 for n, h in zip(spec.grid.shape, spec.grid.voxel_mm, strict=True)]
    names = [region.name for region in spec.regions]
    for n, region in enumerate(spec.regions):
        path = ("regions", n)
        if names.index(region.name) != n:
            yield _Problem(CorruptInput, path, "a region name repeats", region.name)
        if not region.shape and region.name not in template(spec.template):
            known = ", ".join(template(spec.template)) or "none, no template is named"
            yield _Problem(CorruptInput, path, "the template has no such organ", region.name, known)
            continue
        for shape in region_shapes(spec.template, region):
            norms = shape.norms()
            ends = [abs(c) + r for c, r in zip(norms.centre, norms.reach, strict=True)]
            if any(end > h + 1e-6 for end, h in zip(ends, half, strict=True)):
                yield _Problem(
                    GeometryMismatch,
                    path,
                    "the region reaches outside the grid",
                    f"{region.name} reaches {_listed(ends)} mm from the centre",
                    f"at most {_listed(half)} mm",
                )


def _axis_problems(spec: PhantomSpec) -> Iterator[_Problem]:
    durations = spec.physics.frame_duration_s
    if len(durations) not in (1, len(spec.axis.values)):
        yield _Problem(
            CorruptInput,
            ("physics", "frame_duration_s"),
            "frame durations do not fit the axis",
            f"{len(durations)} durations",
            f"1 or {len(spec.axis.values)}",
        )
    if spec.axis.kind == "header_variant":
        known = [variant.name for variant in spec.variants]
        for value in spec.axis.values:
            if value not in known:
                yield _Problem(CorruptInput, ("axis", "values"), "the variant is not described", str(value))
        return
    longest = max(durations) / 2 / 3600
    if float(spec.axis.values[0]) < longest:
        yield _Problem(
            ImplausibleValue,
            ("axis", "values"),
            "the first frame would start before the injection",
            f"mid-frame {spec.axis.values[0]} h",
            f"at least {longest:.4g} h",
        )


def _expect_problems(spec: PhantomSpec) -> Iterator[_Problem]:
    names = {region.name for region in spec.regions}
    for n, expectation in enumerate(spec.expect):
        path = ("expect", n)
        asked = {*expectation.roi, *((expectation.over,) if expectation.over else ())}
        for name in sorted({name.removesuffix("_core") for name in asked} - names):
            yield _Problem(
                CorruptInput, path, "the region is not in the phantom", name, ", ".join(sorted(names))
            )
        for value in expectation.at:
            if value != "all" and value not in spec.axis.values:
                yield _Problem(CorruptInput, path, "the axis has no such value", str(value))
        for level in sorted(set(expectation.level) - set(spec.physics.levels)):
            yield _Problem(CorruptInput, path, "the phantom does not offer the level", str(level))


def _provenance_problems(spec: PhantomSpec) -> Iterator[_Problem]:
    names = {region.name for region in spec.regions}
    for name in sorted(names):
        if f"regions.{name}.truth" not in spec.provenance:
            yield _Problem(
                CorruptInput,
                ("provenance",),
                "a truth has no provenance",
                name,
                f"an entry regions.{name}.truth",
            )
    for key in spec.provenance:
        head, _, rest = key.partition(".")
        region = rest.partition(".")[0]
        if head not in PhantomSpec.model_fields or (head == "regions" and region not in names):
            yield _Problem(CorruptInput, ("provenance", key), "provenance of something not in the file", key)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{float(value):.4g}" for value in values)
