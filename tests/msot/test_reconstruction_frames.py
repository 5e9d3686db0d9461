"""Axes, grid, orientation and record of a reconstruction."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics import msot
from imgtheranostics.errors import GeometryMismatch, MissingMetadata

SPHERE = [(1.0, -2.0, 0.0, 0.5, 1.0)]
SMALL = {"pixel_mm": 0.25, "shape": (25, 21)}


@pytest.fixture
def scan(sphere_scan):
    """Three frames at two wavelengths; sample scale 1, 2, 3 by frame and 1, 10 by wavelength."""
    one = sphere_scan(SPHERE)
    scale = np.multiply.outer([1.0, 2.0, 3.0], [1.0, 10.0])
    return one.replace(
        samples=one.samples * scale[:, :, None, None],
        wavelength_nm=[700.0, 800.0],
        frame_time_s=[[0.0, 0.1], [1.0, 1.1], [2.0, 2.1]],
        laser_energy_mj=np.full((3, 2), 70.0),
        energy_corrected=True,
        temperature_cel=np.multiply.outer([33.0, 33.5, 34.0], [1.0, 1.0]),
    )


def peaks(volume):
    return volume.data.reshape(-1, *volume.shape[3:]).max(axis=0)


def test_frames_are_times_and_the_last_axis_is_wavelength(scan):
    volume = msot.reconstruct(scan, **SMALL)
    assert volume.shape == (25, 21, 1, 3, 2)
    assert [axis.name for axis in volume.axes] == ["time", "wavelength"]
    assert volume.axis("time").values == pytest.approx([0.05, 1.05, 2.05])
    assert volume.axis("wavelength").values.tolist() == [700.0, 800.0]
    found = peaks(volume)
    assert found / found[0, 0] == pytest.approx(np.multiply.outer([1, 2, 3], [1, 10]), rel=1e-5)
    assert (volume.quantity, volume.unit) == ("optoacoustic_signal", "[arb'U]")


def test_more_images_than_are_held_at_a_time_are_those_of_each_alone(scan):
    """Six images, of which four are projected together."""
    volume = msot.reconstruct(scan, **SMALL)
    last = scan.replace(
        samples=scan.samples[2:, 1:],
        wavelength_nm=[800.0],
        frame_time_s=None,
        laser_energy_mj=None,
        temperature_cel=None,
    )
    alone = msot.reconstruct(last, **SMALL)
    assert alone.shape == (25, 21, 1, 1)
    assert volume.data[..., 2, 1].tobytes() == alone.data[..., 0].tobytes()


def test_frames_can_be_averaged(scan):
    volume = msot.reconstruct(scan, frames="mean", **SMALL)
    assert volume.shape == (25, 21, 1, 2)
    alone = peaks(msot.reconstruct(scan, **SMALL))
    assert peaks(volume) == pytest.approx(2 * alone[0], rel=1e-5)


def test_frames_without_times_are_refused(scan):
    with pytest.raises(MissingMetadata, match="times of the frames") as refusal:
        msot.reconstruct(scan.replace(frame_time_s=None), **SMALL)
    assert "frames='mean'" in str(refusal.value)


def test_frames_where_the_stage_moved_are_slices(scan):
    moved = scan.replace(stage_position_mm=[30.0, 29.0, 29.5])
    volume = msot.reconstruct(moved, **SMALL)
    assert volume.shape == (25, 21, 3, 2)
    assert volume.grid.spacing_mm == pytest.approx((0.25, 0.25, 0.5))
    assert volume.affine[2, 3] == pytest.approx(29.0)
    levels = volume.data[..., 0].max(axis=(0, 1))
    assert levels / levels[0] == pytest.approx([1.0, 1.5, 0.5], rel=1e-5)
    with pytest.raises(GeometryMismatch, match="stage moved"):
        msot.reconstruct(moved, frames="mean", **SMALL)
    with pytest.raises(GeometryMismatch, match="even steps"):
        msot.reconstruct(scan.replace(stage_position_mm=[30.0, 29.0, 29.3]), **SMALL)
    with pytest.raises(MissingMetadata, match="positions of the slices"):
        msot.reconstruct(scan, frames="slices", **SMALL)
    with pytest.raises(ValueError, match="one slice"):
        msot.reconstruct(moved, pixel_mm=0.25, shape=(9, 9, 3))


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(None, (1.0, -2.0)), ("RAS", (1.0, -2.0)), ("LPS", (-1.0, 2.0)), ("ALS", (2.0, 1.0))],
)
def test_the_sphere_lies_where_the_orientation_puts_it(sphere_scan, orientation, expected):
    volume = msot.reconstruct(sphere_scan(SPHERE), orientation=orientation, **SMALL)
    i, j = np.unravel_index(volume.data[..., 0, 0].argmax(), (25, 21))
    place = volume.affine @ [i, j, 0, 1]
    assert place[:2] == pytest.approx(expected, abs=0.3)
    assert ("orientation-not-stated" in {one.code for one in volume.warnings}) == (orientation is None)


def test_decisions_are_on_record(scan):
    volume = msot.reconstruct(scan, band_hz=(1e5, 6e6), workers=1, **SMALL)
    step = volume.history[-1]
    assert step.name == "reconstruct"
    expected = {
        "method": "backprojection",
        "speed_of_sound_m_s": 1490.0,
        "speed_of_sound_from": "file",
        "band_hz": [1e5, 6e6],
        "impulse_response": "not stated",
        "detectors_used": 128,
        "detectors_on": "ring",
        "radius_mm": 40.5,
        "frames": "time",
        "pixel_mm": 0.25,
        "shape": [25, 21, 1],
    }
    assert {name: step.parameters[name] for name in expected} == expected
    assert volume.acquisition.speed_of_sound_m_s == 1490.0
    assert volume.acquisition.wavelength_nm == (700.0, 800.0)
    assert volume.acquisition.laser_energy_mj == (70.0, 70.0)
    assert volume.acquisition.energy_corrected is True
    assert volume.acquisition.reconstruction == "backprojection"
    assert volume.acquisition.temperature_cel == pytest.approx(33.5)


def test_wavelengths_with_their_energy_left_in_are_told(scan):
    told = {one.code for one in msot.reconstruct(scan.replace(energy_corrected=False), **SMALL).warnings}
    assert "energy-not-corrected" in told
    assert "energy-not-corrected" not in {one.code for one in msot.reconstruct(scan, **SMALL).warnings}
