"""Options that ``msot unmix`` and ``msot oxygenation`` share, as groups: the scan, components, light."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import msot_words, options
from imgtheranostics.cli.groups import Common, refuse_given
from imgtheranostics.cli.map_input import is_number, loaded, number_list
from imgtheranostics.cli.msot_words import (
    component_words,
    components_at,
    shares,
    spectrum_files,
    wavelength_list,
)

if TYPE_CHECKING:
    from imgtheranostics.msot.corrected_light import CorrectedLight
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Volume

ALL = "all"
"""Stands for every region together."""

METHODS = ("nnls", "ls", "wls")
LIGHT = ("none", "slab", "cylinder", "diffusion")
ILLUMINATIONS = ("around", "surface", "right", "left", "anterior", "posterior", "superior", "inferior")


def mask_of(text: str | None, option: str, like: Volume, common: Common, regions: Regions | None) -> Any:
    """Names of regions, or a file with a mask, as a mask; None where nothing was given.

    Raises
    ------
    typer.BadParameter
        If it is neither.
    """
    if text is None:
        return None
    names = list(regions or ())
    wanted = [part.strip() for part in text.split(",")]
    if regions is not None and all(part in names for part in wanted):
        return regions.subset(wanted)
    if regions is not None and text == ALL:
        return regions
    if Path(text).exists():
        from imgtheranostics.io.regions import load_rois

        return load_rois(Path(text), like=like, resample=common.resample_rois)
    unknown = ", ".join(repr(part) for part in wanted if part not in names)
    known = ", ".join(names) if names else "none, give --rois"
    raise typer.BadParameter(
        f"there is neither a region {unknown} nor such a file; regions: {known}", param_hint=option
    )


@dataclass(frozen=True)
class MsotScan(Common):
    """What a command takes that measures one optoacoustic image in regions."""

    wavelengths: Annotated[
        str | None,
        typer.Option(
            "--wavelengths",
            metavar="NM,NM|FILE",
            help="Wavelengths in nm of a file that does not state them, in the order of its images: a list, "
            "FIRST:LAST:STEP, or a file with one on each line.",
        ),
    ] = None
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="NM,NM", help="Wavelengths to use; by default all of the image."),
    ] = None

    def image(self, path: Path) -> Volume:
        """The image, with the wavelengths that were asked for."""
        from imgtheranostics.io.loading import load
        from imgtheranostics.msot.wavelength_choice import of_wavelengths

        stated = wavelength_list(self.wavelengths, "--wavelengths")
        found = load(path, series=self.series, wavelength_nm=stated)
        chosen = wavelength_list(self.only, "--only")
        return found if chosen is None else of_wavelengths(found, chosen)

    @property
    def files(self) -> list[Path]:
        """Files that were read beside the scan."""
        listed = Path(self.wavelengths) if self.wavelengths is not None else None
        return [*super().files, *([listed] if listed is not None and listed.is_file() else [])]


@dataclass(frozen=True)
class Absorbers:
    """What is unmixed, and how."""

    components: Annotated[
        list[str] | None,
        typer.Option(
            "--components",
            metavar="NAME,NAME",
            help="What absorbs: HbO2, Hb, water, lipid, melanin, ICG, IR780, 'gold nanorod 4' (aspect "
            "ratio), agent:NAME, FILE.csv[:NAME]; as NAME=WHAT under another name, with "
            "@shift_nm=15 or @aspect_ratio_sd=0.4 behind. Default HbO2,Hb.",
        ),
    ] = None
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            click_type=options.choice(METHODS),
            help="nnls holds amounts at or above zero; ls and wls do not, so that means of regions are not "
            "biased. Default nnls, for oxygenation ls.",
        ),
    ] = None
    noise_sd: Annotated[
        str | None,
        typer.Option(
            "--noise-sd",
            metavar="SD[,SD]|FILE",
            help="Noise of a voxel: one number, one for each wavelength from short to long, or a map. By "
            "default from what is left of each voxel's spectrum.",
        ),
    ] = None
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask", metavar="REGION,REGION|all|FILE", help="Voxels to unmix; others have no value."
        ),
    ] = None
    force_ill_posed: Annotated[
        bool, typer.Option("--force-ill-posed", help="Go on with components that are too much alike.")
    ] = False

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        named = [text for text in (self.noise_sd, self.mask) if text is not None]
        return [*(Path(text) for text in named if Path(text).is_file()), *spectrum_files(self.words())]

    def words(self) -> list[str]:
        """What ``--components`` names.

        Raises
        ------
        typer.BadParameter
            If it was given and names nothing.
        """
        found = component_words(self.components, () if self.components else ("HbO2", "Hb"))
        if not found:
            raise typer.BadParameter("names no component", param_hint="--components")
        return found

    def spectra(self, image: Volume) -> dict[str, Any]:
        """Components at the wavelengths of an image.

        An image without any is refused where it is unmixed, which says what to give.
        """
        axis = image.axes[-1] if image.axes else None
        known = axis is not None and axis.name == "wavelength" and axis.unit == "nm"
        return components_at(self.words(), axis.values) if known and axis is not None else {"HbO2": "HbO2"}

    def noise(self) -> Any:
        """``--noise-sd`` as `imgtheranostics.msot.unmix` takes it."""
        if self.noise_sd is None:
            return None
        if not all(is_number(part) for part in self.noise_sd.split(",")):
            if not Path(self.noise_sd).exists():
                raise typer.BadParameter(
                    "must be a number, numbers with commas between them, or a file", param_hint="--noise-sd"
                )
            return loaded(Path(self.noise_sd))
        values = number_list(self.noise_sd, "--noise-sd") or []
        if min(values) <= 0:
            raise typer.BadParameter("must be above 0", param_hint="--noise-sd")
        return values[0] if len(values) == 1 else values


@dataclass(frozen=True)
class LightOptions:
    """How the light is taken out of an image."""

    fluence: Annotated[
        str,
        typer.Option(
            "--fluence",
            click_type=options.choice(LIGHT),
            help="Correct for the light in the body: an even slab or cylinder, or diffusion through what "
            "the image itself shows.",
        ),
    ] = "none"
    body: Annotated[
        str | None,
        typer.Option(
            "--body",
            metavar="REGION,REGION|all|FILE",
            help="The body, for light and depth: regions of --rois, or a mask; holes in slices are filled.",
        ),
    ] = None
    illumination: Annotated[
        str | None,
        typer.Option(
            "--illumination",
            click_type=options.choice(ILLUMINATIONS),
            help="Where light comes from; default around.",
        ),
    ] = None
    mu_a: Annotated[
        str | None,
        typer.Option(
            "--mu-a-per-cm",
            metavar="N[,N]",
            help="Absorption of an even body in 1/cm, one or one for each wavelength; without it the image's "
            "own is iterated.",
        ),
    ] = None
    tissue: Annotated[
        str | None,
        typer.Option(
            "--tissue",
            metavar="thb=UMOL_L,so2=PERCENT",
            help="Instead: what an even body holds; water=0.75 and lipid=0 are shares of the volume.",
        ),
    ] = None
    mu_s: Annotated[
        str | None,
        typer.Option(
            "--mu-s-per-cm",
            metavar="N[,N]",
            help="Reduced scattering in 1/cm; default that of soft tissue, 12.3 at 700 nm.",
        ),
    ] = None
    thb_umol_l: Annotated[
        float | None,
        typer.Option("--body-thb-umol-l", min=0.0, help="Mean haemoglobin of the body, for the iteration."),
    ] = None
    signal_per_absorption: Annotated[
        float | None,
        typer.Option(
            "--signal-per-absorption",
            min=0.0,
            help="Signal of 1/cm at the surface, from a known absorber: amounts are then in umol/L.",
        ),
    ] = None
    background: Annotated[
        list[str] | None,
        typer.Option(
            "--background",
            metavar="NAME=SHARE",
            help="What absorbs evenly and is not unmixed, such as water=0.75, for the iteration.",
        ),
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        return [Path(self.body)] if self.body is not None and Path(self.body).is_file() else []

    def check(self) -> None:
        """Refuse what would not be used.

        Raises
        ------
        typer.BadParameter
        """
        given = {
            "--mu-a-per-cm": self.mu_a,
            "--tissue": self.tissue,
            "--mu-s-per-cm": self.mu_s,
            "--body-thb-umol-l": self.thb_umol_l,
            "--signal-per-absorption": self.signal_per_absorption,
            "--background": self.background,
        }
        if self.fluence == "none":
            refuse_given(given, "belongs to --fluence, which is not given")
            if self.illumination is not None and self.body is None:
                raise typer.BadParameter("belongs to --body, which is not given", param_hint="--illumination")
            return
        if self.body is None:
            raise typer.BadParameter(
                "the light needs the outline of the body: a region of --rois or a mask", param_hint="--body"
            )
        if self.mu_a is not None and self.tissue is not None:
            raise typer.BadParameter("give it or --tissue, not both", param_hint="--mu-a-per-cm")
        stated = self.mu_a is not None or self.tissue is not None
        if stated and self.fluence == "diffusion":
            raise typer.BadParameter(
                "belongs to a slab or a cylinder; diffusion takes the absorption where it is",
                param_hint="--tissue" if self.mu_a is None else "--mu-a-per-cm",
            )
        if stated:
            refuse_given(
                {option: given[option] for option in ("--body-thb-umol-l", "--background")},
                "does not apply where --tissue or --mu-a-per-cm states the absorption",
            )

    def outline(self, image: Volume, common: Common, regions: Regions | None) -> Volume | None:
        """``--body`` as a mask without holes."""
        found = mask_of(self.body, "--body", image, common, regions)
        if found is None:
            return None
        from imgtheranostics.msot.corrected_light import solid_body

        return solid_body(found.fit_to(image.grid))

    def corrected(self, image: Volume, body: Any, components: Any) -> CorrectedLight:
        """The image over its light."""
        from imgtheranostics.msot.corrected_light import corrected_light

        return corrected_light(
            image,
            body,
            components,
            model=self.fluence,  # type: ignore[arg-type]
            illumination=self.illumination or "around",
            mu_a=self._absorption(image),
            mu_s=_one_or_more(self.mu_s, "--mu-s-per-cm"),
            calibration=self.signal_per_absorption,
            thb_umol_l=self.thb_umol_l,
            background=shares(self.background, "--background") or None,
        )

    def depth(self, body: Any) -> Volume:
        """Depth below the surface of the body."""
        from imgtheranostics.msot.body_depth import depth_from_mask

        return depth_from_mask(body, illumination=self.illumination or "around")

    def _absorption(self, image: Volume) -> Any:
        if self.tissue is None:
            return _one_or_more(self.mu_a, "--mu-a-per-cm")
        given = msot_words.shares([self.tissue], "--tissue")
        unknown = set(given) - {"thb", "so2", "water", "lipid"}
        if unknown or not {"thb", "so2"} <= set(given):
            raise typer.BadParameter(
                "needs thb=UMOL_L,so2=PERCENT, and takes water= and lipid= beside", param_hint="--tissue"
            )
        if not 1.0 < given["so2"] <= 100.0 and given["so2"] != 0.0:
            raise typer.BadParameter("so2 is in %, such as 70", param_hint="--tissue")
        from imgtheranostics.msot.fluence_maps import signal_wavelengths
        from imgtheranostics.msot.tissue_light import tissue_absorption

        try:
            return tissue_absorption(
                signal_wavelengths(image).values,
                thb_umol_l=given.pop("thb"),
                so2=given.pop("so2") / 100.0,
                **given,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--tissue") from error


@dataclass(frozen=True)
class DepthOptions:
    """How signal and components fall with depth."""

    depth_mm: Annotated[
        float | None,
        typer.Option(
            "--depth-curves-mm",
            min=0.0,
            metavar="MM",
            help="Also curves against depth in --body, as means of shells of this width.",
        ),
    ] = None

    depth_in: Annotated[
        str | None,
        typer.Option(
            "--depth-in",
            metavar="REGION,REGION|FILE",
            help="Tissue whose voxels count in these curves; default all of the body.",
        ),
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        return [Path(self.depth_in)] if self.depth_in is not None and Path(self.depth_in).is_file() else []

    def check(self, light: LightOptions) -> None:
        """Refuse depth without a body.

        Raises
        ------
        typer.BadParameter
        """
        if self.depth_mm is None:
            if self.depth_in is not None:
                raise typer.BadParameter(
                    "belongs to --depth-curves-mm, which is not given", param_hint="--depth-in"
                )
            return
        if light.body is None:
            raise typer.BadParameter("needs --body", param_hint="--depth-curves-mm")
        if self.depth_mm <= 0:
            raise typer.BadParameter("must be above 0", param_hint="--depth-curves-mm")


def _one_or_more(text: str | None, option: str) -> float | list[float] | None:
    found = number_list(text, option)
    return found[0] if found is not None and len(found) == 1 else found
