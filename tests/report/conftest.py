"""Synthetic runs: a mouse of ellipsoids whose uptake is known by construction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical
from imgtheranostics.errors import Caution
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.report.run import Run
from imgtheranostics.volume import Axis, Estimate, Flag, Source, Volume, make_step

SHAPE = (44, 40, 96)
SPACING_MM = 0.8
ORGANS = {
    # name: (centre in mm, RAS+, of a mouse lying along z), semi-axes in mm, %ID/g
    "tumour": ((8.0, 3.0, -12.0), (3.2, 3.0, 3.6), 12.0),
    "liver": ((1.0, 2.0, 6.0), (7.5, 5.5, 4.5), 8.4),
    "spleen": ((-6.5, -2.0, 2.0), (1.8, 1.6, 5.0), 6.1),
    "heart": ((0.5, 2.0, 16.0), (3.2, 3.0, 3.6), 3.1),
    "muscle": ((-6.0, -1.0, -16.0), (2.0, 2.0, 4.0), 0.7),
}
DECISIONS = {
    "clock": {
        "rule": "earliest_time",
        "explanation": "the series time lies after the first acquisition, so the earlier of the two counts",
        "decay_correction": "START",
        "candidates_s": {"series_time": 1830.0, "acquisition_time": 0.0},
        "spread_percent": 2.4,
    },
    "scaling": {"units": "BQML", "explanation": "voxels are Bq/mL after the slope of each slice"},
    "half_life": {"nuclide": "Cu-64", "half_life_s": 45721.0, "difference_percent": 0.01},
    "administered_activity": {
        "explanation": "residual and decay to the scan are taken off the measured activity",
        "measured_bq": 7.4e6,
        "net_bq": 6.92e6,
        "relative_uncertainty_percent": 5.0,
    },
}


def mouse_affine(flip: bool = False) -> np.ndarray:
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = -SPACING_MM * (np.array(SHAPE) - 1) / 2
    if flip:
        affine[:2] *= -1.0
    return affine


def ellipsoid(affine, centre, semi_axes):
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return (((world - np.array(centre)) / np.array(semi_axes)) ** 2).sum(axis=-1) <= 1.0


def build_run(
    *, anatomy: bool = False, frames: int = 0, flip: bool = False, tmp_path: Path | None = None
) -> Run:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(20240501)
    affine = mouse_affine(flip)
    body = ellipsoid(affine, (0, 0, 0), (13.5, 11.5, 36.0))
    truth = np.where(body, 0.5, 0.0)
    masks = {}
    for name, (centre, semi_axes, uptake) in ORGANS.items():
        masks[name] = ellipsoid(affine, centre, semi_axes)
        truth[masks[name]] = uptake
    blurred = gaussian_filter(truth, 0.8)
    noise = np.sqrt(np.maximum(blurred, 0.02)) * 0.25
    image = blurred + gaussian_filter(rng.normal(size=SHAPE), 0.8) * noise * 3.0
    axes: tuple[Axis, ...] = ()
    if frames:
        time_s = np.geomspace(60.0, 48 * 3600.0, frames)
        curve = (1 - np.exp(-time_s / 3000.0)) * np.exp(-time_s / 200_000.0)
        image = image[..., np.newaxis] * curve
        noise = noise[..., np.newaxis] * np.ones(frames)
        axes = (Axis("time", time_s, "s"),)
    flags = np.zeros(image.shape, np.uint16)
    flags[~body] = Flag.MASKED_OUT
    flags[10:14, 18:22, 40:44] = Flag.INVALID_INPUT
    image = np.where(flags, np.nan, image)
    value = Volume(
        image,
        affine,
        "id_per_g",
        "%/g",
        axes,
        acquisition=EmissionAcquisition(radiopharmaceutical=Radiopharmaceutical(nuclide="Cu-64")),
        history=(make_step("load", slices=SHAPE[2]), make_step("percent_id_per_gram", density_g_ml=1.0)),
        warnings=(
            Caution(
                "clocks-differ",
                "the clocks of the series differ by 2.4 % in activity; the rule is stated below",
                "SeriesTime (0008,0031)",
            ),
        ),
        source=Source(subject="sub-3f9a01bc", session="ses-24h"),
    )
    error = value.replace(data=np.where(flags, np.nan, np.hypot(noise, 0.05 * np.abs(image))), warnings=())
    flag_map = Volume(flags, affine, "flags", "1", axes)
    estimate = Estimate(value, error, flag_map, calibration_relative=0.05, decisions=DECISIONS)
    regions = Regions.from_masks(masks, value.grid)
    scan = None
    if anatomy:
        hounsfield = np.where(body, 40.0, -1000.0) + rng.normal(size=SHAPE) * 12.0
        hounsfield[ellipsoid(affine, (0, -7, 0), (1.4, 1.4, 34.0))] = 700.0
        scan = Volume(hounsfield, affine, "attenuation", "[HU]")
    inputs = []
    if tmp_path is not None:
        for n in range(3):
            path = tmp_path / f"slice{n}.dcm"
            path.write_bytes(b"voxels %d" % n)
            inputs.append(path)
    return Run(
        "nuclear uptake",
        (estimate,),
        roi_statistics(estimate, regions),
        regions=regions,
        anatomy=scan,
        parameters={"density_g_ml": 1.0, "quantity": ["id_per_g"]},
        inputs=inputs,
    )


@pytest.fixture(scope="session")
def mouse_run(tmp_path_factory) -> Run:
    return build_run(tmp_path=tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def dynamic_run() -> Run:
    return build_run(frames=9)


@pytest.fixture(scope="session")
def anatomy_run() -> Run:
    return build_run(anatomy=True)


@pytest.fixture(scope="session")
def mouse_folder(mouse_run, tmp_path_factory) -> Path:
    """One written result, shared by tests that only read it."""
    from imgtheranostics.report.output import write_run

    folder = tmp_path_factory.mktemp("result") / "out"
    write_run(mouse_run, folder)
    return folder
