"""Self-dose of spheres and ellipsoids against published dose factors, sampling, and the voxel kernels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.nuclear.absorbed_fractions import absorbed_fraction
from imgtheranostics.nuclear.dosimetry import convolve, local_s, voxel_s
from imgtheranostics.nuclear.point_kernels import electron_energy_within, electrons_of

# 152Tb in spheres of unit density, mGy/(MBq h): OLINDA 2 and an ellipsoidal model, PMC6560118 table 3.
TB152 = {
    0.1: (678, 752),
    0.5: (184, 204),
    1: (111, 114),
    2: (60.9, 62.5),
    4: (33.0, 34.0),
    6: (23.0, 23.7),
    8: (17.8, 18.4),
    10: (14.6, 15.1),
}


@pytest.mark.parametrize("mass", TB152)
def test_spheres_of_a_positron_emitter_lie_between_two_published_models(mass):
    """They differ by 3 to 10 %; 1 % beside, for their rounding."""
    low, high = TB152[mass]
    found = absorbed_fraction("Tb-152", mass_g=mass, density_g_ml=1.0).s_mgy_per_mbq_s * 3600
    assert 0.99 * low < found < 1.01 * high


def test_spheres_agree_with_the_voxel_kernel():
    """A sphere of 6 mm radius in 0.75 mm voxels, 90Y: the mean dose of its voxels, by convolution, 2 %."""
    edge, radius, n = 0.75, 6.0, 21
    place = (np.arange(n) - n // 2) * edge
    inside = np.add.outer(np.add.outer(place**2, place**2), place**2) < radius**2
    count = np.count_nonzero(inside)
    kernel = voxel_s("Y-90", edge, radius_mm=13.0)
    mean = float(convolve(inside / count, kernel)[inside].mean()) * 1e3
    mass = count * edge**3 * 1.04e-3
    assert mean == pytest.approx(absorbed_fraction("Y-90", mass_g=mass).s_mgy_per_mbq_s, rel=0.02)


@pytest.mark.parametrize("axes", [(3.0, 3.0, 3.0), (2.0, 3.0, 6.0)])
def test_share_that_stays_inside_by_sampling(axes, rng):
    """A million random sources, directions and lengths of 90Y's point kernel."""
    n = 1_000_000
    radius = np.linspace(0, 12, 2401)
    groups = electrons_of("Y-90")
    within = electron_energy_within(groups, radius, 1.04) / groups.total_mev
    inside = rng.standard_normal((n, 3))
    inside *= rng.random((n, 1)) ** (1 / 3) / np.linalg.norm(inside, axis=1, keepdims=True)
    step = rng.standard_normal((n, 3))
    step *= np.interp(rng.random((n, 1)), within, radius) / np.linalg.norm(step, axis=1, keepdims=True)
    stays = (((inside + step / np.array(axes)) ** 2).sum(axis=1) <= 1).mean()
    found = absorbed_fraction("Y-90", semi_axes_mm=axes)
    assert found.electron == pytest.approx(stays, abs=4 * math.sqrt(stays * (1 - stays) / n))
    assert found.mass_g == pytest.approx(1.04e-3 * 4 / 3 * math.pi * np.prod(axes), rel=1e-12)


def test_a_large_sphere_keeps_all_and_alphas_stay_in_a_small_one():
    """10 kg of 90Y and 1 mg of 225Ac: local deposition, but for what electrons and soft photons do."""
    large = absorbed_fraction("Y-90", mass_g=1e4)
    assert large.s_mgy_per_mbq_s == pytest.approx(local_s("Y-90", 1e4), rel=0.02)
    assert absorbed_fraction("Ac-225", mass_g=1e-3).s_mgy_per_mbq_s == pytest.approx(
        local_s("Ac-225", 1e-3), rel=0.005
    )
    record = nuclide("Ac-225")
    assert absorbed_fraction("Ac-225", mass_g=1e-3).energy_mev_per_decay > record.mean_alpha_mev


def test_a_shape_is_scaled_to_a_mass():
    found = absorbed_fraction("I-131", mass_g=5.0, semi_axes_mm=(1, 1, 3))
    assert found.semi_axes_mm[2] == pytest.approx(3 * found.semi_axes_mm[0])
    assert found.mass_g == 5.0
    sphere = absorbed_fraction("I-131", mass_g=5.0)
    assert found.electron < sphere.electron
    assert found.photon < sphere.photon


def test_dose_of_an_organ_by_its_mass():
    """Flynn et al., mouse kidneys of 0.34 g, 131I: 92 % of the electrons' energy stays, by ellipsoids."""
    kidneys = absorbed_fraction("I-131", mass_g=0.34)
    assert kidneys.electron == pytest.approx(0.919, rel=0.03)
    doses = kidneys.dose_gy([0.0, 161.544])
    assert doses[0] == 0
    assert doses[1] == pytest.approx(161.544e-3 * kidneys.s_mgy_per_mbq_s)
    assert doses[1] == pytest.approx(161.544e-3 * local_s("I-131", 0.34), rel=0.08)
    with pytest.raises(ValueError, match="negative"):
        kidneys.dose_gy(-1.0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mass_g": 0.0},
        {"mass_g": math.nan},
        {"semi_axes_mm": (1.0, 2.0)},
        {"semi_axes_mm": -1.0},
        {"mass_g": 1.0, "density_g_ml": 0.0},
    ],
)
def test_what_is_no_body_is_refused(options):
    with pytest.raises(ValueError, match="must"):
        absorbed_fraction("Y-90", **options)


def test_unknown_nuclides_are_refused():
    with pytest.raises(UnsupportedInput):
        absorbed_fraction("Xx-12", mass_g=1.0)
