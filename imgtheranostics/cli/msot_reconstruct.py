"""``msot reconstruct``: an image from raw optoacoustic signals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.groups import Output, grouped, refuse_given
from imgtheranostics.cli.map_input import is_number, number_list
from imgtheranostics.cli.map_runs import parameters
from imgtheranostics.cli.msot_words import as_usage, wavelength_list
from imgtheranostics.errors import Caution

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.volume import Volume

METHODS = ("backprojection", "delay_and_sum", "model")
FRAMES = ("auto", "time", "slices", "mean")
FOCUS = "focus"
IMAGE = "reconstruction_pa"
"""Name of the file with the image: the suffix that photoacoustic images have."""

_SPEED_UNKNOWN = "speed-of-sound-unknown"
"""What loading says where the file states none; an image has one."""

SignalPath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="Raw signals: a .msot file with its .bin beside it, IPASC or other HDF5, or the folder of one.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Signals:
    """Which of the signals, and what files do not say of them."""

    wavelengths: Annotated[
        str | None,
        typer.Option(
            "--wavelengths",
            metavar="NM,NM|FILE",
            help="Wavelengths in nm of an HDF5 file that states none, or wrong ones, in its order.",
        ),
    ] = None
    only: Annotated[
        str | None, typer.Option("--only", metavar="NM,NM", help="Wavelengths to use; default all.")
    ] = None
    drop_incomplete: Annotated[
        bool, typer.Option("--drop-incomplete", help="Leave out a last repetition that was broken off.")
    ] = False
    no_energy: Annotated[
        bool,
        typer.Option("--no-energy", help="Do not divide by the energy of the pulses, where that is known."),
    ] = False

    def load(self, path: Path) -> Any:
        """The signals at a path, over the energy of their pulses where that is known and was not done."""
        from imgtheranostics.io.signal_loading import load_signals

        stated = wavelength_list(self.wavelengths, "--wavelengths")
        found = load_signals(path, wavelength_nm=stated, drop_incomplete=self.drop_incomplete)
        chosen = wavelength_list(self.only, "--only")
        if chosen is not None:
            found = found.of_wavelengths(chosen)
        if self.no_energy or (found.laser_energy_mj is None and not found.energy_corrected):
            return found
        if found.energy_corrected is None:
            text = (
                "energies of the pulses are stated, but not whether the signals are divided by them: these "
                "were left as they are"
            )
            return replace(found, warnings=(*found.warnings, Caution("energy-not-divided", text)))
        return found.energy_normalised()


@dataclass(frozen=True)
class Picture:
    """What is made of them."""

    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            click_type=options.choice(METHODS),
            help="How images are made; default backprojection.",
        ),
    ] = None
    speed_of_sound: Annotated[
        str | None,
        typer.Option(
            "--speed-of-sound",
            metavar="M_S|focus",
            help="Speed of sound in m/s, or that of the sharpest image; default that of the file, and focus "
            "where it states none.",
        ),
    ] = None
    pixel_mm: Annotated[float | None, typer.Option("--pixel-mm", help="Size of pixels; default 0.075.")] = (
        None
    )
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape", metavar="NX,NY[,NZ]", help="Pixels along the scanner's axes; default 333,333."
        ),
    ] = None
    centre_mm: Annotated[
        str | None,
        typer.Option("--centre-mm", metavar="X,Y,Z", help="Middle of the image in the scanner."),
    ] = None
    band_mhz: Annotated[
        str | None,
        typer.Option("--band-mhz", metavar="LOW,HIGH", help="Band that is kept; default 0.05,6.5."),
    ] = None
    no_deconvolution: Annotated[
        bool, typer.Option("--no-deconvolution", help="Leave the detectors' impulse response in.")
    ] = False
    frames: Annotated[
        str | None,
        typer.Option(
            "--frames",
            click_type=options.choice(FRAMES),
            help="What frames are; auto: slices where the stage moved, else times.",
        ),
    ] = None
    orientation: Annotated[
        str | None,
        typer.Option(
            "--orientation",
            metavar="LETTERS",
            help="Sides of the animal at +x, +y and +z of the scanner, such as LPS; no file states it.",
        ),
    ] = None
    slice_mm: Annotated[
        float | None, typer.Option("--slice-thickness-mm", help="Of a single slice; default 1.")
    ] = None
    signed: Annotated[
        bool, typer.Option("--signed", help="Let the model take negative values, which light cannot make.")
    ] = False
    regularisation: Annotated[
        float | None,
        typer.Option("--regularisation", min=0.0, help="Of the model: damps noise; 0.1 is much. Default 0."),
    ] = None
    iterations: Annotated[
        int | None, typer.Option("--max-iterations", min=1, help="Of the model; default 100.")
    ] = None

    def keywords(self) -> dict[str, Any]:
        """As `imgtheranostics.msot.reconstruct` takes them; only those that were given."""
        if self.method != "model":
            of_model = {
                "--signed": self.signed or None,
                "--regularisation": self.regularisation,
                "--max-iterations": self.iterations,
            }
            refuse_given(of_model, "belongs to --method model")
        if self.pixel_mm is not None and not 0.001 <= self.pixel_mm <= 10:
            raise typer.BadParameter("must be a size in mm, 0.001 to 10", param_hint="--pixel-mm")
        band = _numbers(self.band_mhz, "--band-mhz", (2,))
        given = {
            "method": self.method,
            "pixel_mm": self.pixel_mm,
            "shape": self._pixels(),
            "centre_mm": _numbers(self.centre_mm, "--centre-mm", (3,)),
            "speed_of_sound_m_s": self._speed(),
            "band_hz": None if band is None else (band[0] * 1e6, band[1] * 1e6),
            "deconvolve": False if self.no_deconvolution else None,
            "frames": self.frames,
            "orientation": self.orientation,
            "slice_thickness_mm": self.slice_mm,
            "non_negative": False if self.signed else None,
            "regularisation": self.regularisation,
            "max_iterations": self.iterations,
        }
        return {name: value for name, value in given.items() if value is not None}

    def _speed(self) -> float | str | None:
        if self.speed_of_sound is None or self.speed_of_sound == FOCUS:
            return self.speed_of_sound
        if not is_number(self.speed_of_sound):
            raise typer.BadParameter("must be a speed in m/s, or focus", param_hint="--speed-of-sound")
        return float(self.speed_of_sound)

    def _pixels(self) -> tuple[int, ...] | None:
        found = _numbers(self.shape, "--shape", (2, 3))
        if found is None:
            return None
        if any(value != int(value) or value < 1 for value in found):
            raise typer.BadParameter("must be whole numbers of at least 1", param_hint="--shape")
        return tuple(int(value) for value in found)


@grouped
def reconstruct(
    path: SignalPath,
    subject: options.Subject = None,
    session: options.Session = None,
    *,
    signals: Signals,
    picture: Picture,
    common: Output,
) -> None:
    """An image at each wavelength from raw signals, to unmix next; proportional to initial pressure."""
    from imgtheranostics.msot.reconstruction import reconstruct as make
    from imgtheranostics.report.run import Run

    said = locals()
    runs.check_output(common.out, force=common.force)
    keywords = picture.keywords()
    found = signals.load(path)
    with as_usage():
        image = make(found, workers=common.workers, **keywords)
    run = Run(
        command="msot reconstruct",
        estimates=(),
        table=image_table(image, subject, session),
        parameters=parameters(said),
        inputs=list(found.source.files) or [path],
        decisions=_decisions(image),
        images={IMAGE: _without(image, _SPEED_UNKNOWN)},
    )
    runs.deliver(run, common.delivery)


def image_table(image: Volume, subject: str | None, session: str | None) -> pd.DataFrame:
    """The speed of sound that was taken, and statistics of the whole image at each wavelength."""
    import pandas as pd

    from imgtheranostics.cli.runs import regions_for
    from imgtheranostics.regions import roi_statistics

    regions = regions_for(image, None, resample=False)
    table = roi_statistics(image, regions, subject=subject, session=session)
    unknown = dict.fromkeys(("sd", "standard_error", "median", "p05", "p95", "min", "max"), math.nan)
    first = table.iloc[:1].assign(**unknown, quantity="speed_of_sound", unit="m/s", flags="", warnings="")
    taken = _decisions(image).get("reconstruct", {})
    first = first.assign(mean=taken.get("speed_of_sound_m_s", math.nan), axis="", axis_value=math.nan)
    details = [{"rule": f"speed of sound: {taken.get('speed_of_sound_from')}"}, *table.attrs["details"]]
    table.attrs = {}
    joined = pd.concat([first, table], ignore_index=True)
    joined.attrs["details"] = details
    return joined


def _without(image: Volume, code: str) -> Volume:
    """The image without a caution that no longer applies."""
    return image.replace(warnings=tuple(one for one in image.warnings if one.code != code))


def _decisions(image: Volume) -> dict[str, Any]:
    steps = [step for step in image.history if step.name == "reconstruct"]
    return {"reconstruct": dict(steps[-1].parameters)} if steps else {}


def _numbers(text: str | None, option: str, counts: tuple[int, ...]) -> list[float] | None:
    found = number_list(text, option)
    if found is not None and len(found) not in counts:
        words = " or ".join(str(count) for count in counts)
        raise typer.BadParameter(f"must be {words} numbers with commas between them", param_hint=option)
    return found
