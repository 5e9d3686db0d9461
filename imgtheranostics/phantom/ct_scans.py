"""The scans of a CT phantom: one for each case of its axes, those without agent, and those in energy bins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise, product

from imgtheranostics.errors import MissingMetadata
from imgtheranostics.phantom.cases import Case, all_axes, cases_of, printed
from imgtheranostics.phantom.ct_beam import Beam
from imgtheranostics.phantom.ct_scanner import CtScanner
from imgtheranostics.phantom.spec import PhantomSpec

BEFORE, BINS = "before", "bins"
"""Roles of scans beside the main ones."""


@dataclass(frozen=True, eq=False)
class CtScan:
    """One image.

    Attributes
    ----------
    name : str
        Fit for a file name.
    role : str
        Empty for a main scan, else `BEFORE` or `BINS`.
    case : mapping
        Its value on each series axis; of a scan without agent only those that it belongs to.
    kvp : float
    beams : tuple of Beam
        One, or one per energy bin.
    step : float
        How far the fractions have come, from 0 at the first to 1 at the last.
    """

    name: str
    role: str
    case: Case
    kvp: float
    beams: tuple[Beam, ...]
    step: float = 0.0

    @property
    def agent(self) -> bool:
        """Whether the agent is in the subject."""
        return self.role != BEFORE


def scanner_of(spec: PhantomSpec) -> CtScanner:
    """The CT scanner of a phantom.

    Raises
    ------
    MissingMetadata
        If the file describes none.
    """
    scanner = spec.physics_of("CT").ct
    if scanner is None:
        raise MissingMetadata(f"{spec.slug} does not describe its CT scanner", where="physics", needed="ct")
    return scanner


def scans_of(spec: PhantomSpec) -> tuple[CtScan, ...]:
    """All scans: the main one for each case, those in energy bins, and those without agent."""
    scanner = scanner_of(spec)
    main = [_scan(spec, "", case) for case in ct_cases(spec)]
    binned: dict[str, CtScan] = {}
    if scanner.energy_bins_kev:
        for case in ct_cases(spec):
            kept = {kind: value for kind, value in case.items() if kind != "kvp"}
            scan = _binned(spec, scanner, kept)
            binned.setdefault(scan.name, scan)
    return (*main, *binned.values(), *_before(spec, scanner))


def ct_cases(spec: PhantomSpec) -> tuple[Case, ...]:
    """The cases of the main scans; of a phantom with a modality axis only those of CT."""
    return tuple(case for case in cases_of(spec) if case.get("modality", "CT") == "CT")


def _before(spec: PhantomSpec, scanner: CtScanner) -> list[CtScan]:
    if not scanner.before:
        return []
    kinds = {"kvp", *scanner.before_per}
    axes = [axis for axis in all_axes(spec) if axis.kind in kinds]
    cases = product(*(axis.values for axis in axes))
    return [
        _scan(spec, BEFORE, {axis.kind: value for axis, value in zip(axes, values, strict=True)})
        for values in cases
    ]


def _scan(spec: PhantomSpec, role: str, case: Case) -> CtScan:
    scanner = scanner_of(spec)
    stated = case.get("kvp", scanner.kvp)
    if stated is None:
        raise MissingMetadata(
            f"{spec.slug} does not say its tube voltage", where="physics.ct", needed="kvp, or an axis kvp"
        )
    words = [role, *(f"{kind}-{printed(value)}" for kind, value in case.items() if kind != "modality")]
    fraction = spec.axis_of("fraction")
    step = 0.0
    if fraction is not None and "fraction" in case and len(fraction.values) > 1:
        step = fraction.values.index(case["fraction"]) / (len(fraction.values) - 1)
    return CtScan(
        name="_".join(word for word in words if word) or "scan",
        role=role,
        case=case,
        kvp=float(stated),
        beams=(Beam(float(stated), scanner.filtration_mm_al),),
        step=step,
    )


def _binned(spec: PhantomSpec, scanner: CtScanner, case: Case) -> CtScan:
    voltages = spec.axis_of("kvp")
    highest = max((float(v) for v in voltages.values), default=None) if voltages else scanner.kvp
    kvp = scanner.counting_kvp or highest
    edges = scanner.energy_bins_kev
    if kvp is None or len(edges) < 2:
        raise MissingMetadata(
            f"{spec.slug} does not describe its energy bins",
            where="physics.ct",
            needed="at least two edges and a tube voltage",
        )
    beams = tuple(Beam(kvp, scanner.filtration_mm_al, True, low, high) for low, high in pairwise(edges))
    scan = _scan(spec, BINS, {**case, "kvp": kvp})
    return replace(scan, name="_".join([BINS, scan.name.removeprefix(f"{BINS}_")]), case=case, beams=beams)
