"""Images of the MR and MPI phantoms: signals in voxels, companions, noise, files, and what is refused."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics import agents
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata, UnsupportedInput
from imgtheranostics.phantom import load_spec, make, write
from imgtheranostics.phantom import mri_signal as signal
from imgtheranostics.phantom.mri_scans import scans_of
from imgtheranostics.phantom.mri_tissue import added_rates, tissue_at
from imgtheranostics.phantom.reading import parse_spec
from imgtheranostics.phantom.truth import region_truth

T1 = {"quantity": "t1", "value": 1400, "unit": "ms"}
T2 = {"quantity": "t2", "value": 90, "unit": "ms"}
WATER = {"quantity": "proton_density", "value": 1, "unit": "1"}

SMALL = {
    "slug": "small-mri",
    "title": "a sphere with gadolinium in a box",
    "review_claim": "18",
    "modality": "MRI",
    "grid": {"shape": [24, 20, 16], "voxel_mm": [1.0, 1.0, 1.5]},
    "agent": {"record": "aguix", "name": "AGuIX"},
    "axis": {"kind": "dose", "unit": "mg/kg", "values": [15, 100]},
    "axes": [{"kind": "flip_angle", "unit": "deg", "values": [2, 5, 15], "layout": "dynamic"}],
    "order": "listed",
    "regions": [
        {
            "name": "box",
            "shape": {"kind": "box", "centre_mm": [0, 0, 0], "size_mm": [20, 16, 20]},
            "truth": [WATER, {**T1, "value": 1000}, T2],
        },
        {
            "name": "sphere",
            "shape": {"kind": "sphere", "centre_mm": [0.3, 0.2, 0.4], "diameter_mm": 9.0},
            "truth": [
                WATER,
                T1,
                T2,
                {"quantity": "t2star", "value": 50, "unit": "ms"},
                {
                    "quantity": "gd_concentration",
                    "along": "dose",
                    "values": {"15": 0.02, "100": 0.1},
                    "unit": "mmol/L",
                },
            ],
        },
    ],
    "physics": {
        "levels": [0, 1, 2],
        "noise": "rician",
        "snr": 30,
        "mri": {
            "sequence": "spoiled_gradient_echo",
            "field_t": 3.0,
            "repetition_time_ms": 8,
            "echo_time_ms": 3,
            "relative_b1": [0.85, 1.1],
            "scans": [{
                "name": "before", "sequence": "spoiled_gradient_echo", "before": True,
                "repetition_time_ms": 8, "echo_time_ms": 3,
            }],
        },
    },
    "seed": 7,
    "outputs": ["dicom"],
    "provenance": {"regions.*.truth": {"status": "computed", "source": "chosen"}},
}  # fmt: skip


@pytest.fixture
def small():
    return copy.deepcopy(SMALL)


@pytest.fixture
def heated(small):
    """Phase over time of a sphere that warms at 3.59 Cel/min."""
    small["slug"] = "small-heated"
    small["axis"] = {"kind": "time", "unit": "min", "values": [0, 0.5, 1], "layout": "dynamic"}
    small["axes"] = []
    small["regions"][1]["truth"] = [
        WATER, T1, T2,
        {"quantity": "concentration", "value": 1, "unit": "mg/mL"},
        {"quantity": "specific_absorption_rate", "value": 250, "unit": "W/g"},
    ]  # fmt: skip
    small["physics"]["noise"] = "gaussian"
    small["physics"]["mri"] = {
        "sequence": "phase_shift", "field_t": 7.0, "repetition_time_ms": 50, "echo_time_ms": 10,
    }  # fmt: skip
    return small


def value_in(phantom, volume, region):
    """The one value of a region's pure voxels, per sample."""
    inside = phantom.volumes[volume].data[phantom.regions.mask(region)]
    assert_allclose(inside.max(axis=0), inside.min(axis=0), rtol=1e-6)
    return inside[0]


