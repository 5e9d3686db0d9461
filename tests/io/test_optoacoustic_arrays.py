"""Arrays of other programs: each axis is where its name says, whatever the order (msot.md section 5.5)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from imgtheranostics.errors import CorruptInput, GeometryMismatch, UnitMismatch
from imgtheranostics.msot import volume_from_array

LENGTHS = {"x": 5, "y": 4, "z": 3, "time": 2, "wavelength": 3}
WAVELENGTHS = (800.0, 700.0, 760.0)


def values(order):
    """Each value tells its place along each axis."""
    factors = {"x": 1, "y": 10, "z": 100, "time": 1000, "wavelength": 10000}
    index = np.indices([LENGTHS[name] for name in order])
    return sum(index[n] * factors[name] for n, name in enumerate(order)).astype(np.float64)


@given(order=st.permutations(list(LENGTHS)))
def test_every_order_of_axes_gives_the_same_volume(order):
    volume = volume_from_array(
        values(order), order, wavelength_nm=WAVELENGTHS, spacing_mm=(0.1, 0.2, 0.5), time_s=(0, 2)
    )
    assert [axis.name for axis in volume.axes] == ["time", "wavelength"]
    expected = values(["x", "y", "z", "time", "wavelength"])[..., [1, 2, 0]]
    assert_array_equal(volume.data, expected)
    assert_array_equal(volume.axes[1].values, [700, 760, 800])
    assert_allclose(volume.grid.spacing_mm, (0.1, 0.2, 0.5))
    assert_allclose(volume.grid.world_mm([[2.0, 1.5, 1.0]]), 0, atol=1e-12)


@pytest.mark.parametrize("order", list(itertools.permutations(("wavelength", "x", "y"))))
def test_axes_that_are_left_out_have_length_one(order):
    volume = volume_from_array(values(order), order, wavelength_nm=WAVELENGTHS, spacing_mm=(0.1, 0.1, 1))
    assert volume.shape == (5, 4, 1, 3)
    assert volume.data[2, 3, 0].tolist() == [10032.0, 20032.0, 32.0]


def test_absorption_has_its_unit():
    array = np.ones((3, 2, 2))
    volume = volume_from_array(
        array,
        ("wavelength", "x", "y"),
        wavelength_nm=WAVELENGTHS,
        spacing_mm=(1, 1, 1),
        quantity="optical_absorption",
    )
    assert (volume.quantity, volume.unit) == ("optical_absorption", "1/cm")


@pytest.mark.parametrize(
    ("order", "options", "kind"),
    [
        (("x", "y", "z"), {}, ValueError),
        (("wavelength", "x", "x"), {}, ValueError),
        (("wavelength", "x", "frame"), {}, ValueError),
        (("wavelength", "x", "time"), {}, ValueError),
        (("wavelength", "x", "y"), {"time_s": (0, 1)}, ValueError),
        (("wavelength", "x"), {}, GeometryMismatch),
        (("wavelength", "x", "y"), {"wavelength_nm": (700, 800)}, CorruptInput),
        (("wavelength", "x", "y"), {"wavelength_nm": (0.7, 0.8, 0.9)}, UnitMismatch),
        (("wavelength", "x", "y"), {"spacing_mm": (1, 1)}, ValueError),
        (("wavelength", "x", "y"), {"spacing_mm": (1, 0, 1)}, ValueError),
        (("wavelength", "x", "time"), {"time_s": (0, 1, 2)}, CorruptInput),
    ],
)
def test_what_does_not_fit_is_refused(order, options, kind):
    array = np.zeros((3, 2, 2))
    with pytest.raises(kind):
        volume_from_array(array, order, **({"wavelength_nm": WAVELENGTHS, "spacing_mm": (1, 1, 1)} | options))
