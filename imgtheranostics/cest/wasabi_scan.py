"""B0 and B1 from a WASABI scan beside the images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.saturation import (
    imaging_frequency_mhz,
    pulse_duration_s,
    saturation_offsets,
    stated_b1,
)
from imgtheranostics.cest.voxel_spectra import Array, VoxelMaps, VoxelSpectra
from imgtheranostics.cest.water_position import WaterPosition, scan_beside
from imgtheranostics.errors import MissingMetadata, merge_cautions
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.refusals import typed_refusals
from imgtheranostics.volume import Volume


def found_in_wasabi(
    scan: Volume, v: Volume, *, inside: npt.NDArray[np.bool_], workers: int | None
) -> WaterPosition:
    """Where water is, and the transmit field, from a WASABI scan.

    Parameters
    ----------
    scan : Volume
        Signals along its own offsets, with an unsaturated image; B1 and duration of its block pulse are
        those of its acquisition.
    v : Volume
        Gives the grid.
    inside : (i, j, k) ndarray of bool

    Raises
    ------
    MissingMetadata
        If offsets, unsaturated image, pulse or imaging frequency are not stated.
    GeometryMismatch
        If it lies on another grid.
    """
    from imgtheranostics.cest import zspectrum
    from imgtheranostics.cest.wasabi import wasabi

    scan, moved, cautions = scan_beside(scan, v, "the WASABI scan")
    offsets = saturation_offsets(scan)
    nominal, duration = _pulse(scan)
    frequency = imaging_frequency_mhz(scan, "WASABI needs")
    with typed_refusals():
        made = zspectrum.normalise(scan.data, offsets, mask=inside)
    usable = inside & np.isfinite(made.z).all(axis=-1)
    spectra = VoxelSpectra(np.asfortranarray(made.z, np.float32), usable, np.asarray(made.offset_ppm))

    def compute(z: Array, maps: VoxelMaps) -> Fit:
        return wasabi(
            z,
            spectra.offset_ppm,
            pulse_duration_s=duration,
            imaging_frequency_mhz=frequency,
            nominal_b1_ut=nominal,
            workers=workers,
        )

    fit = spectra.fitted(compute)
    decision = {
        "rule": "WASABI",
        "nominal_b1_ut": nominal,
        "pulse_duration_s": duration,
        "n_offsets": int(spectra.offset_ppm.size),
        "alignment": moved,
    }
    found = WaterPosition.of_fit(fit, decision, merge_cautions(scan.warnings, cautions, tuple(made.warnings)))
    found.flags[inside & ~usable] |= made.flags[inside & ~usable]
    return found


def _pulse(scan: Volume) -> tuple[float, float]:
    """B1 in uT and duration in s of the block pulse."""
    stated, duration = stated_b1(scan), pulse_duration_s(scan)
    nominal = next((stated[name] for name in ("b1_mean_ut", "b1_rms_ut") if name in stated), None)
    if nominal is None or duration is None:
        missing = [
            words
            for words, value in (
                ("B1 of the pulse (SaturationB1rms or SaturationB1mean)", nominal),
                ("duration of the pulse (SaturationPulseDuration)", duration),
            )
            if value is None
        ]
        raise MissingMetadata(
            "WASABI needs B1 and duration of its block pulse",
            where="the sidecar of the WASABI scan",
            found="no " + ", no ".join(missing),
            needed="B1 in uT and the duration in s",
            next_step="write them into the sidecar",
        )
    return nominal, duration
