"""The filter that a CT image's file states, as a prior slope takes it."""

from __future__ import annotations

from dataclasses import dataclass

from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.errors import Caution, MissingMetadata

_TIN = frozenset({"TIN", "SN"})
_ALUMINIUM = frozenset({"ALUMINUM", "ALUMINIUM", "AL"})


@dataclass(frozen=True, slots=True)
class StatedFilter:
    """Thickness of what filters the beam; None where the file does not say.

    Attributes
    ----------
    filtration_mm_al, tin_mm : float or None
    warnings : tuple of Caution
        Where another material is stated, which a prior slope does not take into account.
    """

    filtration_mm_al: float | None = None
    tin_mm: float | None = None
    warnings: tuple[Caution, ...] = ()


def stated_filter(record: CtAcquisition) -> StatedFilter:
    """The filter of a CT record.

    Raises
    ------
    MissingMetadata
        If it names tin without its thickness.
    """
    named = [part.strip().upper() for part in (record.filter_material or "").split("\\") if part.strip()]
    thickness = record.filter_thickness_mm
    if not named:
        return StatedFilter()
    if any(part in _TIN for part in named):
        if len(named) > 1 or thickness is None:
            raise MissingMetadata(
                "the file names a tin filter without its thickness, on which the slope depends",
                where="FilterThicknessMaximum (0018,7054)",
                needed="mm of tin",
                next_step="give tin_mm= (--tin-mm), or the slope of a calibration",
            )
        return StatedFilter(tin_mm=float(thickness))
    if len(named) == 1 and named[0] in _ALUMINIUM:
        return StatedFilter(filtration_mm_al=None if thickness is None else float(thickness))
    text = f"the beam was filtered with {' and '.join(named).lower()}, which the prior slope does not know"
    return StatedFilter(warnings=(Caution("filter-not-modelled", text, "FilterMaterial (0018,7050)"),))
