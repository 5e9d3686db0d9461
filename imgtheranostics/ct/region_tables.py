"""Regions of CT maps: means with the error that correlated noise leaves them, and what can be detected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.blank_regions import BlankNoise, default_blanks, voxel_list_noise
from imgtheranostics.errors import Caution, GeometryMismatch, merge_cautions
from imgtheranostics.mapping.blank_regions import BoolArray, IndexArray
from imgtheranostics.mapping.detection import DETECTION_SDS, QUANTIFICATION_SDS
from imgtheranostics.mapping.region_tables import flag_counts
from imgtheranostics.mapping.region_tables import region_table as plain_region_table
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Flag

if TYPE_CHECKING:
    import pandas as pd

_DRIFT_SDS = 3.0
_CALIBRATION_MAP = "calibration_error"
_UNKNOWN = dict.fromkeys(("sd", "standard_error", "median", "p05", "p95", "min", "max"), math.nan)


def region_table(
    maps: Estimate | Sequence[Estimate],
    regions: Regions,
    *,
    blanks: Mask | str = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Changes of attenuation and concentrations in regions, with limits of detection and contrast to noise.

    The standard error of a mean is the scatter of the means of regions of the same shape over blank tissue
    (see `imgtheranostics.ct.blank_noise`), in quadrature with what the slope shares between all voxels. Where
    the blank tissue has no room, it is that of `imgtheranostics.regions.roi_statistics`, with a caution.

    Parameters
    ----------
    maps : Estimate or sequence of Estimate
        Of `imgtheranostics.ct.enhancement`, `concentration`, `decompose`.
    regions : Regions
        On the grid of the maps.
    blanks : str, Volume, Regions or (i, j, k) array_like, optional
        Tissue without agent: the name of a region, or a mask. By default the soft tissue of the scan before
        the agent, two voxels and more from every region.
    subject, session : str, optional
        Labels for the table.
    workers : int, optional

    Returns
    -------
    pandas.DataFrame
        With the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`. Besides the maps themselves it has a
        row for each region of ``contrast_to_noise`` (mean change over the noise of one voxel of the
        difference), or of ``detection_limit`` and ``quantification_limit`` of the region's mean and of
        ``detectable_share``, the share of voxels above the limit of detection of a voxel, with the binomial
        error of so many independent voxels as the region holds.
        ``attrs["details"]`` holds the scatter of the blanks, how many there were, and how often a blank
        exceeds the limit of detection; ``attrs["warnings"]`` are cautions.

    Raises
    ------
    GeometryMismatch
        If regions lie on another grid, or one of them outside of the field of view.
    MissingMetadata
        If no blanks are given and the maps do not hold the scan before the agent.
    ValueError
        If `blanks` names no region.
    """
    import pandas as pd

    chosen = [maps] if isinstance(maps, Estimate) else list(maps)
    if not chosen:
        raise ValueError("a table needs at least one map")
    fitted = regions.fit_to(chosen[0].grid)
    blank = _blank_tissue(chosen, fitted, blanks)
    table, cautions = plain_region_table(chosen, fitted, subject=subject, session=session, workers=workers)
    _check_view(table)
    details, more, notes = table.attrs.pop("details"), [], [cautions]
    voxels = dict(zip(fitted, fitted.voxel_lists(), strict=True))
    own = blanks if isinstance(blanks, str) else None
    for n, one in enumerate(chosen):
        first = n * len(voxels)
        noises = _noises(one, voxels, blank, own)
        metal = _saturated_slices(one, voxels)
        readings = [
            _Reading(table, index, one, noise, details[index]["n_effective"], streaks)
            for index, (noise, streaks) in enumerate(zip(noises, metal, strict=True), start=first)
        ]
        for reading, inside in zip(readings, voxels.values(), strict=True):
            reading.write(inside, details[reading.index])
            details[reading.index] |= noise_detail(reading.noise)
            more += list(reading.further())
        notes.append(_cautions(one, readings))
    table = pd.concat([table, pd.DataFrame(more, columns=table.columns)], ignore_index=True)
    table.attrs["details"] = details + [{} for _ in more]
    table.attrs["warnings"] = merge_cautions(*notes)
    return table


