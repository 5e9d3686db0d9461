"""Provenance: from which bytes, by which rules and versions, every number came to be."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from imgtheranostics._version import VERSION
from imgtheranostics.report.plain import plain
from imgtheranostics.report.privacy import Scrubber
from imgtheranostics.report.run import Input, Run
from imgtheranostics.report.tables import warnings_list
from imgtheranostics.volume import Step

SCHEMA = "imgtheranostics-provenance-1"
PACKAGES = (
    "numpy",
    "scipy",
    "numba",
    "llvmlite",
    "pandas",
    "pydicom",
    "nibabel",
    "SimpleITK",
    "scikit-image",
    "highdicom",
    "matplotlib",
)
"""Packages whose version can change a number or a picture."""


def provenance_object(
    run: Run,
    inputs: Sequence[Input],
    outputs: Mapping[str, bytes | str],
    *,
    keep_identifiers: bool = False,
) -> dict[str, Any]:
    """The content of `provenance.json`: nothing that identifies a person, nothing that changes between runs.

    Parameters
    ----------
    run : Run
    inputs : sequence of Input
        Files with their hashes; listed by number, not by name.
    outputs : mapping of str to bytes or str
        Name of each result file and its content or SHA-256.
    keep_identifiers : bool
        Add a section ``identifiers`` with paths, parameters as given and what the files say about the
        person. Every other section is the same with and without.
    """
    scrubber = Scrubber.for_run(run, inputs)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "command": run.command,
        "version": VERSION,
        "versions": package_versions(),
        "inputs": [
            {"index": number, "sha256": item.sha256, "bytes": item.n_bytes}
            for number, item in enumerate(inputs, start=1)
        ],
        "inputs_sha256": combined_hash(inputs),
        "parameters": plain(run.parameters, scrubber.where),
        "seed": run.seed,
        "decisions": plain(run.decisions, scrubber.text),
        "warnings": warnings_list(run, scrubber.text, scrubber.where),
        "history": {name: _steps(steps, scrubber) for name, steps in run.history.items()},
        "outputs": {name: _digest(content) for name, content in sorted(outputs.items())},
        "identifiers_kept": keep_identifiers,
    }
    if keep_identifiers:
        record["identifiers"] = _identifiers(run, inputs)
    return record


def combined_hash(inputs: Sequence[Input]) -> str:
    """One SHA-256 for a set of files: of their sorted hashes, so that names and order do not matter."""
    return hashlib.sha256("\n".join(sorted(item.sha256 for item in inputs)).encode()).hexdigest()


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can change a number."""
    found = {"python": platform.python_version(), "imgtheranostics": VERSION}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _steps(steps: Sequence[Step], scrubber: Scrubber) -> list[dict[str, Any]]:
    return [
        {
            "name": step.name,
            "parameters": plain(step.parameters, scrubber.text),
            "version": step.version,
        }
        for step in steps
    ]


def _digest(content: bytes | str) -> str:
    return content if isinstance(content, str) else hashlib.sha256(content).hexdigest()


def _identifiers(run: Run, inputs: Sequence[Input]) -> dict[str, Any]:
    return {
        "inputs": [str(item.path) for item in inputs],
        "sources": [plain(source.identifiers) for source in run.sources if source.identifiers],
        "parameters": _as_given(run.parameters),
        "warnings": warnings_list(run),
    }


def _as_given(parameters: Mapping[str, Any]) -> Any:
    """Parameters with their dates, which `plain` withholds."""
    spelled = {
        key: value.isoformat() if callable(getattr(value, "isoformat", None)) else value
        for key, value in parameters.items()
    }
    return plain(spelled)
