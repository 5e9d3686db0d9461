"""The decisions of a run in words: which clock, which scale, which decay, and what else was possible.

A decision is a mapping of plain values. What its own text and the sentences here do not say is listed as
facts, so that a new kind of decision is shown in full before anybody writes a sentence for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imgtheranostics.report.wording import activity, duration, number, quantity_words
from imgtheranostics.units import QUANTITIES

_TITLES = {
    "clock": "Reference time",
    "decay": "Decay correction",
    "half_life": "Half-life",
    "administered_activity": "Administered activity",
    "scaling": "Scale of the voxels",
    "body_measure": "Body measure",
    "density": "Tissue density",
}
_OTHER_TITLES = {
    "psf": "Point spread",
    "decays": "Decays that count",
    "curve": "Curve of the activity",
    "activity": "Activity given",
    "delineation": "Outline of the lesions",
}
"""Headings of decisions that stand after those of `_TITLES`."""

_TEXT_KEYS = ("explanation", "sentence", "text", "summary")
_LABELS = {
    "rule": "Rule",
    "spread_percent": "Largest unexplained difference in activity",
    "decay_correction": "Decay correction of the file",
    "fwhm_mm": "FWHM",
    "g_ml": "Density",
    "mbq": "Activity",
    "a": "Exponent a",
    "alpha_beta_gy": "α/β",
    "s_relative": "Relative standard uncertainty of the dose per decay",
    "activity_shared_relative": "That of the activity, shared by all voxels",
}
_UNITS = {
    "mev": "MeV",
    "gy": "Gy",
    "percent": "%",
    "bq_ml": "Bq/mL",
    "g_ml": "g/mL",
    "kg": "kg",
    "mm": "mm",
    "m": "m",
    "ml": "mL",
    "mbq": "MBq",
    "bq": "Bq",
    "s": "s",
}
_UNIT_IN_NAME = re.compile(rf"(?:_|^)({'|'.join(_UNITS)})(?=$|_at_|_per_)")
_CONVENTIONS = {
    "START": "the activity refers to the start of the scan",
    "ADMIN": "the activity refers to the injection, so the dose is not decayed",
    "NONE": "the file is not decay corrected; each frame was corrected from its own time",
}
_SMALLEST_PERCENT = 0.001
_SHOWN_AS_SHARE = ("relative_uncertainty",)


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: heading, sentences, and the figures behind them as (label, value) pairs."""

    title: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()


def decision_list(decisions: Mapping[str, Any]) -> list[Decision]:
    """Decisions in words, clock first; those kept per quantity or scan carry it in the heading."""
    found: list[Decision] = []
    order = list(_TITLES)
    for key in sorted(decisions, key=lambda name: order.index(name) if name in order else len(order)):
        value = decisions[key]
        groups = _groups(key, value)
        if groups is None:
            found.append(_decision(key, value))
            continue
        found += _merged([(name, decision_list(group)) for name, group in groups])
    return found


def _merged(groups: list[tuple[str, list[Decision]]]) -> list[Decision]:
    """Decisions of several groups by topic: once where all groups decided alike, else one per group."""
    by_title: dict[str, list[tuple[str, Decision]]] = {}
    for name, decisions in groups:
        for item in decisions:
            by_title.setdefault(item.title, []).append((name, item))
    merged: list[Decision] = []
    for title, items in by_title.items():
        if len(groups) > 1 and len(items) == len(groups) and len({item for _, item in items}) == 1:
            merged.append(Decision(f"{title} (all {len(groups)})", items[0][1].text, items[0][1].facts))
        else:
            merged += [Decision(f"{title} ({name})", item.text, item.facts) for name, item in items]
    return merged


def _groups(key: str, value: Any) -> list[tuple[str, Mapping[str, Any]]] | None:
    """Decisions that are kept per quantity, scan or item of a list; None for a single decision."""
    if isinstance(value, (list, tuple)) and value and all(_holds_decisions(item) for item in value):
        return [
            (f"{_words(key).lower().removesuffix('s')} {n}", item) for n, item in enumerate(value, start=1)
        ]
    if key not in _TITLES and isinstance(value, Mapping) and (key in QUANTITIES or _holds_decisions(value)):
        return [(quantity_words(key) if key in QUANTITIES else _words(key), value)]
    return None


def _holds_decisions(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        name in _TITLES and isinstance(item, Mapping) for name, item in value.items()
    )


def _decision(key: str, value: Any) -> Decision:
    title = _TITLES.get(key) or _OTHER_TITLES.get(key) or _words(key)
    if not isinstance(value, Mapping):
        return Decision(title, _sentence(_shown(key, value)))
    rest = {name: item for name, item in value.items() if name not in _TEXT_KEYS}
    texts = [_sentence(str(value[name])) for name in _TEXT_KEYS if value.get(name)]
    say = _SAYINGS.get(key)
    if say is not None:
        texts.append(_sentence(say(rest)))
    facts = [fact for name, item in rest.items() for fact in _facts(name, item)]
    return Decision(title, " ".join(text for text in texts if text), tuple(facts))


