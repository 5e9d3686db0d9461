"""Typed errors and cautions: a right number or a clear refusal, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class ImgTheranosticsError(Exception):
    """A refusal that says what, where, what was found, what is needed and what to do next.

    Parameters
    ----------
    what : str
        The problem in one sentence, without identifying values of a person.
    where : str, optional
        File, tag, key or field.
    found, needed : str, optional
        What the input holds and what the method needs.
    next_step : str, optional
        What the reader can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        found: str | None = None,
        needed: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.found = found
        self.needed = needed
        self.next_step = next_step
        super().__init__(what)

    def parts(self) -> dict[str, str]:
        """The message as named parts, those that are set, in reading order."""
        named = {
            "what": self.what,
            "where": self.where,
            "found": self.found,
            "needed": self.needed,
            "next": self.next_step,
        }
        return {name: text for name, text in named.items() if text}

    def __str__(self) -> str:
        extra = [f"{name}: {text}" for name, text in self.parts().items() if name != "what"]
        return "; ".join([self.what, *extra])

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.found, self.needed, self.next_step))


def _rebuild(
    kind: type[ImgTheranosticsError],
    what: str,
    where: str | None,
    found: str | None,
    needed: str | None,
    next_step: str | None,
) -> ImgTheranosticsError:
    return kind(what, where=where, found=found, needed=needed, next_step=next_step)


class UnsupportedInput(ImgTheranosticsError):
    """Valid, but not handled: a modality, codec, object or unit that the method does not take."""

    exit_code = 4


class NothingUsable(UnsupportedInput):
    """The path holds nothing that can be loaded, or too many things to choose one."""

    exit_code = 3


class CorruptInput(ImgTheranosticsError):
    """The bytes contradict the header, are truncated, or hold a forbidden structure."""

    exit_code = 4


class MissingMetadata(ImgTheranosticsError):
    """A field that the quantity needs is absent."""

    exit_code = 5


class GeometryMismatch(ImgTheranosticsError):
    """Grids, slice positions or orientations do not fit together."""

    exit_code = 6


class UnitMismatch(ImgTheranosticsError):
    """The unit or scale is not what the method takes."""

    exit_code = 6


class ImplausibleValue(ImgTheranosticsError):
    """A value outside what is plausible, which the user may confirm."""

    exit_code = 6


class IllConditioned(ImgTheranosticsError):
    """A separation that the measurement cannot support."""

    exit_code = 6


class OutputError(ImgTheranosticsError):
    """The output cannot be written."""

    exit_code = 7


@dataclass(frozen=True, slots=True)
class Caution:
    """A warning that travels with a result into tables, JSON, report and terminal.

    Attributes
    ----------
    code : str
        Short stable identifier in kebab case, for example ``half-life-differs``.
    message : str
        One sentence for a reader.
    where : str
        File, tag or field that it is about; empty when it concerns the whole result.
    """

    code: str
    message: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" + (f" ({self.where})" if self.where else "")


def merge_cautions(*groups: tuple[Caution, ...]) -> tuple[Caution, ...]:
    """All cautions of several results in first-seen order, each once."""
    return tuple(dict.fromkeys(caution for group in groups for caution in group))
