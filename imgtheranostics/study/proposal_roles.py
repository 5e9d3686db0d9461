"""Roles of the series of one visit: what their headers say, or the question that only a person answers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from imgtheranostics.io.survey import Choices, FoundSeries

_MODALITIES = {"PT": "pet", "NM": "spect", "CT": "ct", "US": "us", "PA": "msot"}
_BY_AXIS = (
    ("saturation_offset", "cest"),
    ("flip_angle", "vfa"),
    ("inversion_time", "ir"),
    ("repetition_time", "vtr"),
)
_PRE = re.compile(r"(?:^|[^a-z])(?:pre|native|unenhanced|baseline|before)(?:[^a-z]|$)", re.IGNORECASE)
_POST = re.compile(r"(?:^|[^a-z])(?:post|enhanced|delayed|after|gd|gad|\+c)(?:[^a-z]|$)", re.IGNORECASE)
_FRACTION = re.compile(r"(?:^|[^a-z])(?:fraction|frac|fx)[ _-]?([0-9]{1,2})(?:[^0-9]|$)", re.IGNORECASE)
_KIND = re.compile(r"(?<![a-z])(pet|spect|ct|mr|us|msot|cest|vfa|megre|mese)(?![a-z])", re.IGNORECASE)
UNKNOWN = "image"
"""The role of a file that does not say what it is."""
_STEPS = (("flip_angle", "MR"), ("inversion_time", "MR"), ("echo_time", "MR"), ("energy", "CT"))
_ENHANCED = ("MR", "CT", "US", "PA")
_ENTITY_ORDER = ("trc", "ce", "acq", "rec", "dir", "mod", "flip", "inv", "mt", "echo", "part", "chunk", "run")


@dataclass(frozen=True)
class RoleOf:
    """One role of a session.

    Attributes
    ----------
    role : str
    found : FoundSeries or None
        None where a person has to choose among the candidates.
    why : str
        By what the role is known; empty where it is plain.
    question : str
        What a person has to answer.
    candidates : tuple of FoundSeries
    """

    role: str
    found: FoundSeries | None = None
    why: str = ""
    question: str = ""
    candidates: tuple[FoundSeries, ...] = ()


def base_role(one: FoundSeries) -> str:
    """The role of a series by itself.

    >>> base_role(FoundSeries("nifti", "PT", Path("x")))  # doctest: +SKIP
    'pet'
    """
    if one.suffix:
        return _word(one.suffix)
    fraction = _FRACTION.search(one.words)
    if fraction is not None:
        return f"fraction-{int(fraction[1])}"
    if one.modality in _MODALITIES:
        base = _MODALITIES[one.modality]
        kinds = one.settings.get("kind")
        if one.modality == "NM" and isinstance(kinds, tuple) and {"STATIC", "WHOLE BODY"} & set(kinds):
            base = "planar"
        if one.modality == "US" and one.settings.get("flow"):
            base = "us-flow"
        if one.axes.get("time", 1) < 2:
            return base
        return base + {"PT": "-dynamic", "NM": "-dynamic", "US": "-cine"}.get(one.modality, "")
    if one.modality == "MR":
        return _mr_role(one)
    if one.quantity:
        return _word(one.quantity)
    named = {match.lower() for match in _KIND.findall(one.words)}
    return named.pop() if len(named) == 1 else UNKNOWN


def _mr_role(one: FoundSeries) -> str:
    for axis, role in _BY_AXIS:
        if one.axes.get(axis, 1) > 1:
            return role
    if one.axes.get("echo_time", 1) > 1:
        sequence = one.settings.get("sequence") or ()
        names = {str(name).upper() for name in sequence} if isinstance(sequence, (tuple, list)) else set()
        return "megre" if "GR" in names else "mese" if "SE" in names else "echoes"
    if one.axes.get("time", 1) > 1:
        return "mr-dynamic"
    return _word(one.quantity) if one.quantity else "mr"


def _word(text: str) -> str:
    """A text as a role: small letters, digits and hyphens, a letter first."""
    word = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return word if word[:1].isalpha() else f"scan-{word}".strip("-")


def telling_entities(visits: Sequence[Sequence[FoundSeries]]) -> dict[str, tuple[str, ...]]:
    """Entities of BIDS that tell series of one suffix apart in some session of the dataset, by suffix."""
    found: dict[str, set[str]] = defaultdict(set)
    for visit in visits:
        by_suffix: dict[str, list[Mapping[str, str]]] = defaultdict(list)
        for one in visit:
            if one.suffix:
                by_suffix[one.suffix].append(one.entities)
        for suffix, several in by_suffix.items():
            names = {name for entities in several for name in entities}
            found[suffix] |= {name for name in names if len({entities.get(name) for entities in several}) > 1}
    return {
        suffix: tuple(sorted(names, key=lambda name: (_rank(name), name))) for suffix, names in found.items()
    }


def _rank(name: str) -> int:
    return _ENTITY_ORDER.index(name) if name in _ENTITY_ORDER else len(_ENTITY_ORDER)


def bids_role(one: FoundSeries, telling: Mapping[str, Sequence[str]]) -> str:
    """Suffix and the entities that tell it from others, such as ``pet-rec-acdyn``."""
    parts = [_word(one.suffix)]
    parts += [
        f"{name}-{_word(one.entities[name]).removeprefix('scan-')}"
        for name in telling.get(one.suffix, ())
        if name in one.entities
    ]
    return "-".join(parts)[:64].strip("-")


def roles_of(
    visit: Sequence[FoundSeries], choices: Choices
) -> tuple[list[RoleOf], list[tuple[FoundSeries, str]]]:
    """Roles of one session's series without names of BIDS.

    Parameters
    ----------
    visit : sequence of FoundSeries
    choices : Choices
        By which a combination of series is chosen.

    Returns
    -------
    roles : list of RoleOf
        Every series once.
    left_out : list of (FoundSeries, str)
        With the reason.
    """
    kept, left = _without_doublets(visit)
    combined, kept = _combined(kept, choices)
    by_base: dict[str, list[FoundSeries]] = defaultdict(list)
    for one in kept:
        by_base[base_role(one)].append(one)
    roles = list(combined)
    taken = {one.role for one in combined}
    for base in sorted(by_base):
        several = sorted(
            by_base[base], key=lambda one: (one.begin or datetime.max, str(one.path), one.series)
        )
        name = base if base not in taken else f"{base}-single"
        roles += _named(name, several)
    return _distinct(roles), left


def _without_doublets(
    visit: Sequence[FoundSeries],
) -> tuple[list[FoundSeries], list[tuple[FoundSeries, str]]]:
    """Without PET that lacks the attenuation correction of another, and what was derived of an original."""
    kept, left = [], []
    for one in visit:
        others = [other for other in visit if other is not one and other.modality == one.modality]
        same_time = [other for other in others if other.begin == one.begin]
        if one.attenuation_corrected is False and any(other.attenuation_corrected for other in same_time):
            left.append((one, "without attenuation correction; the same scan is there with it"))
        elif one.derived and any(
            not other.derived and base_role(other) == base_role(one) for other in others
        ):
            left.append((one, "derived from other images; an original series of its kind is there"))
        else:
            kept.append(one)
    return kept, left


def _combined(visit: Sequence[FoundSeries], choices: Choices) -> tuple[list[RoleOf], list[FoundSeries]]:
    """Series that differ in one step only, such as one per flip angle, as one scan."""
    roles: list[RoleOf] = []
    rest = list(visit)
    for step, modality in _STEPS:
        families: dict[tuple[object, ...], list[FoundSeries]] = defaultdict(list)
        for one in rest:
            if one.kind == "dicom" and one.modality == modality and one.settings.get(step) is not None:
                families[_but(one, step)].append(one)
        for family in families.values():
            values = {one.settings[step] for one in family}
            if len(family) < 2 or len(values) < len(family):
                continue
            choice = choices.of_several(family)
            if choice is None:
                continue
            path, series = choice
            counted = {**family[0].axes, step: len(family)}
            whole = replace(family[0], path=path, series=series, axes=counted)
            role = "ct-energies" if step == "energy" else base_role(whole)
            name = role if all(one.role != role for one in roles) else f"{role}-{len(roles) + 1}"
            roles.append(RoleOf(name, whole, f"{len(family)} series that differ in {step.replace('_', ' ')}"))
            rest = [one for one in rest if one not in family]
    return roles, rest


def _but(one: FoundSeries, step: str) -> tuple[object, ...]:
    # some scanners lengthen the repetition with the inversion time
    free = {step, "repetition_time"} if step == "inversion_time" else {step}
    settings = tuple((name, value) for name, value in one.settings.items() if name not in free)
    return (one.place, tuple(one.axes.items()), one.contrast, one.frame_of_reference, settings)


def _named(base: str, several: list[FoundSeries]) -> list[RoleOf]:
    if len(several) == 1 and base == UNKNOWN:
        question = "what kind of scan is it? neither header nor name says"
        return [RoleOf(base, None, "", question, tuple(several))]
    if len(several) == 1:
        return [RoleOf(base, several[0])]
    if several[0].modality == "NM" and (windows := _of_windows(base, several)):
        return windows
    if several[0].modality in _ENHANCED and len(several) == 2:
        found = _before_and_after(base, several)
        if found:
            return found
    question = f"{len(several)} series may be {base}: which is it? The others may get roles of their own"
    return [RoleOf(base, None, "", question, tuple(several))]


def _of_windows(base: str, several: Sequence[FoundSeries]) -> list[RoleOf]:
    """One role for each energy window of one scan of a gamma camera, named by its limits; else nothing."""
    limits = [one.settings.get("windows") for one in several]
    if not all(limits) or len(set(map(str, limits))) < len(several):
        return []
    if len({(one.begin, one.shape, one.place) for one in several}) > 1:
        return []
    return [
        RoleOf(f"{base}-{_limits(windows)}kev"[:64], one, "an energy window of one scan")
        for windows, one in zip(limits, several, strict=True)
    ]


def _limits(windows: object) -> str:
    """Limits of an energy window as part of a role, such as ``126-154``."""
    ranges = windows if isinstance(windows, tuple) else ()
    return "-".join(f"{low:g}-{high:g}" for low, high in ranges).replace(".", "p")


def _before_and_after(base: str, pair: list[FoundSeries]) -> list[RoleOf]:
    """Roles pre and post: by words, by the agent that the header names, else asked for."""
    first, second = pair
    words = [(bool(_PRE.search(one.words)), bool(_POST.search(one.words))) for one in pair]
    in_time = first.begin is not None and second.begin is not None and first.begin < second.begin
    if sorted(words) == [(False, True), (True, False)]:
        pre, post = (first, second) if words[0] == (True, False) else (second, first)
        return [RoleOf("pre", pre, "by its name"), RoleOf("post", post, "by its name")]
    if in_time and words in ([(True, False), (False, False)], [(False, False), (False, True)]):
        why = "one is named, and the times agree"
        return [RoleOf("pre", first, why), RoleOf("post", second, why)]
    if first.contrast != second.contrast and (in_time is not first.contrast):
        pre, post = (second, first) if first.contrast else (first, second)
        if pre is first and in_time:
            return [
                RoleOf("pre", pre, "no agent in its header, and earlier"),
                RoleOf("post", post, "with agent"),
            ]
    if first.settings != second.settings or first.shape != second.shape:
        return []
    order = "by time the first listed is the earlier" if in_time else "their times do not tell"
    question = f"two {base} series of the same settings: which is before the injection? {order}"
    return [
        RoleOf("pre", None, "", question, tuple(pair)),
        RoleOf("post", None, "", "the other of the two", tuple(pair)),
    ]


def _distinct(roles: list[RoleOf]) -> list[RoleOf]:
    """Roles once each: a second pre is that of its own kind."""
    seen: dict[str, int] = defaultdict(int)
    found = []
    for one in roles:
        seen[one.role] += 1
        number = seen[one.role]
        found.append(one if number == 1 else replace(one, role=f"{one.role}-{number}"))
    return found
