"""The transmit field as a map of a pair of scans, and its way into T1."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnsupportedInput
from imgtheranostics.volume import Axis, Volume

SHAPE = (5, 3, 2)
FIELD = np.broadcast_to(np.linspace(0.8, 1.15, SHAPE[0])[:, None, None], SHAPE)


def volume(data, axis, **fields):
    record = MrAcquisition(field_strength_t=3.0, **fields)
    return Volume(np.asarray(data), np.eye(4), "signal", "[arb'U]", (axis,), acquisition=record)


def test_two_angles_give_the_field():
    """Fully relaxed, the signals go with the sines of the angles."""
    angles = np.array([60.0, 120.0])
    data = 500 * np.sin(np.radians(angles) * FIELD[..., None])
    found = it.mri.b1_map(volume(data, Axis("flip_angle", angles, "deg")), noise_sd=1.0)
    assert (found.quantity, found.unit) == ("relative_b1", "1")
    assert found.value.data == pytest.approx(FIELD, rel=1e-5)
    assert (found.standard_error.data > 0).all()
    assert found.decisions["method"]["rule"] == "double angle"


def test_two_repetition_times_give_the_field_at_the_stated_angle():
    """AFI in its own approximation: S2/S1 = (1 + n cos a) / (n + cos a) for n = TR2/TR1."""
    times, angle = np.array([0.02, 0.1]), 55.0
    cosine = np.cos(np.radians(angle) * FIELD)
    n = times[1] / times[0]
    first = np.full(SHAPE, 300.0)
    data = np.stack([first, first * (1 + n * cosine) / (n + cosine)], axis=-1)
    axis = Axis("repetition_time", times, "s")
    found = it.mri.b1_map(volume(data, axis, flip_angle_deg=angle))
    assert found.value.data == pytest.approx(FIELD, rel=1e-4)
    with pytest.raises(MissingMetadata, match="flip angle") as refusal:
        it.mri.b1_map(volume(data, axis))
    assert "--flip-angle-deg" in refusal.value.next_step
    given = it.mri.b1_map(volume(data, axis), flip_angle_deg=angle)
    assert given.value.data == pytest.approx(FIELD, rel=1e-4)


def test_what_is_no_pair_is_refused():
    with pytest.raises(UnsupportedInput, match="no pair"):
        it.mri.b1_map(volume(np.ones((*SHAPE, 3)), Axis("flip_angle", np.array([5.0, 10, 20]), "deg")))
    with pytest.raises(UnsupportedInput, match="its double"):
        it.mri.b1_map(volume(np.ones((*SHAPE, 2)), Axis("flip_angle", np.array([60.0, 100]), "deg")))


def test_the_map_corrects_t1():
    """mri.md: an uncorrected field gives T1 times its square; the map removes it to 0.5 %."""
    angles, tr, t1 = np.array([2.0, 5, 10, 15, 20]), 0.005, 1.4
    angle, e1 = np.radians(angles) * FIELD[..., None], np.exp(-tr / t1)
    data = 900 * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))
    v = volume(data, Axis("flip_angle", angles, "deg"), repetition_time_s=tr)
    double = np.array([60.0, 120.0])
    pair = volume(500 * np.sin(np.radians(double) * FIELD[..., None]), Axis("flip_angle", double, "deg"))
    assert it.mri.t1_map(v, b1=it.mri.b1_map(pair).value).value.data == pytest.approx(t1, rel=5e-3)
    assert it.mri.t1_map(v).value.data / t1 == pytest.approx(FIELD**2, rel=0.02)


def test_an_estimate_or_an_array_goes_into_t1_as_the_map_does():
    """The closed form of the steady state at 0.9 of nominal (mri.md F1, F3)."""
    angles, nominal = np.array([2.0, 5.0, 10.0, 20.0]), np.array([60.0, 120.0])
    pair = 500 * np.sin(np.radians(nominal) * FIELD[..., None])
    field = it.mri.b1_map(volume(pair, Axis("flip_angle", nominal, "deg")))
    e1, turned = np.exp(-0.006 / 1.2), np.radians(angles) * FIELD[..., None]
    signal = 1000 * np.sin(turned) * (1 - e1) / (1 - e1 * np.cos(turned))
    scan = volume(signal, Axis("flip_angle", angles, "deg"), repetition_time_s=0.006)
    by_map = it.mri.t1_map(scan, b1=field.value).value.data
    assert by_map == pytest.approx(1.2, rel=1e-4)
    for given in (field, field.value.data, np.array(field.value.data).tolist()):
        np.testing.assert_array_equal(it.mri.t1_map(scan, b1=given).value.data, by_map)
    with pytest.raises(GeometryMismatch, match="transmit-field map"):
        it.mri.t1_map(scan, b1=np.ones((2, 2, 2)))
