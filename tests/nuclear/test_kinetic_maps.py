"""Maps of kinetics: what the array level gives, with clocks, decay, blood and refusals of a whole series."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from scipy.signal import lfilter

from imgtheranostics.errors import (
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.nuclear import kinetics_maps, time_activity
from imgtheranostics.nuclear.decay import average_activity_time
from imgtheranostics.nuclear.input_functions import InputFunction, image_derived
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Flag

F18_S = 6586.2
WAIT_S = 20.0
DURATION = np.array([10.0] * 12 + [30.0] * 6 + [60.0] * 5 + [300.0] * 10)
BEGIN = np.cumsum(DURATION) - DURATION
START = WAIT_S + BEGIN
MID = START + DURATION / 2
FINE = np.arange(0.0, START[-1] + DURATION[-1] + 1, 1.0)
PLASMA = 1e4 * (FINE / 30 * np.exp(-FINE / 40) + 0.2 * (np.exp(-FINE / 2500) - np.exp(-FINE / 40)))
BLOOD = InputFunction(FINE, PLASMA, 0.8 * PLASMA, {"rule": "plasma samples"})


def frame_means(curve):
    area = np.r_[0.0, np.cumsum(0.5 * (curve[1:] + curve[:-1]))]
    return (np.interp(START + DURATION, FINE, area) - np.interp(START, FINE, area)) / DURATION


def tissue(k1, k2, vb=0.0):
    """One tissue compartment: the convolution by the trapezoid at steps of 1 s."""
    decay = np.exp(-k2 / 60)
    inside = k1 / 60 * lfilter([0.5, 0.5 * decay], [1.0, -decay], PLASMA)
    return frame_means((1 - vb) * inside + vb * 0.8 * PLASMA)


def trapped(ki, volume):
    area = np.r_[0.0, np.cumsum(0.5 * (PLASMA[1:] + PLASMA[:-1]))]
    return frame_means(ki / 60 * area + volume * PLASMA)


@pytest.fixture
def scan(series, moments, scan_at):
    """An injection 20 s before a scan that is decay corrected to its own start; 3 kinds of tissue along i."""

    def make(curves, **changes):
        data = np.empty((len(curves), 4, 4, MID.size))
        data[:] = np.asarray(curves)[:, np.newaxis, np.newaxis] * 2 ** (-WAIT_S / F18_S)
        n = MID.size
        stated = {
            "start_datetime": scan_at - timedelta(seconds=WAIT_S),
            "acquisition_datetime": moments(*[scan_at + timedelta(seconds=s) for s in BEGIN], shape=(1, n)),
            "frame_duration_s": DURATION[np.newaxis],
            "frame_reference_time_s": (BEGIN + average_activity_time(DURATION, F18_S))[np.newaxis],
            "decay_factor": None,
        }
        return series(data=data, spacing=50.0, **{**stated, **changes})

    return make


@pytest.fixture
def one_tissue(scan):
    return scan([tissue(0.1, 0.1), tissue(0.12, 0.04), tissue(0.08, 0.05)])


def region(v, i):
    inside = np.zeros(v.grid.shape, bool)
    inside[i] = True
    return Regions.from_masks({"cerebellum": inside}, v.grid)


def test_patlak_map_has_values_units_and_record(scan):
    v = scan([trapped(0.03, 0.4), trapped(0.01, 0.2), trapped(0.0, 0.3)])
    found = kinetics_maps(v, method="patlak", input_function=BLOOD, start_s=900.0)
    estimate = found["net_influx"]
    expected = np.array([0.03, 0.01, 0.0])[:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(
        estimate.value.data, np.broadcast_to(expected, (3, 4, 4)), rtol=1e-4, atol=1e-6
    )
    assert estimate.unit == "mL/cm3/min"
    assert not estimate.value.axes
    assert estimate.decisions["method"] == {"rule": "patlak", "start_s": 900.0}
    assert estimate.decisions["input_function"]["rule"] == "plasma samples"
    assert "rmse" not in estimate.maps
    assert set(found) == {"net_influx"}


def test_volumes_of_distribution(one_tissue):
    for method in ("logan", "ma1", "one_tissue"):
        options = {} if method == "one_tissue" else {"start_s": 900.0}
        found = kinetics_maps(one_tissue, method=method, input_function=BLOOD, **options)
        values = found["distribution_volume"].value.data[:, 0, 0]
        np.testing.assert_allclose(values, [1.0, 3.0, 1.6], rtol=5e-3)
    assert set(found) == {
        "tissue_influx", "tissue_efflux", "blood_fraction", "bolus_delay", "distribution_volume"
    }  # fmt: skip
    np.testing.assert_allclose(found["tissue_influx"].value.data[:, 1, 1], [0.1, 0.12, 0.08], rtol=2e-3)
    assert (found["bolus_delay"].value.data == 0.0).all()


def test_binding_against_a_region(one_tissue):
    reference = region(one_tissue, 0)
    for method in ("srtm", "srtm2", "logan_reference", "mrtm2", "mrtm"):
        options = {"start_s": 900.0} if method == "logan_reference" else {}
        if method in ("logan_reference", "mrtm2"):
            options["k2_reference_per_min"] = 0.1
        found = kinetics_maps(one_tissue, method=method, reference=reference, mask=~region_mask(), **options)
        values = found["binding_potential"].value.data[1:, 0, 0]
        np.testing.assert_allclose(values, [2.0, 0.6], rtol=2e-2)
        assert (found["binding_potential"].flags.data[0] == Flag.MASKED_OUT).all()
    curve = time_activity(one_tissue, reference, peak=False)["mean"].to_numpy()
    given = kinetics_maps(one_tissue, method="mrtm2", reference=curve, k2_reference_per_min=0.1)
    np.testing.assert_allclose(given["binding_potential"].value.data[1:, 0, 0], [2.0, 0.6], rtol=2e-2)


def region_mask():
    mask = np.zeros((3, 4, 4), bool)
    mask[0] = True
    return mask


def test_blood_tables_are_read(scan, tmp_path):
    v = scan([trapped(0.03, 0.4)])
    table = tmp_path / "sub-01_blood.tsv"
    rows = "\n".join(f"{t}\t{c / 1e3}" for t, c in zip(FINE, PLASMA, strict=True))
    table.write_text(f"time\tplasma_radioactivity\n{rows}\n")
    units = {"time": {"Units": "s"}, "plasma_radioactivity": {"Units": "kBq/mL"}}
    table.with_suffix(".json").write_text(json.dumps(units))
    found = kinetics_maps(v, method="patlak", input_function=table, start_s=900.0)["net_influx"]
    np.testing.assert_allclose(found.value.data, 0.03, rtol=1e-3)
    assert {"blood-decay-assumed", "metabolites-not-corrected"} <= {c.code for c in found.warnings}


def test_blood_from_the_images_has_their_calibration(one_tissue):
    """What scales image and blood alike cancels; what a vessel does not tell is cautioned."""
    inside = image_derived(0.8 * frame_means(PLASMA), time_s=MID, frame_duration_s=DURATION)
    from_images = kinetics_maps(one_tissue, method="logan", input_function=inside, start_s=900.0)
    assert from_images["distribution_volume"].calibration_relative == 0.0
    assert "metabolites-not-corrected" in {c.code for c in from_images["distribution_volume"].warnings}


def test_several_decay_corrections_lead_to_one_map(scan, moments, scan_at):
    """Frames that are not decay corrected (NONE) give the same as those corrected to the scan's start."""
    curves = [trapped(0.03, 0.4)]
    average = BEGIN + average_activity_time(DURATION, F18_S)
    undone = [curves[0] * 2 ** (-average / F18_S)]
    v = scan(undone, decay_correction="NONE", corrections=("ATTN",))
    found = kinetics_maps(v, method="patlak", input_function=BLOOD, start_s=900.0)["net_influx"]
    np.testing.assert_allclose(found.value.data, 0.03, rtol=1e-4)


