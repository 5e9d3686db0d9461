"""Calibration of pH from a scan of solutions: one region per vial, its pH in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Unpack, cast

import numpy as np

from imgtheranostics.cest import ph
from imgtheranostics.cest.methods import IOPAMIDOL_PPM
from imgtheranostics.cest.ph import RatioKind
from imgtheranostics.cest.ph_calibration import Calibration
from imgtheranostics.cest.ph_maps import scan_conditions
from imgtheranostics.cest.prepared_spectra import CorrectionOptions, Handling
from imgtheranostics.cest.spectrum_curves import region_spectra
from imgtheranostics.errors import MissingMetadata
from imgtheranostics.mapping.refusals import typed_refusals
from imgtheranostics.mapping.vial_table import read_known_values
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume


def calibrate_vials(
    v: Volume | Estimate,
    regions: Regions,
    known_ph: Mapping[str, float],
    *,
    kind: str = "mtr_asym",
    at_ppm: Sequence[float] = IOPAMIDOL_PPM,
    temperature_c: float | None = None,
    degree: int | None = None,
    **correction: Unpack[CorrectionOptions],
) -> Calibration:
    """Calibration of the ratio of two sites from vials of known pH in one scan.

    Parameters
    ----------
    v : Volume or Estimate
        Signals along ``saturation_offset``, or Z-spectra.
    regions : Regions
        One per vial; those without a known pH are not used.
    known_ph : mapping of str to float
        By region.
    kind : {"mtr_asym", "inverse", "norm_ref"}
        As `imgtheranostics.cest.ph.ratio`.
    at_ppm : (float, float)
        Both sites.
    temperature_c : float, optional
        Of the vials; a scan at another temperature is refused later.
    degree : int, optional
        Of the polynomial; chosen by what predicts left-out vials best.
    **correction
        As `imgtheranostics.cest.correction_maps.correct`.

    Returns
    -------
    Calibration
        With power, duration, field and temperature of the scan; `Calibration.save` writes it.

    Raises
    ------
    MissingMetadata
        If no region has a known pH, or one that is named is not there.
    IllConditioned
        If the ratio goes one way nowhere.
    UnsupportedInput
        If a vial gives no ratio.
    """
    absent = [name for name in known_ph if name not in list(regions)]
    if absent or not known_ph:
        raise MissingMetadata(
            "the vials of the table are not those of the regions",
            found=", ".join(absent) or "an empty table",
            needed="one of " + ", ".join(regions),
        )
    spectra = Handling.of(correction).prepare(v)
    measured = region_spectra(
        spectra, regions.subset(list(known_ph)), np.where(spectra.chosen.inside, 1.0, np.nan)
    )
    vials = [one for one in measured if one.place.label in known_ph]
    with typed_refusals():
        if not vials:
            raise ValueError("no vial has a spectrum")
        offsets = reduce(np.intersect1d, [one.offset_ppm for one in vials])
        z = np.stack([one.z[np.isin(one.offset_ppm, offsets)] for one in vials])
        return ph.calibrate_from_spectra(
            z,
            offsets,
            [known_ph[one.place.label] for one in vials],
            kind=cast(RatioKind, kind),
            at_ppm=at_ppm,
            degree=degree,
            conditions=scan_conditions((spectra,), kind, tuple(at_ppm), temperature_c),
        )


def read_known_ph(path: str | Path) -> dict[str, float]:
    """The pH of each vial from a table with the columns ``region`` and ``ph``, by comma or tabulator.

    Raises
    ------
    NothingUsable
        If there is no such file.
    CorruptInput
        If a column is missing, a region comes twice or a pH is no number, with its line.
    """
    return read_known_values(path, ("ph",)).values
