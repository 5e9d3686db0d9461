"""Fixed sentences of study reports: associations are worded as associations."""

from __future__ import annotations

import re

from imgtheranostics.study.findings import Finding

ASSOCIATION = (
    "This is an association. It does not show that uptake brings the outcome about, nor that uptake in "
    "another patient foretells it."
)
"""Below every association of uptake and outcome."""

CUTPOINT = (
    "The cut-point was searched on the same subjects. Its p value is corrected for the search by "
    "permutation; the hazard ratio is not, and needs other subjects to be confirmed."
)
"""Below every searched cut-point."""

EQUIVALENCE_NEEDED = (
    "No difference was found. This does not show that there is none: that needs an equivalence test with a "
    "margin fixed in advance."
)
"""Where a test of difference is not significant."""

GROUP_MEANS = (
    "Means of groups were not correlated as if they were animals: the correlation of group means and that of "
    "animals are given separately."
)
"""Where animals lie in treatment groups."""

LESIONS = (
    "Lesions were brought to one value per patient before the test, because lesions of one patient are not "
    "independent of each other."
)
"""Where patients have several lesions."""

LANDMARK = (
    "Uptake was measured after time zero. Follow-up counts from a landmark at which the uptake of all who "
    "are compared was known; earlier events are left out of the comparison and counted."
)
"""Where uptake was measured after time zero."""

MM302_FUTILITY = (
    "The association of 64Cu-MM-302 deposition with outcome is retrospective and exploratory. The randomised "
    "phase 2 trial of MM-302 (HERMIONE, NCT02213744; 113 patients enrolled) was terminated for futility."
)
"""Wherever the claim of MM-302 is shown."""

NO_CONTROL_ARM = (
    "There is no control arm: the data cannot tell an effect of the particle on the treatment from an effect "
    "of the treatment."
)
"""Where all subjects had the particle."""

MEASURED = {
    "label": "The image shows the label, which stands for carrier or drug only while they stay together.",
    "carrier": "The image shows the carrier. Drug that was released from it is not seen.",
    "drug": "The image shows the drug itself.",
}
"""What was measured, by what it was."""

_FORBIDDEN = (
    (re.compile(r"\bpredict(s|ed|ing|ive|or|ors|ion|ions)?\b", re.IGNORECASE), "external validation"),
    (re.compile(r"\bradiosensiti[sz]\w*", re.IGNORECASE), "a control arm"),
    (
        re.compile(r"\b(causes|caused by|leads to|prolongs)\b", re.IGNORECASE),
        "a randomised comparison",
    ),
)


def claims_beyond_association(text: str) -> tuple[str, ...]:
    """Words of a text that say more than an association can, each with what it would need.

    >>> claims_beyond_association("High uptake predicts response.")
    ("'predicts' needs external validation",)
    """
    return tuple(
        f"{found[0]!r} needs {needed}" for pattern, needed in _FORBIDDEN for found in pattern.finditer(text)
    )


def sentence(finding: Finding) -> str:
    """One finding as a sentence that a report may print: effect, interval, p, n, and how it was had."""
    text = f"{finding}. {finding.method[0].upper()}{finding.method[1:]}."
    if finding.left_out:
        rows = "row" if finding.left_out == 1 else "rows"
        text += f" {finding.left_out} {rows} left out."
    return text


def mentions_mm302(*names: str) -> bool:
    """Whether any of the names (agent, phantom, study) is that of the MM-302 claim."""
    return any(re.search(r"mm[-_ ]?302", name, re.IGNORECASE) for name in names)


def notes(*names: str, several_lesions: bool = False, control_arm: bool = False) -> tuple[str, ...]:
    """The sentences that belong below an association of uptake and outcome.

    Parameters
    ----------
    *names : str
        Agent, phantom and study.
    several_lesions : bool
        Whether patients have several lesions.
    control_arm : bool
        Whether there were subjects without the particle.
    """
    found = [ASSOCIATION]
    if several_lesions:
        found.append(LESIONS)
    if not control_arm:
        found.append(NO_CONTROL_ARM)
    if mentions_mm302(*names):
        found.append(MM302_FUTILITY)
    return tuple(found)
