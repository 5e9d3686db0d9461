"""Saturation offsets from files of many kinds, and images placed by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from imgtheranostics.acquisition import MrAcquisition, OtherAcquisition
from imgtheranostics.errors import (
    Caution,
    CorruptInput,
    GeometryMismatch,
    MissingMetadata,
    NothingUsable,
)
from imgtheranostics.io.bids_cest import offsets_of_sidecar
from imgtheranostics.io.offset_order import check_order
from imgtheranostics.io.offset_text import read_text_offsets
from imgtheranostics.io.pulseq import PulseqFile, read_pulseq
from imgtheranostics.io.saturation_offsets import (
    B1_KEYS,
    FAR_OFF_RESONANCE_PPM,
    UNSPECIFIED_B1,
    SaturationOffsets,
    place,
)
from imgtheranostics.io.sidecar import Sidecar, read_json
from imgtheranostics.volume import Axis, Volume, make_step

_QUIT_KEYS = ("sat_f0", "input_freqs")
_OFFSET_AXES = ("saturation_offset", "saturation_b1")
_REPLACED = frozenset(
    {"axis-unknown", "offsets-missing", "reference-unknown", "reference-guessed", "b1-kind-unknown"}
)
_SEQUENCE_NUMBERS = {
    "pulse_duration_s": ("tp",),
    "pulse_interval_s": ("td",),
    "pulse_count": ("n_pulses",),
    "duty_cycle": ("DCsat",),
    "duration_s": ("Tsat",),
    "recovery_time_s": ("Trec",),
    "b1_mean_ut": ("B1pa",),
    "b1_cwpe_ut": ("B1cwpe", "B1rms"),
}
"""Definitions of CEST sequences; their B1rms is calculated over the train with its gaps (B1cwpe)."""


def read_offsets(path: str | Path) -> SaturationOffsets:
    """Saturation offsets of a file, as it gives them.

    Parameters
    ----------
    path : path-like
        Text with one offset per line, a row of them, or a CSV or TSV table with a header; a Fabber data
        specification (ppm, B1 in T, pulses); JSON with SaturationOffsets (and all keys of our sidecar), or of
        QUIT with ``sat_f0`` or ``input_freqs``; a Pulseq sequence (``.seq``).

    Returns
    -------
    SaturationOffsets
        `with_offsets` applies the rules of unit, sign and unsaturated volumes.

    Raises
    ------
    NothingUsable
        If there is no such file.
    ImgTheranosticsError
        The typed refusal of what cannot be read without a guess.
    """
    file = Path(path)
    if not file.is_file():
        raise NothingUsable("the file of offsets does not exist", where=str(file))
    suffix = file.suffix.lower()
    if suffix == ".seq":
        return offsets_of_sequence(read_pulseq(file))
    if suffix == ".json":
        return _of_json(file)
    return read_text_offsets(file)


def with_offsets(
    volume: Volume,
    offsets: SaturationOffsets | str | Path | Sequence[float | None],
    *,
    unit: str | None = None,
    m0_index: int | str | Sequence[int] | None = None,
    imaging_frequency_mhz: float | None = None,
    sign: str | None = None,
    verify_order: bool = True,
) -> Volume:
    """An image whose volumes are placed on the axis of saturation offsets.

    Parameters
    ----------
    volume : Volume
        With one axis beyond space, or with offsets that are to be replaced.
    offsets : SaturationOffsets, path or sequence of float or None
        One per volume in their order; None, NaN, or at least 100 ppm from water: unsaturated. What
        `m0_index` names may be left out of the list.
    unit : {"ppm", "Hz"}, optional
        Overrules the file. Without any statement numbers up to 60 are ppm; larger ones are taken as Hz,
        with a warning, where the imaging frequency makes plausible offsets of them.
    m0_index : int, sequence of int or "first", optional
        Unsaturated volumes from 0. ``first`` is recorded as a guess.
    imaging_frequency_mhz : float, optional
        Overrules file and image.
    sign : {"downfield_positive", "upfield_positive"}, optional
        Which sign amide protons (3.5 ppm from water) have in the list. A list in ppm is downfield positive
        by the definition of the scale; one in Hz needs the statement.
    verify_order : bool
        Compare the image with its offsets: unsaturated volumes brightest, darkest near 0 ppm.

    Returns
    -------
    Volume
        With the axis ``saturation_offset`` in ppm, downfield positive, NaN at unsaturated volumes, and the
        record in ``acquisition.saturation``.

    Raises
    ------
    CorruptInput
        If offsets and volumes differ in number.
    GeometryMismatch
        If the image has no axis, or several, that offsets could stand for.
    MissingMetadata, ImplausibleValue, UnitMismatch
        If unit or sign is ambiguous, or the image contradicts the order.
    """
    n_volumes = _room(volume)
    given = _given(offsets)
    changes: dict[str, Any] = {}
    if unit is not None:
        changes["unit"] = unit
    if sign is not None:
        changes["sign"] = sign
    if m0_index is not None:
        changes["m0_index"], changes["m0_rule"] = _index(m0_index, n_volumes)
    record = volume.acquisition if isinstance(volume.acquisition, MrAcquisition) else None
    frequency = imaging_frequency_mhz or given.imaging_frequency_mhz
    if frequency is None and record is not None:
        frequency = record.imaging_frequency_mhz
    changes["imaging_frequency_mhz"] = frequency
    placed = place(replace(given, **changes), n_volumes)
    step = make_step("place_offsets", source=given.source, volumes=n_volumes)
    result = volume.replace(
        data=volume.data.reshape((*volume.shape[:3], *(len(axis) for axis in placed.axes)), order="F"),
        axes=placed.axes,
        acquisition=_acquisition(volume, placed.record, frequency),
        history=(*volume.history, *placed.history, step),
        warnings=tuple(one for one in volume.warnings if one.code not in _REPLACED),
    )
    cautions = placed.cautions
    before, after = volume.axis("saturation_offset"), result.axis("saturation_offset")
    if before is not None and after is not None and _differ(before, after):
        cautions += (
            Caution(
                "offsets-replaced", "offsets of the image were replaced by those given", "saturation_offset"
            ),
        )
    if verify_order:
        cautions += check_order(result)
    return result.with_warnings(*cautions)


def _differ(before: Axis, after: Axis) -> bool:
    """Whether any offset that both state is another one; a reference named anew is no contradiction."""
    if len(before) != len(after):
        return True
    both = np.isfinite(before.values) & np.isfinite(after.values)
    return not np.allclose(before.values[both], after.values[both], rtol=1e-6, atol=1e-9)


def _room(volume: Volume) -> int:
    """Number of volumes, where offsets can stand for the one axis that there is."""
    names = [axis.name for axis in volume.axes]
    if names and all(name in _OFFSET_AXES for name in names):
        return int(np.prod(volume.shape[3:]))
    if len(names) != 1:
        raise GeometryMismatch(
            "saturation offsets need one axis beyond space",
            found=", ".join(names) or "none",
            needed="one volume per offset",
        )
    return volume.shape[3]


def _given(offsets: SaturationOffsets | str | Path | Sequence[float | None]) -> SaturationOffsets:
    if isinstance(offsets, SaturationOffsets):
        return offsets
    if isinstance(offsets, (str, Path)):
        return read_offsets(offsets)
    numbers = [None if value is None else float(value) for value in offsets]
    values = tuple(None if value is None or not np.isfinite(value) else value for value in numbers)
    return SaturationOffsets(values, source="given", where="offsets")


def _index(m0_index: int | str | Sequence[int], n_volumes: int) -> tuple[tuple[int, ...], str]:
    if isinstance(m0_index, str):
        if m0_index != "first":
            raise ValueError(f"m0_index is positions from 0, or 'first', not {m0_index!r}")
        return (0,), "first_image"
    listed = [m0_index] if isinstance(m0_index, (int, np.integer)) else list(m0_index)
    whole = tuple(int(n) for n in listed)
    if any(n != m for n, m in zip(whole, listed, strict=True)) or any(
        not -n_volumes <= n < n_volumes for n in whole
    ):
        raise ValueError(f"m0_index is whole numbers from 0 to {n_volumes - 1}")
    return tuple(n % n_volumes for n in whole), "given"


def _acquisition(volume: Volume, saturation: Mapping[str, Any], frequency: float | None) -> MrAcquisition:
    """The MR record with the saturation; B1 of the file in place of that of the image."""
    record = volume.acquisition
    if record is None or isinstance(record, OtherAcquisition):
        record = MrAcquisition(subject=getattr(record, "subject", MrAcquisition().subject))
    if not isinstance(record, MrAcquisition):
        raise MissingMetadata(
            "saturation offsets belong to magnetic resonance images",
            found=getattr(record, "modality", "another modality"),
        )
    powers = {*B1_KEYS, UNSPECIFIED_B1}
    kept = {
        key: value
        for key, value in record.saturation.items()
        if not (key in powers and powers.intersection(saturation))
    }
    return replace(
        record,
        imaging_frequency_mhz=record.imaging_frequency_mhz or frequency,
        saturation=kept | dict(saturation),
    )


def _of_json(path: Path) -> SaturationOffsets:
    content = read_json(path)
    if isinstance(content, list):
        content = {"SaturationOffsets": content}
    if not isinstance(content, dict):
        raise CorruptInput("the file holds no offsets", where=str(path), needed="SaturationOffsets")
    sidecar = Sidecar(content, dict.fromkeys(content, path), path)
    if "SaturationOffsets" in sidecar:
        return offsets_of_sidecar(sidecar)
    return _of_quit(content, path)


def _of_quit(content: Mapping[str, Any], path: Path) -> SaturationOffsets:
    """The one list of offsets of a QUIT input, at the top or in the sequence below it."""
    places = [content, *(value for value in content.values() if isinstance(value, dict))]
    lists = [
        (key, place, Sidecar(place, dict.fromkeys(place, path), path))
        for place in places
        for key in _QUIT_KEYS
        if isinstance(place.get(key), list)
    ]
    read = [tuple(sidecar.numbers(key) or ()) for key, _, sidecar in lists]
    if not read or any(one != read[0] for one in read):
        raise MissingMetadata(
            "the file holds several lists of offsets that differ" if read else "the file holds no offsets",
            where=str(path),
            needed=f"one of SaturationOffsets, {', '.join(_QUIT_KEYS)}",
        )
    return SaturationOffsets(read[0], source="quit", where=f"{path}, {lists[0][0]}")


def offsets_of_sequence(file: PulseqFile) -> SaturationOffsets:
    """Offsets, unsaturated volumes and pulses of a CEST sequence by its definitions.

    The number of readouts decides whether the list has an entry for the unsaturated volume that the
    sequence begins with (``run_m0_scan``).

    Raises
    ------
    MissingMetadata
        If the sequence defines no ``offsets_ppm``.
    CorruptInput
        If a definition is not of its type.
    """
    where = f"{file.path}, offsets_ppm"
    listed = file.numbers("offsets_ppm")
    if not listed:
        raise MissingMetadata(
            "the sequence defines no saturation offsets",
            where=str(file.path),
            needed="offsets_ppm in [DEFINITIONS]",
        )
    values: tuple[float | None, ...] = tuple(listed)
    if _runs_reference(file) and file.n_readouts == len(values) + 1:
        values = (None, *values)
    reference = file.number("M0_offset")
    near = reference is not None and abs(reference) < FAR_OFF_RESONANCE_PPM
    if near and reference in values:
        values = tuple(None if value == reference else value for value in values)
    record: dict[str, Any] = {}
    for name, keys in _SEQUENCE_NUMBERS.items():
        value = file.definition(*keys)
        if isinstance(value, tuple) and len(value) == 1:
            record[name] = value[0]
    cautions: tuple[Caution, ...] = ()
    if file.n_readouts not in (0, len(values)):
        text = f"the sequence has {file.n_readouts} readouts for {len(values)} offsets"
        cautions = (Caution("sequence-offsets-differ", text, "offsets_ppm"),)
    return SaturationOffsets(
        values,
        "ppm",
        imaging_frequency_mhz=file.number("FREQ"),
        record=record,
        source="pulseq",
        where=where,
        cautions=cautions,
    )


def _runs_reference(file: PulseqFile) -> bool:
    value = file.definition("run_m0_scan")
    if isinstance(value, tuple):
        return bool(value and value[0])
    return value is not None and value.strip().lower() in ("true", "yes", "on")
