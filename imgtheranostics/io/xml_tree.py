"""XML as a plain tree: no document type, no entities but the predefined ones, bounded size and depth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.whole_files import read_whole

MAXIMUM_BYTES = 256 * 2**20
MAXIMUM_DEPTH = 64
MAXIMUM_ELEMENTS = 5_000_000


class Element:
    """One element by its local name, with its attributes, its own text and its children."""

    __slots__ = ("attributes", "children", "name", "parts")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Element] = []
        self.parts: list[str] = []

    @property
    def text(self) -> str:
        """The text of the element itself, without white space around it."""
        return "".join(self.parts).strip()

    def all(self, *names: str) -> list[Element]:
        """The elements at a path of names below this one, all of them at every step."""
        found = [self]
        for name in names:
            found = [child for parent in found for child in parent.children if child.name == name]
        return found

    def first(self, *names: str) -> Element | None:
        """The first element at a path of names below this one."""
        return next(iter(self.all(*names)), None)

    def walk(self) -> Iterator[Element]:
        """The element itself and all below it."""
        waiting = [self]
        while waiting:
            one = waiting.pop()
            yield one
            waiting.extend(reversed(one.children))


def read_xml(path: Path) -> Element:
    """The root element of an XML file.

    Raises
    ------
    CorruptInput
        If the file is empty, too large, not XML, nested too deeply, or has a document type definition, which
        could define entities and name other files.
    """
    raw = read_whole(path, "an XML description", most_bytes=MAXIMUM_BYTES, too_large=CorruptInput)
    return _Builder(path).parse(raw)


class _Builder:
    """Collects what the parser reports."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.top = Element("", {})
        self.open = [self.top]
        self.count = 0

    def parse(self, raw: bytes) -> Element:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(raw, True)
        except expat.ExpatError as error:
            raise CorruptInput(
                "this is not a well-formed XML file",
                where=str(self.path),
                found=f"{expat.errors.messages.get(error.code, 'an error')} at line {error.lineno}, column "
                f"{error.offset}",
            ) from None
        except (ValueError, LookupError):
            raise CorruptInput(
                "the XML file cannot be read", where=str(self.path), found="an unknown encoding"
            ) from None
        return self.top.children[0]

    def _doctype(self, *_: object) -> None:
        raise CorruptInput(
            "the XML file has a document type definition, which is not read",
            where=str(self.path),
            found="DOCTYPE",
            needed="XML without one, as scanners write it",
            next_step="find out who changed the file: a definition can name other files",
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if len(self.open) > MAXIMUM_DEPTH or self.count > MAXIMUM_ELEMENTS:
            raise CorruptInput(
                "the XML file is nested too deeply or has too many elements",
                where=str(self.path),
                needed=f"at most {MAXIMUM_DEPTH} levels and {MAXIMUM_ELEMENTS} elements",
            )
        element = Element(name.rpartition(":")[2], attributes)
        self.open[-1].children.append(element)
        self.open.append(element)

    def _end(self, _: str) -> None:
        self.open.pop()

    def _text(self, text: str) -> None:
        if len(self.open) > 1 and not text.isspace():
            self.open[-1].parts.append(text)
