"""Physics of the CT phantoms: slopes, pools, swelling, motion, hardening, noise, files, refusals."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import binary_erosion, gaussian_filter1d
from scipy.optimize import brentq

import imgtheranostics as it
from imgtheranostics import agents
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata
from imgtheranostics.phantom import load_spec, make, write
from imgtheranostics.phantom.ct_beam import Beam, attenuation
from imgtheranostics.phantom.ct_composition import composed, field_of, mixture_of
from imgtheranostics.phantom.ct_hardening import Held, hardening_hu, shown_less_linear
from imgtheranostics.phantom.ct_motion import Field
from imgtheranostics.phantom.ct_noise import kernel_noise
from imgtheranostics.phantom.ct_pools import Altered, pool_job, pool_shares
from imgtheranostics.phantom.ct_scans import scans_of
from imgtheranostics.phantom.reading import parse_spec
from imgtheranostics.phantom.shapes import Sphere
from imgtheranostics.phantom.truth import region_truth
from imgtheranostics.volume import Grid

STRENGTH = 53.3
SPHERE = {"kind": "sphere", "centre_mm": [8, 4, -3], "diameter_mm": 30}
SMALL = {
    "slug": "small-ct",
    "title": "a tumour with hafnium oxide in a cylinder",
    "review_claim": "29",
    "modality": "CT",
    "grid": {"shape": [48, 44, 40], "voxel_mm": [2.0, 2.0, 2.0]},
    "agent": {"record": "nbtxr3", "name": "NBTXR3"},
    "axis": {"kind": "fraction", "unit": "d", "values": [0, 5, 12]},
    "axes": [
        {"kind": "fill", "unit": "%", "values": [10, 42]},
        {"kind": "kvp", "unit": "kV", "values": [80, 120]},
        {"kind": "state", "values": ["no-swelling", "swelling"]},
    ],
    "order": "listed",
    "regions": [
        {
            "name": "body",
            "shape": {"kind": "cylinder", "centre_mm": [0, 0, 0], "semi_axes_mm": [44, 40], "length_mm": 76},
            "truth": {"quantity": "attenuation", "value": 40, "unit": "[HU]"},
        },
        {
            "name": "bone",
            "shape": {
                "kind": "cylinder",
                "centre_mm": [-20, -20, 0],
                "semi_axes_mm": [8, 8],
                "length_mm": 70,
            },
            "truth": {"quantity": "attenuation", "value": 400, "unit": "[HU]"},
        },
        {
            "name": "tumour",
            "shape": SPHERE,
            "truth": [
                {"quantity": "attenuation", "value": 40, "unit": "[HU]"},
                {
                    "quantity": "concentration",
                    "along": "fill",
                    "values": {"10": 5.33, "42": 22.386},
                    "unit": "mg/mL",
                },
                {
                    "quantity": "retained_fraction",
                    "along": "fraction",
                    "values": {"0": 100, "5": 90, "12": 80},
                    "unit": "%",
                },
            ],
        },
    ],
    "physics": {
        "levels": [0, 1, 2],
        "noise": "gaussian",
        "noise_sd": 10,
        "psf_fwhm_mm": 2.0,
        "ct": {
            "slope_hu": {"HfO2": {"80": 26.2, "120": 26.6}},
            "before": True,
            "beam_hardening": True,
            "pools": {
                "region": "tumour",
                "strength_mg_ml": STRENGTH,
                "size_mm": [2.5, 2.5, 5.0],
                "margin_mm": 2,
            },
            "swelling": {"region": "tumour", "state": "swelling"},
            "deformation": {
                "region": "tumour",
                "shift_mm": [2.0, -1.0, 1.5],
                "bend_mm": [1.0, 0.5, -1.0],
                "strain": [-0.06, -0.04, 0.03],
                "reach_mm": 12,
            },
        },
    },
    "seed": 7,
    "outputs": ["dicom", "nifti"],
    "provenance": {"regions.*.truth": {"status": "computed", "source": "chosen"}},
}


@pytest.fixture
def small():
    return copy.deepcopy(SMALL)


@pytest.fixture(scope="module")
def levels():
    """The small phantom at each level."""
    return [make(copy.deepcopy(SMALL), level) for level in range(3)]


def number(phantom, **case):
    """The main scan of a case; without agent where only the tube voltage is given."""
    for n, scan in enumerate(scans_of(phantom.spec)):
        if dict(scan.case) == case:
            return n
    raise LookupError(case)


def scan(phantom, fraction=0, fill=10, state="no-swelling", kvp=120):
    return number(phantom, fraction=fraction, fill=fill, kvp=kvp, state=state)


def mass_mg(phantom, n):
    held = composed(phantom.spec, phantom.mixture, scans_of(phantom.spec)[n], phantom.level).mg_ml["HfO2"]
    return float(held.sum(dtype=np.float64)) * phantom.grid.voxel_volume_ml


@pytest.mark.parametrize(
    ("kvp", "water_cm", "al_mm", "slopes"),
    [
        (80, 20, 7, {"I": 42.7, "Gd": 47.4, "HfO2": 26.2, "Au": 25.6, "Bi": 29.5}),
        (120, 20, 7, {"I": 27.1, "Gd": 36.3, "HfO2": 26.6, "Au": 27.1, "Bi": 25.4}),
        (140, 20, 7, {"I": 23.0, "Gd": 31.7, "HfO2": 24.3, "Au": 26.0, "Bi": 25.0}),
        (120, 32, 7, {"I": 23.4, "Gd": 33.8, "HfO2": 26.7, "Au": 27.1, "Bi": 24.6}),
        (65, 2.5, 0.5, {"I": 54.5, "Gd": 40.0, "HfO2": 37.0, "Au": 57.0, "Bi": 65.0}),
    ],
)
def test_the_plain_spectrum_gives_slopes_near_set_b(kvp, water_cm, al_mm, slopes):
    """Set B of ct.md 4.2; its filter was not recorded, and Kramers' law has no lines: 13 % at most."""
    beam = Beam(kvp, al_mm)
    assert {name: beam.slope(name, water_cm) for name in slopes} == pytest.approx(slopes, rel=0.13)


