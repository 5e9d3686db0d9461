"""Components as a report has them: maps under names of their own, and rows of ratios and detection limits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mapping.voxels import Mask
from imgtheranostics.msot.region_averages import Blanks
from imgtheranostics.msot.region_ratios import RegionRatio, region_ratio_series
from imgtheranostics.msot.region_tables import region_table
from imgtheranostics.msot.spectrum_library import spectrum_name
from imgtheranostics.msot.unmixed import Unmixed
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, make_step

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.volume import Volume

_NOT_A_WORD = re.compile(r"[^a-z0-9]+")
_UNKNOWN = dict.fromkeys(("sd", "standard_error", "median", "p05", "p95", "min", "max"), math.nan)
_PERCENT = 100.0
ANY_VOXEL = "any voxel"
"""What the rows of limits of single voxels have for a region."""

_OF_TISSUE = frozenset(("hbo2", "hb", "water", "lipid", "melanin"))


def component_word(name: str) -> str:
    """The name of a component as part of a quantity's name.

    >>> component_word("HbO2"), component_word("gold nanorod 4"), component_word("800CW")
    ('hbo2', 'gold_nanorod_4', 'component_800cw')
    """
    word = _NOT_A_WORD.sub("_", name.lower()).strip("_")
    return word if word and word[0].isalpha() else f"component_{word}".rstrip("_")


def agents_among(components: Iterable[str]) -> tuple[str, ...]:
    """Components that are not of tissue: those whose ratios and limits of detection are asked for.

    >>> agents_among(["HbO2", "Hb", "IR780"]), agents_among(["HbO2", "Hb"])
    (('IR780',), ('HbO2', 'Hb'))
    """
    names = tuple(components)
    found = tuple(name for name in names if (spectrum_name(name) or name.lower()) not in _OF_TISSUE)
    return found or names


def agents_first(components: Iterable[str]) -> tuple[str, ...]:
    """What was injected, then what is of tissue, each in its order."""
    names = tuple(components)
    agents = agents_among(names)
    return (*agents, *(name for name in names if name not in agents))


def named_components(unmixed: Unmixed, *, blank: Mask = None) -> tuple[Estimate, ...]:
    """The map of each component under a name of its own, such as ``ir780_component_amplitude``.

    Parameters
    ----------
    unmixed : Unmixed
    blank : Volume, Regions or (i, j, k) array_like, optional
        Voxels without the agent, as `Unmixed.detected` takes them.

    Returns
    -------
    tuple of Estimate
        Agents first. With ``detected`` in `maps`: 1 where the component exceeds its limit of detection.

    Raises
    ------
    ValueError
        If the names of two components differ in nothing but signs.
    """
    words = [component_word(name) for name in unmixed.estimates]
    if len(set(words)) < len(words):
        raise ValueError(
            f"components need names that differ in letters or digits, not {', '.join(unmixed.estimates)}"
        )
    found = []
    for name in agents_first(unmixed.estimates):
        one, word = unmixed.estimates[name], component_word(name)
        maps = {**one.maps, "detected": _detected(unmixed, name, blank)}
        found.append(replace(_renamed(one, name, f"{word}_{one.quantity}"), maps=maps))
    return tuple(found)


def component_table(
    unmixed: Unmixed,
    regions: Regions,
    *,
    of: Sequence[str] | None = None,
    over: Sequence[str] = (),
    blanks: Blanks = None,
    resolution_mm: float | Sequence[float] | None = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Every component in every region under the names of `named_components`.

    Parameters
    ----------
    unmixed : Unmixed
    regions : Regions
    of : sequence of str, optional
        Components whose ratios and limits are wanted; by default those that are not of tissue, if there are.
    over : sequence of str
        Regions that the others are divided by: rows ``<component>_region_ratio`` of regions such as
        ``tumour/liver``, with their interval in the details.
    blanks : str, Volume, Regions or (i, j, k) array_like, optional
        Tissue without agent. Adds the rows ``<component>_detection_limit``, of the mean of each region,
        ``<component>_voxel_detection_limit`` and ``<component>_detected_share``.
    resolution_mm, subject, session, workers
        As in `imgtheranostics.msot.region_table`.

    Returns
    -------
    pandas.DataFrame
        As `imgtheranostics.msot.region_table`.

    Raises
    ------
    UnknownChoice
        If a component of `of`, or a region of `over` or `blanks` does not exist.
    ImgTheranosticsError
        As `imgtheranostics.msot.region_table` and `imgtheranostics.msot.Unmixed.limit_of_detection`.
    """
    import pandas as pd

    fitted = regions.fit_to(unmixed.signal.grid)
    labels: dict[str, Any] = {"subject": subject, "session": session}
    options: dict[str, Any] = {"blanks": blanks, "resolution_mm": resolution_mm, "workers": workers}
    wanted = agents_among(unmixed.estimates) if of is None else tuple(of)
    for name in wanted:
        unmixed.estimate(name)
    missing = [name for name in over if name not in list(fitted)]
    if missing:
        raise UnknownChoice(
            f"there is no region {', '.join(repr(name) for name in missing)}; regions: {', '.join(fitted)}"
        )
    tables, details, notes = [], [], []
    for name in agents_first(unmixed.estimates):
        one, word = unmixed.estimates[name], component_word(name)
        table = region_table(one, fitted, **options, **labels)
        own = list(table.attrs["details"])
        notes.append(_under_its_name(table.attrs["warnings"], (name, one.quantity), f"{word}_{one.quantity}"))
        table["quantity"] = f"{word}_{one.quantity}"
        table.attrs = {}
        parts = [(table, own)]
        for reference in over if name in wanted else ():
            ratios, rows, cautions = _ratio_rows(one, word, fitted, reference, table, options)
            parts.append((ratios, rows))
            notes.append(cautions)
        if blanks is not None and name in wanted:
            parts.append(_limit_rows(unmixed, name, word, fitted, blanks, table, own))
        for part, rows in parts:
            for row in rows:
                row["component"] = name
            tables.append(part)
            details += rows
    joined = pd.concat([one for one in tables if len(one)], ignore_index=True)
    joined.attrs["details"] = details
    joined.attrs["warnings"] = merge_cautions(*notes)
    return joined


