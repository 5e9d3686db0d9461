"""Mass of an agent and its share of the injected mass: closed forms, shared errors, vials, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import IllConditioned, ImplausibleValue, MissingMetadata, UnitMismatch
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.msot.signal_calibration import SignalCalibration, line_through_zero
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume, make_step

SHAPE = (24, 24, 6)
X, Y, Z = np.indices(SHAPE)
VIALS = {"v0": 0.0, "v1": 0.5, "v2": 1.0, "v3": 2.0}
GAIN = 80.0
"""Amplitude per mg/mL."""


def estimate(value, error, quantity="component_amplitude", shared=0.0, history=()):
    unit = {
        "component_amplitude": "[arb'U]",
        "chromophore_concentration": "umol/L",
        "concentration": "mg/mL",
    }[quantity]
    volume = Volume(np.broadcast_to(value, SHAPE), np.eye(4), quantity, unit, history=history)
    return Estimate(
        volume,
        volume.replace(data=np.broadcast_to(np.hypot(error, shared * np.asarray(value)), SHAPE)),
        volume.replace(data=np.zeros(SHAPE), quantity="flags", unit="1"),
        shared,
    )


def vials(gains=(GAIN,) * 4):
    """Four vials of 6 x 24 x 6 voxels and their amplitudes."""
    masks = {name: n == X // 6 for n, name in enumerate(VIALS)}
    truth = sum(gain * c * masks[name] for gain, (name, c) in zip(gains, VIALS.items(), strict=True))
    return Regions.from_masks(masks, Volume(X, np.eye(4), "signal", "1").grid), truth


def test_micromolar_to_milligrams_and_percent_injected_dose():
    """Sheet M22: 1 umol/L of 667 g/mol is 6.67e-4 mg/mL; of 0.1 mg injected 0.667 %/g, at 1.06 g/mL less."""
    mass = it.msot.mass_concentration(estimate(1.0, 0.1, "chromophore_concentration"), molar_mass_g_mol=667.0)
    assert (mass.quantity, mass.unit) == ("concentration", "mg/mL")
    assert mass.value.data == pytest.approx(6.67e-4)
    assert mass.standard_error.data == pytest.approx(6.67e-5)
    uptake = it.msot.percent_id_per_gram(mass, injected_mg=0.1, density_g_ml=1.06)
    assert (uptake.quantity, uptake.unit) == ("id_per_g", "%/g")
    assert uptake.value.data == pytest.approx(0.667 / 1.06)
    assert uptake.decisions["uptake"]["injected_mg"] == 0.1


def test_errors_of_scale_and_dose_are_shared_by_all_voxels():
    """3, 4 and 12 % in quadrature are 13 %: none of it shrinks in the mean of a region."""
    amount = estimate(2.0, 0.001, "chromophore_concentration", shared=0.03)
    mass = it.msot.mass_concentration(amount, molar_mass_g_mol=500.0, molar_mass_error=20.0)
    uptake = it.msot.percent_id_per_gram(mass, injected_mg=1.0, injected_error_mg=0.12)
    assert uptake.calibration_relative == pytest.approx(0.13)
    assert uptake.standard_error.data == pytest.approx(0.13 * uptake.value.data, rel=1e-3)
    everything = Regions.from_masks({"all": np.ones(SHAPE)}, uptake.grid)
    row = it.msot.region_table(uptake, everything).iloc[0]
    assert row["standard_error"] == pytest.approx(0.13 * row["mean"], rel=1e-3)


def test_the_light_is_cautioned_about_once_where_nobody_took_it_out():
    """Micromolar exist only of absorption, after the light; calibrated signals keep the caution."""
    regions, truth = vials()
    micromolar = estimate(truth + 1.0, 0.1, "chromophore_concentration")
    mass = it.msot.mass_concentration(micromolar, molar_mass_g_mol=667.0)
    assert it.msot.region_ratio(mass, regions, "v3", over="v1").warnings == ()
    calibrated = it.msot.mass_concentration(
        estimate(truth + 1.0, 0.1), calibration=SignalCalibration(GAIN, 0.1, "[arb'U]")
    )
    found = it.msot.region_ratio(calibrated, regions, "v3", over="v1").warnings
    assert [caution.code for caution in found] == ["fluence-not-corrected"]


def test_negative_amounts_stay_negative():
    mass = it.msot.mass_concentration(
        estimate(-1.0, 0.1, "chromophore_concentration"), molar_mass_g_mol=667.0
    )
    assert (mass.value.data < 0).all()
    assert mass.standard_error.data == pytest.approx(6.67e-5)


@pytest.mark.parametrize("known", [True, False])
def test_the_error_of_a_line_is_the_scatter_of_repeats(known, rng):
    """Where vials scatter more than noise by chance, the error is widened: it is not too small."""
    at, sd = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 4.0]), np.full(6, 5.0)
    noise = sd if known else np.full(6, np.nan)
    lines = np.array([line_through_zero(at, GAIN * at + rng.normal(0.0, sd), noise) for _ in range(4000)])
    scatter = np.std(lines[:, 0])
    assert np.mean(lines[:, 0]) == pytest.approx(GAIN, abs=4 * scatter / np.sqrt(4000))
    assert 0.97 * scatter < np.mean(lines[:, 1]) < 1.2 * scatter


def test_vials_in_an_image_give_the_slope_and_the_stock_adds_its_error(rng):
    regions, truth = vials()
    noisy = estimate(truth + rng.normal(0.0, 30.0, SHAPE), 30.0)
    found = it.msot.calibrate(noisy, regions, VIALS)
    assert found.per_mg_ml == pytest.approx(GAIN, abs=4 * found.relative_error * GAIN)
    assert 0.003 < found.relative_error < 0.03
    stock = it.msot.calibrate(noisy, regions, VIALS, relative_uncertainty=0.05)
    assert stock.relative_error == pytest.approx(np.hypot(0.05, found.relative_error))


def test_a_calibrated_image_has_concentrations_with_the_error_of_the_calibration(rng):
    regions, truth = vials()
    amount = estimate(truth + rng.normal(0.0, 3.0, SHAPE), 3.0)
    calibration = it.msot.calibrate(amount, regions, VIALS, relative_uncertainty=0.05)
    mass = it.msot.mass_concentration(amount, calibration=calibration)
    assert np.mean(mass.value.data[X // 6 == 2]) == pytest.approx(1.0, rel=0.02)
    assert mass.calibration_relative == calibration.relative_error
    assert mass.decisions["scale"]["vials"] == VIALS
    assert "fluence-not-corrected" in {caution.code for caution in mass.warnings}
    history = (make_step("fluence_correction"),)
    corrected = it.msot.mass_concentration(estimate(truth, 3.0, history=history), calibration=calibration)
    assert corrected.warnings == ()


def test_vials_that_scatter_more_than_noise_widen_the_error(rng):
    """Pipetting errors of 20 % between the vials."""
    regions, truth = vials((80.0, 96.0, 64.0, 80.0))
    found = it.msot.calibrate(estimate(truth + rng.normal(0.0, 1.0, SHAPE), 1.0), regions, VIALS)
    assert found.reduced_chi2 > 100.0
    assert found.relative_error > 0.03


def test_a_saturating_signal_is_told(rng):
    regions, truth = vials((80.0, 80.0, 80.0, 50.0))
    found = it.msot.calibrate(estimate(truth + rng.normal(0.0, 1.0, SHAPE), 1.0), regions, VIALS)
    assert [caution.code for caution in found.warnings] == ["calibration-not-linear"]
    regions, truth = vials()
    straight = it.msot.calibrate(estimate(truth + rng.normal(0.0, 1.0, SHAPE), 1.0), regions, VIALS)
    assert straight.warnings == ()


def test_vials_without_agent_are_refused(rng):
    regions, _ = vials()
    with pytest.raises(IllConditioned, match="above noise"):
        it.msot.calibrate(estimate(rng.normal(0.0, 30.0, SHAPE), 30.0), regions, VIALS)


@pytest.mark.parametrize(
    ("known", "error"),
    [({}, ImplausibleValue), ({"v0": 0.0}, ImplausibleValue), ({"v1": -1.0}, ImplausibleValue),
     ({"v1": np.nan}, ImplausibleValue), ({"vial": 1.0}, UnknownChoice)],
)  # fmt: skip
def test_vials_must_be_known(known, error):
    regions, truth = vials()
    with pytest.raises(error):
        it.msot.calibrate(estimate(truth, 1.0), regions, known)


def test_arbitrary_units_have_no_concentration_without_a_calibration():
    """Never a concentration from a signal whose scale nobody knows."""
    with pytest.raises(MissingMetadata, match="calibration"):
        it.msot.mass_concentration(estimate(1.0, 0.1), molar_mass_g_mol=667.0)
    with pytest.raises(MissingMetadata, match="molar mass"):
        it.msot.mass_concentration(estimate(1.0, 0.1, "chromophore_concentration"))


def test_what_does_not_fit_together_is_refused():
    micromolar = estimate(1.0, 0.1, "chromophore_concentration")
    calibration = SignalCalibration(GAIN, 0.1, "[arb'U]")
    with pytest.raises(UnitMismatch, match="another unit"):
        it.msot.mass_concentration(micromolar, calibration=calibration)
    with pytest.raises(UnknownChoice, match="exclude"):
        it.msot.mass_concentration(micromolar, calibration=calibration, molar_mass_g_mol=1.0)
    with pytest.raises(UnitMismatch, match="mass concentration"):
        it.msot.percent_id_per_gram(micromolar, injected_mg=1.0)
    for mass in (0.0, -1.0, np.nan):
        with pytest.raises(ImplausibleValue, match="molar mass"):
            it.msot.mass_concentration(micromolar, molar_mass_g_mol=mass)


@pytest.mark.parametrize(
    "options",
    [{"injected_mg": 0.0}, {"injected_mg": np.nan}, {"injected_mg": 1.0, "injected_error_mg": -0.1},
     {"injected_mg": 1.0, "density_g_ml": 0.0}, {"injected_mg": 1.0, "density_g_ml": 1060.0}],
)  # fmt: skip
def test_impossible_doses_and_densities_are_refused(options):
    with pytest.raises(ImplausibleValue):
        it.msot.percent_id_per_gram(estimate(0.1, 0.01, "concentration"), **options)


@pytest.mark.parametrize(("gain", "relative"), [(0.0, 0.1), (np.nan, 0.1), (1.0, -0.1), (1.0, np.nan)])
def test_an_impossible_calibration_is_refused(gain, relative):
    with pytest.raises(ImplausibleValue):
        SignalCalibration(gain, relative, "[arb'U]")