def test_attenuation_of_compounds_is_that_of_the_tables():
    """ct.md 4.1 (XrayDB): HfO2 and water at 60, 80 and 100 keV."""
    energy = np.array([60.0, 80.0, 100.0])
    assert_allclose(attenuation("HfO2", energy), [2.929, 6.259, 3.545], rtol=2e-3)
    assert_allclose(attenuation("H2O", energy), [0.2059, 0.1837, 0.1707], rtol=2e-3)


@pytest.mark.parametrize(("fill", "expected"), [(10, 5.33), (42, 22.386)])
def test_without_noise_the_change_is_slope_times_concentration_less_displaced_water(levels, fill, expected):
    """26.6 HU per mg/mL less 1/9.7 (density of HfO2, ct.md 4.5)."""
    phantom = levels[0]
    pre, post = (phantom.volumes[n].data for n in (number(phantom, kvp=120), scan(phantom, fill=fill)))
    change = (post - pre)[phantom.regions.mask("tumour")]
    assert_allclose(change, expected * (26.6 - 1 / 9.7), rtol=1e-5)
    assert region_truth(phantom.spec, "tumour", "delta_attenuation", scan(phantom, fill=fill)) == (
        pytest.approx(float(change.mean()), rel=1e-5)
    )
    elsewhere = phantom.mixture.occupancy("tumour") == 0
    assert_array_equal(pre[elsewhere], post[elsewhere])


