"""The optional package behind Cox regression and mixed models, or a clear refusal without it."""

from __future__ import annotations

import importlib
from types import ModuleType

from imgtheranostics.errors import UnsupportedInput


def from_statsmodels(module: str, what: str) -> ModuleType:
    """A module of statsmodels by its dotted name.

    Raises
    ------
    UnsupportedInput
        If statsmodels is not installed; names the extra.
    """
    try:
        return importlib.import_module(f"statsmodels.{module}")
    except ImportError as error:
        raise UnsupportedInput(
            f"{what} needs the package statsmodels, which cannot be imported",
            found=type(error).__name__,
            needed="statsmodels 0.15 or newer",
            next_step='install it with: pip install "imgtheranostics[stats]"',
        ) from None
