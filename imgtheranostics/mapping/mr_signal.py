"""Images of magnetic resonance: their record, and whether they are the scanner's signal."""

from __future__ import annotations

from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import UnitMismatch, UnsupportedInput
from imgtheranostics.volume import Volume


def mr_record(v: Volume) -> MrAcquisition:
    """The MR record of a volume, an empty one where the file has none.

    Raises
    ------
    UnsupportedInput
        If the image is of another modality.
    """
    record = v.acquisition
    if isinstance(record, MrAcquisition):
        return record
    modality = getattr(record, "modality", "") or ""
    if modality not in ("", "OT"):
        raise UnsupportedInput(
            "this is no magnetic-resonance image", found=f"modality {modality}", needed="modality MR"
        )
    return MrAcquisition()


def check_signal(v: Volume, purpose: str, *, phase: bool = False) -> None:
    """Refuse what is no signal: a map of another quantity, or a phase image where magnitude is needed.

    Raises
    ------
    UnitMismatch, UnsupportedInput
    """
    record = mr_record(v)
    if v.quantity != "signal" and not (phase and v.quantity == "phase"):
        raise UnitMismatch(
            f"{purpose} starts from the scanner's signal",
            found=f"{v.quantity} [{v.unit}]",
            needed="signal" + (" or phase" if phase else ""),
            next_step="give the series itself; a map that exists already enters at a later step",
        )
    component = (record.image_component or "").upper()
    if not phase and component.startswith("PHASE"):
        raise UnsupportedInput(
            f"{purpose} needs magnitude images",
            found="phase images",
            needed="magnitude",
            next_step="give the magnitude series",
        )
