"""YAML files that people write: read with the line of every entry, so that a refusal can name it.

Duplicate keys, aliases, deep nesting and anything but plain data are refused. Numbers follow YAML 1.2, so
``7.4e6`` is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from imgtheranostics.errors import CorruptInput, ImgTheranosticsError, NothingUsable

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound="BaseModel")

LARGEST_FILE_BYTES = 1 << 20
DEEPEST_NESTING = 32
_FLOAT = re.compile(
    r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
)

KeyPath = tuple[str | int, ...]
Lines = Mapping[KeyPath, int]


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds, as plain data, and where each entry stands.

    Attributes
    ----------
    content : object
        Mappings, lists and scalars.
    where : str
        The file's name for error messages.
    lines : mapping of key path to int
        Line of each entry, from 1; empty for data that did not come from a file.
    """

    content: object
    where: str
    lines: Lines = field(default_factory=dict)

    def place(self, path: KeyPath) -> str:
        """The file and the line of an entry, or of the nearest one that holds it."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.where}:{self.lines[path]}" if path in self.lines else self.where

    def existing(self, loc: KeyPath) -> KeyPath:
        """The part of a pydantic location that exists in the data; union tags are skipped."""
        path: list[str | int] = []
        here = self.content
        for part in loc:
            inside_list = isinstance(here, (list, tuple)) and isinstance(part, int) and part < len(here)
            if inside_list or (isinstance(here, Mapping) and part in here):
                here = here[part]  # type: ignore[index,unused-ignore]
                path.append(part)
        return tuple(path)

    def validated(
        self,
        model: type[Model],
        what: str,
        *,
        kinds: Mapping[str, type[ImgTheranosticsError]] | None = None,
    ) -> Model:
        """The content as a pydantic model; `what` and `kinds` as in `refusal`, which is raised otherwise."""
        from pydantic import ValidationError

        try:
            return model.model_validate(self.content)
        except ValidationError as error:
            raise self.refusal(error, what, kinds=kinds) from None

    def refusal(
        self,
        error: ValidationError,
        what: str,
        *,
        kinds: Mapping[str, type[ImgTheranosticsError]] | None = None,
    ) -> ImgTheranosticsError:
        """The typed error for the first thing that pydantic found wrong, with its file and line.

        Parameters
        ----------
        error : pydantic.ValidationError
        what : str
            The sentence that the error opens with.
        kinds : mapping of str to error class, optional
            Error class by pydantic's error type; CorruptInput for those that are not listed.
        """
        first = error.errors(include_url=False)[0]
        path = self.existing(first["loc"])
        needed = {
            "extra_forbidden": "a key of the specification",
            "missing": f"the key {first['loc'][-1] if first['loc'] else ''}",
        }
        return (kinds or {}).get(first["type"], CorruptInput)(
            what,
            where=self.place(path),
            found=f"{dotted(path or first['loc'])}: {_short(first.get('input'))}",
            needed=needed.get(first["type"], first["msg"]),
        )


def read(path: str | Path, *, subject: str, most_bytes: int = LARGEST_FILE_BYTES) -> Document:
    """A YAML file with the line of each entry.

    Parameters
    ----------
    path : path
    subject : str
        What kind of file it is, for messages: ``phantom file``.
    most_bytes : int
        Of the file.

    Raises
    ------
    NothingUsable
        If there is no such file, or it cannot be read.
    CorruptInput
        If it is not UTF-8, larger than `most_bytes`, not YAML of plain data, or repeats a key.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise NothingUsable(f"the {subject} does not exist", where=str(path))
        if path.stat().st_size > most_bytes:
            raise CorruptInput(f"the {subject} is larger than {most_bytes >> 20} MiB", where=str(path))
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorruptInput(f"the {subject} is not UTF-8 text", where=str(path)) from error
    except OSError as error:
        raise NothingUsable(
            f"the {subject} cannot be read", where=str(path), found=error.strerror or type(error).__name__
        ) from error
    return parse(text, where=str(path), subject=subject)


def parse(text: str, *, where: str, subject: str) -> Document:
    """A YAML text with the line of each entry; refused as `read` does."""
    import yaml

    try:
        loader = _loader()(text)
    except yaml.YAMLError as error:
        raise _not_yaml(error, where, subject) from None
    lines: dict[KeyPath, int] = {}
    try:
        _check_events(yaml.parse(text, Loader=yaml.SafeLoader), where, subject)
        node = loader.get_single_node()
        if node is None:
            raise CorruptInput(f"the {subject} is empty", where=where)
        _note_lines(node, (), lines, where, subject)
        return Document(loader.construct_document(node), where, lines)
    except (yaml.YAMLError, ValueError) as error:
        raise _not_yaml(error, where, subject) from None
    finally:
        loader.dispose()


def _loader() -> type[Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """The safe loader with the floats of YAML 1.2, so that 7.4e6 is a number."""

    Loader.yaml_implicit_resolvers = {
        first: [item for item in items if item[0] != "tag:yaml.org,2002:float"]
        for first, items in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    return Loader


def _not_yaml(error: Exception, where: str, subject: str) -> CorruptInput:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None)
    return CorruptInput(
        f"the {subject} is not valid YAML",
        where=f"{where}:{mark.line + 1}" if mark else where,
        found=said or (str(error) if isinstance(error, ValueError) else type(error).__name__),
    )


def _check_events(events: Iterable[Any], where: str, subject: str) -> None:
    """Refuse aliases, which can blow up a small file, and nesting that no specification has."""
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        line = f"{where}:{event.start_mark.line + 1}" if event.start_mark else where
        if isinstance(event, yaml.AliasEvent):
            raise CorruptInput(
                f"the {subject} uses a YAML alias", where=line, next_step="write the value out"
            )
        if depth > DEEPEST_NESTING:
            raise CorruptInput(f"the {subject} is nested too deeply", where=line)


def _note_lines(node: Any, path: KeyPath, lines: dict[KeyPath, int], where: str, subject: str) -> None:
    import yaml

    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for n, item in enumerate(node.value):
            _note_lines(item, (*path, n), lines, where, subject)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise CorruptInput(f"a key of the {subject} is not a word", where=f"{where}:{line}")
            if key.value in seen:
                raise CorruptInput(
                    f"a key stands twice in the {subject}",
                    where=f"{where}:{line}",
                    found=f"{dotted((*path, key.value))}, first on line {seen[key.value]}",
                )
            seen[key.value] = line
            lines[(*path, key.value)] = line
            _note_lines(value, (*path, key.value), lines, where, subject)


def dotted(path: KeyPath) -> str:
    """A key path as people write it: ``regions.1.truth``."""
    return ".".join(str(part) for part in path)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