def blank_mask(blanks: Blanks, regions: Regions) -> Mask:
    """Blank tissue as a mask: that of the region, where it names one."""
    if isinstance(blanks, str):
        if blanks not in list(regions):
            raise UnknownChoice(f"there is no region {blanks!r}; regions: {', '.join(regions)}")
        return regions.mask(blanks)
    return blanks


def _detected(unmixed: Unmixed, name: str, blank: Mask) -> Volume:
    """0, 1, or NaN where nothing was estimated."""
    value = unmixed.estimates[name].value
    found = np.where(np.isfinite(value.data), unmixed.detected(name, blank=blank), np.nan)
    step = make_step("detected", component=name, blank=blank is not None)
    return value.derived(found.astype(np.float32), "detected", "1", step).replace(warnings=())


def _renamed(one: Estimate, name: str, quantity: str) -> Estimate:
    cautions = _under_its_name(one.value.warnings, (name, one.quantity), quantity)
    return replace(
        one,
        value=one.value.replace(quantity=quantity, warnings=cautions),
        standard_error=one.standard_error.replace(quantity=quantity),
    )


def _under_its_name(cautions: Sequence[Caution], olds: Sequence[str], quantity: str) -> tuple[Caution, ...]:
    """What is said of a component or quantity, said of the name that a report has for it."""
    found = []
    for one in cautions:
        head, colon, rest = one.message.partition(": ")
        message = f"{quantity}: {rest}" if colon and head in olds else one.message
        found.append(replace(one, message=message, where=quantity if one.where in olds else one.where))
    return tuple(found)


