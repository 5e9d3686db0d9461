"""Published PET data with known answers: vendor headers, IBSI reference objects, STS_001."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.io.loading import load
from imgtheranostics.io.regions import load_rois
from imgtheranostics.nuclear import suv
from imgtheranostics.volume import Volume


def moment(date, clock):
    clock = clock.strip()
    return datetime.strptime(date + clock, "%Y%m%d%H%M%S.%f" if "." in clock else "%Y%m%d%H%M%S")


def vendor_volume(path):
    """Unit voxels with the header values of the JSON file; a real one has no pixels here."""
    images = json.loads(path.read_text())
    head = images[0]
    philips = head.get("PhilipsPETPrivateGroup") or {}
    activity = float(philips.get("ActivityConcentrationScaleFactor", 0)) or None
    full = head.get("RadiopharmaceuticalStartDateTime")
    starts = [moment(one["AcquisitionDate"], one["AcquisitionTime"]) for one in images]
    record = EmissionAcquisition(
        units=head["Units"],
        decay_correction=head["DecayCorrection"],
        corrections=tuple(head["CorrectedImage"]),
        series_datetime=moment(head["SeriesDate"], head["SeriesTime"]),
        acquisition_datetime=np.array(starts, "datetime64[us]")[:, np.newaxis],
        frame_reference_time_s=np.array([[one["FrameReferenceTime"] / 1000] for one in images]),
        frame_duration_s=np.array([[one["ActualFrameDuration"] / 1000] for one in images]),
        philips_suv_factor=float(philips.get("SUVScaleFactor", 0)) or None,
        philips_activity_factor=activity,
        radiopharmaceutical=Radiopharmaceutical(
            nuclide="F-18",
            half_life_s=head["RadionuclideHalfLife"],
            total_dose=head["RadionuclideTotalDose"],
            start_datetime=None if full is None else moment("", full),
            start_time=moment("20201217", head["RadiopharmaceuticalStartTime"]).time(),
        ),
        subject=Subject(weight_kg=head["PatientWeight"], height_m=head.get("PatientSize")),
        n_images=len(images),
    )
    counts = np.ones((64, 64, len(images)))
    data = counts * (activity if head["Units"] == "CNTS" and activity else 1.0)
    return Volume(data, np.diag([4.0, 4.0, 3.0, 1.0]), "activity_concentration", "Bq/mL", acquisition=record)


def vendor_cases():
    return ["SIEMENS", "GE_MEDICAL_AND_BQML", "BQML_AC_DT_lessThan_S_DT_SIEMENS", "PHILIPS_CNTS_AND_BQML_SUV"]


@pytest.mark.parametrize("case", vendor_cases())
def test_vendor_headers_give_their_suv_factor(public_data, case):
    folder = public_data("pet/vendor_headers")
    name = f"{case}-instances.json"
    with (folder / "expected.csv").open() as stream:
        expected = {row["file"]: float(row["suvbw_factor"]) for row in csv.DictReader(stream)}[name]
    result = suv(vendor_volume(folder / name))
    assert result.value.data == pytest.approx(expected, rel=1e-6)
    assert "clocks-differ" not in [caution.code for caution in result.warnings]


def test_clock_rules_of_the_vendor_headers(public_data):
    folder = public_data("pet/vendor_headers")
    rules = {
        case: suv(vendor_volume(folder / f"{case}-instances.json")).decisions["clock"]["rule"]
        for case in vendor_cases()[:3]
    }
    assert rules == {
        "SIEMENS": "series_time",
        "GE_MEDICAL_AND_BQML": "series_time",
        "BQML_AC_DT_lessThan_S_DT_SIEMENS": "earliest_time",
    }


def test_philips_activity_factor_agrees_with_the_vendor_suv_factor(public_data):
    # the vendor rounds its SUV factor to three digits: 5.51e-4
    v = vendor_volume(public_data("pet/vendor_headers") / "PHILIPS_CNTS_AND_BQML_SUV-instances.json")
    assert suv(v).decisions["scaling"]["factor"] * 1.602563 == pytest.approx(5.51e-4)
    activity = suv(v.replace(acquisition=replace(v.acquisition, philips_suv_factor=None)))
    assert float(activity.value.data[0, 0, 0]) == pytest.approx(5.51e-4, rel=1e-3)


DROS = ("0_0", "1_0", "2_0", "2_2", "2_4", "3_1", "3_3", "4_1", "5_0")


@pytest.mark.parametrize("dro", DROS)
def test_digital_reference_objects(public_data, dro):
    folder = public_data(f"pet/ibsi_suv/DRO_{dro}")
    v = load(folder / "PT")
    result = suv(v, "bw")
    rois = load_rois(folder / "mask" / "DRO_mask.nii.gz", like=v)
    inside = result.value.data[rois.mask(next(iter(rois)))]
    measured = (inside.min(), np.median(inside), inside.max())
    assert measured == pytest.approx((0.20, 1.00, 4.00), abs=0.005)


def test_clock_rules_and_cautions_of_the_reference_objects(public_data):
    found = {}
    for dro in DROS:
        result = suv(load(public_data(f"pet/ibsi_suv/DRO_{dro}") / "PT"))
        found[dro] = (result.decisions["clock"]["rule"], [caution.code for caution in result.warnings])
    assert found["3_1"] == ("injection", [])
    assert found["3_3"] == ("series_time", ["clocks-differ"])
    assert found["5_0"] == ("series_time", ["half-life-differs"])
    assert found["0_0"] == found["1_0"] == found["4_1"] == ("series_time", [])
    assert found["2_0"][0] == found["2_2"][0] == found["2_4"][0] == "not used"


@pytest.fixture(scope="module")
def sts(public_data):
    """The raw series of STS_001 and its SUV."""
    v = load(public_data("pet/sts_001/image"))
    return v, suv(v)


def test_sts_001_factor_and_rule(sts):
    v, result = sts
    assert float(v.data.max()) == pytest.approx(273860, abs=1)
    factor = float(result.value.data.max()) / float(v.data.max())
    assert factor == pytest.approx(2.42903e-4, abs=6e-10)
    assert result.decisions["clock"]["rule"] == "series_time"
    assert result.decisions["decay"]["injection_to_reference_s"] == 2711.0
    assert [caution.code for caution in result.warnings] == ["clocks-differ"]
    assert result.decisions["clock"]["spread_percent"] > 10


def test_sts_001_equals_the_published_suv_in_every_bed(public_data, sts):
    v, result = sts
    published = load(public_data("pet/sts_001/suv_expected/dicom/image"))
    assert published.quantity == "suv_bw"
    assert sorted(published.shape) == [41, 43, 59]
    corner = v.grid.index(published.affine[:3, 3])
    begin = np.round(corner).astype(int)
    assert np.abs(corner - begin).max() < 0.05
    step = np.sign(np.diag(np.linalg.inv(v.affine[:3, :3]) @ published.affine[:3, :3])).astype(int)
    index = [b + s * np.arange(n) for b, s, n in zip(begin, step, published.shape, strict=True)]
    ours = result.value.data[np.ix_(*index)]
    hot = published.data > 1
    for k in range(published.shape[2]):
        inside = hot[:, :, k]
        if inside.any():
            pair = ours[:, :, k][inside], published.data[:, :, k][inside]
            ratio = pair[0].sum(dtype=float) / pair[1].sum(dtype=float)
            assert ratio == pytest.approx(1.0, abs=1e-4), k
            step_size = float(published.data[:, :, k].max()) / 32767  # of the published 16-bit voxels
            assert np.abs(pair[0] - pair[1]).max() < 1.02 * step_size, k
    assert sum(hot.any(axis=(0, 1))) > 35


def test_published_suv_image_is_taken_as_it_is(public_data):
    published = load(public_data("pet/sts_001/suv_expected/dicom/image"))
    result = suv(published)
    assert np.array_equal(result.value.data, published.data)
    assert float(result.value.data.max()) == pytest.approx(25.41, abs=0.005)
