"""Curves, decay and resolution against closed forms and published recovery tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import quad

from imgtheranostics.nuclear.partial_volume import FWHM_PER_SD, sphere_recovery
from imgtheranostics.phantom.mixture import rasterise
from imgtheranostics.phantom.pet import (
    Curve,
    Frame,
    blur,
    concentration_bq_ml,
    count_noise,
    effective_time_s,
    frame_factor,
)
from imgtheranostics.phantom.shapes import Sphere
from imgtheranostics.phantom.spec import Kinetics, SubjectSpec, Truth
from imgtheranostics.volume import Grid

F18 = math.log(2) / 6586.2
GA68 = math.log(2) / 4062.6

# reference tables for a sphere in zero background: FWHM mm -> diameter mm -> mean recovery
TABLE = {
    1.6: {2: 0.31, 3: 0.49, 4: 0.61, 6: 0.73, 8: 0.80, 10: 0.84},
    1.2: {2: 0.44, 3: 0.61, 4: 0.70, 6: 0.80, 8: 0.85, 10: 0.88},
    0.9: {2: 0.57, 3: 0.70, 4: 0.77, 6: 0.85, 8: 0.89, 10: 0.91},
    5.0: {10: 0.53, 13: 0.62, 17: 0.71, 22: 0.77, 28: 0.82, 37: 0.86},
    7.0: {10: 0.38, 13: 0.49, 17: 0.60, 22: 0.68, 28: 0.75, 37: 0.81},
}
CASES = [(fwhm, diameter) for fwhm, row in TABLE.items() for diameter in row]


@pytest.mark.parametrize(("fwhm", "diameter"), CASES)
def test_closed_form_recovery_is_the_radial_integral_and_the_table(fwhm, diameter):
    """The other exact form of the sheet: mean over u of 4 pi u^2 G(u) (1 - 3u/4R + u^3/16R^3)."""
    sd, radius = fwhm / FWHM_PER_SD, diameter / 2

    def integrand(u):
        gauss = math.exp(-u * u / (2 * sd * sd)) / (2 * math.pi * sd * sd) ** 1.5
        return 4 * math.pi * u * u * gauss * (1 - 3 * u / (4 * radius) + u**3 / (16 * radius**3))

    mean, centre = sphere_recovery(diameter, fwhm)
    assert mean == pytest.approx(quad(integrand, 0, 2 * radius, limit=200)[0], abs=1e-7)
    assert mean == pytest.approx(TABLE[fwhm][diameter], abs=0.01)
    a = radius / (sd * math.sqrt(2))
    assert centre == pytest.approx(math.erf(a) - 2 / math.sqrt(math.pi) * a * math.exp(-a * a), abs=1e-12)


@pytest.mark.parametrize(("fwhm", "diameter"), CASES)
def test_blurred_sphere_keeps_what_the_closed_form_says(fwhm, diameter):
    """Mean over the exact sphere, sampled from the image at the shape's own shares; within 0.01."""
    spacing = fwhm / 8
    half = math.ceil((diameter / 2 + 1.5 * fwhm) / spacing) + 1
    shape = (2 * half + 1,) * 3
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    sphere = Sphere(kind="sphere", centre_mm=(0.11 * spacing, 0.2 * spacing, 0), diameter_mm=diameter)
    share = rasterise({"s": [sphere]}, Grid(shape, affine)).occupancy("s")
    image = blur(share, fwhm, (spacing,) * 3).astype(np.float64)
    mean, centre = sphere_recovery(diameter, fwhm)
    measured = (image * share).sum() / share.sum()
    # Weighing with shares averages over the voxel once more, variance h^2/12: the closed form of that.
    wider = math.sqrt(fwhm**2 + FWHM_PER_SD**2 * spacing**2 / 12)
    assert measured == pytest.approx(sphere_recovery(diameter, wider)[0], abs=0.003)
    assert measured == pytest.approx(mean, abs=0.01)
    assert image.max() == pytest.approx(centre, abs=0.01)


