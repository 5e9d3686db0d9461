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
_NOBODY = frozenset(
    {
        "anon",
        "anonymous",
        "anonymised",
        "anonymized",
        "patient",
        "subject",
        "phantom",
        "mouse",
        "rat",
        "human",
    }
    | {"animal", "test", "unknown", "none", "pet", "spect", "liver", "tumour", "tumor", "lesion", "mask"}
)
"""Words that stand in name fields and name nobody."""
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
    identifiers : iterable of (str, str)
        Keyword and value, such as PatientID, PatientName and dates, in any DICOM spelling. Parts of names
        count too; descriptions count as a whole.
    inputs : sequence of Input
        Files whose paths and names become ``[input 1]``, ``[input 2]`` ...
    """

    def __init__(self, identifiers: Iterable[tuple[str, str]] = (), inputs: Iterable[Input] = ()) -> None:
        self._names: dict[str, str] = {}
        self._folders: set[str] = set()
        for number, item in enumerate(inputs, start=1):
            self._add_path(item.path, f"[input {number}]")
        awkward = [name for name in self._names if not _TOKEN.fullmatch(name) and len(name) >= _LONG_ENOUGH]
        self._awkward = tuple(sorted(awkward, key=len, reverse=True))
        words, label_words = _telling_words(identifiers)
        self._identifiers = _pattern(words)
        self._in_labels = _pattern(label_words)

    @classmethod
    def for_run(cls, run: Run, inputs: Iterable[Input]) -> Scrubber:
        """A scrubber that knows what the sources of a run say about the person and the files."""
        known = [item for source in run.sources for item in source.identifiers.items()]
        scrubber = cls(known, inputs)
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
        text = _TOKEN.sub(lambda match: self._token(match.group()), text)
        return _without(self._identifiers, text)

    def where(self, text: str) -> str:
        """A place or an option: as `text`, and a text that is no more than a folder's name goes too."""
        return PATH_WITHHELD if text.strip("/\\") in self._folders else self.text(text)

    def label(self, text: str) -> str:
        """A name that the user chose, such as a region's: identifiers, dates and UIDs are replaced.

        Short ones that are no part of a person's name stay: a patient number ``DRO`` must not cost the
        region ``DRO_mask`` its name.
        """
        return _without(self._in_labels, text)

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


def _without(identifiers: re.Pattern[str] | None, text: str) -> str:
    if identifiers is not None:
        text = identifiers.sub(WITHHELD, text)
    return _DATE.sub(DATE_WITHHELD, _UID.sub(UID_WITHHELD, text))


def _telling_words(identifiers: Iterable[tuple[str, str]]) -> tuple[set[str], set[str]]:
    """What to take out of texts, and the part of it to take out of names of regions too."""
    everywhere: set[str] = set()
    in_labels: set[str] = set()
    for keyword, value in identifiers:
        whole = str(value).strip()
        if "Name" in keyword:
            parts = {whole, whole.replace("^", " ").strip(), *re.split(r"[\^=\s,]+", whole)}
            names = {part for part in parts if len(part) >= _SHORTEST_NAME}
            everywhere |= names
            in_labels |= names
            continue
        shortest = _LONG_ENOUGH if "Description" in keyword else _SHORTEST_NAME
        everywhere |= {whole} if len(whole) >= shortest else set()
        in_labels |= {whole} if len(whole) >= _LONG_ENOUGH else set()
    named = {word for word in everywhere if word.lower() not in _NOBODY}
    return named, in_labels & named


def _pattern(words: set[str]) -> re.Pattern[str] | None:
    """One expression for all words, the longest first; short ones match whole words only."""
    if not words:
        return None
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return re.compile("|".join(_expression(word) for word in ordered), re.IGNORECASE)


def _expression(word: str) -> str:
    exact = re.escape(word)
    if len(word) >= _LONG_ENOUGH and not re.fullmatch(r"[\d.]+", word):
        return exact
    return rf"(?<![^\W_]){exact}(?![^\W_])"
