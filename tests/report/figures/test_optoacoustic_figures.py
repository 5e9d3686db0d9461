"""Figures of optoacoustics: what they show, in which order, and what they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from imgtheranostics.fit import CurveFit
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.report.figures import (
    component_overlay,
    component_spectra,
    depth_curves,
    fitted_curves,
    image_slices,
    scene,
    theme,
)
from imgtheranostics.report.run import Run
from imgtheranostics.volume import Axis, Estimate, Volume

SHAPE = (16, 14, 3)
AFFINE = np.diag([0.5, 0.5, 1.0, 1.0])
TABLE = pd.DataFrame(columns=list(STATISTICS_COLUMNS))


def estimate(quantity, data, error=0.01):
    value = Volume(np.asarray(data, np.float32), AFFINE, quantity, "umol/L")
    flags = value.replace(data=np.zeros(SHAPE, np.uint16), quantity="flags", unit="1")
    return Estimate(value, value.replace(data=np.full(SHAPE, error, np.float32)), flags)


@pytest.fixture(scope="module")
def run():
    inside = np.zeros(SHAPE, bool)
    inside[3:8, 3:8] = True
    grid = estimate("thb", np.zeros(SHAPE)).grid
    wavelength = np.array([700.0, 750.0, 800.0, 850.0])
    blood, dye = np.array([1.0, 1.2, 1.1, 1.0]), np.array([0.2, 0.8, 0.4, 0.0])
    spectrum = CurveFit(
        "tumour", "optical_absorption", "wavelength", "nm", wavelength, blood + dye + 0.01, blood + dye,
        wavelength, blood + dye, "1/cm", n_voxels=75, parts={"HbO2": blood, "IR780": dye},
    )  # fmt: skip
    depth = np.arange(1.0, 9.0)
    decay = np.exp(-0.3 * depth)
    curve = CurveFit(
        "800 nm, measured", "effective_attenuation", "depth", "mm", depth, decay, decay, depth, decay,
        "[arb'U]", 3.0, 0.1,
    )  # fmt: skip
    axes = (Axis("wavelength", np.array([700.0]), "nm"),)
    picture = Volume(
        np.arange(16 * 14 * 3, dtype=np.float32).reshape(*SHAPE, 1), AFFINE, "optoacoustic_signal", "[arb'U]",
        axes,
    )  # fmt: skip
    made = {"method": "backprojection", "speed_of_sound_m_s": 1480.0, "speed_of_sound_from": "focus"}
    picture = picture.with_step("reconstruct", **made)
    maps = [
        estimate("hb_chromophore_concentration", 30.0 * inside + 10.0),
        estimate("hbo2_chromophore_concentration", 70.0 * inside + 20.0),
        estimate("water_chromophore_concentration", np.ones(SHAPE)),
        estimate("ir780_chromophore_concentration", 0.7 * inside),
    ]
    return Run(
        command="msot unmix",
        estimates=maps,
        table=TABLE,
        regions=Regions.from_masks({"tumour": inside}, grid),
        curves=[spectrum, curve],
        images={"image_pa": picture, "depth": picture.replace(quantity="depth", unit="mm")},
    )


def drawn(figure, run, key):
    with theme.style():
        drawing = figure.draw(run, key)
        return drawing, theme.as_svg(drawing.figure).decode()


def test_what_was_injected_comes_first_and_is_green(run):
    words = list(component_overlay.components_of(run))
    assert words == ["ir780", "hbo2", "hb", "water"]
    assert component_overlay.component_colours(words)["hbo2"] == "#e8606d"
    drawing, svg = drawn(component_overlay, run, component_overlay.KEY)
    assert "IR780 [µmol/L]" in svg
    assert "not shown here: water" in drawing.caption


def test_one_component_alone_has_no_overlay(run):
    alone = Run(command="msot unmix", estimates=[run.maps[0]], table=TABLE)
    assert component_overlay.keys(alone) == ()


def test_the_agent_lies_over_blood_in_its_own_colour(run):
    """At the top of its scale the pixel is the agent's colour, however much blood is there."""
    chosen = scene.scene_of(run, "ir780_chromophore_concentration")
    shown = component_overlay.components_of(run)
    colours = component_overlay.component_colours(list(shown))
    samples = {word: scene.sample_of(one.value, 0) for word, one in shown.items()}
    highs = {word: 0.7 if word == "ir780" else 100.0 for word in shown}
    item = component_overlay.layout.mosaic(chosen)[0][0]
    pixels = component_overlay._blended(chosen, item, samples, highs, colours)
    agent = np.array(scene.rgb_bytes(colours["ir780"]))
    assert (np.abs(pixels.astype(int) - agent).max(axis=-1) <= 1).any()


def test_spectra_state_their_residual_in_percent(run):
    (key,) = component_spectra.keys(run)
    _, svg = drawn(component_spectra, run, key)
    assert "residual 0.5 %; n = 75" in svg
    assert "Absorption [1/cm]" in svg
    assert "Wavelength [nm]" in svg


def test_spectra_and_depth_curves_are_no_fitted_curves(run):
    assert fitted_curves.keys(run) == ()


def test_depth_curves_say_how_fast_they_fall(run):
    (key,) = depth_curves.keys(run)
    drawing, svg = drawn(depth_curves, run, key)
    assert "falls by 3.00 ± 0.10 per cm" in svg
    assert "800 nm, measured [a.u.]" in svg
    assert "falls by" in drawing.alt


def test_images_without_errors_are_drawn_where_they_are_signals(run):
    assert image_slices.keys(run) == ("image_pa",)
    drawing, _ = drawn(image_slices, run, "image_pa")
    assert "back-projection" in drawing.caption
    assert "1480 m/s, of the sharpest image" in drawing.caption
    assert "wavelength 700 nm" in drawing.caption


def test_scale_of_a_component_ignores_noise_where_light_is_weak():
    """Voxels within three standard errors of zero do not stretch the scale."""
    data = np.full(SHAPE, 0.01)
    data[2:6, 2:6] = 0.7
    error = np.full(SHAPE, 0.001)
    data[:, 9:], error[:, 9:] = 50.0 * np.sign(np.indices(SHAPE)[0][:, 9:] % 2 - 0.5), 40.0
    noisy = estimate("ir780_chromophore_concentration", data)
    noisy = Estimate(noisy.value, noisy.value.replace(data=error.astype(np.float32)), noisy.flags)
    chosen = scene.scene_of(Run(command="x", estimates=[noisy], table=TABLE), noisy.quantity)
    scale = scene.scale_of(chosen)
    assert (scale.low, scale.beyond) == (0.0, "both")
    assert 0.7 <= scale.high <= 0.8
    assert chosen.focus_mm[1] < 0.5 * 9
