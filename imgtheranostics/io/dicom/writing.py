"""Writing a Volume as DICOM: which object holds it follows from its quantity and its acquisition record."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from imgtheranostics.acquisition import NuclearAcquisition
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.io.dicom.header_modules import Labels
from imgtheranostics.volume import Volume


def write_dicom(
    volume: Volume,
    folder: Path | str,
    *,
    labels: Labels | None = None,
    slopes: Literal["per_slice", "uniform"] = "per_slice",
    enhanced: bool = False,
    keep_dates: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write a Volume as the DICOM object of its modality.

    ============================================ ==========================================================
    activity, SUV, counts, count rate            PET, or NM where a gamma camera acquired them
    attenuation                                  CT
    signal of an MR record                       MR, or Enhanced MR
    optoacoustic signal, optical absorption      photoacoustic, one file per wavelength
    grey levels of an ultrasound record          ultrasound multi-frame
    ============================================ ==========================================================

    Parameters
    ----------
    volume : Volume
    folder : path
        New or empty, unless `force`.
    labels : Labels, optional
        By default the subject's pseudonym and nothing else. Unless they mark a phantom, free text of the
        record (model, name of the tracer, ...) is left out.
    slopes : {"per_slice", "uniform"}
        One rescale slope per slice, which uses all 16 bits in each, or one for the series, which readers
        with one slope per series need.
    enhanced : bool
        Write MR as one multi-frame file.
    keep_dates : bool
        Write the dates of the record. By default all of them are moved by the same whole number of days,
        so that the series falls on 2000-01-01; times of day and intervals stay.
    force : bool
        Replace files of an earlier result.

    Returns
    -------
    list of Path
        The files, sample by sample and slice by slice.

    Raises
    ------
    UnsupportedInput
        If no DICOM object that is written here can hold the quantity, the axes, the values or the grid.
    MissingMetadata
        If the object must state something that the record does not say.
    GeometryMismatch
        If the record does not fit the image.
    OutputError
        If the folder is not empty or cannot be written.
    """
    kind = object_kind(volume)
    if enhanced and kind != "MR":
        raise UnsupportedInput(
            "only MR is written as an enhanced object", found=f"modality {kind}", needed="an MR signal"
        )
    if kind == "PT":
        from imgtheranostics.io.dicom.pet_writing import write_pet

        return write_pet(volume, folder, labels=labels, slopes=slopes, keep_dates=keep_dates, force=force)
    if kind == "NM":
        from imgtheranostics.io.dicom.nm_writing import write_nm

        return write_nm(volume, folder, labels=labels, keep_dates=keep_dates, force=force)
    if kind == "CT":
        from imgtheranostics.io.dicom.ct_writing import write_ct

        return write_ct(volume, folder, labels=labels, slopes=slopes, keep_dates=keep_dates, force=force)
    if kind == "MR":
        return _write_mr(volume, folder, labels, slopes, enhanced, keep_dates, force)
    if kind == "PA":
        from imgtheranostics.io.dicom.photoacoustic_writing import write_photoacoustic

        return write_photoacoustic(volume, folder, labels=labels, force=force)
    from imgtheranostics.io.dicom.ultrasound_writing import write_ultrasound

    return write_ultrasound(volume, folder, labels=labels, force=force)


def object_kind(volume: Volume) -> str:
    """The modality of the DICOM object that holds the Volume: PT, NM, CT, MR, PA or US.

    Raises
    ------
    UnsupportedInput
        If there is none.
    """
    from imgtheranostics.io.dicom.pet_writing import PET_QUANTITIES

    modality = getattr(volume.acquisition, "modality", "")
    if isinstance(volume.acquisition, NuclearAcquisition):
        return "NM"
    if volume.quantity in PET_QUANTITIES:
        return "PT"
    if volume.quantity == "attenuation" or (volume.quantity == "concentration" and modality == "CT"):
        return "CT"
    if volume.quantity in ("optoacoustic_signal", "optical_absorption"):
        return "PA"
    if volume.quantity == "signal" and modality in ("MR", "US"):
        return str(modality)
    raise UnsupportedInput(
        f"a DICOM image cannot hold {volume.quantity}" + (f" of modality {modality}" if modality else ""),
        found=f"{volume.quantity} [{volume.unit}]",
        needed=f"{', '.join(PET_QUANTITIES)}, attenuation, optoacoustic_signal, signal of MR or US",
        next_step="save it as NIfTI: give a name that ends in .nii.gz",
    )


def _write_mr(
    volume: Volume,
    folder: Path | str,
    labels: Labels | None,
    slopes: Literal["per_slice", "uniform"],
    enhanced: bool,
    keep_dates: bool,
    force: bool,
) -> list[Path]:
    if enhanced:
        from imgtheranostics.io.dicom.enhanced_mr_writing import write_enhanced_mr

        return write_enhanced_mr(
            volume, folder, labels=labels, slopes=slopes, keep_dates=keep_dates, force=force
        )
    from imgtheranostics.io.dicom.mr_writing import write_mr

    return write_mr(volume, folder, labels=labels, slopes=slopes, keep_dates=keep_dates, force=force)
