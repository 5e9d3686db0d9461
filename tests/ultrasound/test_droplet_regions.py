"""T50 of regions from the table of a heated cine: closed form, noise without a rise, and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.regions import Regions
from imgtheranostics.ultrasound import activation_curve, enhancement, region_activation
from imgtheranostics.volume import Axis, Volume

SHAPE = (20, 20, 1)
TEMPERATURE = np.repeat(np.arange(20.0, 46.0), 3)
T50, WIDTH = 29.0, 3.0


def heated(seed: int | None = None):
    """Droplets in the first half, tissue in the other; speckle is new in every frame where there is any."""
    shape = (*SHAPE, TEMPERATURE.size)
    speckle = np.ones(shape) if seed is None else np.random.default_rng(seed).exponential(1.0, shape)
    rise = np.ones(shape)
    rise[:10] = activation_curve(TEMPERATURE, T50, WIDTH, 1.0, 4.0)
    axis = Axis("time", 0.5 * np.arange(TEMPERATURE.size), "s")
    data = (50.0 * rise * speckle).astype(np.float32)
    volume = Volume(data, np.diag([-0.2, -0.2, 2.0, 1.0]), "echo_intensity", "1", axes=(axis,))
    droplets, tissue = np.zeros((2, *SHAPE), bool)
    droplets[:10], tissue[10:] = True, True
    rois = Regions.from_masks({"droplets": droplets, "tissue": tissue}, volume.grid)
    return enhancement(volume, rois=rois, baseline_frames=3)


def row(found, region, quantity):
    table = found.table
    (one,) = table[(table["region"] == region) & (table["quantity"] == quantity)].to_dict("records")
    return one


def test_t50_width_and_superheat_without_noise():
    found = region_activation(heated(), TEMPERATURE, bulk_transition_cel=26.5)
    assert row(found, "droplets", "activation_temperature")["mean"] == pytest.approx(T50, abs=1e-4)
    assert row(found, "droplets", "activation_width")["mean"] == pytest.approx(WIDTH, abs=1e-3)
    assert row(found, "droplets", "superheat")["mean"] == pytest.approx(2.5, abs=1e-4)
    assert np.isnan(row(found, "tissue", "activation_temperature")["mean"])
    assert [one.code for one in found.warnings] == ["no-activation"]
    assert len(found.table.attrs["details"]) == len(found.table)


def test_frames_of_one_temperature_are_one_sample():
    found = region_activation(heated(1), TEMPERATURE)
    curve = next(one for one in found.curves if one.label == "droplets")
    assert curve.x.tolist() == np.unique(TEMPERATURE).tolist()
    assert (curve.axis, curve.axis_unit) == ("temperature", "Cel")
    assert curve.value == pytest.approx(T50, abs=4 * curve.standard_error)


def test_tissue_without_droplets_has_no_t50():
    """25 seeds of noise alone: a chance of 0.1 % each; one rise among them would be odd, two a fault."""
    wrong = 0
    for seed in range(25):
        found = region_activation(heated(100 + seed), TEMPERATURE)
        wrong += bool(np.isfinite(row(found, "tissue", "activation_temperature")["mean"]))
        assert np.isfinite(row(found, "droplets", "activation_temperature")["mean"])
    assert wrong <= 1


def test_temperatures_that_do_not_fit_are_refused():
    table = heated()
    with pytest.raises(UnsupportedInput, match="not one temperature per frame"):
        region_activation(table, TEMPERATURE[:-1])
    with pytest.raises(UnsupportedInput, match="too few temperatures"):
        region_activation(table, np.where(TEMPERATURE > 30, 40.0, 20.0))
