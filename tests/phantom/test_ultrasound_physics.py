"""Ultrasound cines of phantoms: courses of the echo, speckle, resolution, breathing, the grey scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import imgtheranostics as it
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnsupportedInput
from imgtheranostics.phantom.ultrasound_cines import bolus_course, cines_of
from imgtheranostics.phantom.ultrasound_scanner import BolusSpec
from imgtheranostics.phantom.ultrasound_speckle import speckle_frames

SLUG = "us-phase-gas"
BOLUS = BolusSpec(region="tumour_bubbles", area_s=100.0, log_mean=2.3, log_sd=0.5, arrival_s=3.0)


@pytest.fixture(scope="module")
def described():
    return it.phantom.load_spec(SLUG).model_dump(mode="json", exclude_none=True)


@pytest.fixture(scope="module")
def levels():
    return {level: it.phantom.make(SLUG, level=level) for level in (0, 1, 2)}


def power(phantom, name):
    """Echo power by U1, over that of an echo intensity of 1: full scale is 20 dB above it, range 60 dB."""
    grey = phantom.volumes[phantom.names.index(name)].data[:, :, 0]
    return 10.0 ** ((60.0 * grey.astype(float) / 255.0 - 60.0 + 20.0) / 10.0)


def region_mean(phantom, name, region, frames=slice(None)):
    return power(phantom, name)[phantom.regions.mask(region)[:, :, 0]][:, frames].mean()


def test_cines_are_those_of_the_file(levels):
    names = levels[0].names
    assert names[0] == "heating"
    assert names[-2:] == ("laser", "bolus")
    assert sum(name.startswith("gas_time-") for name in names) == 14
    assert {v.quantity for v in levels[0].volumes} == {"signal"}
    bolus = levels[0].volumes[names.index("bolus")]
    np.testing.assert_allclose(bolus.axis("time").values, np.arange(600) / 10.0)
    assert bolus.acquisition.frame_time_s == pytest.approx(0.1)
    assert bolus.acquisition.dynamic_range_db is None


def test_the_place_is_that_of_an_ultrasound_file(levels):
    """DICOM ultrasound has none: the first pixel is the origin, and regions lie on the same grid."""
    volume = levels[0].volumes[0]
    np.testing.assert_array_equal(volume.affine, np.diag([-0.25, -0.25, 2.5, 1.0]))
    np.testing.assert_array_equal(levels[0].regions.grid.affine, volume.affine)


@pytest.mark.parametrize(("region", "turn"), [("droplets_pfp", 29), ("droplets_pfh", 56)])
def test_droplets_boil_about_their_temperature(levels, region, turn):
    """Half of the step from 1 to 4 at the turn, a tenth 1.5 Cel below: the width is 3 Cel from 10 to 90 %."""
    found = power(levels[0], "heating")[levels[0].regions.mask(region)[:, :, 0]].mean(axis=0)
    temperature = np.repeat(np.arange(20, 71), 10)
    assert found[temperature == turn] == pytest.approx(2.5, rel=1e-4)
    logistic = 1 + 3 / (1 + np.exp(-(temperature - turn) * 2 * math.log(9) / 3))
    np.testing.assert_allclose(found, logistic, rtol=1e-4)


def test_gas_forms_over_time_and_only_in_acid(levels):
    first, last = "gas_time-0_ph-{}", "gas_time-60_ph-{}"
    for acidity, caco3 in (("6.5", 3.0), ("7.4", 1.0)):
        names = (first.format(acidity), last.format(acidity))
        mno2 = [region_mean(levels[0], name, "tumour_mno2") for name in names]
        assert mno2 == pytest.approx([1.0, 2.25], rel=1e-4)
        carbonate = [region_mean(levels[0], name, "tumour_caco3") for name in names]
        assert carbonate == pytest.approx([1.0, caco3], rel=1e-4)
    times = (0, 5, 10, 20, 30, 45, 60)
    course = [region_mean(levels[0], f"gas_time-{t}_ph-6.5", "tumour_mno2") for t in times]
    expected = 1 + 1.25 * -np.expm1(-np.array(times) / 15) / -np.expm1(-4)
    np.testing.assert_allclose(course, expected, rtol=1e-4)


def test_the_laser_switches_in_the_middle(levels):
    before = region_mean(levels[0], "laser", "tumour_c3n4", slice(0, 40))
    after = region_mean(levels[0], "laser", "tumour_c3n4", slice(40, 80))
    assert (before, after) == pytest.approx((1.0, 2.0), rel=1e-4)
    assert region_mean(levels[0], "laser", "tumour_mno2") == pytest.approx(1.0, rel=1e-4)


def test_the_bolus_is_a_lognormal_curve():
    """SciPy's density; its peak and time to peak are those of ultrasound.md, section 6."""
    times = np.linspace(0.0, 120.0, 240_001)
    curve = bolus_course(BOLUS, times)
    expected = 100.0 * stats.lognorm.pdf(times - 3.0, s=0.5, scale=math.exp(2.3))
    np.testing.assert_allclose(curve, expected, rtol=1e-9, atol=1e-12)
    assert curve.max() == pytest.approx(9.06462, abs=1e-5)
    assert times[curve.argmax()] == pytest.approx(3.0 + 7.7679, abs=1e-3)


