"""Options that the ``ultrasound`` commands share, as groups: the cine, its grey scale, motion, regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.groups import InRegions, Output, refuse_given

if TYPE_CHECKING:
    from imgtheranostics.regions import Regions
    from imgtheranostics.ultrasound import CineMotion
    from imgtheranostics.volume import Volume

MOTIONS = ("none", "rigid")

Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="REGION",
        help="One of --rois in which nothing happens: ratios to it are reported too, since echo power has "
        "no absolute scale.",
    ),
]
Window = Annotated[
    int,
    typer.Option(
        "--window", min=1, metavar="PIXELS", help="Maps are of means over a square of so many pixels; odd."
    ),
]
BaselineFrames = Annotated[
    str | None,
    typer.Option(
        "--baseline-frames",
        metavar="N|FIRST:STOP|N,N,...",
        help="Frames before the agent, counted from 0: the first N, from FIRST up to but without STOP, or a "
        "list.",
    ),
]


class Scanned(NamedTuple):
    """A cine, where it is measured, and how it had moved."""

    cine: Volume
    regions: Regions
    motion: CineMotion | None

    @property
    def decisions(self) -> dict[str, Any]:
        """How motion was taken out, for the record."""
        if self.motion is None:
            return {}
        report = self.motion.report
        moved = report.displacement_mm[report.registered]
        return {
            "motion": {
                "rule": "rigid, each frame onto one, by phase correlation and the correlations of tiles; "
                "by a search for the largest mutual information where these are not convincing",
                "frames_searched": list(self.motion.searched),
                "frames_corrected": int(report.corrected.sum()),
                "largest_displacement_mm": float(moved.max()) if moved.size else 0.0,
                "frames_rejected": list(self.motion.rejected),
            }
        }


@dataclass(frozen=True)
class Cine(Output, InRegions):
    """What every command takes that measures one contrast cine in regions."""

    us_region: Annotated[
        int | None,
        typer.Option(
            "--us-region",
            min=0,
            metavar="N",
            help="Which calibrated region of the frame holds the contrast image, counted from 0, where there "
            "are several.",
        ),
    ] = None
    frame_time: Annotated[
        float | None,
        typer.Option(
            "--frame-time",
            min=1e-6,
            metavar="SECONDS",
            help="Time from frame to frame, where the file does not say it.",
        ),
    ] = None
    motion: Annotated[
        str,
        typer.Option(
            "--motion",
            click_type=options.choice(MOTIONS),
            help="rigid brings each frame onto one and lists those that it gives up.",
        ),
    ] = "none"
    motion_reference: Annotated[
        str,
        typer.Option(
            "--motion-reference", metavar="FRAME|mean", help="What the frames are brought onto; default 0."
        ),
    ] = "0"

    def labels(self) -> dict[str, Any]:
        """Keywords of tables."""
        return {"subject": self.subject, "session": self.session, "workers": self.workers}

    def loaded(self, path: Path) -> Volume:
        """The cine at a path."""
        from imgtheranostics.io.loading import load

        return load(path, series=self.series, frame_time_s=self.frame_time)

    def scan(self, path: Path) -> Scanned:
        """The cine at a path, without motion where that is asked for, and the regions on it."""
        cine = self.loaded(path)
        regions = self.regions(cine)
        if self.motion == "none":
            if self.motion_reference != "0":
                raise typer.BadParameter(
                    "belongs to --motion rigid, which is not given", param_hint="--motion-reference"
                )
            return Scanned(cine, regions, None)
        from imgtheranostics import ultrasound

        still, found = ultrasound.motion_compensate(
            cine, reference=self._reference_frame(cine), region=self.us_region, workers=self.workers
        )
        return Scanned(still, regions, found)

    def regions(self, cine: Volume) -> Regions:
        """``--rois``, or all of the tissue as one region."""
        if self.rois:
            return runs.regions_for(cine, self.rois, resample=self.resample_rois)
        from imgtheranostics.regions import Regions
        from imgtheranostics.ultrasound import tissue_mask

        return Regions.from_masks({"tissue": tissue_mask(cine, self.us_region)}, cine.grid)

    def known(self, reference: str | None, regions: Regions) -> str | None:
        """``--reference``, if there is such a region.

        Raises
        ------
        typer.BadParameter
            If there is none; the message lists those that exist.
        """
        if reference is None or (self.rois and reference in list(regions)):
            return reference
        listed = ", ".join(regions) if self.rois else "none, give --rois"
        raise typer.BadParameter(
            f"there is no region {reference!r}; regions: {listed}", param_hint="--reference"
        )

    def _reference_frame(self, cine: Volume) -> Any:
        if self.motion_reference == "mean":
            return "mean"
        axis = cine.axis("time")
        n_frames = 1 if axis is None else len(axis)
        if self.motion_reference.isdecimal() and int(self.motion_reference) < n_frames:
            return int(self.motion_reference)
        raise typer.BadParameter(
            f"must be a frame from 0 to {n_frames - 1}, or mean", param_hint="--motion-reference"
        )


@dataclass(frozen=True)
class GreyScale:
    """How grey levels become linear echo power."""

    dynamic_range: Annotated[
        float | None,
        typer.Option(
            "--dynamic-range",
            min=1e-3,
            metavar="DB",
            help="Of the log compression, as the scanner's screen shows it. Grey levels need it, since DICOM "
            "does not carry it, and a mean over grey is no mean of echo.",
        ),
    ] = None
    gamma: Annotated[
        float, typer.Option("--gamma", min=1e-3, help="Exponent on g/g_max that undoes a display curve.")
    ] = 1.0
    gain: Annotated[
        float, typer.Option("--gain", metavar="DB", help="Added to the level before it is made linear.")
    ] = 0.0
    grey_max: Annotated[
        float | None,
        typer.Option(
            "--grey-max", min=1.0, help="Largest grey level that can be stored, where the file does not say."
        ),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """As the functions on volumes take them."""
        return {
            "dynamic_range_db": self.dynamic_range,
            "gamma": self.gamma,
            "gain_db": self.gain,
            "grey_max": self.grey_max,
        }

    def unused(self, why: str) -> None:
        """Refuse what a command would not use.

        Raises
        ------
        typer.BadParameter
            With `why`.
        """
        given = {
            "--dynamic-range": self.dynamic_range,
            "--gamma": None if self.gamma == 1.0 else self.gamma,
            "--gain": self.gain or None,
            "--grey-max": self.grey_max,
        }
        refuse_given(given, why)


def frame_choice(
    text: str | None, option: str = "--baseline-frames"
) -> int | tuple[int, int] | list[int] | None:
    """``N``, ``FIRST:STOP`` or ``N,N,...`` as the functions on volumes take frames.

    >>> frame_choice("5"), frame_choice("2:8"), frame_choice("0,2,3")
    (5, (2, 8), [0, 2, 3])
    """
    if text is None:
        return None
    if ":" in text:
        from imgtheranostics.cli.map_input import window

        return window(text, option)
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise typer.BadParameter("must be N, FIRST:STOP or N,N,... such as 0:5", param_hint=option)
    numbers = [int(word) for word in words]
    if numbers == [0] and "," not in text:
        raise typer.BadParameter("must be at least one frame; one frame alone is N:N+1", param_hint=option)
    return numbers[0] if "," not in text else numbers


def odd(window: int) -> int:
    """``--window``, which has a pixel in its middle."""
    if window % 2 == 0:
        raise typer.BadParameter("must be an odd number of pixels", param_hint="--window")
    return window
