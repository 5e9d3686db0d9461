"""What a reader of masses of an agent should know: balances that do not close, scans that lack."""

from __future__ import annotations

import math
from collections.abc import Sequence

from imgtheranostics.ct.injected_agent import Injection
from imgtheranostics.ct.retention_result import ScanRetention
from imgtheranostics.errors import Caution

_COVERAGE = 2.0
"""Standard errors beyond which a balance does not close."""

_NEGATIVE = 3.3
"""Standard errors below zero at which a mass is negative, as far as it must lie above to be detected."""

_WORDS = {
    "incomplete-region": "has voxels without a value: its mass is a lower bound, and not stated where they "
    "are more than 5 %",
    "saturated-in-region": "has voxels at the top of the range of the images, which hold an unknown mass",
    "no-blank-tissue": "finds no room for blank regions of its shape; its standard error is from the scatter "
    "of its own voxels",
    "blank-tissue-changed": "is compared with tissue that changed its attenuation between the scans without "
    "any agent; the mass is off by as much",
}


def scan_cautions(
    scan: ScanRetention, tumour: str, first: bool, injection: Injection | None
) -> tuple[Caution, ...]:
    """Cautions about one follow-up."""
    where = f"follow-up {scan.number}"
    found = [
        Caution(code, f"region {mass.region} of {where} {_WORDS[code]}", where)
        for mass in (*scan.masses.values(), *scan.shells)
        for code in mass.codes
    ]
    found += _balance(scan, tumour, first, injection, where)
    held = scan.masses[tumour]
    if held.mass_mg < -_NEGATIVE * held.standard_error_mg:
        text = (
            f"the mass in {tumour} at {where} is negative by more than its error: is the first scan really "
            "the one before the injection, and does the region lie on the tumour in both?"
        )
        found.append(Caution("negative-amount", text, where))
    if math.isnan(scan.retained[tumour].percent) and math.isfinite(scan.masses[tumour].mass_mg):
        text = f"what {where} retains is not known: {scan.retained[tumour].rule}"
        found.append(Caution("retention-unknown", text, where))
    return tuple(found)


def _balance(
    scan: ScanRetention, tumour: str, first: bool, injection: Injection | None, where: str
) -> list[Caution]:
    """Where more is found than there was, or in the first scan less than was injected."""
    found = []
    kept = scan.retained[tumour]
    if not first and kept.percent - 100.0 > _COVERAGE * kept.standard_error:
        text = (
            f"{where} holds {kept.percent:.4g} % of the first scan's mass, more than two standard errors "
            "above 100 %: an agent does not grow"
        )
        found.append(Caution("mass-balance", text, where))
    if injection is None:
        return found
    total, error = scan.around(tumour)
    beyond = total - injection.mass_mg
    words = f"{total:.4g} mg are found in tumour and shells, {injection.mass_mg:.4g} mg were injected"
    if beyond > _COVERAGE * error:
        found.append(Caution("mass-balance", f"{where}: {words}", where))
    elif first and -beyond > _COVERAGE * error:
        text = f"{where}: {words}; the rest lies elsewhere, was lost on the way, or the slope is another"
        found.append(Caution("mass-balance", text, where))
    return found


def study_cautions(
    scans: Sequence[ScanRetention], n_follow_ups: int, injection: Injection | None
) -> tuple[Caution, ...]:
    """Cautions about all scans together."""
    found = []
    missing = n_follow_ups - len(scans)
    if missing:
        text = f"{missing} of {n_follow_ups} follow-ups {'was' if missing == 1 else 'were'} not made"
        found.append(Caution("missing-scans", text))
    if scans[0].number != 0:
        text = (
            f"the first follow-up was not made: what is retained is relative to follow-up {scans[0].number}, "
            "and what was lost before it does not show"
        )
        found.append(Caution("reference-scan-missing", text))
    if injection is None:
        text = "the injected mass was not given, so that the recovered share is not known"
        found.append(Caution("injected-mass-not-given", text, "injected_mg"))
        return tuple(found)
    return (*found, *injection.warnings)
