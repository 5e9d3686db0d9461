"""Spectra of components at the wavelengths of an image, and whether they can be told apart there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, UnitMismatch, UnsupportedInput
from imgtheranostics.msot.components import component, condition_number

DoubleArray = npt.NDArray[np.float64]

HIGHEST_CONDITION = 50.0
"""Condition number, of columns of the length one, above which nothing is unmixed unless it is forced."""

ALIKE_CONDITION = 20.0
"""Condition number from which a result carries a caution."""

UNDETERMINED = 1e6
"""Condition number at which components are one for every purpose; force does not help."""

SAME_WAVELENGTH_NM = 0.01
"""Wavelengths that are nearer to each other are one wavelength, repeated."""

Components = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, eq=False)
class ComponentMatrix:
    """Spectra of components, one column each.

    Thresholds on the condition number are this project's: none is published.

    Attributes
    ----------
    names : tuple of str
    values : (n_wavelengths, n_components) ndarray
        Decadic absorption per unit amount, or whatever the caller gave.
    wavelength_nm : (n_wavelengths,) ndarray
    units : tuple of str
        ``M``, ``1``, or empty where the caller gave numbers.
    sources : tuple of str
    warnings : tuple of Caution
    """

    names: tuple[str, ...]
    values: DoubleArray
    wavelength_nm: DoubleArray
    units: tuple[str, ...]
    sources: tuple[str, ...] = ()
    warnings: tuple[Caution, ...] = field(default=())

    @classmethod
    def of(cls, components: Components, wavelength_nm: npt.ArrayLike) -> ComponentMatrix:
        """From shipped names, agents' records or numbers.

        Parameters
        ----------
        components : mapping of str to (n,) array_like, or whatever `spectra.component` takes; or sequence
            A sequence holds what `spectra.component` takes: shipped names, records of agents, components.
        wavelength_nm : (n,) array_like

        Raises
        ------
        UnitMismatch
            If the wavelengths are not in nm.
        UnsupportedInput
            If a wavelength is repeated, or a spectrum is not known there.
        IllConditioned
            If there are fewer wavelengths than components.
        ValueError
            If there are no components, a name is repeated, or a spectrum has another length.
        """
        wavelengths = different_wavelengths(wavelength_nm)
        if isinstance(components, str):
            raise ValueError(f"components must be a list of names or a mapping, not {components!r}")
        pairs = (
            list(components.items()) if isinstance(components, Mapping) else [(None, c) for c in components]
        )
        columns = [_column(name, given, wavelengths) for name, given in pairs]
        names = tuple(column[0] for column in columns)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"components must have different names, found {', '.join(names) or 'none'}")
        if len(names) > wavelengths.size:
            raise IllConditioned(
                f"{len(names)} components cannot be told apart by {wavelengths.size} wavelengths",
                found=f"{', '.join(names)} at {listed_nm(wavelengths)}",
                needed="at least as many wavelengths as components",
                next_step="unmix fewer components, or measure more wavelengths",
            )
        return cls(
            names,
            np.stack([column[1] for column in columns], axis=1),
            wavelengths,
            tuple(column[2] for column in columns),
            tuple(column[3] for column in columns),
            tuple(caution for column in columns for caution in column[4]),
        )

    def condition(self, weights: npt.ArrayLike = 1.0) -> float:
        """Of the columns, each of the length one, with weights of the wavelengths."""
        factors = np.broadcast_to(np.asarray(weights, np.float64), (len(self.values),))
        return condition_number(self.values * factors[:, np.newaxis])

    def require(self, condition: float, *, force: bool = False) -> tuple[Caution, ...]:
        """Cautions of an unmixing that is made.

        Raises
        ------
        IllConditioned
            If it is not: with columns that are the same always, else unless `force`.
        """
        figures = f"condition number {condition:.1f} with columns of the length one"
        if not condition <= UNDETERMINED or (condition > HIGHEST_CONDITION and not force):
            if not condition <= UNDETERMINED:
                figures = f"condition number above {UNDETERMINED:g} with columns of the length one"
            raise IllConditioned(
                f"{' and '.join(self.names)} cannot be told apart at these wavelengths",
                where=self._most_alike(),
                found=f"{figures} at {listed_nm(self.wavelength_nm)}",
                needed=f"at most {HIGHEST_CONDITION:g}",
                next_step="unmix fewer components, or measure wavelengths at which they differ"
                + (
                    "; or take the numbers with force=True (--force-ill-posed)"
                    if condition <= UNDETERMINED
                    else ""
                ),
            )
        if condition > HIGHEST_CONDITION:
            return (Caution("forced-unmixing", f"{figures}: the unmixing was forced", self._most_alike()),)
        if condition > ALIKE_CONDITION:
            text = f"{figures}: {' and '.join(self.names)} are hard to tell apart at these wavelengths"
            return (Caution("weak-unmixing", text, self._most_alike()),)
        return ()

    def decision(self) -> list[dict[str, Any]]:
        """For the record of decisions."""
        rows = zip(self.names, self.units, self.sources, strict=True)
        return [{"component": name, "unit": unit, "source": source} for name, unit, source in rows]

    def _most_alike(self) -> str:
        """The two components with the worst condition number."""
        if len(self.names) < 2:
            return ", ".join(self.names)
        pairs = combinations(range(len(self.names)), 2)
        one, two = max(pairs, key=lambda pair: condition_number(self.values[:, list(pair)]))
        return f"most alike: {self.names[one]} and {self.names[two]}"


def different_wavelengths(wavelength_nm: npt.ArrayLike) -> DoubleArray:
    """Wavelengths as an array, certain to be nm and different.

    Raises
    ------
    UnitMismatch
        If they are metres, micrometres or not positive.
    UnsupportedInput
        If one is repeated.
    ValueError
        If they are no list.
    """
    values = np.asarray(wavelength_nm, np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"wavelength_nm must be a list, not of shape {values.shape}")
    if not (np.isfinite(values).all() and (values > 100.0).all()):
        raise UnitMismatch(
            "wavelengths are not in nm",
            where="wavelength_nm",
            found=listed_nm(values).removesuffix(" nm"),
            needed="nm, above 100",
            next_step="multiply metres by 1e9 and micrometres by 1e3",
        )
    ordered = np.sort(values)
    twice = ordered[1:][np.diff(ordered) <= SAME_WAVELENGTH_NM]
    if twice.size:
        raise UnsupportedInput(
            "a wavelength stands more than once",
            where="wavelength_nm",
            found=listed_nm(values),
            needed="each wavelength once",
            next_step=f"average the images at {listed_nm(np.unique(twice))}, or leave one out",
        )
    return values


def listed_nm(values: Iterable[float]) -> str:
    """Wavelengths in words."""
    return ", ".join(f"{value:g}" for value in values) + " nm"


def _column(
    name: str | None, given: Any, wavelengths: DoubleArray
) -> tuple[str, DoubleArray, str, str, tuple[Caution, ...]]:
    """Name, values, unit, source and cautions of one component."""
    numbers = None if isinstance(given, str) else _numbers(given)
    if numbers is not None:
        if name is None:
            raise ValueError("spectra that are numbers need names: give a mapping")
        if numbers.shape != wavelengths.shape:
            raise ValueError(
                f"the spectrum of {name} has shape {numbers.shape}, but there are {wavelengths.size} "
                "wavelengths"
            )
        missing = wavelengths[~np.isfinite(numbers)]
        if missing.size:
            raise UnsupportedInput(
                f"the spectrum of {name} is not known at all wavelengths",
                where=name,
                found=f"no finite number at {listed_nm(missing)}",
                needed="a number at each wavelength",
                next_step="leave these wavelengths out, or take a spectrum that covers them",
            )
        return name, numbers, "", "given", ()
    found = component(given, wavelengths, name=name)
    return found.name, found.values, found.unit, found.source, found.cautions


def _numbers(given: Any) -> DoubleArray | None:
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError):
        return None
