"""Pool systems from YAML files in the form that Bloch-McConnell simulators share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from imgtheranostics import yaml_lines
from imgtheranostics.cest.constants import GAMMA_RAD_PER_S_UT
from imgtheranostics.cest.pool_system import (
    ExchangePool,
    LineShape,
    MtPool,
    PoolSystem,
    WaterPool,
)
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata, UnsupportedInput

Made = TypeVar("Made")

LINE_SHAPES: Mapping[str, LineShape] = {
    "lorentzian": "lorentzian",
    "superlorentzian": "super_lorentzian",
    "super_lorentzian": "super_lorentzian",
    "full": "full",
    "none": "none",
}

_OTHER_NAMES = {"b0_inhomogeneity": "b0_inhom", "relb1": "rel_b1", "max_samples": "max_pulse_samples"}
_SCANNER = ("b0", "gamma", "b0_inhom", "rel_b1", "scale", "max_pulse_samples")
_WORDS = ("description", "name", "comment", "author", "version", "reference")
"""Entries for people, which no simulation depends on."""
_TOP = (*_WORDS, "water_pool", "cest_pool", "mt_pool", *_SCANNER, "reset_init_mag", "verbose", *_OTHER_NAMES)
_WATER = ("f", "t1", "t2", "r1", "r2", "dw")
_POOL = (*_WATER, "k")
_RATIO = re.compile(r"\s*([-+.\deE]+)\s*/\s*([-+.\deE]+)\s*")

_KEYS = {
    "t1_s": "t1",
    "t2_s": "t2",
    "fraction": "f",
    "exchange_rate_per_s": "k",
    "offset_ppm": "dw",
    "field_t": "b0",
    "gamma_rad_per_s_ut": "gamma",
    "b0_inhomogeneity_ppm": "b0_inhom",
    "relative_b1": "rel_b1",
    "scale": "scale",
}


class _Section:
    """One mapping of the file, read key by key."""

    def __init__(self, document: yaml_lines.Document, path: yaml_lines.KeyPath, content: object) -> None:
        self.document = document
        self.path = path
        if not isinstance(content, Mapping):
            raise self.corrupt("is not a mapping", (), content)
        self.content: Mapping[str, Any] = content

    def corrupt(self, problem: str, key: yaml_lines.KeyPath, found: object, needed: str = "") -> CorruptInput:
        """The error for one entry."""
        name = yaml_lines.dotted((*self.path, *key)) or "the file"
        place = self.document.place((*self.path, *key))
        return CorruptInput(
            f"an entry of the pool file {problem}", where=place, found=f"{name}: {found!r}", needed=needed
        )

    def allow(self, keys: tuple[str, ...]) -> None:
        """Refuse the first key that is none of these."""
        for key in self.content:
            if key not in keys:
                raise self.corrupt("is not known", (key,), self.content[key], f"one of {', '.join(keys)}")

    def number(self, key: str, default: float | None = None) -> float:
        """A number, or the ratio of two that some files write."""
        if key not in self.content:
            if default is None:
                raise self.missing(key)
            return default
        given = self.content[key]
        ratio = _RATIO.fullmatch(given) if isinstance(given, str) else None
        try:
            value = float(ratio[1]) / float(ratio[2]) if ratio else given
        except (ValueError, ZeroDivisionError):
            value = None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.corrupt("is no finite number", (key,), given, "a number, or a ratio of two")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.content.get(key, default)
        if value not in (True, False):
            raise self.corrupt("is neither true nor false", (key,), value)
        return bool(value)

    def missing(self, key: str) -> MissingMetadata:
        """The error for a key that is not there."""
        return MissingMetadata(
            "the pool file lacks an entry",
            where=self.document.place(self.path),
            needed=yaml_lines.dotted((*self.path, key)),
            next_step="add it to the file",
        )

    def time(self, name: str) -> float:
        """A relaxation time, given as one or as its rate."""
        time, rate = f"t{name}", f"r{name}"
        if (time in self.content) == (rate in self.content):
            if time in self.content:
                raise self.corrupt(f"stands beside {rate}", (time,), self.content[time], "one of the two")
            raise self.missing(f"{time} (or {rate})")
        if time in self.content:
            return self.number(time)
        value = self.number(rate)
        if value <= 0:
            raise self.corrupt("must be above zero", (rate,), value)
        return 1.0 / value

    def checked(self, make: Callable[..., Made], **values: Any) -> Made:
        """What `make` makes of the values; a refusal names the file's line and key."""
        try:
            return make(**values)
        except ImplausibleValue as error:
            key = _KEYS.get(error.where or "", "")
            if key not in self.content:
                key = key.replace("t", "r")
            raise ImplausibleValue(
                error.what,
                where=self.document.place((*self.path, key)),
                found=f"{yaml_lines.dotted((*self.path, key))}: {error.found}",
                needed=error.needed,
                next_step=error.next_step,
            ) from None


