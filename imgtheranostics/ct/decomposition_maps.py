"""Materials as maps in mg/mL, and the virtual non-contrast image, from CT at several energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.choices import METHODS
from imgtheranostics.ct.compounds import find_material
from imgtheranostics.ct.decomposition import pure_attenuation
from imgtheranostics.ct.decomposition_background import (
    Background,
    air_of,
    assumed_background,
    background_of,
    background_told,
)
from imgtheranostics.ct.decomposition_cautions import FlagCounts
from imgtheranostics.ct.decomposition_fit import DecompositionFit, add_in_quadrature, solved_fit
from imgtheranostics.ct.energy_images import EnergyImages, Image, flat
from imgtheranostics.ct.energy_noise import EnergyNoise
from imgtheranostics.ct.energy_slopes import GivenSlopes, PriorBeam, slopes_for
from imgtheranostics.ct.hounsfield import SATURATION_HU
from imgtheranostics.ct.material_problem import Images, MaterialProblem
from imgtheranostics.ct.problem_kinds import filling_problem, slope_problem
from imgtheranostics.ct.slope_matrix import SlopeMatrix
from imgtheranostics.errors import MissingMetadata, merge_cautions
from imgtheranostics.mapping.refusals import UnknownChoice, checked
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.volume import Estimate, Flag, Volume, make_step

Method = Literal["two_materials", "three_materials", "flat_background", "k_edge"]

WATER = "water"
"""The tissue whose attenuation needs no telling."""

_QUANTITIES = {"mg/mL": "concentration", "1": "volume_fraction", "[HU]": "attenuation"}


def decompose(
    volumes: Image | Sequence[Image],
    *,
    kvp: float | Sequence[float] | None = None,
    materials: Sequence[str],
    method: Method | None = None,
    slopes: GivenSlopes | None = None,
    slope_errors: Mapping[str, Any] | npt.ArrayLike | None = None,
    background: Background = None,
    tissue_hu: Mapping[str, Sequence[float]] | None = None,
    densities_g_ml: Mapping[str, float] | None = None,
    noise_sd: float | Sequence[float] | None = None,
    non_negative: bool | None = None,
    force: bool = False,
    edges_kev: Sequence[float] = (),
    filtration_mm_al: float | None = None,
    water_cm: float | None = None,
    tin_mm: float | Sequence[float] | None = None,
    model: Literal["spectrum", "A", "B"] = "spectrum",
    displacement: bool | None = None,
    mask: Mask = None,
    saturation_hu: float = SATURATION_HU,
    workers: int | None = None,
) -> dict[str, Estimate]:
    """Separate materials by their attenuation at several energies.

    Parameters
    ----------
    volumes : Volume or Estimate with an energy axis, or sequence with one for each energy
        Attenuation in HU, or its change (`imgtheranostics.ct.enhancement`), on one grid.
    kvp : float or sequence of float, optional
        Tube voltages in kV, where the files do not state them; one alone for the bins of a photon-counting
        detector. Where both are there they must agree, and the images are brought into the order of `kvp`:
        whatever is given for each energy is in this order.
    materials : sequence of str
        Elements, formulas, compounds or agents' records; each is a key of the result. For ``three_materials``
        also the names of `tissue_hu`, and ``"water"``.
    method : {"two_materials", "three_materials", "flat_background", "k_edge"}, optional
        By default ``flat_background`` for one material without a `background`; ``three_materials`` where
        tissues are among three materials; ``two_materials`` for two at two energies; else ``k_edge``.
    slopes : mapping of str to sequence of float, Slope or calibration, or array_like, optional
        HU per mg/mL of this scanner, by material or (n_energies, n_materials). Without them priors of each
        beam.
    slope_errors : mapping of str to sequence of float, or array_like, optional
        Standard errors of slopes that are numbers; without them 5 %, and a caution.
    background : float, sequence of float, Volume, sequence of Volume, or "flat", optional
        HU of what the materials are in, at each energy: 0, that of water and of changes, where nothing is
        given. ``"flat"`` solves for one that is equal at all energies, the virtual non-contrast image.
    tissue_hu : mapping of str to sequence of float, optional
        Of ``three_materials``: HU of tissues at each energy.
    densities_g_ml : mapping of str to float, optional
        Of ``three_materials``: densities of agents whose record does not state one.
    noise_sd : float or sequence of float, optional
        Noise of a voxel of each image in HU. Without it that of an Estimate; else it is estimated from the
        soft tissue of each image.
    non_negative : bool, optional
        Hold materials at zero where they would be negative: by default only for ``k_edge`` and
        ``three_materials``. Means of regions with little of a material are biased then: by 8 to 17 % at
        2 mg/mL in five bins with 10 HU of noise.
    force : bool
        Separate materials that are too much alike, with a caution.
    edges_kev : sequence of float
        Limits of energy bins in keV, for their prior slopes. Without them an axis in keV is taken for the
        middles of bins of which the last ends at the tube voltage, where that is possible, with a caution.
    filtration_mm_al, water_cm, tin_mm, model, displacement
        Of prior slopes, see `imgtheranostics.ct.prior_slope`; `tin_mm` for all images or for each. Tin that
        a file states is taken from there.
    mask : Volume, Regions or (i, j, k) array_like, optional
    saturation_hu : float
        Voxels of attenuation at or above it at any energy are NaN, with `Flag.SATURATED` and
        `Flag.OUTSIDE_RANGE`. Voxels of air, below -500 HU at every energy, are left out with
        `Flag.OUTSIDE_RANGE` where the background is that of tissue.
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    dict of str to Estimate
        ``concentration`` in mg/mL of each material (``volume_fraction`` of tissues), and
        ``virtual_non_contrast`` in HU where the background is solved for. The standard error holds the noise
        and what the errors of the slopes make of all materials in the voxel; the second is the map
        ``calibration_error``. `decisions` have the condition number, the standard deviations that it means,
        and the slopes.

    Raises
    ------
    IllConditioned
        If the materials are too much alike at these energies, see `imgtheranostics.ct.Separability`.
    UnitMismatch, MissingMetadata
        If values are not HU; if a tube voltage is not known, or is another one than that of `kvp` or a slope.
    GeometryMismatch
        If the grids differ.
    UnsupportedInput
        If a material is not known, or the axes are others.
    ValueError
        If options do not go together.
    """
    if isinstance(materials, str) or not materials or len(set(materials)) != len(materials):
        raise UnknownChoice(f"materials= must be a list of different names, not {materials!r}")
    names, edges = tuple(materials), tuple(float(edge) for edge in edges_kev)
    images = EnergyImages.of(volumes, kvp, bins=bool(edges))
    way = _method(method, names, len(images.images), background, tissue_hu or {})
    maps, levels = background_of(background, way, images)
    noise = EnergyNoise.of(images, noise_sd, maps)
    bounded = way in ("k_edge", "three_materials") if non_negative is None else non_negative
    beam = PriorBeam(filtration_mm_al, water_cm, tin_mm, model, displacement, edges)
    if way == "three_materials":
        problem, matrix = _filling(
            images, names, slopes, slope_errors, beam, tissue_hu or {}, densities_g_ml or {}, noise, bounded
        )
    else:
        if tissue_hu or densities_g_ml:
            raise UnknownChoice(f"tissue_hu= and densities_g_ml= do not apply to method={way!r}")
        matrix = slopes_for(images, names, slopes, slope_errors, beam)
        problem = slope_problem(
            matrix,
            flat=way == "flat_background" or isinstance(background, str),
            non_negative=bounded,
            noise_sd=noise.judged,
            energies=images.labels,
        )
    attenuation = images.first.quantity == "attenuation"
    air = air_of(images, way, background, [levels, *(tissue_hu or {}).values()])
    given = Images(
        tuple(flat(image) for image in images.values),
        _chosen(mask, images.first) & ~air,
        noise.deviations,
        noise.maps,
        tuple(flat(image) for image in maps),
        levels,
        saturation_hu if attenuation else np.inf,
    )
    shape = images.first.grid.shape
    fit = solved_fit(
        problem, matrix, given, lambda row: row.reshape(shape, order="F"), force=force, workers=workers
    )
    return _estimates(images, fit, noise, way, background, air)


def _method(
    method: str | None,
    names: Sequence[str],
    n_energies: int,
    background: Background,
    tissues: Mapping[str, Sequence[float]],
) -> str:
    """How these are separated, checked against what was given."""
    filling = len(names) == 3 and any(name in tissues or name.strip().lower() == WATER for name in names)
    if method is None and len(names) == 1 and background is None and n_energies > 1:
        return "flat_background"
    if method is None and filling:
        return "three_materials"
    square = len(names) == n_energies == 2
    if method is None:
        return "two_materials" if square and not isinstance(background, str) else "k_edge"
    checked(method, METHODS, "method")
    if method == "two_materials" and not square:
        raise UnknownChoice(
            f"method='two_materials' takes two materials at two energies, not {len(names)} at {n_energies}"
        )
    if method == "flat_background" and background not in (None, "flat"):
        raise UnknownChoice("method='flat_background' solves for the background; give none")
    if method == "three_materials" and not filling:
        raise UnknownChoice(
            "method='three_materials' takes three materials of which one is water or a tissue of tissue_hu="
        )
    return method


def _filling(
    images: EnergyImages,
    names: tuple[str, ...],
    slopes: GivenSlopes | None,
    slope_errors: Any,
    beam: PriorBeam,
    tissues: Mapping[str, Sequence[float]],
    densities: Mapping[str, float],
    noise: EnergyNoise,
    bounded: bool,
) -> tuple[MaterialProblem, SlopeMatrix]:
    """Three materials that fill the volume: tissues by their HU, agents by slope and density."""
    n = len(images.images)
    agents = [name for name in names if name not in tissues and name.strip().lower() != WATER]
    if slopes is None:
        beam = PriorBeam(beam.filtration_mm_al, beam.water_cm, beam.tin_mm, beam.model, False, beam.edges_kev)
    known = slopes_for(images, agents, slopes, slope_errors, beam) if agents else None
    pure: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    counted: dict[str, float] = {}
    for name in names:
        if known is None or name not in agents:
            pure[name] = [float(one) for one in tissues.get(name, [0.0] * n)]
            errors[name] = [0.0] * n
            if len(pure[name]) != n:
                raise UnknownChoice(f"tissue_hu= has {len(pure[name])} of {name} for {n} images")
            continue
        density = densities.get(name) or find_material(name).density_g_ml
        if density is None:
            raise MissingMetadata(
                "the volume that a material fills needs its density",
                where=name,
                needed="g/mL of the solid",
                next_step="give densities_g_ml=, or take the agent's record",
            )
        column, counted[name] = agents.index(name), density
        pure[name] = pure_attenuation(known.values[:, column], density).tolist()
        errors[name] = (1000.0 * density * known.errors[:, column]).tolist()
    matrix = SlopeMatrix.of(pure, errors)
    if known is not None:
        correlation = dict(zip(agents, known.correlation, strict=True))
        matrix = replace(matrix, correlation=np.array([correlation.get(name, 0.0) for name in names]))
    problem = filling_problem(
        matrix, counted, non_negative=bounded, noise_sd=noise.judged, energies=images.labels
    )
    return problem, matrix if known is None else replace(known, filling=matrix.hu_of_pure(counted))


def _chosen(mask: Mask, first: Volume) -> npt.NDArray[np.bool_]:
    if mask is None:
        return np.ones(first.grid.n_voxels, np.bool_)
    return np.ascontiguousarray(mask_array(mask, first).ravel(order="F"))


def _estimates(
    images: EnergyImages,
    fit: DecompositionFit,
    noise: EnergyNoise,
    way: str,
    background: Background,
    air: npt.NDArray[np.bool_],
) -> dict[str, Estimate]:
    """Each parameter as an Estimate with the record of the separation."""
    flags = _merged_flags(images, fit, air)
    quantities = {name: _QUANTITIES[unit] for name, unit in fit.units.items()}
    counted = FlagCounts.of(flags).cautions(quantities)
    assumed = assumed_background(images, way, background)
    cautions = merge_cautions(images.warnings, fit.warnings, noise.warnings, counted, assumed)
    separability = fit.separability
    number = float("nan") if separability is None else separability.condition_number
    step = make_step(
        "decompose",
        method=way,
        materials=list(fit.parameters),
        condition_number=number,
        energies=list(images.labels),
    )
    decisions = {
        "method": way,
        "energies": images.decision,
        "noise": noise.decision(),
        "background": background_told(background, way),
        **fit.decisions,
    }
    found: dict[str, Estimate] = {}
    for name, value in fit.parameters.items():
        calibration = fit.calibration_errors.get(name)
        error, relative = fit.standard_errors[name], 0.0
        base = images.first.derived(value, quantities[name], fit.units[name], step)
        plain = base.replace(warnings=())
        maps = {}
        if calibration is not None:
            relative = fit.shared_relative[name]
            error = add_in_quadrature(error, calibration)
            maps["calibration_error"] = plain.replace(data=calibration)
        if any(fit.rmse.strides):
            maps["rmse"] = plain.replace(data=fit.rmse, quantity="rmse", unit="[HU]")
        found[name] = Estimate(
            base.replace(warnings=cautions),
            plain.replace(data=error),
            plain.replace(data=flags, quantity="flags", unit="1"),
            relative,
            {**decisions, "material": name},
            maps,
        )
    return found


def _merged_flags(
    images: EnergyImages, fit: DecompositionFit, air: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint16]:
    """Flags of the fit, with the reasons of earlier steps where they left a voxel out, and of air."""
    flags = fit.flags
    if air.any():
        flags = flags | np.where(air.reshape(flags.shape, order="F"), np.uint16(Flag.OUTSIDE_RANGE.value), 0)
    for image in images.images:
        if isinstance(image, Estimate):
            lost = (flags & Flag.INVALID_INPUT.value) != 0
            flags = np.where(lost, flags | image.flags.data, flags)
    return np.asarray(flags, np.uint16)
