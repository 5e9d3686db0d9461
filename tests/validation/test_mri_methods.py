"""The MR and MPI phantoms through validate: the catalogue's tolerances hold, and a wrong analysis fails."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml
from scipy.optimize import brentq

from imgtheranostics.phantom import load_spec
from imgtheranostics.phantom.mri_signal import spoiled_gradient_echo
from imgtheranostics.phantom.reading import library
from imgtheranostics.validation import FAIL, NOT_IMPLEMENTED, PASS, mri_maps, mri_methods, validate
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.volume import Volume


def verdicts(table):
    return set(table["verdict"])


def rows(table, method, quantity=None):
    found = table[
        (table["method"] == method) & table["quantity"].isin([quantity or name for name in table["quantity"]])
    ]
    assert len(found)
    return found


@pytest.fixture
def brain(tmp_path):
    """The metastases at two doses and two times on a coarser grid: seconds instead of a minute."""
    content = yaml.safe_load((library() / "aguix-brain-t1.yaml").read_text(encoding="utf-8"))
    content["grid"] = {"shape": [44, 27, 19], "voxel_mm": [1.5, 1.5, 1.5]}
    content["axis"]["values"] = [15, 100]
    content["axes"][0]["values"] = [0.2, 2, 4]
    for region in content["regions"]:
        for truth in region["truth"]:
            truth["values"] = {k: v for k, v in truth.get("values", {}).items() if k in ("15", "100")}
            if not truth["values"]:
                del truth["values"]
    small = ("metastasis_4", "metastasis_5", "metastasis_6", "metastasis_7", "metastasis_8")
    for item in content["expect"]:
        roi = item["roi"] if isinstance(item["roi"], list) else [item["roi"]]
        item["roi"] = [name for name in roi if not name.startswith(small)]
    path = tmp_path / "aguix-brain-t1.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def test_brain_metastases_keep_the_tolerances_of_the_catalogue(brain):
    """systems.md P09: T1 4 %, [Gd] 8 %, order of the doses, half-life 1.30 +- 0.05 h, at level 2."""
    table = validate(brain, 2)
    assert verdicts(table) == {PASS}
    assert rows(table, "half_life").iloc[0]["unit"] == "h"
    assert set(rows(table, "mean", "gd_concentration")["truth"]) == {0.021, 0.14}


def test_brain_metastases_fail_without_the_b1_map(brain, monkeypatch):
    monkeypatch.setattr(mri_maps, "b1_map", lambda session, volume: None)
    table = validate(brain, 2)
    assert FAIL in set(rows(table, "mean", "t1")["verdict"])


def test_b1_trap_shows_the_ratios_of_the_sheet_and_the_map_removes_them():
    table = validate("aguix-b1-trap", 0)
    assert verdicts(table) == {PASS}
    assert sorted(set(rows(table, "ratio_without_b1")["truth"])) == [0.721, 0.809, 1.0, 1.212]
    assert rows(table, "ratio_with_b1")["measured"].tolist() == pytest.approx([1, 1], abs=1e-3)


def test_b1_trap_fails_when_the_map_is_not_used(monkeypatch):
    monkeypatch.setattr(mri_maps, "b1_map", lambda session, volume: None)
    table = validate("aguix-b1-trap", 0)
    assert set(rows(table, "ratio_with_b1")["verdict"]) == {FAIL}


def test_iron_in_liver_and_spleen_comes_out_below_the_noise_floor():
    table = validate("ferumoxytol-liver-r2s", 2)
    assert verdicts(table) == {PASS}
    assert sorted(set(rows(table, "region_change")["truth"])) == [216, 276, 336, 464]


def test_iron_fails_when_the_noise_floor_stays(tmp_path, monkeypatch):
    """Magnitudes of short T2* do not decay to zero; without the floor the rate is too low."""
    text = (library() / "ferumoxytol-liver-r2s.yaml").read_text(encoding="utf-8")
    path = tmp_path / "ferumoxytol-liver-r2s.yaml"
    coarse = text.replace(
        "[84, 58, 36], voxel_mm: [4.0, 4.0, 8.0]", "[42, 30, 18], voxel_mm: [8.0, 8.0, 16.0]"
    )
    assert coarse != text
    path.write_text(coarse, encoding="utf-8")
    from imgtheranostics.mri import relaxometry

    fit = relaxometry.fit_t2star
    monkeypatch.setattr(
        relaxometry,
        "fit_t2star",
        lambda signal, times, model, noise_sd: fit(signal, times, model="exponential"),
    )
    table = validate(path, 2)
    found = rows(table, "region_change")
    assert set(found["verdict"]) == {FAIL}
    assert (found["measured"] < found["truth"]).all()


def test_light_halves_perfusion():
    table = validate("gadofullerene-130nm-pdt", 2)
    assert verdicts(table) == {PASS}
    assert rows(table, "state_ratio")["truth"].unique().tolist() == [0.5]


def test_dual_contrast_has_its_relaxivities_and_its_sign_flip():
    table = validate("uspion-dual-contrast", 2)
    assert verdicts(table) == {PASS}
    assert set(rows(table, "slope")["truth"]) == {10, 62, 57}


def test_sign_flip_of_the_phantom_is_that_of_the_spgr_equation():
    """TR 50 ms, 30 degrees, T1 2.5 s, r1 10, r2* 57, TE 30 ms: the signal is that without agent again."""

    def shown(c):
        return float(spoiled_gradient_echo(30.0, 0.05, 0.4 + 10 * c)) * math.exp(-0.03 * 57 * c)

    found = brentq(lambda c: shown(c) - shown(0.0), 0.5, 3.0)
    stated = next(e for e in load_spec("uspion-dual-contrast").expect if e.method == "sign_flip")
    assert stated.value == pytest.approx(found, abs=1e-4)


def test_heated_tumour_keeps_the_tolerances_of_the_catalogue():
    table = validate("spion-mht-230khz", [0, 2])
    assert verdicts(table) == {PASS}
    assert rows(table, "initial_slope").iloc[0]["measured"] == pytest.approx(3.6, rel=0.01)
    assert rows(table, "dice_above_41")["measured"].min() > 0.95


def test_heated_tumour_fails_when_the_drift_of_the_field_stays(monkeypatch):
    """0.002 ppm/min for 20 min is 4 Cel."""
    from imgtheranostics import mri

    whole = mri.temperature_map
    monkeypatch.setattr(
        mri,
        "temperature_map",
        lambda phase, magnitude, unheated, noise_sd, mask: whole(phase, magnitude, noise_sd=noise_sd),
    )
    table = validate("spion-mht-230khz", 2)
    assert set(rows(table, "mean", "temperature_change").iloc[-2:]["verdict"]) == {FAIL}


def test_amounts_of_iron_and_fluorine_are_linear():
    table = validate("mpi-19f-linear", [0, 2])
    assert verdicts(table) == {PASS}
    assert rows(table, "background")["measured"].tolist() == [0.0, 0.0]


def test_fluorine_fails_when_the_noise_bias_stays(monkeypatch):
    from imgtheranostics.mri import noise_bias

    monkeypatch.setattr(noise_bias, "region_amplitude", lambda signal, noise_sd: (np.mean(signal), math.nan))
    table = validate("mpi-19f-linear", 2)
    assert set(rows(table, "slope", "spins")["verdict"]) == {FAIL}


def test_trimodal_particle_has_one_concentration_by_mri_and_ct(tmp_path):
    content = yaml.safe_load((library() / "trimodal-fe-au-99mtc.yaml").read_text(encoding="utf-8"))
    content["grid"] = {"shape": [28, 24, 90], "voxel_mm": [1.0, 1.0, 1.0]}
    content["expect"] = [item for item in content["expect"] if item.get("modality") != "SPECT"]
    path = tmp_path / "trimodal-fe-au-99mtc.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    table = validate(path, 0)
    found = rows(table, "mean", "concentration")
    assert verdicts(found) == {PASS}
    assert found["measured"].tolist() == pytest.approx([2, 5, 3] * 2, rel=0.005)


def test_limits_of_the_ladder_follow_from_noise_voxels_and_the_spgr_slope():
    """3.3 and 10 standard deviations sqrt(2) / (30 sqrt(n)) over the relative slope per mmol/L, in mol/L."""
    spec = load_spec("ladder-sensitivity")

    def shown(c):
        return float(spoiled_gradient_echo(25.0, 0.02, 0.4 + 8.9 * c))

    slope = (shown(1e-6) - shown(0.0)) / 1e-6 / shown(0.0)
    for level, voxels in ((1, 984), (2, 768)):
        sd = math.sqrt(2) / 30 / math.sqrt(voxels) / slope * 1e-3
        for method, factor in (("log10_detection_limit", 3.3), ("log10_quantification_limit", 10.0)):
            stated = next(
                e
                for e in spec.expect
                if (e.method, e.quantity, e.level) == (method, "gd_concentration", (level,))
            )
            assert stated.value == pytest.approx(math.log10(factor * sd), abs=2e-3)


def test_ladder_ranks_pet_below_msot_below_mri_below_ct():
    table = validate("ladder-sensitivity", 1)
    assert verdicts(table) == {PASS}
    assert rows(table, "ladder_order").iloc[0]["measured"] == 1.0
    limits = rows(table, "log10_detection_limit").set_index("quantity")["measured"]
    assert limits["activity_concentration"] < -14 < -9 < limits["molar_concentration"] < -8
    assert -7 < limits["gd_concentration"] < -6 < -4 < limits["concentration"] < -3


def test_crossing_is_exact_for_a_cubic():
    y = np.array([0.0, 1.5, 1.2, 0.7, -0.4, -2.0])
    coefficients = np.polynomial.Polynomial([1.1, -0.3, 0.02, 0.01])
    assert mri_methods.crossing(coefficients(y), y) == pytest.approx(1.1, abs=1e-12)
    with pytest.raises(MethodMissing, match="sign flip"):
        mri_methods.crossing(np.arange(4.0), np.arange(4.0))


def test_common_half_life_is_that_of_curves_with_different_amplitudes():
    times = np.array([0.2, 1.0, 2.0, 4.0, 24.0])
    series = [(times, a * np.exp2(-times / 1.3)) for a in (0.1, 0.5, 1.2)]
    assert mri_methods.common_half_life(series) == pytest.approx(1.3, rel=1e-6)


def test_function_that_does_not_exist_is_not_implemented():
    with pytest.raises(MethodMissing, match="sorcery_map"):
        mri_maps.api("sorcery_map")


def test_quantity_without_a_method_is_not_implemented(tmp_path):
    content = yaml.safe_load((library() / "aguix-b1-trap.yaml").read_text(encoding="utf-8"))
    content["expect"] = [
        {"quantity": "proton_density", "roi": "vial_06", "value": 1, "tol_rel": 0.1, "level": 0},
        {"quantity": "t1", "roi": "vial_06", "method": "change", "value": 1, "tol_rel": 0.1, "level": 0},
        {"quantity": "t1", "roi": "vial_06", "method": "order", "value": 1, "tol_abs": 0, "level": 0},
    ]
    path = tmp_path / "aguix-b1-trap.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    assert verdicts(validate(path, 0)) == {NOT_IMPLEMENTED}


def test_weighted_image_is_that_of_fifteen_degrees():
    from imgtheranostics.volume import Axis

    data = np.broadcast_to(np.arange(5.0), (2, 2, 2, 5))
    image = Volume(data, np.eye(4), "signal", "[arb'U]", (Axis("flip_angle", [2, 5, 10, 15, 20], "deg"),))
    assert float(mri_maps._weighted(image).data[0, 0, 0]) == 3.0