@pytest.mark.parametrize("fill", [10, 42])
@pytest.mark.parametrize("state", ["no-swelling", "swelling"])
def test_pools_hold_the_mass_that_was_injected_at_its_strength(levels, fill, state):
    """Mass is the filled share of the tumour times 53.3 mg/mL, at all levels, swollen or not."""
    injected = fill / 100 * STRENGTH * np.pi / 6 * 3.0**3
    for phantom in levels:
        n = scan(phantom, fill=fill, state=state)
        assert mass_mg(phantom, n) == pytest.approx(injected, rel=1e-3)
    held = composed(levels[1].spec, levels[1].mixture, scans_of(levels[1].spec)[n], 1).mg_ml["HfO2"]
    assert held.max() == pytest.approx(STRENGTH, rel=1e-3)
    uniform = composed(levels[0].spec, levels[0].mixture, scans_of(levels[0].spec)[n], 0).mg_ml["HfO2"]
    assert held.std() > 1.4 * uniform.std()


def test_a_swollen_tumour_is_larger_and_its_mean_lower(levels):
    """Volume 1.42 times, mean 53.3 x 0.42 / 1.42 = 15.76 mg/mL (ct.md section 6)."""
    phantom = levels[0]
    n = scan(phantom, fill=42, state="swelling")
    assert region_truth(phantom.spec, "tumour", "concentration", n) == pytest.approx(15.76, abs=0.01)
    swollen = mixture_of(phantom.spec, phantom.mixture, scans_of(phantom.spec)[n])
    before = phantom.mixture.volumes_ml()["tumour"]
    assert swollen.volumes_ml()["tumour"] / before == pytest.approx(1.42, rel=2e-3)


def test_what_is_not_retained_is_not_there(levels):
    for phantom in levels:
        first = mass_mg(phantom, scan(phantom))
        assert mass_mg(phantom, scan(phantom, fraction=5)) / first == pytest.approx(0.9, rel=1e-4)
        assert mass_mg(phantom, scan(phantom, fraction=12)) / first == pytest.approx(0.8, rel=1e-4)


def test_pools_lie_inside_their_margin_and_are_the_same_for_every_seed(levels):
    phantom = levels[1]
    one = composed(phantom.spec, phantom.mixture, scans_of(phantom.spec)[scan(phantom, fill=42)], 1)
    held = one.mg_ml["HfO2"] > 0
    voxels = np.argwhere(held)
    points = voxels @ phantom.grid.affine[:3, :3].T + phantom.grid.affine[:3, 3]
    distance = np.linalg.norm(points - SPHERE["centre_mm"], axis=1)
    assert distance.max() < 15 - 2 + np.sqrt(3)
    again = make(copy.deepcopy(SMALL), 1, rng=5)
    other = composed(again.spec, again.mixture, scans_of(again.spec)[scan(again, fill=42)], 1)
    assert_array_equal(one.mg_ml["HfO2"], other.mg_ml["HfO2"])


@settings(max_examples=12, deadline=None)
@given(st.floats(0.02, 0.9), st.integers(0, 2**32 - 1))
def test_pools_have_their_volume_whatever_their_share(share, seed):
    grid = Grid((24, 24, 24), np.diag([1.0, 1.0, 1.0, 1.0]))
    sphere = Sphere(kind="sphere", centre_mm=(11.5, 11.5, 11.5), diameter_mm=20)
    job = pool_job([Altered(sphere)], share * sphere.volume_ml, (2.0, 2.0, 4.0), seed, grid)
    _, shares = pool_shares(job)
    assert shares.sum(dtype=np.float64) * grid.voxel_volume_ml == pytest.approx(job.volume_ml, rel=1e-5)
    assert shares.min() >= 0
    assert shares.max() <= 1 + 1e-3


def test_pools_without_room_are_refused(small):
    small["physics"]["ct"]["pools"]["margin_mm"] = 9
    phantom = make(small, 1)
    with pytest.raises(ImplausibleValue, match="do not fit"):
        phantom.volumes[scan(phantom, fill=42)]