def test_noise_free_voxels_show_the_closed_form_with_the_agents_relaxivity(small):
    phantom = make(small)
    assert phantom.names == ("dose-15", "dose-100", "before")
    for volume, concentration in enumerate((0.02, 0.1, 0.0)):
        r1, r2star = 1 / 1.4 + 8.9 * concentration, 20 + 11 * concentration
        start = signal.spoiled_gradient_echo(np.array([2.0, 5, 15]), 0.008, r1)
        expected = 1000 * start * math.exp(-0.003 * r2star)
        assert_allclose(value_in(phantom, volume, "sphere"), expected, rtol=1e-6)


def test_shared_voxel_is_the_sum_of_its_parts(small):
    phantom = make(small)
    parts = {name: value_in(phantom, 0, name)[1] for name in ("box", "sphere")}
    expected = phantom.mixture.paint({name: float(value) for name, value in parts.items()})
    assert_allclose(phantom.volumes[0].data[..., 1], expected, rtol=1e-5, atol=1e-5)


def test_fields_change_each_voxel_by_its_own_b1(small):
    """Level 2 without noise: every pure voxel of the box is the closed form at the B1 of its place."""
    small["physics"]["noise"] = "none"
    phantom = make(small, 2)
    from imgtheranostics.phantom.mri_fields import fields_on
    from imgtheranostics.phantom.mri_scans import scanner_of

    b1 = fields_on(scanner_of(phantom.spec), phantom.grid, 2).relative_b1.reshape(
        phantom.grid.shape, order="F"
    )
    inside = phantom.regions.mask("box_core")
    found = phantom.volumes[0].data[inside][:, 2]
    expected = signal.spoiled_gradient_echo(15 * b1[inside], 0.008, 1.0, m0=1000) * math.exp(-0.003 / 0.09)
    assert np.ptp(found) > 0.1 * found.mean()
    assert_allclose(found, expected, rtol=1e-5)


def test_noise_follows_the_ratio_of_the_brightest_region_before_the_agent(small):
    clean, noisy = make(small, 0), make(small, 1)
    brightest = max(float(np.max(value_in(clean, 2, name))) for name in ("box", "sphere"))
    inside = clean.regions.mask("box")
    for volume in range(3):
        left = (noisy.volumes[volume].data - clean.volumes[volume].data)[inside][:, 1]
        assert float(left.std()) == pytest.approx(brightest / 30, rel=0.05)


def test_same_seed_same_bytes_and_volumes_can_be_made_again(small):
    first, again, other = make(small, 1, rng=3), make(small, 1, rng=3), make(small, 1, rng=4)
    data = [volume.data.copy() for volume in first.volumes]
    assert_array_equal(data[0], again.volumes[0].data)
    assert_array_equal(data[2], again.volumes[2].data)
    assert_array_equal(data[0], first.volumes[0].data)
    assert not np.array_equal(data[0], other.volumes[0].data)


def test_truth_of_a_region_follows_the_agent(small):
    spec = parse_spec(small)
    assert region_truth(spec, "sphere", "t1", 1) == pytest.approx(1 / (1 / 1.4 + 8.9 * 0.1))
    assert region_truth(spec, "sphere_core", "gd_concentration", 0) == pytest.approx(0.02)
    assert region_truth(spec, "sphere", "gd_concentration", 2) == 0.0
    assert region_truth(spec, "sphere", "r2star", 1) == pytest.approx(20 + 1.1)
    with pytest.raises(UnsupportedInput, match="does not state"):
        region_truth(spec, "sphere", "ktrans", 0)


def test_relaxivity_is_that_of_the_record_at_the_field(small):
    spec = parse_spec(small)
    found = added_rates(spec, "sphere", scans_of(spec)[1])
    record = agents.get("aguix")
    assert found["r1"] == pytest.approx(0.1 * record.relaxivity("r1", 3.0, per="Gd").value)
    assert found["r2"] == 0.0  # the record holds none at 3 T


