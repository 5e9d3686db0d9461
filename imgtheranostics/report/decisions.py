"""The decisions of a run as sentences: which clock, which scale, which decay, and what else was possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imgtheranostics.report.wording import duration, number, quantity_words
from imgtheranostics.units import QUANTITIES

_TITLES = {
    "clock": "Reference time",
    "scaling": "Scale of the voxels",
    "decay": "Decay correction",
    "half_life": "Half-life",
    "administered_activity": "Administered activity",
    "body_measure": "Body measure",
    "density": "Tissue density",
}
_TEXT_KEYS = ("explanation", "sentence", "text", "summary")
_LABELS = {
    "rule": "Rule",
    "spread_percent": "Largest unexplained difference in activity",
    "decay_correction": "Decay correction of the file",
}
_UNITS = {
    "_percent": "%",
    "_bq_ml": "Bq/mL",
    "_g_ml": "g/mL",
    "_kg": "kg",
    "_mm": "mm",
    "_m": "m",
    "_ml": "mL",
    "_mbq": "MBq",
}
_BQ_STEPS = ((1e9, "GBq"), (1e6, "MBq"), (1e3, "kBq"))


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: heading, sentences, and the figures behind them as (label, value) pairs."""

    title: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()


def decision_list(decisions: Mapping[str, Any]) -> list[Decision]:
    """Decisions in words; those that are kept per quantity carry the quantity in the heading."""
    found: list[Decision] = []
    for key, value in decisions.items():
        if key in QUANTITIES and key not in _TITLES and isinstance(value, Mapping):
            found += [
                Decision(f"{item.title} ({quantity_words(key)})", item.text, item.facts)
                for item in decision_list(value)
            ]
        else:
            found.append(_decision(key, value))
    return found


def _decision(key: str, value: Any) -> Decision:
    title = _TITLES.get(key, _words(key))
    if not isinstance(value, Mapping):
        return Decision(title, _sentence(_shown(key, value)))
    text = " ".join(_sentence(str(value[name])) for name in _TEXT_KEYS if value.get(name))
    facts: list[tuple[str, str]] = []
    for name, item in value.items():
        if name in _TEXT_KEYS:
            continue
        if name == "candidates_s" and isinstance(item, Mapping):
            text = f"{text} {_candidates(item)}".strip()
        else:
            facts += _facts(name, item)
    return Decision(title, text, tuple(facts))


def _candidates(candidates: Mapping[str, Any]) -> str:
    """The alternative clocks and how far they are from the chosen one."""
    apart = []
    for name, seconds in candidates.items():
        words = _words(name).lower()
        if seconds is None:
            continue
        if abs(seconds) < 0.5:
            apart.append(f"{words} agrees")
        else:
            apart.append(f"{words} is {duration(abs(seconds))} {'later' if seconds > 0 else 'earlier'}")
    return f"Of the clocks in the file, {_joined(apart)}." if apart else ""


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _facts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for inner, item in value.items():
            for label, text in _facts(inner, item):
                yield f"{_words(name)}: {label[:1].lower()}{label[1:]}", text
        return
    shown = _shown(name, value)
    if shown:
        yield _LABELS.get(name, _words(name)), shown


def _shown(name: str, value: Any) -> str:
    """A value with the unit that its name ends in."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(name, item) for item in value)
    if not isinstance(value, (int, float)):
        return str(value).replace("_", " ") if name == "rule" else str(value)
    if name.endswith("_s"):
        return (
            duration(float(value)) if abs(value) < 300 else f"{duration(float(value))} ({number(value, 6)} s)"
        )
    if name.endswith("_bq"):
        return _activity(float(value))
    unit = next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")
    return f"{number(float(value), 5)} {unit}".strip()


def _activity(bq: float) -> str:
    step, unit = next((item for item in _BQ_STEPS if abs(bq) >= item[0]), (1.0, "Bq"))
    return f"{number(bq / step, 5)} {unit}"


def _words(key: str) -> str:
    for suffix in ("_s", "_bq", *_UNITS):
        if key.endswith(suffix) and len(key) > len(suffix) + 2:
            key = key.removesuffix(suffix)
            break
    words = key.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else f"{text}."
