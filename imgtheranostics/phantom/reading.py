"""Phantom files: found, read with their line numbers, and refused by file and line when they are wrong."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from imgtheranostics.errors import (
    ImgTheranosticsError,
    ImplausibleValue,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.phantom.checks import contradictions
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.yaml_lines import Document, Lines, read

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


def path_of(slug_or_path: str | Path) -> Path:
    """The file of a phantom, by slug or as it is given.

    Raises
    ------
    NothingUsable
        If there is no such slug; the known ones are listed.
    """
    path = Path(slug_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    if str(slug_or_path) not in available():
        near = get_close_matches(str(slug_or_path), available(), n=3)
        raise NothingUsable(
            f"there is no phantom {str(slug_or_path)!r}",
            found=("near: " + ", ".join(near) + "; " if near else "") + "known: " + ", ".join(available()),
            next_step="choose one of these, or give a .yaml file",
        )
    return library() / f"{slug_or_path}.yaml"


def load_spec(slug_or_path: str | Path) -> PhantomSpec:
    """A phantom's specification, by slug or from a file.

    Raises
    ------
    NothingUsable
        If there is no such phantom or file; the known slugs are listed.
    CorruptInput, UnitMismatch, ImplausibleValue, GeometryMismatch, MissingMetadata
        If the file is not a valid specification, with its line.
    """
    document = read(path_of(slug_or_path), subject="phantom file")
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
    document = Document(content, where, lines or {})
    spec = document.validated(PhantomSpec, "the phantom specification is not valid", kinds=_KINDS)
    for problem in contradictions(spec):
        raise problem.kind(
            problem.what,
            where=document.place(problem.path),
            found=problem.found,
            needed=problem.needed or None,
        )
    return spec