def test_refusals_of_input(one_tissue, scan):
    with pytest.raises(UnknownChoice, match="method"):
        kinetics_maps(one_tissue, method="patlack", input_function=BLOOD)
    with pytest.raises(UnknownChoice, match="n_bases"):
        kinetics_maps(one_tissue, method="logan", input_function=BLOOD, n_bases=3)
    with pytest.raises(MissingMetadata, match="straight"):
        kinetics_maps(one_tissue, method="logan", input_function=BLOOD)
    with pytest.raises(MissingMetadata, match="input function"):
        kinetics_maps(one_tissue, method="logan", start_s=900.0)
    with pytest.raises(MissingMetadata, match="reference tissue"):
        kinetics_maps(one_tissue, method="srtm")
    with pytest.raises(UnsupportedInput, match="nothing else"):
        kinetics_maps(one_tissue, method="srtm", input_function=BLOOD, reference=region(one_tissue, 0))
    with pytest.raises(UnsupportedInput, match="at least 2 frames"):
        kinetics_maps(one_tissue, method="logan", input_function=BLOOD, start_s=1e5)
    with pytest.raises(UnsupportedInput, match="dynamic"):
        kinetics_maps(one_tissue.frame(0), method="logan", input_function=BLOOD, start_s=900.0)
    suv = one_tissue.replace(quantity="suv_bw", unit="g/mL")
    with pytest.raises(UnitMismatch, match="SUV"):
        kinetics_maps(suv, method="logan", input_function=BLOOD, start_s=900.0)
    short = replace(BLOOD, time_s=0.5 * FINE)
    with pytest.raises(ImplausibleValue, match="do not cover the scan"):
        kinetics_maps(one_tissue, method="logan", input_function=short, start_s=900.0)
    with pytest.raises(MissingMetadata, match="injection"):
        kinetics_maps(
            scan([tissue(0.1, 0.1)], start_datetime=None), method="logan", input_function=BLOOD, start_s=900.0
        )


def test_refusals_of_regions(one_tissue):
    other = one_tissue.replace(affine=np.diag([1.0, 1.0, 1.0, 1.0]))
    with pytest.raises(GeometryMismatch):
        kinetics_maps(one_tissue, method="srtm", reference=region(other, 0))
    two = Regions.from_masks({"a": region_mask(), "b": ~region_mask()}, one_tissue.grid)
    with pytest.raises(UnsupportedInput, match="one region"):
        kinetics_maps(one_tissue, method="srtm", reference=two)