def test_relaxivity_of_another_field_is_not_taken(small):
    small["physics"]["mri"]["field_t"] = 4.7
    with pytest.raises(MissingMetadata, match=r"4\.7 T"):
        make(small)
    small["physics"]["mri"]["relaxivity"] = {"r1": 7.0}
    spec = parse_spec(small)
    assert added_rates(spec, "sphere", scans_of(spec)[1])["r1"] == pytest.approx(0.7)


def test_enhancement_is_that_of_the_sheet(small):
    """57.7 and 156 % at 0.06 and 0.2 mmol/L, TR 8 ms, TE 3 ms, 15 degrees (mri.md section 6)."""
    small["regions"][1]["truth"][4]["values"] = {"15": 0.06, "100": 0.2}
    spec = parse_spec(small)
    found = [region_truth(spec, "sphere", "enhancement", n) for n in range(2)]
    assert_allclose(found, [57.7, 156], rtol=3.5e-3)
    assert region_truth(spec, "box", "enhancement", 1) == 0.0


def test_kinetics_hold_at_the_time_of_the_truth(small):
    small["axes"].append({"kind": "time", "unit": "h", "values": [1, 3], "truth_at": 1})
    small["regions"][1]["truth"][4]["kinetics"] = {"clearance_half_life_h": 2.0}
    spec = parse_spec(small)
    found = [region_truth(spec, "sphere", "gd_concentration", n) for n in range(4)]
    assert_allclose(found, [0.02, 0.01, 0.1, 0.05], rtol=1e-12)
    small["axes"][1] |= {"unit": "min", "values": [60, 180], "truth_at": 60}
    spec = parse_spec(small)
    assert region_truth(spec, "sphere", "gd_concentration", 3) == pytest.approx(0.05)


@pytest.mark.parametrize("enhanced", [False, True])
def test_dicom_series_come_back_with_protocol_and_values(small, tmp_path, enhanced, monkeypatch):
    from imgtheranostics.phantom import writer

    monkeypatch.setattr(writer, "MOST_CLASSIC_IMAGES", 0 if enhanced else 1000)
    phantom = make(small)
    write(phantom, tmp_path / "out")
    folder = tmp_path / "out" / "dicom" / "dose-100"
    assert (folder / "enhanced.dcm").is_file() == enhanced
    loaded = it.load(folder)
    assert_allclose(loaded.axis("flip_angle").values, [2, 5, 15])
    record = loaded.acquisition
    assert (record.field_strength_t, record.repetition_time_s, record.echo_time_s) == (3.0, 0.008, 0.003)
    assert loaded.quantity == "signal"
    assert_allclose(loaded.data, phantom.volumes[1].data, atol=2e-5 * phantom.volumes[1].data.max())
    assert (tmp_path / "out" / "regions.seg.dcm").is_file()
    assert (tmp_path / "out" / "truth" / "dose-100_t1.nii.gz").is_file()


def test_nifti_files_come_back_with_protocol_and_values(small, tmp_path):
    phantom = make(small)
    write(phantom, tmp_path / "out", "nifti")
    loaded = it.load(tmp_path / "out" / "nifti" / "before.nii.gz")
    assert_array_equal(loaded.data, phantom.volumes[2].data)
    assert loaded.acquisition.repetition_time_s == 0.008


def test_phase_turns_with_the_temperature_and_its_magnitude_comes_along(heated):
    phantom = make(heated)
    assert phantom.names == ("scan", "magnitude")
    phase, magnitude = phantom.volumes
    assert (phase.quantity, phase.unit, phase.acquisition.image_component) == ("phase", "rad", "phase")
    turned = phase.data[phantom.regions.mask("sphere")][0]
    # 3.588 Cel/min for 1 min, 0.08026 rad/Cel at 3 T and 10 ms, in proportion to the field
    assert turned[2] == pytest.approx(-3.588 * 0.08026 * 7 / 3, rel=2e-3)
    assert_allclose(phase.data[phantom.regions.mask("box")], 0.0, atol=1e-6)
    assert magnitude.acquisition.image_component == "magnitude"
    assert phase.acquisition.echo_time_s == 0.01


