"""``ct enhancement`` and ``ct concentration``: what an agent adds, and how much of it there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import runs
from imgtheranostics.cli.ct_groups import (
    Comparison,
    CtScan,
    Hounsfield,
    SlopeOptions,
    change_or_scan,
    existing,
    mask_of,
)
from imgtheranostics.cli.ct_runs import deliver, table_options
from imgtheranostics.cli.groups import grouped
from imgtheranostics.cli.map_input import volume_of

if TYPE_CHECKING:
    from imgtheranostics.volume import Estimate

Pre = Annotated[
    Path, typer.Argument(help="Scan before the agent: DICOM folder or file, NIfTI.", show_default=False)
]
Post = Annotated[Path, typer.Argument(help="Scan after the agent, of the same beam.", show_default=False)]
PostSeries = Annotated[
    str | None, typer.Option("--post-series", help="Series of POST; --series is that of PRE.")
]
MaskPath = Annotated[Path | None, typer.Option("--mask", help="Image whose zero voxels are left out.")]
Change = Annotated[
    Path,
    typer.Argument(
        help="Result folder or delta_attenuation map of ct enhancement; or a scan, with --baseline or "
        "--background-hu.",
        show_default=False,
    ),
]
Baseline = Annotated[Path | None, typer.Option("--baseline", help="PATH is a scan; this is the one before.")]
BaselineSeries = Annotated[str | None, typer.Option("--baseline-series", help="Series of --baseline.")]
Background = Annotated[
    float | None,
    typer.Option("--background-hu", help="PATH is a scan; this is the tissue without agent in HU."),
]
BackgroundError = Annotated[
    float | None, typer.Option("--background-error-hu", min=0.0, help="Standard error of --background-hu.")
]

FIGURES = ("before-after", "map", "regions", "detection", "fit")


@grouped
def enhancement(
    pre: Pre,
    post: Post,
    post_series: PostSeries = None,
    mask: MaskPath = None,
    *,
    comparison: Comparison,
    hounsfield: Hounsfield,
    common: CtScan,
) -> None:
    """Change of attenuation in HU from one scan to another, with its noise."""
    said = locals()
    runs.check_output(common.out, force=common.force)
    estimate = _change(pre, post, common.series, post_series, mask, comparison, hounsfield, common)
    _finish("ct enhancement", estimate, common, said, [pre, post], [*comparison.files, *hounsfield.files])


@grouped
def concentration(
    path: Change,
    baseline: Baseline = None,
    baseline_series: BaselineSeries = None,
    background_hu: Background = None,
    background_error_hu: BackgroundError = None,
    mask: MaskPath = None,
    *,
    slope: SlopeOptions,
    comparison: Comparison,
    hounsfield: Hounsfield,
    common: CtScan,
) -> None:
    """Concentration in mg/mL, with its limits of detection; the slope's error is in every number."""
    from imgtheranostics import ct

    said = locals()
    runs.check_output(common.out, force=common.force)
    keywords = slope.keywords()
    files = [*slope.files, *comparison.files, *hounsfield.files]
    if baseline is not None and background_hu is not None:
        raise typer.BadParameter("give it or --baseline, not both", param_hint="--background-hu")
    for option, value, needed, base in (
        ("--baseline-series", baseline_series, "--baseline", baseline),
        ("--background-error-hu", background_error_hu, "--background-hu", background_hu),
    ):
        if value is not None and base is None:
            raise typer.BadParameter(f"belongs to {needed}, which is not given", param_hint=option)
    if baseline is not None:
        change = _change(
            existing(baseline, "--baseline"), path, baseline_series, common.series, mask, comparison,
            hounsfield, common,
        )  # fmt: skip
    elif background_hu is not None:
        change = _above(path, background_hu, background_error_hu, mask, comparison, hounsfield, common)
    else:
        change = _saved(path, mask, comparison, hounsfield, common)
    estimate = ct.concentration(change, workers=common.workers, **keywords)
    inputs = [*([baseline] if baseline is not None else []), path]
    _finish("ct concentration", estimate, common, said, inputs, files)


def _change(
    pre: Path,
    post: Path,
    pre_series: str | None,
    post_series: str | None,
    mask: Path | None,
    comparison: Comparison,
    hounsfield: Hounsfield,
    common: CtScan,
) -> Estimate:
    from imgtheranostics import ct

    allowed = comparison.allowed
    before = hounsfield.scan(pre, common, pre_series, allowed)
    after = hounsfield.scan(post, common, post_series, allowed)
    return ct.enhancement(before, after, mask=mask_of(mask), workers=common.workers, **comparison.keywords())


def _above(
    path: Path,
    background_hu: float,
    background_error_hu: float | None,
    mask: Path | None,
    comparison: Comparison,
    hounsfield: Hounsfield,
    common: CtScan,
) -> Estimate:
    """One scan over a background of one value."""
    from imgtheranostics import ct

    for option, value in (
        ("--register", comparison.register),
        ("--register-mask", comparison.register_mask),
        ("--allow-mismatch", comparison.allow_mismatch or None),
    ):
        if value is not None:
            raise typer.BadParameter("compares two scans: see --baseline", param_hint=option)
    noise = comparison.noise()
    if isinstance(noise, tuple):
        raise typer.BadParameter("must be one number for one scan", param_hint="--noise-sd")
    more = {} if comparison.saturation_hu is None else {"saturation_hu": comparison.saturation_hu}
    return ct.above_background(
        hounsfield.scan(path, common, common.series),
        background_hu,
        background_error_hu=background_error_hu or 0.0,
        mask=mask_of(mask),
        noise_sd=noise,
        **more,
    )


def _saved(
    path: Path, mask: Path | None, comparison: Comparison, hounsfield: Hounsfield, common: CtScan
) -> Estimate:
    """A change that was saved; a scan is refused with what it takes."""
    change = change_or_scan(path, common.series)
    if volume_of(change).quantity in ("attenuation", "signal", "stored_value"):
        raise typer.BadParameter(
            "is a scan, not a change: give --baseline PRE, or --background-hu of the tissue without agent",
            param_hint="PATH",
        )
    why = "belongs to scans; PATH is a change of attenuation already"
    comparison.unused(why)
    hounsfield.unused(why)
    if mask is not None:
        raise typer.BadParameter(why, param_hint="--mask")
    return change  # type: ignore[return-value]


def _finish(
    command: str,
    estimate: Estimate,
    common: CtScan,
    said: dict[str, object],
    inputs: list[Path],
    files: list[Path],
) -> None:
    from imgtheranostics import ct

    regions = runs.regions_for(estimate.value, common.rois, resample=common.resample_rois)
    table = ct.region_table([estimate], regions, **table_options(common, [estimate], regions))
    deliver(command, [estimate], table, regions, common, said, inputs=inputs, files=files)
