"""Options of ``nuclear segment``: where a lesion is looked for, how, and what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options
from imgtheranostics.cli.map_input import is_number, number_list

if TYPE_CHECKING:
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Volume

METHODS = ("fixed", "fraction", "percist", "adaptive", "gradient")


@dataclass(frozen=True)
class Where:
    """Where lesions are looked for."""

    seed: Annotated[
        list[str] | None,
        typer.Option(
            "--seed",
            metavar="[NAME=]X,Y,Z",
            help="A place in a lesion, mm (RAS+, as in the pictures of a report). May be given again.",
        ),
    ] = None
    within: Annotated[
        Path | None,
        typer.Option(
            "--within",
            help="Regions to look in, one lesion in each: NIfTI labels, DICOM SEG or RTSTRUCT. With --seed "
            "they limit where lesions may grow.",
        ),
    ] = None
    reach_mm: Annotated[
        float | None,
        typer.Option(
            "--reach-mm",
            min=1e-3,
            help="Radius around a seed; default a quarter of the image's shortest side, at most 50.",
        ),
    ] = None
    connectivity: Annotated[
        str,
        typer.Option(
            "--connectivity",
            click_type=options.choice(("6", "18", "26")),
            help="Voxels that hang together: by faces, also by edges, also by corners.",
        ),
    ] = "6"

    def check(self) -> None:
        """Refuse places that are none, and a reach around nothing."""
        seeds(self.seed)
        if self.reach_mm is not None and not self.seed:
            raise typer.BadParameter("belongs to --seed", param_hint="--reach-mm")

    def keywords(self, v: Volume, *, resample: bool) -> dict[str, Any]:
        """As `imgtheranostics.nuclear.delineate` takes them."""
        from imgtheranostics.io.regions import load_rois

        within = None if self.within is None else load_rois(self.within, like=v, resample=resample)
        return {
            "seeds_mm": seeds(self.seed),
            "within": within,
            "reach_mm": self.reach_mm,
            "connectivity": int(self.connectivity),
        }


@dataclass(frozen=True)
class How:
    """By which rule."""

    threshold: Annotated[
        str | None,
        typer.Option(
            "--threshold",
            metavar="VALUE|SHARE",
            help="fixed: a value in the unit of --quantity. fraction: a share of the maximum, 0.41 (default) "
            "or 41%.",
        ),
    ] = None
    of: Annotated[
        str | None,
        typer.Option(
            "--of",
            click_type=options.choice(("max", "peak")),
            help="fraction: of the highest voxel (default), or of the highest mean in a 1 mL sphere.",
        ),
    ] = None
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            click_type=options.choice(("hottest", "all", "each")),
            help="fixed: of several parts in a region the hottest (default), all as one, or each by itself.",
        ),
    ] = None
    least_ml: Annotated[
        float | None, typer.Option("--least-ml", min=0.0, help="fixed: smaller parts are left out; mL.")
    ] = None
    scheme: Annotated[
        str | None,
        typer.Option(
            "--scheme",
            click_type=options.choice(("half_way", "sphere", "nestle")),
            help="adaptive: half way from background to core (default); at the edge of a blurred sphere of "
            "that size (needs --resolution-mm); or 0.15 x core + background (Nestle 2005).",
        ),
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="A,B", help="adaptive: own scanner, threshold = A x core + B x background."
        ),
    ] = None
    adapt_to: Annotated[
        str | None,
        typer.Option(
            "--adapt-to",
            metavar="NAME|VALUE",
            help="adaptive, gradient: the background, a region of --rois or a value; default a shell around "
            "the lesion.",
        ),
    ] = None
    smoothing_mm: Annotated[
        float | None,
        typer.Option(
            "--smoothing-mm", min=1e-3, help="gradient: Gaussian SD; default the longest side of a voxel."
        ),
    ] = None
    percist: Annotated[
        str | None,
        typer.Option(
            "--percist",
            click_type=options.choice(("liver", "blood")),
            help="percist: 1.5 x liver + 2 SD (default), or 2 x blood of the aorta + 2 SD.",
        ),
    ] = None
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference", metavar="NAME", help="percist: the region of --rois that is the reference."
        ),
    ] = None
    liver_at: Annotated[
        str | None,
        typer.Option(
            "--liver-at", metavar="X,Y,Z", help="percist: centre of the 3 cm ball in the liver, mm."
        ),
    ] = None

    def check(self, method: str) -> None:
        """Refuse texts that are no numbers, and options that exclude each other."""
        _threshold(self.threshold, method)
        _weights(self.weights)
        if self.liver_at is not None:
            place(self.liver_at, "--liver-at")
            if self.reference is not None:
                raise typer.BadParameter("give it or --liver-at, not both", param_hint="--reference")

    def keywords(self, method: str, v: Volume, references: Regions | None) -> dict[str, Any]:
        """As `imgtheranostics.nuclear.delineate` takes them."""
        return {
            "threshold": _threshold(self.threshold, method),
            "of": self.of,
            "keep": self.keep,
            "least_ml": self.least_ml,
            "scheme": self.scheme,
            "weights": _weights(self.weights),
            "adapt_to": self._background(references),
            "smoothing_mm": self.smoothing_mm,
            "percist": self.percist,
            "reference": self._reference(v, references),
        }

    def _background(self, references: Regions | None) -> Any:
        if self.adapt_to is None:
            return None
        if is_number(self.adapt_to):
            return (number_list(self.adapt_to, "--adapt-to") or [])[0]
        return named(self.adapt_to, references, "--adapt-to")

    def _reference(self, v: Volume, references: Regions | None) -> Regions | None:
        if self.liver_at is None:
            return None if self.reference is None else named(self.reference, references, "--reference")
        from imgtheranostics.nuclear.percist_criteria import LIVER_BALL_MM
        from imgtheranostics.segmentation.ball_regions import ball_regions

        return ball_regions(v.grid, {"liver": place(self.liver_at, "--liver-at")}, LIVER_BALL_MM)


@dataclass(frozen=True)
class Compared:
    """What is said of lesions beside their uptake."""

    background: Annotated[
        list[str] | None,
        typer.Option(
            "--background",
            metavar="NAME",
            help="A region of --rois that lesions are divided by, such as muscle. May be given again.",
        ),
    ] = None
    threshold_uncertainty: Annotated[
        float | None,
        typer.Option(
            "--threshold-uncertainty",
            min=0.0,
            max=0.99,
            help="Relative standard uncertainty of thresholds, such as 0.05; gives errors of volumes.",
        ),
    ] = None


def named(name: str, references: Regions | None, option: str) -> Regions:
    """The region of that name."""
    if references is None or name not in list(references):
        known = "none, give --rois" if references is None else ", ".join(references)
        raise typer.BadParameter(f"there is no region {name!r}; known: {known}", param_hint=option)
    return references.subset([name])


def place(text: str, option: str) -> tuple[float, float, float]:
    """``X,Y,Z`` in mm.

    >>> place("10,-20.5,30", "--seed")
    (10.0, -20.5, 30.0)
    """
    numbers = number_list(text, option) or []
    if len(numbers) != 3:
        raise typer.BadParameter("must be X,Y,Z in mm", param_hint=option)
    return numbers[0], numbers[1], numbers[2]


def seeds(
    texts: list[str] | None,
) -> dict[str, tuple[float, float, float]] | list[tuple[float, float, float]] | None:
    """Seeds by name, or in order where none has one."""
    if not texts:
        return None
    parts = [text.rpartition("=") for text in texts]
    names = [name.strip() for name, _, _ in parts]
    places = [place(where, "--seed") for _, _, where in parts]
    if not any(names):
        return places
    if not all(names) or len(set(names)) != len(names):
        raise typer.BadParameter("name all seeds, each differently, or none", param_hint="--seed")
    return dict(zip(names, places, strict=True))


def _threshold(text: str | None, method: str) -> float | None:
    if text is None:
        return None
    share = text.strip().endswith("%")
    numbers = number_list(text.strip().rstrip("%"), "--threshold") or []
    if len(numbers) != 1 or (share and method != "fraction"):
        raise typer.BadParameter("must be a value; of the method fraction a share", param_hint="--threshold")
    value = numbers[0] / 100.0 if share else numbers[0]
    if method == "fraction" and not 0.0 < value < 1.0:
        raise typer.BadParameter("must be a share between 0 and 1, or 0 and 100%", param_hint="--threshold")
    return value


def _weights(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    numbers = number_list(text, "--weights") or []
    if len(numbers) != 2 or not (0.0 < numbers[0] <= 1.0 and numbers[1] >= 0.0):
        raise typer.BadParameter(
            "must be A,B with A above 0 up to 1 and B not below 0", param_hint="--weights"
        )
    return numbers[0], numbers[1]