def test_magnitude_and_phase_are_parts_of_one_noisy_image(heated):
    """Where the magnitude happens to be low, the phase scatters more: they share their noise."""
    heated["physics"]["snr"] = 4
    phase, magnitude = (volume.data.copy() for volume in make(heated, 1).volumes)
    inside = make(heated, 1).regions.mask("box")
    angles, sizes = phase[inside][:, 0], magnitude[inside][:, 0]
    low, high = np.quantile(sizes, [0.1, 0.9])
    assert angles[sizes < low].std() > 1.5 * angles[sizes > high].std()


def test_phase_is_written_as_nifti_in_place_of_dicom(heated, tmp_path):
    write(make(heated), tmp_path / "out")
    loaded = it.load(tmp_path / "out" / "dicom" / "scan")
    assert (loaded.quantity, loaded.axis("time").values.tolist()) == ("phase", [0.0, 30.0, 60.0])
    assert any((tmp_path / "out" / "dicom" / "magnitude").glob("*.dcm"))


def test_truth_of_temperature_is_per_frame(heated):
    spec = parse_spec(heated)
    assert_allclose(
        [region_truth(spec, "sphere", "temperature_change", 0, n) for n in range(3)],
        [0, 1.794, 3.588],
        rtol=1e-3,
    )
    ideal = make(heated).truth_map(0)
    assert (ideal.quantity, ideal.shape[3]) == ("temperature_change", 3)


def test_perfused_region_follows_the_plasma_of_its_state():
    spec = load_spec("gadofullerene-130nm-pdt")
    before, after = (
        [tissue_at(spec, "tumour", scan, t).r1 for t in (0.0, 35.0, 42.0, 420.0)]
        for scan in scans_of(spec)[:2]
    )
    assert before[:2] == after[:2] == [0.5, 0.5]  # T1 2 s until the bolus arrives
    rise = [(b - 0.5) / (a - 0.5) for a, b in zip(before[2:], after[2:], strict=True)]
    assert rise[0] == pytest.approx(0.5, rel=0.01)  # both vp and Ktrans drop by half
    assert 0.5 < rise[1] < 1  # half of Ktrans also washes out half as fast


def test_blood_holds_the_input_itself():
    """A vp of 0.55 at a haematocrit of 0.45 is whole blood: 5.21 mmol/L times r1 10 at the peak."""
    spec = load_spec("gadofullerene-130nm-pdt")
    blood = tissue_at(spec, "blood", scans_of(spec)[0], 42.0)
    assert blood.r1 == pytest.approx(1 / 2.2 + 10 * 5.21, rel=1e-6)


@pytest.mark.parametrize(
    ("sequence", "times"),
    [
        ("saturation_recovery", {"repetition_times_ms": [100, 300, 1000, 3000, 8000]}),
        ("inversion_recovery", {"inversion_times_ms": [50, 200, 700, 2000], "repetition_time_ms": 5000}),
    ],
)
def test_recovery_gives_t1_back(small, sequence, times):
    small["axes"] = []
    small["physics"]["mri"] = {"sequence": sequence, "field_t": 3.0, "echo_time_ms": 3, **times}
    phantom = make(small)
    found = it.mri.t1_map(phantom.volumes[1]).value.data[phantom.regions.mask("sphere")]
    assert_allclose(found, 1 / (1 / 1.4 + 8.9 * 0.1), rtol=1e-3)


def test_samples_of_a_fit_are_not_frames_of_its_result(small):
    small["expect"] = [{"quantity": "t1", "roi": "sphere", "value": "truth", "tol_rel": 0.01, "level": 0}]
    truth = make(small).truth
    assert [expectation.places for expectation in truth] == [((0, 0),), ((1, 0),)]
    small["expect"][0] |= {
        "quantity": "enhancement",
        "method": "order",
        "value": 1,
        "when": {"flip_angle": 15},
    }
    assert make(small).truth[0].places == ((0, 2), (1, 2))


