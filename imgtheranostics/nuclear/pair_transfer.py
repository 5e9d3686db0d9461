"""One curve of one nuclide, and what it says about another one on the same carrier."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue, merge_cautions
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.nuclear.curve_intervals import Interval, interval, model_curve
from imgtheranostics.nuclear.dosimetry import local_dose_per_activity
from imgtheranostics.nuclear.exponential_curves import checked_weights, fit_exponential
from imgtheranostics.nuclear.exponential_models import models_of
from imgtheranostics.nuclear.pair_bounds import bounds_of_one_exponential
from imgtheranostics.nuclear.pair_curves import Extrapolation, accepted_share, at_injection, phases
from imgtheranostics.nuclear.pair_rules import Twins, twins
from imgtheranostics.volume import Flag

FloatArray = npt.NDArray[np.float64]

LEAST_TIMES = 3
"""A clearance needs one time more than its two parameters, or nothing checks it."""

_PERCENT = 100.0


@dataclass(frozen=True)
class Transfer:
    """Kinetics of a region for the nuclide that is to be given.

    Standard errors are those of the fit; what all samples share, such as the calibration, is
    `calibration_relative`, and only `total_standard_error` holds both.

    Attributes
    ----------
    imaged, nuclide : str
        Imaged, and given.
    uptake : float
        Value of the biological curve at injection, in the unit of the input, such as %/g; 0 for a curve with
        a phase of uptake.
    uptake_standard_error : float
    biological_rate_per_s, biological_rate_standard_error : float
        Of the last phase without decay; never below zero, and without error where it is zero.
    effective_half_life_s, effective_half_life_standard_error_s : float
        Of the last phase with the decay of `nuclide`.
    tiac_s : float
        Time-integrated activity coefficient, s (per g for %/g); for one exponential `uptake` / 100 x T_eff /
        ln 2.
    tiac_standard_error_s : float
    tiac_ratio : float
        Of `nuclide` over the one that was imaged.
    extrapolated_fraction : float
        Share of `tiac_s` after the last image.
    least_tiac_s, most_tiac_s : float
        Until the last image; and if nothing were cleared after it any more.
    imaged_effective_half_life_s, imaged_tiac_s, imaged_tiac_standard_error_s : float
        Of the nuclide that was imaged.
    terms : int
        Exponentials that were taken.
    calibration_relative : float
    assumption : str
    caveats : tuple of str
    warnings : tuple of Caution
    """

    imaged: str
    nuclide: str
    uptake: float
    uptake_standard_error: float
    biological_rate_per_s: float
    biological_rate_standard_error: float
    effective_half_life_s: float
    effective_half_life_standard_error_s: float
    tiac_s: float
    tiac_standard_error_s: float
    tiac_ratio: float
    extrapolated_fraction: float
    least_tiac_s: float
    most_tiac_s: float
    imaged_effective_half_life_s: float
    imaged_tiac_s: float
    imaged_tiac_standard_error_s: float
    terms: int
    calibration_relative: float
    assumption: str
    caveats: tuple[str, ...]
    warnings: tuple[Caution, ...] = ()
    _samples: tuple[FloatArray, FloatArray] = field(default=(np.empty(0), np.empty(0)), repr=False)
    _options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _single: bool = field(default=True, repr=False)

    @property
    def biological_half_life_s(self) -> float:
        """Half-life of the carrier in the last phase; infinity without clearance."""
        rate = self.biological_rate_per_s
        return math.log(2.0) / rate if rate > 0 else math.inf

    @property
    def local_dose_gy_per_mbq(self) -> float:
        """Absorbed dose per administered activity by local deposition, Gy/MBq, for an uptake in %/g."""
        return local_dose_per_activity(self.nuclide, self.tiac_s)

    @property
    def local_dose_standard_error(self) -> float:
        """Of `local_dose_gy_per_mbq`, from the fit."""
        return local_dose_per_activity(self.nuclide, 1.0) * self.tiac_standard_error_s

    def total_standard_error(self, value: float, standard_error: float) -> float:
        """Error of an area or a dose with what all samples share."""
        return math.hypot(standard_error, self.calibration_relative * value)

    def interval(
        self,
        parameter: str = "tiac_s",
        *,
        level: float = 0.95,
        method: str = "covariance",
        rng: np.random.Generator | int = 0,
        n_resamples: int = 999,
    ) -> Interval:
        """Confidence interval from the scatter of the samples, see `imgtheranostics.nuclear.curves.interval`.

        Parameters
        ----------
        parameter : str
            ``tiac_s``, ``effective_half_life_s``, ``biological_half_life_s`` or ``local_dose_gy_per_mbq``.
        level, method, rng, n_resamples
            As there.

        Returns
        -------
        Interval
            Where one exponential shows no clearance, by the profile likelihood, which knows how much could be
            cleared unseen; NaN below where several do.

        Raises
        ------
        ValueError
            If a choice does not exist.
        """
        if not 0 < level < 1:
            raise UnknownChoice(f"level must be between 0 and 1, not {level!r}")
        scale, name = 1.0, parameter
        if parameter == "local_dose_gy_per_mbq":
            scale, name = local_dose_per_activity(self.nuclide, 1.0), "tiac_s"
        elif parameter not in ("tiac_s", "effective_half_life_s", "biological_half_life_s"):
            raise UnknownChoice(f"there is no interval of {parameter!r}")
        found = interval(
            self._samples[1],
            self._samples[0],
            parameter=name,
            level=level,
            method=method,
            rng=rng,
            n_resamples=n_resamples,
            **self._options,
        )
        ends, how = (found.lower, found.upper), found.method
        if self.biological_rate_per_s == 0:
            ends, how = self._without_clearance(name, level), "profile"
        return Interval(parameter, scale * found.value, scale * ends[0], scale * ends[1], level, how)

    def _without_clearance(self, name: str, level: float) -> tuple[float, float]:
        """Bounds of a curve at the bound of its rate."""
        times, values = self._samples
        weights, known = checked_weights(
            self._options["weights"], self._options["standard_error"], times.size
        )
        decay = math.log(2.0) / self._options["half_life_s"]
        found = bounds_of_one_exponential(times, values, weights, known=known, decay_per_s=decay, level=level)
        if found is None or not self._single:
            return math.nan, math.nan
        if name == "effective_half_life_s":
            return found.effective_half_life_s(decay)
        if name == "biological_half_life_s":
            return found.biological_half_life_s()
        return found.lower_area / _PERCENT, found.upper_area / _PERCENT


def transfer(
    time_s: npt.ArrayLike,
    uptake_percent: npt.ArrayLike,
    *,
    imaged: str,
    given: str,
    standard_error: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    terms: int | str = 1,
    uptake: bool | None = None,
    calibration_relative: float = 0.0,
    allow_other_element: bool = False,
    most_extrapolated: float | None = None,
) -> Transfer:
    """Kinetics of `given` from the decay-corrected curve of `imaged`, as a sum of exponentials.

    The biological curve is that of `imgtheranostics.nuclear.curves.fit_exponential`, whose rates are not
    below zero: activity cannot outlive its decay, and a curve that rises is fitted as constant, and it is
    said.

    Nuclides of one element are always taken. Two elements are taken, with the caution ``other-element``, for
    the pairs in use (68Ga and 177Lu, 111In and 90Y), and for others only with `allow_other_element`.

    Parameters
    ----------
    time_s : (n,) array_like
        After injection, increasing; at least three, and more than parameters.
    uptake_percent : (n,) array_like
        %ID/g, %ID/mL or %ID, decay corrected to injection.
    imaged, given : str
        Nuclides, such as ``Y-86`` and ``Y-90``.
    standard_error : (n,) array_like, optional
        Of each value, independent; by default all are taken as equal and estimated from the residuals.
    weights : (n,) array_like, optional
        Relative, instead of `standard_error`.
    terms : {1, 2, 3, "auto"}
    uptake : bool, optional
        As in `fit_exponential`.
    calibration_relative : float
        Relative uncertainty that all values share (calibration, administered activity); carried along.
    allow_other_element : bool
        Confirm two elements.
    most_extrapolated : float, optional
        Refuse where a larger share of the decays of `given` is after the last image. Without it a share above
        0.2 has the caution ``much-extrapolated``, above 0.5 ``mostly-extrapolated`` with the bounds.

    Returns
    -------
    Transfer

    Raises
    ------
    ValueError
        If the arrays do not fit together or hold no finite numbers, times do not increase, or a choice does
        not exist.
    IllConditioned
        If there are too few times, or more is extrapolated than accepted.
    ImplausibleValue
        If there is no positive uptake, or the nuclides are of two elements.
    UnsupportedInput
        If a nuclide is not known.

    Examples
    --------
    >>> hours = np.array([1.0, 24.0, 72.0])
    >>> moved = transfer(hours * 3600, 12 * 2 ** (-hours / 60), imaged="Y-86", given="Y-90")
    >>> round(moved.effective_half_life_s / 3600, 1), round(moved.local_dose_gy_per_mbq, 2)
    (31.0, 2.89)
    """
    pair = twins(imaged, given, allow_other_element=allow_other_element)
    accepted_share(most_extrapolated)
    if not (math.isfinite(calibration_relative) and calibration_relative >= 0):
        raise ValueError(f"calibration_relative must not be negative, not {calibration_relative!r}")
    times, values = _checked(time_s, uptake_percent)
    options: dict[str, Any] = {
        "terms": terms,
        "uptake": uptake,
        "weights": weights,
        "standard_error": standard_error,
        "decay_corrected": True,
        "administered": _PERCENT,
        "unit": "%/g",
    }
    _check_count(times, terms, uptake)
    own = fit_exponential(values, times, half_life_s=pair.imaged.half_life_s, **options)
    options["half_life_s"] = pair.given.half_life_s
    found = fit_exponential(values, times, **options)
    if not np.isfinite(found.parameters["tiac_s"]):
        raise ImplausibleValue("the curve has no positive uptake", found=f"at most {values.max():g}")
    extrapolation = _extrapolation(found, times, options, pair)
    extrapolation.check(most_extrapolated, "")
    importance, _ = checked_weights(weights, standard_error, times.size)
    return _transferred(
        pair, found, own, extrapolation, importance, calibration_relative, (times, values), options
    )


def _transferred(
    pair: Twins,
    found: Fit,
    own: Fit,
    extrapolation: Extrapolation,
    importance: FloatArray,
    calibration_relative: float,
    samples: tuple[FloatArray, FloatArray],
    options: Mapping[str, Any],
) -> Transfer:
    numbers = {name: float(value) for name, value in found.parameters.items()}
    errors = {name: float(value) for name, value in found.standard_errors.items()}
    decay = pair.given.decay_constant_per_s
    cleared = math.isfinite(numbers["biological_half_life_s"])
    value, error = at_injection(found, samples[0], importance, decay)
    imaged_tiac = float(own.parameters["tiac_s"])
    return Transfer(
        imaged=pair.imaged.name,
        nuclide=pair.given.name,
        uptake=value,
        uptake_standard_error=error,
        biological_rate_per_s=math.log(2.0) / numbers["biological_half_life_s"] if cleared else 0.0,
        biological_rate_standard_error=errors["terminal_rate_per_s"],
        effective_half_life_s=numbers["effective_half_life_s"],
        effective_half_life_standard_error_s=errors["effective_half_life_s"],
        tiac_s=numbers["tiac_s"],
        tiac_standard_error_s=errors["tiac_s"],
        tiac_ratio=numbers["tiac_s"] / imaged_tiac,
        extrapolated_fraction=numbers["extrapolated_fraction"],
        least_tiac_s=extrapolation.least,
        most_tiac_s=extrapolation.most,
        imaged_effective_half_life_s=float(own.parameters["effective_half_life_s"]),
        imaged_tiac_s=imaged_tiac,
        imaged_tiac_standard_error_s=float(own.standard_errors["tiac_s"]),
        terms=int(numbers["terms"]),
        calibration_relative=float(calibration_relative),
        assumption=pair.assumption,
        caveats=pair.caveats,
        warnings=merge_cautions(_cautions(found), pair.cautions, extrapolation.cautions(pair.given.name)),
        _samples=samples,
        _options=dict(options),
        _single=phases(found.parameters, decay)[0].size == 1,
    )


def _cautions(found: Fit) -> tuple[Caution, ...]:
    cautions = []
    if np.isinf(found.parameters["biological_half_life_s"]):
        text = "no clearance was found: only the decay ends the activity, which bounds the result from above"
        cautions.append(Caution("no-clearance", text))
    if int(found.flags) & Flag.NEGATIVE_AMPLITUDE.value:
        cautions.append(Caution("negative-activity", "the curve has samples below zero"))
    if int(found.flags) & Flag.ILL_CONDITIONED.value:
        text = "the samples do not tell the parameters of the curve apart, so that there are no errors"
        cautions.append(Caution("not-told-apart", text))
    return tuple(cautions)


def _extrapolation(found: Fit, times: FloatArray, options: Mapping[str, Any], pair: Twins) -> Extrapolation:
    last = float(times[-1])
    at_last = float(model_curve(found, np.array([last]), dict(options))[0]) / _PERCENT
    return Extrapolation.of(
        float(found.parameters["tiac_s"]),
        float(found.parameters["extrapolated_fraction"]),
        at_last,
        last,
        pair.given.decay_constant_per_s,
    )


def _checked(time_s: npt.ArrayLike, values: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    times, curve = np.asarray(time_s, np.float64), np.asarray(values, np.float64)
    if times.ndim != 1 or curve.shape != times.shape:
        raise ValueError("times and values must be one-dimensional and of one length")
    if not (np.isfinite(times).all() and np.isfinite(curve).all() and (times >= 0).all()):
        raise ValueError("times and values must be finite, and times after the injection")
    if not (np.diff(times) > 0).all():
        raise ValueError("times must increase: join samples of one time")
    return times, curve


def _check_count(times: FloatArray, terms: int | str, uptake: bool | None) -> None:
    try:
        fewest = min(model.n_parameters for model in models_of(terms, uptake, max(times.size, 8)))
    except UnknownChoice:
        raise
    needed = max(LEAST_TIMES, fewest + 1)
    if times.size < needed:
        raise IllConditioned(
            "too few times for a clearance",
            found=f"{times.size} different times",
            needed=f"at least {needed}",
            next_step="add scans, or take fewer exponentials",
        )
