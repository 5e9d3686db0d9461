"""The twelve lesions of the MM-302 torso phantom: true volumes at level 2, with noise and 5 mm resolution."""

from __future__ import annotations

import math

import pytest

from imgtheranostics import nuclear, phantom
from imgtheranostics.segmentation import adaptive_threshold

DIAMETERS = {1: 10, 2: 13, 3: 17, 4: 22, 5: 28, 6: 37, 7: 10, 8: 13, 9: 17, 10: 22, 11: 28, 12: 37}
"""As reference/systems.md, P03: 10 to 37 mm."""

PLACES = {
    3: (-42.0, 35.75, -107.0),
    4: (0.75, 35.75, -107.0),
    5: (45.0, 35.0, -108.0),
    6: (98.0, 35.0, -108.0),
    8: (78.5, 36.0, -57.0),
    9: (42.0, 35.75, -57.0),
    10: (0.75, 35.75, -57.0),
}


@pytest.fixture(scope="module")
def torso():
    """SUV at 24 h."""
    return nuclear.suv(phantom.make("mm302-64cu-torso-pet", level=2).volumes[1])


def test_volumes_of_lesions_come_back_from_noise(torso):
    # faint ones of SUV 0.36 and 0.96 in a body of 0.14 and noise among them
    for number, place in PLACES.items():
        diameter = DIAMETERS[number]
        found = adaptive_threshold(
            torso, "sphere", resolution_mm=5.0, seeds_mm=[place], reach_mm=diameter / 2 + 12.0
        )
        table = nuclear.lesion_table(torso, found, peak=False)
        volume = table.loc[table["quantity"] == "metabolic_tumour_volume", "mean"].item()
        assert volume == pytest.approx(math.pi / 6.0 * diameter**3 / 1000.0, rel=0.12), number
