"""Gas challenges of images: one change for all voxels, maps, regions, and what cannot be told."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import GeometryMismatch, IllConditioned, MissingMetadata, UnsupportedInput
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.msot.challenge_regions import COLUMNS
from imgtheranostics.msot.spectra import component
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Flag, Volume

WAVELENGTHS = np.arange(700.0, 900.0, 40.0)
SHAPE, FRAMES, CHANGE = (14, 12, 4), 40, 18
TIMES = 10.0 * np.arange(FRAMES)
X = np.indices(SHAPE)[0]
TUMOUR, MUSCLE, EMPTY = X < 5, (X >= 5) & (X < 10), X >= 10


def volume(rng, *, jump=12.0, sd=0.004):
    """Tumour from 45 to 57 % at frame 18; muscle at 65 % throughout; nothing beyond."""
    hbo2, hb = (1e-6 * component(name, WAVELENGTHS).natural for name in ("HbO2", "Hb"))
    tumour = 0.45 + 0.01 * jump * (np.arange(FRAMES) >= CHANGE)
    share = np.where(TUMOUR[..., np.newaxis], tumour, 0.65)[..., np.newaxis]
    total = np.where(EMPTY, 0.0, 100.0)[..., np.newaxis, np.newaxis]
    data = total * (share * hbo2 + (1 - share) * hb)
    data = data + rng.normal(0.0, sd, data.shape)
    axes = (Axis("time", TIMES, "s"), Axis("wavelength", WAVELENGTHS, "nm"))
    return Volume(data, np.eye(4), "optical_absorption", "1/cm", axes)


def regions():
    grid = Volume(X, np.eye(4), "signal", "1").grid
    return Regions.from_masks({"tumour": TUMOUR, "muscle": MUSCLE, "empty": EMPTY}, grid)


@pytest.fixture(scope="module")
def oxygenation():
    return it.msot.oxygenation(volume(np.random.default_rng(5)), noise_sd=0.004)


def test_the_change_is_found_once_and_holds_for_all(oxygenation):
    found = it.msot.delta_so2(oxygenation, regions(), find_in="tumour")
    assert found.change_s == 0.5 * (TIMES[CHANGE - 1] + TIMES[CHANGE])
    assert (found.change_low_s, found.change_high_s) == (TIMES[CHANGE - 1], TIMES[CHANGE])
    assert tuple(found.table.columns) == COLUMNS
    table = found.table.set_index("region")
    assert table.loc["tumour", "delta_so2"] == pytest.approx(
        12.0, abs=4 * table.loc["tumour", "standard_error"]
    )
    assert table.loc["tumour", "standard_error"] < 0.2
    assert abs(table.loc["muscle", "delta_so2"]) < 4 * table.loc["muscle", "standard_error"]
    assert table["responding"].tolist() == [True, False, None]
    assert np.isnan(table.loc["empty", "delta_so2"])
    assert found.decisions["change"] == "found in the mean of region tumour"


def test_the_map_has_the_change_of_each_voxel_and_its_error(oxygenation):
    delta = it.msot.delta_so2(oxygenation, regions(), change_s=175.0).delta
    assert (delta.quantity, delta.unit) == ("delta_so2", "%")
    tumour, muscle = (delta.value.data[mask].astype(float) for mask in (TUMOUR, MUSCLE))
    assert np.mean(tumour) == pytest.approx(12.0, abs=0.3)
    assert np.mean(muscle) == pytest.approx(0.0, abs=0.3)
    error = delta.standard_error.data[MUSCLE]
    assert np.mean(error) == pytest.approx(np.std(muscle), rel=0.15)  # 240 voxels: known within 5 %
    assert np.mean(delta.maps["responding"].data[TUMOUR]) > 0.9
    assert np.mean(delta.maps["responding"].data[MUSCLE]) < 0.05
    assert (delta.flags.data[EMPTY & ~np.isfinite(delta.value.data)] & Flag.BELOW_NOISE.value != 0).all()
    assert np.mean(np.isfinite(delta.value.data[EMPTY])) < 0.02
    assert delta.axes == ()


def test_voxels_too_weak_in_one_frame_have_a_change_of_their_mean_amounts(rng):
    """Haemoglobin of two standard errors per frame; 13 and 17 frames make it seven and more."""
    weak = it.msot.oxygenation(volume(rng, sd=0.2), noise_sd=0.2)
    assert np.mean(np.isfinite(weak.so2.value.data[MUSCLE])) < 0.35
    delta = it.msot.delta_so2(weak, regions(), change_s=175.0).delta
    found = np.isfinite(delta.value.data)
    assert found[TUMOUR | MUSCLE].mean() > 0.99
    for mask, truth in ((TUMOUR, 12.0), (MUSCLE, 0.0)):
        value = delta.value.data[mask & found].astype(float)
        error = delta.standard_error.data[mask & found]
        assert np.mean(value) == pytest.approx(truth, abs=4 * np.std(value) / np.sqrt(value.size))
        assert np.sqrt(np.mean(error**2)) == pytest.approx(np.std(value), rel=0.15)
    of_saturations = it.msot.delta_so2(weak.so2, regions(), change_s=175.0).delta
    assert np.mean(np.isfinite(of_saturations.value.data[MUSCLE])) < 0.01


def test_the_curves_show_both_states(oxygenation):
    curve = it.msot.delta_so2(oxygenation, regions(), change_s=175.0).curves[0]
    assert curve.label == "tumour"
    assert curve.line[0] == pytest.approx(45.0, abs=0.5)
    assert curve.line[-1] - curve.line[0] == pytest.approx(curve.value)
    assert curve.marks == (175.0,)


def test_without_regions_the_change_is_looked_for_in_the_mask(oxygenation):
    found = it.msot.delta_so2(oxygenation, mask=TUMOUR)
    assert found.change_s == 175.0
    assert found.table is None
    assert (found.delta.flags.data[~TUMOUR] == Flag.MASKED_OUT.value).all()


def test_a_map_of_saturation_alone_will_do(oxygenation):
    found = it.msot.delta_so2(oxygenation.so2, regions(), find_in="tumour")
    assert found.change_s == 175.0
    assert found.table["delta_so2"].iloc[0] == pytest.approx(12.0, abs=0.5)


def test_no_change_is_refused_not_made_up(rng):
    still = it.msot.oxygenation(volume(rng, jump=0.0), noise_sd=0.004)
    with pytest.raises(IllConditioned, match="no change") as refusal:
        it.msot.delta_so2(still, regions(), find_in="tumour")
    assert "change_s" in str(refusal.value)
    table = it.msot.delta_so2(still, regions(), change_s=175.0).table
    assert table["responding"].tolist() == [False, False, None]
    with pytest.raises(IllConditioned, match="find_in="):
        it.msot.delta_so2(still, regions(), find_in="empty")


def test_a_change_less_certain_than_the_buffer_is_told(rng):
    weak = it.msot.oxygenation(volume(rng, jump=0.9, sd=0.05), noise_sd=0.05)
    found = it.msot.delta_so2(weak, regions(), find_in="tumour", buffer_frames=0)
    assert found.change_high_s - found.change_low_s > 20.0
    assert "change-uncertain" in {caution.code for caution in found.warnings}


def test_what_cannot_be_evaluated_is_refused(oxygenation):
    so2 = oxygenation.so2
    one = type(so2)(*(part.frame(0) for part in (so2.value, so2.standard_error, so2.flags)))
    with pytest.raises(MissingMetadata, match="over time"):
        it.msot.delta_so2(one)
    with pytest.raises(UnsupportedInput, match="needs oxygen saturation"):
        it.msot.delta_so2(oxygenation.thb)
    with pytest.raises(UnknownChoice, match="find_in"):
        it.msot.delta_so2(oxygenation, change_s=175.0, find_in="tumour")
    with pytest.raises(UnknownChoice, match="kidney"):
        it.msot.delta_so2(oxygenation, regions(), find_in="kidney")
    with pytest.raises(UnsupportedInput, match="fewer than 3 frames"):
        it.msot.delta_so2(oxygenation, regions(), change_s=20.0)
    with pytest.raises(GeometryMismatch):
        it.msot.delta_so2(oxygenation, mask=np.ones((2, 2, 2)))
