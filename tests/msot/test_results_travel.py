"""Results can be sent to another process, as studies do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.msot.dye_kinetics import compartment_curve
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Estimate, Volume

SHAPE, TIMES = (8, 6, 4), 10.0 * np.arange(40)
X = np.indices(SHAPE)[0]


RIPPLE = 0.01 * np.cos(np.arange(X.size * TIMES.size)).reshape(*SHAPE, TIMES.size)


def series(values, quantity, unit):
    data = np.broadcast_to(values, RIPPLE.shape) + RIPPLE
    volume = Volume(data, np.eye(4), quantity, unit, (Axis("time", TIMES, "s"),))
    flags = volume.replace(data=np.zeros(volume.shape), quantity="flags", unit="1")
    return Estimate(volume, volume.replace(data=np.full(volume.shape, 0.01)), flags)


@pytest.fixture(scope="module")
def results():
    regions = Regions.from_masks({"one": X < 4, "two": X >= 4}, Volume(X, np.eye(4), "signal", "1").grid)
    curve = compartment_curve(TIMES - 95.0, amplitude=5.0, rise_per_s=0.02, decay_per_s=0.004)
    dye = series(curve, "component_amplitude", "[arb'U]")
    image = Estimate(*(part.frame(30) for part in (dye.value, dye.standard_error, dye.flags)))
    depth = Volume(X + 0.5, np.eye(4), "depth", "mm")
    return {
        "gas challenge": it.msot.delta_so2(series(60.0 + 9.0 * (TIMES > 195.0), "so2", "%"), regions),
        "dye": it.msot.dye_kinetics_maps(dye, regions, baseline=(0, 9)),
        "ratio": it.msot.region_ratio(image, regions, "one", over="two"),
        "depth": it.msot.depth_curve(image, depth),
        "calibration": it.msot.calibrate(image, regions, {"one": 1.0, "two": 1.0}),
    }


@pytest.mark.parametrize("name", ["gas challenge", "dye", "ratio", "depth", "calibration"])
def test_a_result_comes_back_from_pickling_as_it_was(name, results):
    result = results[name]
    back = pickle.loads(pickle.dumps(result))  # noqa: S301
    assert type(back) is type(result)
    for kept in ("decisions", "vials"):
        if hasattr(result, kept):
            assert repr(dict(getattr(back, kept))) == repr(dict(getattr(result, kept)))
    if hasattr(result, "table"):
        assert back.table.equals(result.table)
