"""Options that the ``cest`` commands share, as groups: where offsets are from, how spectra are prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cest.methods import B0_METHODS, DRIFTS, RANK_RULES
from imgtheranostics.cli import options
from imgtheranostics.cli.groups import Common, refuse_given
from imgtheranostics.cli.map_input import is_number, loaded, map_or_number, mapped, volume_of
from imgtheranostics.errors import NothingUsable

if TYPE_CHECKING:
    from imgtheranostics.cest.prepared_spectra import CorrectionOptions
    from imgtheranostics.volume import Estimate, Volume

SIGNS = ("downfield_positive", "upfield_positive")

T1 = Annotated[
    str | None,
    typer.Option("--t1", metavar="FILE|SECONDS", help="T1 of water: a map of T1 or R1, or one value in s."),
]


@dataclass(frozen=True)
class CestScan(Common):
    """What every command takes that measures one CEST scan in regions."""

    mr_scaling: options.MrScaling = None


@dataclass(frozen=True)
class Offsets:
    """Saturation offsets, where the scan's own header or sidecar does not state them."""

    offsets: Annotated[
        Path | None,
        typer.Option("--offsets", help="File of offsets: text, CSV, TSV, JSON or .seq, one per volume."),
    ] = None
    offset_unit: Annotated[
        str | None,
        typer.Option("--offset-unit", click_type=options.choice(("ppm", "Hz")), help="Unit of --offsets."),
    ] = None
    offset_sign: Annotated[
        str | None,
        typer.Option(
            "--offset-sign",
            click_type=options.choice(SIGNS),
            help="Whether amide protons, 3.5 ppm from water, have positive or negative offsets in the file.",
        ),
    ] = None
    frequency_mhz: Annotated[
        float | None,
        typer.Option("--frequency-mhz", min=0.0, help="Imaging frequency, for offsets in Hz."),
    ] = None
    m0: Annotated[
        str | None,
        typer.Option("--m0", metavar="N,N,...|first", help="Unsaturated volumes, counted from 0."),
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        return [self.offsets] if self.offsets is not None else []

    def m0_index(self) -> tuple[int, ...] | str | None:
        """``--m0`` as the functions on volumes take it."""
        if self.m0 is None or self.m0 == "first":
            return self.m0
        words = [word.strip() for word in self.m0.split(",")]
        if not all(word.isdecimal() for word in words):
            raise typer.BadParameter(
                "must be whole numbers with commas between them, or first", param_hint="--m0"
            )
        return tuple(int(word) for word in words)

    @property
    def references(self) -> tuple[int, ...] | None:
        """Volumes that ``--m0`` names, which are then the only references."""
        index = self.m0_index()
        return (0,) if isinstance(index, str) else index

    def scan(self, path: Path, common: CestScan) -> Volume | Estimate:
        """The scan at a path with its offsets in place; corrected spectra are taken as they are."""
        found = mapped(path, common.series, common.mr_scaling)
        if self.offsets is None:
            self._check_unused()
            return self._indexed(found)
        return self._placed(
            volume_of(found),
            self.offsets,
            unit=self.offset_unit,
            imaging_frequency_mhz=self.frequency_mhz,
            sign=self.offset_sign,
        )

    def _indexed(self, found: Volume | Estimate) -> Volume | Estimate:
        """The scan with the unsaturated volumes that --m0 names."""
        volume = volume_of(found)
        axis = volume.axis("saturation_offset")
        if self.m0 is None or axis is None:
            return found
        if len(volume.axes) != 1:
            raise typer.BadParameter("names volumes of one spectrum, not of several B1", param_hint="--m0")
        stated = [None if value != value else float(value) for value in axis.values]
        saturation = getattr(volume.acquisition, "saturation", None) or {}
        recorded = saturation.get("recorded_offsets", ())
        if len(recorded) == len(stated):
            # what --m0 does not name any more goes back to the offset that the file records for it
            stated = [old if new is None else new for new, old in zip(stated, recorded, strict=True)]
        return self._placed(volume, stated, unit="ppm")

    def _placed(self, volume: Volume, offsets: Path | list[float | None], **more: Any) -> Volume:
        from imgtheranostics.io.cest_offsets import with_offsets

        try:
            return with_offsets(volume, offsets, m0_index=self.m0_index(), **more)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--m0") from error

    def _check_unused(self) -> None:
        unused = {
            "--offset-unit": self.offset_unit,
            "--offset-sign": self.offset_sign,
            "--frequency-mhz": self.frequency_mhz,
        }
        refuse_given(unused, "belongs to --offsets, which is not given")


@dataclass(frozen=True)
class Correction:
    """How Z-spectra are prepared: normalised, cleaned, with water at 0 ppm."""

    b0: Annotated[
        str,
        typer.Option(
            "--b0",
            metavar="minimum|symmetry|lorentzian|none|FILE",
            help="Where water is: found in the spectra, or a map in ppm or Hz; none corrects nothing. By "
            "default a map that the sidecar names, else the minimum.",
        ),
    ] = "auto"
    wassr: Annotated[
        Path | None, typer.Option("--wassr", help="Scan for water's position, with offsets of its own.")
    ] = None
    wasabi: Annotated[
        Path | None, typer.Option("--wasabi", help="Scan for water's position and B1 together.")
    ] = None
    b1: Annotated[
        Path | None, typer.Option("--b1", help="Map of actual over nominal B1, ratio or percent.")
    ] = None
    resample_b1: Annotated[
        bool, typer.Option("--resample-b1", help="Bring the B1 map from another grid, linearly.")
    ] = False
    denoise: Annotated[
        str | None,
        typer.Option(
            "--denoise",
            metavar="RULE|N",
            help="Keep the principal components that a rule finds, or N of them, before the B0 correction: "
            f"{', '.join(RANK_RULES)}.",
        ),
    ] = None
    smooth: Annotated[
        float | None,
        typer.Option("--smooth", min=0.0, max=1.0, help="Smoothing spline; 1 goes through every sample."),
    ] = None
    average: Annotated[
        float | None,
        typer.Option(
            "--average",
            metavar="MM",
            help="Average neighbouring voxels of the mask with a Gaussian of this width at half height.",
        ),
    ] = None
    drift: Annotated[
        str,
        typer.Option(
            "--drift",
            click_type=options.choice(DRIFTS),
            help="Of several unsaturated volumes: their mean, or linear in the order of acquisition; auto is "
            "linear where they lie apart and differ.",
        ),
    ] = "auto"
    mask: Annotated[Path | None, typer.Option("--mask", help="Image whose zero voxels are left out.")] = None
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Leave out voxels whose unsaturated signal stays below this."),
    ] = None
    noise_sd: Annotated[
        float | None,
        typer.Option("--noise-sd", min=0.0, help="Standard deviation of the noise of Z, instead of found."),
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        b0 = None if self.b0 in ("auto", "none", *B0_METHODS) else Path(self.b0)
        found = (b0, self.wassr, self.wasabi, self.b1, self.mask)
        return [path for path in found if path is not None]

    def keywords(self, common: CestScan, offsets: Offsets) -> CorrectionOptions:
        """As the functions on volumes take them."""
        self._check_sources()
        return {
            "b0": self._b0(),
            "wassr": None if self.wassr is None else loaded(self.wassr, None, common.mr_scaling),
            "wasabi": None if self.wasabi is None else loaded(self.wasabi, None, common.mr_scaling),
            "b1": None if self.b1 is None else mapped(self.b1),
            "resample_b1": self.resample_b1,
            "denoise": self._components(),
            "smooth": self.smooth,
            "average_mm": self.average,
            "m0_index": offsets.references,
            "drift": self.drift,
            "mask": None if self.mask is None else loaded(self.mask),
            "threshold": self.threshold,
            "noise_sd": self.noise_sd,
            "workers": common.workers,
        }

    def no_b1(self, why: str) -> None:
        """Refuse a map of B1 that a command would not use.

        Raises
        ------
        typer.BadParameter
            With `why`.
        """
        refuse_given({"--b1": self.b1, "--resample-b1": self.resample_b1 or None}, why)

    def _check_sources(self) -> None:
        """Refuse two statements of where water is."""
        if self.wassr is not None and self.wasabi is not None:
            raise typer.BadParameter("give it or --wassr, not both", param_hint="--wasabi")
        if self.wasabi is not None and self.b0 != "auto":
            raise typer.BadParameter("--wasabi says where water is by its own model", param_hint="--b0")
        if self.wassr is not None and self.b0 not in ("auto", *B0_METHODS):
            raise typer.BadParameter(
                f"with --wassr, how that is evaluated: {', '.join(B0_METHODS)}", param_hint="--b0"
            )
        if self.resample_b1 and self.b1 is None:
            raise typer.BadParameter("belongs to --b1, which is not given", param_hint="--resample-b1")

    def _b0(self) -> str | Volume | Estimate | None:
        if self.b0 == "none":
            return None
        if self.b0 in ("auto", *B0_METHODS):
            return self.b0
        if not Path(self.b0).exists():
            raise NothingUsable(
                "there is neither such a way to find water nor such a file",
                where=f"--b0 {self.b0}",
                needed=f"{', '.join(B0_METHODS)}, none, or the path of a map",
            )
        return mapped(Path(self.b0))

    def _components(self) -> str | int | None:
        if self.denoise is None or self.denoise in RANK_RULES:
            return self.denoise
        if not self.denoise.isdecimal() or int(self.denoise) < 1:
            raise typer.BadParameter(
                f"must be a number of components or one of {', '.join(RANK_RULES)}", param_hint="--denoise"
            )
        return int(self.denoise)


def water_t1(text: str | None) -> Volume | Estimate | float | None:
    """``--t1``: seconds, or the path of a map."""
    return map_or_number(text, "--t1")


def t1_files(text: str | None) -> list[Path]:
    """The file of ``--t1``, where it is one."""
    return [Path(text)] if text is not None and not is_number(text) else []


def one_or_several(values: list[float] | None) -> float | list[float] | None:
    """Nothing, one number, or a list, as the functions on volumes take offsets."""
    if not values:
        return None
    return values[0] if len(values) == 1 else values
