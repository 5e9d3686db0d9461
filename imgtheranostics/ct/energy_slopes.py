"""Which slopes belong to images at several energies: those given, or priors of their beams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.compounds import find_material
from imgtheranostics.ct.concentration_maps import Calibrated
from imgtheranostics.ct.energy_bins import bin_slopes
from imgtheranostics.ct.energy_images import EnergyImages, required_tin
from imgtheranostics.ct.hounsfield import ct_record
from imgtheranostics.ct.prior_slopes import PRIOR_RELATIVE_ERROR, prior_slope
from imgtheranostics.ct.sensitivity import displaced_water
from imgtheranostics.ct.slope import Slope
from imgtheranostics.ct.slope_matrix import SlopeMatrix
from imgtheranostics.ct.stated_filter import stated_filter
from imgtheranostics.errors import Caution, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.mapping.refusals import UnknownChoice

GivenSlopes = Mapping[str, Sequence[float | Slope | Calibrated]] | npt.ArrayLike


@dataclass(frozen=True, slots=True)
class PriorBeam:
    """What prior slopes are asked for; options that are None take what the files say, or the usual.

    Attributes
    ----------
    filtration_mm_al, water_cm : float or None
    tin_mm : float or sequence of float, or None
        In all images, or in each.
    model : {"spectrum", "A", "B"}
    displacement : bool or None
        As in `imgtheranostics.ct.prior_slopes.prior_slope`.
    edges_kev : sequence of float
        Of the bins of a photon-counting detector.
    """

    filtration_mm_al: float | None = None
    water_cm: float | None = None
    tin_mm: float | Sequence[float] | None = None
    model: Literal["spectrum", "A", "B"] = "spectrum"
    displacement: bool | None = None
    edges_kev: tuple[float, ...] = ()


def slopes_for(
    images: EnergyImages,
    materials: Sequence[str],
    given: GivenSlopes | None,
    given_errors: Mapping[str, Any] | npt.ArrayLike | None,
    beam: PriorBeam,
) -> SlopeMatrix:
    """Slopes of the materials in the beam of each image.

    Parameters
    ----------
    images : EnergyImages
    materials : sequence of str
    given : mapping of str to sequence of float, Slope or calibration; or (n_energies, n_materials) array_like
        In the order of the images.
    given_errors : the same as numbers, optional
        Without them 5 %, and a caution.
    beam : PriorBeam

    Raises
    ------
    MissingMetadata
        If a prior needs a tube voltage, a thickness of tin or the limits of bins that is not known.
    UnitMismatch
        If a slope belongs to another tube voltage than its image.
    ValueError
        If slopes do not fit images and materials, or options of priors are given beside slopes.
    """
    if given is None:
        if given_errors is not None:
            raise UnknownChoice("slope_errors= belong to slopes that are given")
        columns = _priors(images, materials, beam)
    else:
        if beam != PriorBeam(edges_kev=beam.edges_kev):
            raise UnknownChoice("options of prior slopes do not apply to slopes that are given")
        columns = _given(images, materials, given, given_errors)
    return SlopeMatrix.of(columns)


def _given(
    images: EnergyImages, materials: Sequence[str], given: GivenSlopes, errors: Any
) -> dict[str, list[Slope]]:
    n = len(images.images)
    by_name = _columns(given, materials, "slopes")
    spread = None if errors is None else _columns(errors, materials, "slope_errors")
    found: dict[str, list[Slope]] = {}
    for name in materials:
        column = list(by_name[name])
        if len(column) != n:
            raise UnknownChoice(f"slopes= has {len(column)} of {name} for {n} images")
        own = [None] * n if spread is None else list(np.broadcast_to(spread[name], (n,)))
        found[name] = [
            _slope(one, name, images.kvp[place], error)
            for place, (one, error) in enumerate(zip(column, own, strict=True))
        ]
        for place, slope in enumerate(found[name]):
            slope.require_kvp(images.kvp[place], where=images.labels[place])
    return found


def _columns(given: Any, materials: Sequence[str], what: str) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        missing = [name for name in materials if name not in given]
        if missing or len(given) != len(materials):
            raise UnknownChoice(
                f"{what}= must name the materials {', '.join(materials)}, not {', '.join(given)}"
            )
        return given
    matrix = np.asarray(given, np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != len(materials):
        raise UnknownChoice(f"{what}= must have one column for each of {', '.join(materials)}")
    return {name: matrix[:, k] for k, name in enumerate(materials)}


def _slope(one: Any, name: str, kvp: float | None, error: float | None) -> Slope:
    if isinstance(one, int | float | np.number):
        cautions: tuple[Caution, ...] = ()
        if error is None:
            error = PRIOR_RELATIVE_ERROR * abs(float(one))
            text = f"slopes have no standard error; {100 * PRIOR_RELATIVE_ERROR:g} % of each were taken"
            cautions = (Caution("slope-error-assumed", text, "slopes"),)
        return Slope(float(one), float(error), name, kvp, source="given", warnings=cautions)
    if error is not None:
        raise UnknownChoice("slope_errors= belong to slopes that are plain numbers")
    slope = one if isinstance(one, Slope) else getattr(one, "slope", None)
    if not isinstance(slope, Slope):
        raise UnknownChoice(f"a slope of {name} is a number, a Slope or a calibration, not {one!r}")
    counted, wanted = _counted(slope.material), _counted(name)
    if None not in (counted, wanted) and counted != wanted:
        raise UnitMismatch(
            "the slope belongs to another material",
            where="slopes",
            found=f"a slope of {slope.material} for {name}",
            needed=f"HU per mg/mL of {wanted}",
        )
    return slope


def _counted(name: str) -> str | None:
    """The formula that a name stands for; None for a name of the user's own."""
    try:
        return find_material(name).name
    except (UnsupportedInput, MissingMetadata):
        return None


