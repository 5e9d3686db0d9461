"""Whether a label lies between the samples of a list of offsets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.b0_result import LEAST_OFFSETS
from imgtheranostics.cest.saturation import stated_b1
from imgtheranostics.cest.z_spline import loss_to_sampling
from imgtheranostics.errors import Caution
from imgtheranostics.mapping.mr_signal import mr_record
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]

MOST_LOST = 0.05
"""Part of a contrast."""

_MEASURES = ("b1_rms_ut", "b1_mean_ut", "b1_cwpe_ut")
"""Of B1, those during the pulses first."""


def least_width_ppm(v: Volume) -> float | None:
    """Full width at half of its depth of the narrowest label, one that exchanges slowly.

    The label's own rotation by B1 broadens it to ``2 w1 / (gamma B0) = 2 B1 / B0``, exchange further to
    ``2 sqrt(k^2 + w1^2) / (gamma B0)`` (the labelling efficiency of cest.md, F13). None where B1 or the field
    is not stated.
    """
    stated, field = stated_b1(v), mr_record(v).field_strength_t
    b1 = next((stated[name] for name in _MEASURES if name in stated), None)
    return 2.0 * b1 / field if b1 and field else None


def sampling_cautions(v: Volume, offset_ppm: FloatArray, at_ppm: FloatArray) -> tuple[Caution, ...]:
    """What a narrow label may lose because the offsets straddle its peak.

    Parameters
    ----------
    v : Volume
        The scan, which states B1 and the field.
    offset_ppm : (n,) ndarray
        Offsets of the spectra.
    at_ppm : (m,) ndarray
        Of the labels.
    """
    width = least_width_ppm(v)
    if width is None or offset_ppm.size < LEAST_OFFSETS:
        return ()
    losses = loss_to_sampling(offset_ppm, at_ppm, width_ppm=width)
    worst = losses.max(initial=0.0, where=np.isfinite(losses))
    if worst <= MOST_LOST:
        return ()
    at = ", ".join(f"{place:g}" for place, loss in zip(at_ppm, losses, strict=True) if loss > MOST_LOST)
    return (
        Caution(
            "label-between-offsets",
            f"offsets about {at} ppm are far apart: a label that exchanges slowly is {width:.2g} ppm wide "
            f"at this B1 and loses up to {100.0 * worst:.0f} % of its contrast between two of them; spacings "
            "of a quarter of the width lose 1 %",
            "SaturationOffsets",
        ),
    )
