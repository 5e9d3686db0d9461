"""Cohorts of lesions in patients: uptake and survival, enhancement and response, test and retest."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.phantom.cohort_members import (
    MEAN_DISTANCE_OF_HALVES,
    DoubleArray,
    Member,
    Visit,
    label,
    log_sd,
    related,
)
from imgtheranostics.phantom.model import Model, NotNegative, Positive, Share

Count = Annotated[int, Field(ge=1, le=1000)]
Correlation = Annotated[float, Field(gt=-1, lt=1)]
Lesions = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class Design(Model):
    """What all cohorts have in common.

    Attributes
    ----------
    subjects
        How many; subject n is in cell n modulo the number of groups, doses or cells.
    """

    subjects: Count


class _Lesions(Design):
    """Subjects with lesions: named ``lesion_1`` and so on, `lesions` from fewest to most."""

    lesions: Lesions

    @model_validator(mode="after")
    def _fewest_first(self) -> _Lesions:
        if self.lesions[0] > self.lesions[1]:
            raise PydanticCustomError("lesions", "the smallest number of lesions comes first")
        return self

    def regions(self) -> set[str]:
        """Every region whose value differs between subjects."""
        return {f"lesion_{n + 1}" for n in range(self.lesions[1])}

    def _counts(self, rng: np.random.Generator) -> list[int]:
        drawn = rng.integers(self.lesions[0], self.lesions[1], size=self.subjects, endpoint=True)
        return [int(one) for one in drawn]


def lesions_of(values: DoubleArray) -> dict[str, float]:
    """Values by the name of each lesion."""
    return {f"lesion_{n + 1}": float(value) for n, value in enumerate(values)}


class Survival(_Lesions):
    """Uptake of lesions, and time to progression after the scan (time zero) until the end of follow-up.

    Attributes
    ----------
    geometric_mean, total_log_sd
        Of uptake over all lesions, lognormal.
    patient_correlation
        Share of the variance of log uptake that lies between patients.
    hazard
        ``continuous``: the hazard falls with the logarithm of the mean uptake of a patient's lesions, so that
        patients as far apart as the means of the halves of patients differ by `hazard_ratio`. ``halves``: the
        patients above the median of that mean have `hazard_ratio`, the others 1.
    median_time, follow_up_time
        In months: median of a patient of average uptake, or with ``halves`` of the lower half; and when all
        who are left are censored.
    """

    kind: Literal["survival"]
    geometric_mean: Positive
    total_log_sd: Positive
    patient_correlation: Share
    hazard_ratio: Positive
    hazard: Literal["continuous", "halves"] = "continuous"
    median_time: Positive
    follow_up_time: Positive
    hours: Positive

    def draw(self, rng: np.random.Generator, *, null: bool = False) -> tuple[Member, ...]:
        """The patients; in the null twin uptake says nothing about time."""
        between = self.total_log_sd * math.sqrt(self.patient_correlation)
        within = self.total_log_sd * math.sqrt(1.0 - self.patient_correlation)
        counts = self._counts(rng)
        levels = between * rng.standard_normal(self.subjects)
        uptake = [
            self.geometric_mean * np.exp(level + within * rng.standard_normal(count))
            for level, count in zip(levels, counts, strict=True)
        ]
        means = np.log([float(values.mean()) for values in uptake])
        hazard = np.ones(self.subjects) if null else self._hazard(means, between)
        time = self.median_time / math.log(2.0) * rng.exponential(1.0, self.subjects) / hazard
        return tuple(
            Member(
                id=label("p", n),
                visits=(Visit("d1", 0, self.hours, lesions_of(uptake[n])),),
                covariates={"lesions": float(counts[n])},
                outcome={
                    "time": float(min(time[n], self.follow_up_time)),
                    "event": float(time[n] <= self.follow_up_time),
                },
                hidden={"relative_hazard": float(hazard[n])},
            )
            for n in range(self.subjects)
        )

    def _hazard(self, log_means: DoubleArray, between: float) -> DoubleArray:
        if self.hazard == "halves":
            return np.where(log_means > np.median(log_means), self.hazard_ratio, 1.0)
        slope = math.log(self.hazard_ratio) / (MEAN_DISTANCE_OF_HALVES * between)
        return np.asarray(np.exp(slope * (log_means - log_means.mean())), np.float64)


class DoseResponse(_Lesions):
    """Concentration of agent in metastases at several doses, and how much they shrink.

    The mean over a patient's lesions is ``per_dose * dose * exp(log uptake of the patient)`` to the digit:
    lesions scatter about it. The shrinkage goes with that log uptake, with the logarithms of dose and of
    baseline volume, each in standard deviations; the null twin keeps the last two.

    Attributes
    ----------
    doses
        In mg/kg.
    per_dose
        Concentration per mg/kg.
    patient_log_sd, lesion_log_sd
        Of uptake.
    correlation
        Of log uptake and shrinkage at one dose and volume.
    dose_effect, volume_effect
        Shrinkage in standard deviations per standard deviation of log dose, or of log volume.
    not_evaluable
        Patients without a response, the last ones.
    shrinkage_percent, shrinkage_sd_percent
        Mean, and standard deviation at one dose and volume.
    """

    kind: Literal["dose_response"]
    doses: tuple[Positive, ...] = Field(min_length=1)
    per_dose: Positive
    patient_log_sd: Positive
    lesion_log_sd: NotNegative
    correlation: Correlation
    dose_effect: float
    volume_effect: float
    baseline_volume_ml: Positive
    baseline_log_sd: Positive
    not_evaluable: Annotated[int, Field(ge=0)] = 0
    shrinkage_percent: float
    shrinkage_sd_percent: Positive
    hours: Positive

    def draw(self, rng: np.random.Generator, *, null: bool = False) -> tuple[Member, ...]:
        """The patients; in the null twin dose alone makes enhancement and response go together."""
        n = self.subjects
        dose = np.array([self.doses[m % len(self.doses)] for m in range(n)])
        counts = self._counts(rng)
        patient, volume = rng.standard_normal(n), rng.standard_normal(n)
        shrinkage = (
            related(patient, 0.0 if null else self.correlation, rng)
            + self.dose_effect * _standardised(np.log(dose))
            + self.volume_effect * volume
        )
        return tuple(
            Member(
                id=label("p", m),
                group=f"{dose[m]:g} mg/kg",
                visits=(
                    Visit(
                        "d1",
                        0,
                        self.hours,
                        lesions_of(
                            self.per_dose
                            * dose[m]
                            * math.exp(self.patient_log_sd * patient[m])
                            * self._scatter(counts[m], rng)
                        ),
                    ),
                ),
                covariates={
                    "dose_mg_per_kg": float(dose[m]),
                    "baseline_volume_ml": float(
                        self.baseline_volume_ml * math.exp(self.baseline_log_sd * volume[m])
                    ),
                },
                outcome={
                    "response": None
                    if m >= n - self.not_evaluable
                    else float(self.shrinkage_percent + self.shrinkage_sd_percent * shrinkage[m])
                },
                hidden={"log_uptake": float(self.patient_log_sd * patient[m])},
            )
            for m in range(n)
        )

    def _scatter(self, count: int, rng: np.random.Generator) -> DoubleArray:
        """Of the lesions of a patient, with mean 1."""
        raw = np.exp(self.lesion_log_sd * rng.standard_normal(count))
        return np.asarray(raw / raw.mean(), np.float64)


def _standardised(values: DoubleArray) -> DoubleArray:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread else np.zeros_like(values)


class Retest(_Lesions):
    """Tumours that take up very different amounts, scanned twice: more within animals than between.

    Attributes
    ----------
    median, variation
        Of uptake over tumours, lognormal, with its coefficient of variation.
    between_share
        Share of the variance of log uptake that lies between animals; none in the null twin, at the same
        total.
    retest_variation
        Coefficient of variation of repeats of one tumour.
    retest_day
    """

    kind: Literal["retest"]
    median: Positive
    variation: Positive
    between_share: Share
    retest_variation: Positive
    retest_day: Count
    hours: Positive

    def draw(self, rng: np.random.Generator, *, null: bool = False) -> tuple[Member, ...]:
        """The animals; in the null twin those of one animal are no more alike than any."""
        total, share = log_sd(self.variation), 0.0 if null else self.between_share
        repeat = log_sd(self.retest_variation)
        members = []
        for n, count in enumerate(self._counts(rng)):
            level = math.sqrt(share) * total * rng.standard_normal()
            true = self.median * np.exp(level + math.sqrt(1 - share) * total * rng.standard_normal(count))
            visits = tuple(
                Visit(
                    session,
                    day,
                    self.hours,
                    lesions_of(true * np.exp(repeat * rng.standard_normal(count))),
                )
                for session, day in (("test", 0), ("retest", self.retest_day))
            )
            members.append(Member(id=label("m", n), visits=visits, hidden={"log_level": float(level)}))
        return tuple(members)
