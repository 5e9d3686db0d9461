"""Lines to fit from a YAML file: the names, starts and bounds of pools, and the baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from imgtheranostics import yaml_lines
from imgtheranostics.cest.pool_design import Pool, Range
from imgtheranostics.errors import CorruptInput

_NUMBER = Annotated[float, Field(strict=True, allow_inf_nan=False)]


def _as_range(value: object) -> object:
    """One number holds the parameter; otherwise start, low, high."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (float(value),) * 3
    return tuple(value) if isinstance(value, list) else value


_Range = Annotated[tuple[_NUMBER, _NUMBER, _NUMBER], BeforeValidator(_as_range)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Line(_Part):
    name: str
    amplitude: _Range
    width_ppm: _Range
    centre_ppm: _Range
    line_shape: Literal["lorentzian", "super_lorentzian"] = "lorentzian"


class _File(_Part):
    pools: list[_Line] = Field(min_length=1)
    baseline: _Range = (1.0, 1.0, 1.0)


def read_lines(path: str | Path) -> tuple[tuple[Pool, ...], Range]:
    """Pools and baseline of a YAML file.

    Parameters
    ----------
    path : path-like
        ``pools`` is a list of ``name``, ``amplitude``, ``width_ppm``, ``centre_ppm`` and, if it is no
        Lorentzian, ``line_shape``; each of the three is ``[start, low, high]``, or one number that is held.
        ``baseline`` is the same for the signal far from all lines, by default 1.

    Returns
    -------
    pools : tuple of Pool
    baseline : (start, low, high)

    Raises
    ------
    NothingUsable
        If there is no such file.
    CorruptInput
        If an entry is missing, unknown or none of these, with file and line.
    ImplausibleValue
        If a line looks like one in Hz.
    """
    document = yaml_lines.read(path, subject="pool file")
    found = document.validated(_File, "an entry of the pool file is wrong")
    pools = []
    for n, one in enumerate(found.pools):
        try:
            pools.append(Pool(one.name, one.amplitude, one.width_ppm, one.centre_ppm, one.line_shape))
        except ValueError as error:
            raise CorruptInput(
                "a pool of the file cannot be fitted", where=document.place(("pools", n)), found=str(error)
            ) from error
    return tuple(pools), found.baseline
