"""Options of ``nuclear dose``: what was injected and what is given, how long it stays, how it is absorbed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import administration_options as told
from imgtheranostics.cli import options
from imgtheranostics.cli.map_input import number_list

if TYPE_CHECKING:
    from imgtheranostics.nuclear.administration import Administration
    from imgtheranostics.volume import Volume

PHYSICAL = "physical"
PER_MBQ = "per-MBq"
_TRAPEZOIDS = ("linear", "linear_log")
_MODELS = ("auto", "mono", "bi", "tri", *_TRAPEZOIDS)


@dataclass(frozen=True)
class Scanned:
    """What was injected for the scans, where the files do not say it."""

    dose: told.Dose = None
    injected_at: told.InjectedAt = None
    delay: told.Delay = None
    residual: told.Residual = None
    residual_at: told.ResidualAt = None
    infiltrated: told.Infiltrated = None
    dose_uncertainty: told.DoseUncertainty = None
    imaged_nuclide: Annotated[
        str | None,
        typer.Option(
            "--imaged-nuclide", help="Nuclide of the scans, such as Y-86, where they do not say it."
        ),
    ] = None
    weight_kg: told.WeightKg = None
    height_m: told.HeightM = None
    sex: told.Sex = None

    def administration(self) -> Administration | None:
        """As the options describe it, or None when the file's own shall be used."""
        given = asdict(self)
        return told.build(nuclide=given.pop("imaged_nuclide"), **given)


@dataclass(frozen=True)
class Given:
    """What gives the dose."""

    nuclide: Annotated[
        str | None,
        typer.Option(
            "--nuclide",
            help="Nuclide that gives the dose, such as Y-90 after scans of 86Y; default: that of the scans. "
            "Another one takes over the biology that was imaged.",
        ),
    ] = None
    given_activity: Annotated[
        str | None,
        typer.Option(
            "--given-activity",
            metavar="ACTIVITY|per-MBq",
            help="Activity that is given, such as 10MBq, or per-MBq for Gy/MBq. Default: the injection of "
            "the scans in Gy; for another nuclide Gy/MBq.",
        ),
    ] = None
    other_element: Annotated[
        bool,
        typer.Option("--other-element", help="Confirm a nuclide of another element than the imaged one."),
    ] = False

    def keywords(self) -> dict[str, Any]:
        """As `imgtheranostics.nuclear.scan_dosimetry.dose_of_scans` takes them."""
        text = self.given_activity
        if text is not None and text.strip().lower().replace(" ", "-") == PER_MBQ.lower():
            per_mbq, given_mbq = True, None
        else:
            per_mbq, given_mbq = False, told.parse_amount(text, "--given-activity", "MBq", "10MBq")
        if given_mbq is not None and not given_mbq > 0:
            raise typer.BadParameter("must be a positive activity", param_hint="--given-activity")
        return {
            "nuclide": self.nuclide,
            "given_mbq": given_mbq,
            "per_mbq": per_mbq,
            "allow_other_element": self.other_element,
        }


