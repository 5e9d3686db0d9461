"""Maps of time-integrated activity from scans over hours or days, voxel by voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    merge_cautions,
)
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.estimates import estimate_of
from imgtheranostics.mapping.refusals import UnknownChoice, checked
from imgtheranostics.mapping.voxels import Mask, chosen_voxels
from imgtheranostics.nuclear.activity_curves import (
    ScanValues,
    check_one_subject,
    common_origin,
    injection_cautions,
    scan_values,
)
from imgtheranostics.nuclear.administration import Administration
from imgtheranostics.nuclear.calibration import Calibration, calibrate
from imgtheranostics.nuclear.curve_areas import auc
from imgtheranostics.nuclear.curve_models import AREAS, MODELS, SAME_HALF_LIFE, TERMS
from imgtheranostics.nuclear.decay import decay_factor
from imgtheranostics.nuclear.exponential_curves import fit_exponential
from imgtheranostics.nuclear.uptake import Choices
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Estimate, Volume, make_step

FloatArray = npt.NDArray[np.float64]

_OF_VOXELS = ("activity_concentration", "id_per_g", "id_per_ml")
_MAPS = ("effective_half_life", "extrapolated_fraction")
_LONG_FRAME = 0.5
"""Length of a frame over the half-life from which on it is said."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Decay-corrected values of all frames on one grid, in order of time.

    Attributes
    ----------
    image : Volume
        Of the first scan: its grid, record and source.
    data : ndarray, shape (i, j, k, n_times)
        As if nothing had decayed since the injection.
    time_s : (n_times,) ndarray
        After the injection.
    half_life_s : float
        Of the nuclide that was imaged.
    calibration_relative : float
    decisions : dict
    warnings : tuple of Caution
    """

    image: Volume
    data: npt.NDArray[np.float32]
    time_s: FloatArray
    half_life_s: float
    calibration_relative: float
    decisions: dict[str, Any]
    warnings: tuple[Caution, ...]


def time_integrated_activity(
    volumes: Volume | Sequence[Volume],
    *,
    model: str = "auto",
    quantity: str = "activity_concentration",
    uptake: bool | None = None,
    tail: str = "physical",
    beginning: str = "linear",
    administration: Administration | None = None,
    density_g_ml: float | Volume = 1.0,
    decay_correction: str | None = None,
    sensitivity_cps_mbq: float | Calibration | None = None,
    strict_clock: bool = False,
    given: str | None = None,
    mask: Mask = None,
    threshold: float | None = None,
    standard_error: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Estimate:
    """Decays per volume or mass of tissue in every voxel, from the injection on.

    Exponentials are fitted to the decay-corrected samples with weights that fall as the nuclide decays, as
    the counts of equally long frames do.

    Parameters
    ----------
    volumes : Volume or sequence of Volume
        A dynamic series, or scans of one subject on one grid, in any order.
    model : {"auto", "mono", "bi", "tri", "linear", "linear_log"}
        As in `fit_curve`.
    quantity : {"activity_concentration", "id_per_g", "id_per_ml"}
        What is integrated.
    uptake : bool, optional
        As in `imgtheranostics.nuclear.curves.fit_exponential`.
    tail, beginning : str
        Of trapezoids, as in `imgtheranostics.nuclear.curves.auc`.
    administration, density_g_ml, decay_correction, sensitivity_cps_mbq, strict_clock
        As in `time_activity`.
    given : str, optional
        Nuclide that will be given, such as ``Y-90`` after images of 86Y: the decays are its own, with the
        biology of what was imaged and as much of it injected.
    mask : Volume, Regions or (i, j, k) array_like, optional
    threshold : float, optional
        The largest decay-corrected sample of a voxel must reach it, in the unit of `quantity`.
    standard_error : (n,) or (i, j, k, n) array_like, optional
        Of the decay-corrected samples in order of time, independent, in the unit of `quantity`: for
        trapezoids, about which nothing scatters that could tell it. Exponentials find their own.
    workers : int, optional
        Threads; the numbers do not depend on it.

    Returns
    -------
    Estimate
        ``time_integrated_activity`` in Bq.s/mL, ``tiac_per_g`` in s/g or ``tiac_per_ml`` in s/mL. The
        standard error holds the scatter about the fit, that of `standard_error` for trapezoids (NaN without
        it, as ``decisions["standard_error"]`` says), and the calibration that all scans share.
        ``maps`` has ``effective_half_life`` and ``extrapolated_fraction``.

    Raises
    ------
    ValueError
        If a choice does not exist, or standard errors are given for exponentials or have another shape.
    NothingUsable
        If no volume is given.
    MissingMetadata
        If the injection is not known.
    GeometryMismatch
        If the scans lie on different grids.
    ImplausibleValue
        If scans are of several subjects or nuclides, or of the same time, or before the injection.
    IllConditioned
        If there are fewer times than the model has parameters.
    """
    checked(model, MODELS, "model")
    checked(quantity, _OF_VOXELS, "quantity")
    if standard_error is not None and model in TERMS:
        raise ValueError("standard_error belongs to trapezoids: exponentials find the scatter themselves")
    scans = [volumes] if isinstance(volumes, Volume) else list(volumes)
    if not scans:
        raise NothingUsable("no volume was given for a map of time-integrated activity")
    choices = Choices(administration, decay_correction, strict_clock=strict_clock)
    samples = gathered_samples(scans, quantity, choices, density_g_ml, sensitivity_cps_mbq)
    chosen = chosen_voxels(samples.data, samples.image, mask=mask, threshold=threshold)
    name, administered = AREAS[quantity]
    decaying_s = samples.half_life_s if given is None else nuclide(given).half_life_s
    common: dict[str, Any] = {
        "half_life_s": decaying_s,
        "decay_corrected": True,
        "administered": administered,
        "unit": QUANTITIES[quantity].unit,
        "mask": chosen.inside,
    }
    spread = None if standard_error is None else _errors_of_samples(standard_error, samples)
    fit = _quantified(samples, model, uptake, (tail, beginning, spread), common, workers)
    times = [float(t) for t in samples.time_s]
    named = {} if given is None else {"nuclide": nuclide(given).name}
    step = make_step("time_integrated_activity", model=model, times_s=times, **named)
    counted = {"rule": "imaged nuclide" if given is None else "nuclide to be given", **named}
    decisions = {**samples.decisions, "decays": {**counted, "half_life_s": decaying_s}}
    decisions["voxels"] = chosen.decision
    decisions["standard_error"] = {"rule": _rule_of_errors(model, given=spread is not None)}
    shares = fit.parameters["extrapolated_fraction"] * np.float32(100)
    fit = replace(fit, parameters={**fit.parameters, "extrapolated_fraction": shares})
    estimate = estimate_of(
        samples.image,
        fit,
        "tiac_s",
        name,
        step,
        chosen,
        calibration_relative=samples.calibration_relative,
        decisions=decisions,
        warnings=samples.warnings,
        beside={
            "effective_half_life_s": "effective_half_life",
            "extrapolated_fraction": "extrapolated_fraction",
        },
    )
    if model in TERMS:
        return estimate
    return replace(estimate, maps={key: estimate.maps[key] for key in _MAPS})


def _quantified(
    samples: Samples,
    model: str,
    uptake: bool | None,
    area: tuple[str, str, FloatArray | None],
    common: dict[str, Any],
    workers: int | None,
) -> Fit:
    tail, beginning, spread = area
    try:
        if model in TERMS:
            weights = decay_factor(samples.time_s - samples.time_s[0], samples.half_life_s)
            return fit_exponential(
                samples.data,
                samples.time_s,
                terms=TERMS[model],
                uptake=uptake,
                weights=weights,
                workers=workers,
                **common,
            )
        return auc(
            samples.data,
            samples.time_s,
            method=model,
            tail=tail,
            beginning=beginning,
            standard_error=spread,
            **common,
        )
    except UnknownChoice:
        raise
    except ValueError as error:
        raise IllConditioned(
            f"the curves cannot be quantified: {error}",
            found=f"{samples.time_s.size} times",
            next_step="add scans, or choose a model with fewer parameters",
        ) from error


def _errors_of_samples(standard_error: npt.ArrayLike, samples: Samples) -> FloatArray:
    """One for each time, or for each sample."""
    given = np.asarray(standard_error, np.float64)
    if given.shape not in (samples.time_s.shape, samples.data.shape):
        raise ValueError(
            f"standard_error has shape {given.shape}, but needs one number for each time, "
            f"{samples.time_s.shape}, or for each sample, {samples.data.shape}"
        )
    if (given < 0).any():
        raise ValueError("standard_error must not be negative")
    return given


def _rule_of_errors(model: str, *, given: bool) -> str:
    if model in TERMS:
        return "scatter about the fit"
    return "from those of the samples" if given else "none: trapezoids leave no scatter, and none was given"


def gathered_samples(
    given: Sequence[Volume],
    quantity: str,
    choices: Choices,
    density_g_ml: float | Volume,
    sensitivity_cps_mbq: float | Calibration | None,
) -> Samples:
    """All frames of scans of one subject, decay-corrected to the injection; as `time_integrated_activity`."""
    volumes = [calibrate(v, sensitivity_cps_mbq) for v in given]
    check_one_subject(volumes)
    _check_one_grid(volumes)
    scans = [
        scan_values(v, quantity, decay_corrected=True, choices=choices, density_g_ml=density_g_ml, subject={})
        for v in volumes
    ]
    if common_origin(scans) != "injection":
        raise MissingMetadata(
            "times count from the start of the scan, not from the injection",
            where="RadiopharmaceuticalStartDateTime (0018,1078)",
            needed="date and time of the injection",
            next_step="give it: Administration(activity_bq=..., at=datetime(...)) or --injected-at",
        )
    half_life_s = _one_half_life(scans)
    time_s = np.concatenate([scan.mid_s for scan in scans])
    order = np.argsort(time_s, kind="stable")
    _check_times(time_s[order])
    data = np.empty((*volumes[0].grid.shape, time_s.size), np.float32, order="F")
    place = {frame: position for position, frame in enumerate(order)}
    frame = 0
    for scan in scans:
        values = scan.values
        voxels = values.image.data.reshape((*volumes[0].grid.shape, -1))
        for n, factor in enumerate(values.frame_factor):
            np.multiply(
                voxels[..., n], factor, out=data[..., place[frame]], dtype=np.float64, casting="same_kind"
            )
            frame += 1
    templates = [scan.values.template for scan in scans]
    return Samples(
        scans[0].values.image,
        data,
        time_s[order],
        half_life_s,
        max(template.calibration_relative for template in templates),
        {"scans": [dict(template.decisions) for template in templates], "decay_reference": "injection"},
        merge_cautions(
            injection_cautions(scans), *(scan.warnings for scan in scans), _long_frames(scans, half_life_s)
        ),
    )


def _long_frames(scans: Sequence[ScanValues], half_life_s: float) -> tuple[Caution, ...]:
    """A caution where frames are long beside the half-life: voxels are fitted as if in their middle."""
    longest = max(float(np.max(np.nan_to_num(scan.frame_s))) for scan in scans)
    if longest <= _LONG_FRAME * half_life_s:
        return ()
    text = (
        f"frames of up to {longest:.4g} s are long beside the half-life of {half_life_s:.4g} s: voxels are "
        "fitted as if their values were those in the middle of the frames; curves of regions are not"
    )
    return (Caution("long-frames", text),)


def _check_one_grid(volumes: Sequence[Volume]) -> None:
    for v in volumes[1:]:
        same = volumes[0].grid.same_as(v.grid)
        if not same:
            raise GeometryMismatch(
                "the scans lie on different grids",
                found=str(same),
                needed="the same grid for every scan",
                next_step="register the scans and resample them to one of them",
            )


def _one_half_life(scans: Sequence[ScanValues]) -> float:
    found = [float(scan.values.template.decisions["half_life"]["seconds"]) for scan in scans]
    if max(found) > min(found) * (1.0 + SAME_HALF_LIFE):
        raise ImplausibleValue(
            "the scans are of different nuclides",
            found=" and ".join(f"{seconds:g} s" for seconds in sorted(set(found))),
            needed="one half-life",
        )
    return found[0]


def _check_times(time_s: FloatArray) -> None:
    if time_s[0] < 0:
        raise ImplausibleValue(
            "a frame is before the injection", found=f"{time_s[0]:g} s", needed="0 s or later"
        )
    if not (np.diff(time_s) > 0).all():
        raise ImplausibleValue(
            "two frames are of the same time",
            found=", ".join(f"{time:g}" for time in time_s[:12]) + " s",
            needed="each time once",
            next_step="leave one of them out",
        )
