"""Optoacoustic images of phantoms: spectra times light, noise, resolution, bleaching, files."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, MissingMetadata, UnsupportedInput
from imgtheranostics.phantom import load_spec, make, write
from imgtheranostics.phantom.reading import parse_spec

GRUENEISEN_34 = 0.0043 * 34 + 0.0053  # msot.md M14
SMALL = {
    "slug": "small-msot",
    "title": "a vial in a slab",
    "review_claim": "24",
    "modality": "MSOT",
    "grid": {"shape": [20, 40, 8], "voxel_mm": [0.5, 0.5, 1.0]},
    "agent": {"record": "icg", "name": "ICG"},
    "axis": {"kind": "wavelength", "unit": "nm", "values": [700, 760, 800, 850], "layout": "dynamic"},
    "order": "listed",
    "regions": [
        {
            "name": "tissue",
            "shape": {"kind": "box", "centre_mm": [0, 0, 0], "size_mm": [10, 20, 8]},
            "truth": [
                {"quantity": "thb", "value": 20, "unit": "umol/L"},
                {"quantity": "so2", "value": 70, "unit": "%"},
                {"quantity": "scattering", "value": 10, "unit": "1/cm"},
            ],
        },
        {
            "name": "vial",
            "shape": {"kind": "box", "centre_mm": [0, 2, 0], "size_mm": [4, 4, 4]},
            "truth": [
                {"quantity": "molar_concentration", "value": 1.0, "unit": "umol/L"},
                {"quantity": "thb", "value": 50, "unit": "umol/L"},
                {"quantity": "so2", "value": 40, "unit": "%"},
            ],
        },
    ],
    "physics": {
        "levels": [0, 1, 2],
        "noise": "gaussian",
        "snr": 20,
        "psf_fwhm_mm": 0.6,
        "msot": {
            "fluence": "diffusion",
            "bulk": "tissue",
            "scattering_per_cm": 10,
            "absorber": {"spectrum": "ICG"},
            "elevational_fwhm_mm": 1.2,
        },
    },
    "seed": 3,
    "outputs": ["nifti"],
    "provenance": {"regions.*.truth": {"status": "computed", "source": "chosen"}},
}  # fmt: skip


@pytest.fixture
def small():
    return copy.deepcopy(SMALL)


def absorption_700(thb_um, so2):
    """2.303 eps C with the extinctions at 700 nm of msot.md 4.2: HbO2 290, Hb 1794.28 per (M cm)."""
    return math.log(10) * thb_um * 1e-6 * (so2 * 290 + (1 - so2) * 1794.28)


def test_signal_is_grueneisen_times_light_times_absorption(small):
    """By hand at 700 nm and 8 mm: tissue 20 umol/L, 70 %, mu_s' 10 per cm."""
    phantom = make(small)
    found = phantom.volumes[0]
    assert (found.quantity, found.unit, found.axes[0].name) == (
        "optoacoustic_signal",
        "[arb'U]",
        "wavelength",
    )
    mu_a = absorption_700(20, 0.7)
    mu_eff = math.sqrt(3 * mu_a * (mu_a + 10))
    depth_cm = (0.5 * 16 + 0.25) / 10
    assert found.data[0, 16, 0, 0] == pytest.approx(
        GRUENEISEN_34 * math.exp(-mu_eff * depth_cm) * mu_a, rel=1e-5
    )


def test_dye_adds_its_extinction_and_the_light_is_that_of_the_bulk(small):
    small["regions"][0]["truth"][0]["value"] = 0
    phantom = make(small)
    vial = phantom.volumes[0].data[phantom.regions.mask("vial")].mean(axis=0)
    wavelength_nm = phantom.volumes[0].axes[0].values
    dye = math.log(10) * 1e-6 * it.msot.spectra.molar_extinction("ICG", wavelength_nm)
    # without absorption in the bulk the light is the same everywhere
    assert vial[0] == pytest.approx(GRUENEISEN_34 * (absorption_700(50, 0.4) + dye[0]), rel=1e-5)


def test_bulk_and_absorber_have_defaults(small):
    """The largest region; what the record of the agent absorbs as, also where it only carries a dye."""
    stated = make(small).volumes[0].data
    del small["physics"]["msot"]["bulk"], small["physics"]["msot"]["absorber"]
    assert_allclose(make(small).volumes[0].data, stated)
    small["agent"] = {"record": "v7-ruby", "name": "V7-RUBY"}
    carried = make(small).volumes[0].data
    small["physics"]["msot"]["absorber"] = {"spectrum": "IR780"}
    assert_allclose(carried, make(small).volumes[0].data)
    assert not np.allclose(carried, stated)


