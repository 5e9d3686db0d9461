"""Input functions of tracer kinetics: arterial samples, a vessel in the images, a scaled template.

All are in Bq/mL, decay corrected to time zero of the images, which must be the injection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata
from imgtheranostics.nuclear.blood_table import BLOOD, PARENT, PLASMA, BloodTable, read_blood_table
from imgtheranostics.nuclear.decay import decay_factor
from imgtheranostics.nuclear.kinetic_inputs import checked_input, checked_mid_times

__all__ = ["InputFunction", "image_derived", "read_blood", "scaled_template"]

FloatArray = npt.NDArray[np.float64]


_LEAST_BLOOD = 1e-3
"""Share of its peak that whole blood must have beside a plasma sample."""


@dataclass(frozen=True, eq=False)
class InputFunction:
    """What reaches the tissue, in straight lines between samples.

    Attributes
    ----------
    time_s : (k,) ndarray
        Since the injection.
    plasma : (k,) ndarray
        Unchanged tracer in plasma, Bq/mL, decay corrected to the injection.
    whole_blood : (k,) ndarray or None
        Everything in whole blood, likewise.
    decisions : mapping
        Where it is from and what was assumed.
    warnings : tuple of Caution
    """

    time_s: FloatArray
    plasma: FloatArray
    whole_blood: FloatArray | None = None
    decisions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()

    def covering(self, until_s: float) -> InputFunction:
        """Itself, once it is certain that it covers a scan whose last frame starts at `until_s`.

        Raises
        ------
        ImplausibleValue, ValueError
            As `imgtheranostics.nuclear.kinetic_inputs.checked_input`.
        """
        checked_input(self.time_s, self.plasma, until_s=until_s)
        if self.whole_blood is not None:
            checked_input(self.time_s, self.whole_blood, until_s=until_s, name="whole_blood")
        return self


def read_blood(
    path: Path | str | Sequence[Path | str],
    *,
    decay_corrected: bool | None = None,
    half_life_s: float | None = None,
    plasma_over_blood: float | None = None,
) -> InputFunction:
    """An arterial input function from PET-BIDS blood tables.

    Plasma times the parent fraction, both by straight lines between their own samples; the parent fraction
    starts at 1 and stays as it is after its last sample. Where whole blood has more samples than plasma, as
    that of an autosampler, plasma is whole blood times their ratio, which then lies on straight lines: the
    peak is not lost between manual samples. Of several tables (an autosampler's and a manual
    one), each column is joined in the order of time; where two have the same time, the first table counts.

    Parameters
    ----------
    path : path or sequence of path
        ``*_blood.tsv``, each with its sidecar.
    decay_corrected : bool, optional
        Whether the table is corrected to time zero, which no key of the standard states. By default it is
        taken to be, with a caution. False needs `half_life_s` and corrects it.
    half_life_s : float, optional
    plasma_over_blood : float, optional
        Ratio that makes plasma of whole blood where plasma was not measured.

    Returns
    -------
    InputFunction

    Raises
    ------
    MissingMetadata
        If there is neither plasma nor a ratio for it, or the half-life is needed.
    NothingUsable, CorruptInput, UnitMismatch, ImplausibleValue
        As `imgtheranostics.nuclear.blood_table.read_blood_table`.

    References
    ----------
    .. [1] Norgaard M et al. PET-BIDS. Sci Data 2022, 9:65. doi:10.1038/s41597-022-01164-1
    """
    paths = [path] if isinstance(path, (str, Path)) else list(path)
    tables = [read_blood_table(each) for each in paths]
    plasma, blood = _joined(tables, PLASMA), _joined(tables, BLOOD)
    cautions = _table_cautions(tables, decay_corrected)
    rule = "plasma samples"
    if plasma is None:
        if blood is None or plasma_over_blood is None:
            raise MissingMetadata(
                "the blood tables hold no plasma",
                where=f"column {PLASMA}",
                found=", ".join(sorted({name for table in tables for name in table.columns})) or "no samples",
                needed="plasma, or whole blood and the ratio of plasma to it",
                next_step="give plasma_over_blood=",
            )
        _check_positive(plasma_over_blood, "plasma_over_blood")
        plasma, rule = (blood[0], blood[1] * plasma_over_blood), "whole blood times a ratio"
    time = plasma[0] if blood is None else np.union1d(plasma[0], blood[0])
    curve = np.interp(time, *plasma)
    if blood is not None and blood[0].size > plasma[0].size:
        curve = np.interp(time, *blood) * _plasma_ratio(time, plasma, blood)
        rule = "whole blood times the ratio of plasma samples to it"
    parent = _joined(tables, PARENT)
    if parent is None:
        text = "no parent fraction was measured: all activity in plasma counts as unchanged tracer"
        cautions = (*cautions, Caution("metabolites-not-corrected", text, PARENT))
    else:
        curve = curve * _parent_fraction(time, *parent)
    whole = None if blood is None else np.interp(time, *blood)
    found = InputFunction(time, curve, whole, {"rule": rule, "parent_fraction": parent is not None}, cautions)
    return found if decay_corrected is not False else _decay_corrected(found, half_life_s)


def image_derived(
    blood: npt.ArrayLike,
    *,
    time_s: npt.ArrayLike,
    frame_duration_s: npt.ArrayLike | None = None,
    recovery: float = 1.0,
    surroundings: npt.ArrayLike | None = None,
    plasma_over_blood: npt.ArrayLike = 1.0,
    parent_fraction: npt.ArrayLike | None = None,
) -> InputFunction:
    """An input function from a vessel or the ventricle in the images, corrected for spill-in and spill-out.

    What the region shows is RC times the blood and (1 - RC) times what lies around it, as for a sphere in
    `imgtheranostics.nuclear.partial_volume.sphere_recovery`; frame means lie at the middles of the frames.

    Parameters
    ----------
    blood : (n,) array_like
        Mean of the region in each frame, Bq/mL, decay corrected to the injection.
    time_s : (n,) array_like
        Middles of the frames in s since the injection.
    frame_duration_s : float or (n,) array_like, optional
        The last value then holds until the end of the last frame.
    recovery : float
        Recovery coefficient RC of the region, above 0 and at most 1.
    surroundings : (n,) array_like, optional
        Mean around the region; needed where `recovery` is below 1.
    plasma_over_blood : float or (n,) array_like
        Ratio of plasma to whole blood.
    parent_fraction : (n,) array_like, optional
        Share of the plasma's activity that is unchanged tracer.

    Returns
    -------
    InputFunction
        With a caution for each of what was taken as 1.

    Raises
    ------
    ValueError
        If lengths differ or times do not increase.
    ImplausibleValue
        If the recovery, ratio or fraction is outside its range, or the corrected curve is negative.
    MissingMetadata
        If the surroundings are needed and not given.
    """
    times, frames = checked_mid_times(time_s, frame_duration_s)
    measured = _per_frame(blood, times, "blood")
    if not 0.0 < recovery <= 1.0:
        raise ImplausibleValue(
            "the recovery coefficient is outside its range",
            where="recovery",
            found=f"{recovery:g}" + (" (percent?)" if recovery > 1.0 else ""),
            needed="above 0 and at most 1",
        )
    if recovery < 1.0 and surroundings is None:
        raise MissingMetadata(
            "the activity around the vessel is not given; the spill-in correction needs it",
            where="surroundings",
            needed="the mean of a region around the vessel in each frame",
        )
    around = np.zeros(times.size) if surroundings is None else _per_frame(surroundings, times, "surroundings")
    whole = (measured - (1.0 - recovery) * around) / recovery
    ratio = _per_frame(plasma_over_blood, times, "plasma_over_blood")
    notes: list[Caution] = []
    if bool((ratio == 1.0).all()):
        notes.append(Caution("plasma-is-blood", "plasma was taken to be as active as whole blood"))
    if parent_fraction is None:
        text = "all activity in plasma counts as unchanged tracer"
        notes.append(Caution("metabolites-not-corrected", text))
    if recovery == 1.0:
        notes.append(Caution("spill-in-not-corrected", "the vessel's region was taken to show only blood"))
    _check_positive(float(ratio.min()), "plasma_over_blood")
    parent = np.ones(times.size) if parent_fraction is None else _fraction(parent_fraction, times)
    time, plasma = _whole_scan(times, whole * ratio * parent, None if frames is None else frames.end_s[-1])
    _, whole = _whole_scan(times, whole, None if frames is None else frames.end_s[-1])
    decisions = {"rule": "region in the images", "recovery": recovery}
    found = InputFunction(time, plasma, whole, decisions, tuple(notes))
    return found.covering(float(times[-1]))


def scaled_template(
    template: InputFunction, *, sample_time_s: npt.ArrayLike, samples: npt.ArrayLike
) -> InputFunction:
    """A population's input function, scaled to a few blood samples of the subject by least squares.

    Parameters
    ----------
    template : InputFunction
        Shape from other subjects, in any unit.
    sample_time_s, samples : (k,) array_like
        Unchanged tracer in plasma, Bq/mL, decay corrected to the injection.

    Raises
    ------
    ValueError
        If lengths differ or values are not finite.
    ImplausibleValue
        If a sample lies outside the template, or the scale is not positive.
    """
    when, values = np.atleast_1d(np.array(sample_time_s, float)), np.atleast_1d(np.array(samples, float))
    if when.shape != values.shape or when.ndim != 1 or not np.isfinite([when, values]).all():
        raise ValueError("sample_time_s and samples must be finite and of one length")
    if when.min() < template.time_s[0] or when.max() > template.time_s[-1]:
        raise ImplausibleValue(
            "a sample lies outside the template",
            where="sample_time_s",
            found=f"{when.min():g} to {when.max():g} s",
            needed=f"{template.time_s[0]:g} to {template.time_s[-1]:g} s",
        )
    shape = np.interp(when, template.time_s, template.plasma)
    scale = float(shape @ values / (shape @ shape)) if shape.any() else 0.0
    _check_positive(scale, "scale of the template")
    blood = None if template.whole_blood is None else template.whole_blood * scale
    decisions = {**template.decisions, "rule": "template scaled to samples", "scale": scale}
    text = f"the shape of the input function is a template's, scaled to {when.size} samples"
    return replace(
        template,
        plasma=template.plasma * scale,
        whole_blood=blood,
        decisions=decisions,
        warnings=(*template.warnings, Caution("input-from-template", text)),
    )


def _joined(tables: Sequence[BloodTable], name: str) -> tuple[FloatArray, FloatArray] | None:
    parts = [table.columns[name] for table in tables if name in table.columns]
    if not parts:
        return None
    time, where = np.unique(np.concatenate([times for times, _ in parts]), return_index=True)
    return time, np.concatenate([values for _, values in parts])[where]


def _table_cautions(tables: Sequence[BloodTable], decay_corrected: bool | None) -> tuple[Caution, ...]:
    found = []
    if decay_corrected is None:
        text = "that the blood samples are decay corrected to time zero is assumed; no key states it"
        found.append(Caution("blood-decay-assumed", text, "decay_corrected="))
    if any(str(table.sidecar.get("DispersionCorrected", "")).lower() == "false" for table in tables):
        text = "a blood curve is not corrected for the dispersion in its line: early rates are too low"
        found.append(Caution("dispersion-not-corrected", text, "DispersionCorrected"))
    return tuple(found)


def _plasma_ratio(
    time: FloatArray, plasma: tuple[FloatArray, FloatArray], blood: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Plasma over whole blood from the plasma samples, where there is blood to speak of."""
    under = np.interp(plasma[0], *blood)
    usable = under > _LEAST_BLOOD * blood[1].max()
    if not usable.any():
        raise ImplausibleValue(
            "no plasma sample has whole blood above zero beside it",
            where=f"columns {PLASMA}, {BLOOD}",
            next_step="check the times of both, or leave out whole blood",
        )
    ratio = plasma[1][usable] / under[usable]
    return np.asarray(np.interp(time, plasma[0][usable], ratio), np.float64)


