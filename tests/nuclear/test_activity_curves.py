"""Time-activity curves: dynamic series, several days, decay corrected or not, always labelled."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from imgtheranostics.errors import (
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.nuclear import Administration, percent_id_per_gram, suv, time_activity
from imgtheranostics.nuclear.decay import average_activity_time
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions, roi_statistics
from imgtheranostics.volume import Source, Volume

F18_S = 6586.2
CU64_S = 45720.0
FRAMES_S = np.array([60.0, 120.0, 300.0])


def boxes(v):
    organ, blood = np.zeros(v.grid.shape, bool), np.zeros(v.grid.shape, bool)
    organ[2:5, 2:6, :], blood[5:7, 2:6, :] = True, True
    return Regions.from_masks({"organ": organ, "blood": blood}, v.grid)


@pytest.fixture
def dynamic(series, moments, scan_at):
    """Three frames of a constant truth: 1000 Bq/mL at the scan start in the organ, 200 in blood."""
    begin = np.concatenate([[0.0], np.cumsum(FRAMES_S)[:-1]])
    data = np.full((8, 8, 4, 3), 1000.0)
    data[5:] = 200.0
    return series(
        data=data,
        spacing=30.0,
        acquisition_datetime=moments(*[scan_at + timedelta(seconds=s) for s in begin], shape=(1, 3)),
        frame_duration_s=FRAMES_S[np.newaxis],
        frame_reference_time_s=(begin + average_activity_time(FRAMES_S, F18_S))[np.newaxis],
        decay_factor=None,
    )


def curve(table, region, column="mean"):
    return table[table["region"] == region][column].to_numpy()


def test_columns_times_and_labels_of_a_dynamic_series(dynamic):
    table = time_activity(dynamic, boxes(dynamic), peak=False)
    assert list(table.columns) == [*STATISTICS_COLUMNS, "decay_corrected"]
    assert (table["axis"] == "time").all()
    assert curve(table, "organ", "axis_value") == pytest.approx([3630.0, 3720.0, 3930.0])
    assert table.attrs["time_origin"] == "injection"
    assert table.attrs["decay_reference"] == "injection"
    assert table["decay_corrected"].all()
    assert len(table.attrs["details"]) == len(table)


def test_corrected_activity_refers_to_the_injection(dynamic):
    table = time_activity(dynamic, boxes(dynamic), peak=False)
    assert curve(table, "organ") == pytest.approx(1000 * 2 ** (3600 / F18_S), rel=1e-6)
    assert curve(table, "blood", "max") == pytest.approx(200 * 2 ** (3600 / F18_S), rel=1e-6)
    assert (table["quantity"] == "activity_concentration").all()


def test_uncorrected_activity_is_the_mean_over_each_frame(dynamic):
    table = time_activity(dynamic, boxes(dynamic), decay_corrected=False, peak=False)
    begin = np.concatenate([[0.0], np.cumsum(FRAMES_S)[:-1]])
    rate = np.log(2) / F18_S
    mean = 1000 * np.exp(-rate * begin) * -np.expm1(-rate * FRAMES_S) / (rate * FRAMES_S)
    assert curve(table, "organ") == pytest.approx(mean, rel=1e-6)
    assert not table["decay_corrected"].any()
    assert "as it was" in table.attrs["decay_reference"]


def test_suv_and_injected_dose_curves_equal_their_maps(dynamic):
    rois = boxes(dynamic)
    for quantity, estimate in (
        ("suv_bw", suv(dynamic)),
        ("suv_lbm_janmahasatian", suv(dynamic, "lbm_janmahasatian")),
        ("id_per_g", percent_id_per_gram(dynamic, density_g_ml=1.04)),
    ):
        table = time_activity(dynamic, rois, quantity=quantity, density_g_ml=1.04, peak=False)
        inside = estimate.value.data[rois.mask("organ")]
        assert curve(table, "organ") == pytest.approx(inside.mean(axis=0), rel=1e-6)
        assert (table["quantity"] == quantity).all()
        assert (table["unit"] == estimate.unit).all()
        error = curve(table, "organ", "standard_error")
        assert error == pytest.approx(0.05 * inside.mean(axis=0), rel=1e-5)


def test_density_map_curve_equals_the_statistics_of_its_map(dynamic):
    rng = np.random.default_rng(8)
    density = Volume(rng.uniform(0.05, 1.5, dynamic.shape[:3]), dynamic.affine, "density", "g/mL")
    rois = boxes(dynamic)
    table = time_activity(dynamic, rois, quantity="id_per_g", density_g_ml=density, peak=False)
    expected = roi_statistics(percent_id_per_gram(dynamic, density_g_ml=density), rois)
    for column in ("n_valid", "mean", "sd", "median", "p05", "p95", "min", "max", "standard_error"):
        assert table[column].to_numpy() == pytest.approx(expected[column].to_numpy(), rel=2e-6)
    assert (table["n_valid"] < table["n_voxels"]).any()


def test_missing_voxels_and_single_voxels(dynamic):
    data = dynamic.data.copy()
    data[2, 2, 0, 1] = np.nan
    v = dynamic.replace(data=data)
    one = np.zeros(v.grid.shape, bool)
    one[6, 6, 2] = True
    rois = Regions.from_masks({"organ": boxes(v).mask("organ"), "one": one}, v.grid)
    table = time_activity(v, rois, quantity="suv_bw", peak=False)
    assert curve(table, "organ", "flags").tolist() == ["", "INVALID_INPUT:1", ""]
    expected = roi_statistics(suv(v), rois)
    assert table["standard_error"].to_numpy() == pytest.approx(
        expected["standard_error"].to_numpy(), rel=1e-5
    )
    assert curve(table, "one", "standard_error") == pytest.approx(0.05 * curve(table, "one"))


def test_per_millilitre_curve(dynamic):
    table = time_activity(dynamic, boxes(dynamic), quantity="id_per_ml", peak=False)
    left = 368.08e6 * 2 ** (-3600 / F18_S)
    assert curve(table, "organ") == pytest.approx(100 * 1000 / left, rel=1e-6)


def test_uncorrected_injected_dose_decays_from_the_injection(dynamic):
    corrected = time_activity(dynamic, boxes(dynamic), quantity="id_per_g", peak=False)
    plain = time_activity(dynamic, boxes(dynamic), quantity="id_per_g", decay_corrected=False, peak=False)
    begin = np.concatenate([[0.0], np.cumsum(FRAMES_S)[:-1]])
    since = 3600 + begin + average_activity_time(FRAMES_S, F18_S)
    assert curve(plain, "organ") / curve(corrected, "organ") == pytest.approx(2 ** (-since / F18_S), rel=1e-6)


def test_one_acquisition_time_for_all_frames_is_spread_by_the_time_axis(dynamic, moments, scan_at):
    record = replace(dynamic.acquisition, acquisition_datetime=moments(*[scan_at] * 3, shape=(1, 3)))
    table = time_activity(dynamic.replace(acquisition=record), boxes(dynamic), peak=False)
    assert curve(table, "organ", "axis_value") == pytest.approx([3630.0, 3720.0, 3930.0])
    assert table.attrs["warnings"] == ()


def several_days(series, scan_at, hours=(1.0, 24.0, 48.0), **changes):
    """64Cu, a constant 5 %ID/kg of 400 MBq, in START series of their own reference time."""
    scans = []
    for hour in hours:
        at = scan_at + timedelta(hours=hour)
        activity = 400e6 * 5e-5 * 2 ** (-hour * 3600 / CU64_S)
        scans.append(
            series(
                data=np.full((8, 8, 4), activity),
                spacing=30.0,
                nuclide="Cu-64",
                half_life_s=CU64_S,
                total_dose=400e6,
                start_datetime=scan_at,
                series_datetime=at,
                acquisition_datetime=np.array([[at]], "datetime64[us]"),
                frame_reference_time_s=None,
                **changes,
            )
        )
    return scans


def test_scans_of_several_days_make_one_curve_in_time_order(series, scan_at):
    scans = several_days(series, scan_at)
    table = time_activity([scans[2], scans[0], scans[1]], boxes(scans[0]), quantity="suv_bw", peak=False)
    assert curve(table, "organ", "axis_value") == pytest.approx([3750.0, 86550.0, 172950.0])
    assert curve(table, "organ") == pytest.approx(3.5, rel=1e-6)
    plain = time_activity(scans, boxes(scans[0]), decay_corrected=False, peak=False)
    # PET reference sheet: 5 %ID/kg is 5.40 kBq/mL at 24 h of 400 MBq 64Cu, not decay corrected
    later = 2 ** (-float(average_activity_time(300.0, CU64_S)) / CU64_S)
    assert curve(plain, "organ")[1] == pytest.approx(5400 * later, abs=5)
    corrected = time_activity(scans, boxes(scans[0]), peak=False)
    assert curve(corrected, "organ") == pytest.approx(400e6 * 5e-5, rel=1e-6)


def test_one_administration_for_all_scans(series, scan_at):
    scans = several_days(series, scan_at)
    silent = [
        scan.replace(
            acquisition=replace(
                scan.acquisition,
                radiopharmaceutical=replace(
                    scan.acquisition.radiopharmaceutical, start_datetime=None, total_dose=None
                ),
            )
        )
        for scan in scans
    ]
    given = Administration(200e6, scan_at, residual_bq=0.0)
    table = time_activity(silent, boxes(scans[0]), quantity="id_per_g", administration=given, peak=False)
    assert curve(table, "organ") == pytest.approx(0.01, rel=1e-6)
    with pytest.raises(MissingMetadata):
        time_activity(silent, boxes(scans[0]), quantity="id_per_g", peak=False)
    with pytest.raises(MissingMetadata, match="several scans"):
        time_activity(silent, boxes(scans[0]), peak=False)


def test_without_injection_a_single_scan_counts_from_its_start(dynamic):
    drug = replace(dynamic.acquisition.radiopharmaceutical, start_datetime=None)
    v = dynamic.replace(acquisition=replace(dynamic.acquisition, radiopharmaceutical=drug))
    table = time_activity(v, boxes(v), peak=False)
    assert table.attrs["time_origin"] == "scan start"
    assert curve(table, "organ", "axis_value") == pytest.approx([30.0, 120.0, 330.0])
    assert curve(table, "organ") == pytest.approx(1000.0, rel=1e-6)
    with pytest.raises(MissingMetadata):
        time_activity(v, boxes(v), quantity="suv_bw", peak=False)


def test_scans_with_different_injections_are_cautioned(series, scan_at):
    first, second = several_days(series, scan_at, hours=(1.0, 24.0))
    drug = replace(second.acquisition.radiopharmaceutical, start_datetime=scan_at + timedelta(hours=2))
    moved = second.replace(acquisition=replace(second.acquisition, radiopharmaceutical=drug))
    table = time_activity([first, moved], boxes(first), peak=False)
    assert "injections-differ" in [caution.code for caution in table.attrs["warnings"]]
    assert "2025" not in str(table.attrs["warnings"])


def test_scans_of_different_subjects_are_refused(series, scan_at):
    first, second = several_days(series, scan_at, hours=(1.0, 24.0))
    pair = [first.replace(source=Source(subject="sub-a")), second.replace(source=Source(subject="sub-b"))]
    with pytest.raises(ImplausibleValue, match="different subjects"):
        time_activity(pair, boxes(first))


def test_regions_for_each_scan(series, scan_at):
    scans = several_days(series, scan_at, hours=(1.0, 24.0))
    both = [boxes(scans[0]), boxes(scans[1])]
    assert len(time_activity(scans, both, peak=False)) == 4
    with pytest.raises(ValueError, match="regions"):
        time_activity(scans, both[:1])
    with pytest.raises(NothingUsable):
        time_activity([], both[0])
    with pytest.raises(ValueError, match="quantity"):
        time_activity(scans, both, quantity="suv")


def test_suv_series_with_unusable_clocks_still_give_a_curve(dynamic, scan_at):
    drug = replace(
        dynamic.acquisition.radiopharmaceutical, start_datetime=scan_at + timedelta(days=2), total_dose=None
    )
    record = replace(dynamic.acquisition, radiopharmaceutical=drug, units="GML")
    v = dynamic.replace(data=dynamic.data / 500, quantity="suv_bw", unit="g/mL", acquisition=record)
    table = time_activity(v, boxes(v), peak=False)
    assert curve(table, "organ") == pytest.approx(2.0)
    assert curve(table, "organ", "axis_value") == pytest.approx([30.0, 120.0, 330.0])
    assert table.attrs["time_origin"] == "scan start"
    assert "time-since-scan-start" in [caution.code for caution in table.attrs["warnings"]]
    with pytest.raises(ImplausibleValue):
        time_activity(v, boxes(v), decay_corrected=False, peak=False)
    with pytest.raises(UnitMismatch):
        time_activity(v, boxes(v), quantity="activity_concentration", peak=False)


def test_peak_column_in_the_unit_of_the_row(series, moments, scan_at):
    data = np.full((24, 24, 12), 100.0)
    data[10:18, 10:18, 4:8] = 1000.0
    v = series(data=data, spacing=7.0)
    spot = np.zeros(v.grid.shape, bool)
    spot[10:18, 10:18, 4:8] = True
    edge = np.zeros(v.grid.shape, bool)
    edge[0, 5:8, 5:8] = True
    rois = Regions.from_masks({"spot": spot, "edge": edge}, v.grid)
    table = time_activity(v, rois, quantity="suv_lbm_james128").set_index("region")
    assert table.loc["spot", "peak"] == pytest.approx(table.loc["spot", "max"], rel=1e-6)
    assert "peak-sphere-clipped" in table.loc["edge", "warnings"]
    assert "peak-sphere-clipped" not in table.loc["spot", "warnings"]


def test_coarse_voxels_have_no_peak(dynamic):
    table = time_activity(dynamic, boxes(dynamic))
    assert table["peak"].isna().all()
    assert table["warnings"].str.contains("peak-not-possible").all()
    assert table["mean"].notna().all()
    with pytest.raises(GeometryMismatch, match="larger than"):
        time_activity(dynamic, boxes(dynamic), peak=True)


def test_static_beds_with_one_acquisition_time_take_the_frame_reference_time(series):
    # as STS_001: one acquisition time, FRT to the frame start, DecayFactor to the frame mean
    begin = np.array([0.0, 600.0])[:, np.newaxis]
    mean_at = float(average_activity_time(300.0, F18_S))
    v = series(
        data=np.full((8, 8, 2), 1000.0),
        spacing=30.0,
        frame_reference_time_s=begin,
        frame_duration_s=np.full((2, 1), 300.0),
        decay_factor=2 ** ((begin + mean_at) / F18_S),
    )
    half = np.ones(v.grid.shape, bool)
    rois = Regions.from_masks({"a": half & (np.arange(2) == 0), "b": half & (np.arange(2) == 1)}, v.grid)
    table = time_activity(v, rois, decay_corrected=False, peak=False).set_index("region")
    assert table.loc["a", "mean"] == pytest.approx(1000 * 2 ** (-mean_at / F18_S), rel=1e-6)
    assert table.loc["b", "mean"] == pytest.approx(1000 * 2 ** (-(mean_at + 600) / F18_S), rel=1e-6)
    assert table["axis_value"].iloc[0] == pytest.approx(3600 + 300 + mean_at, abs=1)


def test_sidecar_without_clocks(dynamic):
    record = replace(
        dynamic.acquisition,
        series_datetime=None,
        acquisition_datetime=None,
        frame_reference_time_s=None,
        decay_reference_s=0.0,
        injection_to_first_frame_s=1800.0,
        radiopharmaceutical=replace(dynamic.acquisition.radiopharmaceutical, start_datetime=None),
    )
    table = time_activity(dynamic.replace(acquisition=record), boxes(dynamic), peak=False)
    assert curve(table, "organ", "axis_value") == pytest.approx([1830.0, 1920.0, 2130.0])
    assert curve(table, "organ") == pytest.approx(1000 * 2 ** (1800 / F18_S), rel=1e-6)


def test_bytes_do_not_depend_on_the_thread_count(series):
    v = series(data=np.random.default_rng(3).uniform(0, 1e4, (24, 24, 12)), spacing=7.0)
    spot = np.zeros(v.grid.shape, bool)
    spot[6:18, 6:18, 4:8] = True
    rois = Regions.from_masks({"spot": spot}, v.grid)
    one, two = (time_activity(v, rois, quantity="suv_bw", workers=n) for n in (1, 2))
    assert one.to_csv().encode() == two.to_csv().encode()


def test_attributes_hold_no_dates(dynamic):
    table = time_activity(dynamic, boxes(dynamic), quantity="suv_bw")
    text = json.dumps(table.attrs["decisions"]) + str(table.attrs["details"])
    assert "2025" not in text