def test_water_absorbs_in_every_region(small):
    dry, wet = (
        make(small),
        make(
            {
                **small,
                "physics": {**small["physics"], "msot": {**small["physics"]["msot"], "water_share": 0.75}},
            }
        ),
    )
    # at the surface, where the light is 1 within 1 %
    added = (wet.volumes[0].data - dry.volumes[0].data)[0, 0, 0, 2] / GRUENEISEN_34
    assert added == pytest.approx(0.75 * 0.020, rel=0.1)  # 0.020 to 0.0227 per cm at 800 nm


def test_scattering_follows_its_power_law(small):
    """M12: 18.9 (l/500)^-1.286, 12.26 and 10.33 per cm at 700 and 800 nm."""
    from imgtheranostics.phantom.msot_scans import scans_of
    from imgtheranostics.phantom.msot_tissue import scattering_per_cm

    small["physics"]["msot"].update(scattering_per_cm=18.9, scattering_at_nm=500, scattering_power=1.286)
    spec = parse_spec(small)
    found = scattering_per_cm(spec, "vial", scans_of(spec)[0])
    assert found[[0, 2]] == pytest.approx([12.26, 10.33], abs=5e-3)


def test_beer_lambert_and_even_light(small):
    small["physics"]["msot"]["fluence"] = "beer_lambert"
    small["physics"]["levels"] = [0]
    found = make(small).volumes[0].data
    mu_a = absorption_700(20, 0.7)
    fall = found[0, 30, 0, 0] / found[0, 10, 0, 0]
    assert fall == pytest.approx(math.exp(-(mu_a + 10) * 1.0), rel=1e-4)
    small["physics"]["msot"]["fluence"] = "none"
    even = make(small).volumes[0].data
    assert_allclose(even[0, :, 0, 0], GRUENEISEN_34 * mu_a, rtol=1e-5)


def test_noise_is_white_gaussian_and_faint_voxels_are_negative(small):
    quiet, noisy = make(small).volumes[0].data, make(small, 1).volumes[0].data
    noise = noisy - quiet
    brightest = quiet[make(small).regions.mask("vial")].mean(axis=0).max()
    # 20 of the brightest region; 25,600 values know it to 0.5 %
    assert noise.std() == pytest.approx(brightest / 20, rel=0.02)
    assert abs(noise.mean()) < 4 * noise.std() / math.sqrt(noise.size)
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.03
    assert (noisy < 0).mean() > 0.05


def test_noise_is_that_of_the_scanner_and_not_of_each_image(small):
    """A phantom with a faint and a strong agent has one noise."""
    small["axes"] = [{"kind": "particle", "values": ["rod", "sphere"]}]
    small["physics"]["msot"]["absorbers"] = {
        "rod": {"aspect_ratio": 4, "diameter_nm": 10},
        "sphere": {"diameter_nm": 17.65},
    }
    small["regions"][1]["truth"][0] = {"quantity": "molar_concentration", "value": 0.1, "unit": "nmol/L"}
    quiet, noisy = make(small), make(small, 1)
    assert quiet.names == ("particle-rod", "particle-sphere")
    sds = [(b.data - a.data).std() for a, b in zip(quiet.volumes, noisy.volumes, strict=True)]
    assert sds[0] == pytest.approx(sds[1], rel=0.02)
    vial = quiet.regions.mask("vial")
    signals = [volume.data[vial].mean(axis=0) for volume in quiet.volumes]
    assert signals[0].max() > 2 * signals[1].max()


def test_rod_and_sphere_are_the_gold_of_their_record(small):
    """Per-rod extinction of msot.md 4.1 with the table of 1972: 6.31e9 at 771 nm."""
    from imgtheranostics.phantom.msot_scanner import Absorber
    from imgtheranostics.phantom.msot_tissue import molar_extinction

    rod = molar_extinction(Absorber(aspect_ratio=4, diameter_nm=10), np.array([771.0]))
    assert rod == pytest.approx([6.31e9], rel=0.01)
    sphere = molar_extinction(Absorber(diameter_nm=17.65), np.array([700.0]))
    assert sphere < 0.005 * rod


