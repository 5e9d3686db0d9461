"""The questions of a study, declared in its manifest before results are seen.

Whatever could be chosen after looking stands in the question: which quantity and region, how lesions become
one number per patient, what is adjusted for, the cut-point, and the size of an effect that would not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.study.manifest_parts import Label, Name, Part, Text
from imgtheranostics.study.particle import PARTICLE, ConcentrationUnit

EVERY = "*"
"""As a session: all of them."""

Named = tuple[str, str]
"""Kind of a thing that is named (analysis, session, group, covariate, factor, outcome), and its name."""

Column = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Measure(Part):
    """Which number of a subject is meant.

    Attributes
    ----------
    quantity : str
        As in the column ``quantity`` of the tables, such as ``id_per_g``.
    region : str
        Name of a region; ``*`` and ``?`` stand for any letters, so that ``lesion*`` is all lesions.
    analysis : str, optional
        Needed where several analyses give the quantity.
    session : str, optional
        Needed where subjects have several sessions; ``*`` is all of them where the question allows it.
    lesions : {"mean", "median", "maximum"}, optional
        How several regions of a subject become one number; needed where several match.
    statistic : str
        Column of the table.
    axis_value : float, optional
        Which row of a curve.
    """

    quantity: Name
    region: Text
    analysis: Name | None = None
    session: Label | Literal["*"] | None = None
    lesions: Literal["mean", "median", "maximum"] | None = None
    statistic: Literal["mean", "median", "max", "p95", "volume_ml"] = "mean"
    axis_value: float | None = None

    def things(self) -> Iterator[Named]:
        """What it names that a manifest knows."""
        if self.analysis is not None:
            yield "analysis", self.analysis
        if self.session is not None and self.session != EVERY:
            yield "session", self.session


class CountedMeasure(Measure):
    """A number that may be made into a concentration of the particle.

    Attributes
    ----------
    of : str, optional
        What a concentration counts: ``particle``, or an element or compound that the particle carries. Needed
        where neither the quantity nor the options of the analysis say it.
    density_g_ml : float, optional
        Density of the tissue by which ``id_per_g`` was divided.
    """

    of: Text | None = None
    density_g_ml: Positive | None = None


class _Asked(Part):
    """What all questions have.

    Attributes
    ----------
    name : str
        Short, for tables.
    text : str, optional
        The question in words.
    alpha : float
        Level of the test, after correction for the number of questions.
    """

    name: Name
    text: Text | None = None
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05

    def names(self) -> Iterator[Named]:
        """What the question names that the manifest has to know."""
        yield from ()

    def columns(self) -> tuple[str, ...]:
        """Columns of the table of outcomes that it reads."""
        return ()


class _OfOneMeasure(_Asked, Measure):
    """A question about one number of each subject."""

    def names(self) -> Iterator[Named]:
        """See the base class."""
        yield from self.things()

    def _one_session(self) -> None:
        if self.session == EVERY:
            raise PydanticCustomError("session", "one session: this kind of question takes no '*'")


class GroupDifference(_OfOneMeasure):
    """Do groups differ? With ``session: "*"`` all time points are taken together in a mixed model.

    Attributes
    ----------
    groups : (str, str), optional
        The second is compared with the first; without, all pairs of groups are.
    logarithmic : bool
        Compare logarithms, so that the answer is a ratio.
    margin : float, optional
        Difference that would not matter: a test of equivalence is added. With `logarithmic` a ratio above 1.
    effect : float
        Difference in standard deviations for the power at the number at hand.
    """

    kind: Literal["group_difference"]
    groups: Annotated[tuple[Text, Text] | None, Field()] = None
    logarithmic: bool = True
    margin: Positive | None = None
    effect: Positive = 1.0

    def names(self) -> Iterator[Named]:
        """See the base class."""
        yield from super().names()
        yield from (("group", group) for group in self.groups or ())

    @model_validator(mode="after")
    def _sensible(self) -> GroupDifference:
        if self.groups is not None and self.groups[0] == self.groups[1]:
            raise PydanticCustomError("groups", "two different groups")
        if self.margin is not None and self.logarithmic and self.margin <= 1.0:
            raise PydanticCustomError("margin", "a ratio above 1, such as 1.25, as logarithms are compared")
        return self


class Association(_OfOneMeasure):
    """Does uptake go along with an outcome?

    Attributes
    ----------
    outcome : str
        Column of the table of outcomes: numbers, or 0/1 and yes/no.
    adjust : tuple of str
        Covariates, or columns of outcomes, that may drive both, such as the injected dose.
    within_groups : bool
        Ask of animals within their groups, and tell that from the correlation of group means.
    effect : float
        Correlation for the power at the number at hand.
    """

    kind: Literal["association"]
    outcome: Column = "response"
    adjust: tuple[Column, ...] = ()
    within_groups: bool = False
    effect: Annotated[float, Field(gt=0, lt=1)] = 0.6

    def names(self) -> Iterator[Named]:
        """See the base class."""
        yield from super().names()
        yield "outcome", self.outcome
        yield from (("covariate", one) for one in self.adjust)

    def columns(self) -> tuple[str, ...]:
        """See the base class."""
        return (self.outcome, *self.adjust)

    @model_validator(mode="after")
    def _sensible(self) -> Association:
        self._one_session()
        if self.within_groups and self.adjust:
            raise PydanticCustomError("adjust", "either within_groups or adjust")
        return self


class Survival(_OfOneMeasure):
    """Does uptake go along with the time to an event? Cox on the continuous uptake comes first.

    Attributes
    ----------
    time, event : str
        Columns of the table of outcomes.
    time_unit : str, optional
        Of `time`, unless the table has a column ``time_unit``.
    adjust : tuple of str
    logarithmic : bool
        Hazard ratio per doubling of uptake.
    cutpoint : float, "median" or "search", optional
        Fixed in advance, for the curves; what is searched is corrected for the search.
    measured_at : str, optional
        Column of the table of outcomes: when uptake was measured, in the unit of `time`. Follow-up then
        counts from the latest of them.
    effect : float
        Hazard ratio of halves for the power at the number at hand.
    """

    kind: Literal["survival"]
    time: Column = "time"
    event: Column = "event"
    time_unit: Text | None = None
    adjust: tuple[Column, ...] = ()
    logarithmic: bool = True
    cutpoint: Annotated[float, Field(allow_inf_nan=False)] | Literal["median", "search"] | None = None
    measured_at: Column | None = None
    effect: Positive = 0.42

    def names(self) -> Iterator[Named]:
        """See the base class."""
        yield from super().names()
        yield "outcome", self.time
        yield from (("covariate", one) for one in self.adjust)

    def columns(self) -> tuple[str, ...]:
        """See the base class."""
        own = () if self.measured_at is None else (self.measured_at,)
        return (self.time, self.event, *self.adjust, *own)

    @model_validator(mode="after")
    def _sensible(self) -> Survival:
        self._one_session()
        return self


class Agreement(_Asked):
    """Do two ways of measuring one thing, such as two modalities, give the same number?

    Attributes
    ----------
    first, second : CountedMeasure
        Converted to the unit of the first, or both to `concentration`; refused where that cannot be.
    pairs : {"subjects", "regions"}
        Each subject gives one pair, or each of its regions does: those that have the same name in both.
    concentration : {"mg/mL", "ug/mL", "mmol/L", "umol/L", "nmol/L"}, optional
        Both become this concentration, by what was injected and what the particle carries.
    of : str
        Of what: ``particle``, or an element or compound that it carries.
    relative : bool
        Differences in % of the mean.
    limit : float, optional
        Largest difference that would not matter, in the unit of the differences.
    bias_limit : float, optional
        Largest mean difference that would not matter.
    variance_ratio : float
        Error variance of the second over that of the first, for the Deming line.
    """

    kind: Literal["agreement"]
    first: CountedMeasure
    second: CountedMeasure
    pairs: Literal["subjects", "regions"] = "subjects"
    concentration: ConcentrationUnit | None = None
    of: Text = PARTICLE
    relative: bool = False
    limit: Positive | None = None
    bias_limit: Positive | None = None
    variance_ratio: Positive = 1.0

    def names(self) -> Iterator[Named]:
        """See the base class."""
        yield from self.first.things()
        yield from self.second.things()

    @model_validator(mode="after")
    def _sensible(self) -> Agreement:
        every = [one.session == EVERY for one in (self.first, self.second)]
        if self.pairs == "subjects" and any(every):
            raise PydanticCustomError("session", "one session of each; pairs: regions takes all of both")
        if self.pairs == "regions":
            if every[0] != every[1]:
                raise PydanticCustomError("session", "all sessions of both, or one session of each")
            if self.first.lesions is not None or self.second.lesions is not None:
                raise PydanticCustomError("lesions", "no lesions: each region is a pair of its own")
        if self.concentration is None and self.of != PARTICLE:
            raise PydanticCustomError("of", "concentration, such as mg/mL, where of is given")
        return self


class Repeatability(_OfOneMeasure):
    """How alike are repeats of one subject: sessions (``across: sessions``), or lesions of one patient?

    Attributes
    ----------
    across : {"sessions", "lesions"}
    logarithmic : bool
        For scatter that grows with the value; limits are then in %.
    """

    kind: Literal["repeatability"]
    across: Literal["sessions", "lesions"] = "sessions"
    logarithmic: bool = True


class Factorial(_OfOneMeasure):
    """Two crossed factors, such as targeting and size.

    Attributes
    ----------
    factors : (str, str)
        Factors or covariates of the subjects; the first is what the question is about.
    batch : str, optional
        Factor or covariate with the batch of each subject, which is a random factor.
    logarithmic : bool
        Compare logarithms: contrasts are ratios.
    equivalent : mapping of str to float
        Factor and margin: levels that differ by less do not matter. With `logarithmic` a ratio above 1.
    effect : float
        Difference in standard deviations for the power at the number at hand.
    """

    kind: Literal["factorial"]
    factors: tuple[Name, Name]
    batch: Name | None = None
    logarithmic: bool = True
    equivalent: dict[Name, Positive] = Field(default={})
    effect: Positive = 1.2

    def names(self) -> Iterator[Named]:
        """See the base class."""
        yield from super().names()
        yield from (("factor", one) for one in self.factors)
        if self.batch is not None:
            yield "factor", self.batch

    @model_validator(mode="after")
    def _sensible(self) -> Factorial:
        self._one_session()
        if self.factors[0] == self.factors[1]:
            raise PydanticCustomError("factors", "two different factors")
        if self.batch in self.factors:
            raise PydanticCustomError("batch", "a batch that is none of the two factors")
        for name, margin in self.equivalent.items():
            if name not in self.factors:
                raise PydanticCustomError("equivalent", "one of the factors of this question")
            if self.logarithmic and margin <= 1.0:
                raise PydanticCustomError("margin", "a ratio above 1, as logarithms are compared")
        return self


class Mixed(_OfOneMeasure):
    """Does a number depend on the group, or on a number of the patient, over lesions inside patients?

    Every region that matches is a measurement of its patient, who has a random intercept; with
    ``session: "*"`` every session of it is one, regions have random intercepts inside patients, and the
    interaction with the session is given beside.

    Attributes
    ----------
    about : str
        ``group``, or a covariate or column of outcomes, whose slope is given per standard deviation.
    groups : (str, str), optional
        The second is compared with the first; needed where there are more than two.
    adjust, adjust_log : tuple of str
        Covariates or columns of outcomes that may drive both, as they are or by their logarithms.
    logarithmic : bool
        Model logarithms, so that the answer is a ratio.
    effect : float
        For the power at the number at hand: the difference of groups in standard deviations of subjects, or
        the correlation over subjects.
    """

    kind: Literal["mixed"]
    about: Column = "group"
    groups: tuple[Text, Text] | None = None
    adjust: tuple[Column, ...] = ()
    adjust_log: tuple[Column, ...] = ()
    logarithmic: bool = True
    effect: Positive | None = None

    @property
    def of_groups(self) -> bool:
        """Whether groups are compared, and not a slope taken."""
        return self.about == "group"

    @property
    def adjusted(self) -> tuple[str, ...]:
        """Everything that is adjusted for."""
        return (*self.adjust, *self.adjust_log)

    def names(self) -> Iterator[Named]:
        """See the base class."""
        yield from super().names()
        yield from (("group", group) for group in self.groups or ())
        asked = () if self.of_groups else (self.about,)
        yield from (("covariate", one) for one in (*asked, *self.adjusted))

    def columns(self) -> tuple[str, ...]:
        """See the base class."""
        return self.adjusted if self.of_groups else (self.about, *self.adjusted)

    @model_validator(mode="after")
    def _sensible(self) -> Mixed:
        if self.groups is not None and (not self.of_groups or self.groups[0] == self.groups[1]):
            raise PydanticCustomError("groups", "two different groups, of a question about the group")
        asked = (self.about, *self.adjusted)
        if len(set(asked)) < len(asked):
            raise PydanticCustomError("adjust", "each once, and not what the question is about")
        if not self.of_groups and self.effect is not None and self.effect >= 1.0:
            raise PydanticCustomError("effect", "a correlation below 1")
        return self


class Share(_Asked):
    """In what share of the subjects was an outcome seen? Exact interval, no test.

    Attributes
    ----------
    outcome : str
        Column of the table of outcomes: 0/1 or yes/no.
    """

    kind: Literal["share"]
    outcome: Column = "response"

    def names(self) -> Iterator[Named]:
        """See the base class."""
        yield "outcome", self.outcome

    def columns(self) -> tuple[str, ...]:
        """See the base class."""
        return (self.outcome,)


_KINDS = (
    "group_difference", "association", "survival", "agreement", "repeatability", "factorial", "mixed",
    "share",
)  # fmt: skip


def _known_kind(value: Any) -> Any:
    if isinstance(value, dict) and value.get("kind") not in _KINDS:
        raise PydanticCustomError("kind", "kind: one of {kinds}", {"kinds": ", ".join(_KINDS)})
    return value


AnyQuestion = GroupDifference | Association | Survival | Agreement | Repeatability | Factorial | Mixed | Share
Question = Annotated[
    Annotated[AnyQuestion, Field(discriminator="kind")],
    BeforeValidator(_known_kind),
]