def _parent_fraction(time: FloatArray, when: FloatArray, fraction: FloatArray) -> FloatArray:
    if when[0] > 0.0:
        when, fraction = np.r_[0.0, when], np.r_[1.0, fraction]
    return np.interp(time, when, fraction)


def _decay_corrected(found: InputFunction, half_life_s: float | None) -> InputFunction:
    if half_life_s is None:
        raise MissingMetadata(
            "the half-life is needed to correct the blood samples for decay",
            where="half_life_s",
            next_step="give it, or say decay_corrected=True",
        )
    _check_positive(half_life_s, "half_life_s")
    factor = 1.0 / np.asarray(decay_factor(found.time_s, half_life_s))
    blood = None if found.whole_blood is None else found.whole_blood * factor
    decisions = {**found.decisions, "decay": f"corrected to time zero with {half_life_s:g} s"}
    return replace(found, plasma=found.plasma * factor, whole_blood=blood, decisions=decisions)


def _per_frame(values: npt.ArrayLike, times: FloatArray, name: str) -> FloatArray:
    given = np.array(values, np.float64)
    if given.shape not in ((), times.shape):
        raise ValueError(f"{name} has shape {given.shape}, but needs one value per frame, {times.size}")
    if not np.isfinite(given).all():
        raise ValueError(f"{name} must be finite")
    return np.broadcast_to(given, times.shape).copy()


def _fraction(values: npt.ArrayLike, times: FloatArray) -> FloatArray:
    given = _per_frame(values, times, "parent_fraction")
    if given.min() < 0.0 or given.max() > 1.05:
        raise ImplausibleValue(
            "the parent fraction is no fraction",
            where="parent_fraction",
            found=f"{given.min():.3g} to {given.max():.3g}",
            needed="0 to 1",
        )
    return given


def _check_positive(value: float, where: str) -> None:
    if not (np.isfinite(value) and value > 0.0):
        raise ImplausibleValue(f"{where} is not positive", where=where, found=f"{value:g}")


def _whole_scan(times: FloatArray, values: FloatArray, end_s: float | None) -> tuple[FloatArray, FloatArray]:
    """Zero at the injection, and the last value until the end of the last frame."""
    if times[0] > 0.0:
        times, values = np.r_[0.0, times], np.r_[0.0, values]
    if end_s is not None and end_s > times[-1]:
        times, values = np.r_[times, end_s], np.r_[values, values[-1]]
    return times, values
