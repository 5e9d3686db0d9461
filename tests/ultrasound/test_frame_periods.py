"""Gain of a period over the baseline: closed forms, and errors against the scatter of repeats."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.regions import Regions
from imgtheranostics.ultrasound import period_gain
from imgtheranostics.volume import Axis, Volume

SHAPE = (24, 24, 1)
N_FRAMES, BEFORE = 60, 20
AFFINE = np.diag([-0.2, -0.2, 2.0, 1.0])


def cine(power) -> Volume:
    axis = Axis("time", 0.1 * np.arange(power.shape[-1]), "s")
    return Volume(power.astype(np.float32), AFFINE, "echo_intensity", "1", axes=(axis,))


def regions(volume) -> Regions:
    one, two = np.zeros((2, *SHAPE), bool)
    one[:12], two[12:] = True, True
    return Regions.from_masks({"tumour": one, "muscle": two}, volume.grid)


def course() -> np.ndarray:
    """A rise and fall after the baseline; its mean over the period is 1 + 4 * 2/pi in the limit."""
    x = np.clip((np.arange(N_FRAMES) - BEFORE + 0.5) / (N_FRAMES - BEFORE), 0.0, 1.0)
    return np.where(np.arange(N_FRAMES) < BEFORE, 1.0, 1.0 + 4.0 * np.sin(np.pi * x))


def row(table, region, quantity):
    (found,) = table[(table["region"] == region) & (table["quantity"] == quantity)].to_dict("records")
    return found


def test_gain_and_enhancement_are_those_of_mean_power():
    power = np.ones((*SHAPE, N_FRAMES)) * 7.0
    power[:12] *= course()
    table = period_gain(cine(power), rois=regions(cine(power)), baseline_frames=BEFORE, reference="muscle")
    expected = course()[BEFORE:].mean()
    assert row(table, "tumour", "echo_gain")["mean"] == pytest.approx(expected, rel=1e-6)
    assert row(table, "tumour", "echo_enhancement")["mean"] == pytest.approx(
        10 * np.log10(expected), rel=1e-6
    )
    beyond = row(table, "tumour", "relative_echo_enhancement")["mean"]
    assert beyond == pytest.approx(10 * np.log10(expected), rel=1e-6)
    assert row(table, "muscle", "echo_gain")["mean"] == 1.0
    assert len(table.attrs["details"]) == len(table)
    assert table.attrs["decisions"]["period"] == {"rule": "all frames after the baseline", "frames": "20-59"}


def test_the_course_of_a_bolus_is_no_error_of_its_mean():
    """Speckle that is new in every frame: the scatter of 40 repeats is what the errors say, within 25 %."""
    found, errors = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        power = rng.exponential(1.0, (*SHAPE, N_FRAMES))
        power[:12] *= course()
        table = period_gain(cine(power), rois=regions(cine(power)), baseline_frames=BEFORE)
        one = row(table, "tumour", "echo_gain")
        found.append(one["mean"])
        errors.append(one["standard_error"])
    # the standard deviation of 40 samples is known within 11 %
    assert np.mean(errors) == pytest.approx(np.std(found, ddof=1), rel=0.25)
    assert np.mean(found) == pytest.approx(course()[BEFORE:].mean(), abs=3 * np.std(found) / np.sqrt(40))


def test_frames_that_are_named_are_one_state_whose_scatter_counts():
    power = np.ones((*SHAPE, N_FRAMES))
    power += np.random.default_rng(1).normal(0, 0.01, power.shape)
    power[:12] *= course()
    volume = cine(power)
    given = {"rois": regions(volume), "baseline_frames": BEFORE}
    one = row(period_gain(volume, **given), "tumour", "echo_gain")
    other = row(period_gain(volume, frames=(BEFORE, N_FRAMES), **given), "tumour", "echo_gain")
    assert one["mean"] == pytest.approx(other["mean"])
    assert other["standard_error"] > 5 * one["standard_error"]


def test_a_baseline_to_the_end_leaves_nothing_to_compare():
    volume = cine(np.ones((*SHAPE, N_FRAMES)))
    with pytest.raises(UnsupportedInput, match="no frame follows"):
        period_gain(volume, rois=regions(volume), baseline_frames=N_FRAMES)
