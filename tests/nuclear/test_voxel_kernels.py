"""Voxel S-values against the published tables, closure of energy, and the geometry of boxes by sampling."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.nuclear.dose_kernels import PARTICLES
from imgtheranostics.nuclear.dosimetry import local_s, voxel_s
from imgtheranostics.nuclear.voxel_geometry import shell_shares, smooth_shares, whole

MGY_G = 0.1602176634
NEIGHBOURS = ((0, 0, 1), (0, 1, 1), (1, 1, 1))


def table_of(path):
    """Octant by index of one published table."""
    rows = [line.split() for line in path.read_text(encoding="latin-1").splitlines()[2:]]
    return {tuple(int(n) for n in row[:3]): float(row[3]) for row in rows if row}


def of_octant(kernel, index):
    return kernel[tuple(n // 2 + i for n, i in zip(kernel.shape, index, strict=True))]


TABLES = pytest.mark.parametrize(
    ("name", "edge"), [(name, edge) for name in ("Y-90", "I-131", "Lu-177") for edge in (2.21, 3.0, 4.42)]
)


def published(public_data, name, edge):
    symbol, mass = name.split("-")
    return table_of(public_data(f"pet/voxel_s/{mass}{symbol}{edge:g}mmsoft.txt"))


@TABLES
def test_published_tables_of_soft_tissue(public_data, name, edge):
    """Monte Carlo tables at 1.04 g/mL, all particles: 5 % in the voxel and its neighbours.

    Not in the voxel itself of 177Lu, 8 to 9 % above: see the next test for what the tables leave out.
    """
    table, kernel = published(public_data, name, edge), voxel_s(name, edge)
    for index in NEIGHBOURS:
        assert of_octant(kernel, index) == pytest.approx(table[index], rel=0.05), index
    if name == "Lu-177":
        assert 1.075 < kernel.max() / table[0, 0, 0] < 1.09
    else:
        assert kernel.max() == pytest.approx(table[0, 0, 0], rel=0.05)


@pytest.mark.parametrize(
    ("name", "missing"), [("Y-90", (-0.003, 0.0)), ("I-131", (0.0033, 0.0038)), ("Lu-177", (0.0095, 0.0103))]
)
@pytest.mark.parametrize("edge", [2.21, 3.0, 4.42])
def test_energy_of_published_tables(public_data, name, missing, edge):
    """Balance over all 11^3 voxels: what tables hold, less photons, against the electrons of ICRP-107.

    Photons of the tables are ours to 5 % (`test_photons_of_published_tables`). 177Lu lacks 0.010 MeV of
    0.1479, which no radiation of 2 mm reach or more carries away: it is the conversion and Auger electrons,
    0.0147 MeV, of which one third is there. What the tables lack, they lack in the voxel itself.
    """
    table, times = published(public_data, name, edge), 1.04e-3 * edge**3 / MGY_G
    total = times * sum(value * 2 ** np.count_nonzero(index) for index, value in table.items())
    radius = 5.01 * edge
    photons = times * voxel_s(name, edge, radius_mm=radius, particles=["photon"]).sum()
    electrons = times * voxel_s(name, edge, radius_mm=radius, particles=["beta", "electron"]).sum()
    assert electrons == pytest.approx(nuclide(name).delta_np_mev, rel=1e-3)
    lacking = electrons + photons - total
    assert missing[0] < lacking < missing[1]
    if name == "Lu-177":
        own = times * (voxel_s(name, edge, radius_mm=radius).max() - table[0, 0, 0])
        assert own == pytest.approx(lacking, rel=0.1)
        assert lacking == pytest.approx(0.68 * nuclide(name).mean_electron_mev, rel=0.03)


@pytest.mark.parametrize("edge", [2.21, 3.0, 4.42])
def test_bremsstrahlung_beyond_the_electrons_is_small(public_data, edge):
    """90Y: what the tables hold where the kernel has nothing is 0.03 % of the energy, or less."""
    table = published(public_data, "Y-90", edge)
    kernel = voxel_s("Y-90", edge, radius_mm=5.01 * edge)
    beyond = {index: value for index, value in table.items() if of_octant(kernel, index) < 0.01 * value}
    assert beyond
    energy = sum(value * 2 ** np.count_nonzero(index) for index, value in beyond.items())
    assert 0 < energy * 1.04e-3 * edge**3 / MGY_G < 3e-4 * 0.9331
    assert max(beyond.values()) < 3e-6 * table[0, 0, 0]


@TABLES
def test_published_tables_by_beta_particles_and_photons(public_data, name, edge):
    """Without conversion and Auger electrons, all nine: 5 % in the voxel and in its neighbours."""
    kernel = voxel_s(name, edge, particles=("beta", "photon"))
    table = published(public_data, name, edge)
    for index in ((0, 0, 0), *NEIGHBOURS):
        assert of_octant(kernel, index) == pytest.approx(table[index], rel=0.05), index


def test_particles_add_up():
    parts = [voxel_s("Bi-212", 3.0, radius_mm=9.0, particles=[kind]) for kind in PARTICLES]
    np.testing.assert_allclose(sum(parts), voxel_s("Bi-212", 3.0, radius_mm=9.0), rtol=2e-3, atol=1e-9)
    assert all(part.sum() > 0 for part in parts)
    assert parts[0].max() == pytest.approx(parts[0].sum())


@pytest.mark.parametrize("name", ["I-131", "Lu-177"])
def test_photons_of_published_tables(public_data, name):
    """Beyond the electrons' reach only photons count: attenuation and build-up, 5 % in every voxel there."""
    symbol, mass = name.split("-")
    table = table_of(public_data(f"pet/voxel_s/{mass}{symbol}4.42mmsoft.txt"))
    kernel = voxel_s(name, 4.42)
    far = [index for index in table if max(index) >= 2]
    found = np.array([of_octant(kernel, index) for index in far])
    np.testing.assert_allclose(found, [table[index] for index in far], rtol=0.05)