def _ratio_rows(
    one: Estimate,
    word: str,
    regions: Regions,
    reference: str,
    table: pd.DataFrame,
    options: dict[str, Any],
) -> tuple[pd.DataFrame, list[dict[str, Any]], tuple[Caution, ...]]:
    """Rows of one component over one region, from those of the amounts: regions within frames."""
    names = list(regions)
    places, ratios = [], []
    counts = table["n_valid"].to_numpy().reshape(-1, len(names))
    for place, name in enumerate(names):
        if name != reference and counts[:, place].all():
            for frame, ratio in enumerate(region_ratio_series(one, regions, name, over=reference, **options)):
                places.append(frame * len(names) + place)
                ratios.append(ratio)
    rows = table.iloc[places].assign(**_UNKNOWN, quantity=f"{word}_region_ratio", unit="1", flags="")
    rows["region"] = [f"{ratio.numerator.region}/{reference}" for ratio in ratios]
    rows["mean"] = [ratio.value for ratio in ratios]
    rows["standard_error"] = [ratio.standard_error for ratio in ratios]
    own = [[note for note in ratio.warnings if note not in one.value.warnings] for ratio in ratios]
    rows["warnings"] = [";".join(caution.code for caution in notes) for notes in own]
    details = [_ratio_detail(ratio, reference) for ratio in ratios]
    said = _under_its_name(
        [caution for notes in own for caution in notes], (one.quantity,), f"{word}_region_ratio"
    )
    return rows, details, merge_cautions(said)


def _ratio_detail(ratio: RegionRatio, reference: str) -> dict[str, Any]:
    return {
        "region": ratio.numerator.region,
        "over": reference,
        "interval": ratio.interval,
        "level": ratio.level,
        "rule": "ratio of means, interval by Fieller's theorem",
    }


def _limit_rows(
    unmixed: Unmixed,
    name: str,
    word: str,
    regions: Regions,
    blanks: Blanks,
    table: pd.DataFrame,
    details: list[dict[str, Any]],
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Limits of each region's mean where blank tissue has room for it; of a voxel; and what is detected."""
    import pandas as pd

    limit = unmixed.limit_of_detection(name, blank=blank_mask(blanks, regions))
    known = [n for n, row in enumerate(details) if math.isfinite(row["detection_limit"])]
    plain: dict[str, Any] = {**_UNKNOWN, "flags": "", "warnings": ""}
    of_means = table.iloc[known].assign(**plain, quantity=f"{word}_detection_limit")
    of_means["mean"] = [details[n]["detection_limit"] for n in known]
    voxel_ml = float(np.nanmedian(table["volume_ml"] / table["n_voxels"]))
    of_voxels = table.iloc[:1].assign(**plain, quantity=f"{word}_voxel_detection_limit", region=ANY_VOXEL)
    of_voxels = of_voxels.assign(
        mean=limit, axis="", axis_value=math.nan, n_voxels=1, n_valid=1, volume_ml=voxel_ml
    )
    shares = table.assign(**plain, quantity=f"{word}_detected_share", unit="%")
    shares["mean"] = _shares(unmixed.estimates[name].value.data, limit, regions)
    rules = [
        (of_means, "3.3 standard deviations of the means of blank regions of this shape"),
        (of_voxels, "mean and 3.3 standard deviations of the blank voxels, unmixed without bounds"),
        (shares, "voxels above the limit of detection of a voxel"),
    ]
    rows = pd.concat([part for part, _ in rules if len(part)])
    return rows, [{"rule": rule} for part, rule in rules for _ in range(len(part))]


def _shares(values: npt.NDArray[np.floating], limit: float, regions: Regions) -> list[float]:
    """Percentage of the voxels with a value that exceed the limit: regions within frames."""
    frames = values.reshape((-1, math.prod(values.shape[3:], start=1)), order="F").T
    found = []
    for frame in frames:
        for inside in regions.voxel_lists():
            known = frame[inside][np.isfinite(frame[inside])]
            found.append(_PERCENT * float((known > limit).mean()) if known.size else math.nan)
    return found
