"""Maps of tracer kinetics from dynamic emission series: models of `imgtheranostics.nuclear.kinetics`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import (
    Caution,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
    merge_cautions,
)
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.estimates import estimate_of
from imgtheranostics.mapping.refusals import applicable, checked, typed_refusals
from imgtheranostics.mapping.voxels import Chosen, Mask, chosen_voxels
from imgtheranostics.nuclear import kinetics
from imgtheranostics.nuclear.activity_curves import QUANTITIES, scan_values
from imgtheranostics.nuclear.administration import Administration
from imgtheranostics.nuclear.calibration import Calibration, calibrate
from imgtheranostics.nuclear.input_functions import InputFunction, read_blood
from imgtheranostics.nuclear.scale import emission_record
from imgtheranostics.nuclear.uptake import Choices, scan_timing
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume, make_step

__all__ = ["METHODS", "kinetics_maps"]

FloatArray = npt.NDArray[np.float64]

COMPARTMENTS = ("one_tissue", "two_tissue", "two_tissue_irreversible")
PLASMA_PLOTS = ("patlak", "logan", "ma1")
REFERENCE_PLOTS = ("patlak_reference", "logan_reference", "mrtm2", "mrtm")
REFERENCE_MODELS = ("srtm", "srtm2")
METHODS = (*COMPARTMENTS, *PLASMA_PLOTS, *REFERENCE_PLOTS, *REFERENCE_MODELS)
"""What maps can be made with."""

PARAMETERS = {
    "K1": "tissue_influx",
    "k2": "tissue_efflux",
    "k3": "binding_rate",
    "k4": "release_rate",
    "vB": "blood_fraction",
    "delay_s": "bolus_delay",
    "VT": "distribution_volume",
    "Ki": "net_influx",
    "DVR": "distribution_ratio",
    "BP_ND": "binding_potential",
    "R1": "relative_delivery",
    "k2a": "apparent_efflux",
    "k2_reference": "reference_efflux",
}
"""Quantity of each parameter of the array level."""

SCALED = ("K1", "VT", "Ki")
"""Parameters that the scanner's calibration against the blood counter scales."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(COMPARTMENTS, ("weights", "blood_fraction", "delay_s", "delay_bounds_s")),
    **dict.fromkeys(PLASMA_PLOTS, ("start_s", "end_s", "weights")),
    "patlak_reference": ("start_s", "end_s", "weights"),
    "logan_reference": ("start_s", "end_s", "weights", "k2_reference_per_min"),
    "mrtm2": ("start_s", "end_s", "weights", "k2_reference_per_min"),
    "mrtm": ("start_s", "end_s", "weights"),
    "srtm": ("weights", "k2a_bounds_per_min", "n_bases"),
    "srtm2": ("weights", "k2a_bounds_per_min", "n_bases", "k2_reference_per_min"),
}
"""Options of each method."""


def kinetics_maps(
    v: Volume,
    *,
    method: str,
    input_function: InputFunction | Path | str | Sequence[Path | str] | None = None,
    reference: Regions | npt.ArrayLike | None = None,
    mask: Mask = None,
    administration: Administration | None = None,
    decay_correction: str | None = None,
    sensitivity_cps_mbq: float | Calibration | None = None,
    strict_clock: bool = False,
    workers: int | None = None,
    **options: Any,
) -> dict[str, Estimate]:
    """Kinetic parameters of every voxel of a dynamic series.

    Values are decay corrected to the injection, and times count from it.

    Parameters
    ----------
    v : Volume
        Activity concentration along ``time``; for methods with a reference tissue also SUV.
    method : str
        One of `METHODS`, the functions and models of `imgtheranostics.nuclear.kinetics`.
    input_function : InputFunction, path or sequence of path
        For compartment models, ``patlak``, ``logan`` and ``ma1``: blood, or the ``*_blood.tsv`` of PET-BIDS.
    reference : Regions or (n,) array_like
        For the other methods: one region, or the curve of a tissue in these frames and their unit.
    mask : Volume, Regions or array, optional
    administration, decay_correction, sensitivity_cps_mbq, strict_clock
        As in `imgtheranostics.nuclear.activity_curves.time_activity`.
    workers : int, optional
    **options
        Those of the method: `start_s`, `end_s`, `weights`, `k2_reference_per_min`, `k2a_bounds_per_min`,
        `n_bases`; `blood_fraction`, `delay_s`, `delay_bounds_s`. A voxel hardly tells a delay: for
        compartment models it is 0 unless given; fit it to the curve of a region.

    Returns
    -------
    dict of str to Estimate
        By quantity, such as ``net_influx`` in mL/cm3/min or ``binding_potential``.

    Raises
    ------
    UnknownChoice
        If the method is not known, or an option does not belong to it.
    UnsupportedInput
        If the series is not dynamic, has too few frames, or there is not exactly one reference region.
    MissingMetadata
        If the input, the injection, the start of the line or the duration of frames is not known.
    UnitMismatch
        If an input function is given for images that hold no activity concentration.
    ImplausibleValue, GeometryMismatch
        As the methods, and if regions lie on another grid.
    """
    checked(method, METHODS, "method")
    given = applicable(options, OPTIONS[method], method)
    v = calibrate(v, sensitivity_cps_mbq)
    scan = _dynamic(v, method, Choices(administration, decay_correction, strict_clock=strict_clock))
    chosen = chosen_voxels(scan.samples, v, mask=mask)
    source = _source(v, method, scan, input_function, reference)
    own = {"delay_s": 0.0, **given} if method in COMPARTMENTS else given
    call = array_call(method, scan.mid_s, scan.duration_s, source.inflow, source.curve, own)
    with typed_refusals():
        fit = call(scan.samples, mask=chosen.inside, workers=workers)
    decisions = {**scan.decisions, "method": {"rule": method, **_plain(given)}, **source.decisions}
    warnings = merge_cautions(scan.warnings, source.warnings)
    relative = 0.0 if source.from_images else scan.calibration_relative
    return _estimates(v, fit, method, chosen, relative, decisions, warnings)


