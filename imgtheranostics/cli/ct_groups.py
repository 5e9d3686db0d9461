"""Options that the ``ct`` commands share, as groups: units, alignment, slopes, regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options
from imgtheranostics.cli.groups import InRegions, Output, refuse_given
from imgtheranostics.cli.map_input import is_number, loaded, number_list
from imgtheranostics.ct.choices import PRIORS, REGISTRATIONS, SETTINGS
from imgtheranostics.errors import NothingUsable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Estimate, Volume

_REGION = "region:"


@dataclass(frozen=True)
class CtScan(Output, InRegions):
    """What every command takes that measures CT in regions."""

    blank: Annotated[
        str | None,
        typer.Option(
            "--blank",
            metavar="REGION|FILE",
            help="Tissue without agent, whose scatter is the error of region means: one of --rois, or a "
            "mask. By default soft tissue of the scan before the agent, away from all regions.",
        ),
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read beside the scan."""
        mask = [Path(self.blank)] if self.blank is not None and Path(self.blank).is_file() else []
        return [*super().files, *mask]

    def blanks(self, regions: Regions, like: Volume) -> Any:
        """``--blank`` as the functions on regions take it: a region's name, a mask, or None.

        Raises
        ------
        typer.BadParameter
            If it is neither a region nor a file.
        """
        if self.blank is None:
            return None
        if self.rois and self.blank in list(regions):
            return self.blank
        if Path(self.blank).is_file():
            from imgtheranostics.io.regions import load_rois

            return load_rois(Path(self.blank), like=like, resample=self.resample_rois)
        known = ", ".join(regions) if self.rois else "none, give --rois"
        raise typer.BadParameter(
            f"there is neither a region {self.blank!r} nor such a file; regions: {known}",
            param_hint="--blank",
        )


