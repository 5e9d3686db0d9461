"""Sizes are checked against a memory budget before anything is allocated or inflated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from imgtheranostics.errors import CorruptInput, UnsupportedInput

BUDGET_VARIABLE = "IMGTHERANOSTICS_MEMORY_GB"
"""Environment variable that sets the memory which one load may take, in GiB."""

MAXIMUM_INFLATION = 1032
"""Largest ratio that the deflate format can reach; a stream that claims more is forged."""


def memory_budget_bytes() -> int:
    """Bytes that one load may take: `BUDGET_VARIABLE`, else half of the machine's memory.

    Raises
    ------
    UnsupportedInput
        If the variable is no positive number.
    """
    given = os.environ.get(BUDGET_VARIABLE)
    if given:
        try:
            return int(float(given) * 2**30) if float(given) > 0 else _refuse_variable()
        except (ValueError, OverflowError):
            _refuse_variable()
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        total = 8 * 2**30
    return total // 2


def _refuse_variable() -> NoReturn:
    raise UnsupportedInput(
        "the memory budget is no positive number", where=BUDGET_VARIABLE, needed="GiB, such as 8"
    )


def check_budget(n_bytes: int, *, where: Path | str, what: str = "the image") -> None:
    """Refuse before allocation what would not fit.

    Raises
    ------
    UnsupportedInput
        If `n_bytes` exceeds the budget.
    """
    budget = memory_budget_bytes()
    if n_bytes > budget:
        raise UnsupportedInput(
            f"{what} would take more memory than the budget allows",
            where=str(where),
            found=f"{n_bytes / 2**30:.4g} GiB declared in the header",
            needed=f"at most {budget / 2**30:.4g} GiB",
            next_step="check that the header is right; raise IMGTHERANOSTICS_MEMORY_GB if it is",
        )


def check_file_holds(n_bytes: int, path: Path, *, inflated: bool = False) -> None:
    """Refuse a file that cannot hold `n_bytes` of voxels, allowing for compression when `inflated`.

    Raises
    ------
    CorruptInput
        If the file is empty or too small for what its header declares.
    """
    size = path.stat().st_size
    if size == 0:
        raise CorruptInput("empty file", where=str(path))
    if n_bytes > size * (MAXIMUM_INFLATION if inflated else 1):
        raise CorruptInput(
            "the file is too small for the image that its header declares",
            where=str(path),
            found=f"{size} bytes on disk",
            needed=f"{n_bytes} bytes of voxels",
            next_step="copy the file again; it may be truncated",
        )
