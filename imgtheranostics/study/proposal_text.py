"""A proposed manifest as YAML with its questions as comments, or as a table."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from imgtheranostics.io.survey import FoundSeries
from imgtheranostics.study.manifest import Analysis
from imgtheranostics.study.manifest_files import OPEN
from imgtheranostics.study.proposal import Proposal, ProposedSession, ProposedSubject, Question
from imgtheranostics.study.proposal_questions import ProposedQuestion
from imgtheranostics.study.proposal_roles import RoleOf

_ADMINISTRATION = ("activity", "at", "nuclide")


def proposal_text(proposal: Proposal, manifest: Path) -> str:
    """The proposal as YAML; `manifest` is where it will lie, as paths are relative to its folder.

    Open questions are comments that begin with ``# ASK:``, and values ``ask``, which `read_manifest` refuses.
    """
    return "\n".join(_lines(proposal, manifest)) + "\n"


def _lines(proposal: Proposal, manifest: Path) -> Iterator[str]:
    if proposal.questions:
        yield f"# {len(proposal.questions)} open questions: lines with ASK, and values {OPEN}."
    for note in proposal.notes:
        yield f"# {_plain(note)}"
    yield f"study: {_quoted(proposal.name)}"
    yield "# agent: record of the nanoparticle, as in imgtheranostics agents list"
    if proposal.outcomes is not None:
        yield f"outcomes: {_quoted(_relative(proposal.outcomes, manifest))}"
    yield "subjects:" if proposal.subjects else "subjects: []"
    for subject in proposal.subjects:
        yield from _subject(subject, proposal, manifest)
    if proposal.asks:
        yield from _asks(proposal.asks)
    if proposal.analyses:
        yield "# Analyses that fit these scans: take the marks away from those that are wanted."
        yield "# analyses:"
        for analysis in proposal.analyses:
            yield from _analysis(analysis)
    if proposal.left_out:
        yield "# Left out:"
        for one in proposal.left_out:
            count = f" ({one.files} files)" if one.files > 1 else ""
            yield f"#   {_plain(_relative(one.path, manifest))}{count}: {_plain(one.reason)}"


def _subject(subject: ProposedSubject, proposal: Proposal, manifest: Path) -> Iterator[str]:
    person = subject.person
    own = {one.about: one for one in proposal.questions if one.subject == subject.id and not one.session}
    yield from _asked(own.get("id"), "  ")
    doubt = f"  # {subject.id}?" if subject.several else ""
    yield f"  - id: {_quoted(OPEN if 'id' in own else subject.id)}{doubt}"
    yield (
        f"    group: {_quoted(person.group)}" if person.group else "    # group: which arm, if there are any"
    )
    for key, value, unit in (
        ("species", person.species, ""),
        ("sex", person.sex, ""),
        ("weight", person.weight_kg, " kg"),
        ("height", person.height_m, " m"),
    ):
        if value is None:
            continue
        if key in own:
            yield from _asked(own[key], "    ")
            yield f"    {key}: {OPEN}  # {value:g}{unit}?"
        else:
            yield f"    {key}: {_quoted(value if isinstance(value, str) else f'{value!r}{unit}')}"
    if person.covariates:
        inside = ", ".join(f"{name}: {value!r}" for name, value in person.covariates.items())
        yield f"    covariates: {{{inside}}}"
    if person.factors:
        inside = ", ".join(f"{name}: {_quoted(value)}" for name, value in person.factors.items())
        yield f"    factors: {{{inside}}}"
    yield "    sessions:"
    for session in subject.sessions:
        asked = {
            one.about: one
            for one in proposal.questions
            if one.subject == subject.id and one.session == session.id
        }
        yield from _session(session, asked, manifest)


def _session(session: ProposedSession, asked: dict[str, Question], manifest: Path) -> Iterator[str]:
    yield f"      - id: {_quoted(session.id)}"
    yield from _asked(asked.get("date"), "        ")
    yield f"        date: {OPEN if session.begin is None else session.begin.isoformat(timespec='seconds')}"
    yield "        scans:"
    for one in session.scans:
        yield from _asked(asked.get(f"scans.{one.role}"), "          ")
        yield from _scan(one, manifest)
    regions = session.regions
    if regions is not None:
        for about in ("regions", "regions.drawn_on"):
            yield from _asked(asked.get(about), "        ")
        if regions.path is None:
            yield f"        regions: {OPEN}"
            for candidate in regions.candidates:
                yield f"        # regions: {{path: {_quoted(_relative(candidate.path, manifest))}}}"
        else:
            drawn = f", drawn_on: {regions.drawn_on or OPEN}"
            yield f"        regions: {{path: {_quoted(_relative(regions.path, manifest))}{drawn}}}"
    if session.no_injection:
        yield from _asked(asked.get("administration"), "        ")
        inside = ", ".join(f"{name}: {OPEN}" for name in _ADMINISTRATION if name in session.no_injection)
        yield f"        administration: {{{inside}}}"


def _asked(question: Question | None, indent: str) -> Iterator[str]:
    if question is not None:
        yield f"{indent}# ASK: {_plain(question.text)}"


def _scan(one: RoleOf, manifest: Path) -> Iterator[str]:
    if one.found is None:
        yield f"          {one.role}: {OPEN}"
        for candidate in one.candidates:
            entry = _entry(candidate, manifest)
            yield f"          # {one.role}: {entry}  # {_plain(candidate.described)}"
        return
    why = f"; {one.why}" if one.why else ""
    comment = _plain(f"{one.found.described}{why}")
    yield f"          {one.role}: {_entry(one.found, manifest)}  # {comment}"


def _entry(one: FoundSeries, manifest: Path) -> str:
    path = _quoted(_relative(one.path, manifest))
    return f"{{path: {path}, series: {_quoted(one.series)}}}" if one.series else path


def _analysis(analysis: Analysis) -> Iterator[str]:
    yield f"#   - name: {analysis.name}"
    yield f"#     command: {analysis.command}"
    yield f"#     scans: [{', '.join(_quoted(one) for one in analysis.scans)}]"
    if analysis.options:
        yield f"#     options: {json.dumps(analysis.model_dump(mode='json')['options'])}"


def _asks(asks: Sequence[ProposedQuestion]) -> Iterator[str]:
    yield "# Questions that fit: take the marks away from those that were asked before results are seen, and"
    yield f"# answer each {OPEN}. Every further one costs the others power."
    yield "# measured: label, carrier or drug: what the images show"
    yield "# questions:"
    for one in asks:
        for number, (key, value) in enumerate(one.values.items()):
            mark = "- " if not number else "  "
            choice = one.choices.get(key) if value == OPEN else None
            if isinstance(value, Mapping):
                inner = [f"{name}: {one.choices[name]}" for name in value if value[name] == OPEN]
                choice = "; ".join(inner) or None
            comment = f"  # {_plain(choice)}" if choice else ""
            yield f"#   {mark}{key}: {_valued(value)}{comment}"


def _valued(value: object) -> str:
    """A value as YAML reads it back, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_valued(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else _quoted(value)


def _relative(path: Path, manifest: Path) -> str:
    """A path as the manifest names it; of another drive, as it is."""
    try:
        return Path(os.path.relpath(path.absolute(), manifest.absolute().parent)).as_posix()
    except ValueError:
        return str(path.absolute())


def _quoted(text: str) -> str:
    """A text as YAML reads it back, whatever it looks like."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _plain(text: str) -> str:
    """A text that cannot leave its comment's line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def proposal_table(proposal: Proposal, manifest: Path) -> str:
    """The proposal as a table with one row per scan and ``ask`` where a question is open."""
    rows = [
        row
        for subject in proposal.subjects
        for session in subject.sessions
        for row in _rows(subject, session, manifest)
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    delimiter = "," if manifest.suffix.lower() == ".csv" else "\t"
    writer = csv.DictWriter(stream, columns, delimiter=delimiter, lineterminator="\n", restval="n/a")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _rows(subject: ProposedSubject, session: ProposedSession, manifest: Path) -> Iterator[dict[str, str]]:
    person = subject.person
    weight = None if person.weight_kg is None else f"{person.weight_kg!r} kg"
    shared = {
        "subject": OPEN if subject.several else subject.id or OPEN,
        "group": person.group,
        "species": person.species,
        "sex": person.sex,
        "weight": OPEN if "weight" in person.unsure else weight,
        "height": None if person.height_m is None else f"{person.height_m!r} m",
        **{f"covariate_{name}": repr(value) for name, value in person.covariates.items()},
        **{f"factor_{name}": value for name, value in person.factors.items()},
        "session": session.id,
        "date": OPEN if session.begin is None else session.begin.isoformat(timespec="seconds"),
        **_regions_columns(session, manifest),
        **{f"administration_{name}": OPEN for name in session.no_injection},
    }
    seen: set[tuple[Path, str]] = set()
    for one in session.scans:
        for series in [one.found] if one.found is not None else one.candidates:
            if (series.path, series.series) in seen:
                continue
            seen.add((series.path, series.series))
            scan = {
                "role": OPEN if one.found is None else one.role,
                "path": _relative(series.path, manifest),
                "series": series.series,
            }
            yield {key: value or "n/a" for key, value in {**shared, **scan}.items()}


def _regions_columns(session: ProposedSession, manifest: Path) -> dict[str, str]:
    regions = session.regions
    if regions is None:
        return {"regions": "", "drawn_on": ""}
    if regions.path is None:
        return {"regions": OPEN, "drawn_on": ""}
    return {"regions": _relative(regions.path, manifest), "drawn_on": regions.drawn_on or OPEN}
