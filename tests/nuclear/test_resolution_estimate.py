"""Resolution from spheres: blurred by a second implementation, with noise, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from imgtheranostics.errors import IllConditioned, NothingUsable
from imgtheranostics.nuclear.partial_volume import FWHM_PER_SD, estimate_psf, sphere_recovery
from imgtheranostics.nuclear.resolution_estimate import blurred_sphere
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume

FINE, COARSE = 0.5, 1.0
SHAPE = (32, 30, 28)
CENTRE = (15.3, 14.6, 13.1)


def sphere(diameter, fwhm, inside=8.0, outside=1.0):
    """Blurred by SciPy on a grid of half the spacing and averaged over 2 x 2 x 2: not the closed form."""
    axes = [(np.arange(2 * n) + 0.5) * FINE - 0.5 for n in SHAPE]
    r2 = sum(
        ((axis - c) ** 2).reshape([-1 if a == n else 1 for a in range(3)])
        for n, (axis, c) in enumerate(zip(axes, CENTRE, strict=True))
    )
    fine = np.where(r2 <= (diameter / 2) ** 2, inside, outside)
    fine = gaussian_filter(fine.astype(float), fwhm / FWHM_PER_SD / FINE, mode="nearest", truncate=6)
    return fine.reshape(SHAPE[0], 2, SHAPE[1], 2, SHAPE[2], 2).mean(axis=(1, 3, 5))


def image(data, **more):
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = 20, -30, 5
    return Volume(np.asarray(data), affine, "activity_concentration", "Bq/mL", **more)


def everything():
    return np.ones(SHAPE, bool)


@pytest.mark.parametrize(
    ("diameter", "fwhm", "inside", "outside"),
    [(10, 5, 8.0, 1.0), (13, 5, 8.0, 0.0), (12, 6, 0.0, 3.0), (8, 5, 8.0, 1.0)],
)
def test_width_of_a_blurred_sphere(diameter, fwhm, inside, outside):
    """Hot and cold; averaging over voxels of 1 mm widens by h^2/12, less that of the fine grid's."""
    found = estimate_psf(image(sphere(diameter, fwhm, inside, outside)), everything(), diameter_mm=diameter)
    total = FWHM_PER_SD * np.sqrt((fwhm / FWHM_PER_SD) ** 2 + (COARSE**2 - FINE**2) / 12)
    assert found.fwhm_mm == pytest.approx(total, rel=0.015)
    assert found.inside == pytest.approx(inside, abs=0.12)
    assert found.outside == pytest.approx(outside, abs=0.01)
    np.testing.assert_allclose(found.centre_mm, np.array([-1, 1, 1]) * CENTRE + [20, -30, 5], atol=0.02)
    assert found.relative_residual < 0.02


def test_standard_error_is_the_scatter_of_repeats(rng):
    truth = sphere(12, 5)
    box = np.zeros(SHAPE, bool)
    box[5:26, 4:25, 3:24] = True
    repeats = [
        estimate_psf(image(truth + rng.normal(0, 0.5, SHAPE)), box, diameter_mm=12.0) for _ in range(25)
    ]
    widths = [one.fwhm_mm for one in repeats]
    # the spread of 25 repeats is known to 14 %
    assert np.std(widths, ddof=1) == pytest.approx(
        np.mean([one.standard_error_mm for one in repeats]), rel=0.45
    )
    assert np.mean(widths) == pytest.approx(5.03, rel=0.02)


def test_only_the_insert_counts():
    """A second object outside of the region, and a missing voxel inside of it, change nothing."""
    data = sphere(10, 5)
    clean = estimate_psf(image(data), everything(), diameter_mm=10.0)
    box = np.zeros(SHAPE, bool)
    box[4:27, 3:26, 2:25] = True
    data[28:, 27:, 26:] = 100
    data[15, 14, 13] = np.nan
    regions = Regions.from_masks({"insert": box}, image(data).grid)
    found = estimate_psf(image(data), regions, diameter_mm=10.0)
    assert found.fwhm_mm == pytest.approx(clean.fwhm_mm, rel=0.01)
    assert found.n_voxels == 23**3 - 1


def test_profile_in_the_middle_is_the_recovery_of_the_centre():
    """Kessler 1984, as `sphere_recovery` has it."""
    for diameter, fwhm in ((8.0, 1.6), (3.0, 2.0), (2.0, 1.6)):
        found = blurred_sphere(np.zeros(1), diameter / 2, fwhm / FWHM_PER_SD)[0]
        assert found == pytest.approx(sphere_recovery(diameter, fwhm)[1], abs=1e-5)


def test_where_there_is_no_width_to_find(rng):
    with pytest.raises(IllConditioned, match="stand out"):
        estimate_psf(image(np.ones(SHAPE)), everything(), diameter_mm=10.0)
    with pytest.raises(IllConditioned):
        estimate_psf(image(rng.normal(0, 1, SHAPE)), everything(), diameter_mm=10.0)
    few = np.zeros(SHAPE, bool)
    few[15, 14, :10] = True
    with pytest.raises(NothingUsable, match="too few"):
        estimate_psf(image(sphere(10, 5)), few, diameter_mm=10.0)
    with pytest.raises(IllConditioned, match="no width"):
        estimate_psf(image(sphere(4, 12)), everything(), diameter_mm=4.0)
    with pytest.raises(ValueError, match="diameter_mm"):
        estimate_psf(image(sphere(10, 5)), everything(), diameter_mm=0.0)
    frames = image(np.ones((*SHAPE, 2)), axes=(Axis("time", [0.0, 1.0], "s"),))
    with pytest.raises(ValueError, match="choose a frame"):
        estimate_psf(frames, everything(), diameter_mm=10.0)