def test_resolution_is_finer_in_the_slice_than_across(small):
    """FWHM 1.0 and 1.5 mm: across its faces the vial fades as the error function says."""
    small["grid"] = {"shape": [32, 64, 26], "voxel_mm": [0.3125, 0.3125, 0.3125]}
    small["physics"].pop("noise")
    small["physics"]["psf_fwhm_mm"] = 1.0
    small["physics"]["msot"].update(fluence="none", elevational_fwhm_mm=1.5)
    small["regions"][0]["truth"][0]["value"] = 0
    sharp, soft = make(small).volumes[0], make(small, 2).volumes[0]
    middle = tuple(round(n) for n in (15.5, 31.5 - 2 / 0.3125, 12.5))
    level = sharp.data[middle][0]
    for axis, fwhm_mm in ((0, 1.0), (2, 1.5)):
        index = np.arange(sharp.shape[axis])
        line = np.take(soft.data[..., 0], index, axis=axis)[
            tuple(slice(None) if n == axis else middle[n] for n in range(3))
        ]
        place_mm = 0.3125 * (index - (sharp.shape[axis] - 1) / 2)
        sd = fwhm_mm / (2 * math.sqrt(2 * math.log(2)))
        edges = np.array(
            [
                [math.erf((side - sign * x) / math.sqrt(2) / sd) for x in place_mm]
                for side, sign in ((2, 1), (2, -1))
            ]
        )
        assert_allclose(line / level, edges.sum(axis=0) / 2, atol=0.01)


def test_cores_keep_their_signal_in_the_direction_of_each_resolution(small):
    phantom = make(small, 2)
    core = phantom.regions.mask("vial_core")
    counts = [int(core.any(axis=tuple(a for a in range(3) if a != axis)).sum()) for axis in range(3)]
    # 8, 8 and 4 voxels of the vial, less one on each side in the slice and one across
    assert counts == [6, 6, 2]


def test_level_two_darkens_behind_an_absorber_and_not_before(small):
    small["regions"][1]["truth"][0]["value"] = 5.0
    small["physics"].pop("noise")
    small["physics"]["psf_fwhm_mm"] = 0.35
    small["physics"]["msot"]["elevational_fwhm_mm"] = 0.7
    one, two = (make(small, level).volumes[0].data for level in (1, 2))
    kept = (two / one)[10, :, 4, 2]  # at 800 nm
    assert kept[1] > 0.97
    assert kept[26] < 0.8 < 1.001 > kept.max()


def test_an_absorber_that_bleaches_fades_from_wavelength_to_wavelength(small):
    small["physics"].pop("noise")
    small["physics"]["psf_fwhm_mm"] = 0.35
    small["physics"]["msot"].update(fluence="none", elevational_fwhm_mm=0.7, seconds_per_wavelength=2.0)
    small["regions"][1]["truth"][1]["value"] = 0
    lasting = make(small, 2).volumes[0].data
    small["physics"]["msot"]["photobleaching_per_s"] = 0.1
    fading = make(small, 2)
    inside = fading.regions.mask("vial_core")
    ratio = (fading.volumes[0].data[inside] / lasting[inside]).mean(axis=0)
    assert ratio == pytest.approx(np.exp(-0.2 * np.arange(4)), rel=1e-4)
    assert_allclose(make(small, 1).volumes[0].data, make(small, 0).volumes[0].data)


def test_level_three_moves_every_image_but_the_first(small):
    small["physics"]["levels"] = [0, 2, 3]
    small["physics"].pop("noise")
    small["physics"]["misplacement"] = {"shift_sd_mm": 1.0}
    small["axes"] = [{"kind": "state", "values": ["before", "after"]}]
    two, three = make(small, 2), make(small, 3)
    assert_allclose(three.volumes[0].data, two.volumes[0].data)
    assert np.abs(three.volumes[1].data - two.volumes[1].data).max() > 0.2 * two.volumes[1].data.max()


def test_wavelengths_come_from_the_scanner_where_no_axis_has_them(small):
    small["axis"] = {"kind": "time", "values": [1.0, 2.0], "truth_at": 1.0}
    with pytest.raises(MissingMetadata, match="wavelengths"):
        make(parse_spec(copy.deepcopy(small)))
    small["physics"]["msot"]["wavelengths_nm"] = [700, 800]
    phantom = make(small)
    assert phantom.names == ("time-1", "time-2")
    assert phantom.volumes[1].axes[0].values.tolist() == [700, 800]
    assert phantom.volumes[1].acquisition.wavelength_nm == (700, 800)


def test_header_says_wavelengths_and_that_energies_are_divided_out(small):
    record = make(small).volumes[0].acquisition
    assert record.wavelength_nm == (700, 760, 800, 850)
    assert record.energy_corrected is True
    assert record.image_type == "raw-au"


@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_files_read_back_as_the_signal_with_its_wavelengths(small, tmp_path, kind):
    phantom = make(small, 1)
    write(phantom, tmp_path / "out", kind)
    place = {"dicom": "dicom/scan", "nifti": "nifti/scan_pa.nii.gz"}[kind]
    loaded = it.load(tmp_path / "out" / place)
    assert loaded.quantity == "optoacoustic_signal"
    assert loaded.axis("wavelength").values.tolist() == [700, 760, 800, 850]
    # stored steps of a 65,535th of each plane's range
    assert_allclose(loaded.data, phantom.volumes[0].data, atol=1e-5 * np.ptp(phantom.volumes[0].data))
    assert (loaded.data < 0).any()


