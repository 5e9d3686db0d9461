"""Light in the optoacoustic phantoms, against closed forms of the diffusion equation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import i0

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.grid import Grid
from imgtheranostics.phantom import msot_fluence
from imgtheranostics.phantom.mixture import rasterise
from imgtheranostics.phantom.msot_fluence import Medium, attenuation_per_cm, depth_mm
from imgtheranostics.phantom.shapes import Box, Cylinder


def grid(shape, voxel_mm, *, front_first=True):
    affine = np.diag([-voxel_mm[0], -voxel_mm[1] if front_first else voxel_mm[1], voxel_mm[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def box(y_mm, height_mm, *, width_mm=12.0, length_mm=12.0):
    return Box(kind="box", centre_mm=(0, y_mm, 0), size_mm=(width_mm, height_mm, length_mm))


@pytest.fixture(params=[True, False])
def slab(request):
    """12 x 20 x 12 mm of one tissue, filling the grid, in both directions of its rows."""
    return rasterise({"tissue": [box(0, 20)]}, grid((24, 40, 12), (0.5, 0.5, 1.0), front_first=request.param))


def test_effective_attenuation_of_the_sheet():
    """msot.md section 6: 0.3 and 10 per cm give 3.0447 per cm."""
    assert float(attenuation_per_cm(0.3, 10.0)) == pytest.approx(3.0447, abs=5e-5)


def test_depth_starts_at_the_front_whatever_the_order_of_the_rows(slab):
    found = depth_mm(slab)
    front = slab.grid.affine[1, 1] < 0
    rows = found[5, :, 5] if front else found[5, ::-1, 5]
    assert_allclose(rows, np.arange(40) * 0.5 + 0.25)


def test_depth_counts_from_the_surface_of_a_round_body():
    body = Cylinder(kind="cylinder", centre_mm=(0, 0, 0), semi_axes_mm=(8, 8), length_mm=10)
    mixture = rasterise({"body": [body]}, grid((40, 40, 4), (0.5, 0.5, 2.0)))
    found = depth_mm(mixture)
    x, y, _ = np.meshgrid(*[np.arange(n) for n in mixture.grid.shape], indexing="ij")
    x_mm, y_mm = (0.5 * (index - 19.5) for index in (-x, -y))
    inside = mixture.pure() == 1
    expected = np.sqrt(np.maximum(64 - x_mm**2, 0)) - y_mm
    # where the surface is steep, it runs through several voxels of a column
    flat = inside & (np.abs(x_mm) < 6)
    assert_allclose(found[flat], expected[flat], atol=0.1)


@pytest.mark.parametrize("absorption", [0.05, 0.3, 1.0])
def test_light_in_one_tissue_falls_as_one_exponential(slab, absorption):
    """exp(-mu_eff z) within 1 %, down to the last millimetre: behind it the tissue goes on."""
    medium = Medium.of(slab)
    found = medium.on_voxels(
        medium.fluence(np.array([absorption]), np.array([10.0]), (absorption, 10.0)), slab.grid.shape
    )
    expected = np.exp(-attenuation_per_cm(absorption, 10.0) * depth_mm(slab) / 10)
    deepest = expected > 1e-3
    # cells of a millimetre: (mu_eff h)^2 / 24 of the attenuation
    error = float(attenuation_per_cm(absorption, 10.0)) ** 3 * 0.01 / 24 * 2 + 0.01
    assert_allclose(found[deepest], expected[deepest], rtol=error)


def test_light_in_two_layers_meets_both_conditions_at_their_border(monkeypatch):
    """Value and flow are continuous: a sinh and a cosh in the first layer, an exponential in the second."""
    monkeypatch.setattr(msot_fluence, "CELL_MM", 0.5)
    mixture = rasterise({"first": [box(6, 8)], "second": [box(-4, 12)]}, grid((12, 40, 12), (1.0, 0.5, 1.0)))
    mu_a, mu_s = np.array([0.05, 0.6]), np.array([8.0, 12.0])
    medium = Medium.of(mixture)
    second = mixture.names.index("second")
    found = medium.on_voxels(medium.fluence(mu_a, mu_s, (mu_a[second], mu_s[second])), mixture.grid.shape)
    mu, d = attenuation_per_cm(mu_a, mu_s), 1 / (3 * (mu_a + mu_s))
    border, ratio = 0.8, d[1] * mu[1] / (d[0] * mu[0])
    bright = 1 / (np.cosh(mu[0] * border) + ratio * np.sinh(mu[0] * border))
    z = depth_mm(mixture)[6, :, 6] / 10
    expected = np.where(
        z < border,
        bright * (np.cosh(mu[0] * (border - z)) + ratio * np.sinh(mu[0] * (border - z))),
        bright * np.exp(-mu[1] * (z - border)),
    )
    assert_allclose(found[6, :, 6], expected, rtol=0.02)


def test_an_absorbing_cylinder_is_darker_inside_as_bessel_functions_say(monkeypatch):
    """Far from the front, and along its own axis: I0(mu_eff r) / I0(mu_eff R) within 2 %."""
    monkeypatch.setattr(msot_fluence, "CELL_MM", 0.25)
    lit = Box(kind="box", centre_mm=(0, 0, 0), size_mm=(16, 16, 2))
    dark = Cylinder(kind="cylinder", centre_mm=(0, 0, 0), semi_axes_mm=(2, 2), length_mm=2)
    mixture = rasterise({"lit": [lit], "dark": [dark]}, grid((64, 64, 4), (0.25, 0.25, 0.5)))
    medium = Medium.of(mixture)
    mu_a, mu_s = np.array([1e-6, 1.5]), np.array([10.0, 10.0])
    found = medium.on_voxels(medium.fluence(mu_a, mu_s, (1e-6, 10.0)), mixture.grid.shape)[:, :, 2]
    x, y = np.meshgrid(*[0.25 * (np.arange(64) - 31.5)] * 2, indexing="ij")
    r = np.hypot(x, y)
    rings = [found[np.abs(r - radius) < 0.15].mean() for radius in (0.2, 1.0, 1.6)]
    mu = float(attenuation_per_cm(1.5, 10.0)) / 10
    expected = [i0(mu * radius) for radius in (0.2, 1.0, 1.6)]
    assert_allclose(np.array(rings) / rings[0], np.array(expected) / expected[0], rtol=0.02)


def test_an_absorber_casts_a_shadow_behind_itself_more_than_beside():
    dark = Cylinder(kind="cylinder", centre_mm=(0, 4, 0), semi_axes_mm=(2, 2), length_mm=12)
    mixture = rasterise({"tissue": [box(0, 20)], "dark": [dark]}, grid((24, 40, 12), (0.5, 0.5, 1.0)))
    medium = Medium.of(mixture)
    mu_s = np.array([10.0, 10.0])
    even, shaded = (
        medium.on_voxels(medium.fluence(np.array([0.05, value]), mu_s, (0.05, 10.0)), mixture.grid.shape)
        for value in (0.05, 1.0)
    )
    kept = (shaded / even)[:, :, 6]
    j = int(np.argmin(np.abs(depth_mm(mixture)[0, :, 0] - 11)))
    assert kept[12, j] < kept[1, j] < 1
    assert kept[12, 1] > 0.95


def test_light_that_cannot_be_calculated_is_refused(slab, monkeypatch):
    monkeypatch.setattr(msot_fluence, "_MOST_STEPS", 2)
    with pytest.raises(ImplausibleValue, match="light"):
        Medium.of(slab).fluence(np.array([0.3]), np.array([10.0]), (0.3, 10.0))