@pytest.mark.parametrize("name", ["Y-90", "Sr-89", "Re-188", "Ho-166"])
@pytest.mark.parametrize("spacing", [0.8, 3.0, (0.9, 1.1, 2.5)])
def test_energy_of_beta_emitters_closes(name, spacing):
    """The sum times the mass of a voxel is the non-penetrating energy, and photons where there are any."""
    kernel = voxel_s(name, spacing)
    mass = 1.04e-3 * float(np.prod(np.broadcast_to(spacing, 3)))
    record = nuclide(name)
    energy = kernel.sum() * mass / MGY_G
    assert 0.999 * record.delta_np_mev < energy < 1.001 * record.delta_np_mev + record.mean_photon_mev
    assert energy == pytest.approx(record.delta_np_mev, rel=0.01)


@pytest.mark.parametrize("name", ["Ge-68", "I-125", "Tc-99m", "Ga-68", "Pb-209", "Po-213"])
def test_no_energy_is_made(name):
    """Soft X-rays that stop within micrometres, lines, positrons, no photons at all: 8 mm voxels hold between
    what does not penetrate and all that is emitted, to 0.1 %.
    """
    record = nuclide(name)
    energy = voxel_s(name, 8.0).sum() * 1.04e-3 * 512 / MGY_G
    assert energy > 0.999 * record.delta_np_mev
    assert energy < 1.001 * (record.delta_np_mev + record.mean_photon_mev)


def test_all_photons_are_absorbed_in_a_metre_of_tissue():
    """99mTc to 60 cm: nearly all of its 0.143 MeV per decay, of which 11^3 voxels of 3 mm hold a fifth."""
    record = nuclide("Tc-99m")
    total = record.delta_np_mev + record.mean_photon_mev
    far = voxel_s("Tc-99m", 20.0, radius_mm=600.0).sum() * 1.04e-3 * 8000 / MGY_G
    assert 0.97 * total < far < 1.005 * total
    near = voxel_s("Tc-99m", 3.0).sum() * 1.04e-3 * 27 / MGY_G
    assert near < 0.3 * total


def test_mouse_voxels_hold_all_of_the_beta_energy():
    """0.5 x 0.5 x 0.8 mm, 90Y: closure to 0.1 % over a reach of about twenty voxels."""
    kernel = voxel_s("Y-90", (0.5, 0.5, 0.8))
    assert min(kernel.shape[:2]) >= 41
    assert kernel.sum() * 1.04e-3 * 0.2 / MGY_G == pytest.approx(0.9331, rel=2e-3)


def test_large_voxels_keep_their_energy_and_alphas_stay():
    """A voxel of 10 cm of an alpha emitter is local deposition; 225Ac without its progeny: 5.917 MeV."""
    kernel = voxel_s("Ac-225", 1.0, radius_mm=0)
    assert kernel.shape == (1, 1, 1)
    assert kernel[0, 0, 0] == pytest.approx(local_s("Ac-225", 1.04e-3), rel=3e-3)