def read_pools(path: str | Path) -> PoolSystem:
    """A pool system from a YAML file with the keys that CEST simulators share.

    ``water_pool``, ``mt_pool`` and ``cest_pool`` (a mapping of names to pools) with ``f`` (of
    water), ``t1`` and ``t2`` in s or ``r1`` and ``r2`` in 1/s, ``k`` in 1/s and ``dw`` in ppm, ``lineshape``
    of the MT pool; ``b0`` in T, ``gamma`` in rad/(s uT), ``b0_inhom`` in ppm, ``rel_b1``, ``scale``,
    ``reset_init_mag`` and ``max_pulse_samples``. Only ``water_pool`` and ``b0`` must be there.

    Parameters
    ----------
    path : path

    Returns
    -------
    PoolSystem

    Raises
    ------
    NothingUsable
        If there is no such file.
    CorruptInput
        If it is not plain YAML, or an entry is unknown, twice there or not a number; line and key are named.
    MissingMetadata
        If a pool lacks a value, or the field is not given.
    ImplausibleValue
        If a value is not plausible: a rate for a time, per cent for a fraction, MHz for T.
    UnsupportedInput
        If the line shape of the MT pool is another one.
    """
    document = yaml_lines.read(path, subject="pool file")
    top = _Section(document, (), document.content)
    top.allow(_TOP)
    for other, name in _OTHER_NAMES.items():
        if other in top.content and name in top.content:
            raise top.corrupt(f"stands beside {name}", (other,), top.content[other], "one of the two")
    if "water_pool" not in top.content:
        raise top.missing("water_pool")
    return top.checked(
        PoolSystem,
        water=_water(_Section(document, ("water_pool",), top.content["water_pool"])),
        exchange=_exchange(document, top.content.get("cest_pool")),
        mt=_mt(document, top.content.get("mt_pool")),
        field_t=top.number("b0"),
        gamma_rad_per_s_ut=top.number("gamma", GAMMA_RAD_PER_S_UT),
        b0_inhomogeneity_ppm=top.number("b0_inhom", top.number("b0_inhomogeneity", 0.0)),
        relative_b1=top.number("rel_b1", top.number("relb1", 1.0)),
        scale=top.number("scale", 1.0),
        max_pulse_samples=_samples(top),
        reset_magnetisation=top.flag("reset_init_mag", True),
    )


def _samples(top: _Section) -> int:
    key = "max_samples" if "max_samples" in top.content else "max_pulse_samples"
    value = top.number(key, 500.0)
    if value != int(value) or value < 1:
        raise top.corrupt("is not a whole number above zero", (key,), top.content[key])
    return int(value)


def _water(section: _Section) -> WaterPool:
    section.allow(_WATER)
    if section.number("dw", 0.0) != 0.0:
        raise section.corrupt("must be 0: shifts are relative to water", ("dw",), section.content["dw"])
    times = {"t1_s": section.time("1"), "t2_s": section.time("2")}
    return section.checked(WaterPool, **times, fraction=section.number("f", 1.0))


def _pool_values(section: _Section) -> dict[str, float]:
    return {
        "fraction": section.number("f"),
        "t1_s": section.time("1"),
        "t2_s": section.time("2"),
        "exchange_rate_per_s": section.number("k"),
        "offset_ppm": section.number("dw"),
    }


def _exchange(document: yaml_lines.Document, content: object) -> tuple[ExchangePool, ...]:
    if content is None:
        return ()
    pools = []
    named = _Section(document, ("cest_pool",), content)
    for name, values in named.content.items():
        section = _Section(document, ("cest_pool", name), values)
        section.allow(_POOL)
        if str(name) in ("water", "mt"):
            raise named.corrupt("has a name that stands for another pool", (name,), name)
        pools.append(section.checked(ExchangePool, name=str(name), **_pool_values(section)))
    return tuple(pools)


def _mt(document: yaml_lines.Document, content: object) -> MtPool | None:
    if content is None:
        return None
    section = _Section(document, ("mt_pool",), content)
    section.allow((*_POOL, "lineshape"))
    if "lineshape" not in section.content:
        raise section.missing("lineshape")
    given = section.content["lineshape"]
    shape = LINE_SHAPES.get(str(given).lower().replace("-", "_"))
    if shape is None:
        raise UnsupportedInput(
            "the line shape of the MT pool is not supported",
            where=document.place(("mt_pool", "lineshape")),
            found=str(given),
            needed=f"one of {', '.join(sorted(LINE_SHAPES))}",
        )
    return section.checked(MtPool, **_pool_values(section), line_shape=shape)
