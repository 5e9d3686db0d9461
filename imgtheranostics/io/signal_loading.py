"""load_signals: raw detector signals of an optoacoustic scan, whatever file they are in."""

from __future__ import annotations

import os
from pathlib import Path

from imgtheranostics.errors import NothingUsable
from imgtheranostics.optoacoustic_signals import OptoacousticSignals

_SUFFIX = ".msot"


def load_signals(path: str | os.PathLike[str]) -> OptoacousticSignals:
    """Load the raw detector signals of an optoacoustic scan.

    Parameters
    ----------
    path : path
        A ``.msot`` file, or the folder of the scan.

    Returns
    -------
    OptoacousticSignals

    Raises
    ------
    NothingUsable
        If there is no such file, or several.
    ImgTheranosticsError
        The typed refusal of what cannot be right signals.

    Examples
    --------
    >>> import imgtheranostics as it
    >>> signals = it.msot.load_signals("Scan_9/Scan_9.msot")  # doctest: +SKIP
    """
    from imgtheranostics.io.ithera.signals import load_ithera

    return load_ithera(_description(Path(path)))


def _description(path: Path) -> Path:
    if path.is_file():
        if path.suffix.lower() == _SUFFIX:
            return path
        candidates = [path.with_suffix(_SUFFIX)] if path.with_suffix(_SUFFIX).is_file() else []
    elif path.is_dir():
        candidates = sorted(file for file in path.iterdir() if file.suffix.lower() == _SUFFIX)
    else:
        raise NothingUsable("the path does not exist", where=str(path), next_step="check the path")
    if len(candidates) != 1:
        raise NothingUsable(
            "the path holds no raw optoacoustic signals"
            if not candidates
            else "the path holds several scans",
            where=str(path),
            found=f"{len(candidates)} .msot files",
            needed="one",
        )
    return candidates[0]
