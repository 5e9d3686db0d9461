"""Questions in words that claim nothing, where their author gave none."""

from __future__ import annotations

from imgtheranostics.study.questions import (
    Agreement,
    AnyQuestion,
    Association,
    Factorial,
    GroupDifference,
    Measure,
    Mixed,
    Share,
    Survival,
)
from imgtheranostics.study.replies import in_session, region_words


def default_text(question: AnyQuestion) -> str:
    """A question in words that claim nothing."""
    if isinstance(question, Agreement):
        named = [_what(one) for one in (question.first, question.second)]
        by = [f" ({one.analysis})" if one.analysis else "" for one in (question.first, question.second)]
        return f"Do {named[0]}{by[0]} and {named[1]}{by[1]} agree?"
    if isinstance(question, Share):
        return f"In what share of the subjects was {question.outcome} seen?"
    what = _what(question)
    if isinstance(question, Association):
        return f"Does {what} go along with {question.outcome}{_adjusted(question.adjust)}?"
    if isinstance(question, Survival):
        return f"Does {what} go along with the time to {question.event}?"
    if isinstance(question, Factorial):
        first, second = question.factors
        return f"Does {what} depend on {first}, {second} accounted for?"
    if isinstance(question, Mixed) and not question.of_groups:
        inside = " over regions inside subjects" if question.lesions is None else ""
        return f"Does {what} go along with {question.about}{inside}{_adjusted(question.adjusted)}?"
    if isinstance(question, GroupDifference | Mixed):
        groups = "the groups" if question.groups is None else f"{question.groups[1]} and {question.groups[0]}"
        return f"Do {groups} differ in {what}?"
    if question.across == "lesions":
        return f"How alike are lesions of one subject: {what}?"
    return f"How alike are repeats of {what}?"


def _what(measure: Measure) -> str:
    from imgtheranostics.report.wording import quantity_words

    return f"{_in_sentence(quantity_words(measure.quantity))} of {region_words(measure)}{in_session(measure)}"


def _adjusted(names: tuple[str, ...]) -> str:
    return f", {', '.join(names)} accounted for" if names else ""


def _in_sentence(words: str) -> str:
    """Without its capital, unless it is an abbreviation or a symbol."""
    return words[:1].lower() + words[1:] if words[1:2].islower() else words
