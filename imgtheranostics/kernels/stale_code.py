"""Compiled code whose inlined pieces changed is thrown away before it can run.

Numba keeps compiled code beside a module and makes it anew when that module changes. Code of other modules
that was compiled into it does not count, so that after an update in place (``git pull``) an old kernel could
run with new callers. The modules as they were are therefore remembered beside the compiled code.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

RECORD = "kernels.json"
"""Name of the file that remembers the modules, among the compiled code."""

_IMPORTS = re.compile(r"^\s*(?:from|import)\s+[\w.]*?kernels(?:\.(\w+))?(?:\s+import\s+([\w, ()]+))?", re.M)

State = dict[str, list[int]]


def forget_stale_code(folder: Path) -> list[str]:
    """Remove compiled code of modules that take pieces of a changed one.

    Parameters
    ----------
    folder : Path
        Of the modules; compiled code lies in its ``__pycache__``.

    Returns
    -------
    list of str
        Modules whose code was removed. A folder that cannot be written to is left as it is: nobody edits
        modules there.
    """
    cache = folder / "__pycache__"
    if not cache.is_dir():
        return []
    record = cache / RECORD
    now = _state(folder)
    before = _remembered(record)
    if now == before:
        return []
    changed = {name for name in now if now[name] != before.get(name)}
    # without a record nothing is known of how old the code is
    stale = sorted(_dependents(folder, changed, set(now)) - (changed if before else set()))
    try:
        for name in stale:
            for kept in cache.glob(f"{name}.*.nb?"):
                kept.unlink(missing_ok=True)
        partial = cache / f"{RECORD}.{os.getpid()}"
        partial.write_text(json.dumps(now), encoding="utf-8")
        partial.replace(record)
    except OSError:
        return []
    return stale


def _state(folder: Path) -> State:
    """Time and size of each module."""
    with os.scandir(folder) as found:
        return {
            entry.name[:-3]: [entry.stat().st_mtime_ns, entry.stat().st_size]
            for entry in sorted(found, key=lambda entry: entry.name)
            if entry.name.endswith(".py")
        }


def _remembered(record: Path) -> State:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _dependents(folder: Path, changed: set[str], known: set[str]) -> set[str]:
    """The changed modules and all that import one of them, directly or not."""
    needs = {name: _imported(folder / f"{name}.py") & known for name in known}
    found = set(changed)
    while more := {name for name in known - found if needs[name] & found}:
        found |= more
    return found


def _imported(module: Path) -> set[str]:
    try:
        text = module.read_text(encoding="utf-8")
    except OSError:
        return set()
    names: set[str] = set()
    for direct, listed in _IMPORTS.findall(text):
        names |= {direct} if direct else set(re.findall(r"\w+", listed))
    return names
