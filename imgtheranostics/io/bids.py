"""The meaning of an image: our own keys, else those of its modality, else what the header says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import CtAcquisition, MrAcquisition, UltrasoundAcquisition
from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.io.bids_cest import interpret_cest, is_cest, with_edited_offsets
from imgtheranostics.io.bids_ct import interpret_ct, is_ct, read_ct
from imgtheranostics.io.bids_mri import interpret_mr, is_mr, read_mr
from imgtheranostics.io.bids_pet import interpret_pet, is_emission
from imgtheranostics.io.bids_photoacoustic import interpret_pa
from imgtheranostics.io.bids_ultrasound import interpret_us, is_us, place_cautions, read_us
from imgtheranostics.io.meaning import Meaning, extra_axes, modality_of
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.own_sidecar import interpret_own, is_own
from imgtheranostics.io.sidecar import Sidecar
from imgtheranostics.volume import make_step

_TIMES = frozenset({"t1", "t2", "t2star"})
_RATES = frozenset({"r1", "r2", "r2star"})
_LONGEST_MEDIAN_S = 60.0
_CT_QUANTITIES = ("attenuation", "delta_attenuation", "concentration", "stored_value", "signal")
_US_QUANTITIES = ("echo_level", "echo_intensity", "signal")
_PUBLIC_TOO = {
    "MagneticFieldStrength": "field_strength_t",
    "RepetitionTimeExcitation": "repetition_time_s",
    "EchoTime": "echo_time_s",
    "InversionTime": "inversion_time_s",
    "FlipAngle": "flip_angle_deg",
}
"""Values of the MR record that stand in keys of BIDS as well."""
_PUBLIC_OF_CT = {
    "KVP": "tube_voltage_kv",
    "FilterThickness": "filter_thickness_mm",
    "SliceThickness": "slice_thickness_mm",
}
_PUBLIC_OF_US = {"DynamicRange": "dynamic_range_db", "GreyMax": "grey_max", "Gain": "gain_db"}
_ENOUGH_VOXELS = 500_000
_EMISSION_QUANTITIES = ("activity_concentration", "suv_", "id_per_", "count", "signal")


def interpret(sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """What the stored numbers mean.

    Raises
    ------
    CorruptInput, MissingMetadata, ImplausibleValue, UnitMismatch
        As the modality's own reading.
    """
    if is_own(sidecar):
        meaning, has_acquisition = interpret_own(sidecar, header.shape)
        if not has_acquisition:
            return _with_foreign_acquisition(meaning, sidecar, header)
        return with_edited_offsets(_with_edited_keys(meaning, sidecar), sidecar, header)
    return _by_modality(sidecar, header)


def _by_modality(sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    modality, suffix = modality_of(sidecar)
    if is_cest(sidecar, suffix, header):
        return interpret_cest(sidecar, header)
    if modality in ("PT", "NM") or (not modality and is_emission(sidecar)):
        return interpret_pet(sidecar, header, modality or "PT")
    if modality == "PA":
        return interpret_pa(sidecar, header)
    if modality == "CT" or (not modality and is_ct(sidecar)):
        return interpret_ct(sidecar, header)
    if modality == "US" or (not modality and is_us(sidecar)):
        return interpret_us(sidecar, header)
    if modality == "MR" or (not modality and is_mr(sidecar, suffix)):
        return interpret_mr(sidecar, header)
    axes, cautions = extra_axes(header, sidecar)
    if header.is_labels:
        return Meaning(quantity="labels", unit="1", axes=axes, cautions=cautions)
    return Meaning(axes=axes, cautions=cautions)


def _with_edited_keys(meaning: Meaning, sidecar: Sidecar) -> Meaning:
    """Our own record with the values that stand in public keys, which are the ones that people edit."""
    record = meaning.acquisition
    if isinstance(record, MrAcquisition):
        public = _PUBLIC_TOO
    elif isinstance(record, CtAcquisition):
        public = _PUBLIC_OF_CT
    elif isinstance(record, UltrasoundAcquisition):
        public = _PUBLIC_OF_US
    else:
        return meaning
    edited = [
        name
        for key, name in public.items()
        if isinstance(sidecar.values.get(key), (int, float))
        and not _same(float(sidecar.values[key]), getattr(record, name))
    ]
    if not edited:
        return meaning
    stated: Any
    cautions: tuple[Caution, ...] = ()
    if isinstance(record, CtAcquisition):
        stated = read_ct(sidecar)
    elif isinstance(record, UltrasoundAcquisition):
        stated = read_us(sidecar)
    else:
        stated, cautions = read_mr(sidecar, modality_of(sidecar)[1])
    record = replace(record, **{name: getattr(stated, name) for name in edited})
    return replace(meaning, acquisition=record, cautions=(*meaning.cautions, *cautions))


def _same(stated: float, recorded: float | None) -> bool:
    return recorded is not None and math.isclose(stated, recorded, rel_tol=1e-6)


def _with_foreign_acquisition(meaning: Meaning, sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """Our quantity with the acquisition that BIDS keys tell, where a hand-made sidecar has both."""
    modality, suffix = modality_of(sidecar)
    acquisition: Any
    cautions: tuple[Caution, ...] = ()
    if modality == "MR" or is_mr(sidecar, suffix):
        acquisition, cautions = read_mr(sidecar, suffix)
    elif meaning.quantity.startswith(_EMISSION_QUANTITIES) and (
        modality in ("PT", "NM") or is_emission(sidecar)
    ):
        foreign = interpret_pet(sidecar, header, modality or "PT")
        acquisition, cautions = foreign.acquisition, foreign.cautions
    elif meaning.quantity in _CT_QUANTITIES and (modality == "CT" or is_ct(sidecar)):
        acquisition = read_ct(sidecar)
    elif meaning.quantity in _US_QUANTITIES and (modality == "US" or is_us(sidecar)):
        acquisition, cautions = read_us(sidecar), place_cautions(header)
    else:
        return meaning
    return replace(meaning, acquisition=acquisition, cautions=(*meaning.cautions, *cautions))


def rescale_by_values(data: npt.NDArray[Any], meaning: Meaning) -> tuple[npt.NDArray[Any], Meaning]:
    """Turn a transmit-field map in percent into a ratio: only its values tell which of the two it is."""
    if meaning.quantity != "relative_b1":
        return data, meaning
    positive = data[np.isfinite(data) & (data > 0)]
    if not positive.size or float(np.median(positive)) <= 10.0:
        return data, meaning
    caution = Caution("b1-in-percent", "the transmit-field map is in percent: divided by 100", "TB1map")
    step = make_step("convert_unit", found="%", to="1", factor=0.01)
    scaled = (data.astype(np.float64) * 0.01).astype(np.float32)
    return scaled, replace(meaning, history=(*meaning.history, step), cautions=(*meaning.cautions, caution))


def check_by_values(data: npt.NDArray[Any], meaning: Meaning, sidecar: Sidecar) -> None:
    """Refuse another tool's relaxation map whose values must be ms or 1/ms, whatever its sidecar says.

    Our own maps are not looked at: among them are standard errors, which may be small.

    Raises
    ------
    ImplausibleValue
        If the median of a relaxation time is above a minute, or that of a rate below one per minute.
    """
    if meaning.quantity not in _TIMES | _RATES or is_own(sidecar):
        return
    flat = data.reshape(-1, order="F")
    some = flat[:: max(1, flat.size // _ENOUGH_VOXELS)]
    positive = some[np.isfinite(some) & (some > 0)]
    if not positive.size:
        return
    median = float(np.median(positive))
    is_time = meaning.quantity in _TIMES
    if (median if is_time else 1.0 / median) <= _LONGEST_MEDIAN_S:
        return
    raise ImplausibleValue(
        "the values of a relaxation map are not plausible in its unit",
        where=sidecar.where("Units"),
        found=f"a median of {median:.4g} {meaning.unit}",
        needed=f"relaxation times below {_LONGEST_MEDIAN_S:g} s",
        next_step="if they are in ms, write Units: ms into the sidecar"
        if is_time
        else "if they are in 1/ms, multiply them by 1000 and write Units: 1/s into the sidecar",
    )
