"""``nuclear pairs``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.administration_options import build
from imgtheranostics.cli.calibration_options import Calibrated
from imgtheranostics.cli.groups import Output, grouped, refuse_given
from imgtheranostics.cli.nuclear_curve_groups import MODELS, TABLES, CurveModel, SampleRegions, Samples
from imgtheranostics.cli.nuclear_dose_groups import Scanned
from imgtheranostics.cli.nuclear_words import DecayCorrection, DensityGMl, StrictClock, parameters
from imgtheranostics.cli.scan_series import ScanSeries, scans_at

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.nuclear.administration import Administration
    from imgtheranostics.report.run import Run
    from imgtheranostics.volume import Estimate

FIGURES = ("pair", "map", "uncertainty")
_NUMBERS = {"1": "mono", "2": "bi", "3": "tri"}


@dataclass(frozen=True)
class Twin:
    """What is said of the nuclide that is given, and what is made of it."""

    other_element: Annotated[
        bool,
        typer.Option(
            "--other-element",
            help="Confirm a nuclide of another element than the imaged one. 68Ga for 177Lu and 111In for "
            "90Y need it not; their caveat is printed.",
        ),
    ] = False
    mass: Annotated[
        list[str] | None,
        typer.Option(
            "--mass",
            metavar="REGION=GRAMS",
            help="Mass of a region, such as tumour=0.27; default: its volume times the density. Again for "
            "others.",
        ),
    ] = None
    progeny: Annotated[
        str,
        typer.Option(
            "--progeny",
            click_type=options.choice(("none", "in_place")),
            help="Daughters of the nuclide that is given: left out, or decaying where it did.",
        ),
    ] = "none"
    most_extrapolated: Annotated[
        float | None,
        typer.Option(
            "--most-extrapolated",
            metavar="PERCENT",
            min=0.0,
            max=100.0,
            help="Refuse where more of the decays are after the last image; default: say it.",
        ),
    ] = None
    dose_maps: Annotated[
        str | None,
        typer.Option(
            "--dose-maps",
            click_type=options.choice(("kernel", "local")),
            help="Also decays and dose voxel by voxel: energy spread by voxel kernels, or absorbed in place.",
        ),
    ] = None

    def masses_g(self) -> dict[str, float] | None:
        """By region.

        Raises
        ------
        typer.BadParameter
            If one is not like ``tumour=0.27``.
        """
        found = {}
        for text in self.mass or ():
            name, equals, number = text.rpartition("=")
            try:
                found[name] = float(number)
            except ValueError:
                equals = ""
            if not equals or not name or not 0 < found[name] < float("inf"):
                raise typer.BadParameter(f"{text!r} is not like tumour=0.27", param_hint="--mass")
        return found or None

    def share(self) -> float | None:
        """Largest share after the last image.

        Raises
        ------
        typer.BadParameter
            If it is zero.
        """
        if self.most_extrapolated == 0:
            raise typer.BadParameter("must be above 0", param_hint="--most-extrapolated")
        return None if self.most_extrapolated is None else self.most_extrapolated / 100.0


@dataclass(frozen=True)
class PairModel(CurveModel):
    """The carrier's curve."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "--terms",
            click_type=options.choice(MODELS[1:], tuple(_NUMBERS)),
            help="Of the carrier's curve: exponentials (auto: by AICc; 1, 2, 3 are mono, bi, tri), or areas "
            "by trapezoids. Default: auto.",
        ),
    ] = None

    def chosen(self) -> str:
        """The model, once it is certain that every option matters."""
        named = _NUMBERS.get(self.model or "auto", self.model)
        return replace(self, model=named).checked(table=True)


@dataclass(frozen=True)
class Imaged(Scanned):
    """What was injected for the scans, where the files do not say it."""

    imaged_nuclide: Annotated[
        str | None,
        typer.Option(
            "--imaged",
            "--imaged-nuclide",
            help="Nuclide that was imaged, such as Y-86, where scans do not say it; of a table always.",
        ),
    ] = None

    def administration(self) -> Administration | None:
        """As the options describe it, or None when the file's own shall be used."""
        given = asdict(self)
        return build(nuclide=given.pop("imaged_nuclide"), **given)


