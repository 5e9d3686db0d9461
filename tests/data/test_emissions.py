"""Groups of emissions against the means of ICRP-107, and dose kernels against published figures of water."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest

from imgtheranostics.data.emissions import electron_kernels, emission, photon_kernels
from imgtheranostics.data.nuclides import nuclides
from imgtheranostics.errors import UnsupportedInput


def test_groups_add_up_to_the_mean_energies_per_decay():
    """Photons below 1 keV, 1.3 keV per decay at most (227Th), stand with the electrons; the sum is exact."""
    for name, record in nuclides().items():
        groups = emission(name)
        beta = record.mean_beta_minus_mev + record.mean_beta_plus_mev
        assert groups["beta"].total_mev == pytest.approx(beta, rel=1e-4, abs=1e-12), name
        rest = record.mean_electron_mev + record.mean_photon_mev
        both = groups["electron"].total_mev + groups["photon"].total_mev
        assert both == pytest.approx(rest, rel=2e-4, abs=1e-9), name
        assert groups["photon"].total_mev == pytest.approx(record.mean_photon_mev, rel=1e-3, abs=1.3e-3), name


def test_spectra_have_as_many_particles_as_their_branches():
    """Particles per decay by the groups are those of the branches: 90Y one, 64Cu 0.39 + 0.174 (ICRP-107)."""
    for name, yield_ in (("Y-90", 1.0), ("Cu-64", 0.564), ("I-131", 1.0), ("F-18", 0.967)):
        groups = emission(name)["beta"]
        assert (groups.mev_per_decay / groups.energy_mev).sum() == pytest.approx(yield_, rel=0.02), name


def test_lines_stand_where_they_are_known():
    """364 keV of 131I (81.5 %) and the annihilation of 18F (1.934 photons of 511 keV)."""
    iodine, fluorine = emission("I-131")["photon"], emission("F-18")["photon"]
    place = int(np.argmax(iodine.mev_per_decay))
    assert iodine.energy_mev[place] == pytest.approx(0.3645, rel=5e-3)
    assert iodine.mev_per_decay[place] / iodine.energy_mev[place] == pytest.approx(0.817, rel=0.02)
    assert fluorine.energy_mev[-1] == pytest.approx(0.511, rel=1e-4)
    assert fluorine.mev_per_decay[-1] == pytest.approx(0.511 * 1.934, rel=2e-3)


def test_ranges_of_electrons_are_those_of_water():
    """NIST ESTAR, continuous slowing down with 1 to 2 % of radiation at the highest: g/cm2."""
    table = electron_kernels()
    for energy, length in ((0.01, 2.515e-4), (0.1, 1.431e-2), (0.5, 0.1766), (1.0, 0.4367), (2.0, 0.9785)):
        found = np.interp(energy, table.range_energy_mev, table.range_g_cm2)
        assert found == pytest.approx(length, rel=0.02)


def test_shares_rise_from_nothing_to_all():
    table = electron_kernels()
    assert (table.share_within[:, 0] == 0).all()
    assert (table.share_within[:, -1] == 1).all()
    assert (np.diff(table.share_within, axis=1) >= 0).all()
    place = np.interp(1.0, table.radius_over_range, np.arange(table.radius_over_range.size))
    assert (table.share_within[:, int(place)] > 0.995).all()


def test_energy_absorption_of_photons_is_that_of_water():
    """NIST (Hubbell and Seltzer) mu_en/rho of liquid water, cm2/g."""
    table = photon_kernels()
    for energy, value in ((0.03, 0.1557), (0.1, 0.02546), (0.5, 0.03299), (1.0, 0.03103), (2.0, 0.02608)):
        found = np.interp(energy, table.attenuation_energy_mev, table.energy_absorption_cm2_g)
        assert found == pytest.approx(value, rel=6e-3)


def test_all_energy_of_a_photon_is_absorbed_in_the_end():
    """Closure: mu_en/mu times the integral of exp(-x) B(x) is one, to what lies beyond twelve mean paths."""
    table = photon_kernels()
    depth = np.linspace(0, table.deepest_mean_free_paths, 4001)
    powers = depth[:, None] ** np.arange(1, table.build_up.shape[1] + 1)
    for energy, row in zip(table.energy_mev, table.build_up, strict=True):
        place = table.attenuation_energy_mev.tolist().index(energy)
        ratio = table.energy_absorption_cm2_g[place] / table.attenuation_cm2_g[place]
        total = ratio * np.trapezoid(np.exp(-depth) * (1 + powers @ row), depth)
        assert 0.985 < total < 1.005, energy


def test_unknown_nuclides_are_refused():
    with pytest.raises(UnsupportedInput):
        emission("Xx-12")


def test_generator_reproduces_the_shipped_groups(tmp_path, request):
    pytest.importorskip("icrp107_database")
    script = request.config.rootpath / "scripts" / "generate_emissions.py"
    out = tmp_path / "emissions.json"
    subprocess.run([sys.executable, script, "--out", out], check=True, capture_output=True)
    shipped = (files("imgtheranostics.data") / "emissions.json").read_text()
    assert json.loads(out.read_text())["nuclides"] == json.loads(shipped)["nuclides"]