def test_the_field_is_its_own_derivative_and_moves_the_middle_as_stated():
    """Determinant against differences; where the middle of the tumour came from is shift and bend away."""
    field = Field(
        np.array([5.0, -3.0, 2.0]), np.array([2.0, -1.0, 1.5]), np.array([1.0, 0.5, -1.0]),
        np.array([-0.06, -0.04, 0.03]), 12.0,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    points = field.centre_mm + rng.normal(0, 10, (40, 3))
    step = 1e-4
    columns = [
        (field.source(points + step * axis) - field.source(points - step * axis)) / (2 * step)
        for axis in np.eye(3)
    ]
    assert_allclose(field.compression(points), np.linalg.det(np.stack(columns, axis=-1)), rtol=1e-6)
    middle = field.centre_mm + field.shift_mm
    assert_allclose(field.source(middle), field.centre_mm - field.bend_mm)
    far = field.centre_mm + field.shift_mm + np.array([40.0, 0, 0])
    assert_allclose(field.source(far), far - field.shift_mm)


def test_later_fractions_are_moved_and_deformed_by_the_known_field(levels):
    """The centre of mass lies where the field takes it; the bone, out of reach, moves by the shift alone."""
    phantom = levels[2]
    scans = scans_of(phantom.spec)
    first, last = (scan(phantom, fraction=day, fill=42) for day in (0, 12))
    field = field_of(phantom.spec, scans[last])
    assert field_of(phantom.spec, scans[first]) is None
    held = [composed(phantom.spec, phantom.mixture, scans[n], 2).mg_ml["HfO2"] for n in (first, last)]
    index = np.stack(np.meshgrid(*map(np.arange, phantom.grid.shape), indexing="ij"), -1)
    points = index @ phantom.grid.affine[:3, :3].T + phantom.grid.affine[:3, 3]
    centre = [np.average(points.reshape(-1, 3), axis=0, weights=image.ravel()) for image in held]
    origin = np.average(field.source(points.reshape(-1, 3)), axis=0, weights=held[1].ravel())
    assert_allclose(origin, centre[0], atol=0.15)  # voxels of 2 mm
    moved = centre[1] - centre[0]
    assert_allclose(moved, field.shift_mm + field.bend_mm, atol=0.6)
    bone = phantom.volumes[last].data > 250
    bone &= points[..., 0] < -10
    shown = points[bone].mean(axis=0)
    assert_allclose(shown[:2], np.array([-20, -20]) + field.shift_mm[:2], atol=0.3)


def test_a_trace_in_the_calibrations_water_shows_its_slope():
    """By definition of the slope; the reference is a root of the plain integral."""
    beam, held = Beam(120, 7), [Held("HfO2", 26.6, np.zeros(1))]
    mass = np.array([1e-6])
    error = shown_less_linear(beam, held, [mass], water_cm=20, path_water_cm=np.array([20.0]))
    assert abs(error[0]) < 2e-3 * 26.6 * mass[0]
    mass = np.array([0.05])
    error = shown_less_linear(beam, held, [mass], water_cm=20, path_water_cm=np.array([23.0]))
    energy, weights = beam.energies_kev, beam.weights()
    scale = 26.6 / beam.slope("HfO2", 20)
    depth = 23 * attenuation("H2O", energy) + 0.05 * scale * attenuation("HfO2", energy)
    signal = float(weights @ np.exp(-depth))
    length = brentq(lambda cm: float(weights @ np.exp(-cm * attenuation("H2O", energy))) - signal, 1, 60)
    assert error[0] == pytest.approx(length - 23 - 26.6 * 0.05, rel=1e-4)
    assert error[0] < 0


def test_hardening_darkens_a_dense_cylinder_most_in_its_middle_and_leaves_water_alone():
    """A cylinder of 30 mm with 20 mg/mL of iodine in one of 200 mm of water, 80 kVp."""
    grid = Grid((80, 80, 3), np.diag([3.0, 3.0, 3.0, 1.0]))
    x = (np.arange(80) - 39.5) * 3
    radius = np.hypot(x[:, None], x)
    tissue = np.where(radius < 100, 0.0, -1000.0)[..., None].repeat(3, 2).astype(np.float32)
    dense = np.where(radius < 15, 20.0, 0.0)[..., None].repeat(3, 2).astype(np.float32)
    held = [Held("I", 42.7, dense)]
    error = hardening_hu(grid, tissue, held, Beam(80, 7), water_cm=20)[..., 1]
    middle, rim = error[radius < 6].mean(), error[(radius > 10) & (radius < 14)].mean()
    # of the whole 854 HU: the ray through the middle crosses 0.06 g/cm2
    ray = shown_less_linear(
        Beam(80, 7), held, [np.array([0.06])], water_cm=20, path_water_cm=np.array([20.0])
    )
    share = 1000 * ray[0] / (42.7 * 60)
    assert middle < rim < 0
    assert 854 * 1.6 * share < middle < 854 * 0.8 * share
    nothing = [Held("I", 42.7, np.zeros_like(dense))]
    assert not hardening_hu(grid, tissue, nothing, Beam(80, 7), water_cm=20).any()


def test_a_scan_without_agent_has_no_hardening(levels):
    """All tissue hardens like water, so that away from edges level 2 is level 0 with noise."""
    phantom, plain = levels[2], levels[0]
    n = number(phantom, kvp=120)
    inside = binary_erosion(plain.regions.mask("body"), iterations=3)
    change = (phantom.volumes[n].data - plain.volumes[n].data)[inside]
    assert abs(change.mean()) < 0.2
    assert change.std() == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("fwhm_mm", [1.5, 3.0])
def test_noise_has_its_standard_deviation_and_the_power_of_filtered_back_projection(fwhm_mm):
    """|f| times the square of the kernel's modulation (Riederer 1978), over many slices."""
    grid = Grid((64, 48, 200), np.diag([1.0, 1.2, 1.0, 1.0]))
    noise = kernel_noise(grid, 12.0, fwhm_mm, np.random.default_rng(3))
    assert noise.std() == pytest.approx(12.0, rel=0.01)
    power = (np.abs(np.fft.fft2(noise, axes=(0, 1))) ** 2).mean(axis=2)
    fi, fj = np.fft.fftfreq(64, 1.0)[:, None], np.fft.fftfreq(48, 1.2)
    f = np.hypot(fi, fj)
    expected = f * np.exp(-4 * np.pi**2 * (fwhm_mm / 2.3548) ** 2 * f**2)
    expected *= power.sum() / expected.sum()
    strong = expected > 0.2 * expected.max()
    assert_allclose(power[strong] / expected[strong], 1.0, atol=0.6)
    assert (power[strong] / expected[strong]).mean() == pytest.approx(1.0, abs=0.02)


def scatter_of_mean(mask, grid, sd, fwhm_mm):
    """Standard deviation of the mean over a mask: power of the noise times that of the mask (Parseval)."""
    ni, nj, nk = grid.shape
    fi = np.fft.fftfreq(ni, grid.spacing_mm[0])[:, None]
    squared = fi**2 + np.fft.fftfreq(nj, grid.spacing_mm[1]) ** 2
    power = np.sqrt(squared) * np.exp(-4 * np.pi**2 * (fwhm_mm / 2.3548) ** 2 * squared)
    power *= ni * nj / power.sum()
    along = np.sqrt(max((fwhm_mm / 2.3548) ** 2 - grid.spacing_mm[2] ** 2 / 12, 0)) / grid.spacing_mm[2]
    seen = np.fft.fft2(mask.astype(float), axes=(0, 1))
    if along > 0:
        kernel = gaussian_filter1d(np.eye(nk)[nk // 2], along, mode="wrap")
        kernel /= np.sqrt((kernel**2).sum())
        matrix = np.array([np.roll(kernel, k - nk // 2) for k in range(nk)])
        seen = seen @ matrix
    variance = (np.abs(seen) ** 2 * power[..., None]).sum() / (ni * nj)
    return sd * np.sqrt(variance) / mask.sum()


@pytest.mark.parametrize("size", [32, 3])
def test_the_mean_of_a_region_scatters_as_its_power_says_and_not_as_independent_voxels_do(size):
    grid = Grid((64, 64, 8), np.diag([1.0, 1.0, 1.0, 1.0]))
    mask = np.zeros(grid.shape, bool)
    mask[16 : 16 + size, 16 : 16 + size, :] = True
    means = [kernel_noise(grid, 10.0, 3.0, np.random.default_rng(n))[mask].mean() for n in range(150)]
    predicted = scatter_of_mean(mask, grid, 10.0, 3.0)
    # a standard deviation of 150 is known to 6 %
    assert np.std(means) == pytest.approx(predicted, rel=0.2)
    assert predicted > 1.5 * 10 / np.sqrt(mask.sum())


def test_limits_of_the_ladder_follow_from_the_noise_of_two_scans_and_the_slope_of_iodine():
    """3.3 and 10 standard deviations of a vial's mean over 27.1 HU per mg/mL and 126.904 g/mol."""
    spec = load_spec("ladder-sensitivity")
    stated = {
        (e.method, e.level): e.value
        for e in spec.expect
        if e.modality == "CT" and e.method.endswith("_limit")
    }
    for level in (1, 2):
        phantom = make(spec, level)
        names = [f"vial_{n:02d}" + ("_core" if level > 1 else "") for n in range(1, 9)]
        each = [
            scatter_of_mean(phantom.regions.mask(name), phantom.grid, 10 * np.sqrt(2), 0.9) for name in names
        ]
        sd = np.sqrt(np.mean(np.square(each)))
        for word, factor in (("detection", 3.3), ("quantification", 10)):
            molar = factor * sd / 27.1 / 126.904
            assert stated[f"log10_{word}_limit", (level,)] == pytest.approx(np.log10(molar), abs=5e-3)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_noise(small):
    one, same, other = (make(copy.deepcopy(small), 2, rng=rng) for rng in (1, 1, 2))
    n = scan(one, fraction=5)
    assert one.volumes[n].data.tobytes() == same.volumes[n].data.tobytes()
    assert (one.volumes[n].data != other.volumes[n].data).mean() > 0.9


def test_header_says_voltage_filter_kernel_and_day(levels):
    phantom = levels[0]
    record = phantom.volumes[scan(phantom, fraction=5, kvp=80)].acquisition
    before = phantom.volumes[number(phantom, kvp=80)].acquisition
    assert (record.tube_voltage_kv, record.kernel, record.rescale_type) == (80, "soft", "HU")
    assert (record.filter_material, record.filter_thickness_mm) == ("ALUMINUM", 7)
    assert (record.acquisition_datetime - before.acquisition_datetime).total_seconds() == 5 * 86400 + 3600


def test_files_read_back_as_hounsfield_units(small, tmp_path):
    small["axis"]["values"] = [0]
    small["axes"] = small["axes"][:2]
    small["axes"][0]["values"] = [10]
    small["axes"][1]["values"] = [120]
    small["regions"][2]["truth"][1]["values"] = {"10": 5.33}
    tumour = small["regions"][2]["truth"]
    tumour[2]["values"] = {"0": 100}
    phantom = make(small, 2)
    write(phantom, tmp_path / "out", "both")
    for name, volume in zip(phantom.names, phantom.volumes, strict=True):
        for place in (tmp_path / "out" / "dicom" / name, tmp_path / "out" / "nifti" / f"{name}.nii.gz"):
            loaded = it.load(place)
            assert (loaded.quantity, loaded.unit) == ("attenuation", "[HU]")
            assert loaded.acquisition.tube_voltage_kv == 120
            # a stored step of at most 1/8 HU
            assert_allclose(loaded.data, volume.data, atol=0.07)


def test_bins_of_a_photon_counting_detector_are_an_energy_axis_and_keep_it_on_disk(tmp_path):
    spec = load_spec("spectral-ct-k-sep")
    phantom = make(spec)
    n = next(n for n, one in enumerate(scans_of(spec)) if one.role == "bins")
    volume = phantom.volumes[n]
    assert volume.axis("energy").values.tolist() == [37.5, 57.5, 73.0, 85.5, 115.0]
    bismuth = volume.data[phantom.regions.mask("vial_12")].mean(axis=0)
    assert bismuth[4] > 2 * bismuth[3]  # its K-edge lies between them, at 90.5 keV
    gold = volume.data[phantom.regions.mask("vial_08")].mean(axis=0)
    assert gold[3] > 2 * gold[2]
    from imgtheranostics.phantom.writer import write_image_as_dicom

    loaded = it.load(write_image_as_dicom(phantom, n, tmp_path))
    assert loaded.axis("energy").values.tolist() == volume.axis("energy").values.tolist()


def test_slopes_of_the_shipped_phantoms_are_those_of_set_b():
    """One fact, one place: the records of the agents hold set B."""
    beams = {
        "nbtxr3-torso-ct": ("nbtxr3", "HfO2", 20),
        "spectral-ct-k-sep": ("gold-nanoparticle", "Au", 20),
    }
    for slug, (record, material, water_cm) in beams.items():
        pinned = load_spec(slug).physics.ct.slope_hu[material]
        table = next(one for one in agents.get(record).attenuation.hu_slopes if one.name == "B")
        known = {f"{b.kvp:g}": b.hu_per_mg_ml for b in table.beams if b.water_cm == water_cm}
        assert pinned == {kvp: known[kvp] for kvp in pinned}


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        (lambda s: s["physics"].pop("ct"), MissingMetadata, "CT scanner"),
        (lambda s: s["axes"].pop(1), MissingMetadata, "tube voltage"),
        (lambda s: s["physics"]["ct"]["slope_hu"]["HfO2"].pop("80"), MissingMetadata, "no slope of HfO2"),
        (lambda s: s["physics"]["ct"].update(slope_hu={"I": {"80": 43}, "Au": {"80": 26}}), MissingMetadata,
         "attenuates"),
        (lambda s: s["regions"][1].update(truth={"quantity": "t1", "value": 1, "unit": "s"}), MissingMetadata,
         "no attenuation"),
        (lambda s: s["physics"]["ct"].pop("pools"), MissingMetadata, "swells"),
        (lambda s: s["physics"]["ct"]["pools"].update(strength_mg_ml=20), ImplausibleValue, "room"),
        (lambda s: s["physics"]["ct"].update(kilovolt=3), CorruptInput, "kilovolt"),
    ],
)  # fmt: skip
def test_what_the_file_does_not_say_is_refused(small, change, kind, word):
    change(small)
    with pytest.raises(kind, match=word):
        make(parse_spec(small))


def test_the_ideal_map_shows_pools_from_level_one_on(levels):
    """At level 0 the mean, 22.386 mg/mL; then the suspension's 53.3, with the same sum."""
    maps = [phantom.truth_map(scan(phantom, fill=42)) for phantom in levels]
    assert {(one.quantity, one.unit) for one in maps} == {("concentration", "mg/mL")}
    assert [one.data.max() for one in maps] == pytest.approx([22.386, STRENGTH, STRENGTH], rel=1e-3)
    assert [one.data.sum() for one in maps] == pytest.approx([maps[0].data.sum()] * 3, rel=1e-3)
    assert not levels[1].truth_map(number(levels[1], kvp=120)).data.any()
