"""Weight, height and sex from the user or the header, with the mistakes that people make in them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from imgtheranostics.acquisition import Subject
from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.nuclear.administration import Administration
from imgtheranostics.nuclear.body import BodyMeasure, body_measure
from imgtheranostics.volume import Grid

SMALL_ANIMAL_FOV_MM = 150.0
"""A field of view below it belongs to a mouse or rat scanner."""

_HEAVIEST_MOUSE_SCANNER_KG = 2.0
_HEAVIEST_PERSON_KG = 500.0
_TALLEST_M = 3.0
_SMALLEST_M = 0.2


def field_of_view_mm(grid: Grid) -> float:
    """The larger in-plane extent of an image, mm."""
    return max(n * spacing for n, spacing in zip(grid.shape[:2], grid.spacing_mm[:2], strict=True))


def is_small_animal(grid: Grid, weight_kg: float | None = None) -> bool:
    """Whether the field of view is that of a mouse or rat scanner, or the subject that light."""
    light = weight_kg is not None and 0.0 < weight_kg < _HEAVIEST_MOUSE_SCANNER_KG
    return light or field_of_view_mm(grid) < SMALL_ANIMAL_FOV_MM


@dataclass(frozen=True)
class Body:
    """A subject whose measures were checked."""

    subject: Subject
    warnings: tuple[Caution, ...] = ()

    def measure(self, kind: str) -> BodyMeasure:
        """What SUV of `kind` is normalised to; see `imgtheranostics.nuclear.body.body_measure`."""
        return body_measure(
            kind,
            weight_kg=self.subject.weight_kg,
            height_m=self.subject.height_m,
            sex=self.subject.sex,
        )


def checked_body(
    header: Subject,
    grid: Grid,
    administration: Administration | None = None,
    *,
    weight_kg: float | None = None,
    height_m: float | None = None,
    sex: str | None = None,
    confirm_weight: bool = False,
) -> Body:
    """The subject's measures: arguments before the administration before the header.

    Parameters
    ----------
    header : Subject
    grid : Grid
        Its field of view tells a mouse from a patient.
    administration : Administration, optional
    weight_kg, height_m, sex : optional
    confirm_weight : bool
        Accept a weight above 2 kg in a small field of view.

    Raises
    ------
    ImplausibleValue
        If the weight looks like grams, or weight or height are impossible.
    """
    given = administration or Administration(None, None)
    weight = _first(weight_kg, given.weight_kg, header.weight_kg)
    height = _first(height_m, given.height_m, header.height_m)
    checked, cautions = _checked_height(height)
    if weight is not None and math.isfinite(weight):
        _check_weight(weight, grid, confirm_weight)
    known = replace(header, weight_kg=weight, height_m=checked, sex=sex or given.sex or header.sex)
    return Body(known, cautions)


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _check_weight(weight_kg: float, grid: Grid, confirmed: bool) -> None:
    field = field_of_view_mm(grid)
    if field < SMALL_ANIMAL_FOV_MM and weight_kg > _HEAVIEST_MOUSE_SCANNER_KG and not confirmed:
        raise ImplausibleValue(
            "the weight looks like grams: the field of view is that of a small animal",
            where="PatientWeight (0010,1030)",
            found=f"{weight_kg:g} kg in a field of view of {field:.3g} mm",
            needed=f"at most {_HEAVIEST_MOUSE_SCANNER_KG:g} kg below {SMALL_ANIMAL_FOV_MM:g} mm",
            next_step="give --weight-kg (20 g is 0.02), --confirm-weight (confirm_weight=) if it is right, "
            "or use %ID/g, which needs no weight",
        )
    if weight_kg > _HEAVIEST_PERSON_KG:
        raise ImplausibleValue(
            "the weight is not plausible in kg",
            where="PatientWeight (0010,1030)",
            found=f"{weight_kg:g}",
            needed=f"at most {_HEAVIEST_PERSON_KG:g} kg",
            next_step="give --weight-kg (weight_kg=)",
        )


def _checked_height(height: float | None) -> tuple[float | None, tuple[Caution, ...]]:
    if height is None or not math.isfinite(height) or height <= 0:
        return None, ()
    where = "PatientSize (0010,1020)"
    cautions: tuple[Caution, ...] = ()
    if height > _TALLEST_M:
        text = f"the height {height:g} cannot be m and was read as cm"
        cautions = (Caution("height-in-cm", text, where),)
        height /= 100.0
    if not _SMALLEST_M <= height <= _TALLEST_M:
        raise ImplausibleValue(
            "the height is not plausible",
            where=where,
            found=f"{height:g} m",
            needed=f"{_SMALLEST_M:g} to {_TALLEST_M:g} m",
            next_step="give --height-m (height_m=)",
        )
    return height, cautions
