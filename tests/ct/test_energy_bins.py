"""Slopes in the bins of a photon-counting detector."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from imgtheranostics.ct.materials import bin_slopes, mass_attenuation, mean_energy_kev, monoenergetic
from imgtheranostics.ct.xray_spectra import Beam, transmitted
from imgtheranostics.errors import UnsupportedInput

EDGES = [25, 50.2, 65.35, 80.7, 90.5, 140]
METALS = ["I", "Hf", "Au", "Bi"]


def test_slopes_lie_between_the_single_energies_of_their_bin():
    slopes = bin_slopes(METALS, EDGES, 140)
    assert slopes.shape == (5, 4)
    for k, (low, high) in enumerate(pairwise(EDGES)):
        inside = np.linspace(low + 0.01, high - 0.01, 400)
        for m, metal in enumerate(METALS):
            curve = monoenergetic(metal, inside)
            assert curve.min() <= slopes[k, m] <= curve.max()


def test_each_metal_rises_where_its_k_edge_opens():
    """K-edges of ct.md 4.1: Hf 65.4, Au 80.7, Bi 90.5 keV."""
    slopes = bin_slopes(["Hf", "Au", "Bi"], EDGES, 140)
    rising = slopes[1:] > slopes[:-1]
    np.testing.assert_array_equal(
        rising, [[False, False, False], [True, False, False], [False, True, False], [False, False, True]]
    )


def test_bins_tell_heavy_metals_apart_where_two_energies_do_not():
    """HfO2 and Au at 80 and 140 kVp have condition 64 (ct.md 4.4)."""
    from imgtheranostics.ct.materials import hu_per_mg_ml

    two = np.array([[hu_per_mg_ml(m, kvp) for m in ("HfO2", "Au")] for kvp in (80, 140)])
    bins = bin_slopes(["HfO2", "Au"], [25, 65.35, 80.7, 140], 140)
    assert np.linalg.cond(two) > 30
    assert np.linalg.cond(bins) < 5


def test_a_narrow_bin_is_a_single_energy():
    found = bin_slopes(["I", "Fe"], [69.95, 70.05], 120)
    np.testing.assert_allclose(found[0], [monoenergetic("I", 70), monoenergetic("Fe", 70)], rtol=1e-3)


def test_one_bin_over_everything_is_the_counting_mean():
    spectrum = transmitted(Beam(120))
    expected = spectrum.mean(mass_attenuation("I", spectrum.energy_kev), counting=True)
    expected /= spectrum.mean(mass_attenuation("H2O", spectrum.energy_kev), counting=True)
    assert bin_slopes(["I"], [1, 130], 120)[0, 0] == pytest.approx(expected)


def test_a_counting_detector_sees_lower_energies_than_an_integrating_one():
    assert mean_energy_kev(120, counting=True) < mean_energy_kev(120)


def test_an_agent_counts_as_its_composition():
    np.testing.assert_allclose(
        bin_slopes(["nbtxr3"], EDGES, 140), bin_slopes(["HfO2"], EDGES, 140), rtol=1e-3
    )


@pytest.mark.parametrize(
    ("edges", "match"),
    [
        ([60], "increasing"),
        ([60, 50], "increasing"),
        ([60, float("nan")], "increasing"),
        ([[60, 70]], "increasing"),
        ([60, 125, 140], "no photons of 120 kVp are in the bin 125 to 140"),
        ([2, 5, 60], "no photons of 120 kVp are in the bin 2 to 5"),
    ],
)
def test_bins_without_photons_are_errors_of_use(edges, match):
    with pytest.raises(ValueError, match=match):
        bin_slopes(["I"], edges, 120)


@pytest.mark.parametrize("materials", ["I", []])
def test_materials_are_a_list(materials):
    with pytest.raises(ValueError, match="list of at least one"):
        bin_slopes(materials, EDGES, 140)


def test_an_unknown_material_is_refused():
    with pytest.raises(UnsupportedInput, match="not known"):
        bin_slopes(["I", "unobtanium"], EDGES, 140)
