"""``nuclear dose``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.calibration_options import Calibrated
from imgtheranostics.cli.groups import Output, grouped, refuse_given
from imgtheranostics.cli.map_input import loaded, volume_of
from imgtheranostics.cli.nuclear_dose_groups import Absorption, Effect, Given, Scanned, Stay
from imgtheranostics.cli.nuclear_words import DecayCorrection, StrictClock, parameters
from imgtheranostics.cli.scan_series import ScanSeries, series_of_scans

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.errors import Caution
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Estimate, Volume

FIGURES = ("dvh", "map", "regions", "uncertainty")
RT_DOSE = "dose.dcm"

Scans = Annotated[
    list[Path],
    typer.Argument(
        help="Scans of one subject on one grid: DICOM folders or files, NIfTI. Or one map of decays "
        "(time_integrated_activity, tiac_per_ml, tiac_per_g), or of dose, such as an RT Dose.",
        show_default=False,
    ),
]
DoseRate = Annotated[
    bool,
    typer.Option("--dose-rate", help="Dose rate while each scan was made, in Gy/s, instead of the dose."),
]


@grouped
def dose(
    paths: Scans,
    rois: options.RoiPaths = None,
    series: ScanSeries = None,
    dose_rate: DoseRate = False,
    decay_correction: DecayCorrection = None,
    strict_clock: StrictClock = False,
    resolution_mm: options.Resolution = None,
    resample_rois: options.ResampleRois = False,
    anatomy: options.Anatomy = None,
    subject: options.Subject = None,
    session: options.Session = None,
    *,
    given: Given,
    stay: Stay,
    absorption: Absorption,
    effect: Effect,
    scanned: Scanned,
    calibrated: Calibrated,
    output: Output,
) -> None:
    """Absorbed dose of an injection, or of the therapeutic twin of what was imaged, by voxel and region."""
    said = dict(locals())
    _check(dose_rate, given, stay, effect)
    runs.check_output(output.out, force=output.force)
    common = {
        "administration": scanned.administration(),
        "decay_correction": decay_correction,
        "sensitivity_cps_mbq": calibrated.calibration(),
        "strict_clock": strict_clock,
        "workers": output.workers,
    }
    table_options = {"resolution_mm": resolution_mm, "subject": subject, "session": session}
    how = {**given.keywords(), **stay.keywords()}
    measures, absorbing = effect.measures(), absorption.keywords(loaded)
    scans = _scans(paths, series, calibrated.energies())
    first = volume_of(scans[0])
    regions = runs.regions_for(first, rois, resample=resample_rois)
    if dose_rate:
        refuse_given(
            {"--model": stay.model, "--tail": stay.tail, "--threshold": stay.threshold},
            "does not apply to --dose-rate",
        )
        found = _rate(scans, regions, {**common, **absorbing}, {**table_options, "workers": output.workers})
    else:
        _refuse_in_vain(scans, given, stay, absorption)
        found = _dose(scans, regions, {**how, **common, **absorbing}, effect, {**measures, **table_options})
    estimates, table, cautions, decisions = found
    attachments = {}
    delivery = output.delivery
    if output.dicom and not dose_rate:
        attachments[RT_DOSE], more = _rt_dose(estimates[0], first, keep=output.keep_identifiers)
        delivery = replace(delivery, dicom=_is_dicom(first))
        cautions = (*cautions, *more)
    from imgtheranostics.report.run import Run

    run = Run(
        command="nuclear dose",
        estimates=estimates,
        table=table,
        regions=regions if rois else None,
        anatomy=loaded(anatomy) if anatomy is not None else None,
        parameters=parameters(said),
        inputs=[*paths, *(rois or []), *(file for file in (absorption.ct, anatomy) if file is not None)],
        decisions=decisions,
        figures=_figures(estimates[0], dose_rate),
        warnings=cautions,
        attachments=attachments,
    )
    runs.deliver(run, delivery)


def _figures(dose: Estimate, dose_rate: bool) -> tuple[str, ...]:
    """Without those of errors where nobody knows them, as of a dose from elsewhere."""
    import numpy as np

    shown = ("curves", *FIGURES) if dose_rate else FIGURES
    return shown if np.isfinite(dose.standard_error.data).any() else shown[:-1]


_Found = tuple[list["Estimate"], "pd.DataFrame", tuple["Caution", ...], dict[str, Any]]


def _check(dose_rate: bool, given: Given, stay: Stay, effect: Effect) -> None:
    """Refuse options that exclude each other."""
    effect.check()
    if dose_rate:
        for option, value in (
            ("--nuclide", given.nuclide),
            ("--given-activity", given.given_activity),
            ("--effective-half-life", stay.effective_half_life),
            ("--alpha-beta", effect.alpha_beta),
            ("--geud-a", effect.geud_a),
            ("--at-least-gy", effect.at_least_gy),
        ):
            if value:
                raise typer.BadParameter("does not apply to --dose-rate", param_hint=option)


def _scans(
    paths: Sequence[Path], series: Sequence[str] | None, window_kev: float | tuple[float, float] | None
) -> list[Any]:
    """Scans, or one map with its standard error."""
    from imgtheranostics.mapping.map_files import load_map
    from imgtheranostics.nuclear.dose_volume import DOSES
    from imgtheranostics.nuclear.scan_dosimetry import INTEGRATED

    chosen = series_of_scans(series, len(paths))
    found = [load_map(path, one, window_kev=window_kev) for path, one in zip(paths, chosen, strict=True)]
    return [one if one.quantity in (*INTEGRATED, *DOSES) else volume_of(one) for one in found]


def _dose(
    scans: list[Any], regions: Regions, how: dict[str, Any], effect: Effect, tabled: dict[str, Any]
) -> _Found:
    from imgtheranostics.nuclear.dose_statistics import bed_maps, dose_statistics
    from imgtheranostics.nuclear.dose_volume import DOSES
    from imgtheranostics.nuclear.region_biology import biology_of_regions
    from imgtheranostics.nuclear.scan_dosimetry import dose_as_given, dose_of_scans
    from imgtheranostics.volume import Estimate

    ratios = effect.alpha_beta_gy()
    if len(scans) == 1 and scans[0].quantity in DOSES:
        found = dose_as_given(scans[0])
    else:
        found = dose_of_scans(scans[0] if len(scans) == 1 else scans, **how)
    biology = None
    cautions: tuple[Caution, ...] = ()
    if ratios is not None:
        biology, cautions = biology_of_regions(
            found,
            scans,
            regions,
            alpha_beta_gy=ratios,
            repair_half_life_s=effect.repair_s(),
            dose_rate_half_life_s=effect.rate_half_life_s(),
            **{
                name: how[name]
                for name in (
                    "model",
                    "administration",
                    "decay_correction",
                    "sensitivity_cps_mbq",
                    "strict_clock",
                    "workers",
                )
            },
        )
    table = dose_statistics(found.dose, regions, biology=biology, workers=how["workers"], **tabled)
    effects = () if biology is None else bed_maps(found.dose, regions, biology)
    decisions = {**getattr(found.decays, "decisions", {}), **found.dose.decisions}
    if tabled["geud_a"] is not None:
        decisions["equivalent_uniform_dose"] = {"rule": "mean of D^a, to 1/a", "a": tabled["geud_a"]}
    if biology is not None:
        decisions["radiobiology"] = {
            name: {"alpha_beta_gy": one.alpha_beta_gy, "protraction_factor": one.g}
            for name, one in biology.items()
        }
    kept: list[Estimate] = []
    if isinstance(found.decays, Estimate) and found.decays is not found.dose:
        kept = [found.decays]
    return [found.dose, *effects, *kept], table, (*cautions, *table.attrs["warnings"]), decisions


def _refuse_in_vain(scans: list[Any], given: Given, stay: Stay, absorption: Absorption) -> None:
    """A dose that exists is not calculated again, decays are not counted again, one scan has no curve."""
    from imgtheranostics.nuclear.dose_volume import DOSES
    from imgtheranostics.nuclear.scan_dosimetry import INTEGRATED

    volumes = [volume_of(one) for one in scans]
    curve = {"--model": stay.model, "--tail": stay.tail, "--threshold": stay.threshold}
    if volumes[0].quantity in DOSES:
        calculated = {
            "--nuclide": given.nuclide,
            "--given-activity": given.given_activity,
            "--method": absorption.method,
            "--progeny": absorption.progeny,
            "--radius-mm": absorption.radius_mm,
            "--density-g-ml": absorption.density_g_ml,
            "--ct": absorption.ct,
            "--dose-factor-uncertainty": absorption.dose_factor_uncertainty,
            "--effective-half-life": stay.effective_half_life,
        }
        refuse_given({**calculated, **curve}, "does not apply to a map of dose")
    elif volumes[0].quantity in INTEGRATED:
        refuse_given(
            {"--effective-half-life": stay.effective_half_life, **curve}, "does not apply to a map of decays"
        )
    elif sum(v.shape[3] if v.axes else 1 for v in volumes) == 1:
        refuse_given(curve, "is for the curve of several scans, and there is one")


def _rate(scans: list[Any], regions: Regions, how: dict[str, Any], tabled: dict[str, Any]) -> _Found:
    from imgtheranostics.nuclear.scan_dosimetry import rate_of_scans
    from imgtheranostics.regions import roi_statistics

    found = rate_of_scans(scans, **how)
    return [found], roi_statistics(found, regions, **tabled), (), dict(found.decisions)


def _is_dicom(scan: Volume) -> bool:
    """Whether the scan was read from DICOM files."""
    files = scan.source.files
    return bool(files) and not any(file.name.endswith((".nii", ".nii.gz", ".json")) for file in files)


def _rt_dose(dose: Estimate, scan: Volume, *, keep: bool) -> tuple[bytes, tuple[Caution, ...]]:
    """The file, in the study of the scan where that is DICOM."""
    import tempfile

    import numpy as np

    from imgtheranostics.errors import Caution
    from imgtheranostics.io.dose_writing import save_dose

    is_dicom = _is_dicom(scan)
    unknown = int(np.count_nonzero(~(dose.value.data >= 0)))
    with tempfile.TemporaryDirectory() as folder:
        [path] = save_dose(
            dose,
            Path(folder) / RT_DOSE,
            like_series=scan if is_dicom else None,
            fill=True,
            keep_identifiers=keep,
        )
        content = path.read_bytes()
    cautions: list[Caution] = []
    if not is_dicom:
        text = (
            f"the scan is no DICOM series: {RT_DOSE} is a study of its own, and neither maps, regions nor "
            "measurements were written as DICOM"
        )
        cautions.append(Caution("no-dicom-series", text))
    if unknown:
        text = (
            f"{unknown} of {dose.value.data.size} voxels have no dose, or one below zero; "
            f"{RT_DOSE} holds 0 there"
        )
        cautions.append(Caution("rt-dose-filled", text))
    return content, tuple(cautions)
