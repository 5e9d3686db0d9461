"""Ultrasound sidecars."""

from __future__ import annotations

from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.io.meaning import ARBITRARY, Meaning, extra_axes, subject_of
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.sidecar import Sidecar


def interpret_us(sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """The meaning of an ultrasound image: dB when stated, else the scanner's own scale."""
    axes, cautions = extra_axes(header, sidecar)
    decibel = (sidecar.text("Units") or "").lower() == "db"
    acquisition = UltrasoundAcquisition(
        manufacturer=sidecar.text("Manufacturer"),
        model=sidecar.text("ManufacturersModelName"),
        frame_time_s=sidecar.positive("FrameTime"),
        mechanical_index=sidecar.number("MechanicalIndex"),
        transducer_frequency_mhz=sidecar.number("TransducerFrequency"),
        subject=subject_of(sidecar),
    )
    quantity, unit = ("echo_level", "dB") if decibel else ("signal", ARBITRARY)
    return Meaning(quantity, unit, 1.0, axes, acquisition, (), cautions)