@dataclass(frozen=True, eq=False)
class _Dynamic:
    """A series whose times count from the injection.

    `samples` times `factor` are in the unit of the quantity, decay corrected to the injection.
    """

    samples: npt.NDArray[np.floating]
    factor: float
    mid_s: FloatArray
    duration_s: FloatArray | None
    calibration_relative: float
    decisions: Mapping[str, Any]
    warnings: tuple[Caution, ...]


@dataclass(frozen=True, eq=False)
class _Source:
    """What drives the tissue: blood in the unit of the samples, or a reference curve."""

    inflow: InputFunction | None
    curve: FloatArray | None
    from_images: bool
    decisions: dict[str, Any]
    warnings: tuple[Caution, ...] = ()


def _dynamic(v: Volume, method: str, choices: Choices) -> _Dynamic:
    if v.axis("time") is None or len(v.axes) != 1:
        raise UnsupportedInput(
            "kinetics need a dynamic series",
            found="axes: " + (", ".join(axis.name for axis in v.axes) or "none beyond space"),
            needed="one axis, time",
        )
    by_reference = method in REFERENCE_PLOTS or method in REFERENCE_MODELS
    if not by_reference and v.quantity.startswith("suv_"):
        raise UnitMismatch(
            "blood in Bq/mL cannot drive images in SUV",
            found=f"{v.quantity} [{v.unit}]",
            needed="activity concentration in Bq/mL",
            next_step="load the series in Bq/mL, or use a method with a reference tissue",
        )
    quantity = v.quantity if by_reference and v.quantity in QUANTITIES else "activity_concentration"
    scan = scan_values(v, quantity, True, choices, 1.0, {})
    if scan.origin != "injection":
        raise MissingMetadata(
            "the injection is not known, and kinetics count from it",
            where="RadiopharmaceuticalStartDateTime (0018,1078)",
            needed="the time from the injection to the first frame, for times and for the decay correction",
            next_step="give it: Administration(activity_bq=..., at=datetime(...)) or --injected-at",
        )
    factor = scan.values.frame_factor
    samples, common = scan.values.image.data, float(factor[0])
    if not (factor == factor[0]).all():
        samples, common = np.asfortranarray(samples * factor.astype(np.float32)), 1.0
    return _Dynamic(
        samples,
        common,
        np.asarray(scan.mid_s, np.float64),
        frame_durations(v, choices),
        scan.values.template.calibration_relative,
        scan.values.template.decisions,
        scan.warnings,
    )


def frame_durations(v: Volume, choices: Choices) -> FloatArray | None:
    """Of the frames, averaged over slices; None where a file does not say."""
    stated = scan_timing(v, emission_record(v), choices).clock.duration_s
    if stated is None or not np.isfinite(stated).all():
        return None
    mean = np.atleast_2d(stated).mean(axis=0)
    return np.asarray(np.broadcast_to(mean, (v.shape[3],)), np.float64)


