"""Energies of what a decay emits, in groups, and where electrons and photons leave their energy in water."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.nuclides import nuclide

FloatArray = npt.NDArray[np.float64]

PARTICLES = ("beta", "electron", "photon")


@dataclass(frozen=True, slots=True, eq=False)
class Emission:
    """Groups of particles of one kind: mean energy, and the energy that the group carries per decay."""

    energy_mev: FloatArray
    mev_per_decay: FloatArray

    @property
    def total_mev(self) -> float:
        """Energy of all groups per decay, MeV."""
        return float(self.mev_per_decay.sum())


@dataclass(frozen=True, slots=True, eq=False)
class ElectronKernels:
    """Share of an electron's energy within a distance of its start in water.

    Attributes
    ----------
    energy_mev : ndarray, shape (n,)
    radius_over_range : ndarray, shape (m,)
        Distance over the range of continuous slowing down.
    share_within : ndarray, shape (n, m)
    range_energy_mev, range_g_cm2 : ndarray, shape (k,)
        That range.
    """

    energy_mev: FloatArray
    radius_over_range: FloatArray
    share_within: FloatArray
    range_energy_mev: FloatArray
    range_g_cm2: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PhotonKernels:
    """Attenuation and energy absorption of water, and the build-up of absorbed energy around a point.

    Attributes
    ----------
    attenuation_energy_mev, attenuation_cm2_g, energy_absorption_cm2_g : ndarray, shape (k,)
    energy_mev : ndarray, shape (n,)
    build_up : ndarray, shape (n, degree)
        Coefficients of x, x^2 ... in B(x) = 1 + ..., x in mean free paths.
    deepest_mean_free_paths : float
        Up to where the polynomials hold.
    """

    attenuation_energy_mev: FloatArray
    attenuation_cm2_g: FloatArray
    energy_absorption_cm2_g: FloatArray
    energy_mev: FloatArray
    build_up: FloatArray
    deepest_mean_free_paths: float


@lru_cache(maxsize=1)
def _emissions() -> dict[str, Any]:
    text = (files("imgtheranostics.data") / "emissions.json").read_text(encoding="utf-8")
    return dict(json.loads(text)["nuclides"])


@lru_cache(maxsize=1)
def _kernels() -> dict[str, Any]:
    text = (files("imgtheranostics.data") / "dose_kernels.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def emission(name: str) -> Mapping[str, Emission]:
    """What a nuclide emits, by ``beta`` (of both signs), ``electron`` (conversion, Auger) and ``photon``.

    Raises
    ------
    UnsupportedInput
        If the nuclide is not known.
    """
    row = _emissions()[nuclide(name).name]
    return MappingProxyType(
        {kind: Emission(*(np.array(column, np.float64) for column in row[kind])) for kind in PARTICLES}
    )


@lru_cache(maxsize=1)
def electron_kernels() -> ElectronKernels:
    """The table of electrons."""
    table = _kernels()["electrons"]
    return ElectronKernels(**{name: np.array(value, np.float64) for name, value in table.items()})


@lru_cache(maxsize=1)
def photon_kernels() -> PhotonKernels:
    """The table of photons."""
    table = dict(_kernels()["photons"])
    deepest = float(table.pop("deepest_mean_free_paths"))
    arrays = {name: np.array(value, np.float64) for name, value in table.items()}
    return PhotonKernels(**arrays, deepest_mean_free_paths=deepest)
