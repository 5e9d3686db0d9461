"""Saturation offsets of a CEST series: unit, sign, unsaturated references and B1, by one set of rules.

Offsets become ppm from water, downfield positive. A list in ppm has that sign by the definition of the
chemical-shift scale; a list in Hz has none, so that it must be stated where the format does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, CorruptInput, ImplausibleValue, MissingMetadata, UnitMismatch
from imgtheranostics.volume import Axis, Step, make_step

FloatArray = npt.NDArray[np.float64]

FAR_OFF_RESONANCE_PPM = 100.0
"""Offsets at least this far from water are unsaturated references."""

SIGNS = ("downfield_positive", "upfield_positive")

B1_KEYS = ("b1_rms_ut", "b1_mean_ut", "b1_cwpe_ut")
"""B1 by its definition: rms of one pulse, mean of one pulse, power equivalent of the whole train."""

UNSPECIFIED_B1 = "unspecified_b1_ut"
"""A B1 whose definition the source does not tell; nothing may be computed from it."""

SMALLEST_B1_UT, LARGEST_B1_UT = 1e-3, 200.0
"""B1 of saturation that is plausible; others are in T, Hz or per cent."""

_DOUBTFUL_REFERENCE_PPM = 20.0
_LARGEST_USUAL_PPM = 60.0
_LARGEST_GUESSED_PPM = 20.0
_LARGEST_PPM = 1000.0
_DEFINED = ("sidecar",)
"""Sources whose definition gives the unit (ppm) and the sign where they are not written."""


@dataclass(frozen=True, eq=False)
class SaturationOffsets:
    """Offsets as a source gives them, one per volume.

    Attributes
    ----------
    values : tuple of float or None
        In `unit`; None at unsaturated volumes.
    unit : {"ppm", "Hz"} or None
        None where the source does not say.
    sign : {"downfield_positive", "upfield_positive"} or None
    m0_index : tuple of int or None
        Positions of unsaturated volumes, where the source names them.
    m0_rule : str
        What names them: ``M0Index``, ``given`` or ``first_image``.
    imaging_frequency_mhz : float or None
    record : mapping
        B1 and pulses, with the keys of ``acquisition.saturation``.
    source : str
        What it was read from: ``sidecar``, ``bids_mt``, ``text``, ``quit``, ``fabber``, ``pulseq``,
        ``siemens_wip``, ``bruker`` or ``given``.
    where : str
        For messages.
    cautions : tuple of Caution
    """

    values: tuple[float | None, ...]
    unit: str | None = None
    sign: str | None = None
    m0_index: tuple[int, ...] | None = None
    m0_rule: str = "M0Index"
    imaging_frequency_mhz: float | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    source: str = "given"
    where: str = ""
    cautions: tuple[Caution, ...] = ()

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class Placed:
    """Offsets of the volumes of one image after all rules.

    Attributes
    ----------
    axes : tuple of Axis
        ``saturation_offset`` in ppm, NaN at unsaturated volumes; beside it ``saturation_b1`` in uT where
        the volumes are a full grid of both, the faster one first.
    record : dict
        For ``acquisition.saturation``.
    """

    axes: tuple[Axis, ...]
    record: dict[str, Any]
    history: tuple[Step, ...] = ()
    cautions: tuple[Caution, ...] = ()


def place(offsets: SaturationOffsets, n_volumes: int) -> Placed:
    """Axes and record of an image with that many volumes.

    Raises
    ------
    CorruptInput
        If offsets and volumes differ in number, or an unsaturated volume is named that is not there.
    MissingMetadata
        If offsets in Hz come without imaging frequency or statement of their sign.
    ImplausibleValue
        If the unit is not stated and the numbers must be Hz or could be either, or none is a saturation
        offset in the unit that is stated.
    UnitMismatch
        If unit or sign is a word that is not known.
    """
    offsets = _filled(offsets, n_volumes)
    _check_record(offsets, n_volumes)
    unit, guessed = _unit(offsets)
    ppm = _in_ppm(offsets, unit)
    sign = _sign(offsets, unit)
    if sign == "upfield_positive":
        ppm = [None if value is None else 0.0 - value for value in ppm]
    references, rule, cautions = _references(ppm, offsets)
    values = np.array([np.nan if value is None else value for value in ppm], dtype=np.float64)
    values[list(references)] = np.nan
    _check_plausible(values, ppm, offsets)
    record = dict(offsets.record) | {
        "m0_index": references,
        "recorded_offsets": tuple(offsets.values),
        "recorded_unit": unit,
        "sign": sign,
        "offsets_source": offsets.source,
    }
    if rule:
        record["m0_rule"] = rule
    if guessed:
        record["unit_guessed"] = True
        cautions += (_guessed(offsets),)
    history: tuple[Step, ...] = ()
    if unit == "Hz":
        history += (make_step("convert_unit", key="SaturationOffsets", found="Hz", to="ppm"),)
    if sign == "upfield_positive":
        history += (make_step("reverse_offset_sign", found=sign, to="downfield_positive"),)
    if UNSPECIFIED_B1 in record and not any(one.code == "b1-kind-unknown" for one in offsets.cautions):
        cautions += (_unspecified_b1(),)
    axes, record, found = _axes(values, record)
    return Placed(axes, record, history, (*offsets.cautions, *cautions, *found))


def _filled(offsets: SaturationOffsets, n_volumes: int) -> SaturationOffsets:
    """The list with one entry per volume: unsaturated ones that are named may be absent from it."""
    _check_index(offsets, n_volumes)
    index = offsets.m0_index
    if len(offsets) != n_volumes and index and len(offsets) + len(index) == n_volumes:
        rest, named = iter(offsets.values), frozenset(index)
        values = tuple(None if n in named else next(rest) for n in range(n_volumes))
        record = {key: _spread(value, index, len(offsets)) for key, value in offsets.record.items()}
        return replace(offsets, values=values, record=record)
    if len(offsets) != n_volumes:
        short = len(offsets) < n_volumes
        raise CorruptInput(
            "SaturationOffsets does not have one entry per volume of the image",
            where=offsets.where,
            found=f"{len(offsets)} entries, {n_volumes} volumes",
            needed="equal numbers",
            next_step="name the unsaturated volumes that the list leaves out (m0_index, M0Index)"
            if short
            else "check that the list belongs to this image and the export is complete",
        )
    return offsets


def _spread(value: Any, index: Sequence[int], n_listed: int) -> Any:
    """A list with one entry per listed volume, zero where an unsaturated volume was left out."""
    if not isinstance(value, tuple) or len(value) != n_listed:
        return value
    rest, named = iter(value), frozenset(index)
    return tuple(0.0 if n in named else next(rest) for n in range(n_listed + len(index)))


def _check_record(offsets: SaturationOffsets, n_volumes: int) -> None:
    """Refuse lists of pulses and B1 that have not one entry per volume."""
    for key, value in offsets.record.items():
        if isinstance(value, tuple) and len(value) != n_volumes and not key.startswith("mt_"):
            raise CorruptInput(
                f"{key} does not have one entry per volume of the image",
                where=offsets.where,
                found=f"{len(value)} entries, {n_volumes} volumes",
                needed="one number, or one per volume",
            )


def _check_index(offsets: SaturationOffsets, n_volumes: int) -> None:
    wrong = [n for n in offsets.m0_index or () if not 0 <= n < n_volumes]
    if wrong or len(set(offsets.m0_index or ())) < len(offsets.m0_index or ()):
        raise CorruptInput(
            "M0Index points to volumes that are not there, or twice to one",
            where=offsets.where,
            found=", ".join(str(n) for n in wrong) or "a position twice",
            needed=f"whole numbers from 0 to {n_volumes - 1}, each once",
        )


def _unit(offsets: SaturationOffsets) -> tuple[str, bool]:
    """The unit, and whether it is a guess from the numbers."""
    if offsets.unit is not None:
        known = {"ppm": "ppm", "hz": "Hz"}.get(offsets.unit.strip().lower())
        if known is None:
            raise UnitMismatch(
                "the unit of the saturation offsets is not known", where=offsets.where, needed="ppm or Hz"
            )
        return known, False
    index = set(offsets.m0_index or ())
    numbers = [abs(v) for n, v in enumerate(offsets.values) if v is not None and n not in index]
    beyond = [value for value in numbers if value > _LARGEST_USUAL_PPM]
    near = [value for value in beyond if value < FAR_OFF_RESONANCE_PPM]
    if not near and len(beyond) <= max(2, len(numbers) // 2):
        return "ppm", False
    frequency = offsets.imaging_frequency_mhz
    if frequency and offsets.source not in _DEFINED and 3 * len(beyond) >= len(numbers):
        ppm = [value / frequency for value in numbers]
        if all(v <= _LARGEST_GUESSED_PPM or v >= FAR_OFF_RESONANCE_PPM for v in ppm):
            return "Hz", True
    raise ImplausibleValue(
        "SaturationOffsets is not plausible",
        where=offsets.where,
        found=f"{len(beyond)} of {len(numbers)} offsets beyond {_LARGEST_USUAL_PPM:g}",
        needed="ppm, or the unit (SaturationOffsetUnit, unit=)",
        next_step="these look like Hz: state the unit and the imaging frequency in MHz",
    )


def _guessed(offsets: SaturationOffsets) -> Caution:
    return Caution(
        "offset-unit-guessed",
        f"no unit is stated and the numbers are too large for ppm: taken as Hz at "
        f"{offsets.imaging_frequency_mhz:g} MHz",
        "SaturationOffsetUnit",
    )


def _unspecified_b1() -> Caution:
    return Caution(
        "b1-kind-unknown",
        "B1 is given without its definition (rms, mean or power equivalent of the train): not used",
        UNSPECIFIED_B1,
    )


def _in_ppm(offsets: SaturationOffsets, unit: str) -> list[float | None]:
    if unit == "ppm":
        return list(offsets.values)
    frequency = offsets.imaging_frequency_mhz
    if not frequency:
        raise MissingMetadata(
            "saturation offsets in Hz need the imaging frequency",
            where=offsets.where,
            needed="ImagingFrequency in MHz",
            next_step="add it to the sidecar, give imaging_frequency_mhz, or give the offsets in ppm",
        )
    return [None if value is None else value / frequency for value in offsets.values]


def _sign(offsets: SaturationOffsets, unit: str) -> str:
    if offsets.sign is not None:
        if offsets.sign not in SIGNS:
            raise UnitMismatch(
                "the sign of the saturation offsets is not known",
                where=offsets.where,
                needed=" or ".join(SIGNS),
            )
        return offsets.sign
    if unit == "ppm" or offsets.source in _DEFINED:
        return "downfield_positive"
    raise MissingMetadata(
        "saturation offsets in Hz do not say which sign is downfield: the wrong one turns MTRasym round",
        where=offsets.where,
        needed=f"{' or '.join(SIGNS)} (amide protons at +3.5 ppm are downfield)",
        next_step="state it with sign= or SaturationOffsetSign, or give the offsets in ppm",
    )


def _references(
    ppm: Sequence[float | None], offsets: SaturationOffsets
) -> tuple[tuple[int, ...], str, tuple[Caution, ...]]:
    """Positions of the unsaturated volumes, what tells them, and cautions: M0Index, else null or far."""
    given = offsets.m0_index
    if given is not None:
        named = frozenset(given)
        missing = [n for n, value in enumerate(ppm) if value is None and n not in named]
        if missing:
            raise CorruptInput(
                "an offset is null although M0Index does not name that volume",
                where=offsets.where,
                found=", ".join(str(n) for n in missing),
            )
        cautions: tuple[Caution, ...] = ()
        if offsets.m0_rule == "first_image":
            text = "the first volume is taken for the unsaturated reference without a statement of the file"
            cautions = (Caution("reference-guessed", text, "M0Index"),)
        return tuple(sorted(given)), offsets.m0_rule, cautions
    found = tuple(n for n, value in enumerate(ppm) if value is None or abs(value) >= FAR_OFF_RESONANCE_PPM)
    if found:
        return found, "null_or_far_offset", ()
    far = [n for n, value in enumerate(ppm) if value is not None and abs(value) >= _DOUBTFUL_REFERENCE_PPM]
    text = f"volumes {', '.join(str(n) for n in far)} at 20 to 100 ppm may be" if far else "no volume is"
    return (
        (),
        "",
        (Caution("reference-unknown", f"M0Index is absent and {text} the unsaturated reference", "M0Index"),),
    )


def _check_plausible(values: FloatArray, ppm: Sequence[float | None], offsets: SaturationOffsets) -> None:
    used = np.abs(values[np.isfinite(values)])
    far = [v for v in ppm if v is not None and abs(v) >= FAR_OFF_RESONANCE_PPM]
    if offsets.m0_index is None and len(set(far)) > 2 and 2 * len(far) > len(ppm):
        found = f"{len(far)} of {len(ppm)} offsets at least {FAR_OFF_RESONANCE_PPM:g} ppm from water"
    elif used.size and used.max() > _LARGEST_PPM:
        found = f"{used.max():g} ppm"
    else:
        return
    raise ImplausibleValue(
        "SaturationOffsets is not plausible",
        where=offsets.where,
        found=found,
        needed=f"ppm, at most {_LARGEST_PPM:g}, or the unit Hz",
        next_step="these look like Hz: state the unit and the imaging frequency in MHz",
    )


def _axes(
    values: FloatArray, record: dict[str, Any]
) -> tuple[tuple[Axis, ...], dict[str, Any], tuple[Caution, ...]]:
    """One axis of offsets, or two where the volumes are a grid of offsets and B1."""
    single = (Axis("saturation_offset", values, "ppm"),)
    varying = [one for one in reversed(B1_KEYS) if _varies(record.get(one), values)]
    if not varying:
        return single, record, ()
    key = varying[0]
    b1 = np.array(record[key], dtype=np.float64)
    levels = list(dict.fromkeys(b1[b1 != 0].tolist()))
    for offsets_fastest in (True, False):
        grid = _grid(values, b1, levels, offsets_fastest)
        changed = None if grid is None else _per_level(record, varying, b1, levels)
        if grid is None or changed is None:
            continue
        axes = (Axis("saturation_offset", grid, "ppm"), Axis("saturation_b1", np.array(levels), "uT"))
        changed["m0_index"] = tuple(int(n) for n in np.flatnonzero(np.isnan(grid)))
        return axes if offsets_fastest else axes[::-1], record | changed, ()
    return (
        single,
        record,
        (
            Caution(
                "b1-varies",
                "B1 differs between volumes that are no full grid of offsets and B1: they stay one list; "
                "give each B1 its own series to compare them",
                key,
            ),
        ),
    )


def _per_level(
    record: Mapping[str, Any], keys: Sequence[str], b1: FloatArray, levels: Sequence[float]
) -> dict[str, Any] | None:
    """Each definition of B1 at each level of the first; None where another differs within a level."""
    found: dict[str, Any] = {}
    for key in keys:
        values = np.array(record[key], dtype=np.float64)
        sets = [set(values[b1 == level].tolist()) for level in levels]
        if any(len(one) != 1 for one in sets):
            return None
        found[key] = tuple(one.pop() for one in sets)
    return found


def _varies(b1: Any, values: FloatArray) -> bool:
    if not isinstance(b1, tuple) or len(b1) != len(values):
        return False
    saturated = np.array(b1, dtype=np.float64)[np.isfinite(values)]
    return bool(saturated.size and (saturated != saturated[0]).any())


def _grid(
    values: FloatArray, b1: FloatArray, levels: Sequence[float], offsets_fastest: bool
) -> FloatArray | None:
    """The offsets that every B1 has in the same order, or None."""
    n_b1 = len(levels)
    if n_b1 < 2 or len(values) % n_b1 or len(values) == n_b1:
        return None
    shape = (n_b1, -1) if offsets_fastest else (-1, n_b1)
    offsets, powers = values.reshape(shape), b1.reshape(shape)
    if not offsets_fastest:
        offsets, powers = offsets.T, powers.T
    unsaturated = np.isnan(offsets) & (powers == 0)
    fits = (powers == np.array(levels)[:, np.newaxis]) | unsaturated
    same = all(np.array_equal(row, offsets[0], equal_nan=True) for row in offsets)
    return np.array(offsets[0]) if same and fits.all() else None