def _priors(images: EnergyImages, materials: Sequence[str], beam: PriorBeam) -> dict[str, list[Slope]]:
    n = len(images.images)
    if beam.edges_kev or images.middles_kev:
        return _bins(images, materials, beam)
    unknown = [label for label, kvp in zip(images.labels, images.kvp, strict=True) if kvp is None]
    if unknown:
        raise MissingMetadata(
            "the tube voltage is not known, on which HU per mg/mL depends",
            where="KVP (0018,0060), or KVP of the sidecar",
            found=", ".join(unknown),
            needed="kV of each image",
            next_step="give kvp= (--kvp) with one for each image, or slopes= (--slopes)",
        )
    tin = _tin(images, beam, n)
    aluminium = _aluminium(images, beam, n)
    return {
        name: [
            prior_slope(
                name,
                float(images.kvp[place] or 0.0),
                filtration_mm_al=aluminium[place],
                water_cm=beam.water_cm,
                tin_mm=tin[place],
                model=beam.model,
                displacement=beam.displacement,
            )
            for place in range(n)
        ]
        for name in materials
    }


def _aluminium(images: EnergyImages, beam: PriorBeam, n: int) -> list[float | None]:
    """Aluminium in each beam: as asked for, else as the files say."""
    if beam.filtration_mm_al is not None or beam.tin_mm is not None:
        return [beam.filtration_mm_al] * n
    return [stated_filter(ct_record(image)).filtration_mm_al for image in images.values]


def _tin(images: EnergyImages, beam: PriorBeam, n: int) -> list[float]:
    if beam.tin_mm is None:
        return [required_tin(images, place) for place in range(n)]
    if np.ndim(beam.tin_mm) > 0 and np.size(beam.tin_mm) != n:
        raise UnknownChoice(f"tin_mm= has {np.size(beam.tin_mm)} values for {n} images")
    return [float(one) for one in np.broadcast_to(np.asarray(beam.tin_mm, np.float64), (n,))]


def _bins(images: EnergyImages, materials: Sequence[str], beam: PriorBeam) -> dict[str, list[Slope]]:
    """Prior slopes of the energy bins of an ideal photon-counting detector."""
    n, kvp = len(images.images), images.kvp[0]
    edges, cautions = _limits(images, beam, kvp)
    if len(edges) != n + 1:
        raise UnknownChoice(f"edges_kev= has {len(edges)} limits for {n} bins; {n + 1} are needed")
    if kvp is None:
        raise MissingMetadata(
            "the tube voltage is not known, on which the spectrum of the bins depends",
            where="KVP (0018,0060), or KVP of the sidecar",
            next_step="give kvp= (--kvp), or slopes= (--slopes)",
        )
    if beam.model != "spectrum":
        raise UnknownChoice("prior slopes of energy bins come from model='spectrum'")
    asked = {
        name: value
        for name, value in (("filtration_mm_al", beam.filtration_mm_al), ("water_cm", beam.water_cm))
        if value is not None
    }
    values = bin_slopes(materials, edges, kvp, tin_mm=_tin(images, beam, n)[0], **asked)
    behind = f"{asked.get('filtration_mm_al', 7.0):g} mm Al and {asked.get('water_cm', 20.0):g} cm of water"
    text = f"prior slopes assume an ideal photon-counting detector behind {behind}"
    cautions = (Caution("assumed-beam", text, f"{kvp:g} kVp"), *cautions)
    found: dict[str, list[Slope]] = {}
    for name, column in zip(materials, values.T, strict=True):
        taken = 0.0
        if beam.displacement is not False:
            taken = displaced_water(find_material(name), None, required=bool(beam.displacement))
        found[name] = [
            _bin_slope(float(value) - taken, name, kvp, edges[k : k + 2], taken, cautions)
            for k, value in enumerate(column)
        ]
    return found


def _limits(
    images: EnergyImages, beam: PriorBeam, kvp: float | None
) -> tuple[tuple[float, ...], tuple[Caution, ...]]:
    """Limits of the bins: given, or those whose middles the axis states, the tube voltage as the last."""
    if beam.edges_kev:
        return beam.edges_kev, ()
    limits = [] if kvp is None else [float(kvp)]
    for middle in reversed(images.middles_kev):
        if limits and 0 < 2 * middle - limits[0] < middle:
            limits.insert(0, 2 * middle - limits[0])
    if len(limits) != len(images.images) + 1:
        raise MissingMetadata(
            "the limits of the energy bins are not known, on which HU per mg/mL depend",
            found=f"bins about {', '.join(images.labels)}, which are not the middles of bins that end at the "
            f"tube voltage ({'not known' if kvp is None else f'{kvp:g} kV'})",
            needed=f"{len(images.images) + 1} limits in keV",
            next_step="give edges_kev= (--edges-kev), or slopes= (--slopes)",
        )
    words = ", ".join(f"{limit:g}" for limit in limits)
    text = f"the limits of the energy bins, {words} keV, follow from their middles and the tube voltage"
    return tuple(limits), (Caution("bin-limits-inferred", text, "energy axis"),)


def _bin_slope(
    value: float, name: str, kvp: float, edges: Sequence[float], taken: float, cautions: tuple[Caution, ...]
) -> Slope:
    return Slope(
        value,
        abs(value) * PRIOR_RELATIVE_ERROR,
        name,
        kvp,
        f"bin {edges[0]:g} to {edges[1]:g} keV",
        source="prior: spectrum model",
        displacement=taken,
        warnings=cautions,
    )