def test_further_scans_repeat_along_the_axes_that_they_name(small):
    small["physics"]["mri"]["scans"][0]["per"] = ["dose"]
    assert make(small).names == ("dose-15", "dose-100", "before_dose-15", "before_dose-100")


@pytest.mark.parametrize(
    ("change", "value", "error", "said"),
    [
        (("repetition_time_ms",), None, MissingMetadata, "lacks a parameter"),
        (("field_t",), None, MissingMetadata, "field strength"),
        (("sequence",), "saturation", UnsupportedInput, "sequence"),
        (("sequence",), "inversion_recovery", MissingMetadata, "no samples"),
        (("relative_b1",), [1.1, 0.9], CorruptInput, "lowest"),
        (("relative_b1",), [0.0, 1.0], ImplausibleValue, "more than 0"),
    ],
)
def test_scanner_that_cannot_be_is_refused(small, change, value, error, said):
    small["physics"]["mri"][change[0]] = value
    small["physics"]["mri"]["scans"] = []
    with pytest.raises(error, match=said):
        make(small)


def test_region_without_relaxation_times_is_refused(small):
    small["regions"][0]["truth"] = [WATER, T2]
    with pytest.raises(MissingMetadata, match="box of an MR phantom states no t1"):
        make(small)


def test_perfusion_without_an_input_is_refused(small):
    small["axis"] = {"kind": "time", "unit": "min", "values": [0, 1], "layout": "dynamic"}
    small["axes"] = []
    small["regions"][1]["truth"] = [WATER, T1, T2, {"quantity": "ktrans", "value": 0.1, "unit": "1/min"}]
    small["physics"]["mri"]["flip_angle_deg"] = 15
    small["physics"]["mri"]["scans"] = []
    with pytest.raises(MissingMetadata, match="flows"):
        make(small)


def test_subject_moves_between_scans_of_level_three(small):
    small["physics"]["levels"] = [2, 3]
    small["physics"]["noise"] = "none"
    small["physics"]["misplacement"] = {"shift_sd_mm": 1.0}
    two, three = make(small, 2), make(small, 3)
    assert_array_equal(two.volumes[0].data, three.volumes[0].data)
    assert not np.array_equal(two.volumes[2].data, three.volumes[2].data)


def test_mpi_signal_is_the_mass_in_a_voxel():
    """Sum of the signal over everything: the slope per ug times 248 ug in all vials; the blur keeps it."""
    plain = load_spec("mpi-19f-linear")
    quiet = plain.model_copy(update={"physics": plain.physics.model_copy(update={"noise": "none"})})
    for level in (0, 2):
        phantom = make(quiet, level)
        image = phantom.volumes[phantom.names.index("mpi-scan")]
        assert float(image.data.sum(dtype=np.float64)) == pytest.approx(248.0, rel=1e-3)
    assert region_truth(quiet, "vial_08", "agent_mass", 0) == pytest.approx(0.1)


def test_fluorine_shows_where_its_nuclei_are():
    phantom = make("mpi-19f-linear")
    image = phantom.volumes[phantom.names.index("mri-scan")]
    assert image.acquisition.nucleus == "19F"
    means = [float(image.data[phantom.regions.mask(name)].mean()) for name in ("water", "vial_13", "vial_16")]
    assert means[0] == 0.0
    assert means[2] / means[1] == pytest.approx(10, rel=1e-5)


def test_mpi_image_round_trips_as_nifti(tmp_path):
    phantom = make("mpi-19f-linear")
    write(phantom, tmp_path / "out")
    loaded = it.load(tmp_path / "out" / "dicom" / "mpi-scan")
    assert_allclose(loaded.data, phantom.volumes[0].data, rtol=1e-6)
