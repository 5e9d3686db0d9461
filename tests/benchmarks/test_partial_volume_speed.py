"""Partial-volume corrections of many regions beside plain NumPy and SciPy, in turns in one run.

`pytest tests/benchmarks --benchmark-only` runs it. The peer makes the transfer matrix alone, without errors,
as Rousset defines it: each region blurred by scipy.ndimage, then means over boolean masks.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from imgtheranostics.nuclear.partial_volume import FWHM_PER_SD, gtm, iterative_yang, rbv
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume

FWHM = 4.0


def parcels(n, n_regions, n_frames):
    """A ball in an image of n^3 voxels, divided among the nearest of random points, as a brain atlas is."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(n_regions, 3))
    points *= 0.35 * n * rng.random((n_regions, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
    places = np.indices((n,) * 3).reshape(3, -1).T - n / 2
    labels = cKDTree(points).query(places)[1] + 1
    labels[(places**2).sum(axis=1) > (0.42 * n) ** 2] = 0
    count = np.bincount(labels, minlength=n_regions + 1)
    names = {number: f"r{number}" for number in range(1, n_regions + 1) if count[number] > 400}
    data = np.asfortranarray(rng.normal(5, 1, (n, n, n, n_frames)).astype(np.float32))
    axes = (Axis("time", np.arange(float(n_frames)), "s"),)
    v = Volume(data, np.eye(4), "activity_concentration", "Bq/mL", axes=axes)
    return v, Regions(labels.reshape(n, n, n, 1).astype(np.int16), names, v.grid)


@pytest.mark.parametrize("n_frames", [1, 30])
def test_sixty_regions_beside_the_definition(benchmark, n_frames):
    """60 regions in 128^3: at least five times as fast as the matrix alone by SciPy, errors included."""
    v, regions = parcels(128, 60, n_frames)

    masks = [regions.mask(name) for name in list(regions)[:6]]
    smooth = [mask.astype(np.float32) for mask in masks]

    def blurs():
        for n, mask in enumerate(masks):
            smooth[n] = gaussian_filter(mask.astype(np.float32), FWHM / FWHM_PER_SD)

    def means():
        return [[one[mask].mean() for one in smooth] for mask in masks]

    def ours():
        return gtm(v, regions, psf_fwhm_mm=FWHM)

    ours()
    functions = (ours, blurs, means)
    times = [[] for _ in functions]
    for _ in range(3):
        for function, own in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            own.append(time.perf_counter() - start)
    mine, of_blurs, of_means = (float(np.median(own)) for own in times)
    more = len(regions.names) / len(masks)
    ratio = (of_blurs * more + of_means * more**2) / mine
    benchmark.group = f"transfer matrix, 60 regions, 128^3, {n_frames} frames"
    benchmark.extra_info |= {"ratio": round(ratio, 1), "seconds": mine}
    benchmark.pedantic(ours, rounds=1)
    print(f"\n{benchmark.group}: {mine:.2f} s, {ratio:.3g} x")  # noqa: T201
    assert mine < 20
    if n_frames == 1:
        assert ratio >= 5


@pytest.mark.parametrize("method", [gtm, rbv, iterative_yang])
def test_a_hundred_regions_of_a_large_image(benchmark, method):
    """200^3, 100 regions: under half a minute on two cores that others share."""
    v, regions = parcels(200, 100, 1)
    benchmark.group = "100 regions, 200^3"
    benchmark.pedantic(lambda: method(v, regions, psf_fwhm_mm=FWHM), rounds=1, warmup_rounds=1)
    print(f"\n{method.__name__}, 100 regions, 200^3: {benchmark.stats.stats.min:.2f} s")  # noqa: T201
    assert benchmark.stats.stats.min < 30