def noise_detail(noise: BlankNoise) -> dict[str, Any]:
    """Noise of one row's mean, for the details of a table."""
    if not math.isfinite(noise.sd):
        return {"n_blanks": noise.n_blanks}
    return {
        "resolution": noise.rule,
        "standard_error_sampling": noise.standard_error,
        "blank_sd": noise.sd,
        "blank_mean": noise.mean,
        "n_blanks": noise.n_blanks,
        "false_positive_rate_at_lod": noise.false_positive_rate,
    }


def _blank_tissue(maps: Sequence[Estimate], regions: Regions, blanks: Mask | str) -> BoolArray:
    if isinstance(blanks, str):
        if blanks not in regions.names.values():
            raise ValueError(f"no region {blanks!r} for blanks; there are {', '.join(regions)}")
        return regions.mask(blanks)
    if blanks is not None:
        return mask_array(blanks, maps[0].value)
    known = next((one for one in maps if "pre" in one.maps), maps[0])
    return default_blanks(known, regions)


def _noises(
    estimate: Estimate, voxels: Mapping[str, IndexArray], blank: BoolArray, own: str | None
) -> list[BlankNoise]:
    """Noise of the mean of each region; that of the name `own` is itself blank."""
    flat = (blank & np.isfinite(estimate.value.data)).ravel(order="F")
    return [
        voxel_list_noise(estimate.value, inside, flat, own=name == own) for name, inside in voxels.items()
    ]