def test_blur_keeps_the_total_and_has_the_stated_width():
    image = np.zeros((41, 41, 41), np.float32, order="F")
    image[20, 20, 20] = 1.0
    out = blur(image, 3.0, (1.0, 1.0, 1.0)).astype(np.float64)
    assert out.sum() == pytest.approx(1.0, abs=1e-5)
    offset = np.arange(41) - 20
    variance = (out.sum(axis=(1, 2)) * offset**2).sum() + 1 / 12
    assert FWHM_PER_SD * math.sqrt(variance) == pytest.approx(3.0, rel=2e-3)


def test_blur_refuses_voxels_wider_than_the_resolution():
    with pytest.raises(ValueError, match="cannot show"):
        blur(np.zeros((3, 3, 3), np.float32), 1.0, (2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("decay", "factor", "seconds"), [(F18, 1.031905, 298.4214), (GA68, 1.052058, 297.4410)]
)
def test_frame_of_ten_minutes_has_the_published_factor(decay, factor, seconds):
    """18F and 68Ga, T = 600 s: factor from the frame's mean to its start, and effective time."""
    frame = Frame(0.0, 600.0)
    assert frame_factor(frame, decay, 0.0) == pytest.approx(factor, abs=1e-6)
    # the sheet's 68Ga value belongs to a half-life of 4062.6 s
    assert effective_time_s(frame, decay) == pytest.approx(seconds, abs=1e-3)
    assert math.exp(decay * effective_time_s(frame, decay)) == pytest.approx(factor, abs=1e-6)


@given(
    start=st.floats(0, 1e5),
    duration=st.floats(1, 7200),
    uptake=st.one_of(st.none(), st.floats(0.1, 20)),
    clearance=st.one_of(st.none(), st.floats(0.5, 300)),
)
def test_mean_over_a_frame_is_the_integral(start, duration, uptake, clearance):
    kinetics = Kinetics(uptake_half_time_h=uptake, clearance_half_life_h=clearance)
    curve = Curve.from_kinetics(kinetics, 5.0, 24 * 3600)
    frame = Frame(start, duration)
    decay = math.log(2) / 53064.0

    def activity(t):
        return curve.at(t) * math.exp(-decay * t)

    expected = quad(activity, start, start + duration)[0] / duration
    assert curve.mean_with_decay(frame, decay) == pytest.approx(expected, rel=1e-7, abs=1e-12)
    assert curve.at(24 * 3600) == pytest.approx(5.0, rel=1e-12)


def test_units_of_the_review_agree():
    """12 %ID/g at 20 g is SUV 2.40; 5.0 %ID/kg at 70 kg is SUV 3.50 and 5.40 kBq/mL at 24 h of 400 MBq."""
    mouse = SubjectSpec(weight_kg=0.02, species="mouse")
    per_gram = Truth(quantity="id_per_g", value=12.0, unit="%/g")
    suv = Truth(quantity="suv_bw", value=2.40, unit="g/mL")
    assert concentration_bq_ml(per_gram, activity_bq=1e6, subject=mouse) == pytest.approx(
        concentration_bq_ml(suv, activity_bq=1e6, subject=mouse)
    )
    man = SubjectSpec(weight_kg=70)
    per_kg = Truth(quantity="id_per_kg", value=5.0, unit="%/kg")
    start = concentration_bq_ml(per_kg, activity_bq=400e6, subject=man)
    assert start == pytest.approx(3.5 * 400e6 / 70000)
    assert start * 2 ** (-24 / 12.7) / 1000 == pytest.approx(5.40, abs=0.005)


def test_counting_noise_has_the_mean_and_variance_of_poisson():
    image = np.full((40, 40, 40), 50.0, np.float32, order="F")
    noisy = count_noise(image, counts_per_bq_ml=0.5, rng=np.random.default_rng(3)).astype(np.float64)
    assert noisy.mean() == pytest.approx(50.0, rel=0.005)
    assert noisy.var() == pytest.approx(50.0 / 0.5, rel=0.03)
    assert_allclose(noisy * 0.5, np.rint(noisy * 0.5), atol=1e-4)


def test_no_activity_gives_no_counts():
    zero = np.zeros((4, 4, 4), np.float32)
    assert not count_noise(zero, counts_per_bq_ml=1.0, rng=np.random.default_rng(0)).any()
