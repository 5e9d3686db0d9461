"""Keeping persons out of what is written: names, numbers, dates and paths are taken out of every text.

File and folder names count as identifying, because scanners and users put names and dates into them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from imgtheranostics.report.plain import DATE_WITHHELD
from imgtheranostics.report.run import Input, Run

WITHHELD = "[withheld]"
PATH_WITHHELD = "[path]"
UID_WITHHELD = "[UID]"

_SHORTEST_NAME = 3
_LONG_ENOUGH = 6
_TOKEN = re.compile(r"[^\s\"'`()\[\]{},;=<>|]+")
_PATH_START = re.compile(r"^(?:[A-Za-z]:[\\/]|\\\\|/|~[\\/]|~$|\.{1,2}[\\/]|file:)")
_SPACED_PATH = re.compile(
    r"(?<![\w.%)\]/~])/(?=[^\s/])(?:[^/\n\"'<>|;]+/)+[^\s/\"'<>|;,)]+|\b[A-Za-z]:\\[^\n\"'<>|;,]+"
)
_DATE = re.compile(
    r"\b(?:19|20)\d{2}([-./])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])"
    r"(?:[T ]\d{2}:?\d{2}(?::?\d{2})?[.\d]*Z?)?"
    r"|\b(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{6}(?:\.\d+)?)?\b"
)
_UID = re.compile(r"\b(?:2\.25\.\d{6,}|[012](?:\.\d+){5,})\b")


class Scrubber:
    """Takes everything out of texts that may identify a person.

    Parameters
    ----------
    identifiers : iterable of str
        Values such as PatientID, PatientName and dates, in any DICOM spelling.
    inputs : sequence of Input
        Files whose paths and names become ``[input 1]``, ``[input 2]`` ...
    """

    def __init__(self, identifiers: Iterable[str] = (), inputs: Iterable[Input] = ()) -> None:
        self._names: dict[str, str] = {}
        self._folders: set[str] = set()
        for number, item in enumerate(inputs, start=1):
            self._add_path(item.path, f"[input {number}]")
        awkward = [name for name in self._names if not _TOKEN.fullmatch(name) and len(name) >= _LONG_ENOUGH]
        self._awkward = tuple(sorted(awkward, key=len, reverse=True))
        self._identifiers = _pattern(identifiers)

    @classmethod
    def for_run(cls, run: Run, inputs: Iterable[Input]) -> Scrubber:
        """A scrubber that knows what the sources of a run say about the person and the files."""
        values = [value for source in run.sources for value in source.identifiers.values()]
        scrubber = cls(values, inputs)
        for source in run.sources:
            for path in source.files:
                scrubber._add_path(path, PATH_WITHHELD)
        return scrubber

    def _add_path(self, path: Path, label: str) -> None:
        for name in (str(path), path.name):
            if len(name) >= _SHORTEST_NAME:
                self._names.setdefault(name, label)
        self._folders.update(part for part in path.parent.parts if len(part) >= _SHORTEST_NAME)

    def text(self, text: str) -> str:
        """Prose or a value: identifiers, paths, file names, dates and UIDs are replaced."""
        for name in self._awkward:
            if name in text:
                text = text.replace(name, self._names[name])
        text = _SPACED_PATH.sub(lambda match: self._path(match.group()), text)
        return self.label(_TOKEN.sub(lambda match: self._token(match.group()), text))

    def where(self, text: str) -> str:
        """A place or an option: as `text`, and a text that is no more than a folder's name goes too."""
        return PATH_WITHHELD if text.strip("/\\") in self._folders else self.text(text)

    def label(self, text: str) -> str:
        """A name that the user chose, such as a region's: identifiers, dates and UIDs are replaced."""
        if self._identifiers is not None:
            text = self._identifiers.sub(WITHHELD, text)
        return _DATE.sub(DATE_WITHHELD, _UID.sub(UID_WITHHELD, text))

    def _path(self, path: str) -> str:
        bare = path.rstrip(".:!?")
        known = self._names.get(bare) or self._names.get(re.split(r"[\\/]", bare)[-1])
        return (known or PATH_WITHHELD) + path[len(bare) :]

    def _token(self, token: str) -> str:
        bare = token.rstrip(".:!?")
        tail = token[len(bare) :]
        if bare in self._names:
            return self._names[bare] + tail
        parts = [part for part in re.split(r"[\\/]", bare) if part]
        if len(parts) > 1 or _PATH_START.match(bare):
            known = parts[-1] in self._names if parts else False
            if known:
                return self._names[parts[-1]] + tail
            if (_PATH_START.match(bare) and parts) or any(part in self._folders for part in parts):
                return PATH_WITHHELD + tail
        elif bare in self._folders and _telling(bare):
            return PATH_WITHHELD + tail
        return token


def _telling(name: str) -> bool:
    """Whether a folder's name is too particular to be a word of the language."""
    return len(name) >= _LONG_ENOUGH and not (name.isalpha() and name[1:].islower())


def _pattern(identifiers: Iterable[str]) -> re.Pattern[str] | None:
    """One expression for all identifiers and the parts of names; short ones match whole words only."""
    words: set[str] = set()
    for identifier in identifiers:
        text = str(identifier).strip()
        words.update({text, text.replace("^", " ").strip()})
        words.update(part.strip() for part in re.split(r"[\^=]", text))
    found = sorted((word for word in words if len(word) >= _SHORTEST_NAME), key=lambda w: (-len(w), w))
    if not found:
        return None
    return re.compile("|".join(_expression(word) for word in found), re.IGNORECASE)


def _expression(word: str) -> str:
    exact = re.escape(word)
    if len(word) >= _LONG_ENOUGH and not re.fullmatch(r"[\d.]+", word):
        return exact
    return rf"(?<![^\W_]){exact}(?![^\W_])"
