"""Curves of long frames: means over frames by the closed form of exponentials, written here once more."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from imgtheranostics.nuclear import fit_curve
from imgtheranostics.nuclear.frame_means import mean_over_middle
from imgtheranostics.nuclear.pair_records import biological_table

O15_S = 122.24
STARTS = np.arange(6) * 600.0
FRAME_S = 600.0


def decayed_mean(amplitude, rate):
    """Mean of the activity A exp(-r t) over each frame."""
    return amplitude * (np.exp(-rate * STARTS) - np.exp(-rate * (STARTS + FRAME_S))) / (rate * FRAME_S)


def table_of(parts, half_life_s=O15_S, corrected=True, frame_s=FRAME_S):
    """Samples of the sum of (amplitude, biological half-life), averaged over frames as a scanner does."""
    decay = np.log(2) / half_life_s
    values = sum(decayed_mean(a, decay + np.log(2) / biological) for a, biological in parts)
    if corrected:
        values = values * np.exp(decay * STARTS) * decay * FRAME_S / -np.expm1(-decay * FRAME_S)
    table = pd.DataFrame(
        {
            "subject": "m1", "session": "", "region": "tumour", "quantity": "id_per_ml", "unit": "%/mL",
            "axis": "time", "axis_value": STARTS + FRAME_S / 2, "n_voxels": 9, "n_valid": 9, "volume_ml": 0.3,
            "mean": values, "standard_error": 0.01 * values, "warnings": "", "decay_corrected": corrected,
        }
    )  # fmt: skip
    table.attrs["details"] = [{"frame_duration_s": frame_s} for _ in STARTS]
    table.attrs["decisions"] = [{"half_life": {"seconds": half_life_s}}]
    return table


def area(parts, half_life_s=O15_S):
    """Closed form, in s per mL of the share that was injected."""
    return sum(a / 100 / (np.log(2) / half_life_s + np.log(2) / biological) for a, biological in parts)


def result(found, quantity):
    return float(found.loc[found["quantity"] == quantity, "mean"].iloc[0])


def codes(found):
    return {caution.code for caution in found.attrs["warnings"]}


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("model", ["mono", "auto"])
def test_frames_longer_than_the_half_life_do_not_bias_the_area(corrected, model):
    """Values in the middle of 600 s frames would be 46 % off for 150; 300 s of clearance, 122 s of decay."""
    found = fit_curve(table_of([(12.0, 300.0)], corrected=corrected), model)

    assert result(found, "tiac_per_ml") == pytest.approx(area([(12.0, 300.0)]), rel=1e-4)
    assert result(found, "biological_half_life") == pytest.approx(300.0, rel=1e-4)
    assert "long-frames" in codes(found)


def test_curve_with_an_uptake_phase_is_fitted_to_means_over_frames():
    parts = [(12.0, 3000.0), (-12.0, 500.0)]

    found = fit_curve(table_of(parts, half_life_s=6586.2), "bi")

    assert result(found, "tiac_per_ml") == pytest.approx(area(parts, 6586.2), rel=2e-3)


def test_short_frames_change_nothing_and_are_not_spoken_of():
    parts = [(12.0, 3.6e6)]

    found = fit_curve(table_of(parts, half_life_s=53064.0), "mono")
    plain = fit_curve(table_of(parts, half_life_s=53064.0, frame_s=np.nan), "mono")

    assert result(found, "tiac_per_ml") == pytest.approx(result(plain, "tiac_per_ml"), rel=1e-4)
    assert "long-frames" not in codes(found)


def test_trapezoids_between_long_frames_are_spoken_of():
    found = fit_curve(table_of([(12.0, 300.0)]), "linear_log")

    assert "frames-too-long" in codes(found)


def test_means_of_long_frames_are_decay_corrected_as_means():
    """The samples of a curve as it was measured become those that a scanner corrects frame by frame."""
    measured, corrected = table_of([(12.0, 300.0)], corrected=False), table_of([(12.0, 300.0)])

    found = biological_table(measured, O15_S)

    np.testing.assert_allclose(found["mean"], corrected["mean"], rtol=1e-12)


def test_mean_over_middle_counts_frames_of_unknown_length_as_short():
    np.testing.assert_array_equal(mean_over_middle(0.01, [np.nan, 0.0]), 1.0)