@dataclass(frozen=True)
class Stay:
    """How long the activity stays in each voxel."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            click_type=options.choice(_MODELS),
            help="Curve of each voxel: exponentials, auto (the default) by AICc, or trapezoids.",
        ),
    ] = None
    tail: Annotated[
        str | None,
        typer.Option(
            "--tail",
            click_type=options.choice(("physical", "last_phase", "none")),
            help="After the last scan, of trapezoids: decay alone (the default), or the slope of the last "
            "scans.",
        ),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="Leave out voxels whose largest sample, decay-corrected, is below it: Bq/mL, or %ID/mL with "
            "--given-activity or --nuclide of a twin.",
        ),
    ] = None
    effective_half_life: Annotated[
        str | None,
        typer.Option(
            "--effective-half-life",
            metavar="TIME|physical",
            help="For a single scan: half-life of the activity that gives the dose, decay included, such as "
            "31h; physical where nothing is cleared.",
        ),
    ] = None
    half_life_uncertainty: Annotated[
        float | None,
        typer.Option(
            "--half-life-uncertainty",
            min=0.0,
            max=1.0,
            help="Relative standard uncertainty of --effective-half-life (default 0: taken as known).",
        ),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """As `imgtheranostics.nuclear.scan_dosimetry.dose_of_scans` takes them."""
        if self.half_life_uncertainty is not None and self.effective_half_life is None:
            raise typer.BadParameter(
                "it needs --effective-half-life too", param_hint="--half-life-uncertainty"
            )
        if self.tail is not None and (self.model or "auto") not in _TRAPEZOIDS:
            raise typer.BadParameter("is for the trapezoids linear and linear_log", param_hint="--tail")
        return {
            "model": self.model or "auto",
            "curve": {"tail": self.tail or "physical", "threshold": self.threshold},
            "effective_half_life_s": self.seconds(),
            "half_life_relative_uncertainty": self.half_life_uncertainty or 0.0,
        }

    def seconds(self) -> float | str | None:
        """The effective half-life in s, or the word for the physical one."""
        text = self.effective_half_life
        if text is not None and text.strip().lower() == PHYSICAL:
            return PHYSICAL
        return told.parse_amount(text, "--effective-half-life", "s", "31h")


@dataclass(frozen=True)
class Absorption:
    """How the energy is absorbed."""

    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            click_type=options.choice(("kernel", "local")),
            help="Spread electrons and photons by voxel kernels (the default), or absorb all but photons in "
            "the voxel.",
        ),
    ] = None
    progeny: Annotated[
        str | None,
        typer.Option(
            "--progeny",
            click_type=options.choice(("none", "in_place")),
            help="Daughters of the nuclide: not counted (the default), or where they arise.",
        ),
    ] = None
    radius_mm: Annotated[
        float | None,
        typer.Option("--radius-mm", help="Reach of the kernel; default: that of electrons, and five voxels."),
    ] = None
    density_g_ml: Annotated[
        float | None,
        typer.Option("--density-g-ml", "--density", help="Of all tissue, g/mL (default 1.04)."),
    ] = None
    ct: Annotated[
        Path | None,
        typer.Option("--ct", help="CT in HU on the grid of the scans: density and mass of every voxel."),
    ] = None
    dose_factor_uncertainty: Annotated[
        float | None,
        typer.Option(
            "--dose-factor-uncertainty",
            min=0.0,
            max=1.0,
            help="Relative standard uncertainty of dose per decay (default 0.02 for kernels, 0 for local).",
        ),
    ] = None

    def keywords(self, load: Callable[[Path], Volume]) -> dict[str, Any]:
        """As `imgtheranostics.nuclear.absorbed_dose` takes them."""
        for option, value in (("--density-g-ml", self.density_g_ml), ("--radius-mm", self.radius_mm)):
            if value is not None and not value > 0:
                raise typer.BadParameter("must be positive", param_hint=option)
        if self.ct is not None and self.density_g_ml is not None:
            raise typer.BadParameter("give it or --density-g-ml, not both", param_hint="--ct")
        if self.radius_mm is not None and self.method == "local":
            raise typer.BadParameter("is that of kernels, not of --method local", param_hint="--radius-mm")
        found: dict[str, Any] = {
            "method": self.method or "kernel",
            "progeny": self.progeny or "none",
            "radius_mm": self.radius_mm,
            "s_relative_uncertainty": self.dose_factor_uncertainty,
        }
        if self.ct is not None:
            from imgtheranostics.nuclear.maps import density_from_ct

            found["density"] = density_from_ct(load(self.ct))
        elif self.density_g_ml is not None:
            found["density"] = self.density_g_ml
        return found


@dataclass(frozen=True)
class Effect:
    """What the table says of the dose beside its mean."""

    at_least_gy: Annotated[
        list[str] | None,
        typer.Option(
            "--at-least-gy",
            metavar="GY[,GY]",
            help="Doses x of Vx, the share with at least x. Or given again.",
        ),
    ] = None
    geud_a: Annotated[
        list[str] | None,
        typer.Option(
            "--geud-a",
            metavar="A|REGION=A",
            help="Exponent of the equivalent uniform dose: negative for tumours, 1 is the mean. Or given "
            "again.",
        ),
    ] = None
    alpha_beta: Annotated[
        list[str] | None,
        typer.Option(
            "--alpha-beta",
            metavar="GY|REGION=GY",
            help="Adds BED and EQD2: alpha/beta of all regions, or tumour=10 of one. Or given again. Needs "
            "--repair-half-time.",
        ),
    ] = None
    repair_half_time: Annotated[
        str | None, typer.Option("--repair-half-time", help="Of sublethal damage, such as 1.5h.")
    ] = None
    dose_rate_half_life: Annotated[
        str | None,
        typer.Option(
            "--dose-rate-half-life",
            help="Of the dose rate, for BED, such as 31h; default: from the curve of each region.",
        ),
    ] = None

    def check(self) -> None:
        """Refuse options in vain, and what is no number of its kind."""
        if self.alpha_beta and self.repair_half_time is None:
            raise typer.BadParameter("BED needs --repair-half-time too", param_hint="--alpha-beta")
        for option, value in (
            ("--repair-half-time", self.repair_half_time),
            ("--dose-rate-half-life", self.dose_rate_half_life),
        ):
            if value is not None and not self.alpha_beta:
                raise typer.BadParameter("it needs --alpha-beta too", param_hint=option)
        if self.alpha_beta:
            self.alpha_beta_gy()
            self.repair_s()
            self.rate_half_life_s()

    def repair_s(self) -> float:
        """Half-time of repair in s."""
        found = told.parse_amount(self.repair_half_time, "--repair-half-time", "s", "1.5h")
        if found is None or found < 0:
            raise typer.BadParameter("must not be negative", param_hint="--repair-half-time")
        return found

    def rate_half_life_s(self) -> float | None:
        """Half-life of the dose rate in s."""
        found = told.parse_amount(self.dose_rate_half_life, "--dose-rate-half-life", "s", "31h")
        if found is not None and not found > 0:
            raise typer.BadParameter("must be positive", param_hint="--dose-rate-half-life")
        return found

    def measures(self) -> dict[str, Any]:
        """As `imgtheranostics.nuclear.dose_statistics` takes them."""
        limits = [one for text in self.at_least_gy or () for one in number_list(text, "--at-least-gy") or ()]
        if any(limit < 0 for limit in limits):
            raise typer.BadParameter("must not be negative", param_hint="--at-least-gy")
        exponents = by_region(self.geud_a, "--geud-a")
        if 0.0 in (exponents.values() if isinstance(exponents, dict) else [exponents]):
            raise typer.BadParameter("must not be zero", param_hint="--geud-a")
        return {"at_least_gy": limits, "geud_a": exponents}

    def alpha_beta_gy(self) -> dict[str, float] | float | None:
        """alpha/beta by region, or of all."""
        found = by_region(self.alpha_beta, "--alpha-beta")
        if found is not None and not all(
            one > 0 for one in (found.values() if isinstance(found, dict) else [found])
        ):
            raise typer.BadParameter("must be positive", param_hint="--alpha-beta")
        return found


def by_region(texts: list[str] | None, option: str) -> dict[str, float] | float | None:
    """One number for all regions, or ``REGION=NUMBER`` for each that is named.

    >>> by_region(["10"], "--alpha-beta"), by_region(["tumour=10", "kidney=2.5"], "--alpha-beta")
    (10.0, {'tumour': 10.0, 'kidney': 2.5})
    """
    if not texts:
        return None
    words = [part.strip() for text in texts for part in text.split(",")]
    if len(words) == 1 and "=" not in words[0]:
        return (number_list(words[0], option) or [0.0])[0]
    found: dict[str, float] = {}
    for word in words:
        name, equals, value = word.rpartition("=")
        numbers = number_list(value, option) if equals and name.strip() else None
        if numbers is None or name.strip() in found:
            raise typer.BadParameter("must be one number, or REGION=NUMBER, each once", param_hint=option)
        found[name.strip()] = numbers[0]
    return found