def test_the_bolus_passes_its_region(levels):
    found = power(levels[0], "bolus")[levels[0].regions.mask("tumour_bubbles")[:, :, 0]].mean(axis=0)
    np.testing.assert_allclose(found, 1.0 + bolus_course(BOLUS, np.arange(600) / 10.0), rtol=1e-4)


def intensities(fields):
    return np.array([np.abs(field) ** 2 for field in fields])


@pytest.fixture(scope="module")
def frames():
    """60 independent frames of cells of 2.4 by 1.6 pixels."""
    rng = np.random.default_rng(4)
    return intensities(speckle_frames((128, 128), (2.4, 1.6), 60, 0.0, rng))


class TestSpeckle:
    """Fully developed: U17 and U18 of ultrasound.md."""

    def test_intensities_are_exponential(self, frames):
        assert frames.mean() == pytest.approx(1.0, abs=0.01)
        assert frames.std() == pytest.approx(1.0, abs=0.02)
        decibel = 10 * np.log10(frames)
        assert decibel.mean() == pytest.approx(-2.507, abs=0.05)
        assert decibel.std() == pytest.approx(5.57, abs=0.05)

    def test_neighbours_share_a_cell(self, frames):
        """Of a Gaussian pulse, intensities are correlated by exp(-d^2 / (2 sd^2)), sd that of the pulse."""
        sd = 2.4 / 2.354820
        for distance in (1, 2, 3):
            found = np.corrcoef(frames[:, distance:].ravel(), frames[:, :-distance].ravel())[0, 1]
            assert found == pytest.approx(math.exp(-(distance**2) / (2 * sd**2)), abs=0.02)

    def test_frames_forget_each_other(self):
        rng = np.random.default_rng(5)
        frames = intensities(speckle_frames((128, 128), (1.0, 1.0), 6, 0.6, rng))
        for lag in (1, 2):
            found = np.corrcoef(frames[lag:].ravel(), frames[:-lag].ravel())[0, 1]
            assert found == pytest.approx(0.6 ** (2 * lag), abs=0.02)

    def test_it_moves_with_the_tissue(self):
        rng = np.random.default_rng(6)
        still, moved = intensities(speckle_frames((64, 64), (2.0, 2.0), 2, 1.0, rng, np.array([0.0, 3.0])))
        np.testing.assert_allclose(np.roll(still, 3, axis=1), moved, atol=1e-9)


def test_level_1_keeps_the_mean_power_and_stores_whole_grey(levels):
    volume = levels[1].volumes[0]
    np.testing.assert_array_equal(volume.data, np.rint(volume.data))
    assert (volume.data == 255).mean() < 1e-4
    # of regions whose scatterers are renewed: 1,000 pixels, 510 frames, less than 0.5 %
    found = region_mean(levels[1], "heating", "tumour_bubbles")
    assert found == pytest.approx(1.0, abs=0.02)