def _source(
    v: Volume,
    method: str,
    scan: _Dynamic,
    input_function: InputFunction | Path | str | Sequence[Path | str] | None,
    reference: Regions | npt.ArrayLike | None,
) -> _Source:
    by_blood = method in COMPARTMENTS or method in PLASMA_PLOTS
    needed, vain = ("input_function", reference) if by_blood else ("reference", input_function)
    if vain is not None:
        raise UnsupportedInput(
            f"{method} takes {'an input function' if by_blood else 'a reference tissue'} and nothing else",
            next_step=f"give {needed}= alone",
        )
    if by_blood:
        if input_function is None:
            raise MissingMetadata(
                f"{method} needs an input function",
                where="--blood (input_function=)",
                needed="a *_blood.tsv of PET-BIDS, or an InputFunction",
            )
        inflow = input_function if isinstance(input_function, InputFunction) else read_blood(input_function)
        in_images = inflow.decisions.get("rule") == "region in the images"
        scaled = replace(
            inflow,
            plasma=inflow.plasma / scan.factor,
            whole_blood=None if inflow.whole_blood is None else inflow.whole_blood / scan.factor,
        )
        decisions = {"input_function": {**inflow.decisions, "time_zero": "taken as the injection"}}
        return _Source(scaled, None, in_images, decisions, inflow.warnings)
    if reference is None:
        raise MissingMetadata(
            f"{method} needs a reference tissue",
            where="--reference (reference=)",
            needed="one region without binding, or its curve",
        )
    if isinstance(reference, Regions):
        curve, name = _region_curve(v, reference, scan)
        return _Source(None, curve, True, {"reference": {"rule": "region", "name": name}})
    curve = np.asarray(reference, np.float64) / scan.factor
    return _Source(None, curve, True, {"reference": {"rule": "given"}})


def _region_curve(v: Volume, regions: Regions, scan: _Dynamic) -> tuple[FloatArray, str]:
    if len(regions) != 1:
        raise UnsupportedInput(
            "one region must be the reference", found=f"{len(regions)} regions", next_step="name one of them"
        )
    name = next(iter(regions))
    inside = regions.fit_to(v.grid).mask(name)
    values = np.asarray(scan.samples[inside], np.float64)
    usable = np.isfinite(values).all(axis=1)
    if not usable.any():
        raise UnsupportedInput("the reference region holds no voxel with a whole curve", where=name)
    return np.asarray(values[usable].mean(axis=0)), name


def array_call(
    method: str,
    mid_s: FloatArray,
    duration_s: FloatArray | None,
    inflow: InputFunction | None,
    curve: FloatArray | None,
    given: Mapping[str, Any],
) -> Callable[..., Fit]:
    """The function of the array level with all that curves share.

    Parameters
    ----------
    method : str
        Of `METHODS`.
    mid_s, duration_s : (n,) ndarray
        Of the frames; None where the durations are not known.
    inflow : InputFunction, optional
        In the unit of the samples.
    curve : (n,) ndarray, optional
        Of the reference tissue.
    given : mapping
        Options of the method.

    Raises
    ------
    MissingMetadata
        If the start of a line, or the durations of frames for a compartment model are not known.
    """
    function: Any = getattr(kinetics, method, None) or kinetics.fit
    if (method in PLASMA_PLOTS or method in REFERENCE_PLOTS[:2]) and given.get("start_s") is None:
        raise MissingMetadata(
            f"from when on the plot of {method} is straight depends on the tracer",
            where="--start (start_s=)",
            needed="t* in s since the injection",
        )
    shared: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if method in COMPARTMENTS:
        if duration_s is None:
            raise MissingMetadata(
                "the durations of the frames are not known", where="ActualFrameDuration (0018,1242)"
            )
        half = 0.5 * duration_s
        shared |= {"frame_start_s": mid_s - half, "frame_end_s": mid_s + half}
    else:
        shared |= {"time_s": mid_s, "frame_duration_s": duration_s}
    if inflow is not None:
        shared |= {"input_time_s": inflow.time_s, "plasma": inflow.plasma}
    if method in COMPARTMENTS and inflow is not None:
        shared["whole_blood"] = inflow.whole_blood

    def call(samples: npt.ArrayLike, **more: Any) -> Fit:
        before = (method,) if method in COMPARTMENTS else ()
        after = () if curve is None else (curve,)
        found: Fit = function(*before, samples, *after, **shared, **more)
        return found

    return call


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they go into the record."""
    return {name: np.asarray(value).tolist() for name, value in given.items() if value is not None}


def _estimates(
    v: Volume,
    fit: Fit,
    method: str,
    chosen: Chosen,
    relative: float,
    decisions: Mapping[str, Any],
    warnings: tuple[Caution, ...],
) -> dict[str, Estimate]:
    found = {}
    for name, quantity in PARAMETERS.items():
        if name not in fit.parameters:
            continue
        if method == "patlak_reference" and name == "Ki":
            quantity = "relative_influx"
        estimate = estimate_of(
            v,
            fit,
            name,
            quantity,
            make_step("kinetics", method=method),
            chosen,
            axes=(),
            calibration_relative=relative if name in SCALED else 0.0,
            decisions=decisions,
            warnings=warnings,
        )
        if "patlak" in method or "logan" in method:
            # The residual of a plot is not in the unit of the images.
            maps = {kept: volume for kept, volume in estimate.maps.items() if kept != "rmse"}
            estimate = replace(estimate, maps=maps)
        found[quantity] = estimate
    return found
