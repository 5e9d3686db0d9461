"""Statistics of a study, in one place: import from here.

Every function takes one row per subject, lesion or measurement, leaves out and counts what is missing,
refuses what cannot be answered, and returns an estimate with its interval, p value, number of subjects and
what was assumed.
"""

from __future__ import annotations

from imgtheranostics.study.agreement import BlandAltman, Concordance, bland_altman, concordance_correlation
from imgtheranostics.study.agreement_repeated import bland_altman_repeated
from imgtheranostics.study.association import (
    EcologicalAssociation,
    LesionAssociation,
    ecological_association,
    lesion_association,
)
from imgtheranostics.study.correlation import kendall, partial_spearman, spearman
from imgtheranostics.study.cutpoints import CutpointSearch, cutpoint_search, split_at
from imgtheranostics.study.deming_lines import DemingLine, deming_regression
from imgtheranostics.study.differences import group_difference
from imgtheranostics.study.equivalence import Equivalence, equivalence_test, two_one_sided
from imgtheranostics.study.factorial import Contrast, Effect, TwoWay, two_way
from imgtheranostics.study.findings import Finding, Interval
from imgtheranostics.study.intervals import BinomialInterval, binomial_interval
from imgtheranostics.study.landmarks import Landmark, landmark
from imgtheranostics.study.mixed import MixedModel, TermTest, mixed_model
from imgtheranostics.study.multiplicity import AdjustedP, benjamini_hochberg, holm
from imgtheranostics.study.power import (
    Power,
    log_rank_power,
    spearman_critical,
    spearman_power,
    two_sample_power,
)
from imgtheranostics.study.proportional_hazards import CoxRegression, cox_regression
from imgtheranostics.study.receiver_curves import RocArea, roc_area
from imgtheranostics.study.reliability import (
    Reliability,
    Repeatability,
    intraclass_correlation,
    repeatability,
)
from imgtheranostics.study.survival import LogRank, SurvivalCurve, kaplan_meier, log_rank

__all__ = [
    "AdjustedP",
    "BinomialInterval",
    "BlandAltman",
    "Concordance",
    "Contrast",
    "CoxRegression",
    "CutpointSearch",
    "DemingLine",
    "EcologicalAssociation",
    "Effect",
    "Equivalence",
    "Finding",
    "Interval",
    "Landmark",
    "LesionAssociation",
    "LogRank",
    "MixedModel",
    "Power",
    "Reliability",
    "Repeatability",
    "RocArea",
    "SurvivalCurve",
    "TermTest",
    "TwoWay",
    "benjamini_hochberg",
    "binomial_interval",
    "bland_altman",
    "bland_altman_repeated",
    "concordance_correlation",
    "cox_regression",
    "cutpoint_search",
    "deming_regression",
    "ecological_association",
    "equivalence_test",
    "group_difference",
    "holm",
    "intraclass_correlation",
    "kaplan_meier",
    "kendall",
    "landmark",
    "lesion_association",
    "log_rank",
    "log_rank_power",
    "mixed_model",
    "partial_spearman",
    "repeatability",
    "roc_area",
    "spearman",
    "spearman_critical",
    "spearman_power",
    "split_at",
    "two_one_sided",
    "two_sample_power",
    "two_way",
]
