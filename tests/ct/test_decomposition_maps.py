"""Materials as maps: which image has which tube voltage, what is refused, what the Estimates carry."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import CtAcquisition, MrAcquisition
from imgtheranostics.ct.materials import bin_slopes, calibrate, prior_slope
from imgtheranostics.ct.slope import Slope
from imgtheranostics.errors import (
    GeometryMismatch,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.volume import Axis, Estimate, Flag, Volume

SHAPE = (24, 24, 12)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
SET_A = {"I": (43.8, 23.8), "HfO2": (26.7, 24.7)}
"""ct.md table 4.2, set A at 80 and 140 kVp."""

IODINE, HAFNIUM = (slice(2, 8), slice(None), slice(None)), (slice(14, 20), slice(None), slice(None))
EDGES = (25, 50, 65, 81, 90, 140)


def image(data, kvp=None, *, affine=AFFINE, quantity="attenuation", **record):
    acquisition = CtAcquisition(tube_voltage_kv=kvp, **record)
    return Volume(np.asarray(data, np.float32), affine, quantity, "[HU]", acquisition=acquisition)


def amounts():
    """5 mg/mL of iodine in one slab, 3 mg/mL of hafnium oxide in another."""
    truth = {name: np.zeros(SHAPE) for name in SET_A}
    truth["I"][IODINE] = 5.0
    truth["HfO2"][HAFNIUM] = 3.0
    return truth


def pair(rng=None, *, slopes=SET_A, level=(0.0, 0.0), sd=10.0, kvp=(80.0, 140.0), **record):
    truth = amounts()
    found = []
    for n, voltage in enumerate(kvp):
        data = level[n] + sum(slopes[name][n] * truth[name] for name in truth)
        if rng is not None:
            data = data + sd * rng.standard_normal(SHAPE)
        found.append(image(data, voltage, **record))
    return found


def mean(estimate, region):
    return float(estimate.value.data[region].mean())


def exact(**slopes):
    """Slopes without errors."""
    return {name: [Slope(value, 0.0, name) for value in column] for name, column in slopes.items()}


def test_two_materials_come_out_as_maps_with_noise_and_condition(rng):
    found = it.ct.decompose(pair(rng), materials=["I", "HfO2"], slopes=exact(**SET_A), noise_sd=10)
    assert list(found) == ["I", "HfO2"]
    for name, sd in (("I", 0.81), ("HfO2", 1.12)):
        one = found[name]
        assert isinstance(one, Estimate)
        assert (one.quantity, one.unit) == ("concentration", "mg/mL")
        assert np.allclose(one.standard_error.data, sd, atol=0.006)
        assert one.calibration_relative == 0.0
        assert one.decisions["separation"]["condition_number"] == pytest.approx(8.4, abs=0.05)
        assert one.decisions["separation"]["predicted_sd"][name] == pytest.approx(sd, abs=0.006)
        assert one.value.history[-1].name == "decompose"
        assert one.value.data[HAFNIUM].std() == pytest.approx(sd, rel=0.05)
    # 3,456 voxels per slab: the SD of a mean is 0.014 and 0.019 mg/mL
    assert mean(found["I"], IODINE) == pytest.approx(5.0, abs=0.06)
    assert mean(found["I"], HAFNIUM) == pytest.approx(0.0, abs=0.06)
    assert mean(found["HfO2"], HAFNIUM) == pytest.approx(3.0, abs=0.08)
    assert mean(found["HfO2"], IODINE) == pytest.approx(0.0, abs=0.08)


def test_priors_are_used_without_slopes_and_say_so():
    slopes = {
        name: [prior_slope(name, kvp, water_cm=20, filtration_mm_al=7).hu_per_mg_ml for kvp in (80, 140)]
        for name in SET_A
    }
    found = it.ct.decompose(pair(slopes=slopes), materials=["I", "HfO2"], noise_sd=10)
    assert mean(found["I"], IODINE) == pytest.approx(5.0, rel=1e-4)
    codes = {caution.code for caution in found["I"].warnings}
    assert {"prior-slopes", "assumed-beam"} <= codes
    assert found["I"].decisions["slopes"]["I"][1]["source"] == "prior: spectrum model"
    assert found["I"].calibration_relative > 0.05
    # Iodine's error is also that of hafnium oxide where only that is there
    assert found["I"].maps["calibration_error"].data[HAFNIUM].mean() > 0.1


def test_errors_of_slopes_and_noise_add_in_quadrature():
    errors = {"I": (0.9, 0.5), "HfO2": (0.4, 0.3)}
    found = it.ct.decompose(pair(), materials=["I", "HfO2"], slopes=SET_A, slope_errors=errors, noise_sd=10)
    solver = np.linalg.inv(np.array(list(SET_A.values())).T)
    spread = np.abs(solver) @ np.diag([0.9, 0.5]) * 5.0
    own = np.sqrt((spread**2).sum(axis=1))
    for name, expected in zip(SET_A, own, strict=True):
        part = found[name].maps["calibration_error"].data[IODINE]
        np.testing.assert_allclose(part, expected, rtol=1e-4)
        noise = np.linalg.norm(solver, axis=1)[list(SET_A).index(name)] * 10
        np.testing.assert_allclose(
            found[name].standard_error.data[IODINE], np.hypot(noise, expected), rtol=1e-4
        )


def test_one_material_gives_the_virtual_non_contrast_image():
    images = [image(np.full(SHAPE, 259.0), 80), image(np.full(SHAPE, 159.0), 140)]
    found = it.ct.decompose(images, materials=["I"], slopes=exact(I=SET_A["I"]), noise_sd=10)
    assert list(found) == ["I", "virtual_non_contrast"]
    assert found["I"].value.data == pytest.approx(5.0)
    assert found["I"].standard_error.data == pytest.approx(0.7071, abs=1e-3)
    plain = found["virtual_non_contrast"]
    assert (plain.quantity, plain.unit) == ("attenuation", "[HU]")
    assert plain.value.data == pytest.approx(40.0, abs=1e-3)


@pytest.mark.parametrize("reversed_", [False, True])
@pytest.mark.parametrize("stated", [False, True])
def test_images_are_told_apart_by_their_tube_voltage_not_by_their_place(reversed_, stated):
    images = pair(level=(40.0, 40.0))[:: -1 if reversed_ else 1]
    kvp = (80, 140) if stated else None
    slopes = None
    if not stated:
        order = (1, 0) if reversed_ else (0, 1)
        slopes = {name: [Slope(c[n], 0.0, name, (80, 140)[n]) for n in order] for name, c in SET_A.items()}
    found = it.ct.decompose(
        images,
        kvp=kvp,
        materials=["I", "HfO2"],
        slopes=slopes or exact(**SET_A),
        background=40.0,
        noise_sd=10,
    )
    assert mean(found["I"], IODINE) == pytest.approx(5.0, rel=1e-4)
    assert mean(found["HfO2"], HAFNIUM) == pytest.approx(3.0, rel=1e-4)


def test_another_tube_voltage_than_that_of_the_file_is_refused():
    with pytest.raises(UnitMismatch, match="other tube voltages"):
        it.ct.decompose(pair(), kvp=[100, 140], materials=["I", "HfO2"])
    turned = {name: [Slope(c[n], 0.0, name, (80, 140)[n]) for n in (1, 0)] for name, c in SET_A.items()}
    with pytest.raises(UnitMismatch, match="another tube voltage"):
        it.ct.decompose(pair(), materials=["I", "HfO2"], slopes=turned)
    swapped = {"I": exact(**SET_A)["HfO2"], "HfO2": exact(**SET_A)["I"]}
    with pytest.raises(UnitMismatch, match="another material"):
        it.ct.decompose(pair(), materials=["I", "HfO2"], slopes=swapped)


def test_unknown_tube_voltage_needs_to_be_given():
    silent = pair(kvp=(None, None))
    with pytest.raises(MissingMetadata, match="KVP"):
        it.ct.decompose(silent, materials=["I", "HfO2"])
    found = it.ct.decompose(silent, kvp=[80, 140], materials=["I", "HfO2"], noise_sd=10)
    assert found["I"].decisions["energies"]["kvp"] == [80.0, 140.0]


def test_an_energy_axis_is_the_same_as_a_list():
    images = pair()
    data = np.stack([one.data for one in images], axis=-1)
    together = Volume(
        data, AFFINE, "attenuation", "[HU]", (Axis("energy", [80, 140], "kV"),), CtAcquisition()
    )
    options = {"materials": ["I", "HfO2"], "slopes": exact(**SET_A), "noise_sd": 10}
    for name, one in it.ct.decompose(together, **options).items():
        np.testing.assert_array_equal(one.value.data, it.ct.decompose(images, **options)[name].value.data)
    assert it.ct.decompose(together, materials=["I", "HfO2"])["I"].decisions["energies"]["kvp"] == [80, 140]
    moving = Volume(data, AFFINE, "attenuation", "[HU]", (Axis("time", [0, 1], "s"),), CtAcquisition())
    with pytest.raises(UnsupportedInput, match="not the energy"):
        it.ct.decompose(moving, **options)


def test_other_grids_are_refused_and_reordered_axes_are_not():
    low, high = pair()
    moved = AFFINE.copy()
    moved[:3, 3] = (0.7, 0.0, 0.0)
    with pytest.raises(GeometryMismatch, match=r"origin by 0\.7 mm"):
        it.ct.decompose([low, image(high.data, 140, affine=moved)], materials=["I", "HfO2"])
    flipped = AFFINE.copy()
    flipped[0, 0], flipped[0, 3] = -1.0, SHAPE[0] - 1
    options = {"materials": ["I", "HfO2"], "slopes": exact(**SET_A), "noise_sd": 10}
    turned = it.ct.decompose([low, image(high.data[::-1], 140, affine=flipped)], **options)
    np.testing.assert_array_equal(
        turned["I"].value.data, it.ct.decompose([low, high], **options)["I"].value.data
    )


def test_values_that_are_not_hounsfield_units_are_refused():
    low, high = pair()
    grey = high.replace(quantity="signal", unit="[arb'U]")
    with pytest.raises(MissingMetadata, match="Hounsfield"):
        it.ct.decompose([low, grey], materials=["I", "HfO2"])
    with pytest.raises(UnitMismatch, match="Hounsfield"):
        it.ct.decompose([low, high.replace(quantity="concentration", unit="mg/mL")], materials=["I", "HfO2"])
    with pytest.raises(UnitMismatch):
        it.ct.decompose([low, grey.replace(acquisition=MrAcquisition())], materials=["I", "HfO2"])
    with pytest.raises(UnitMismatch, match="together"):
        it.ct.decompose([low, high.replace(quantity="delta_attenuation")], materials=["I", "HfO2"])


def test_metals_that_are_too_much_alike_are_refused_with_their_condition_number():
    options = {"model": "A", "water_cm": 20}
    with pytest.raises(IllConditioned, match=r"condition number 22\.") as refusal:
        it.ct.decompose(pair(), materials=["Bi", "Au"], displacement=False, **options)
    assert refusal.value.where == "80 kVp, 140 kVp"
    forced = it.ct.decompose(pair(), materials=["Bi", "Au"], displacement=False, force=True, **options)
    assert "forced-separation" in {caution.code for caution in forced["Bi"].warnings}
    for force in (False, True):
        with pytest.raises(IllConditioned, match="condition number infinite"):
            it.ct.decompose(pair(), materials=["HfO2", "Au", "Bi"], force=force, **options)


def test_tin_of_the_file_belongs_to_the_prior():
    low, high = pair()
    tin = high.replace(
        acquisition=CtAcquisition(tube_voltage_kv=140, filter_material="TIN", filter_thickness_mm=0.4)
    )
    found = it.ct.decompose([low, tin], materials=["I", "HfO2"], model="A", water_cm=20, displacement=False)
    assert found["I"].decisions["separation"]["condition_number"] == pytest.approx(5.4, abs=0.05)
    given = it.ct.decompose(
        [low, high], materials=["I", "HfO2"], model="A", water_cm=20, displacement=False, tin_mm=(0, 0.4)
    )
    np.testing.assert_array_equal(given["I"].value.data, found["I"].value.data)
    unknown = high.replace(acquisition=CtAcquisition(tube_voltage_kv=140, filter_material="TIN"))
    with pytest.raises(MissingMetadata, match="tin"):
        it.ct.decompose([low, unknown], materials=["I", "HfO2"])


@pytest.mark.parametrize("as_axis", [True, False])
def test_k_edge_bins_separate_hafnium_gold_bismuth_and_iodine(rng, as_axis):
    materials = ["I", "HfO2", "Au", "Bi"]
    slopes = bin_slopes(materials, EDGES, 140)
    truth = rng.uniform(0, 12, (*SHAPE, 4)) * (rng.random((*SHAPE, 4)) < 0.7)
    data = truth @ slopes.T + 10 * rng.standard_normal((*SHAPE, 5))
    record = CtAcquisition(tube_voltage_kv=140)
    middles = Axis("energy", [37.5, 57.5, 73, 85.5, 115], "keV")
    volumes = Volume(data, AFFINE, "attenuation", "[HU]", (middles,), record)
    if not as_axis:
        volumes = [volumes.frame(n) for n in range(5)]
    found = it.ct.decompose(
        volumes, kvp=140, materials=materials, edges_kev=EDGES, noise_sd=10, displacement=False
    )
    for n, name in enumerate(materials):
        one = found[name]
        assert one.decisions["method"] == "k_edge"
        assert (one.value.data >= 0).all()
        amount = truth[..., n]
        high = amount > 4
        assert one.value.data[high].mean() == pytest.approx(amount[high].mean(), rel=0.02)
        assert "rmse" in one.maps
    assert found["Au"].decisions["separation"]["verdict"] == "solve"
    if as_axis:
        inferred = it.ct.decompose(volumes, kvp=140, materials=materials, noise_sd=10, displacement=False)
        np.testing.assert_array_equal(inferred["Au"].value.data, found["Au"].value.data)
        note = next(one for one in inferred["Au"].warnings if one.code == "bin-limits-inferred")
        assert "25, 50, 65, 81, 90, 140 keV" in note.message
    assert (found["I"].flags.data & Flag.AT_BOUND.value).any()
    assert "held-at-zero" in {caution.code for caution in found["I"].warnings}
    free = it.ct.decompose(
        volumes, kvp=140, materials=materials, edges_kev=EDGES, noise_sd=10, displacement=False,
        non_negative=False,
    )  # fmt: skip
    for n, name in enumerate(materials):
        absent = truth[..., n] == 0
        # About 2,000 voxels without it, with a standard deviation of 0.3 to 0.5 mg/mL
        assert free[name].value.data[absent].mean() == pytest.approx(0.0, abs=0.05)
        assert found[name].value.data[absent].mean() > 0.05
    assert "held-at-zero" not in {caution.code for caution in free["I"].warnings}


def test_bins_without_limits_or_of_another_number_are_refused():
    data = np.ones((*SHAPE, 3))
    bins = Volume(
        data, AFFINE, "attenuation", "[HU]", (Axis("energy", [40, 60, 80], "keV"),), CtAcquisition()
    )
    # 60 keV would be the middle of 0 to 120, or 80 of 40 to 120: no bins end there
    with pytest.raises(MissingMetadata, match="limits of the energy bins"):
        it.ct.decompose(bins, kvp=120, materials=["I", "Gd"])
    with pytest.raises(ValueError, match="4 are needed"):
        it.ct.decompose(bins, kvp=120, materials=["I", "Gd"], edges_kev=(30, 50, 70))
    with pytest.raises(MissingMetadata, match="tube voltage"):
        it.ct.decompose(bins, materials=["I", "Gd"], edges_kev=(30, 50, 70, 100))


def test_background_as_numbers_images_and_unknown():
    low, high = pair(level=(55.0, 45.0))
    options = {"materials": ["I", "HfO2"], "slopes": exact(**SET_A), "noise_sd": 10}
    before = [image(np.full(SHAPE, 55.0), 80), image(np.full(SHAPE, 45.0), 140)]
    plain = it.ct.decompose(pair(), **options)
    for background in ((55.0, 45.0), before):
        found = it.ct.decompose([low, high], background=background, **options)
        for name in SET_A:
            np.testing.assert_allclose(found[name].value.data, plain[name].value.data, atol=1e-4)
    changes = [
        image(low.data - 55.0, 80, quantity="delta_attenuation"),
        image(high.data - 45.0, 140, quantity="delta_attenuation"),
    ]
    np.testing.assert_allclose(
        it.ct.decompose(changes, **options)["I"].value.data, plain["I"].value.data, atol=1e-4
    )
    codes = [caution.code for caution in plain["I"].warnings]
    assert "assumed-background" in codes  # scans as they are: tissue counts as material
    for known in ({"volumes": changes}, {"volumes": [low, high], "background": (55.0, 45.0)}):
        told = it.ct.decompose(**known, **options)["I"].warnings
        assert "assumed-background" not in [caution.code for caution in told]
    with pytest.raises(IllConditioned):
        it.ct.decompose([low, high], background="flat", **options)
    elsewhere = image(np.zeros((4, 4, 4)), 80)
    with pytest.raises(GeometryMismatch):
        it.ct.decompose([low, high], background=elsewhere, **options)


def test_water_fat_and_iodine_fill_the_volume():
    fat, density = (-120.0, -95.0), 4.93
    share = np.zeros(SHAPE)
    share[:12] = 0.4
    iodine = np.where(np.arange(SHAPE[2]) < 6, 8.0, 0.0) * np.ones(SHAPE)
    data = [share * fat[n] + iodine * (SET_A["I"][n] - 1 / density) for n in range(2)]
    found = it.ct.decompose(
        [image(data[0], 80), image(data[1], 140)], materials=["water", "fat", "I"], tissue_hu={"fat": fat},
        slopes=exact(I=SET_A["I"]), densities_g_ml={"I": density}, noise_sd=5,
    )  # fmt: skip
    assert found["fat"].quantity == "volume_fraction"
    recorded = found["fat"].decisions["slopes"]["fills_the_volume"]
    assert recorded["fat"] == {"hu": list(fat), "density_g_ml": None}
    assert recorded["I"]["density_g_ml"] == density
    np.testing.assert_allclose(found["fat"].value.data, share, atol=1e-4)
    np.testing.assert_allclose(found["I"].value.data, iodine, atol=1e-3)
    filled = found["water"].value.data + found["fat"].value.data + found["I"].value.data / 4930
    np.testing.assert_allclose(filled, 1.0, atol=1e-5)
    with pytest.raises(MissingMetadata, match="density"):
        it.ct.decompose(pair(), materials=["water", "fat", "I"], tissue_hu={"fat": fat})


def test_saturated_missing_and_masked_voxels():
    low, high = (np.array(one.data) for one in pair())
    low[0, 0, 0], low[0, 0, 1], high[0, 0, 2] = 3071.0, np.nan, 3100.0
    mask = np.ones(SHAPE)
    mask[:, :, 6:] = 0
    images = [image(low, 80), image(high, 140)]
    options = {"slopes": exact(**SET_A), "noise_sd": 10, "mask": mask}
    found = it.ct.decompose(images, materials=["I", "HfO2"], **options)["I"]
    saturated = Flag.SATURATED.value | Flag.OUTSIDE_RANGE.value
    assert found.flags.data[0, 0, :4].tolist() == [saturated, Flag.INVALID_INPUT.value, saturated, 0]
    assert (found.flags.data[:, :, 6:] == Flag.MASKED_OUT.value).all()
    assert np.isnan(found.value.data[found.flags.data != 0]).all()
    assert np.isnan(found.standard_error.data[found.flags.data != 0]).all()
    message = next(one.message for one in found.warnings if one.code == "saturated-voxels")
    assert message.startswith("2 voxels")


@pytest.mark.parametrize("fill", [-1500.0, -2000.0, -3024.0])
def test_fill_of_scanners_at_one_energy_is_no_material(fill):
    low, high = pair()
    data = low.data.copy()
    data[2, 0, 0] = fill
    found = it.ct.decompose(
        [low.replace(data=data), high], materials=["I", "HfO2"], slopes=exact(**SET_A), noise_sd=10
    )
    for one in found.values():
        assert np.isnan(one.value.data[2, 0, 0])
        assert one.flags.data[2, 0, 0] == Flag.INVALID_INPUT
        assert np.count_nonzero(np.isnan(one.value.data)) == 1


def test_noise_comes_from_estimates_else_from_soft_tissue(rng):
    images = pair(rng, sd=10.0)
    options = {"materials": ["I", "HfO2"], "slopes": exact(**SET_A)}
    estimated = it.ct.decompose(images, **options)["I"]
    # Slabs as wide as the distance of the voxels make it larger in the plane, not across slices
    assert estimated.decisions["noise"]["voxel_sd_hu"] == pytest.approx([10.0, 10.0], rel=0.05)
    assert estimated.standard_error.data == pytest.approx(0.81, rel=0.05)
    spread = np.full(SHAPE, 10.0)
    spread[:12] = 20.0
    changes = []
    for one in images:
        value = one.replace(quantity="delta_attenuation")
        flags = value.replace(data=np.zeros(SHAPE, np.uint16), quantity="flags", unit="1")
        changes.append(Estimate(value, value.replace(data=spread), flags))
    found = it.ct.decompose(changes, **options)["I"]
    assert found.standard_error.data[:12] == pytest.approx(1.63, abs=0.01)
    assert found.standard_error.data[12:] == pytest.approx(0.815, abs=0.005)
    few = [image(one.data[:4, :4, :3], kvp) for one, kvp in zip(images, (80, 140), strict=True)]
    unknown = it.ct.decompose(few, **options)["I"]
    assert "noise-unknown" in {caution.code for caution in unknown.warnings}
    assert unknown.decisions["noise"]["voxel_sd_hu"] == [None, None]
    assert unknown.decisions["separation"]["predicted_sd"] == {"I": None, "HfO2": None}
    assert np.isnan(unknown.standard_error.data).all()
    with pytest.raises(ImplausibleValue):
        it.ct.decompose(images, noise_sd=(10, 0), **options)


def test_flags_of_a_difference_stay(rng):
    value = image(
        np.where(np.arange(12) < 1, np.nan, 100.0) * np.ones(SHAPE), 80, quantity="delta_attenuation"
    )
    reasons = np.where(np.isnan(value.data), Flag.SATURATED.value | Flag.OUTSIDE_RANGE.value, 0)
    flags = value.replace(data=reasons.astype(np.uint16), quantity="flags", unit="1")
    low = Estimate(value, value.replace(data=np.full(SHAPE, 10.0)), flags)
    high = Estimate(
        image(np.full(SHAPE, 80.0), 140, quantity="delta_attenuation"),
        value.replace(data=np.full(SHAPE, 10.0)),
        value.replace(data=np.zeros(SHAPE, np.uint16), quantity="flags", unit="1"),
    )
    found = it.ct.decompose([low, high], materials=["I", "HfO2"], slopes=exact(**SET_A))["I"]
    assert (found.flags.data[:, :, 0] & Flag.SATURATED.value).all()
    assert (found.flags.data[:, :, 1:] == 0).all()


def test_calibrations_of_vials_are_slopes():
    amount = np.array([0.0, 2.0, 5.0, 10.0, 20.0])
    calibrations = {
        name: [
            calibrate(slope * amount + 1.0, amount, hu_standard_error=1.0, material=name, kvp=kvp)
            for slope, kvp in zip(column, (80, 140), strict=True)
        ]
        for name, column in SET_A.items()
    }
    found = it.ct.decompose(pair(), materials=["I", "HfO2"], slopes=calibrations, noise_sd=10)
    assert mean(found["I"], IODINE) == pytest.approx(5.0, rel=1e-3)
    assert not any(caution.code == "prior-slopes" for caution in found["I"].warnings)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"materials": "I"}, "list of different names"),
        ({"materials": ["I", "I"]}, "list of different names"),
        ({"materials": ["I", "HfO2"], "kvp": [80]}, "1 tube voltages for 2"),
        ({"materials": ["I", "HfO2"], "kvp": 80}, "one tube voltage for each"),
        ({"materials": ["I", "HfO2"], "slopes": {"I": (1, 2)}}, "must name the materials I, HfO2"),
        ({"materials": ["I", "HfO2"], "slopes": {"I": (1, 2, 3), "HfO2": (1, 2, 3)}}, "3 of I for 2"),
        ({"materials": ["I", "HfO2"], "slopes": SET_A, "model": "B"}, "do not apply"),
        ({"materials": ["I", "HfO2"], "slopes": {"I": ("a", 2), "HfO2": (1, 2)}}, "is a number, a Slope"),
        ({"materials": ["I", "HfO2"], "slope_errors": SET_A}, "belong to slopes"),
        ({"materials": ["I", "HfO2"], "method": "magic"}, "method must be one of"),
        ({"materials": ["I"], "method": "two_materials"}, "takes two materials"),
        ({"materials": ["I", "HfO2"], "method": "three_materials"}, "takes three materials"),
        ({"materials": ["I"], "method": "flat_background", "background": 40.0}, "solves for the background"),
        ({"materials": ["I", "HfO2"], "noise_sd": (1, 2, 3)}, "3 values for 2"),
        ({"materials": ["I", "HfO2"], "background": (1.0, 2.0, 3.0)}, "3 values for 2"),
        ({"materials": ["I", "HfO2"], "background": "soft"}, "flat"),
        ({"materials": ["I", "HfO2"], "tissue_hu": {"fat": (1, 2)}}, "do not apply"),
    ],
)
def test_usage_errors(options, words):
    with pytest.raises(ValueError, match=words):
        it.ct.decompose(pair(), **options)


def test_what_is_no_image_or_twice_the_same_is_refused():
    low, high = pair()
    with pytest.raises(ValueError, match="not ndarray"):
        it.ct.decompose([low, high.data], materials=["I", "HfO2"])
    with pytest.raises(ValueError, match="no images"):
        it.ct.decompose([], materials=["I", "HfO2"])
    for images, materials in (([low, low], ["I", "HfO2"]), ([low, high], ["I", "iodine"])):
        with pytest.raises(IllConditioned, match=r"above 1e\+06|infinite"):
            it.ct.decompose(images, materials=materials, force=True)


def test_unknown_compounds_are_refused():
    with pytest.raises(UnsupportedInput):
        it.ct.decompose(pair(), materials=["I", "unobtainium"])


def test_kernels_that_differ_are_told():
    low, high = pair()
    sharp = high.replace(acquisition=CtAcquisition(tube_voltage_kv=140, kernel="B70f"))
    soft = low.replace(acquisition=CtAcquisition(tube_voltage_kv=80, kernel="B30f"))
    found = it.ct.decompose([soft, sharp], materials=["I", "HfO2"], noise_sd=10)
    notes = [caution for caution in found["I"].warnings if caution.code == "settings-differ"]
    assert len(notes) == 1
    assert "ConvolutionKernel" in notes[0].where


def test_regions_of_the_maps_have_tables(rng):
    regions = it.Regions.from_masks({"iodine": amounts()["I"] > 0}, pair()[0].grid)
    found = it.ct.decompose(pair(rng), materials=["I", "HfO2"], slopes=SET_A, noise_sd=10)["I"]
    row = it.roi_statistics(found, regions).iloc[0]
    assert row["mean"] == pytest.approx(5.0, abs=0.1)
    # The error that slopes share does not average away: 5 % of each, as no other is given
    assert row["standard_error"] == pytest.approx(found.calibration_relative * row["mean"], rel=0.1)
    assert "slope-error-assumed" in row["warnings"]


def with_air(images):
    """The images with a layer of air, -1000 HU."""
    data = [one.data.copy() for one in images]
    for one in data:
        one[:, :, 0] = -1000.0
    return [image.replace(data=one) for image, one in zip(images, data, strict=True)]


def test_air_is_no_material():
    """Without a background -1000 HU would be -91 mg/mL of hafnium oxide and iodine beside it."""
    options = {"materials": ["I", "HfO2"], "slopes": exact(**SET_A), "noise_sd": 10.0}
    found = it.ct.decompose(with_air(pair()), background=0.0, **options)
    for estimate in found.values():
        assert np.isnan(estimate.value.data[:, :, 0]).all()
        assert (estimate.flags.data[:, :, 0] & Flag.OUTSIDE_RANGE.value).all()
        assert np.isfinite(estimate.value.data[:, :, 1:]).all()
    in_lung = it.ct.decompose(with_air(pair()), background=-1000.0, **options)
    assert np.isfinite(in_lung["I"].value.data).all()


def test_air_before_the_agent_is_a_background():
    options = {"materials": ["I", "HfO2"], "slopes": exact(**SET_A), "noise_sd": 10.0}
    after, before = with_air(pair()), with_air([one.replace(data=0 * one.data) for one in pair()])
    found = it.ct.decompose(after, background=before, **options)
    np.testing.assert_allclose(found["I"].value.data[:, :, 0], 0.0, atol=1e-5)