@grouped
def pairs(
    paths: Samples,
    given: Annotated[
        str, typer.Option("--given", help="Nuclide that will be given, such as Y-90 after images of 86Y.")
    ],
    rois: SampleRegions = None,
    series: ScanSeries = None,
    quantity: Annotated[
        str | None,
        typer.Option(
            "--quantity",
            click_type=options.choice(("id_per_g", "id_per_ml")),
            help="Of the curves of scans; default: id_per_g.",
        ),
    ] = None,
    decay_corrected: Annotated[
        bool | None,
        typer.Option("--decay-corrected/--as-measured", help="What a table holds, where it does not say it."),
    ] = None,
    density_g_ml: DensityGMl = 1.0,
    decay_correction: DecayCorrection = None,
    strict_clock: StrictClock = False,
    resolution_mm: options.Resolution = None,
    resample_rois: options.ResampleRois = False,
    *,
    twin: Twin,
    fitted: PairModel,
    imaged: Imaged,
    calibrated: Calibrated,
    output: Output,
) -> None:
    """What a therapeutic nuclide would do where its diagnostic twin was imaged.

    Curves of one nuclide, decay corrected, are those of the carrier; with the decay of the other one they
    give its time-integrated activity and dose per activity, with what was extrapolated. That both move alike
    is an assumption, and it is printed.
    """
    said = dict(locals())
    of_table = len(paths) == 1 and paths[0].suffix.lower() in TABLES
    model = fitted.chosen()
    keywords: dict[str, Any] = {
        "given": given,
        "imaged": imaged.imaged_nuclide,
        "masses_g": twin.masses_g(),
        "density_g_ml": density_g_ml,
        "progeny": twin.progeny,
        "allow_other_element": twin.other_element,
        "most_extrapolated": twin.share(),
        **fitted.given(),
        "model": model,
    }
    runs.check_output(output.out, force=output.force)
    made = _from_table(said, keywords) if of_table else _from_scans(said, keywords)
    runs.deliver(_run(said, model, made), output.delivery)


@dataclass(frozen=True, eq=False)
class _Made:
    """Table of the pair, maps, and what they were made of."""

    table: pd.DataFrame
    inputs: list[Path]
    estimates: tuple[Estimate, ...] = ()
    regions: Any = None

    @property
    def decisions(self) -> dict[str, Any]:
        """Those of maps, and of the table, which has the scans that both share."""
        found: dict[str, Any] = {}
        for one in reversed(self.estimates):
            found |= one.decisions
        return {**found, **self.table.attrs["decisions"]}


def _from_table(said: dict[str, Any], keywords: dict[str, Any]) -> _Made:
    from imgtheranostics.nuclear.activity_tables import read_activity_table
    from imgtheranostics.nuclear.pair_tables import pair_table

    imaged, calibrated, twin = said["imaged"], said["calibrated"], said["twin"]
    scans_only = {
        f"--{name.replace('_', '-')}": value
        for name, value in asdict(imaged).items()
        if name != "imaged_nuclide"
    }
    scans_only |= {
        "--rois": said["rois"], "--series": said["series"], "--quantity": said["quantity"],
        "--resolution-mm": said["resolution_mm"],
        "--decay-correction": said["decay_correction"], "--dose-maps": twin.dose_maps,
        "--strict-clock": said["strict_clock"] or None, "--resample-rois": said["resample_rois"] or None,
        "--sensitivity-cps-mbq": calibrated.sensitivity_cps_mbq, "--window": calibrated.window,
    }  # fmt: skip
    refuse_given(scans_only, "is for scans, not for a table of samples")
    if imaged.imaged_nuclide is None:
        raise typer.BadParameter("a table does not say what was imaged", param_hint="--imaged")
    (path,) = said["paths"]
    table = read_activity_table(
        path, decay_corrected=said["decay_corrected"], nuclide_name=imaged.imaged_nuclide
    )
    return _Made(pair_table(table, **keywords), [path])


