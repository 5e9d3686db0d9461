"""Phantom files: found, read with their line numbers, and refused by file and line when they are wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    ImgTheranosticsError,
    ImplausibleValue,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.phantom.spec import PhantomSpec

LARGEST_FILE_BYTES = 1 << 20
DEEPEST_NESTING = 32
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_KINDS: dict[str, type[ImgTheranosticsError]] = {
    "unit": UnitMismatch,
    "greater_than_equal": ImplausibleValue,
    "greater_than": ImplausibleValue,
}

Path_ = tuple[str | int, ...]
Lines = Mapping[Path_, int]


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
    if not path.is_file():
        raise NothingUsable("the phantom file does not exist", where=str(path))
    if path.stat().st_size > LARGEST_FILE_BYTES:
        raise CorruptInput("the phantom file is larger than 1 MiB", where=str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorruptInput("the phantom file is not UTF-8 text", where=str(path)) from error
    content, lines = _parse(text, str(path))
    return parse_spec(content, where=str(path), lines=lines)


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

    known = lines or {}
    try:
        spec = PhantomSpec.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = _existing(first["loc"], content)
        kind = _KINDS.get(first["type"], CorruptInput)
        needed = first["msg"]
        if first["type"] == "extra_forbidden":
            needed = "a key of the specification"
        raise kind(
            "the phantom specification is not valid",
            where=_place(where, path, known),
            found=f"{_dotted(path or first['loc'])}: {_short(first.get('input'))}",
            needed=needed,
        ) from None
    for problem in _contradictions(spec):
        raise problem.kind(
            problem.what,
            where=_place(where, problem.path, known),
            found=problem.found,
            needed=problem.needed or None,
        )
    return spec


@dataclass(frozen=True, slots=True)
class _Problem:
    kind: type[ImgTheranosticsError]
    path: Path_
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


def _parse(text: str, where: str) -> tuple[object, dict[Path_, int]]:
    import yaml

    class Loader(yaml.SafeLoader):
        """The safe loader with the floats of YAML 1.2, so that 7.4e6 is a number."""

    Loader.yaml_implicit_resolvers = {
        first: [item for item in items if item[0] != "tag:yaml.org,2002:float"]
        for first, items in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    lines: dict[Path_, int] = {}
    loader = Loader(text)
    try:
        _check_events(yaml.parse(text, Loader=yaml.SafeLoader), where)
        node = loader.get_single_node()
        if node is None:
            raise CorruptInput("the phantom file is empty", where=where)
        _note_lines(node, (), lines, where)
        return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise CorruptInput(
            "the phantom file is not valid YAML",
            where=f"{where}:{mark.line + 1}" if mark else where,
            found=getattr(error, "problem", None) or type(error).__name__,
        ) from None
    finally:
        loader.dispose()


def _check_events(events: Iterable[Any], where: str) -> None:
    """Refuse aliases, which can blow up a small file, and nesting that no specification has."""
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        line = f"{where}:{event.start_mark.line + 1}" if event.start_mark else where
        if isinstance(event, yaml.AliasEvent):
            raise CorruptInput(
                "the phantom file uses a YAML alias", where=line, next_step="write the value out"
            )
        if depth > DEEPEST_NESTING:
            raise CorruptInput("the phantom file is nested too deeply", where=line)


def _note_lines(node: Any, path: Path_, lines: dict[Path_, int], where: str) -> None:
    import yaml

    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for n, item in enumerate(node.value):
            _note_lines(item, (*path, n), lines, where)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise CorruptInput(
                    "a key stands twice in the phantom file",
                    where=f"{where}:{line}",
                    found=f"{_dotted((*path, key.value))}, first on line {seen[key.value]}",
                )
            seen[key.value] = line
            lines[(*path, key.value)] = line
            _note_lines(value, (*path, key.value), lines, where)


def _existing(loc: tuple[str | int, ...], content: object) -> Path_:
    """The part of a pydantic location that exists in the data; union tags are skipped."""
    path: list[str | int] = []
    here = content
    for part in loc:
        if (isinstance(here, Mapping) and part in here) or (
            isinstance(here, (list, tuple)) and isinstance(part, int) and part < len(here)
        ):
            here = here[part]  # type: ignore[index,unused-ignore]
            path.append(part)
    return tuple(path)


def _place(where: str, path: Path_, lines: Lines) -> str:
    while path and path not in lines:
        path = path[:-1]
    return f"{where}:{lines[path]}" if path in lines else where


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{float(value):.4g}" for value in values)


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
