"""What `make` returns: exact values, mass, determinism, and numbers that the nuclear methods recover."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.errors import ImplausibleValue, NothingUsable, UnsupportedInput
from imgtheranostics.phantom import available, load_spec, make
from imgtheranostics.phantom.exposures import curves_of, exposures
from imgtheranostics.phantom.reading import parse_spec
from imgtheranostics.phantom.templates import region_shapes, template

Y86_HALF_LIFE_S = 14.74 * 3600


def digest(phantom) -> str:
    total = hashlib.sha256()
    for volume in phantom.volumes:
        total.update(volume.data.tobytes(order="F"))
    return total.hexdigest()


def test_shipped_phantoms_are_found():
    assert {"mm302-64cu-torso-pet", "mm302-decaytrap", "upsn-86y-mouse-pet"} <= set(available())


def test_unknown_phantom_is_refused_with_the_known_ones():
    with pytest.raises(NothingUsable, match="no phantom 'nope'") as caught:
        make("nope")
    assert "mm302-decaytrap" in str(caught.value)


def test_values_are_activity_at_the_start_of_the_scan(small):
    """12 %ID/g of 5 MBq, 86Y, scan from 6 h - 300 s: START refers to that moment."""
    phantom = make(small)
    volume = phantom.volumes[0]
    expected = 0.12 * 5e6 * 2 ** (-(6 * 3600 - 300) / Y86_HALF_LIFE_S)
    assert volume.quantity == "activity_concentration"
    assert_allclose(volume.data[phantom.regions.mask("sphere")], expected, rtol=1e-6)


@pytest.mark.parametrize("correction", ["START", "ADMIN", "NONE"])
def test_nuclear_methods_find_the_truth_in_memory(small, correction):
    small["physics"]["decay_correction"] = correction
    phantom = make(small)
    table = it.roi_statistics(it.nuclear.percent_id_per_gram(phantom.volumes[0]), phantom.regions)
    assert_allclose(table["mean"], [1.0, 12.0], rtol=1e-4)
    given = it.nuclear.suv(phantom.volumes[0], administration=phantom.administration)
    assert_allclose(it.roi_statistics(given, phantom.regions)["mean"], [0.2, 2.4], rtol=1e-4)


def test_dynamic_series_has_the_decay_weighted_truth_in_each_frame(dynamic):
    phantom = make(dynamic)
    volume = phantom.volumes[0]
    assert volume.shape == (24, 20, 16, 3)
    assert_allclose(volume.axis("time").values, [150.0, 1950.0, 5550.0])
    table = it.roi_statistics(it.nuclear.percent_id_per_gram(volume), phantom.regions)
    found = table[table["region"] == "sphere"]["mean"].to_numpy()
    # Mid-frame values of 12 (1 - 2^-t) 2^(-t/12) / its value at 1 h; frames are short against the curve.
    hours = np.array([0.5, 1.0, 2.0])
    curve = (1 - 2.0**-hours) * 2 ** (-hours / 12)
    assert_allclose(found, 12 * curve / curve[1], rtol=2e-3)
    truth = phantom.truth_map(0)
    assert_allclose(truth.data[phantom.regions.mask("sphere")].mean(axis=0), found, rtol=1e-4)


@pytest.mark.parametrize("name", ["mouse20g", "torso70kg"])
def test_template_regions_add_up_to_the_body(name):
    """Sum over the image equals the sum over the regions; nested volumes are exact to 0.1 %."""
    slug = {"mouse20g": "upsn-86y-mouse-pet", "torso70kg": "mm302-64cu-torso-pet"}[name]
    content = load_spec(slug).model_dump(mode="json")
    for region in content["regions"]:
        region["shape"] = region["shape"] or "template"
    content["axis"]["values"], content["expect"] = [24], []
    content["physics"]["frame_duration_s"] = [600]
    factor = 2
    content["grid"]["shape"] = [n // factor for n in content["grid"]["shape"]]
    content["grid"]["voxel_mm"] = [h * factor for h in content["grid"]["voxel_mm"]]
    spec = parse_spec(content)
    phantom = make(spec)
    volumes = phantom.mixture.volumes_ml()
    body = sum(shape.volume_ml for shape in template(name)["body"])
    assert sum(volumes.values()) == pytest.approx(body, rel=1e-3)
    for region in spec.regions:
        closed = sum(shape.volume_ml for shape in region_shapes(name, region))
        if region.name not in ("body", "muscle"):
            assert volumes[region.name] == pytest.approx(closed, rel=1e-3), region.name
    image = phantom.truth_map(0).data.astype(np.float64).sum() * phantom.grid.voxel_volume_ml
    at_s = 24 * 3600
    regions = sum(
        100 / spec.administration.activity_bq * curve.at(at_s) * volumes[name]
        for name, curve in curves_of(spec, exposures(spec, "PET")[0]).items()
    )
    assert image == pytest.approx(regions, rel=1e-3)
    assert image < 100


def test_organs_of_the_templates_have_the_masses_of_the_sheet():
    """ML at density 1 (lungs 0.15 g at 0.3, muscle before tumour, kidneys and bladder are cut out)."""
    mouse = {n: sum(s.volume_ml for s in shapes) for n, shapes in template("mouse20g").items()}
    assert mouse["liver"] == pytest.approx(1.2, rel=0.01)
    assert mouse["spleen"] == pytest.approx(0.1, rel=0.01)
    assert mouse["kidneys"] == pytest.approx(0.32, rel=0.01)
    assert mouse["lungs"] * 0.3 == pytest.approx(0.15, rel=0.01)
    assert mouse["bladder"] == pytest.approx(0.1, rel=0.01)
    assert mouse["bone"] * 1.9 == pytest.approx(0.8, rel=0.02)
    assert make("upsn-86y-mouse-pet").mixture.volumes_ml()["muscle"] == pytest.approx(8.0, rel=0.03)
    torso = {n: sum(s.volume_ml for s in shapes) for n, shapes in template("torso70kg").items()}
    assert torso["liver"] == pytest.approx(1700, rel=0.01)
    assert torso["spleen"] == pytest.approx(180, rel=0.01)
    assert torso["kidneys"] == pytest.approx(310, rel=0.01)


def test_same_seed_gives_the_same_bytes_and_another_seed_other_noise(small):
    assert digest(make(small, 1, rng=0)) == digest(make(small, 1, rng=0))
    assert digest(make(small, 1, rng=0)) != digest(make(small, 1, rng=1))
    assert digest(make(small, 0, rng=0)) == digest(make(small, 0, rng=1))
    one = make(small, 1, rng=np.random.default_rng(5))
    two = make(small, 1, rng=np.random.default_rng(5))
    assert digest(one) == digest(two)


def test_bytes_do_not_depend_on_the_number_of_threads(digests):
    here, elsewhere = digests("mm302-decaytrap", 2)
    assert here == elsewhere


def test_all_header_variants_share_their_voxels_in_activity_at_injection():
    phantom = make("mm302-decaytrap", 1)
    start, late = phantom.volumes[0], phantom.volumes[4]
    assert_array_equal(start.data, late.data)


def test_counting_noise_follows_sensitivity_and_time(small):
    """Variance of a voxel is its activity over sensitivity x yield x seconds x mL (Poisson)."""
    phantom = make(small, 1)
    plain = make(small, 0)
    mask = plain.regions.mask("sphere")
    factor = 5e6 * 0.12 * 2 ** (-(6 * 3600 - 300) / Y86_HALF_LIFE_S)
    counts = factor * 0.05 * 0.318903 * 600 * 1.5e-3
    relative = phantom.volumes[0].data[mask] / plain.volumes[0].data[mask]
    assert relative.mean() == pytest.approx(1.0, abs=4 / math.sqrt(counts * mask.sum()))
    assert relative.std() == pytest.approx(1 / math.sqrt(counts), rel=0.15)


def test_prompt_gamma_floor_adds_a_share_of_the_mean(small):
    without = make(small, 2)
    small["physics"]["prompt_gamma_floor"] = 0.1
    with_floor = make(small, 2)
    corners = [(i, j) for i in (0, -1) for j in (0, -1)]
    added = np.mean([with_floor.volumes[0].data[i, j] - without.volumes[0].data[i, j] for i, j in corners])
    content = 1.0 * (6400 - 381.7) + 12 * 381.7
    mean = content / 6400 / 100 * 5e6 * 2 ** (-(6 * 3600 - 300) / Y86_HALF_LIFE_S)
    assert added == pytest.approx(0.1 * mean, rel=0.05)


def test_level_two_regions_are_drawn_and_have_cores(small):
    phantom = make(small, 2)
    assert {"sphere", "sphere_core", "box", "box_core"} == set(phantom.regions)
    nominal, core = phantom.regions.mask("sphere"), phantom.regions.mask("sphere_core")
    assert 0 < core.sum() < nominal.sum()
    assert not (core & ~nominal).any()
    assert nominal.sum() * 1.5e-3 == pytest.approx(math.pi / 6 * 9**3 / 1000, rel=0.05)


def test_more_than_was_injected_is_refused(small):
    small["regions"][0]["truth"]["value"] = 30.0
    with pytest.raises(ImplausibleValue, match="more than what was injected"):
        make(small)


def test_level_that_is_not_offered_is_refused(small):
    with pytest.raises(UnsupportedInput, match="no level 3"):
        make(small, 3)


def test_volumes_carry_a_record_as_a_loader_gives_it(small):
    record = make(small).volumes[0].acquisition
    assert record.units == "BQML"
    assert record.decay_correction == "START"
    assert record.frame_duration_s.shape == (16, 1)
    assert record.radiopharmaceutical.nuclide == "Y-86"
    assert record.subject.weight_kg == 0.02
    # DecayFactor = 2^(FRT / half-life), the check of the SUV manual.
    assert_allclose(record.decay_factor, 2 ** (record.frame_reference_time_s / Y86_HALF_LIFE_S), rtol=1e-9)


def test_phantom_package_imports_no_numerics():
    code = "import sys, imgtheranostics.phantom; print('numpy' in sys.modules, 'pydantic' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["False", "False"]
