"""Whether materials can be told apart by their attenuation at these energies: how well, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned

DoubleArray = npt.NDArray[np.float64]

REFERENCE_NOISE_HU = 10.0
"""Noise of each image at which separations are judged: about that of a clinical scanner."""

HIGHEST_CONDITION = 25.0
"""Condition number, of columns of the length one, above which no separation is made unless it is forced."""

WORST_SD = 2.3
"""mg/mL at `REFERENCE_NOISE_HU`: where the materials are alike and one is less certain, as above."""

ALIKE_CONDITION = 10.0
"""Condition number from which poor precision is due to the likeness of the materials."""

WARNING_SD = 1.3
"""mg/mL at `REFERENCE_NOISE_HU`: where all of materials that are alike are less certain, a caution."""

HIGHEST_FLAT_CONDITION = 100.0
"""The same as `HIGHEST_CONDITION` for one material over a background that is equal at all energies."""

UNDETERMINED = 1e6
"""Condition number at which two materials are one for every purpose; force does not help."""

Verdict = Literal["solve", "warn", "refuse", "impossible"]


@dataclass(frozen=True, eq=False)
class Separability:
    """How well materials can be told apart.

    Thresholds are this project's: none is published. They are on two numbers, since each alone fails.
    Bismuth and gold at 80 and 140 kVp with tin have a better condition number (18.2) than iodine and
    gadolinium at 80 and 140 kVp (19.1), and yet a standard deviation of 2.5 against 1.9 mg/mL. All are judged
    at the same noise in each image on average, `REFERENCE_NOISE_HU`: averaging makes noise smaller, but what
    errors of the slopes do to materials that are alike stays.

    Attributes
    ----------
    materials : tuple of str
    condition_number : float
        Of the matrix of slopes, HU per mg/mL; infinite with fewer energies than unknowns.
    scaled_condition_number : float
        Of the same with columns of the length one, so that a material which attenuates little is not taken
        for one that is like another; decisions go by this one.
    reference_sd : mapping of str to float
        Standard deviation of each material in its unit at `REFERENCE_NOISE_HU`.
    predicted_sd : mapping of str to float
        The same at the noise of these images; NaN where that is not known.
    pairs : mapping of str to float
        Condition number of each pair alone.
    verdict : {"solve", "warn", "refuse", "impossible"}
    """

    materials: tuple[str, ...]
    n_energies: int
    condition_number: float
    scaled_condition_number: float
    reference_sd: Mapping[str, float]
    predicted_sd: Mapping[str, float]
    pairs: Mapping[str, float]
    verdict: Verdict
    energies: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        design: npt.ArrayLike,
        materials: Sequence[str],
        *,
        noise_sd: npt.ArrayLike | None = None,
        flat: bool = False,
        energies: Sequence[str] = (),
        units: Mapping[str, str] | None = None,
    ) -> Separability:
        """Judge a matrix.

        Parameters
        ----------
        design : (n_energies, n_materials) array_like
            HU per unit of each material.
        materials : sequence of str
        noise_sd : (n_energies,) array_like, optional
            HU in each image.
        flat : bool
            Whether a background that is equal at all energies is unknown too.
        energies : sequence of str
            In words, for messages.
        units : mapping of str to str, optional
            Of materials that are not counted in mg/mL; their standard deviations decide nothing.
        """
        slopes = np.asarray(design, np.float64)
        names = tuple(materials)
        matrix = np.column_stack([slopes, np.ones(len(slopes))]) if flat else slopes
        plain, scaled = condition_number(matrix), condition_number(_unit_columns(matrix))
        reference = _deviations(matrix, _reference_variances(len(slopes), noise_sd))[: len(names)]
        given = np.full(len(names), np.nan)
        if noise_sd is not None:
            given = _deviations(matrix, np.square(np.asarray(noise_sd, np.float64)))[: len(names)]
        counted = [n for n, name in enumerate(names) if name not in (units or {})]
        verdict = _verdict(scaled, reference[counted], flat and len(names) == 1)
        return cls(
            names,
            len(slopes),
            plain,
            scaled,
            dict(zip(names, reference.tolist(), strict=True)),
            dict(zip(names, given.tolist(), strict=True)),
            {
                f"{names[one]} and {names[other]}": condition_number(slopes[:, [one, other]])
                for one, other in combinations(range(len(names)), 2)
            },
            verdict,
            tuple(energies),
            units or {},
        )

    def require(self, *, force: bool = False) -> tuple[Caution, ...]:
        """Cautions of a separation that is made.

        Raises
        ------
        IllConditioned
            If it is not: with fewer energies than unknowns, or materials that are the same, always; else
            unless `force`.
        """
        if self.verdict == "impossible" or (self.verdict == "refuse" and not force):
            raise self._refusal()
        if self.verdict == "solve":
            return ()
        text = f"{_listed(self.materials)} are hard to tell apart here: {self.figures()}"
        if len(self.materials) == 1:
            text = f"{self.materials[0]} is hard to tell from a flat background here: {self.figures()}"
        if self.verdict == "refuse":
            return (Caution("forced-separation", f"{text}; the separation was forced"),)
        return (Caution("weak-separation", text),)

    def figures(self) -> str:
        """Condition number and standard deviations in words."""
        spread = ", ".join(
            f"{name} {sd:.3g} {self.units.get(name, 'mg/mL')}" for name, sd in self.reference_sd.items()
        )
        text = f"condition number {_number(self.condition_number)}"
        if len(self.pairs) > 1:
            each = ", ".join(f"{pair} {_number(value)}" for pair, value in self.pairs.items())
            text += f" (of pairs: {each})"
        if self.verdict != "impossible":
            text += f", standard deviation {spread} at {REFERENCE_NOISE_HU:g} HU of noise in each image"
        return text

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {
            "condition_number": self.condition_number,
            "scaled_condition_number": self.scaled_condition_number,
            "condition_numbers_of_pairs": dict(self.pairs),
            "sd_at_reference_noise": dict(self.reference_sd),
            "reference_noise_hu": REFERENCE_NOISE_HU,
            "predicted_sd": {name: None if np.isnan(sd) else sd for name, sd in self.predicted_sd.items()},
            "verdict": self.verdict,
        }

    def _refusal(self) -> IllConditioned:
        what = f"{_listed(self.materials)} cannot be told apart by {self.n_energies} energies"
        if len(self.materials) == 1:
            what = f"{self.materials[0]} cannot be told from a flat background by {self.n_energies} energies"
        needed = (
            f"a condition number of at most {HIGHEST_CONDITION:g} with columns of the length one (here "
            f"{self.scaled_condition_number:.1f}), and from {ALIKE_CONDITION:g} on a standard deviation of "
            f"at most {WORST_SD:g} mg/mL"
        )
        forced = "; or take the numbers as they are with force=True (--force-ill-posed)"
        if self.verdict == "impossible":
            needed, forced = (
                "at least as many energies as unknowns, and energies and materials that differ",
                "",
            )
        elif len(self.materials) == 1:
            needed = (
                f"a condition number of at most {HIGHEST_FLAT_CONDITION:g} with columns of the length one"
            )
        return IllConditioned(
            what,
            where=", ".join(self.energies) or None,
            found=self.figures(),
            needed=needed,
            next_step="separate fewer materials, or measure photon-counting bins that end at the K-edges "
            f"(Gd 50.2, Hf 65.4, Au 80.7, Bi 90.5 keV){forced}",
        )


def condition_number(slopes: npt.ArrayLike) -> float:
    """Largest over smallest singular value of a matrix (n_energies, n_materials); 1 is best.

    Infinite where there are fewer energies than materials.

    Parameters
    ----------
    slopes : (n_energies, n_materials) array_like
        HU per mg/mL.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If `slopes` is no matrix of finite numbers.

    Examples
    --------
    >>> round(condition_number([[43.8, 26.7], [23.8, 24.7]]), 1)
    8.4
    """
    matrix = np.asarray(slopes, np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError("slopes must be a matrix (n_energies, n_materials) of finite numbers")
    if matrix.shape[0] < matrix.shape[1]:
        return float("inf")
    singular = np.linalg.svd(matrix, compute_uv=False)
    return float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf")


def _unit_columns(matrix: DoubleArray) -> DoubleArray:
    lengths = np.linalg.norm(matrix, axis=0)
    return np.asarray(matrix / np.where(lengths > 0, lengths, 1.0))


def _reference_variances(n: int, noise_sd: npt.ArrayLike | None) -> DoubleArray:
    """The noise of the images, scaled to that of reference in the mean of what the images weigh."""
    given = np.ones(n) if noise_sd is None else np.square(np.asarray(noise_sd, np.float64))
    if not (given > 0).all():
        given = np.ones(n)
    return np.asarray(REFERENCE_NOISE_HU**2 * given * np.mean(1.0 / given))


def _deviations(matrix: DoubleArray, variances: DoubleArray) -> DoubleArray:
    """Standard deviation of each unknown; infinite where it is not determined."""
    if not (variances > 0).all():
        return np.zeros(matrix.shape[1])
    if condition_number(_unit_columns(matrix)) > UNDETERMINED:
        return np.full(matrix.shape[1], np.inf)
    inverse = np.linalg.pinv(matrix / np.sqrt(variances)[:, np.newaxis])
    return np.asarray(np.linalg.norm(inverse, axis=1))


def _verdict(scaled: float, reference: DoubleArray, single_over_flat: bool) -> Verdict:
    if not scaled <= UNDETERMINED:
        return "impossible"
    worst, best = (float(reference.max()), float(reference.min())) if reference.size else (0.0, 0.0)
    alike = scaled > ALIKE_CONDITION
    if single_over_flat:
        refused = scaled > HIGHEST_FLAT_CONDITION
    else:
        refused = scaled > HIGHEST_CONDITION or (alike and worst > WORST_SD)
    if refused:
        return "refuse"
    return "warn" if worst > WORST_SD or (alike and best > WARNING_SD) else "solve"


def _number(condition: float) -> str:
    if np.isinf(condition):
        return "infinite"
    return f"{condition:.1f}" if condition < UNDETERMINED else f"above {UNDETERMINED:g}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
