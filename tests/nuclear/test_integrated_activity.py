"""Maps of time-integrated activity: closed forms in every voxel, from header to decays, and refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import (
    GeometryMismatch,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
)
from imgtheranostics.nuclear import Administration, time_integrated_activity
from imgtheranostics.nuclear.decay import average_activity_time
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Flag, Source

HOUR = 3600.0
CU64_S = 45720.0
SCAN_HOURS = (1.0, 4.0, 24.0, 48.0)
BIOLOGICAL_H = 30.0


@pytest.fixture
def scans(series, moments, scan_at):
    """64Cu at 1, 4, 24 and 48 h after injection, cleared with 30 h besides."""
    return make_scans(series, moments, scan_at)


def make_scans(series, moments, scan_at, hours=SCAN_HOURS, biological_h=BIOLOGICAL_H, **changes):
    volumes = []
    for after in hours:
        at = scan_at + timedelta(hours=after - 1)
        # START-corrected images hold the biology of the middle of the frame, decayed to its start
        left = 2 ** (-after * HOUR / CU64_S) * 2 ** (-(after + 150 / HOUR) / biological_h)
        data = np.full((8, 8, 4), 5e4 * left)
        data[:2] *= 0.1
        volumes.append(
            series(
                data=data, spacing=30.0, series_datetime=at, acquisition_datetime=moments(at),
                nuclide="Cu-64", half_life_s=CU64_S, **changes,
            )
        )  # fmt: skip
    return volumes


def effective_s():
    return HOUR / (1 / BIOLOGICAL_H + HOUR / CU64_S)


@pytest.mark.parametrize("model", ["mono", "auto"])
def test_every_voxel_has_the_area_of_the_closed_form(scans, model):
    found = it.nuclear.time_integrated_activity(scans[::-1], model=model)
    assert (found.quantity, found.unit) == ("time_integrated_activity", "Bq.s/mL")
    area = 5e4 * effective_s() / np.log(2)
    assert found.value.data[4, 4, 1] == pytest.approx(area, rel=1e-6)
    assert found.value.data[0, 0, 0] == pytest.approx(0.1 * area, rel=1e-6)
    assert found.maps["effective_half_life"].data[4, 4, 1] == pytest.approx(effective_s(), rel=1e-6)
    late = 100 * 2 ** (-(48 * HOUR + 150) / effective_s())
    assert found.maps["extrapolated_fraction"].data[4, 4, 1] == pytest.approx(late, rel=1e-5)
    assert found.maps["extrapolated_fraction"].unit == "%"
    assert not found.value.axes
    assert found.value.history[-1].name == "time_integrated_activity"


def test_maps_and_tables_agree(scans):
    organ = np.zeros(scans[0].grid.shape, bool)
    organ[3:6] = True
    rois = Regions.from_masks({"organ": organ}, scans[0].grid)
    table = it.nuclear.fit_curve(it.nuclear.time_activity(scans, rois, peak=False), "mono")
    found = it.nuclear.fit_curve(scans, "mono")
    mean = table.loc[table["quantity"] == "time_integrated_activity", "mean"].iloc[0]
    assert it.roi_statistics(found, rois)["mean"].iloc[0] == pytest.approx(mean, rel=1e-6)


def test_share_of_the_injection_is_per_gram_or_millilitre(scans):
    injected = 50e6
    own = Administration(injected, at=scans[0].acquisition.radiopharmaceutical.start_datetime)
    per_ml = time_integrated_activity(scans, model="mono", quantity="id_per_ml", administration=own)
    per_g = time_integrated_activity(
        scans, model="mono", quantity="id_per_g", administration=own, density_g_ml=1.05
    )
    area = 5e4 * effective_s() / np.log(2) / injected
    assert per_ml.value.data[4, 4, 1] == pytest.approx(area, rel=1e-6)
    assert per_g.value.data[4, 4, 1] == pytest.approx(area / 1.05, rel=1e-6)
    assert (per_ml.unit, per_g.unit) == ("s/mL", "s/g")
    assert per_ml.calibration_relative == pytest.approx(0.05, rel=0.3)
    assert per_ml.standard_error.data[4, 4, 1] >= 0.04 * area


def test_trapezoids_with_a_tail_by_decay_bound_the_area_from_above(scans):
    found = time_integrated_activity(scans, model="linear_log", beginning="physical")
    area = 5e4 * effective_s() / np.log(2)
    assert area < found.value.data[4, 4, 1] < 1.2 * area
    assert set(found.maps) == {"effective_half_life", "extrapolated_fraction"}
    assert np.isnan(found.standard_error.data).all()


@pytest.mark.parametrize("by_voxel", [False, True])
def test_errors_of_trapezoids_come_from_those_of_the_samples(scans, by_voxel):
    """Straight lines are linear in the samples: the root of the summed squares of weight times error."""
    own = 2e3 * np.array([1.0, 2.0, 0.5, 4.0])
    times = np.array([h * HOUR for h in SCAN_HOURS]) + 150.0
    gaps, decay = np.diff(times), np.log(2) / CU64_S
    weights = 0.5 * (np.r_[0.0, gaps] + np.r_[gaps, 0.0])
    weights[-1] += 1 / decay
    expected = np.sqrt(((weights * np.exp(-decay * times) * own) ** 2).sum())
    given = np.tile(own, (8, 8, 4, 1)) if by_voxel else own
    found = time_integrated_activity(scans, model="linear", beginning="none", standard_error=given)
    # the middle of a frame by activity differs from that by time by less than a second
    np.testing.assert_allclose(found.standard_error.data, expected, rtol=1e-3)
    assert found.decisions["standard_error"]["rule"] == "from those of the samples"
    without = time_integrated_activity(scans, model="linear", beginning="none")
    assert np.isnan(without.standard_error.data).all()
    assert "none was given" in without.decisions["standard_error"]["rule"]


@pytest.mark.parametrize(
    ("model", "errors", "words"),
    [
        ("mono", np.ones(4), "trapezoids"),
        ("linear", np.ones(3), "shape"),
        ("linear", -np.ones(4), "negative"),
    ],
)
def test_errors_of_samples_that_do_not_fit(scans, model, errors, words):
    with pytest.raises(ValueError, match=words):
        time_integrated_activity(scans, model=model, standard_error=errors)


def test_masks_and_bad_voxels_are_flagged(scans):
    spoilt = scans[2].data.copy()
    spoilt[4, 4, 1] = np.nan
    scans[2] = scans[2].replace(data=spoilt)
    mask = np.ones(scans[0].grid.shape, bool)
    mask[:, :, 3] = False
    found = time_integrated_activity(scans, model="mono", mask=mask, threshold=1e4)
    flags = found.flags.data
    assert flags[4, 4, 1] == Flag.INVALID_INPUT.value
    assert (flags[:, :, 3] == Flag.MASKED_OUT.value).all()
    assert (flags[:2, :, :3] == Flag.BELOW_NOISE.value).all()
    assert np.isfinite(found.value.data).sum() == 6 * 8 * 3 - 1


def test_a_dynamic_series_is_integrated_as_its_frames_are(series, moments, scan_at):
    starts = np.array([0.0, 600, 1200, 2400, 4800])
    data = np.full((4, 4, 2, 5), 1000.0)
    v = series(
        data=data, spacing=30.0, frame_duration_s=np.full((1, 5), 600.0),
        acquisition_datetime=moments(*[scan_at + timedelta(seconds=s) for s in starts], shape=(1, 5)),
        frame_reference_time_s=(starts + average_activity_time(600.0, 6586.2))[np.newaxis], decay_factor=None,
    )  # fmt: skip
    found = time_integrated_activity(v, model="mono")
    at_injection = 1000 * 2 ** (HOUR / 6586.2)
    assert found.value.data == pytest.approx(at_injection * 6586.2 / np.log(2), rel=1e-6)
    assert (found.flags.data & Flag.AT_BOUND.value).all()


def test_too_few_scans_are_refused(scans):
    with pytest.raises(IllConditioned, match="4 parameters"):
        time_integrated_activity(scans[:3], model="bi")
    with pytest.raises(NothingUsable):
        time_integrated_activity([])


def test_scans_that_do_not_belong_together_are_refused(scans, series, moments, scan_at):
    with pytest.raises(ImplausibleValue, match="same time"):
        time_integrated_activity([scans[0], scans[0]], model="mono")
    moved = scans[1].replace(affine=scans[1].affine + np.diag([0.5, 0, 0, 0]))
    with pytest.raises(GeometryMismatch, match="grids"):
        time_integrated_activity([scans[0], moved], model="mono")
    other = make_scans(series, moments, scan_at, hours=(24.0,))[0]
    drug = replace(other.acquisition.radiopharmaceutical, nuclide="F-18", half_life_s=6586.2)
    other = other.replace(acquisition=replace(other.acquisition, radiopharmaceutical=drug))
    with pytest.raises(ImplausibleValue, match="nuclides"):
        time_integrated_activity([scans[0], other], model="mono")
    someone = scans[1].replace(source=Source(subject="m2"))
    with pytest.raises(ImplausibleValue, match="subjects"):
        time_integrated_activity([scans[0].replace(source=Source(subject="m1")), someone], model="mono")


def test_without_an_injection_nothing_is_integrated(series):
    v = series(data=np.full((4, 4, 2), 1000.0), spacing=30.0, start_datetime=None)
    with pytest.raises(MissingMetadata, match="injection"):
        time_integrated_activity(v, model="mono")


@pytest.mark.parametrize(
    "options", [{"model": "quad"}, {"quantity": "suv_bw"}, {"tail": "free", "model": "linear"}, {"uptake": 3}]
)
def test_choices_that_do_not_exist_are_refused(scans, options):
    with pytest.raises(ValueError, match="must be"):
        time_integrated_activity(scans, **options)


def test_the_half_life_of_images_is_their_own(scans):
    with pytest.raises(ValueError, match="half_life_s"):
        it.nuclear.fit_curve(scans, "mono", half_life_s=6000.0)
