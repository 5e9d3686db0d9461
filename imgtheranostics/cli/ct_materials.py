"""``ct materials``: materials told apart by their attenuation at several energies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.ct_groups import CtScan, Hounsfield, PriorOptions, mask_of
from imgtheranostics.cli.ct_runs import deliver, table_options
from imgtheranostics.cli.groups import grouped
from imgtheranostics.cli.map_input import by_name, is_number, number_list
from imgtheranostics.ct.choices import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgtheranostics.volume import Estimate, Volume

    Image = Volume | Estimate

Paths = Annotated[
    list[Path],
    typer.Argument(
        help="A folder with the series of all tube voltages, one path for each, or one image with an energy "
        "axis; scans in HU, or changes that ct enhancement wrote.",
        show_default=False,
    ),
]
Materials = Annotated[
    str,
    typer.Option(
        "--materials",
        metavar="NAME,NAME",
        help="Elements, formulas, compounds or agents' records, such as I,HfO2. One alone: agent and virtual "
        "non-contrast image.",
        show_default=False,
    ),
]
Method = Annotated[
    str | None,
    typer.Option("--method", click_type=options.choice(METHODS), help="By default what the materials need."),
]
ForceIllPosed = Annotated[
    bool,
    typer.Option("--force-ill-posed", help="Separate materials that are too much alike, with a warning."),
]
NonNegative = Annotated[
    bool | None,
    typer.Option(
        "--non-negative/--signed",
        help="Hold materials at zero where noise makes them negative, or not.",
        show_default=False,
    ),
]
NoiseSd = Annotated[
    str | None,
    typer.Option("--noise-sd", metavar="HU[,HU]", help="Noise of a voxel of each image; else estimated."),
]
MaskPath = Annotated[Path | None, typer.Option("--mask", help="Image whose zero voxels are left out.")]
SaturationHu = Annotated[
    float | None, typer.Option("--saturation-hu", help="Top of the range of the images; default 3071.")
]


@dataclass(frozen=True)
class Surroundings:
    """What the materials are in."""

    background: Annotated[
        list[str] | None,
        typer.Option(
            "--background",
            metavar="HU[,HU]|FILE|flat",
            help="What the materials are in: HU at each energy, the scan before at each energy (given "
            "again), or flat: equal at all energies, solved for. Default 0, which is water, or a change.",
        ),
    ] = None
    tissue_hu: Annotated[
        list[str] | None,
        typer.Option(
            "--tissue-hu",
            metavar="NAME=HU,HU",
            help="A tissue among three materials that fill the volume, at each energy.",
        ),
    ] = None
    density_g_ml: Annotated[
        list[str] | None,
        typer.Option("--density-g-ml", metavar="NAME=G_ML", help="Of an agent that fills the volume."),
    ] = None

    @property
    def images(self) -> list[Path]:
        """Files that were read."""
        return [] if self._words else [Path(text) for text in self.background or ()]

    @property
    def _words(self) -> bool:
        """Whether the background is numbers or a word."""
        given = self.background or []
        return len(given) <= 1 and all(
            text == "flat" or all(is_number(part) for part in text.split(",")) for text in given
        )

    def keywords(self, hounsfield: Hounsfield, common: CtScan) -> dict[str, Any]:
        """As `imgtheranostics.ct.decompose` takes them."""
        found: dict[str, Any] = {}
        if self.background:
            if not self._words:
                images = [hounsfield.scan(Path(text), common, None) for text in self.background]
                found["background"] = images[0] if len(images) == 1 else images
            elif self.background[0] == "flat":
                found["background"] = "flat"
            else:
                levels = number_list(self.background[0], "--background")
                found["background"] = levels[0] if levels and len(levels) == 1 else levels
        tissues = by_name(self.tissue_hu, "--tissue-hu")
        densities = by_name(self.density_g_ml, "--density-g-ml")
        if any(len(values) != 1 for values in densities.values()):
            raise typer.BadParameter("must be NAME=G_ML", param_hint="--density-g-ml")
        if tissues:
            found["tissue_hu"] = tissues
        if densities:
            found["densities_g_ml"] = {name: values[0] for name, values in densities.items()}
        return found


@dataclass(frozen=True)
class EnergySlopes(PriorOptions):
    """HU per mg/mL of each material at each energy."""

    kvp: Annotated[
        str | None,
        typer.Option("--kvp", metavar="KV[,KV]", help="Tube voltages, where files do not state them."),
    ] = None
    tin_mm: Annotated[
        str | None, typer.Option("--tin-mm", metavar="MM[,MM]", help="Tin in the beam of each image.")
    ] = None
    edges_kev: Annotated[
        str | None,
        typer.Option("--edges-kev", metavar="KEV,KEV,...", help="Limits of the bins of photon counting."),
    ] = None
    slope: Annotated[
        list[str] | None,
        typer.Option(
            "--slopes",
            metavar="NAME=N,N",
            help="HU per mg/mL of a material at each energy, as measured. Once for each.",
        ),
    ] = None
    slope_error: Annotated[
        list[str] | None,
        typer.Option("--slope-errors", metavar="NAME=N,N", help="Standard errors of --slopes."),
    ] = None
    calibration: Annotated[
        list[Path] | None,
        typer.Option("--calibration", help="Calibration by vials; one for each material and energy."),
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        return list(self.calibration or ())

    def keywords(self, images: Image | Sequence[Image], materials: Sequence[str]) -> dict[str, Any]:
        """As `imgtheranostics.ct.decompose` takes them."""
        if self.calibration and self.slope:
            raise typer.BadParameter("give it or --slopes, not both", param_hint="--calibration")
        found: dict[str, Any] = {}
        for name, text, option in (("kvp", self.kvp, "--kvp"), ("tin_mm", self.tin_mm, "--tin-mm")):
            values = number_list(text, option)
            if values is not None:
                found[name] = values[0] if len(values) == 1 else values
        edges = number_list(self.edges_kev, "--edges-kev")
        if edges is not None:
            found["edges_kev"] = edges
        if self.slope:
            found["slopes"] = by_name(self.slope, "--slopes")
        if self.slope_error:
            found["slope_errors"] = by_name(self.slope_error, "--slope-errors")
        if self.calibration:
            found["slopes"] = self._calibrated(images, materials, found.get("kvp"))
        return found | self.prior_keywords()

    def _calibrated(
        self, images: Image | Sequence[Image], materials: Sequence[str], kvp: Any
    ) -> dict[str, list[Any]]:
        from imgtheranostics.ct import load_vial_calibration
        from imgtheranostics.ct.energy_files import arranged_calibrations
        from imgtheranostics.ct.energy_images import EnergyImages

        known = [load_vial_calibration(path) for path in self.calibration or ()]
        return dict(arranged_calibrations(known, materials, EnergyImages.of(images, kvp).kvp))


@grouped
def materials(
    paths: Paths,
    materials: Materials,
    method: Method = None,
    force_ill_posed: ForceIllPosed = False,
    non_negative: NonNegative = None,
    noise_sd: NoiseSd = None,
    mask: MaskPath = None,
    saturation_hu: SaturationHu = None,
    *,
    surroundings: Surroundings,
    slopes: EnergySlopes,
    hounsfield: Hounsfield,
    common: CtScan,
) -> None:
    """Concentration of each of several materials in mg/mL, or agent and virtual non-contrast image."""
    from imgtheranostics import ct
    from imgtheranostics.ct.energy_files import load_energies

    said = locals()
    runs.check_output(common.out, force=common.force)
    names = [name.strip() for name in materials.split(",") if name.strip()]
    images = _in_hu(load_energies(paths, common.series), hounsfield, common)
    noise = number_list(noise_sd, "--noise-sd")
    further: dict[str, Any] = {} if saturation_hu is None else {"saturation_hu": saturation_hu}
    found = ct.decompose(
        images,
        materials=names,
        method=method,  # type: ignore[arg-type]
        force=force_ill_posed,
        non_negative=non_negative,
        noise_sd=noise[0] if noise is not None and len(noise) == 1 else noise,
        mask=mask_of(mask),
        workers=common.workers,
        **slopes.keywords(images, names),
        **surroundings.keywords(hounsfield, common),
        **further,
    )
    maps = ct.MaterialMaps.of(found)
    first = maps.estimates[0]
    regions = runs.regions_for(first.value, common.rois, resample=common.resample_rois)
    table = maps.table(regions, **table_options(common, maps.estimates, regions))
    files = [*slopes.files, *surroundings.images, *hounsfield.files]
    deliver(
        "ct materials", maps.estimates, table, regions, common, said, inputs=list(paths), files=files,
        figures=("map", "regions", "fit"),
    )  # fmt: skip


def _in_hu(images: Image | list[Image], hounsfield: Hounsfield, common: CtScan) -> Image | list[Image]:
    """Scans in HU, as far as the options say how; changes are HU already."""
    if isinstance(images, list):
        return [_one_in_hu(image, hounsfield, common) for image in images]
    return _one_in_hu(images, hounsfield, common)


def _one_in_hu(image: Image, hounsfield: Hounsfield, common: CtScan) -> Image:
    from imgtheranostics.volume import Estimate

    if isinstance(image, Estimate):
        hounsfield.unused("belongs to scans; PATH is a change of attenuation already")
        return image
    return hounsfield.in_hu(image, common)
