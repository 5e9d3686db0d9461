"""SPECT physics: counts by hand, dead time, drift, animals, isotopes; and the files of its phantoms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnsupportedInput
from imgtheranostics.nuclear import Calibration
from imgtheranostics.phantom import available, load_spec, make, write
from imgtheranostics.phantom.exposures import animal_factors, exposures
from imgtheranostics.phantom.reading import parse_spec

SENSITIVITY = 500.0
NUCLEAR = (
    "upsn-86y-mouse-pet",
    "upsn-90y-dose",
    "mm302-64cu-torso-pet",
    "mm302-decaytrap",
    "tc99m-plga-mouse-spect",
    "in111-bilayer-vs-lumen",
    "i123-i124-i131-pair",
    "agents-multi-tracer-dualiso",
    "ladder-sensitivity",
)


@pytest.fixture
def spect(small):
    """The one-sphere phantom as a SPECT of 111In, 10 min at 6 h, not decay corrected."""
    small["slug"] = "small-spect"
    small["modality"] = "SPECT"
    small["agent"] = {"record": "in111-liposome", "label": "In-111", "name": "111In-test"}
    small["physics"] |= {"sensitivity_cps_mbq": SENSITIVITY, "decay_correction": "NONE"}
    return small


@pytest.fixture
def cohort(spect):
    """The same with two groups of three animals at two times."""
    spect["groups"] = [
        {"name": "bilayer", "animals": 3, "variation": 0.2},
        {"name": "lumen", "animals": 3, "variation": 0.2},
    ]
    spect["axis"] = {"kind": "group", "values": ["bilayer", "lumen"]}
    spect["axes"] = [{"kind": "time", "values": [4.0, 24.0], "truth_at": 24.0}]
    spect["regions"][1]["truth"] = {
        "quantity": "id_per_g",
        "along": "group",
        "values": {"bilayer": 22.0, "lumen": 14.0},
        "unit": "%/g",
    }
    return spect


def test_counts_of_a_voxel_by_hand(spect):
    """12 %ID/g of 5 MBq in 1.5 uL, 111In at 6 h: closed form of the mean over 10 min."""
    phantom = make(parse_spec(spect))
    volume = phantom.volumes[0]
    assert (volume.quantity, volume.unit) == ("counts", "{counts}")
    decay = nuclide("In-111").decay_constant_per_s
    start = 6 * 3600 - 300
    mean = math.exp(-decay * start) * -math.expm1(-decay * 600) / (decay * 600)
    expected = 0.12 * 5.0 * mean * 0.0015 * SENSITIVITY * 600
    assert volume.data[phantom.regions.mask("sphere")] == pytest.approx(expected, rel=1e-5)


def test_record_says_what_the_camera_did(spect):
    spect["physics"]["energy_windows_kev"] = [[154.0, 188.0], [221.0, 270.0]]
    record = make(parse_spec(spect)).volumes[0].acquisition
    assert isinstance(record, NuclearAcquisition)
    assert record.acquisition_duration_s == pytest.approx(600)
    assert record.decay_correction == "NONE"
    assert "DECY" not in record.corrections
    assert record.energy_windows_kev == ((154.0, 188.0), (221.0, 270.0))
    drug = record.radiopharmaceutical
    assert (drug.nuclide, drug.total_dose) == ("In-111", 5.0e6)
    assert (record.acquisition_datetime - drug.start_datetime).total_seconds() == 6 * 3600 - 300


@pytest.mark.parametrize("correction", ["NONE", "START", "ADMIN"])
def test_every_decay_correction_gives_the_same_uptake(spect, correction, tmp_path):
    spect["physics"]["decay_correction"] = correction
    phantom = make(parse_spec(spect))
    write(phantom, tmp_path / "out")
    loaded = it.load(tmp_path / "out" / "dicom" / phantom.names[0])
    found = it.nuclear.percent_id_per_gram(loaded, sensitivity_cps_mbq=SENSITIVITY)
    assert_allclose(found.value.data[phantom.regions.mask("sphere")], 12.0, rtol=2e-4)


def test_noise_is_poisson(spect):
    """Variance equals mean over many voxels of one value; whole numbers."""
    spect["grid"] = {"shape": [40, 40, 40], "voxel_mm": [0.6, 0.6, 0.6]}
    phantom = make(parse_spec(spect), level=1)
    counts = phantom.volumes[0].data[phantom.regions.mask("box")].astype(np.float64)
    assert_array_equal(counts, np.rint(counts))
    assert counts.var() == pytest.approx(counts.mean(), rel=5 * math.sqrt(2 / counts.size))


def test_dead_time_lowers_the_counts_and_the_calibration_restores_them(spect):
    plain = make(parse_spec(spect)).volumes[0]
    spect["physics"]["dead_time_s"] = 1e-3
    slow = make(parse_spec(spect)).volumes[0]
    rate = plain.data.sum(dtype=np.float64) / 600
    assert slow.data.sum(dtype=np.float64) / 600 == pytest.approx(rate / (1 + rate * 1e-3), rel=1e-5)
    restored = it.nuclear.calibrate(slow, Calibration(SENSITIVITY, dead_time_s=1e-3))
    assert_allclose(restored.data, it.nuclear.calibrate(plain, SENSITIVITY).data, rtol=1e-5)


def test_isotope_decides_decay_and_resolution(spect):
    spect["axis"] = {"kind": "isotope", "values": ["I-123", "I-131"], "truth_at": 24.0}
    spect["physics"]["isotope_fwhm_mm"] = {"I-123": 2.0, "I-131": 4.0}
    spec = parse_spec(spect)
    first, second = make(spec).volumes
    left = [nuclide(name).decay_constant_per_s * 24 * 3600 for name in ("I-123", "I-131")]
    ratio = first.data.sum(dtype=np.float64) / second.data.sum(dtype=np.float64)
    assert ratio == pytest.approx(math.exp(left[1] - left[0]), rel=1e-3)
    assert [scan.fwhm_mm for scan in exposures(spec, "SPECT")] == [2.0, 4.0]
    blurred = make(spec, level=2)
    peaks = [volume.data.max() / volume.data.sum(dtype=np.float64) for volume in blurred.volumes]
    assert peaks[1] < peaks[0]


def test_positron_emitters_go_to_pet_and_the_others_to_spect(spect):
    spect["also"] = ["PET"]
    spect["axis"] = {"kind": "isotope", "values": ["I-123", "I-124", "I-131", "Y-90"], "truth_at": 24.0}
    phantom = make(parse_spec(spect))
    assert phantom.names == ("spect-I-123", "spect-I-131", "spect-Y-90", "pet-I-124")
    kinds = [type(volume.acquisition) for volume in phantom.volumes]
    assert kinds == [NuclearAcquisition] * 3 + [EmissionAcquisition]


def test_animals_of_a_group_have_their_group_s_mean_and_variation():
    """Strata are placed so that mean 1 and standard deviation (n - 1) hold exactly."""
    factors = np.array(animal_factors(6, 0.2))
    assert factors.mean() == pytest.approx(1, abs=1e-12)
    assert factors.std(ddof=1) == pytest.approx(0.2, abs=1e-12)
    assert (np.diff(factors) > 0).all()
    assert factors[-1] - 1 > 1 - factors[0]  # skewed as a lognormal is


@given(st.integers(1, 40), st.floats(0, 0.5))
def test_animals_are_positive(animals, variation):
    factors = animal_factors(animals, variation)
    assert len(factors) == animals
    assert min(factors) > 0
    assert sum(factors) / animals == pytest.approx(1)


def test_two_animals_cannot_vary_without_bound():
    """Two positive numbers of mean 1 have a coefficient of variation below sqrt 2."""
    assert min(animal_factors(2, 1.41)) > 0
    with pytest.raises(ImplausibleValue, match="2 animals"):
        animal_factors(2, 1.42)


def test_every_animal_is_a_scan_of_its_own(cohort):
    phantom = make(parse_spec(cohort))
    assert len(phantom.names) == 12
    assert phantom.names[:3] == ("bilayer_a1_t0004.00h", "bilayer_a2_t0004.00h", "bilayer_a3_t0004.00h")
    inside = phantom.regions.mask("sphere")
    at_24 = [
        it.nuclear.percent_id_per_gram(volume, sensitivity_cps_mbq=SENSITIVITY).value.data[inside].mean()
        for name, volume in zip(phantom.names, phantom.volumes, strict=True)
        if name.endswith("t0024.00h")
    ]
    assert at_24 == pytest.approx([g * f for g in (22, 14) for f in animal_factors(3, 0.2)], rel=1e-4)


def test_one_scan_drifts_above_level_one_only(cohort):
    name = "lumen_a2_t0024.00h"
    plain = make(parse_spec(cohort), level=2)
    cohort["physics"]["calibration_drift"] = {name: 0.5}
    drifting = make(parse_spec(cohort), level=2)
    for position, known in enumerate(plain.names):
        ratio = drifting.volumes[position].data.sum() / plain.volumes[position].data.sum()
        assert ratio == pytest.approx(1.5 if known == name else 1.0, rel=0.02)
    level_0 = make(parse_spec(cohort))
    assert level_0.volumes[0].data.max() == pytest.approx(
        make(parse_spec({**cohort, "physics": {**cohort["physics"], "calibration_drift": {}}}))
        .volumes[0]
        .data.max()
    )


def test_a_drift_of_no_scan_is_refused(cohort):
    cohort["physics"]["calibration_drift"] = {"bilayer_a9_t0024.00h": 0.05}
    with pytest.raises(UnsupportedInput, match="drift") as refusal:
        make(parse_spec(cohort))
    assert "bilayer_a3_t0024.00h" in refusal.value.needed


def test_a_camera_without_sensitivity_is_refused(spect):
    del spect["physics"]["sensitivity_cps_mbq"]
    with pytest.raises(MissingMetadata, match="camera"):
        make(parse_spec(spect))


def test_a_dynamic_spect_is_refused(spect):
    spect["axis"] = {"kind": "time", "values": [1.0, 2.0], "truth_at": 1.0, "layout": "dynamic"}
    with pytest.raises(UnsupportedInput, match="one frame"):
        make(parse_spec(spect))


def test_the_same_seed_gives_the_same_counts_and_another_seed_others(spect):
    spec = parse_spec(spect)
    first, again, other = (make(spec, level=2, rng=n).volumes[0].data for n in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("slug", NUCLEAR)
def test_shipped_nuclear_phantoms_offer_levels_0_to_2_and_expect_something_at_each(slug):
    spec = load_spec(slug)
    assert slug in available()
    for modality in spec.modalities:
        assert {0, 1, 2} <= set(spec.physics_of(modality).levels)
    assert {level for item in spec.expect for level in item.level} >= {0, 2}
    for name, item in spec.provenance.items():
        assert item.status != "unconfirmed" or item.source == "memory", name


def test_free_pertechnetate_holds_a_tenth_of_the_dose():
    """systems.md P05: free fraction 10 %; volumes of the ellipsoids in closed form."""
    spec = load_spec("tc99m-plga-mouse-spect")
    from imgtheranostics.phantom.templates import region_shapes

    held = 0.0
    for name in ("stomach", "thyroid", "bladder"):
        region = spec.region(name)
        volume = sum(shape.volume_ml for shape in region_shapes(spec.template, region))
        held += region.uptake.at() * volume
    assert held == pytest.approx(10.0, rel=1e-4)
