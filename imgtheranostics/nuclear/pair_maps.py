"""Maps of what another nuclide on the same carrier would do: its decays, and its dose, in every voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import Caution, IllConditioned, MissingMetadata
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.nuclear.administration import Administration
from imgtheranostics.nuclear.dose_maps import SOFT_TISSUE_G_ML
from imgtheranostics.nuclear.pair_curves import MOSTLY_EXTRAPOLATED, MUCH_EXTRAPOLATED, accepted_share
from imgtheranostics.nuclear.pair_records import check_imaged
from imgtheranostics.nuclear.pair_rules import twins
from imgtheranostics.nuclear.scan_dosimetry import Dosimetry, dose_of_scans, imaged_nuclide
from imgtheranostics.volume import Estimate, Volume


def transfer_maps(
    scans: Volume | Sequence[Volume],
    *,
    given: str,
    imaged: str | None = None,
    given_mbq: float | None = None,
    model: str = "auto",
    method: str = "kernel",
    progeny: str = "none",
    allow_other_element: bool = False,
    most_extrapolated: float | None = None,
    administration: Administration | None = None,
    density: Volume | float = SOFT_TISSUE_G_ML,
    curve: Mapping[str, Any] | None = None,
    **scanning: Any,
) -> Dosimetry:
    """Time-integrated activity and absorbed dose of `given` in every voxel, from scans of its twin.

    The same as `pair_table` does for regions; dose that crosses from voxel to voxel is in it.

    Parameters
    ----------
    scans : Volume or sequence of Volume
        A dynamic scan, or scans at several times on one grid.
    given : str
        Nuclide that will be given.
    imaged : str, optional
        Nuclide that was imaged, where the scans do not name it.
    given_mbq : float, optional
        Activity that is given, MBq, for a dose in Gy; without it the dose is Gy/MBq.
    model : str
        Of the curve of every voxel, as in `time_integrated_activity`.
    method : {"kernel", "local"}
    progeny : {"none", "in_place"}
        As in `absorbed_dose`.
    allow_other_element : bool
        Confirm two elements, as in `imgtheranostics.nuclear.pairs.transfer`.
    most_extrapolated : float, optional
        Refuse where a larger share of all decays of `given` is after the last image.
    administration : Administration, optional
        Goes before what the headers say.
    density : Volume or float
        g/mL, of the tissue that absorbs.
    curve : mapping, optional
        Further keywords of `time_integrated_activity`: `tail`, `beginning`, `uptake`, `mask`, `threshold`.
    **scanning
        `decay_correction`, `sensitivity_cps_mbq`, `strict_clock`, `workers`; `radius_mm` and
        `s_relative_uncertainty` of `absorbed_dose`.

    Returns
    -------
    Dosimetry
        ``decays`` (``tiac_per_ml``, s/mL, with the map ``extrapolated_fraction``) and ``dose``, with
        assumption and caveats of the pair among their warnings and decisions.

    Raises
    ------
    MissingMetadata
        If the nuclide that was imaged, or the injection, is not known.
    ImplausibleValue
        If the nuclides are of two elements.
    IllConditioned
        If there are too few times, or more is extrapolated than accepted.
    ImgTheranosticsError, ValueError
        As `time_integrated_activity` and `absorbed_dose`.
    """
    accepted_share(most_extrapolated)
    first = scans if isinstance(scans, Volume) else next(iter(scans), None)
    if imaged is not None:
        check_imaged(scans, imaged)
    if imaged is not None and (administration is None or administration.nuclide is None):
        administration = replace(administration or Administration(None, None), nuclide=imaged)
    source = None if first is None else imaged_nuclide(first, administration)
    if first is not None and source is None:
        raise MissingMetadata(
            "the nuclide that was imaged is not known",
            where="RadionuclideCodeSequence (0054,0300)",
            next_step="give imaged (--imaged Y-86)",
        )
    if source is not None and imaged is not None and nuclide(imaged).name != source:
        raise UnknownChoice(f"imaged is {imaged}, but the administration says {source}")
    pair = None if source is None else twins(source, given, allow_other_element=allow_other_element)
    found = dose_of_scans(
        scans,
        nuclide=given,
        given_mbq=given_mbq,
        per_mbq=given_mbq is None,
        allow_other_element=allow_other_element,
        model=model,
        administration=administration,
        density=density,
        curve=curve,
        method=method,
        progeny=progeny,
        **scanning,
    )
    if pair is None or not isinstance(found.decays, Estimate):
        raise UnknownChoice("scans must be images of activity, not a map of decays")
    share = _share_extrapolated(found.decays)
    late = _late(share, pair.given.name, most_extrapolated)
    said = {"pair": pair.decisions()}
    return replace(
        found,
        dose=_with(found.dose, late, said),
        decays=_with(found.decays, (*pair.said(), *late), said),
    )


def _share_extrapolated(decays: Estimate) -> float:
    """Share of all decays that are after the last image."""
    each = decays.value.data.astype(np.float64)
    late = decays.maps["extrapolated_fraction"].data.astype(np.float64) / 100.0
    known = np.isfinite(each) & np.isfinite(late)
    total = float(each[known].sum())
    return float((each[known] * late[known]).sum()) / total if total > 0 else 0.0


def _late(share: float, given: str, most_extrapolated: float | None) -> tuple[Caution, ...]:
    if most_extrapolated is not None and share > most_extrapolated:
        raise IllConditioned(
            "too many of the decays would happen after the last image",
            found=f"{100 * share:.0f} % of those in the image",
            needed=f"at most {100 * most_extrapolated:.0f} %",
            next_step="image later, or accept more: most_extrapolated or --most-extrapolated",
        )
    if share <= MUCH_EXTRAPOLATED:
        return ()
    text = f"{100 * share:.0f} % of the decays of {given} in the image would happen after the last one"
    if share <= MOSTLY_EXTRAPOLATED:
        return (Caution("much-extrapolated", text),)
    return (Caution("mostly-extrapolated", f"{text}: the dose is more assumed than measured"),)


def _with(estimate: Estimate, cautions: tuple[Caution, ...], decisions: Mapping[str, Any]) -> Estimate:
    value = estimate.value.with_warnings(*cautions)
    return replace(estimate, value=value, decisions={**estimate.decisions, **decisions})
