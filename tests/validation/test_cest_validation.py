"""The CEST phantoms measured as a user would, and each method where it must fail or refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import imgtheranostics as it
from imgtheranostics.phantom import make
from imgtheranostics.phantom.cest_scans import scanner_of, scans_of
from imgtheranostics.phantom.mri_fields import fields_on
from imgtheranostics.phantom.reading import parse_spec
from imgtheranostics.validation import cest_fits, cest_spectra
from imgtheranostics.validation.session import Session

PHANTOMS = Path(it.__file__).parents[1] / "phantoms"


def written(spec, folder):
    path = folder / f"{spec['slug']}.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


def shipped(slug):
    return yaml.safe_load((PHANTOMS / f"{slug}.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def olsalazine():
    """The olsalazine phantom with larger voxels: the same tissue, pulses and truth."""
    spec = shipped("olsa-rvrr-cest")
    spec["grid"] = {"shape": [38, 18, 18], "voxel_mm": [0.6, 0.6, 0.6]}
    return spec


@pytest.fixture
def iopamidol():
    spec = shipped("iopamidol-ph-cest")
    spec["grid"] = {"shape": [32, 26, 22], "voxel_mm": [0.6, 0.6, 0.6]}
    return spec


def vials(names, ph=(7.0,)):
    """Some vials of the panel, at fewer pH."""
    spec = shipped("drug-cest-panel")
    spec["grid"]["shape"] = [56, 56, 4]
    spec["axes"][1]["values"] = list(ph)
    spec["regions"] = [
        {**region, "shape": {**region["shape"], "length_mm": 2}}
        for region in spec["regions"]
        if region["name"] in names
    ]
    spec["expect"] = [
        {**item, "roi": kept}
        for item in spec["expect"]
        if (kept := [name for name in np.atleast_1d(item["roi"]).tolist() if name in names])
    ]
    return spec


def test_olsalazine_folds_and_amounts_without_noise(olsalazine, tmp_path):
    table = it.validate(written(olsalazine, tmp_path), 0)
    rows = table.set_index("method")
    assert set(table["verdict"]) == {"pass"}
    assert rows.loc["change_ratio_two_pool", "measured"] == pytest.approx(6.50, rel=0.005)
    assert rows.loc["change_ratio", "measured"] == pytest.approx(6.57, rel=0.005)
    assert rows.loc["fitted_ratio", "measured"] == pytest.approx(6.87, rel=0.01)
    assert rows.loc["raw_ratio_refusal", "measured"] == 1


def test_another_amount_of_agent_is_found_out(olsalazine, tmp_path):
    """Half the agent in the treated tumour: the folds of the sheet are then wrong, and say so."""
    tumour = next(region for region in olsalazine["regions"] if region["name"] == "tumour_rvrr")
    next(t for t in tumour["truth"] if t["quantity"] == "molar_concentration")["value"] = 3.4
    table = it.validate(written(olsalazine, tmp_path), 0).set_index("method")
    for method in ("change_ratio_two_pool", "change_ratio", "fitted_ratio"):
        assert table.loc[method, "verdict"] == "fail"
    assert table.loc["fitted_ratio", "measured"] == pytest.approx(3.4, rel=0.01)


def test_fitted_amounts_hold_with_noise_and_wrong_fields(olsalazine, tmp_path):
    """Level 2 with a higher SNR than the phantom's, since these voxels are fewer; tolerances as shipped."""
    olsalazine["physics"]["snr"] = 240
    table = it.validate(written(olsalazine, tmp_path), 2).set_index("method")
    assert set(table["verdict"]) == {"pass"}


def test_ph_by_rates_by_the_ratio_and_outside_of_it(iopamidol, tmp_path):
    table = it.validate(written(iopamidol, tmp_path), 0)
    assert set(table["verdict"]) == {"pass"}
    rates = table[table["method"] == "fitted_ph"].set_index("region")
    assert rates.loc["cortex_right", "measured"] == pytest.approx(7.4, abs=0.02)
    ratio = table[table["method"] == "ratio_ph"].set_index("region")
    assert ratio.loc["medulla_left", "measured"] == pytest.approx(6.8, abs=0.02)
    assert table.set_index("method").loc["ratio_masked", "measured"] == 1


