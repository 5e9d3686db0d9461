"""The checkerboard of a registration: edges fit afterwards, and the words carry the quality."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics import ct
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.regions import Regions
from imgtheranostics.registration import register
from imgtheranostics.report.figures import checkerboard, theme
from imgtheranostics.report.run import Run
from imgtheranostics.volume import Volume


def disk(shift, slices=10):
    """A body that ends above and below, with a bright and a dark insert."""
    i, j, k = np.meshgrid(np.arange(40), np.arange(36), np.arange(slices), indexing="ij")
    height = 2.0 * (k - (slices - 1) / 2)
    data = np.zeros((40, 36, slices))
    for (a, b, c), radius, level in (((20, 18, 0), 13, 1.0), ((14, 15, 3), 5, 1.0), ((25, 22, -2), 5, -0.6)):
        distance = np.sqrt((i - a - shift[0]) ** 2 + (j - b - shift[1]) ** 2 + (1.5 * (height - c)) ** 2)
        data += level / (1.0 + np.exp(np.clip((distance - radius) / 0.5, -50, 50)))
    noise = np.random.default_rng(int(10 * shift[0])).normal(scale=0.02, size=data.shape)
    return Volume(data + noise, np.diag([1.0, 1.0, 2.0, 1.0]), "signal", "[arb'U]")


@pytest.mark.parametrize("slices", [10, 1])
def test_edges_run_on_after_registration(slices):
    """The step across the border of squares falls when the images fit."""
    fixed, moving = disk((0, 0), slices), disk((3.0, -2.0), slices)
    found = register(fixed, moving, metric="correlation", model="translation")
    drawing = checkerboard.draw(fixed, moving, found)
    panels = drawing.figure.axes
    assert len(panels) == (6 if slices > 1 else 2)
    before, after = (panels[n].images[0].get_array() for n in (0, len(panels) // 2))
    assert np.abs(np.diff(after, axis=1)).sum() < 0.9 * np.abs(np.diff(before, axis=1)).sum()
    assert "largest displacement 3.6" in drawing.caption
    assert panels[0].get_title("left").startswith("before, axial (R–L)")
    assert theme.as_svg(drawing.figure).startswith(b"<svg")


def test_a_change_of_registered_scans_shows_how_they_fit():
    record = CtAcquisition(tube_voltage_kv=120.0)
    pre, post = (
        disk(shift).replace(
            quantity="attenuation", unit="[HU]", acquisition=record, data=300.0 * disk(shift).data
        )
        for shift in ((0, 0), (3.0, -2.0))
    )
    aligned, plain = ct.enhancement(pre, post, register="rigid"), ct.enhancement(pre, post)
    table = ct.region_table(aligned, Regions.from_masks({"all": np.ones((40, 36, 10), bool)}, pre.grid))
    run = Run("ct enhancement", [aligned], table)
    assert checkerboard.keys(run) == ("delta_attenuation",)
    assert checkerboard.keys(Run("ct enhancement", [plain], table)) == ()
    drawing = checkerboard.draw_run(run, "delta_attenuation")
    assert len(drawing.figure.axes) == 3
    assert "Rigid registration of the second scan" in drawing.caption
    assert drawing.figure.axes[0].get_title("left").startswith("as registered, axial")
