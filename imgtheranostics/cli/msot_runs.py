"""What ``msot`` commands do before and after the numbers: image, light, regions, record, files, printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtheranostics.cli import runs
from imgtheranostics.cli.map_input import loaded
from imgtheranostics.cli.map_runs import parameters
from imgtheranostics.cli.msot_groups import Absorbers, DepthOptions, LightOptions, MsotScan, mask_of
from imgtheranostics.cli.msot_words import as_usage, without_paths

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.errors import Caution
    from imgtheranostics.fit import CurveFit
    from imgtheranostics.msot.unmixed import Unmixed
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Estimate, Volume


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image ready to be unmixed.

    Attributes
    ----------
    image : Volume
        Corrected for light where that was asked for.
    measured : Volume
        As it was read.
    components : mapping of str to Component
    noise, mask
        As `imgtheranostics.msot.unmix` takes them.
    regions : Regions
    named : bool
        Whether the regions were given; else they are the whole image.
    fluence, depth : Volume or None
    """

    image: Volume
    measured: Volume
    components: dict[str, Any]
    noise: Any
    mask: Any
    regions: Regions
    named: bool
    fluence: Volume | None = None
    depth: Volume | None = None
    depth_in: Any = None

    def keywords(self, absorbers: Absorbers, common: MsotScan) -> dict[str, Any]:
        """What `imgtheranostics.msot.unmix` and `oxygenation` take beside the image and components."""
        chosen = {} if absorbers.method is None else {"method": absorbers.method}
        return {
            "noise_sd": self.noise,
            "mask": self.mask,
            "force": absorbers.force_ill_posed,
            "workers": common.workers,
            **chosen,
        }

    def shells(
        self, found: Unmixed, depth: DepthOptions, common: MsotScan
    ) -> tuple[list[pd.DataFrame], list[CurveFit]]:
        """How signal and components fall with depth, where that was asked for: tables, and curves."""
        if depth.depth_mm is None or self.depth is None:
            return [], []
        from imgtheranostics.msot.depth_summary import depth_summary

        attenuation, curves = depth_summary(
            found,
            self.measured,
            self.depth,
            width_mm=depth.depth_mm,
            mask=self.depth_in,
            workers=common.workers,
        )
        return [attenuation], list(curves)


def prepared(
    path: Path, absorbers: Absorbers, light: LightOptions, depth: DepthOptions, common: MsotScan
) -> Prepared:
    """Read an image and take the light out of it, as far as the options say so."""
    light.check()
    depth.check(light)
    absorbers.words()
    noise = absorbers.noise()
    image = common.image(path)
    regions = runs.regions_for(image, common.rois, resample=common.resample_rois)
    drawn = regions if common.rois else None
    mask = mask_of(absorbers.mask, "--mask", image, common, drawn)
    body = light.outline(image, common, drawn)
    within = mask_of(depth.depth_in, "--depth-in", image, common, drawn)
    components = absorbers.spectra(image)
    if light.fluence == "none":
        way = None if body is None else light.depth(body)
        return Prepared(image, image, components, noise, mask, regions, bool(common.rois), None, way, within)
    with as_usage("--fluence"):
        found = light.corrected(image, body, components)
    with as_usage("--noise-sd"):
        own = noise if noise is None or hasattr(noise, "grid") else found.noise(noise)
    inside = body if mask is None else mask
    return Prepared(
        found.volume, image, components, own, inside, regions, bool(common.rois), found.fluence, found.depth,
        within,
    )  # fmt: skip


def joined(tables: Sequence[pd.DataFrame], common: MsotScan) -> pd.DataFrame:
    """Several tables as one, with the details and warnings of all and the labels that were given."""
    from imgtheranostics.mapping.region_tables import below_each_other

    table = below_each_other(tables)
    for column, label in (("subject", common.subject), ("session", common.session)):
        if label is not None:
            table[column] = label
    return table


def deliver(
    command: str,
    ready: Prepared,
    estimates: Sequence[Estimate],
    table: pd.DataFrame,
    common: MsotScan,
    said: Mapping[str, Any],
    *,
    path: Path,
    residual: Volume,
    files: Sequence[Path] = (),
    curves: Sequence[CurveFit] = (),
    warnings: Sequence[Caution] = (),
    decisions: Mapping[str, Any] | None = None,
) -> None:
    """Write and print."""
    from imgtheranostics.report.run import Run

    images = {"residual": residual}
    if ready.fluence is not None:
        images["relative_fluence"] = ready.fluence
    if ready.depth is not None:
        images["depth"] = ready.depth
    run = Run(
        command=command,
        estimates=estimates,
        table=table,
        regions=ready.regions if ready.named else None,
        anatomy=loaded(common.anatomy) if common.anatomy is not None else _behind(ready.measured),
        parameters=_recorded(said),
        inputs=[path, *common.files, *files],
        curves=curves,
        images=images,
        decisions=decisions or {},
        warnings=(*warnings, *table.attrs.get("warnings", ())),
    )
    runs.deliver(run, common.delivery)


def _behind(image: Volume) -> Volume:
    """What maps are drawn over: the mean of the image over wavelengths and times."""
    import numpy as np

    from imgtheranostics.volume import make_step

    data = np.asarray(image.data).reshape((*image.grid.shape, -1), order="F")
    mean = np.zeros(image.grid.shape)
    for n in range(data.shape[-1]):
        mean += np.nan_to_num(data[..., n]) / data.shape[-1]
    step = make_step("mean_of_samples")
    return image.derived(mean, image.quantity, image.unit, step, axes=()).replace(warnings=())


def _recorded(said: Mapping[str, Any]) -> dict[str, Any]:
    """Options for the record, without the paths of spectra."""
    found = parameters(said)
    if "components" in found:
        found["components"] = [without_paths(text) for text in found["components"]]
    return found