def test_ratio_drifts_with_concentration_as_the_sheet_says(iopamidol, tmp_path):
    """cest.md section 6: 2.3 at 2 mM and 2.1 at 20 mM, at pH 7.0."""
    iopamidol["expect"] = [item for item in iopamidol["expect"] if item.get("method") == "ratio_drift"]
    table = it.validate(written(iopamidol, tmp_path), 0)
    assert table["measured"].iloc[0] == pytest.approx(2.1 / 2.3, abs=0.02)


def test_amounts_in_vials_and_the_overlapping_pair(tmp_path):
    table = it.validate(written(vials(("vial_05", "vial_01", "vial_16")), tmp_path), 0)
    assert set(table["verdict"]) == {"pass"}
    found = table.set_index("region")["measured"]
    assert found["vial_01"] == pytest.approx(1.0, rel=0.01)
    assert found["vial_05"] == pytest.approx(20.0, rel=0.01)
    assert table.set_index("region").loc["vial_16", "method"] == "overlapping_refusal"


def test_pools_far_apart_are_not_refused(tmp_path):
    """The same question of melphalan and salicylic acid, 7.5 ppm apart: no refusal, and the row fails."""
    spec = vials(("vial_16",))
    pools = spec["physics"]["mri"]["cest"]["agent_pools"]
    spec["physics"]["mri"]["cest"]["agent_pools"] = [pool for pool in pools if pool["agent"] != "gemcitabine"]
    table = it.validate(written(spec, tmp_path), 0)
    assert (table["measured"].iloc[0], table["verdict"].iloc[0]) == (0.0, "fail")


def test_liposomes_by_cest_stand_beside_the_ct_of_the_same_phantom(tmp_path):
    spec = shipped("ixlipo-ct-cest")
    spec["grid"] = {"shape": [22, 20, 16], "voxel_mm": [1.0, 1.0, 1.0]}
    table = it.validate(written(spec, tmp_path), 0)
    cest = table[table["method"] == "fitted_ratio"]
    assert set(cest["verdict"]) == {"pass"}
    assert cest["measured"].tolist() == pytest.approx([10.0, 1.2], rel=0.01)
    assert set(table[table["method"].isin(["change", "ratio"])]["verdict"]) == {"pass"}


def test_fields_are_found_from_the_short_pulse(olsalazine, tmp_path):
    """B0 to 0.01 ppm and B1 to 1 % inside the tumours, at the noise of the shipped phantom."""
    spec = parse_spec(olsalazine)
    phantom = make(spec, level=2)
    session = Session(phantom, tmp_path)
    maps, fields = cest_spectra.field_maps(session), fields_on(scanner_of(spec)[0], phantom.grid, 2)
    inside = phantom.regions.mask("tumour_rvrr_core")
    b0, b1 = (
        np.reshape(field, phantom.grid.shape, order="F")[inside]
        for field in (fields.offset_ppm, fields.relative_b1)
    )
    bias = cest_spectra.relaxation_bias(session, "tumour_rvrr")
    assert 0.99 < bias < 1.0
    assert (maps.b0_ppm[inside] - b0).mean() == pytest.approx(0, abs=0.01)
    assert (maps.relative_b1[inside] / bias / b1).mean() == pytest.approx(1, abs=0.01)


def test_mean_spectrum_is_the_simulated_one_at_nominal_fields(olsalazine, tmp_path):
    """Level 2, so shifted voxel by voxel and freed from the mean of the noise, against pools at its B1."""
    from imgtheranostics.cest.bloch_mcconnell import PulseTrain, simulate
    from imgtheranostics.phantom.cest_tissue import pools_of

    olsalazine["physics"]["snr"] = 120
    spec = parse_spec(olsalazine)
    session = Session(make(spec, level=2), tmp_path)
    scan = scans_of(spec)[5]
    found = cest_spectra.region_spectrum(session, cest_spectra.volume_of(session, scan), "tumour_rvrr")
    train = PulseTrain(found.offset_ppm, [scan.b1_ut], scan.saturation_s)
    expected = simulate(pools_of(spec, "tumour_rvrr", scan), train, relative_b1=found.relative_b1)
    far = np.abs(found.offset_ppm) > 4
    assert found.n_voxels > 100
    assert far.sum() > 30
    assert_allclose(found.z[far], expected[far], atol=4e-3)