def _say_clock(rest: dict[str, Any]) -> str:
    """The alternative clocks and how far they are from the chosen one."""
    candidates = rest.get("candidates_s")
    if not isinstance(candidates, Mapping):
        return ""
    del rest["candidates_s"]
    known = {_words(name).lower(): seconds for name, seconds in candidates.items() if seconds is not None}
    agreeing = [name for name, seconds in known.items() if abs(seconds) < 0.5]
    apart = [
        f"{name} lies {duration(abs(seconds))} {'later' if seconds > 0 else 'earlier'}"
        for name, seconds in known.items()
        if name not in agreeing
    ]
    parts = [f"{_joined(agreeing)} {'agree' if len(agreeing) > 1 else 'agrees'} with it"] if agreeing else []
    return f"Of the clocks in the file, {_joined(parts + apart)}" if parts or apart else ""


def _say_decay(rest: dict[str, Any]) -> str:
    """What moment the activity refers to, and what was left of the dose then."""
    text = _CONVENTIONS.get(str(rest.get("convention")), "")
    delay, left = rest.get("injection_to_reference_s"), rest.get("dose_left_at_reference")
    if not text or (delay is not None and not isinstance(delay, (int, float))):
        return ""
    if delay and isinstance(left, (int, float)):
        text += f", {duration(delay)} after the injection, when {number(100 * left)} % of the dose was left"
    return text


def _say_half_life(rest: dict[str, Any]) -> str:
    seconds = rest.get("seconds", rest.get("half_life_s"))
    if not isinstance(seconds, (int, float)):
        return ""
    rest.pop("seconds", None)
    rest.pop("half_life_s", None)
    nuclide, source = rest.pop("nuclide", None), rest.pop("source", None)
    who = f"{nuclide}: " if nuclide else ""
    return f"{who}{duration(seconds)} ({number(seconds, 7)} s){f', from the {source}' if source else ''}"


def _say_dose(rest: dict[str, Any]) -> str:
    net = rest.get("net_bq_at_injection")
    if not isinstance(net, (int, float)):
        return ""
    del rest["net_bq_at_injection"]
    text = f"{activity(net)} reached the body at injection"
    uncertainty = rest.get("relative_uncertainty")
    if isinstance(uncertainty, (int, float)):
        del rest["relative_uncertainty"]
        text += f", with a relative standard uncertainty of {number(100 * uncertainty, 3)} %"
    return text


def _say_measure(rest: dict[str, Any]) -> str:
    """A value with its unit beside it becomes one fact."""
    if isinstance(rest.get("value"), (int, float)) and isinstance(rest.get("unit"), str):
        rest["value"] = f"{number(rest['value'], 5)} {rest.pop('unit')}"
    return ""


_SAYINGS: dict[str, Callable[[dict[str, Any]], str]] = {
    "clock": _say_clock,
    "decay": _say_decay,
    "half_life": _say_half_life,
    "administered_activity": _say_dose,
    "body_measure": _say_measure,
}


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _facts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for inner, item in value.items():
            for label, text in _facts(str(inner), item):
                yield f"{_words(name)}: {_inside(label)}", text
        return
    shown = _shown(name, value)
    if shown:
        yield _LABELS.get(name, _words(name)), shown


def _shown(name: str, value: Any) -> str:
    """A value with the unit that its name carries."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(name, item) for item in value)
    if isinstance(value, Mapping):
        return "; ".join(
            f"{_words(str(key)).lower()} {_shown(str(key), item)}" for key, item in value.items()
        )
    if not isinstance(value, (int, float)):
        return str(value).replace("_", " ") if name == "rule" else str(value)
    return _number_shown(name, float(value))


def _number_shown(name: str, value: float) -> str:
    found = _UNIT_IN_NAME.search(name)
    unit = _UNITS[found.group(1)] if found else ""
    if unit == "s":
        return duration(value) if abs(value) < 300 else f"{duration(value)} ({number(value, 6)} s)"
    if unit == "Bq":
        return activity(value)
    if name.startswith(_SHOWN_AS_SHARE):
        return f"{number(100 * value, 3)} %"
    if unit == "%" and 0 < abs(value) < _SMALLEST_PERCENT:
        return f"below {_SMALLEST_PERCENT:g} %"
    return f"{number(value, 5)} {unit}".strip()


def _words(key: str) -> str:
    words = _UNIT_IN_NAME.sub("", key).replace("_", " ").strip() or key
    return words[:1].upper() + words[1:]


def _inside(label: str) -> str:
    """A label within a line: the first letter small, but that of a nuclide such as Y-90 or of FWHM."""
    return label if re.match(r"[A-Z][a-z]?-\d|[A-Z]{2}", label) else label[:1].lower() + label[1:]


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else f"{text}."