def test_a_radius_cuts_the_kernel_and_changes_nothing_inside():
    whole_kernel, part = voxel_s("Y-90", 3.0), voxel_s("Y-90", 3.0, radius_mm=7.0)
    assert part.shape == (5, 5, 5)
    np.testing.assert_allclose(part, whole_kernel[3:-3, 3:-3, 3:-3], rtol=1e-12)
    assert voxel_s("I-131", (2.0, 4.0, 8.0), radius_mm=20.0).shape == (21, 11, 5)


def test_density_scales_lengths():
    """Twice the density in voxels of half the size: the same energy per voxel in an eighth of the volume."""
    thin, dense = voxel_s("Y-90", 4.0, density_g_ml=1.0), voxel_s("Y-90", 2.0, density_g_ml=2.0)
    np.testing.assert_allclose(dense, thin * 4.0, rtol=1e-9)


def test_results_belong_to_the_caller():
    first = voxel_s("Y-90", 3.0)
    first[:] = 0
    assert voxel_s("90Y", (3, 3, 3)).max() > 1.5


@pytest.mark.parametrize("radius", [0.3, 1.7, 4.0])
def test_shares_of_boxes_by_sampling(radius):
    """Two million random sources and directions, boxes of 0.8 x 1.0 x 2.5: four standard deviations."""
    rng = np.random.default_rng(4)
    n, spacing = 2_000_000, np.array([0.8, 1.0, 2.5])
    direction = rng.standard_normal((n, 3))
    place = rng.uniform(-0.5, 0.5, (n, 3))
    place += radius * direction / np.linalg.norm(direction, axis=1, keepdims=True) / spacing
    box = np.floor(place + 0.5).astype(int)
    reach = (6, 5, 2)
    octant = shell_shares(np.array([radius]), np.array([1.0]), tuple(spacing), reach)
    shares = whole(octant)
    inside = (np.abs(box) <= reach).all(axis=1)
    counted = np.zeros(shares.shape)
    np.add.at(counted, tuple((box[inside] + reach).T), 1 / n)
    error = np.sqrt(np.maximum(counted, 1e-5) / n)
    # The directions of one shell are 2000 points of a lattice: 0.1 % of the largest share beside sampling.
    assert np.abs(counted - shares).max() < 4.5 * error.max() + 1e-3 * shares.max()
    assert shares.sum() == pytest.approx(1.0, abs=1e-12)


def test_both_ways_to_the_boxes_agree_away_from_the_source():
    """An energy density of exp(-r / 9) / r^2 by shells and by points of the triangles, boxes 3 to 6 away."""
    spacing, reach = (1.0, 1.2, 0.9), (6, 6, 6)
    radius = np.linspace(0, 14, 1401)
    middle = 0.5 * (radius[1:] + radius[:-1])
    shells = shell_shares(middle, np.exp(-middle / 9) * 0.01, spacing, reach)
    smooth = smooth_shares(radius, np.exp(-radius / 9), spacing, reach)
    for index in ((3, 0, 0), (3, 3, 3), (5, 2, 1), (0, 6, 0), (4, 4, 4)):
        assert shells[index] == pytest.approx(smooth[index], rel=0.01), index


@pytest.mark.parametrize(
    "call",
    [
        lambda: voxel_s("Y-90", 0.0),
        lambda: voxel_s("Y-90", (1.0, 2.0)),
        lambda: voxel_s("Y-90", (1.0, np.nan, 2.0)),
        lambda: voxel_s("Y-90", 1.0, density_g_ml=0.0),
        lambda: voxel_s("Y-90", 1.0, radius_mm=-1.0),
        lambda: voxel_s("Y-90", 1.0, particles=()),
        lambda: voxel_s("Y-90", 1.0, particles=("neutron",)),
    ],
)
def test_impossible_lengths_are_refused(call):
    with pytest.raises(ValueError, match="must"):
        call()


def test_unknown_nuclides_and_endless_kernels_are_refused():
    with pytest.raises(UnsupportedInput):
        voxel_s("Xx-12", 1.0)
    with pytest.raises(UnsupportedInput, match="too many voxels"):
        voxel_s("I-131", 0.2, radius_mm=100.0)
