"""The meaning of an image: our own keys, else those of its modality, else what the header says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.io.meaning import Meaning, extra_axes
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.own_sidecar import interpret_own, is_own
from imgtheranostics.io.sidecar import Sidecar
from imgtheranostics.volume import make_step


def interpret(sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """What the stored numbers mean."""
    if is_own(sidecar):
        return interpret_own(sidecar, header.shape)[0]
    axes, cautions = extra_axes(header, sidecar)
    if header.is_labels:
        return Meaning(quantity="labels", unit="1", axes=axes, cautions=cautions)
    return Meaning(axes=axes, cautions=cautions)


def rescale_by_values(data: npt.NDArray[Any], meaning: Meaning) -> tuple[npt.NDArray[Any], Meaning]:
    """Turn a transmit-field map in percent into a ratio: only its values tell which of the two it is."""
    if meaning.quantity != "relative_b1":
        return data, meaning
    positive = data[np.isfinite(data) & (data > 0)]
    if not positive.size or float(np.median(positive)) <= 10.0:
        return data, meaning
    caution = Caution("b1-in-percent", "the transmit-field map is in percent: divided by 100", "TB1map")
    step = make_step("convert_unit", found="%", to="1", factor=0.01)
    scaled = (data.astype(np.float64) * 0.01).astype(np.float32)
    return scaled, replace(meaning, history=(*meaning.history, step), cautions=(*meaning.cautions, caution))