def test_hdf5_reads_back_as_the_signal_in_its_place(small, tmp_path):
    """(frame, wavelength, z, y, x) with the field of view in m; rows run towards +x and +y there."""
    phantom = make(small, 1)
    files = write(phantom, tmp_path / "out", "msot-h5")
    assert [file.name for file in files if file.suffix == ".hdf5"] == ["scan.hdf5"]
    assert not (tmp_path / "out" / "dicom").exists()
    loaded, image = it.load(tmp_path / "out" / "msot-h5" / "scan.hdf5"), phantom.volumes[0]
    assert (loaded.quantity, loaded.shape) == ("optoacoustic_signal", image.shape)
    assert loaded.axis("wavelength").values.tolist() == [700, 760, 800, 850]
    for place in ((0, 0, 0), (3, 30, 6), (19, 39, 7)):
        at = image.affine @ (*place, 1)
        there = np.round(np.linalg.inv(loaded.affine) @ at).astype(int)[:3]
        assert_allclose(loaded.affine @ (*there, 1), at, atol=1e-6)
        assert_allclose(loaded.data[tuple(there)], image.data[place])


def test_both_formats_include_hdf5_where_the_file_names_it(small, tmp_path):
    write(make(small), tmp_path / "without", "both")
    small["outputs"] = ["dicom", "nifti", "msot-h5"]
    write(make(small), tmp_path / "with", "both")
    assert not (tmp_path / "without" / "msot-h5").exists()
    assert (tmp_path / "with" / "msot-h5" / "scan.hdf5").is_file()
    assert (tmp_path / "with" / "nifti" / "scan_pa.nii.gz").is_file()


def test_hdf5_of_a_phantom_without_optoacoustic_images_is_refused(tmp_path):
    with pytest.raises(UnsupportedInput, match="no optoacoustic image"):
        write(make("mpi-19f-linear"), tmp_path / "out", "msot-h5")
    assert not (tmp_path / "out").exists()


def test_truth_map_is_the_concentration_of_the_absorber(small):
    phantom = make(small)
    ideal = phantom.truth_map(0)
    assert (ideal.quantity, ideal.unit) == ("chromophore_concentration", "umol/L")
    assert ideal.data[phantom.regions.mask("vial")].tolist() == pytest.approx([1.0] * 256)
    assert ideal.data[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        (lambda s: s["physics"].pop("msot"), MissingMetadata, "optoacoustic scanner"),
        (lambda s: s["physics"]["msot"].update(bulk="bone"), CorruptInput, "bulk is no region"),
        (lambda s: (s["physics"]["msot"].pop("absorber"),
                    s.update(axes=[{"kind": "particle", "values": ["rod", "sphere"]}])),
         MissingMetadata, "each particle"),
        (lambda s: s["regions"][0]["truth"].pop(1), MissingMetadata, "saturation"),
        (lambda s: s["physics"]["msot"].pop("scattering_per_cm"), MissingMetadata, "scattering of vial"),
        (lambda s: s["axis"].update(layout="separate"), UnsupportedInput, "belong together"),
        (lambda s: s["physics"]["msot"]["absorber"].update(diameter_nm=10), CorruptInput, "spectrum"),
        (lambda s: s["physics"]["msot"]["absorber"].update(spectrum="ICQ"), it.errors.NothingUsable, "ICQ"),
        (lambda s: s["axis"]["values"].append(1200), UnsupportedInput, "1200"),
        (lambda s: s["physics"]["msot"].update(laser=3), CorruptInput, "laser"),
        (lambda s: s.update(axes=[{"kind": "time", "values": [1.0, 2.0], "layout": "dynamic"}]),
         UnsupportedInput, "frames of wavelengths"),
    ],
)  # fmt: skip
def test_what_the_file_does_not_say_is_refused(small, change, kind, word):
    change(small)
    with pytest.raises(kind, match=word):
        make(parse_spec(small))


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(small, tmp_path, digests):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(small, sort_keys=False), encoding="utf-8")
    here, elsewhere = digests(path, 2)
    assert here == elsewhere
    three, four = (make(small, 2, rng=seed).volumes[0].data for seed in (3, 4))
    assert not np.array_equal(three, four)


@pytest.mark.parametrize("slug", ["v7-ruby-msot", "msot-window-aunr-vs-sphere"])
def test_shipped_phantoms_name_their_bulk_and_absorbers(slug):
    spec = load_spec(slug)
    assert spec.physics.msot.bulk == "tissue"
    assert spec.physics.msot.absorber or set(spec.physics.msot.absorbers) == {"nanorod", "sphere"}
