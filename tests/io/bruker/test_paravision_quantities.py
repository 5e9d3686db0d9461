"""From a ParaVision scan to a quantity: the values that were put in, and what is asked for if absent."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import ImgTheranosticsError, MissingMetadata


def stored(curve, slope):
    """Frames of one curve, slices alike, stored as 16 bit with a slope each."""
    frames = np.array([np.full((4, 3), value / s) for value, s in zip(curve, slope, strict=True)])
    return np.rint(frames).astype("i2").transpose(1, 2, 0)


def test_saturation_recovery_with_a_slope_per_frame(tmp_path, scans):
    """S = 20000 (1 - exp(-TR / 1.3 s)); the slopes differ by a factor of 4, which a wrong one would show."""
    times = np.array([6000.0, 3000.0, 1500.0, 700.0, 300.0])
    slope = np.array([1.0, 0.9, 0.7, 0.4, 0.25])
    visu = scans.visu([(5, "FG_MOVIE", {"VisuAcqRepetitionTime": scans.array(times)})], slope=slope)
    curve = 20000 * (1 - np.exp(-times / 1300.0))
    volume = it.load(scans.write(tmp_path, visu, stored(curve, slope)))
    t1 = it.mri.t1_map(volume).value
    assert t1.data == pytest.approx(np.full((4, 3, 1), 1.3), rel=2e-3)


def test_echo_train(tmp_path, scans):
    """S = 30000 exp(-TE / 45 ms)."""
    times = 8.0 * np.arange(1, 9)
    slope = np.linspace(1.0, 0.5, 8)
    visu = scans.visu([(8, "FG_ECHO", {"VisuAcqEchoTime": scans.array(times)})], slope=slope)
    volume = it.load(scans.write(tmp_path, visu, stored(30000 * np.exp(-times / 45.0), slope)))
    assert it.mri.t2_map(volume).value.data == pytest.approx(np.full((4, 3, 1), 0.045), rel=2e-3)


def test_repetition_time_that_only_the_method_had_is_asked_for(tmp_path, scans):
    """Flip angles alone: without the method file the image loads, and T1 says what it lacks."""
    visu = scans.visu([(3, "FG_MOVIE", {"VisuAcqFlipAngle": scans.array([3.0, 10.0, 20.0])})])
    del visu["VisuAcqRepetitionTime"]
    images = scans.stored(visu, (4, 3), 3)
    method = {"PVM_RepetitionTime": "15"}
    known = it.load(scans.write(tmp_path / "a", visu, images, method=method))
    assert known.acquisition.repetition_time_s == 0.015
    volume = it.load(scans.write(tmp_path / "b", visu, images, method={}))
    assert "method-file-missing" in [caution.code for caution in volume.warnings]
    with pytest.raises(MissingMetadata, match=r"(?i)repetition"):
        it.mri.t1_map(volume)


def test_loop_whose_times_are_lost_gives_no_relaxation_time(tmp_path, scans):
    """Nobody knows the repetition times: the images are numbered, and T1 refuses numbered images."""
    visu = scans.visu([(5, "FG_MOVIE", {})])
    volume = it.load(scans.write(tmp_path, visu, scans.stored(visu, (4, 3), 5), method={}))
    with pytest.raises(ImgTheranosticsError, match="component"):
        it.mri.t1_map(volume)