def test_mean_spectrum_is_free_of_the_noise_of_magnitudes(rng):
    """Rician signals with one reference: the mean of ratios is 7e-4 too high, that of sums is not."""
    offsets = np.r_[np.nan, np.linspace(-5, 5, 12)]
    z = np.linspace(0.3, 0.95, 12)
    clean = 1000 * np.r_[1.0, z]
    noise = 25 * rng.standard_normal((2, 60_000, 13))
    found = it.cest.zspectrum.normalise(np.hypot(clean + noise[0], noise[1]), offsets)
    mean = cest_spectra._mean_spectrum(found.z, found.m0, found, 1.0)
    assert_allclose(mean.z, z, atol=4 * 0.036 / np.sqrt(60_000))
    assert (found.z.mean(axis=0) - z).max() > 7e-4


def test_region_is_parted_where_its_b1_is_spread(olsalazine, tmp_path):
    """Parts of equal size, of which the lower B1 comes first; at uniform B1 there is one."""
    spec = parse_spec(olsalazine)
    parts = {}
    for level in (0, 2):
        session = Session(make(spec, level=level), tmp_path / str(level))
        volume = cest_spectra.volume_of(session, scans_of(spec)[4])
        parts[level] = cest_spectra.parts_by_b1(session, volume, "tumour_rvrr")
        whole = cest_spectra.region_spectrum(session, volume, "tumour_rvrr")
        assert sum(part.n_voxels for part in parts[level]) == whole.n_voxels
        mean = np.average([p.relative_b1 for p in parts[level]], weights=[p.n_voxels for p in parts[level]])
        assert mean == pytest.approx(whole.relative_b1)
    assert [len(parts[level]) for level in (0, 2)] == [1, 2]
    low, high = parts[2]
    assert high.relative_b1 > low.relative_b1 + 0.01


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(4, 13)] * 3),
    blocks=st.tuples(*[st.integers(1, 4)] * 3),
    slopes=st.tuples(*[st.floats(-1, 1)] * 3),
)
def test_a_linear_field_survives_its_blocks(shape, blocks, slopes):
    """Sums over blocks with a smaller last one, back to voxels: exact between the centres of the blocks."""
    index = np.indices(shape)
    field = sum(slope * one for slope, one in zip(slopes, index, strict=True))
    counts = cest_spectra._block_sums(np.ones(shape), blocks)
    means = cest_spectra._block_sums(field, blocks) / counts
    assert counts.sum() == np.prod(shape)
    back = cest_spectra._on_voxels(means, shape, blocks)
    inner = tuple(slice(size, -size or None) for size in blocks)
    if all(n > 2 * size for n, size in zip(shape, blocks, strict=True)):
        assert_allclose(back[inner], np.broadcast_to(field, shape)[inner], atol=1e-9)


def test_blocks_without_value_take_that_of_the_nearest_one():
    values = np.full((3, 3, 1), np.nan)
    values[1, 1, 0] = 0.25
    assert_allclose(cest_spectra._on_voxels(values, (6, 6, 2), (2, 2, 2)), 0.25)


def test_a_fit_that_gave_nothing_is_refused():
    from imgtheranostics.errors import IllConditioned
    from imgtheranostics.fit import Fit
    from imgtheranostics.volume import Flag

    one = np.array(np.nan)
    failed = Fit(
        {"mt_fraction": one}, {"mt_fraction": one}, one, one, np.array(3), np.array(int(Flag.NOT_CONVERGED))
    )
    with pytest.raises(IllConditioned, match="failed") as caught:
        cest_fits.all_known(failed)
    assert "NOT_CONVERGED" in caught.value.found
