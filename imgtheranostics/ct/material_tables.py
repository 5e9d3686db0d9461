"""Materials told apart, under names of their own: maps for files and rows for tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.ct.problem_kinds import VIRTUAL_NON_CONTRAST
from imgtheranostics.ct.region_tables import region_table
from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.mapping.estimates import STATED_SHARE
from imgtheranostics.mapping.voxels import Mask
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Flag, Volume

if TYPE_CHECKING:
    import pandas as pd

_NOT_A_WORD = re.compile(r"[^a-z0-9]+")
_LIMITS = ("detection_limit", "quantification_limit")
_ENDINGS = {"concentration": "mass_concentration", "volume_fraction": "volume_fraction"}


def material_quantity(material: str, quantity: str) -> str:
    """The name of a quantity of one of several materials.

    Examples
    --------
    >>> material_quantity("HfO2", "concentration"), material_quantity("virtual_non_contrast", "attenuation")
    ('hfo2_mass_concentration', 'virtual_non_contrast')
    """
    if material == VIRTUAL_NON_CONTRAST:
        return VIRTUAL_NON_CONTRAST
    word = _NOT_A_WORD.sub("_", material.lower()).strip("_")
    if not word or not word[0].isalpha():
        word = f"material_{word}".rstrip("_")
    return f"{word}_{_ENDINGS.get(quantity, quantity)}"


@dataclass(frozen=True, eq=False)
class MaterialMaps:
    """Materials under the names of their quantities.

    Attributes
    ----------
    estimates : tuple of Estimate
    materials : tuple of str
        As they were asked for.
    """

    estimates: tuple[Estimate, ...]
    materials: tuple[str, ...]

    @classmethod
    def of(cls, found: Mapping[str, Estimate]) -> MaterialMaps:
        """The result of `imgtheranostics.ct.decompose`.

        Raises
        ------
        ValueError
            If the names of two materials differ in nothing but signs.
        """
        names = [material_quantity(name, one.quantity) for name, one in found.items()]
        if len(set(names)) < len(names):
            raise ValueError(f"materials need names that differ in letters or digits, not {', '.join(found)}")
        named = (_renamed(one, name) for one, name in zip(found.values(), names, strict=True))
        return cls(tuple(named), tuple(found))

    def table(
        self,
        regions: Regions,
        *,
        blanks: Mask | str = None,
        subject: str | None = None,
        session: str | None = None,
        workers: int | None = None,
    ) -> pd.DataFrame:
        """Every material in every region, see `imgtheranostics.ct.region_table`.

        Limits of detection stand under the material's name, such as ``hfo2_detection_limit``, where
        blank tissue tells them; fractions of the volume, the virtual non-contrast image, and maps that are
        held at zero, whose blanks scatter to one side only, have none.

        Raises
        ------
        As `imgtheranostics.ct.region_table`.
        """
        import pandas as pd

        parts, details, cautions = [], [], []
        for one in self.estimates:
            table = region_table(
                one, regions, blanks=blanks, subject=subject, session=session, workers=workers
            )
            own, limited = table.attrs["details"], one.unit == "mg/mL" and not _bounded(one)
            cautions += list(table.attrs["warnings"])
            kept = [
                n
                for n, quantity in enumerate(table["quantity"])
                if quantity not in _LIMITS or (limited and table["mean"].iloc[n] > 0)
            ]
            details += [own[n] for n in kept]
            table = table.iloc[kept].copy()
            word = one.quantity.removesuffix("_mass_concentration")
            table["quantity"] = [f"{word}_{name}" if name in _LIMITS else name for name in table["quantity"]]
            table.attrs = {}
            parts.append(table)
        whole = pd.concat(parts, ignore_index=True)
        whole.attrs["details"] = details
        whole.attrs["warnings"] = merge_cautions(tuple(cautions))
        return whole


def _bounded(one: Estimate) -> bool:
    """Whether noise is cut off at zero in more than a few voxels."""
    at_bound = np.count_nonzero(one.flags.data & Flag.AT_BOUND.value)
    return bool(at_bound > STATED_SHARE * one.flags.data.size)


def _renamed(one: Estimate, quantity: str) -> Estimate:
    return replace(
        one,
        value=_with_name(one.value, quantity),
        standard_error=one.standard_error.replace(quantity=quantity),
        maps={
            name: volume.replace(quantity=quantity) if volume.quantity == one.quantity else volume
            for name, volume in one.maps.items()
        },
    )


def _with_name(volume: Volume, quantity: str) -> Volume:
    """The map with its name, also in what its warnings say of it."""
    old = volume.quantity
    cautions = tuple(
        Caution(
            one.code,
            one.message.replace(f"{old}: ", f"{quantity}: ", 1)
            if one.message.startswith(f"{old}: ")
            else one.message,
            quantity if one.where == old else one.where,
        )
        for one in volume.warnings
    )
    return volume.replace(quantity=quantity, warnings=cautions)