@dataclass(frozen=True)
class Hounsfield:
    """How values become Hounsfield units, where the file does not say that they are."""

    units: Annotated[
        str | None,
        typer.Option(
            "--units", click_type=options.choice(("HU",)), help="States that values are HU, for NIfTI files."
        ),
    ] = None
    water: Annotated[
        str | None,
        typer.Option(
            "--water",
            metavar="GREY|region:NAME",
            help="Grey value of water in micro-CT, or where it is; with --air.",
        ),
    ] = None
    air: Annotated[
        str | None,
        typer.Option("--air", metavar="GREY|region:NAME", help="Grey value of air, or where it is."),
    ] = None
    rods: Annotated[
        Path | None,
        typer.Option("--rods", help="Calibration of grey values by rods, as ct calibrate writes it."),
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        return [self.rods] if self.rods is not None else []

    def check(self) -> None:
        """Refuse options that contradict or need each other.

        Raises
        ------
        typer.BadParameter
        """
        if (self.water is None) != (self.air is None):
            raise typer.BadParameter("--water and --air belong together", param_hint="--water")
        if self.rods is not None and self.water is not None:
            raise typer.BadParameter("give it or --water and --air, not both", param_hint="--rods")
        if self.units is not None and (self.rods is not None or self.water is not None):
            raise typer.BadParameter("values that are calibrated are not HU yet", param_hint="--units")

    def unused(self, why: str) -> None:
        """Refuse what a command would not use.

        Raises
        ------
        typer.BadParameter
            With `why`.
        """
        given = {"--units": self.units, "--water": self.water, "--air": self.air, "--rods": self.rods}
        refuse_given(given, why)

    def scan(self, path: Path, common: CtScan, series: str | None, allow: Sequence[str] = ()) -> Volume:
        """The scan at a path in HU, as far as the options say how."""
        return self.in_hu(loaded(path, series), common, allow)

    def in_hu(self, found: Volume, common: CtScan, allow: Sequence[str] = ()) -> Volume:
        """A scan in HU, as far as the options say how."""
        self.check()
        if self.rods is not None:
            from imgtheranostics.ct import load_rod_calibration

            kept = [name for name in allow if name in ("kvp", "filter", "kernel")]
            return load_rod_calibration(self.rods).apply(found, allow=kept)
        if self.water is not None and self.air is not None:
            from imgtheranostics.ct import to_hu

            return to_hu(
                found,
                water=_reference(self.water, "--water", found, common),
                air=_reference(self.air, "--air", found, common),
            )
        if self.units is not None:
            from imgtheranostics.ct import require_hu

            return require_hu(found, units=self.units)
        return found


def _reference(text: str, option: str, scan: Volume, common: CtScan) -> float | Regions:
    """A grey value, or the region that ``region:NAME`` names."""
    if is_number(text):
        return float(text)
    name = text.removeprefix(_REGION)
    if name == text or not common.rois:
        raise typer.BadParameter("must be a number, or region:NAME with --rois", param_hint=option)
    from imgtheranostics.cli.runs import regions_for

    regions = regions_for(scan, common.rois, resample=common.resample_rois)
    if name not in list(regions):
        raise typer.BadParameter(
            f"there is no region {name!r}; known: {', '.join(regions)}", param_hint=option
        )
    return regions.subset([name])


@dataclass(frozen=True)
class Comparison:
    """How one scan is held against another."""

    register: Annotated[
        str | None,
        typer.Option(
            "--register",
            click_type=options.choice(REGISTRATIONS, ("none",)),
            help="Align the later scan to the first; default rigid for ct retention, else none.",
        ),
    ] = None
    register_mask: Annotated[
        Path | None, typer.Option("--register-mask", help="Image whose zero voxels the alignment ignores.")
    ] = None
    allow_mismatch: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-mismatch",
            click_type=options.choice(SETTINGS),
            help="What may differ between the scans. May be given again.",
        ),
    ] = None
    noise_sd: Annotated[
        str | None,
        typer.Option(
            "--noise-sd",
            metavar="HU[,HU]",
            help="Noise of a voxel of each scan; by default estimated from soft tissue.",
        ),
    ] = None
    saturation_hu: Annotated[
        float | None,
        typer.Option("--saturation-hu", help="Top of the range of the images; default 3071."),
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        return [self.register_mask] if self.register_mask is not None else []

    @property
    def allowed(self) -> tuple[str, ...]:
        """What may differ."""
        return tuple(self.allow_mismatch or ())

    def keywords(self, default: str | None = None) -> dict[str, Any]:
        """As the functions on volumes take them; `default` is the alignment when none is given."""
        chosen = self.register if self.register is not None else default
        if self.register_mask is not None and chosen in (None, "none"):
            raise typer.BadParameter(
                "belongs to --register, which is not given", param_hint="--register-mask"
            )
        given = {
            "register": None if chosen == "none" else chosen,
            "register_mask": None if self.register_mask is None else loaded(self.register_mask),
            "allow_mismatch": self.allowed,
            "noise_sd": self.noise(),
        }
        return given | ({} if self.saturation_hu is None else {"saturation_hu": self.saturation_hu})

    def noise(self) -> float | tuple[float, float] | None:
        """``--noise-sd``: one number for both scans, or one for each."""
        given = number_list(self.noise_sd, "--noise-sd")
        if given is None:
            return None
        if len(given) > 2:
            raise typer.BadParameter("must be one number, or one for each scan", param_hint="--noise-sd")
        return given[0] if len(given) == 1 else (given[0], given[1])

    def unused(self, why: str) -> None:
        """Refuse what a command would not use.

        Raises
        ------
        typer.BadParameter
            With `why`.
        """
        given = {
            "--register": self.register,
            "--register-mask": self.register_mask,
            "--allow-mismatch": self.allow_mismatch or None,
            "--noise-sd": self.noise_sd,
            "--saturation-hu": self.saturation_hu,
        }
        refuse_given(given, why)


@dataclass(frozen=True)
class PriorOptions:
    """The beam of a slope that no calibration of the scanner stands behind."""

    prior: Annotated[
        str | None,
        typer.Option(
            "--prior",
            click_type=options.choice(PRIORS),
            help="Slope without a calibration: spectrum model (default), or table A or B.",
        ),
    ] = None
    filtration_mm_al: Annotated[
        float | None, typer.Option("--filtration-mm-al", min=0.0, help="Filter of the beam; default 7.")
    ] = None
    water_cm: Annotated[
        float | None,
        typer.Option("--water-cm", min=0.0, help="Width of the subject in cm of water; default 20."),
    ] = None
    displacement: Annotated[
        bool | None,
        typer.Option(
            "--displacement/--no-displacement",
            help="Take off the water that particles displace; default: where their density is known.",
            show_default=False,
        ),
    ] = None

    def prior_keywords(self) -> dict[str, Any]:
        """As the functions on volumes take them; only those that were given."""
        given = {
            "model": self.prior,
            "filtration_mm_al": self.filtration_mm_al,
            "water_cm": self.water_cm,
            "displacement": self.displacement,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class SlopeOptions(PriorOptions):
    """HU per mg/mL of one material."""

    material: Annotated[
        str | None,
        typer.Option(
            "--material", help="Element, formula, compound or agent's record, such as I, HfO2 or nbtxr3."
        ),
    ] = None
    kvp: Annotated[
        float | None, typer.Option("--kvp", min=1.0, help="Tube voltage, where the file does not state it.")
    ] = None
    tin_mm: Annotated[float | None, typer.Option("--tin-mm", min=0.0, help="Tin in the beam.")] = None
    density_g_ml: Annotated[
        float | None, typer.Option("--density-g-ml", min=0.0, help="Of the particles, for --displacement.")
    ] = None
    slope: Annotated[
        float | None, typer.Option("--slope", help="HU per mg/mL of this scanner, as measured.")
    ] = None
    slope_error: Annotated[
        float | None, typer.Option("--slope-error", min=0.0, help="Standard error of --slope.")
    ] = None
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Calibration by vials, as ct calibrate writes it.")
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        return [self.calibration] if self.calibration is not None else []

    def keywords(self) -> dict[str, Any]:
        """As the functions on volumes take them.

        Raises
        ------
        typer.BadParameter
            If a slope is given twice, or no material.
        """
        if self.calibration is not None and self.slope is not None:
            raise typer.BadParameter("give it or --slope, not both", param_hint="--calibration")
        slope: Any = self.slope
        material = self.material
        if self.calibration is not None:
            from imgtheranostics.ct import load_vial_calibration

            slope = load_vial_calibration(self.calibration)
            material = material or slope.slope.material
        if material is None:
            raise typer.BadParameter("name what was injected, such as I, Au or HfO2", param_hint="--material")
        given = {
            "material": material,
            "kvp": self.kvp,
            "slope": slope,
            "slope_error": self.slope_error,
            "tin_mm": self.tin_mm,
            "density_g_ml": self.density_g_ml,
        }
        return {name: value for name, value in given.items() if value is not None} | self.prior_keywords()


def mask_of(path: Path | None) -> Volume | None:
    """``--mask``."""
    return None if path is None else loaded(path)


def existing(path: Path, option: str) -> Path:
    """The path of an option, if there is something.

    Raises
    ------
    NothingUsable
        If there is not.
    """
    if not path.exists():
        raise NothingUsable("there is no such file or folder", where=f"{option} {path}")
    return path


def change_or_scan(path: Path, series: str | None) -> Volume | Estimate:
    """A change of attenuation that was saved, with all that belongs to it, or a scan."""
    from imgtheranostics.ct import load_enhancement

    return load_enhancement(path, series)
