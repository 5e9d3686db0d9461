"""A bolus in several clips: joined by their clocks, refused where gain or time is not known to fit."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from numpy.testing import assert_allclose

import imgtheranostics as it
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnitMismatch, UnsupportedInput

BEGIN = datetime(2020, 5, 1, 10, 0, 0)


@pytest.fixture
def clip(cine):
    """``clip(seconds, level, gain_db)``: three frames 0.1 s apart, that many seconds after the first clip."""

    def make(seconds, level=100.0, gain_db=20.0, **record):
        start = None if seconds is None else BEGIN + timedelta(seconds=seconds)
        return cine(np.full((8, 8, 3), level), gain_db=gain_db, acquisition_datetime=start, **record)

    return make


def test_frames_stand_on_one_clock_whatever_the_order(clip, codes):
    joined = it.ultrasound.join([clip(5.0, 120.0), clip(0.0)])
    assert_allclose(joined.axes[0].values, [0, 0.1, 0.2, 5.0, 5.1, 5.2])
    assert_allclose(joined.data[0, 0, 0], [100] * 3 + [120] * 3)
    assert "clips-joined" in codes(joined.warnings)
    assert joined.history[-1].name == "join_clips"
    assert "2020" not in str(joined.warnings) + repr(joined)


@pytest.mark.parametrize("gains", [(20.0, 26.0), (20.0, None)])
def test_other_gains_are_refused(clip, gains):
    with pytest.raises(UnitMismatch, match="gain_db"):
        it.ultrasound.join([clip(0.0, gain_db=gains[0]), clip(5.0, gain_db=gains[1])], same_gain=True)


def test_unknown_gain_is_refused_unless_the_user_states_it(clip):
    """DICOM does not carry the gain."""
    clips = [clip(0.0, gain_db=None), clip(5.0, gain_db=None)]
    with pytest.raises(MissingMetadata, match="gain"):
        it.ultrasound.join(clips)
    assert len(it.ultrasound.join(clips, same_gain=True).axes[0]) == 6


def test_clip_without_an_absolute_time_is_refused(clip):
    with pytest.raises(MissingMetadata, match="0008,002A"):
        it.ultrasound.join([clip(0.0), clip(None)])


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.2])
def test_clips_that_overlap_are_refused(clip, seconds):
    with pytest.raises(GeometryMismatch, match="overlap"):
        it.ultrasound.join([clip(0.0), clip(seconds)])


@pytest.mark.parametrize(
    "change", [{"mechanical_index": 0.8}, {"transducer_frequency_mhz": 5.0}, {"grey_max": 127.0}]
)
def test_clips_of_other_settings_are_refused(clip, change):
    with pytest.raises(UnitMismatch, match=next(iter(change))):
        it.ultrasound.join([clip(0.0), clip(5.0, **change)])


def test_other_grids_quantities_subjects_and_zones_are_refused(clip):
    first, second = clip(0.0), clip(5.0)
    with pytest.raises(GeometryMismatch, match="grids"):
        it.ultrasound.join([first, second.replace(affine=np.diag([-0.2, -0.1, 1, 1]))])
    with pytest.raises(UnitMismatch, match="quantities"):
        it.ultrasound.join([first, second.replace(quantity="echo_level", unit="dB")])
    other = second.replace(source=replace(second.source, subject="sub-other"))
    with pytest.raises(UnsupportedInput, match="subjects"):
        it.ultrasound.join([first, other])
    with pytest.raises(UnsupportedInput, match="two clips"):
        it.ultrasound.join([first])
    with pytest.raises(UnsupportedInput, match="one slice"):
        it.ultrasound.join([first, second.frame(0)])
