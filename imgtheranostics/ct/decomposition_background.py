"""What materials on CT are in: tissue of known HU, images of it, or a level to be solved for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.energy_images import EnergyImages, flat, per_energy
from imgtheranostics.ct.problem_kinds import VIRTUAL_NON_CONTRAST
from imgtheranostics.errors import Caution
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.volume import Volume

Background = float | Sequence[float] | Volume | Sequence[Volume] | Literal["flat"] | None

AIR_HU = -500.0
"""Below it at every energy a voxel is air or lung, which no background of tissue or water stands for."""


def background_of(
    background: Background, way: str, images: EnergyImages
) -> tuple[tuple[Volume, ...], npt.NDArray[np.float64]]:
    """Images of the background at each energy, or its levels."""
    n = len(images.images)
    if background is not None and way == "three_materials":
        raise UnknownChoice("three materials that fill the volume have no background")
    if isinstance(background, str):
        if background != "flat":
            raise UnknownChoice(f"background= must be 'flat', numbers or images, not {background!r}")
        return (), np.zeros(n)
    if background is None:
        return (), np.zeros(n)
    if isinstance(background, Volume):
        return per_energy(background, images.first, n, "the background"), np.zeros(n)
    if np.ndim(background) == 0:  # type: ignore[arg-type]
        return (), np.full(n, float(background))  # type: ignore[arg-type]
    several: list[Any] = list(background)  # type: ignore[arg-type]
    if all(isinstance(one, Volume) for one in several):
        return per_energy(several, images.first, n, "the background"), np.zeros(n)
    if len(several) != n:
        raise UnknownChoice(f"background= has {len(several)} values for {n} images")
    levels = np.array([float(one) for one in several])
    if not np.isfinite(levels).all():
        raise UnknownChoice(f"background= must be finite, not {levels.tolist()}")
    return (), levels


def air_of(
    images: EnergyImages,
    way: str,
    background: Background,
    tissues_hu: Sequence[Sequence[float] | npt.NDArray[np.float64]],
) -> npt.NDArray[np.bool_]:
    """Voxels of air, where it would be counted as material: flat in memory order."""
    solved = isinstance(background, str) or way == "flat_background"
    known = any(min(levels) < AIR_HU for levels in tissues_hu)
    if images.first.quantity != "attenuation" or solved or _has_images(background) or known:
        return np.zeros(images.first.grid.n_voxels, np.bool_)
    return np.asarray(np.logical_and.reduce([flat(image) < AIR_HU for image in images.values]))


def assumed_background(images: EnergyImages, way: str, background: Background) -> tuple[Caution, ...]:
    """That scans of which nothing was subtracted hold tissue, which is counted as material."""
    solved = way in ("flat_background", "three_materials")
    if background is not None or solved or images.first.quantity != "attenuation":
        return ()
    text = (
        "nothing was subtracted: what the materials are in was taken for water of 0 HU, and tissue, which "
        "has more, is counted as material. Give its HU, the scans before the agent or 'flat' as background= "
        "(--background), or changes that ct.enhancement made"
    )
    return (Caution("assumed-background", text, "background"),)


def _has_images(background: Background) -> bool:
    """Whether the background is given as images."""
    if isinstance(background, Sequence) and not isinstance(background, str):
        return any(isinstance(one, Volume) for one in background)
    return isinstance(background, Volume)


def background_told(background: Background, way: str) -> str:
    """The background in words, for the record."""
    if way == "three_materials":
        return "none: the materials fill the volume"
    if way == "flat_background" or isinstance(background, str):
        return f"equal at all energies, solved for as {VIRTUAL_NON_CONTRAST}"
    if background is None:
        return "0 HU: water, or a change of attenuation"
    if _has_images(background):
        return "images, subtracted"
    given = [background] if np.ndim(background) == 0 else list(background)  # type: ignore[arg-type]
    return ", ".join(f"{float(one):g}" for one in given) + " HU, subtracted"  # type: ignore[arg-type]