def test_speckle_of_tissue_stays_and_that_of_agents_is_renewed(levels):
    found = power(levels[1], "heating")
    mask = levels[1].regions.mask
    for region, correlation in (("tissue", 1.0), ("tumour_mno2", math.exp(-2 * 0.1 / 0.05))):
        inside = found[mask(region)[:, :, 0]]
        between = np.corrcoef(inside[:, 100], inside[:, 101])[0, 1]
        assert between == pytest.approx(correlation, abs=0.1), region


def test_averaging_grey_instead_of_power_is_low_by_the_log_bias(levels):
    grey = levels[1].volumes[0].data[levels[1].regions.mask("tumour_bubbles")[..., 0], 0]
    mean_db = 60.0 * grey.mean() / 255.0 - 40.0
    assert mean_db == pytest.approx(-2.507, abs=0.15)


def test_level_2_is_less_sharp_and_breathes(levels):
    """Depth of the boundary from skin to fat, 2 to 0.5, follows 0.4 mm at 1.5 per s."""
    echo = power(levels[2], "bolus").mean(axis=0)
    edge = echo[2:7].sum(axis=0)
    times = np.arange(600) / 10.0
    wave = np.exp(2j * np.pi * 1.5 * times)
    other = np.exp(2j * np.pi * 1.1 * times)
    assert abs(edge @ wave) > 10 * abs((edge - edge.mean()) @ other)


def test_the_same_seed_gives_the_same_cine(levels):
    again = it.phantom.make(SLUG, level=2)
    np.testing.assert_array_equal(again.volumes[-2].data, levels[2].volumes[-2].data)
    other = it.phantom.make(SLUG, level=2, rng=1)
    assert (other.volumes[-2].data != levels[2].volumes[-2].data).any()


def test_truth_is_that_of_the_last_frame(levels):
    volume = levels[0].names.index("gas_time-60_ph-6.5")
    truth = levels[0].truth_map(volume)
    assert (truth.quantity, truth.unit) == ("echo_intensity", "1")
    inside = levels[0].regions.mask("tumour_mno2")
    np.testing.assert_allclose(truth.data[inside], 2.25, rtol=1e-6)


class TestRefusals:
    def test_several_planes(self, described):
        spec = {**described, "grid": {"shape": [120, 96, 2], "voxel_mm": [0.25, 0.25, 2.5]}}
        with pytest.raises(GeometryMismatch, match="one plane"):
            it.phantom.make(spec)

    def test_a_level_without_physics(self, described):
        more = {"levels": [0, 1, 2, 3], "misplacement": {"shift_sd_mm": 1.0}}
        spec = {**described, "physics": {**described["physics"], **more}}
        with pytest.raises(UnsupportedInput, match="levels up to 2"):
            it.phantom.make(spec)

    def test_a_scanner_that_records_nothing(self, described):
        physics = {**described["physics"], "ultrasound": {"dynamic_range_db": 60}}
        with pytest.raises(MissingMetadata, match="cines"):
            it.phantom.make({**described, "physics": physics})

    def test_boiling_without_a_width(self, described):
        scanner = {k: v for k, v in described["physics"]["ultrasound"].items() if k != "transition_width_cel"}
        physics = {**described["physics"], "ultrasound": scanner}
        with pytest.raises(MissingMetadata, match="boils"):
            it.phantom.make({**described, "physics": physics})

    def test_a_bolus_that_is_not_described(self, described):
        cines = [{"name": "bolus", "kind": "bolus", "frames": 10}]
        physics = {**described["physics"], "ultrasound": {"cines": cines}}
        with pytest.raises(it.ImgTheranosticsError, match="belong together"):
            it.phantom.make({**described, "physics": physics})


def test_frames_of_a_heating_cine_have_their_temperature():
    spec = it.phantom.make(SLUG).spec
    heating = cines_of(spec)[0]
    np.testing.assert_array_equal(heating.temperature_cel[[0, 9, 10, -1]], [20, 20, 21, 70])
