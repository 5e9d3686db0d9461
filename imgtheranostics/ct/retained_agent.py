"""How much of an injected agent stays in a tumour: one scan before the injection and scans after it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np

from imgtheranostics.ct.agent_masses import apart_mm, region_mass, retained_percent, spread
from imgtheranostics.ct.concentration_maps import SlopeLike
from imgtheranostics.ct.follow_ups import FollowUp, How, Protocol, check_model
from imgtheranostics.ct.hounsfield import SATURATION_HU, comparable, require_hu
from imgtheranostics.ct.injected_agent import Injection, injected, positive
from imgtheranostics.ct.retention_notes import scan_cautions, study_cautions
from imgtheranostics.ct.retention_result import Retention, ScanRetention, known_injection
from imgtheranostics.ct.retention_table import Labels, Row, as_table, missing_rows, scan_rows
from imgtheranostics.ct.tissue_dose import DoseRule, dose_rule
from imgtheranostics.ct.tumour_surroundings import shell_edges
from imgtheranostics.errors import Caution, ImgTheranosticsError, NothingUsable, merge_cautions
from imgtheranostics.mapping.pairs import single_image
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mapping.voxels import Mask
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume

_ALLOWED = ("kernel", "slice_thickness")


def retention(
    baseline: Volume,
    followups: Sequence[Volume | None],
    rois: Regions | Sequence[Regions | None],
    *,
    material: str,
    kvp: float | None = None,
    slope: SlopeLike = None,
    slope_error: float | None = None,
    injected_mg: float | None = None,
    injected_ml: float | None = None,
    suspension_mg_ml: float | None = None,
    recovery: bool = False,
    tumour_ml: float | None = None,
    tumour: str = "tumour",
    days: Sequence[float] | None = None,
    register: How | Sequence[How] = "rigid",
    register_mask: Mask = None,
    node_spacing_mm: float | None = None,
    shell_mm: float | Sequence[float] = (5.0, 10.0),
    blanks: Mask = None,
    noise_sd: float | tuple[float, float] | None = None,
    allow_mismatch: Collection[str] = (),
    saturation_hu: float = SATURATION_HU,
    filtration_mm_al: float | None = None,
    water_cm: float | None = None,
    tin_mm: float | None = None,
    model: Literal["spectrum", "A", "B"] = "spectrum",
    displacement: bool | None = None,
    density_g_ml: float | None = None,
    photon_kev: float | None = None,
    dose_ratio: float | None = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> Retention:
    """Mass of an agent in a tumour at each follow-up, and how much of the first is still there.

    Every follow-up is registered to the baseline outside of the tumour, where the agent changes nothing, and
    the baseline is subtracted. The mass is the sum of concentration times the volume that each voxel has in
    the follow-up, so that what shrinks or swells keeps its mass. One slope serves all scans: its error is
    part of every mass, and cancels in what is retained.

    Parameters
    ----------
    baseline : Volume
        Attenuation before the injection.
    followups : sequence of Volume or None
        Scans after it, in order; None for one that was planned and not made.
    rois : Regions, or sequence of Regions
        The tumour and, if wanted, further regions, drawn on the baseline; or one for each follow-up, drawn on
        that follow-up, where the tumour swells or shrinks.
    material : str
        As in `imgtheranostics.ct.concentration`, as are `kvp`, `slope`, `slope_error`, `filtration_mm_al`,
        `water_cm`, `tin_mm`, `model`, `displacement` and `density_g_ml`.
    injected_mg : float, optional
        Mass of the material that was injected; or `injected_ml`, the volume of a suspension of
        `suspension_mg_ml` (by default that of the agent's record). Without them the recovered share is left
        out, with a caution.
    recovery : bool
        Refuse to go on where the injected mass is not known.
    tumour_ml : float, optional
        Volume of the tumour before the injection, for the concentration to expect; by default that of the
        region, where it was drawn on the baseline.
    tumour : str
        Name of the region that was injected.
    days : sequence of float, optional
        Day of each follow-up, also of those that were not made.
    register : {"rigid", "affine", "bspline"}, None, or sequence of Registration, Transform or None
        How follow-ups are aligned; None where they lie on the baseline already.
    register_mask : Volume, Regions or (i, j, k) array_like, optional
        Where the registration looks, on the baseline; by default everything but the tumour.
    node_spacing_mm : float, optional
        Distance of the nodes of "bspline"; by default the extent of the tumour. Motion inside the tumour is
        carried in from its surroundings: draw the region with a margin, or on each follow-up.
    shell_mm : float or sequence of float
        Outer distances of the shells of tissue around the tumour in which leakage is looked for; may be
        empty.
    blanks : Volume, Regions or (i, j, k) array_like, optional
        Tissue without agent on the grid of the baseline; by default soft tissue away from tumour and shells.
    noise_sd, saturation_hu
        As in `imgtheranostics.ct.enhancement`.
    allow_mismatch : collection of {"kernel", "slice_thickness"}
        What may differ between scans; the beam may not.
    photon_kev : float, optional
        Photon energy, 10 to 800 keV, at which the dose enhancement of each region's mean concentration is
        wanted. It is macroscopic: nanoscale effects are not modelled.
    dose_ratio : float, optional
        Mass energy-absorption coefficient of the material over that of water, from a table of your own, taken
        as exact; the only way to go above 800 keV.
    subject, session : str, optional
        Labels for the table.
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    Retention

    Raises
    ------
    UnitMismatch
        If values are not HU, or any two scans differ in tube voltage, filter, kernel or slice thickness.
    MissingMetadata
        If the tube voltage is needed and not known, an injected volume comes without a strength, or
        `recovery` is asked for and the injected mass is not known.
    ImplausibleValue
        If the photon energy is outside of 10 to 800 keV and no ratio is given.
    GeometryMismatch
        If grids differ without a registration, regions lie on another grid, are empty, or lie outside of the
        field of view.
    IllConditioned
        If a registration failed.
    NothingUsable
        If no follow-up was made.
    ValueError
        If lists have different lengths, days do not increase, or an option is unknown.
    """
    plan = Protocol(
        material,
        {
            "kvp": kvp, "slope": slope, "slope_error": slope_error, "filtration_mm_al": filtration_mm_al,
            "water_cm": water_cm, "tin_mm": tin_mm, "model": model, "displacement": displacement,
            "density_g_ml": density_g_ml,
        },
        tumour, shell_edges(shell_mm), register_mask, blanks, noise_sd, tuple(allow_mismatch), saturation_hu,
        node_spacing_mm, workers,
    )  # fmt: skip
    injection = injected(material, injected_mg, injected_ml, suspension_mg_ml)
    if recovery:
        known_injection(injection)
    dose = None
    if photon_kev is not None or dose_ratio is not None:
        displaced = displacement is not False
        dose = dose_rule(
            material, photon_kev, ratio=dose_ratio, density_g_ml=density_g_ml, displacement=displaced
        )
    drawn = _drawn(rois, followups, tumour)
    ways = _ways(register, len(followups))
    if node_spacing_mm is not None and "bspline" not in ways:
        raise UnknownChoice("node_spacing_mm belongs to register='bspline'")
    chosen_days = _days(days, len(followups))
    notes = _check_scans(baseline, followups, plan)
    before = require_hu(baseline)
    asked = _Asked(len(followups), chosen_days, injection, tumour_ml, isinstance(rois, Regions))
    job = _Job(plan, asked, _labels(baseline, subject, session, tumour, dose), notes)
    for number, (scan, (regions, own), how) in enumerate(zip(followups, drawn, ways, strict=True)):
        if scan is None or regions is None:
            job.missing(number)
        else:
            job.add(number, _follow_up(number, before, scan, regions, own, how, plan))
    return job.result()


def _follow_up(
    number: int, before: Volume, scan: Volume, regions: Regions, own: bool, how: How, plan: Protocol
) -> FollowUp:
    """One follow-up; a refusal tells which."""
    try:
        return FollowUp.of(before, scan, regions, own, how, plan)
    except ImgTheranosticsError as refusal:
        place = f"follow-up {number}"
        refusal.where = place if refusal.where is None else f"{place}: {refusal.where}"
        raise


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was planned and injected."""

    n_follow_ups: int
    days: tuple[float, ...] | None
    injection: Injection | None
    tumour_ml: float | None
    drawn_before: bool

    def volume_before_ml(self, first: FollowUp, tumour: str) -> float | None:
        """Volume of the tumour before the injection, where it is known."""
        if self.tumour_ml is not None:
            return positive(self.tumour_ml, "the volume of the tumour", "mL")
        if not self.drawn_before:
            return None
        return first.change.grid.voxel_volume_ml * first.voxels[tumour].size


def _labels(
    baseline: Volume, subject: str | None, session: str | None, tumour: str, dose: DoseRule | None
) -> Labels:
    source = baseline.source
    return Labels(
        source.subject if subject is None else subject,
        source.session if session is None else session,
        tumour,
        dose,
    )


def _drawn(
    rois: Regions | Sequence[Regions | None], followups: Sequence[Volume | None], tumour: str
) -> list[tuple[Regions | None, bool]]:
    """Regions of each follow-up, and whether they were drawn on it."""
    if all(scan is None for scan in followups):
        raise NothingUsable(
            "there is no scan after the injection",
            found=f"{len(followups)} follow-ups, none made",
            needed="at least one",
        )
    given: list[Regions | None]
    if isinstance(rois, Regions):
        given, own = [rois] * len(followups), False
    else:
        given, own = list(rois), True
    if len(given) != len(followups):
        raise UnknownChoice(
            f"rois are one for all scans or one for each follow-up: {len(given)} for {len(followups)}"
        )
    for number, (regions, scan) in enumerate(zip(given, followups, strict=True)):
        if scan is None:
            continue
        if regions is None:
            raise UnknownChoice(f"follow-up {number} has no regions")
        if tumour not in regions.names.values():
            raise UnknownChoice(
                f"no region {tumour!r} to look for the agent in; there are {', '.join(regions)}"
            )
    return [(regions, own) for regions in given]


def _days(days: Sequence[float] | None, count: int) -> tuple[float, ...] | None:
    if days is None:
        return None
    given = np.asarray(days, np.float64)
    if given.shape != (count,) or not np.isfinite(given).all() or (np.diff(given) <= 0).any():
        raise UnknownChoice(
            f"days are one increasing number for each of {count} follow-ups, not {given.tolist()}"
        )
    return tuple(float(day) for day in given)


def _ways(register: How | Sequence[How], count: int) -> list[How]:
    if isinstance(register, Sequence) and not isinstance(register, str):
        if len(register) != count:
            raise UnknownChoice(f"{len(register)} transforms were given for {count} follow-ups")
        return [check_model(how) for how in register]
    return [check_model(register)] * count


def _check_scans(baseline: Volume, followups: Sequence[Volume | None], plan: Protocol) -> tuple[Caution, ...]:
    """Refuse scans of different beams, also where the baseline does not state its own; tell the same ones."""
    beyond = sorted(set(plan.allow_mismatch) - set(_ALLOWED))
    if beyond:
        raise UnknownChoice(
            f"{', '.join(beyond)} may not differ between scans whose masses are compared; "
            f"{' and '.join(_ALLOWED)} may"
        )
    made = [scan for scan in followups if scan is not None]
    for scan in (baseline, *made):
        single_image(scan, "a scan")
    for scan in made:
        comparable(baseline, scan, allow=plan.allow_mismatch)
        comparable(made[0], scan, allow=plan.allow_mismatch)
    numbered = [("the baseline", baseline)]
    numbered += [(f"follow-up {number}", scan) for number, scan in enumerate(followups) if scan is not None]
    return tuple(
        Caution(
            "same-scan",
            f"{one} and {other} hold the same values in every voxel, noise included: is it one scan twice?",
            other,
        )
        for (one, first), (other, second) in combinations(numbered, 2)
        if _same_values(first, second)
    )


def _same_values(one: Volume, other: Volume) -> bool:
    """Whether two scans are equal in every voxel; the middle slice tells nearly all apart at once."""
    middle = one.data.shape[-1] // 2
    return one.data.shape == other.data.shape and all(
        np.array_equal(one.data[part], other.data[part], equal_nan=True) for part in ((..., middle), ...)
    )


@dataclass(eq=False)
class _Job:
    """Scans one after the other: of each only what the result holds is kept, of the first everything."""

    plan: Protocol
    asked: _Asked
    labels: Labels
    notes: tuple[Caution, ...] = ()
    first: FollowUp | None = None
    scans: list[ScanRetention] = field(default_factory=list)
    rows: list[tuple[Row, Row]] = field(default_factory=list)
    records: dict[str, Any] = field(default_factory=dict)

    def _day(self, number: int) -> float | None:
        return None if self.asked.days is None else self.asked.days[number]

    def missing(self, number: int) -> None:
        """A follow-up that was not made."""
        self.rows += missing_rows(number, self._day(number), self.labels)

    def add(self, number: int, scan: FollowUp) -> None:
        """A follow-up."""
        if self.first is None:
            self.first = scan
        result = self._scan_result(number, scan, self.first)
        self.scans.append(result)
        shells = {shell.name: shell.voxels for shell in scan.shells if shell.voxels.size}
        regions = Regions.from_voxel_lists({**scan.voxels, **shells}, scan.change.grid)
        self.rows += scan_rows(result, regions, self.asked.injection, self.labels, self.plan.workers)
        lod = result.spread.lod_mg_ml
        self.records[str(number)] = {
            "alignment": scan.concentration.decisions["alignment"],
            "noise": scan.concentration.decisions["noise"],
            "occupancy_lod_mg_ml": None if math.isnan(lod) else lod,
            "retained": result.retained[self.plan.tumour].rule,
            "air_in_shells": [shell.n_air for shell in scan.shells],
        }

    def _scan_result(self, number: int, scan: FollowUp, first: FollowUp) -> ScanRetention:
        tumour = self.plan.tumour
        masses = {name: region_mass(scan, name, voxels) for name, voxels in scan.voxels.items()}
        shells = tuple(
            region_mass(scan, shell.name, shell.voxels) for shell in scan.shells if shell.voxels.size
        )
        reference = self.scans[0].masses if self.scans else masses
        kept = {
            name: retained_percent(first, reference[name], scan, mass, name)
            for name, mass in masses.items()
            if name in reference
        }
        here = spread(scan, masses[tumour], scan.voxels[tumour])
        shift = apart_mm(self.scans[0].spread, here) if self.scans else (0.0, 0.0)
        return ScanRetention(
            number, self._day(number), scan.concentration, scan.transform, masses, shells, kept, here, shift
        )

    def result(self) -> Retention:
        """What all scans say together."""
        scans, injection, dose = self.scans, self.asked.injection, self.labels.dose
        volume = None if self.first is None else self.asked.volume_before_ml(self.first, self.plan.tumour)
        expected = None if injection is None or volume is None else injection.expected(volume)
        return Retention(
            table=as_table(self.rows),
            scans=tuple(scans),
            tumour=self.plan.tumour,
            tumour_ml=volume,
            days=self.asked.days,
            n_missing=self.asked.n_follow_ups - len(scans),
            injection=injection,
            expected=expected,
            decisions={
                "slope": scans[0].concentration.decisions["slope"],
                "injection": {"rule": "not given"} if injection is None else injection.decision(),
                "expected_concentration": None if expected is None else expected._asdict(),
                **({} if dose is None else {"dose_enhancement": dose.decision()}),
                "shells": {
                    "rule": "tissue around the tumour of each scan, air left out",
                    "outer_mm": list(self.plan.edges_mm),
                },
                "scans": self.records,
            },
            warnings=merge_cautions(
                self.notes,
                () if dose is None else dose.warnings,
                *(scan.concentration.warnings for scan in scans),
                study_cautions(scans, self.asked.n_follow_ups, injection),
                *(scan_cautions(scan, self.plan.tumour, scan is scans[0], injection) for scan in scans),
            ),
        )
