"""Components under their own names, their rows, and light taken out in one call."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics import msot
from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.msot.component_curves import component_spectra
from imgtheranostics.msot.component_tables import (
    agents_first,
    component_table,
    component_word,
    named_components,
)
from imgtheranostics.msot.corrected_light import corrected_light, solid_body
from imgtheranostics.msot.depth_summary import depth_summary
from imgtheranostics.msot.wavelength_choice import of_wavelengths
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume

SHAPE = (20, 16, 4)
AFFINE = np.diag([0.4, 0.4, 1.0, 1.0])
WAVELENGTHS = np.array([700.0, 740.0, 780.0, 820.0, 860.0])
NOISE = 0.002
TUMOUR = np.s_[2:8, 8:14, :]
LIVER = np.s_[12:18, 8:14, :]
BLANK = np.s_[1:19, 1:6, :]


def image(*, quantity="optical_absorption", unit="1/cm", scale=1.0, light=1.0):
    """Blood everywhere (70 and 30 umol/L), IR780 of 0.7 and 0.1 in two regions."""
    amounts = {"HbO2": np.full(SHAPE, 70.0), "Hb": np.full(SHAPE, 30.0), "IR780": np.zeros(SHAPE)}
    amounts["IR780"][TUMOUR], amounts["IR780"][LIVER] = 0.7, 0.1
    data = sum(
        amount[..., np.newaxis] * np.log(10.0) * 1e-6 * msot.spectra.molar_extinction(name, WAVELENGTHS)
        for name, amount in amounts.items()
    )
    data = data + NOISE * np.random.default_rng(0).standard_normal(data.shape)
    axes = (Axis("wavelength", WAVELENGTHS, "nm"),)
    return Volume((scale * light * data).astype(np.float32), AFFINE, quantity, unit, axes)


@pytest.fixture(scope="module")
def regions():
    masks = {}
    for name, place in (("tumour", TUMOUR), ("liver", LIVER), ("blank", BLANK)):
        masks[name] = np.zeros(SHAPE, bool)
        masks[name][place] = True
    return Regions.from_masks(masks, image().grid)


@pytest.fixture(scope="module")
def unmixed():
    return msot.unmix(image(), ["HbO2", "Hb", "IR780"], method="ls", noise_sd=NOISE)


def test_names_of_quantities_are_words():
    assert component_word("gold nanorod 4 (long)") == "gold_nanorod_4_long"
    assert component_word("800CW") == "component_800cw"
    assert agents_first(["HbO2", "Hb", "IR780", "water", "V7-RUBY"]) == (
        "IR780", "V7-RUBY", "HbO2", "Hb", "water",
    )  # fmt: skip


def test_maps_stand_under_their_names_agents_first(unmixed):
    maps = named_components(unmixed)
    assert [one.quantity for one in maps] == [
        f"{word}_chromophore_concentration" for word in ("ir780", "hbo2", "hb")
    ]
    assert all(one.unit == "umol/L" for one in maps)
    np.testing.assert_array_equal(maps[0].value.data, unmixed.estimates["IR780"].value.data)
    detected = maps[0].maps["detected"].data
    assert detected[TUMOUR].mean() == 1.0
    assert detected[BLANK].mean() < 0.01


def test_names_that_differ_in_signs_only_are_refused(unmixed):
    alike = msot.unmix(image(), {"dye 1": "IR780", "dye-1": "HbO2"}, method="ls")
    with pytest.raises(ValueError, match="differ in letters or digits"):
        named_components(alike)


def test_rows_of_ratios_and_limits_belong_to_the_agent(unmixed, regions):
    table = component_table(unmixed, regions, over=["liver"], blanks="blank")
    rows = table.set_index(["region", "quantity"])
    ratio = rows.loc[("tumour/liver", "ir780_region_ratio")]
    assert ratio["mean"] == pytest.approx(7.0, abs=4 * ratio["standard_error"])
    plain = msot.region_ratio(unmixed.estimates["IR780"], regions, "tumour", over="liver", blanks="blank")
    assert ratio["mean"] == plain.value
    assert ratio["standard_error"] == plain.standard_error
    assert not any("hbo2_region" in name or "hb_voxel" in name for name in table["quantity"])
    voxel = rows.loc[("any voxel", "ir780_voxel_detection_limit")]
    limit = unmixed.limit_of_detection("IR780", blank=regions.mask("blank"))
    assert voxel["mean"] == limit
    share = rows.loc[("liver", "ir780_detected_share"), "mean"]
    values = unmixed.estimates["IR780"].value.data[LIVER]
    assert share == pytest.approx(100.0 * (values > limit).mean())
    assert len(table.attrs["details"]) == len(table)
    place = int(np.flatnonzero(table["region"] == "tumour/liver")[0])
    assert table.attrs["details"][place]["interval"] == plain.interval


def test_unknown_components_and_regions_are_refused(unmixed, regions):
    with pytest.raises(UnknownChoice, match="livr"):
        component_table(unmixed, regions, over=["livr"])
    with pytest.raises(UnknownChoice, match="component"):
        component_table(unmixed, regions, of=["ICG"])
    with pytest.raises(UnknownChoice, match="blnk"):
        component_table(unmixed, regions, blanks="blnk")


def test_spectra_of_regions_are_sums_of_their_parts(unmixed, regions):
    curves = {curve.label: curve for curve in component_spectra(unmixed, regions)}
    tumour = curves["tumour"]
    np.testing.assert_allclose(sum(tumour.parts.values()), tumour.fitted)
    np.testing.assert_allclose(tumour.measured, tumour.fitted, atol=5 * NOISE / np.sqrt(tumour.n_voxels))
    dye = 0.7e-6 * np.log(10.0) * msot.spectra.molar_extinction("IR780", WAVELENGTHS)
    np.testing.assert_allclose(tumour.parts["IR780"], dye, rtol=0.02, atol=1e-4)


def test_wavelengths_are_chosen_by_value():
    chosen = of_wavelengths(image(), [860.3, 700.0])
    np.testing.assert_array_equal(chosen.axes[-1].values, [700.0, 860.0])
    np.testing.assert_array_equal(chosen.data, image().data[..., [0, 4]])
    with pytest.raises(UnsupportedInput, match="not measured") as refused:
        of_wavelengths(image(), [761.0])
    assert "780" in str(refused.value)
    with pytest.raises(MissingMetadata, match="no wavelengths"):
        of_wavelengths(chosen.replace(data=chosen.data[..., 0], axes=()), [700.0])


def slab():
    """Light below a broad beam on the anterior side of blood, M10 and M12 of the sheet."""
    mu_a = msot.fluence.tissue_absorption(WAVELENGTHS, thb_umol_l=100.0, so2=0.7, water=0.0)
    mu_s = 18.9 * (WAVELENGTHS / 500.0) ** -1.286
    depth_cm = 0.04 * (SHAPE[1] - 0.5 - np.arange(SHAPE[1]))
    rate = np.sqrt(3 * mu_a * (mu_a + mu_s))
    return mu_a, np.exp(-rate * depth_cm[:, np.newaxis])[np.newaxis, :, np.newaxis]


def test_light_of_a_known_tissue_is_taken_out_and_noise_grows_with_depth():
    mu_a, light = slab()
    dim = image(quantity="optoacoustic_signal", unit="[arb'U]", scale=40.0, light=light)
    body = Volume(np.ones(SHAPE, np.int32), AFFINE, "labels", "1")
    options = {"model": "slab", "illumination": "anterior", "mu_a": mu_a}
    found = corrected_light(dim, body, [], calibration=40.0, **options)
    assert found.volume.quantity == "optical_absorption"
    np.testing.assert_allclose(found.volume.data, image().data, rtol=2e-4)
    noise = found.noise(0.5)
    np.testing.assert_allclose(noise.data, np.broadcast_to(0.5 / (40.0 * light), noise.shape), rtol=1e-4)
    assert found.noise(None) is None
    with pytest.raises(ValueError, match="one for each of 5"):
        found.noise([1.0, 2.0])
    with pytest.raises(UnknownChoice, match="slab or a cylinder"):
        corrected_light(dim, body, ["HbO2"], mu_a=mu_a)
    with pytest.raises(UnknownChoice, match="do not apply"):
        corrected_light(dim, body, ["HbO2"], thb_umol_l=100.0, **options)


def test_gaps_between_regions_belong_to_the_body():
    outer, inner = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    outer[1:15, 1:15], inner[6:9, 6:9] = True, True
    outer[5:10, 5:10] = False
    grid = image().grid
    body = solid_body(Regions.from_masks({"tissue": outer, "tumour": inner}, grid))
    assert body.data.sum() == 14 * 14 * SHAPE[2]
    assert body.history[-1].parameters["voxels_filled"] == (25 - 9) * SHAPE[2]


def test_curves_against_depth_fall_as_light_does(unmixed):
    """The attenuation of the slab, within what its 0.3 mm deep shells and the dye leave."""
    mu_a, light = slab()
    even = image(quantity="optoacoustic_signal", unit="[arb'U]", light=light)
    body = Volume(np.ones(SHAPE, np.int32), AFFINE, "labels", "1")
    depth = msot.fluence.depth_from_mask(body, illumination="anterior")
    mask = np.zeros(SHAPE, bool)
    mask[9:11] = True
    found = msot.unmix(even, ["HbO2", "Hb", "IR780"], method="ls")
    table, curves = depth_summary(found, even, depth, width_mm=0.4, mask=mask)
    rate = np.sqrt(3 * mu_a * (mu_a + 18.9 * (WAVELENGTHS / 500.0) ** -1.286))
    np.testing.assert_allclose(table["mean"], rate[[0, 2, 4]], rtol=0.02)
    assert [curve.label for curve in curves[3:]] == ["HbO2", "Hb", "IR780"]
    assert table["axis_value"].tolist() == [700.0, 780.0, 860.0]
