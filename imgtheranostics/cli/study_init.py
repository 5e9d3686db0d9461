"""``study init``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, terminal

if TYPE_CHECKING:
    from imgtheranostics.study.proposal import Proposal, ProposedSession, ProposedSubject

_SUFFIXES = (".yaml", ".yml", ".tsv", ".csv")
_MOST_LINES = 40

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Scans of any kind in any folders, or a BIDS dataset.")
]
Manifest = Annotated[
    Path, typer.Option("--out", "-o", help="Manifest to write: .yaml, or .tsv with one row per scan.")
]
Threads = Annotated[int, typer.Option("--workers", min=1, help="Files that are read at a time.")]


def init(
    folder: Folder,
    out: Manifest = Path("study.yaml"),
    force: options.Force = False,
    workers: Threads = 8,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Propose a manifest for the scans of FOLDER from their headers.

    Each series gets its role, or is a question: what headers cannot tell stands as a comment with ASK and a
    value "ask" in the manifest, which study run refuses until it is answered.
    """
    from imgtheranostics.errors import OutputError
    from imgtheranostics.io.atomic import write_text
    from imgtheranostics.study.proposal import propose
    from imgtheranostics.study.proposal_text import proposal_table, proposal_text

    suffix = out.suffix.lower()
    if suffix not in _SUFFIXES:
        raise typer.BadParameter(f"a name that ends in {', '.join(_SUFFIXES)}", param_hint="--out")
    if out.exists() and not force:
        raise OutputError(
            "the manifest is there already", where=str(out), next_step="choose another --out, or --force"
        )
    proposal = propose(folder, workers=workers)
    write = proposal_text if suffix in (".yaml", ".yml") else proposal_table
    write_text(out, write(proposal, out))
    if as_json:
        terminal.print_json(_as_dict(proposal, out))
    else:
        _print(proposal, out, quiet=quiet)


def _as_dict(proposal: Proposal, out: Path) -> dict[str, Any]:
    return {
        "command": "study init",
        "manifest": str(out),
        "subjects": [
            {
                "subject": subject.id,
                "group": subject.person.group,
                "sessions": [_session(session, subject, proposal.root) for session in subject.sessions],
            }
            for subject in proposal.subjects
        ],
        "questions": [
            {
                "subject": one.subject,
                "session": one.session,
                "about": one.about,
                "question": one.text,
                "choices": list(one.choices),
            }
            for one in proposal.questions
        ],
        "left_out": [
            {"path": _below(one.path, proposal.root), "reason": one.reason, "files": one.files}
            for one in proposal.left_out
        ],
        "analyses": [
            one.model_dump(mode="json", exclude_defaults=True, exclude_none=True) for one in proposal.analyses
        ],
        "study_questions": [{**one.values, "choices": dict(one.choices)} for one in proposal.asks],
        "notes": list(proposal.notes),
    }


def _session(session: ProposedSession, subject: ProposedSubject, root: Path) -> dict[str, Any]:
    """A session without dates: seconds since the subject's first."""
    begins = [one.begin for one in subject.sessions if one.begin is not None]
    after = None if session.begin is None else (session.begin - min(begins)).total_seconds()
    regions = session.regions
    return {
        "session": session.id,
        "seconds_after_first": after,
        "scans": [
            {
                "role": one.role,
                "path": None if one.found is None else _below(one.found.path, root),
                "series": None if one.found is None else one.found.series,
                "described": "" if one.found is None else one.found.described,
                "candidates": [
                    {"path": _below(c.path, root), "series": c.series, "described": c.described}
                    for c in one.candidates
                ],
            }
            for one in session.scans
        ],
        "regions": None if regions is None or regions.path is None else _below(regions.path, root),
        "drawn_on": None if regions is None else regions.drawn_on or None,
    }


def _below(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _print(proposal: Proposal, out: Path, *, quiet: bool) -> None:
    rows = [_row(session, subject.id or "?") for subject in proposal.subjects for session in subject.sessions]
    if not quiet:
        headings = ["subject", "session", "scans", "regions"]
        terminal.print_table(proposal.name, headings, rows[:_MOST_LINES], set())
        _more(len(rows))
        for one in proposal.left_out[:_MOST_LINES]:
            count = f" ({one.files} files)" if one.files > 1 else ""
            place = terminal.visible(_below(one.path, proposal.root))
            typer.echo(f"left out: {place}{count}: {terminal.visible(one.reason)}")
        _more(len(proposal.left_out))
        for note in proposal.notes:
            typer.echo(f"note: {terminal.visible(note)}")
    for question in proposal.questions[:_MOST_LINES]:
        place = ", ".join(part for part in (question.subject, question.session, question.about) if part)
        typer.echo(f"ask: {place}: {terminal.visible(question.text)}")
        for choice in question.choices:
            typer.echo(f"       {terminal.visible(choice)}")
    _more(len(proposal.questions))
    typer.echo(
        f"{out}: {len(proposal.subjects)} subjects, {proposal.n_scans} scans, "
        f"{len(proposal.questions)} open questions"
    )


def _row(session: ProposedSession, subject: str) -> list[str]:
    roles = ", ".join(_marked(one.role, one.found) for one in session.scans)
    drawn = "" if session.regions is None else session.regions.drawn_on or "?"
    return [subject, session.id, roles, drawn]


def _marked(role: str, found: object) -> str:
    return role if found is not None else f"{role}?"


def _more(count: int) -> None:
    if count > _MOST_LINES:
        typer.echo(f"  and {count - _MOST_LINES} more; all are in the manifest and with --json")