def _from_scans(said: dict[str, Any], keywords: dict[str, Any]) -> _Made:
    from imgtheranostics.nuclear.pair_tables import pair_table

    rois, twin = said["rois"], said["twin"]
    if not rois:
        raise typer.BadParameter("missing: curves are those of regions", param_hint="--rois")
    refuse_given({"--decay-corrected": said["decay_corrected"]}, "is for a table; scans say it")
    window = said["calibrated"].energies()
    volumes = scans_at(said["paths"], said["series"], window)
    per_scan = len(rois) == len(volumes) > 1
    regions = [
        runs.regions_for(volume, [rois[n]] if per_scan else rois, resample=said["resample_rois"])
        for n, volume in enumerate(volumes)
    ]
    common = {
        "administration": said["imaged"].administration(),
        "decay_correction": said["decay_correction"],
        "sensitivity_cps_mbq": said["calibrated"].calibration(),
        "strict_clock": said["strict_clock"],
        "workers": said["output"].workers,
    }
    scanning = {"quantity": said["quantity"], "resolution_mm": said["resolution_mm"], "peak": None}
    table = pair_table(volumes, regions, **keywords, **common, **scanning)
    files = [*(file for volume in volumes for file in volume.source.files), *rois]
    if twin.dose_maps is None:
        return _Made(table, files, regions=regions[0])
    found = _maps(said, keywords, volumes, common)
    return _Made(_with_maps(table, found[0], regions[0]), files, found, regions[0])


def _maps(
    said: dict[str, Any], keywords: dict[str, Any], volumes: list[Any], common: dict[str, Any]
) -> tuple[Estimate, ...]:
    from imgtheranostics.nuclear.pair_maps import transfer_maps

    words: dict[str, Any] = {
        name: keywords[name] for name in ("tail", "beginning", "uptake") if name in keywords
    }
    same = ("given", "imaged", "model", "progeny", "allow_other_element", "most_extrapolated")
    found = transfer_maps(
        volumes,
        method=said["twin"].dose_maps,
        density=said["density_g_ml"],
        curve=words,
        **{name: keywords[name] for name in same},
        **common,
    )
    return found.dose, found.decays  # type: ignore[return-value]


def _with_maps(table: pd.DataFrame, dose: Estimate, regions: Any) -> pd.DataFrame:
    """The table, with the mean dose of the map in each region below it."""
    import pandas as pd

    from imgtheranostics.regions import roi_statistics

    rows = roi_statistics(dose, regions)
    attrs = dict(table.attrs)
    attrs["details"] = [*attrs["details"], *rows.attrs.get("details", [])]
    bare = [pd.DataFrame(one) for one in (table, rows)]
    for one in bare:
        one.attrs = {}
    whole: pd.DataFrame = pd.concat([one.dropna(axis=1, how="all") for one in bare], ignore_index=True)
    whole = whole.reindex(columns=list(table.columns))
    for name in ("session", "flags", "warnings", "axis", "subject"):
        whole[name] = whole[name].fillna("")
    whole.attrs = attrs
    return whole


def _run(said: dict[str, Any], model: str, made: _Made) -> Run:
    from imgtheranostics.report.run import Run

    table, details = made.table, made.table.attrs["details"]
    decisions, warnings = made.decisions, table.attrs["warnings"]
    curves = table.attrs["curves"]
    for name in ("lower", "upper"):
        if any(name in detail for detail in details):
            table[name] = [float(detail.get(name, float("nan"))) for detail in details]
    table.attrs = {"details": details}
    record = {**parameters(said), "model": model, "imaged": decisions["pair"]["imaged"]}
    return Run(
        command="nuclear pairs",
        estimates=made.estimates,
        table=table,
        regions=made.regions,
        parameters={**record, "given": decisions["pair"]["given"]},
        inputs=made.inputs,
        decisions=decisions,
        warnings=warnings,
        curves=curves,
        figures=FIGURES,
        seed=said["fitted"].seed,
    )
