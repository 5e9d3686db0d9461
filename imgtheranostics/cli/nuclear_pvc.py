"""``nuclear pvc``."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.administration_options import Administered, parse_amount
from imgtheranostics.cli.calibration_options import Calibrated
from imgtheranostics.cli.groups import InRegions, Output, grouped, refuse_given
from imgtheranostics.cli.map_input import is_number, loaded, mapped, volume_of
from imgtheranostics.cli.nuclear_words import DecayCorrection, DensityGMl, StrictClock, parameters

if TYPE_CHECKING:
    from imgtheranostics.nuclear.calibration import Calibration
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Estimate, Volume

FIGURES = ("corrected", "recovery-regions", "map")

_METHODS = ("gtm", "rbv", "iterative_yang", "richardson_lucy", "van_cittert", "sphere")
_QUANTITIES = (
    "id_per_g", "id_per_ml", "suv_bw", "suv_lbm_janmahasatian", "suv_lbm_james120", "suv_lbm_james128",
    "suv_bsa", "suv_ibw",
)  # fmt: skip
_LENGTH = re.compile(r"\s*([-+0-9.eE]+)\s*([A-Za-zµμ]*)\s*")


@dataclass(frozen=True)
class Resolution:
    """The resolution of the image."""

    fwhm: Annotated[
        str | None,
        typer.Option(
            "--fwhm",
            metavar="MM[,MM,MM]",
            help="Full width at half maximum with its unit: 1.6mm, or 1.56,1.62,2.12mm along the voxel axes.",
        ),
    ] = None
    fwhm_uncertainty: Annotated[
        float | None,
        typer.Option(
            "--fwhm-uncertainty",
            min=0.0,
            max=0.99,
            help="Relative standard uncertainty of --fwhm (default 0: taken as known).",
        ),
    ] = None
    estimate_psf: Annotated[
        str | None,
        typer.Option(
            "--estimate-psf",
            metavar="REGION=MM",
            help="Estimate the width from a region that is a sphere of that inner diameter, such as "
            "sphere10=10mm, in uniform surroundings.",
        ),
    ] = None

    def check(self) -> None:
        """Refuse none, both, or options in vain."""
        if (self.fwhm is None) == (self.estimate_psf is None):
            raise typer.BadParameter("give it or --estimate-psf", param_hint="--fwhm")
        if self.estimate_psf is not None:
            refuse_given({"--fwhm-uncertainty": self.fwhm_uncertainty}, "the estimate has its own")
        self.given_mm()
        self.sphere()

    def given_mm(self) -> tuple[float, ...] | None:
        """The width along each voxel axis, or one for all."""
        return None if self.fwhm is None else lengths_mm(self.fwhm, "--fwhm")

    def sphere(self) -> tuple[str, float] | None:
        """Name and diameter of the sphere."""
        if self.estimate_psf is None:
            return None
        [(name, diameter)] = diameters([self.estimate_psf], "--estimate-psf").items()
        return name, diameter


@dataclass(frozen=True)
class Way:
    """How to correct."""

    method: Annotated[
        str,
        typer.Option(
            "--method",
            click_type=options.choice(_METHODS),
            help="Means of regions: gtm (transfer matrix), sphere (closed form). Images by regions: rbv, "
            "iterative_yang. Images by the width alone, in which the regions are measured: richardson_lucy, "
            "van_cittert.",
        ),
    ] = "gtm"
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Of the iterative methods (default 10).")
    ] = None
    step: Annotated[
        float | None, typer.Option("--step", help="Of van_cittert, above 0 and below 2 (default 1.5).")
    ] = None
    no_background: Annotated[
        bool,
        typer.Option(
            "--no-background", help="Nothing is between the regions. Otherwise that is a region of its own."
        ),
    ] = False
    noise_fwhm: Annotated[
        str | None,
        typer.Option(
            "--noise-fwhm",
            help="Extent of the noise's correlation for gtm, such as 2mm, or 0mm for independent voxels; "
            "default: the resolution.",
        ),
    ] = None
    surroundings: Annotated[
        str | None,
        typer.Option(
            "--surroundings",
            metavar="REGION|NUMBER",
            help="For spheres, needed: the region that shows the mean around them, or that mean, 0 for "
            "nothing.",
        ),
    ] = None
    diameter: Annotated[
        list[str] | None,
        typer.Option(
            "--diameter",
            metavar="REGION=MM",
            help="Inner diameter of a sphere, such as sphere10=10mm; default: from the region's volume. Or "
            "given again.",
        ),
    ] = None
    diameter_uncertainty: Annotated[
        float | None,
        typer.Option(
            "--diameter-uncertainty",
            min=0.0,
            max=0.99,
            help="Relative standard uncertainty of the diameters (default 0).",
        ),
    ] = None

    def keywords(self, regions: Regions) -> dict[str, Any]:
        """As `imgtheranostics.nuclear.correct_partial_volume` takes them."""
        noise = None if self.noise_fwhm is None else lengths_mm(self.noise_fwhm, "--noise-fwhm", least=0.0)
        around: str | float | None = self.surroundings
        if around is not None and around not in list(regions) and is_number(str(around)):
            around = float(around)
        given: dict[str, Any] = {
            "iterations": self.iterations,
            "step": self.step,
            "background": False if self.no_background else None,
            "noise_fwhm_mm": None if noise is None else noise[0] if len(noise) == 1 else noise,
            "surroundings": around,
            "diameters_mm": diameters(self.diameter, "--diameter") if self.diameter else None,
            "diameter_relative_uncertainty": self.diameter_uncertainty,
        }
        self._refuse_in_vain(given)
        return {name: value for name, value in given.items() if value is not None}

    def _refuse_in_vain(self, given: dict[str, Any]) -> None:
        words = {
            "iterations": ("--iterations", ("iterative_yang", "richardson_lucy", "van_cittert")),
            "step": ("--step", ("van_cittert",)),
            "background": ("--no-background", ("gtm", "rbv", "iterative_yang")),
            "noise_fwhm_mm": ("--noise-fwhm", ("gtm",)),
            "surroundings": ("--surroundings", ("sphere",)),
            "diameters_mm": ("--diameter", ("sphere",)),
            "diameter_relative_uncertainty": ("--diameter-uncertainty", ("sphere",)),
        }
        for name, (option, methods) in words.items():
            if given[name] is not None and self.method not in methods:
                raise typer.BadParameter(f"does not apply to --method {self.method}", param_hint=option)
        if self.method == "sphere" and self.surroundings is None:
            raise typer.BadParameter(
                "--method sphere needs it: the mean around the spheres, 0 for nothing, or its region",
                param_hint="--surroundings",
            )


@grouped
def pvc(
    path: options.InputPath,
    quantity: Annotated[
        str | None,
        typer.Option(
            "--quantity",
            click_type=options.choice(_QUANTITIES),
            help="Convert the scan first; default: the image as it is.",
        ),
    ] = None,
    density_g_ml: DensityGMl = 1.0,
    decay_correction: DecayCorrection = None,
    strict_clock: StrictClock = False,
    *,
    resolution: Resolution,
    way: Way,
    administered: Administered,
    calibrated: Calibrated,
    regions_of: InRegions,
    output: Output,
) -> None:
    """Region means or images corrected for partial volume: what the resolution took from small regions."""
    from imgtheranostics.nuclear.recovery_tables import correct_partial_volume
    from imgtheranostics.report.run import Run

    said = dict(locals())
    resolution.check()
    if not regions_of.rois:
        raise typer.BadParameter("needs the regions to correct", param_hint="--rois")
    runs.check_output(output.out, force=output.force)
    administration, calibration = administered.administration(), calibrated.calibration()
    if quantity is None:
        injected = {f"--{name.replace('_', '-')}": value for name, value in asdict(administered).items()}
        vain = {**injected, "--decay-correction": decay_correction}
        refuse_given(vain, "is for a scan that is converted: give --quantity too")
    scan = mapped(path, regions_of.series, window_kev=calibrated.energies())
    regions = runs.regions_for(volume_of(scan), regions_of.rois, resample=regions_of.resample_rois)
    keywords = way.keywords(regions)
    image = _image(
        scan, quantity, calibration, (administration, density_g_ml, decay_correction, strict_clock)
    )
    width, uncertainty, measured = _width(image, regions, resolution)
    found = correct_partial_volume(
        image,
        regions,
        psf_fwhm_mm=width,
        method=way.method,
        fwhm_relative_uncertainty=uncertainty,
        subject=regions_of.subject,
        session=regions_of.session,
        **keywords,
    )
    estimates = [] if found.map is None else [_with_before(found.map, image)]
    before = getattr(image, "decisions", {})
    run = Run(
        command="nuclear pvc",
        estimates=estimates,
        table=found.table,
        regions=regions,
        anatomy=loaded(regions_of.anatomy) if regions_of.anatomy is not None else None,
        parameters=parameters(said),
        inputs=[path, *regions_of.files],
        decisions={**before, **found.decisions, **measured},
        figures=FIGURES,
        warnings=found.warnings,
    )
    runs.deliver(run, output.delivery)


def _image(
    scan: Volume | Estimate,
    quantity: str | None,
    calibration: Calibration | None,
    how: tuple[Any, float, str | None, bool],
) -> Volume | Estimate:
    """The image, converted where a quantity is asked for."""
    if quantity is None:
        if calibration is None:
            return scan
        from imgtheranostics.nuclear.calibration import calibrate

        return calibrate(volume_of(scan), calibration)
    from imgtheranostics.nuclear.calibration import calibrate
    from imgtheranostics.nuclear.quantities import Request

    administration, density, decay_correction, strict_clock = how
    request = Request(administration, density, decay_correction, strict_clock=strict_clock)
    return request.estimate(calibrate(volume_of(scan), calibration), quantity)


def _width(
    image: Volume | Estimate, regions: Regions, resolution: Resolution
) -> tuple[Any, float, dict[str, Any]]:
    """Width, its relative uncertainty, and how it was found."""
    given = resolution.given_mm()
    if given is not None:
        width: Any = given[0] if len(given) == 1 else given
        return width, resolution.fwhm_uncertainty or 0.0, {}
    from imgtheranostics.nuclear.sphere_resolution import psf_of_sphere

    name, diameter = resolution.sphere() or ("", 0.0)
    found = psf_of_sphere(image, regions, name, diameter)
    decision = {
        "rule": "estimated from a sphere",
        "region": name,
        "diameter_mm": diameter,
        "fwhm_mm": found.fwhm_mm,
        "standard_error_mm": found.standard_error_mm,
        "residual_over_contrast": found.relative_residual,
        "voxels": found.n_voxels,
    }
    return found.fwhm_mm, found.standard_error_mm / found.fwhm_mm, {"point_spread": decision}


def _with_before(corrected: Estimate, image: Volume | Estimate) -> Estimate:
    """The corrected map with the image before beside it."""
    before = volume_of(image).replace(warnings=())
    return replace(corrected, maps={**corrected.maps, "uncorrected": before})


def lengths_mm(text: str, option: str, *, least: float | None = None) -> tuple[float, ...]:
    """One length or three with their unit, which the last may state for all, in mm.

    >>> lengths_mm("1.6mm", "--fwhm"), lengths_mm("1.5,1.6,2.1mm", "--fwhm")
    ((1.6,), (1.5, 1.6, 2.1))
    """
    parts = [_LENGTH.fullmatch(part) for part in text.split(",")]
    last = parts[-1]
    if last is None or len(parts) not in (1, 3) or not all(parts):
        raise typer.BadParameter(
            f"{text!r} must be one length or three with their unit, such as 1.6mm", param_hint=option
        )
    found = []
    for part in parts:
        number, unit = (part[1], part[2] or last[2]) if part is not None else ("", "")
        value = parse_amount(f"{number}{unit}", option, "mm", "1.6mm")
        if value is None or not (value > 0 or value == least):
            raise typer.BadParameter("must be positive", param_hint=option)
        found.append(value)
    return tuple(found)


def diameters(texts: list[str], option: str) -> dict[str, float]:
    """``REGION=LENGTH``, each region once, in mm.

    >>> diameters(["sphere10=10mm", "sphere13=1.3cm"], "--diameter")
    {'sphere10': 10.0, 'sphere13': 13.0}
    """
    found: dict[str, float] = {}
    for text in texts:
        name, equals, length = text.rpartition("=")
        name = name.strip()
        if not equals or not name or name in found:
            raise typer.BadParameter("must be REGION=LENGTH, such as sphere10=10mm", param_hint=option)
        found[name] = lengths_mm(length, option)[0]
    return found