def _saturated_slices(estimate: Estimate, voxels: Mapping[str, IndexArray]) -> list[bool]:
    """Whether a slice of each region holds voxels at the top of the range, in it or beside it."""
    slices = np.asarray((estimate.flags.data & Flag.SATURATED.value).any(axis=(0, 1)))
    i, j, _ = estimate.grid.shape
    return [bool(slices[np.unique(inside // (i * j))].any()) for inside in voxels.values()]


def _check_view(table: pd.DataFrame) -> None:
    unseen = table.loc[(table["n_valid"] == 0) & (table["n_voxels"] > 0)]
    for _, row in unseen.iterrows():
        counts = flag_counts(str(row["flags"]))
        if counts.get("SATURATED", 0) or counts.get("MASKED_OUT", 0):
            continue
        raise GeometryMismatch(
            "a region lies outside of the field of view",
            where=f"region {row['region']}",
            found=f"{row['n_voxels']} voxels, none with a value in both scans",
            needed="a region over tissue that both scans show",
            next_step="draw it inside the reconstructed field of view, or leave it out",
        )
    empty = table.loc[table["n_voxels"] == 0, "region"]
    if len(empty):
        raise GeometryMismatch("a region has no voxels", where=f"region {empty.iloc[0]}")


@dataclass(frozen=True, eq=False)
class _Reading:
    """One row of the table, the noise of its mean, and whether its slices hold saturated voxels."""

    table: pd.DataFrame
    index: int
    estimate: Estimate
    noise: BlankNoise
    n_effective: float = math.nan
    streaks: bool = False

    @property
    def row(self) -> Mapping[str, Any]:
        return {str(name): value for name, value in self.table.loc[self.index].items()}

    @property
    def limits(self) -> tuple[float, float]:
        """LOD and LOQ of the mean, in the unit of the map."""
        return DETECTION_SDS * self.noise.sd, QUANTIFICATION_SDS * self.noise.sd

    def codes(self) -> list[str]:
        """Codes of what a reader of the row should know."""
        row = self.row
        flags = flag_counts(str(row["flags"]))
        found = []
        if not math.isfinite(self.noise.sd):
            found.append("no-blank-tissue")
        elif "parts" in self.noise.rule:
            found.append("few-blanks")
        if flags.get("SATURATED", 0):
            found.append("saturated-in-region")
        if self.streaks:
            found.append("streaks-possible")
        if row["n_valid"] + flags.get("SATURATED", 0) + flags.get("MASKED_OUT", 0) < row["n_voxels"]:
            found.append("partly-outside")
        if self.estimate.quantity != "delta_attenuation" and row["mean"] < self.limits[0]:
            found.append("below-detection-limit")
            if row["mean"] < -self.limits[0]:
                found.append("negative-amount")
        return found

    def write(self, voxels: npt.NDArray[np.int64], details: dict[str, Any]) -> None:
        """Put the standard error and the codes into the row, and the parts of the error into its details."""
        codes = [code for code in str(self.row["warnings"]).split(";") if code]
        self.table.loc[self.index, "warnings"] = ";".join(dict.fromkeys((*codes, *self.codes())))
        sampling, shared = self.noise.standard_error, self._shared(voxels)
        if not math.isfinite(sampling):
            sampling = float(details.get("standard_error_sampling", math.nan))
        if math.isfinite(sampling) and math.isfinite(shared):
            self.table.loc[self.index, "standard_error"] = math.hypot(sampling, shared)
            if "standard_error_calibration" in details:
                details["standard_error_calibration"] = shared

    def _shared(self, voxels: npt.NDArray[np.int64]) -> float:
        """The part of the mean's error that averaging leaves.

        Where it differs between voxels, as the error of the slopes does between mixtures of materials, the
        mean over them, which it cannot exceed.
        """
        own = self.estimate.maps.get(_CALIBRATION_MAP)
        if own is None:
            return float(self.estimate.calibration_relative * abs(self.row["mean"]))
        errors = own.data.ravel(order="F")[voxels].astype(np.float64)
        known = np.isfinite(errors)
        return float(errors[known].mean()) if known.any() else math.nan

    def further(self) -> Iterator[dict[str, Any]]:
        """Rows of what follows from the noise: contrast, limits, share of voxels above theirs."""
        row = self.row
        if self.estimate.quantity == "delta_attenuation":
            sigma = self.estimate.decisions.get("noise", {}).get("voxel_sd_hu", math.nan)
            if sigma > 0:
                yield {
                    **row,
                    **_UNKNOWN,
                    "quantity": "contrast_to_noise",
                    "unit": "1",
                    "mean": row["mean"] / sigma,
                    "standard_error": row["standard_error"] / sigma,
                }
            return
        relative = math.hypot(
            1.0 / math.sqrt(2.0 * (self.noise.n_blanks - 1)) if self.noise.n_blanks > 1 else math.nan,
            0.0 if _CALIBRATION_MAP in self.estimate.maps else self.estimate.calibration_relative,
        )
        for name, limit in zip(("detection_limit", "quantification_limit"), self.limits, strict=True):
            yield {**row, **_UNKNOWN, "quantity": name, "mean": limit, "standard_error": relative * limit}
        if row["n_valid"] and "detection" in self.estimate.decisions:
            below = flag_counts(str(row["flags"])).get("BELOW_NOISE", 0)
            share = 1.0 - below / row["n_valid"]
            error = math.sqrt(share * (1.0 - share) / max(1.0, self.n_effective))
            yield {
                **row,
                **_UNKNOWN,
                "quantity": "detectable_share",
                "unit": "%",
                "mean": 100.0 * share,
                "standard_error": 100.0 * error,
            }


def _cautions(estimate: Estimate, readings: Sequence[_Reading]) -> tuple[Caution, ...]:
    """One caution for each reason, with the number of regions, and one where blank tissue changed."""
    words = {
        "no-blank-tissue": "no blank tissue has room for their shape: the error of their mean is from the "
        "spread of their own voxels, and their limits of detection are not known; give blanks= (--blank)",
        "few-blanks": "too few copies fit into the blank tissue; their noise is scaled from smaller parts",
        "saturated-in-region": "voxels at the top of the range were left out of the mean, which is too low",
        "streaks-possible": "their slices hold voxels at the top of the range; metal throws streaks there",
        "partly-outside": "voxels without a value were left out of the mean; mass and volume are incomplete",
        "below-detection-limit": "the mean lies below its limit of detection",
        "negative-amount": "the mean is negative by more than noise: were the scans swapped, did the tissue "
        "move or change, or is the background another?",
    }
    found = []
    for code, text in words.items():
        names = [str(reading.row["region"]) for reading in readings if code in reading.codes()]
        if names:
            found.append(
                Caution(code, f"{estimate.quantity}: in {', '.join(names)}: {text}", estimate.quantity)
            )
    drifts = [
        reading.noise.mean
        for reading in readings
        if reading.noise.n_blanks > 1
        and abs(reading.noise.mean) > _DRIFT_SDS * reading.noise.sd / math.sqrt(reading.noise.n_blanks)
        and "parts" not in reading.noise.rule
    ]
    if drifts:
        text = (
            f"{estimate.quantity}: tissue without agent changed by {drifts[0]:.3g} {estimate.unit} on "
            "average, more than its noise; nothing was subtracted for that"
        )
        found.append(Caution("blank-tissue-changed", text, estimate.quantity))
    return tuple(found)
