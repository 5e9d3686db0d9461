"""Cohorts of groups of animals: two factors, groups over time, label and drug, groups with an outcome."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.phantom.cohort_members import Member, Visit, label, log_sd, related
from imgtheranostics.phantom.cohort_patients import Correlation, Design
from imgtheranostics.phantom.model import Model, Name, NotNegative, Number, Positive

REGION = "tumour"


class _OneRegion(Design):
    """Animals that differ in their tumour."""

    def regions(self) -> set[str]:
        """Every region whose value differs between subjects."""
        return {REGION}


class Factorial(_OneRegion):
    """Targeting and size crossed, in one region; effects are in standard deviations inside a cell.

    Attributes
    ----------
    targeting, sizes_nm
        Levels; the second of targeting has the effect.
    mean, sd
        Of a cell without effects.
    targeting_effect
        Difference of the two levels of targeting, at every size.
    size_effect
        Difference of the first and the last size where targeted, in equal steps; none where not.
    """

    kind: Literal["factorial"]
    targeting: tuple[Name, Name]
    sizes_nm: tuple[Positive, ...] = Field(min_length=2)
    mean: Positive
    sd: Positive
    targeting_effect: Number
    size_effect: Number = 0.0

    def draw(self, rng: np.random.Generator, *, null: bool = False) -> tuple[Member, ...]:
        """The animals; in the null twin neither targeting nor size matters."""
        cells = [(arm, size) for size in range(len(self.sizes_nm)) for arm in range(2)]
        members = []
        for n in range(self.subjects):
            arm, size = cells[n % len(cells)]
            step = size / (len(self.sizes_nm) - 1) - 0.5
            shift = 0.0 if null else arm * (self.targeting_effect - self.size_effect * step)
            value = self.mean + self.sd * (shift + rng.standard_normal())
            members.append(
                Member(
                    id=label("m", n),
                    group=f"{self.targeting[arm]} {self.sizes_nm[size]:g} nm",
                    covariates={
                        "targeted": float(arm),
                        "size_nm": self.sizes_nm[size],
                        "batch": float(n // len(cells) + 1),
                    },
                    visits=(Visit("d1", 0, 24.0, {REGION: max(value, 0.0)}),),
                    hidden={"shift_sd": shift},
                )
            )
        return tuple(members)


class GroupsOverTime(Design):
    """The same particle with its label in two places: uptake of one region at several times.

    Attributes
    ----------
    groups
        The second over the first has `ratio` at all times.
    region
    mean
        Geometric mean of the first group, by hour.
    variation
        Coefficient of variation between animals, lognormal.
    repeat_variation
        Of one animal between times.
    """

    kind: Literal["groups_over_time"]
    groups: tuple[Name, Name]
    region: Name
    mean: dict[str, Positive]
    ratio: Positive
    variation: Positive
    repeat_variation: NotNegative

    def regions(self) -> set[str]:
        """Every region whose value differs between subjects."""
        return {self.region}

    @model_validator(mode="after")
    def _hours(self) -> GroupsOverTime:
        try:
            times = [float(hours) for hours in self.mean]
        except ValueError:
            raise PydanticCustomError("times", "means are given by hours") from None
        if not times or times != sorted(set(times)) or times[0] <= 0:
            raise PydanticCustomError("times", "means are given at ascending hours above 0")
        return self

    def draw(self, rng: np.random.Generator, *, null: bool = False) -> tuple[Member, ...]:
        """The animals; in the null twin both groups are alike."""
        between, repeat = log_sd(self.variation), log_sd(self.repeat_variation)
        members = []
        for n in range(self.subjects):
            second = n % 2
            factor = (1.0 if null or not second else self.ratio) * math.exp(between * rng.standard_normal())
            visits = tuple(
                Visit(
                    f"h{float(hours):g}",
                    0,
                    float(hours),
                    {self.region: mean * factor * math.exp(repeat * rng.standard_normal())},
                )
                for hours, mean in self.mean.items()
            )
            members.append(Member(id=label("m", n), group=self.groups[second], visits=visits))
        return tuple(members)


class Release(Model):
    """Rates per hour of carrier, drug and label; see `LabelAndDrug`."""

    plasma: Positive
    entry: Positive
    carrier_loss: Positive
    drug_loss: Positive
    label_loss: Positive


class LabelAndDrug(_OneRegion):
    """Plasma, carrier in the tumour, and what it lets go: drug leaves, its label may stay.

    Carrier in plasma falls with ``plasma`` and enters the tumour with ``entry``; there it is lost with
    ``carrier_loss`` and lets go of drug and label together with a release rate, one per group. Free drug is
    lost with ``drug_loss``, free label with ``label_loss``. Of what a tumour shows, carrier or free, drug and
    label then have areas under the curve in the ratio (1 + release/label_loss) / (1 + release/drug_loss).

    Attributes
    ----------
    release_per_h
        One group each.
    rates
    dose_in_plasma
        %ID/g at injection.
    variation
        Of uptake between animals, lognormal.
    assay_variation
        Of the assay of the drug in tissue.
    hours
        Of the scans.
    """

    kind: Literal["label_and_drug"]
    release_per_h: tuple[Positive, ...] = Field(min_length=1)
    rates: Release
    dose_in_plasma: Positive
    variation: Positive
    assay_variation: Positive
    hours: tuple[Positive, ...] = Field(min_length=1)

    def draw(self, rng: np.random.Generator, *, null: bool = False) -> tuple[Member, ...]:
        """The animals; in the null twin free label leaves as fast as free drug."""
        members = []
        loss = self.rates.drug_loss if null else self.rates.label_loss
        for n in range(self.subjects):
            release = self.release_per_h[n % len(self.release_per_h)]
            scale = self.dose_in_plasma * math.exp(log_sd(self.variation) * rng.standard_normal())
            drug = scale * self.area(release, self.rates.drug_loss)
            assay = drug * math.exp(log_sd(self.assay_variation) * rng.standard_normal())
            visits = tuple(
                Visit(f"h{hours:g}", 0, hours, {REGION: scale * self.at(hours, release, loss)})
                for hours in self.hours
            )
            members.append(
                Member(
                    id=label("m", n),
                    group=f"release {release:g}/h",
                    visits=visits,
                    covariates={"release_per_h": release},
                    outcome={"drug_auc": assay},
                    hidden={"label_auc": scale * self.area(release, loss), "drug_auc": drug},
                )
            )
        return tuple(members)

    def area(self, release: float, loss: float) -> float:
        """Area to infinity of what a tumour holds, in h times the share of the plasma at injection.

        Closed form of carrier and free molecule that is lost with `loss`.
        """
        carrier = self.rates.entry / self.rates.plasma / (self.rates.carrier_loss + release)
        return carrier * (1.0 + release / loss)

    def ratio(self, release: float, *, null: bool = False) -> float:
        """Area of label over area of drug."""
        loss = self.rates.drug_loss if null else self.rates.label_loss
        return self.area(release, loss) / self.area(release, self.rates.drug_loss)

    def at(self, hours: float, release: float, loss: float) -> float:
        """What a tumour holds at one time, as `area`; matrix exponential of the three compartments."""
        return _held(self.rates, hours, release, loss)


@lru_cache(maxsize=512)
def _held(rates: Release, hours: float, release: float, loss: float) -> float:
    from scipy.linalg import expm

    system = np.array(
        [
            [-rates.plasma, 0.0, 0.0],
            [rates.entry, -(rates.carrier_loss + release), 0.0],
            [0.0, release, -loss],
        ]
    )
    held = expm(system * hours)[:, 0]
    return float(held[1] + held[2])


class TreatedGroup(Model):
    """Animals that got one agent: what their tumours hold, and how large they become."""

    name: Name
    mean: Positive
    outcome: Positive


class GroupedOutcome(_OneRegion):
    """Groups whose means of signal and outcome lie on a line, while animals inside them need not.

    Attributes
    ----------
    groups
    variation
        Of what animals of one group hold, lognormal.
    outcome_variation
        Of the outcome inside a group, lognormal.
    correlation
        Of the two logarithms inside groups; none in the null twin, which keeps the means.
    """

    kind: Literal["grouped_outcome"]
    groups: tuple[TreatedGroup, ...] = Field(min_length=2)
    variation: Positive
    outcome_variation: Positive
    correlation: Correlation

    def draw(self, rng: np.random.Generator, *, null: bool = False) -> tuple[Member, ...]:
        """The animals; in the null twin signal and outcome of an animal have only their group in common."""
        one = rng.standard_normal(self.subjects)
        other = related(one, 0.0 if null else self.correlation, rng)
        members = []
        for n in range(self.subjects):
            group = self.groups[n % len(self.groups)]
            held = group.mean * math.exp(log_sd(self.variation) * float(one[n]))
            size = group.outcome * math.exp(log_sd(self.outcome_variation) * float(other[n]))
            members.append(
                Member(
                    id=label("m", n),
                    group=group.name,
                    visits=(Visit("d1", 0, 2.0, {REGION: held}),),
                    outcome={"response": size},
                )
            )
        return tuple(members)
