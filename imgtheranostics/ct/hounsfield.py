"""Hounsfield units: what may be taken for them, what saturates, and which two scans can be subtracted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.errors import Caution, MissingMetadata, UnitMismatch
from imgtheranostics.io.bids_ct import UNITS_NOT_STATED
from imgtheranostics.io.free_text import harmless_text
from imgtheranostics.io.untagged_fill import fill_values, is_fill
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.units import is_hounsfield
from imgtheranostics.volume import Volume, make_step

BoolArray = npt.NDArray[np.bool_]

SATURATION_HU = 3071.0
"""Top of the range of 12 stored bits with an intercept of -1024."""

UNSCALED = frozenset({"signal", "stored_value"})
"""Quantities of images whose grey values carry no unit."""

_SAME_KV = 0.5
_SAME_THICKNESS = 0.01


def ct_record(volume: Volume) -> CtAcquisition:
    """The CT record of a volume, an empty one where the file has none.

    Raises
    ------
    UnitMismatch
        If the image is of another modality.
    """
    record = volume.acquisition
    if isinstance(record, CtAcquisition):
        return record
    modality = getattr(record, "modality", "") or ""
    if modality not in ("", "OT"):
        raise UnitMismatch(
            "the image is no computed tomography, so its values are not Hounsfield units",
            found=f"modality {modality}",
            needed="modality CT",
        )
    return CtAcquisition()


def require_hu(volume: Volume, *, units: str | None = None) -> Volume:
    """The volume, once it is certain that its values are Hounsfield units.

    Parameters
    ----------
    volume : Volume
    units : str, optional
        ``HU`` where the user states the unit of an image whose file does not.

    Returns
    -------
    Volume
        Of ``attenuation`` in ``[HU]``.

    Raises
    ------
    UnitMismatch
        If the values are something else: another quantity, a RescaleType (0028,1054) or real-world value
        mapping that is not HU.
    MissingMetadata
        If the file does not say what the values are.
    ValueError
        If `units` is not HU.
    """
    if units is not None and not is_hounsfield(units):
        raise UnknownChoice(f"units can be stated as HU only, not {units!r}")
    record = ct_record(volume)
    if volume.quantity == "attenuation":
        return volume
    if volume.quantity not in UNSCALED:
        raise UnitMismatch(
            "the values are not Hounsfield units",
            where=_origin(volume),
            found=f"{volume.quantity} [{volume.unit}]",
            needed="attenuation in HU",
            next_step="give the CT images themselves; a map that exists already enters at a later step",
        )
    why = next((caution for caution in volume.warnings if caution.code == "not-hounsfield"), None)
    if why is not None or (record.rescale_type is not None and not is_hounsfield(record.rescale_type)):
        raise UnitMismatch(
            why.message if why else "the values are stated to be something other than Hounsfield units",
            where=why.where if why else "RescaleType (0028,1054)",
            found=harmless_text("rescale_type", record.rescale_type or "")
            or f"{volume.quantity} [{volume.unit}]",
            needed="HU",
            next_step="give the reconstructed CT images, or calibrate grey values with ct.to_hu "
            "(--water, --air) or ct.calibrate_rods (--rods)",
        )
    if units is None:
        raise MissingMetadata(
            "the file does not say that its values are Hounsfield units",
            where="Units of the sidecar, or RescaleType (0028,1054)",
            found=f"{volume.quantity} [{volume.unit}]",
            needed='"Units": "HU"',
            next_step="write it into the sidecar, state it (units='HU', --units HU), or calibrate grey "
            "values with ct.to_hu (--water, --air) or ct.calibrate_rods (--rods)",
        )
    step = make_step("hounsfield_stated", units="HU")
    kept = tuple(caution for caution in volume.warnings if caution.code != UNITS_NOT_STATED)
    return volume.derived(volume.data, "attenuation", "[HU]", step, warnings=kept)


def _origin(volume: Volume) -> str | None:
    mapped = any(step.parameters.get("rule") == "real_world_value_mapping" for step in volume.history)
    if mapped:
        return "RealWorldValueMappingSequence (0040,9096)"
    record = volume.acquisition
    stated = isinstance(record, CtAcquisition) and record.rescale_type is not None
    return "RescaleType (0028,1054)" if stated else None


def saturated(volume: Volume, *, limit_hu: float = SATURATION_HU) -> BoolArray:
    """Voxels at or above the top of the stored range: metal and the streaks from it.

    Parameters
    ----------
    volume : Volume
        Attenuation.
    limit_hu : float
        By default what 12 bits with an intercept of -1024 can hold, 3071 HU. Where the stored type of the
        images can hold less, that counts.

    Returns
    -------
    ndarray of bool
        Of the volume's shape; False where there is no number.

    Raises
    ------
    UnitMismatch, MissingMetadata
        As `require_hu`.
    """
    given = require_hu(volume)
    top = ct_record(given).largest_storable
    limit = limit_hu if top is None else min(limit_hu, top)
    return np.asarray(given.data >= np.float32(limit))


def field_of_view(volume: Volume) -> Volume:
    """The voxels that hold attenuation: all but those without a number and the fill of scanners.

    Parameters
    ----------
    volume : Volume
        Attenuation.

    Returns
    -------
    Volume
        Labels, 1 inside and 0 outside, to be given as a mask. Fill is a value of at most -1500 HU that a
        part of the voxels shares exactly; air at -1024 HU is inside. Of a series, what is inside in all
        of its images.

    Raises
    ------
    UnitMismatch, MissingMetadata
        As `require_hu`.
    """
    given = require_hu(volume)
    found = fill_values(given.data)
    usable = np.isfinite(given.data)
    if found:
        usable &= ~is_fill(given.data, found)
    inside = np.asarray(usable.reshape(*given.grid.shape, -1).all(axis=-1))
    step = make_step("field_of_view", fill_hu=list(found))
    return given.derived(inside.astype(np.int32), "labels", "1", step, axes=(), warnings=())


Part = float | str | None


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting that two scans must share: its words, the tag, fields of the record, what counts as equal."""

    words: str
    tag: str
    fields: tuple[str, ...]
    equal: Callable[[float, float], bool]
    per_energy: bool = False

    def read(self, volume: Volume) -> tuple[Part, ...]:
        """Its parts; of a series of energies the tube voltage and filter of each."""
        record = ct_record(volume)
        axis = volume.axis("energy")
        each = [record]
        if axis is not None and self.per_energy:
            each = [record.of_energy(n, float(value)) for n, value in enumerate(axis.values)]
        return tuple(getattr(one, field) for one in each for field in self.fields)

    def shown(self, parts: tuple[Part, ...]) -> str:
        """The parts for a message; texts that no vocabulary knows are not quoted."""
        fields = self.fields * (len(parts) // len(self.fields))
        known = [(part, field) for part, field in zip(parts, fields, strict=True) if part is not None]
        return " ".join(
            harmless_text(field, part) or "another" if isinstance(part, str) else f"{part:g}"
            for part, field in known
        )


def _plain(part: str) -> str:
    return " ".join(part.split()).casefold()


def _equal_kv(one: float, other: float) -> bool:
    return abs(one - other) <= _SAME_KV


def _equal_length(one: float, other: float) -> bool:
    return abs(one - other) <= _SAME_THICKNESS * max(abs(one), abs(other))


_SETTINGS = {
    "kvp": _Setting("tube voltage (kV)", "KVP (0018,0060)", ("tube_voltage_kv",), _equal_kv, True),
    "filter": _Setting(
        "filter",
        "FilterType (0018,1160), FilterMaterial (0018,7050)",
        ("filtration", "filter_material", "filter_thickness_mm"),
        _equal_length,
        True,
    ),
    "kernel": _Setting("kernel", "ConvolutionKernel (0018,1210)", ("kernel",), _equal_length),
    "slice_thickness": _Setting(
        "slice thickness (mm)", "SliceThickness (0018,0050)", ("slice_thickness_mm",), _equal_length
    ),
}


def comparable(pre: Volume, post: Volume, *, allow: Collection[str] = ()) -> tuple[Caution, ...]:
    """Refuse to compare two scans of another beam or reconstruction.

    Parameters
    ----------
    pre, post : Volume
        Attenuation in HU.
    allow : collection of {"kvp", "filter", "kernel", "slice_thickness"}
        What may differ; it is then a caution.

    Returns
    -------
    tuple of Caution
        What was allowed to differ, and what could not be compared because a file does not state it.

    Raises
    ------
    UnitMismatch
        If values are not HU, or settings differ; the message lists all of them.
    MissingMetadata
        As `require_hu`.
    ValueError
        If `allow` names something else.
    """
    unknown = sorted(set(allow) - set(_SETTINGS))
    if unknown:
        raise UnknownChoice(f"what may differ is one of {', '.join(_SETTINGS)}, not {', '.join(unknown)}")
    one, other = require_hu(pre), require_hu(post)
    differing: dict[str, str] = {}
    unstated: list[str] = []
    for name, setting in _SETTINGS.items():
        before, after = setting.read(one), setting.read(other)
        same = _same(before, after, setting)
        if same is None:
            unstated.append(setting.words)
        elif not same:
            differing[name] = f"{setting.words} {setting.shown(before)} and {setting.shown(after)}"
    refused = {name: text for name, text in differing.items() if name not in allow}
    if refused:
        raise UnitMismatch(
            "the two scans cannot be compared: " + ", ".join(_SETTINGS[name].words for name in refused),
            where="; ".join(_SETTINGS[name].tag for name in refused),
            found="; ".join(refused.values()),
            needed="one tube voltage, filter, kernel and slice thickness before and after",
            next_step="give scans of one protocol, or allow the difference by name (--allow-mismatch): "
            + ", ".join(refused),
        )
    return _notes(differing, unstated)


def _notes(differing: dict[str, str], unstated: list[str]) -> tuple[Caution, ...]:
    notes = [
        Caution("settings-differ", f"the two scans differ, as was allowed: {text}", _SETTINGS[name].tag)
        for name, text in differing.items()
    ]
    if unstated:
        words = ", ".join(unstated)
        notes.append(
            Caution("settings-not-stated", f"not both scans state it, so it could not be compared: {words}")
        )
    return tuple(notes)


def _same(before: tuple[Part, ...], after: tuple[Part, ...], setting: _Setting) -> bool | None:
    """Whether the parts that both state are equal; None where there is none."""
    if len(before) != len(after):
        return False
    known = [
        (one, other)
        for one, other in zip(before, after, strict=True)
        if one is not None and other is not None
    ]
    if not known:
        return None
    return all(
        _plain(one) == _plain(other)
        if isinstance(one, str) and isinstance(other, str)
        else setting.equal(float(one), float(other))
        for one, other in known
    )
