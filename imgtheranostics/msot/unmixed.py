"""Unmixed: maps of the components of an optoacoustic image, what they share, and what can be detected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, MissingMetadata, merge_cautions
from imgtheranostics.fit import shortfall
from imgtheranostics.mapping.detection import DETECTION_SDS, false_positive_rate
from imgtheranostics.mapping.refusals import UnknownChoice, checked
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.msot.component_matrix import ComponentMatrix
from imgtheranostics.msot.unmixing import UnmixingFit, unmix
from imgtheranostics.volume import Estimate, Volume, make_step

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]

FEWEST_BLANKS = 8
"""Fewer blank voxels say too little about the scatter."""


@dataclass(frozen=True, eq=False)
class Unmixed:
    """Components of an optoacoustic image.

    Attributes
    ----------
    estimates : mapping of str to Estimate
        ``chromophore_concentration`` in umol/L (``volume_fraction`` of tissues) from absorption in 1/cm;
        ``component_amplitude`` from arbitrary units, proportional to the same.
    residual : Volume
        Root mean square over the wavelengths, in the unit of the image.
    condition_number : float
        With columns of the length one.
    fit : UnmixingFit
        The same as arrays.
    signal : Volume
        What was unmixed.
    components : ComponentMatrix
        Signal per unit of each estimate, at the wavelengths of the image.
    """

    estimates: Mapping[str, Estimate]
    residual: Volume
    condition_number: float
    fit: UnmixingFit = field(repr=False)
    signal: Volume = field(repr=False)
    components: ComponentMatrix = field(repr=False)

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """Of all components."""
        return merge_cautions(*(estimate.value.warnings for estimate in self.estimates.values()))

    def estimate(self, name: str) -> Estimate:
        """The map of one component.

        Raises
        ------
        UnknownChoice
            If there is none of that name.
        """
        return self.estimates[checked(name, tuple(self.estimates), "component")]

    def covariance(self, a: str, b: str) -> FloatArray:
        """Covariance of two components in each voxel, in the product of their units; see `UnmixingFit`."""
        return self.fit.covariance(a, b)

    def limits(self, name: str) -> Volume:
        """Limit of detection of a component in each voxel, in the unit of its estimate.

        3.3 standard errors, or with errors from the residuals of a voxel as many as Student's t exceeds
        equally often: about 5 with 5 degrees of freedom and 32 with 2.
        """
        estimate = self.estimate(name)
        factors = np.array([self._factor(support) for support in range(len(self.fit.correlations))])
        limit = factors[self.fit.supports] * self.fit.standard_errors[name]
        step = make_step("detection_limit", component=name, sds=DETECTION_SDS)
        return estimate.standard_error.derived(limit, estimate.quantity, estimate.unit, step)

    def limit_of_detection(self, name: str, *, blank: Mask) -> float:
        """What a component must exceed to be detected in a voxel, from voxels that do not hold it.

        Mean and 3.3 standard deviations of the unbounded solution in the blank voxels, since amounts that
        are held at zero have too small a scatter; with few of them, as many standard deviations as Student's
        t exceeds equally often.

        Parameters
        ----------
        name : str
        blank : Volume, Regions or (i, j, k) array_like
            Voxels without the component, with the noise and the other components of the tissue of interest.

        Returns
        -------
        float
            In the unit of the estimate. All time points count.

        Raises
        ------
        MissingMetadata
            If fewer than eight blank voxels have a value.
        UnknownChoice
            If the component does not exist.
        """
        checked(name, tuple(self.estimates), "component")
        if blank is None:
            raise UnknownChoice("blank= must be given; limits() has the limit in each voxel by its noise")
        inside = mask_array(blank, self.signal)
        usable = np.isfinite(self.fit.parameters[name])[inside]
        samples = self.signal.data[inside][usable]
        if len(samples) < FEWEST_BLANKS:
            raise MissingMetadata(
                "too few blank voxels have a value",
                where="blank",
                found=str(len(samples)),
                needed=f"at least {FEWEST_BLANKS}",
                next_step="draw a larger region without the component",
            )
        known = self.components
        columns = dict(zip(known.names, known.values.T, strict=True))
        solved = unmix(
            samples,
            known.wavelength_nm,
            columns,
            method="wls",
            noise_sd=1.0 / self.fit.weights,
            force=True,
        )
        freely = solved.parameters[name].astype(np.float64)
        count = freely.size
        factor = _sds_of(count - 1) * math.sqrt(1.0 + 1.0 / count)
        return float(freely.mean() + factor * freely.std(ddof=1))

    def detected(self, name: str, *, blank: Mask = None) -> BoolArray:
        """Where a component exceeds its limit of detection.

        Parameters
        ----------
        name : str
        blank : Volume, Regions or (i, j, k) array_like, optional
            As for `limit_of_detection`; without it, the noise of each voxel decides as `limits` has it.

        Returns
        -------
        (i, j, k, ...) ndarray of bool
            False where there is no value, or no error of it.
        """
        value = self.estimate(name).value.data
        limit = self.limits(name).data if blank is None else self.limit_of_detection(name, blank=blank)
        return np.asarray(value > limit)

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return dict(self.fit.decisions)

    def _factor(self, support: int) -> float:
        freedom = self.fit.freedom + bin(support).count("1")
        if math.isinf(freedom):
            return DETECTION_SDS
        return math.nan if freedom < 1 else _sds_of(int(freedom)) * shortfall(int(freedom))


def _sds_of(freedom: int) -> float:
    """What Student's t exceeds as often as normal noise does 3.3 of its standard deviations."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1.0 - false_positive_rate()))
