"""Images of the CEST phantoms: spectra of regions, fields, noise, files, and what is refused."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.cest.bloch_mcconnell import ExchangePool, MtPool, PoolSystem, WaterPool, simulate
from imgtheranostics.cest.constants import GAMMA_RAD_PER_S_UT
from imgtheranostics.errors import CorruptInput, MissingMetadata, UnsupportedInput
from imgtheranostics.phantom import load_spec, make, write
from imgtheranostics.phantom.cest_scans import scanner_of, scans_of
from imgtheranostics.phantom.cest_table import Saturation, field_table
from imgtheranostics.phantom.cest_tissue import pools_of, rate_at
from imgtheranostics.phantom.cest_truth import asymmetry_percent
from imgtheranostics.phantom.mri_fields import fields_on
from imgtheranostics.phantom.reading import parse_spec
from imgtheranostics.phantom.truth import region_truth

FOUR = ("olsa-rvrr-cest", "iopamidol-ph-cest", "drug-cest-panel", "ixlipo-ct-cest")

WATER = [
    {"quantity": "proton_density", "value": 0.8, "unit": "1"},
    {"quantity": "t1", "value": 1500, "unit": "ms"},
    {"quantity": "t2", "value": 60, "unit": "ms"},
]
LABEL = {
    "agent": "olsa-rvrr",
    "name": "hydroxyl",
    "offset_ppm": 9.8,
    "protons": 2,
    "t1_ms": 1000,
    "t2_ms": 20,
    "exchange_rate_per_s": 1000,
}
SMALL = {
    "slug": "small-cest",
    "title": "a sphere with olsalazine in a box",
    "review_claim": "23",
    "modality": "CEST",
    "grid": {"shape": [16, 14, 8], "voxel_mm": [1.0, 1.0, 1.0]},
    "agent": {"record": "olsa-rvrr", "name": "Olsa-RVRR"},
    "axis": {"kind": "offset", "unit": "ppm", "values": [-12, -9.8, -5, 0, 5, 9.8, 12], "layout": "dynamic"},
    "axes": [
        {"kind": "saturation_b1", "unit": "uT", "values": [1.2, 3.6]},
        {"kind": "state", "values": ["pre", "post"]},
    ],
    "order": "listed",
    "regions": [
        {
            "name": "box",
            "shape": {"kind": "box", "centre_mm": [0, 0, 0], "size_mm": [12, 10, 8]},
            "truth": WATER,
        },
        {
            "name": "sphere",
            "shape": {"kind": "sphere", "centre_mm": [0.3, 0.2, 0.1], "diameter_mm": 6.0},
            "truth": [*WATER, {"quantity": "molar_concentration", "value": 5, "unit": "mmol/L"}],
        },
    ],
    "physics": {
        "levels": [0, 1, 2, 3],
        "noise": "rician",
        "snr": 40,
        "misplacement": {"shift_sd_mm": 1.0},
        "mri": {
            "sequence": "saturation",
            "field_t": 11.7,
            "b0_ppm": [-0.3, 0.3],
            "relative_b1": [0.85, 1.15],
            "cest": {"saturation_s": 3, "agent_pools": [LABEL]},
        },
    },
    "seed": 3,
    "outputs": ["nifti"],
    "provenance": {"regions.*.truth": {"status": "computed", "source": "chosen"}},
}


@pytest.fixture
def small():
    return copy.deepcopy(SMALL)


def cest_of(spec):
    return spec["physics"]["mri"]["cest"]


def water_alone(offset_ppm, b1_ut, duration_s, *, t1_s, t2_s, field_t, b0_ppm=0.0):
    """Mz/M0 of water without any pool, by the matrix exponential of the Bloch equations (cest.md F17)."""
    from scipy.linalg import expm

    out = []
    for offset in np.atleast_1d(offset_ppm):
        shift = GAMMA_RAD_PER_S_UT * field_t * (b0_ppm - offset)
        w1 = GAMMA_RAD_PER_S_UT * b1_ut
        a = np.zeros((4, 4))
        a[:3, :3] = [[-1 / t2_s, -shift, 0], [shift, -1 / t2_s, -w1], [0, w1, -1 / t1_s]]
        a[2, 3] = 1 / t1_s
        out.append((expm(a * duration_s) @ [0, 0, 1, 1])[2])
    return np.array(out)


def test_olsalazine_phantom_has_the_numbers_of_the_sheet():
    """cest.md section 6: 6.50 without and 6.57 with background; baseline -2.4 %, raw ratio -0.47."""
    spec = load_spec("olsa-rvrr-cest")
    scans = {scan.name: scan for scan in scans_of(spec)}

    def asymmetry(state, region, role=""):
        return asymmetry_percent(spec, region, scans[f"{role}saturation-b1-3.6_state-{state}"])

    def change(region, role=""):
        return asymmetry("post", region, role) - asymmetry("pre", region, role)

    bare = "without-tissue_"
    assert asymmetry("post", "tumour_olsa", bare) == pytest.approx(1.24, abs=0.005)
    assert change("tumour_rvrr", bare) / change("tumour_olsa", bare) == pytest.approx(6.50, abs=0.005)
    assert asymmetry("pre", "tumour_rvrr") == pytest.approx(-2.4, abs=0.05)
    raw = asymmetry("post", "tumour_rvrr") / asymmetry("pre", "tumour_rvrr")
    assert raw == pytest.approx(-0.47, abs=0.005)
    assert change("tumour_rvrr") / change("tumour_olsa") == pytest.approx(6.57, abs=0.005)


@pytest.mark.parametrize("slug", FOUR)
def test_every_scan_of_the_catalogue_is_made_of_known_pools(slug):
    spec = load_spec(slug)
    names = [scan.name for scan in scans_of(spec)]
    assert len(set(names)) == len(names)
    for scan in scans_of(spec):
        for region in spec.regions:
            pools = pools_of(spec, region.name, scan)
            assert pools.field_t == scanner_of(spec)[2]
            assert scan.agent or not {pool.offset_ppm for pool in pools.exchange} & {9.8, 4.3, 5.5}


def test_background_pools_lie_within_the_ranges_of_the_sheet():
    """cest.md 4.1: amide 3.5 (k 30), NOE -3.5, guanidine 2.0, MT 5 to 12 %, T2 10 us."""
    _, cest, _ = scanner_of(load_spec("olsa-rvrr-cest"))
    assert {pool.name: pool.offset_ppm for pool in cest.tissue} == {
        "amide": 3.5,
        "guanidine": 2.0,
        "noe": -3.5,
    }
    assert next(pool for pool in cest.tissue if pool.name == "amide").exchange_rate_per_s == 30
    assert 0.05 <= cest.bound.fraction <= 0.12
    assert cest.bound.t2_ms == pytest.approx(0.01)


def test_signal_of_water_alone_is_that_of_the_bloch_equations(small):
    phantom = make(parse_spec(small), level=0)
    pure = phantom.mixture.pure() == 1
    image = phantom.volumes[3].data[pure]
    offsets = np.array(SMALL["axis"]["values"])
    expected = water_alone(offsets, 3.6, 3.0, t1_s=1.5, t2_s=0.06, field_t=11.7)
    assert_allclose(image[:, 1:-1], np.broadcast_to(800 * expected, (pure.sum(), 7)), rtol=2e-6, atol=1e-4)
    assert_allclose(image[:, [0, -1]], 800, rtol=1e-6)


def test_a_shift_of_b0_moves_the_spectrum_and_b1_scales_the_power(small):
    """Level 2 without noise against the Bloch equations at the fields of single voxels."""
    small["physics"] |= {"noise": "none"}
    spec = parse_spec(small)
    phantom = make(spec, level=2)
    fields = fields_on(scanner_of(spec)[0], phantom.grid, 2)
    flat = phantom.volumes[3].data.reshape(-1, 9, order="F")
    inside = np.flatnonzero(phantom.mixture.pure().ravel(order="F") == 1)
    offsets = np.array(SMALL["axis"]["values"])
    for n in inside[:: inside.size // 7]:
        expected = water_alone(
            offsets,
            3.6 * fields.relative_b1[n],
            3.0,
            t1_s=1.5,
            t2_s=0.06,
            field_t=11.7,
            b0_ppm=fields.offset_ppm[n],
        )
        assert_allclose(flat[n, 1:-1], 800 * expected, atol=800e-6)
    assert np.ptp(fields.offset_ppm) == pytest.approx(0.6)
    assert np.ptp(fields.relative_b1) == pytest.approx(0.3)


@settings(max_examples=12, deadline=None)
@given(
    b1_ut=st.floats(0.8, 5.0),
    rate=st.floats(20, 4000),
    shift=st.floats(-5, 10),
    t2_s=st.floats(0.02, 0.1),
    bound=st.floats(0.01, 0.12),
    seed=st.integers(0, 100),
)
def test_table_of_fields_agrees_with_the_simulator(b1_ut, rate, shift, t2_s, bound, seed):
    """The stated bound of the interpolation: 1e-6 of Z, for anything within the fields of the table."""
    rng = np.random.default_rng(seed)
    pools = PoolSystem(
        WaterPool(1.8, t2_s),
        (ExchangePool("label", 2e-3, 1.0, 0.02, rate, shift),),
        MtPool(bound, 1.0, 1e-5, 35.0, -2.4),
        field_t=9.4,
    )
    saturation = Saturation(b1_ut, 3.0, tuple(np.linspace(-8, 8, 9)))
    table = field_table(pools, saturation, (-0.3, 0.3), (0.85, 1.15))
    b0, b1 = rng.uniform(-0.3, 0.3, 20), rng.uniform(0.85, 1.15, 20)
    train = saturation._train(saturation.offset_ppm)
    assert_allclose(table(b0, b1), simulate(pools, train, b0_ppm=b0, relative_b1=b1), atol=1e-6)


def test_water_that_keeps_turning_after_the_pulse_has_no_table(small):
    """T2 of 3 s against 1 s of saturation: the signal oscillates with B1 faster than any polynomial."""
    small["regions"] = small["regions"][:1]
    small["regions"][0]["truth"] = [
        WATER[0],
        {"quantity": "t1", "value": 4000, "unit": "ms"},
        {"quantity": "t2", "value": 3000, "unit": "ms"},
    ]
    cest_of(small)["saturation_s"] = 1
    phantom = make(parse_spec(small), level=2)
    with pytest.raises(UnsupportedInput, match="too fast with the fields"):
        phantom.volumes[3].data.sum()


def test_agent_shows_after_and_not_before(small):
    phantom = make(parse_spec(small), level=0)
    assert phantom.names == (
        "saturation-b1-1.2_state-pre",
        "saturation-b1-1.2_state-post",
        "saturation-b1-3.6_state-pre",
        "saturation-b1-3.6_state-post",
    )
    pure = phantom.mixture.pure() == 2
    pre, post = phantom.volumes[2].data[pure], phantom.volumes[3].data[pure]
    label = list(SMALL["axis"]["values"]).index(9.8) + 1
    assert (post[:, label] < pre[:, label] - 20).all()
    assert_allclose(post[:, 1], pre[:, 1], rtol=1e-3)
    assert region_truth(phantom.spec, "sphere", "molar_concentration", 3) == 5
    assert region_truth(phantom.spec, "sphere", "molar_concentration", 2) == 0


def test_noise_is_rician_with_the_stated_ratio(small):
    """Air shows sd sqrt(pi / 2); SNR 40 is that of the unsaturated image, 800 / 40 = 20."""
    image = make(parse_spec(small), level=1, rng=5).volumes[0]
    air = image.data[0, ...]
    assert air.mean() == pytest.approx(20 * math.sqrt(math.pi / 2), rel=0.05)
    phantom = make(parse_spec(small), level=1, rng=5)
    again, other = phantom.volumes[0].data.copy(), phantom.volumes[2].data.copy()
    assert_array_equal(again, image.data)
    assert (other[0, ...] != air).any()


def test_resolution_blurs_the_edge_and_keeps_the_inside(small):
    small["physics"] |= {"noise": "none", "psf_fwhm_mm": 2.0}
    small["physics"]["mri"] |= {"b0_ppm": [0, 0], "relative_b1": [1, 1]}
    sharp, blurred = (make(parse_spec(small), level=level).volumes[0].data for level in (1, 2))
    assert blurred[8, 7, 4, 0] == pytest.approx(sharp[8, 7, 4, 0], rel=0.03)
    assert 0 < blurred[1, 7, 4, 0] < 0.6 * sharp[2, 7, 4, 0]
    assert blurred.sum() < sharp.sum() * 1.001


def test_level_three_moves_the_subject_between_scans(small):
    small["physics"] |= {"noise": "none"}
    phantom = make(parse_spec(small), level=3)
    shapes = [phantom.volumes[n].data[..., 0].copy() for n in (0, 2)]
    assert np.abs(shapes[0] - shapes[1]).max() > 50


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_image_comes_back_from_its_file_with_offsets_and_pulses(small, tmp_path, suffix):
    volume = make(parse_spec(small), level=0).volumes[3]
    it.save(volume, tmp_path / f"scan_cest{suffix}")
    loaded = it.load(tmp_path / f"scan_cest{suffix}")
    assert_array_equal(loaded.data, volume.data)
    assert_allclose(loaded.axis("saturation_offset").values, [np.nan, *SMALL["axis"]["values"], np.nan])
    known = loaded.acquisition.saturation
    assert known["m0_index"] == (0, 8)
    assert (known["b1_rms_ut"], known["duration_s"], known["pulse_shape"]) == (3.6, 3.0, "block")


def test_written_as_dicom_the_offsets_stand_in_a_sidecar(small, tmp_path):
    """No attribute of a DICOM image holds saturation offsets: the images are NIfTI in every format."""
    write(make(parse_spec(small), level=0), tmp_path / "out", "dicom")
    found = sorted((tmp_path / "out" / "dicom").rglob("*.nii.gz"))
    assert len(found) == 4
    assert it.load(found[0]).axis("saturation_offset") is not None


def test_truth_map_is_the_asymmetry_or_the_ph():
    spec = load_spec("iopamidol-ph-cest")
    ideal = make(spec).truth_map(0)
    assert ideal.quantity == "ph"
    shown = {round(float(value), 3) for value in np.unique(ideal.data[np.isfinite(ideal.data)])}
    assert shown >= {6.4, 6.6, 6.8, 7.2, 7.4}
    assert make(parse_spec(SMALL)).truth_map(3).quantity == "mtr_asym"


def test_exchange_rates_go_straight_in_their_logarithm():
    """300 at pH 6.5 and 1300 at 7.4: their geometric mean half way, and on beyond."""
    rates = {"6.5": 300.0, "7.4": 1300.0}
    assert rate_at(rates, 6.95) == pytest.approx(math.sqrt(300 * 1300))
    assert rate_at(rates, 7.4) == pytest.approx(1300)
    assert rate_at(rates, 5.6) == pytest.approx(300**2 / 1300)


def test_iodine_becomes_molecules():
    """6 x 126.904 g/mol of iodine in iodixanol: 3 mg/mL are 3.94 mmol/L."""
    spec = load_spec("ixlipo-ct-cest")
    scan = scans_of(spec)[0]
    pools = pools_of(spec, "rim", scan)
    assert pools.exchange[0].fraction == pytest.approx(4 * 3.94 / 111e3, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda s: s["regions"][1]["truth"].pop(1), MissingMetadata, "no t1"),
        (lambda s: cest_of(s)["agent_pools"][0].pop("exchange_rate_per_s"), MissingMetadata, "exchange rate"),
        (
            lambda s: cest_of(s)["agent_pools"][0].update(exchange_rate_per_s={"6.5": 300, "7.4": 900}),
            MissingMetadata,
            "exchange rate",
        ),
        (lambda s: s["physics"]["mri"].pop("cest"), MissingMetadata, "saturation"),
        (lambda s: s["physics"]["mri"].pop("field_t"), MissingMetadata, "saturation"),
        (lambda s: s["axes"].pop(0), MissingMetadata, "saturation power"),
        (lambda s: s["physics"]["mri"].update(sequence="spin_echo"), UnsupportedInput, "another sequence"),
        (
            lambda s: s["regions"][1]["truth"][-1].update(quantity="concentration", unit="mg/mL"),
            MissingMetadata,
            "mg/mL",
        ),
    ],
)
def test_a_phantom_that_lacks_something_is_refused(small, change, error, words):
    change(small)
    with pytest.raises(error, match=words):
        make(parse_spec(small))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: cest_of(s)["agent_pools"].append(copy.deepcopy(LABEL)),
        lambda s: cest_of(s)["agent_pools"][0].update(exchange_rate_per_s={"7.4": 300, "6.5": 900}),
        lambda s: cest_of(s)["agent_pools"][0].update(exchange_rate_per_s={"acid": 300, "base": 900}),
        lambda s: cest_of(s).update(bound={"fraction": 6}),
        lambda s: cest_of(s).update(pools=["amide"]),
    ],
)
def test_pools_that_contradict_themselves_are_refused(small, change):
    change(small)
    with pytest.raises(CorruptInput):
        parse_spec(small)
