"""Where the doses of the 90Y phantom come from: the published voxel S-values, by no kernel of the package.

The point kernel that reproduces the published tables of 90Y (Monte Carlo, soft tissue of 1.04 g/mL, voxels of
2.21, 3 and 4.42 mm) is found by least squares. Sampling integrates it over the phantom's sphere and cylinder.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.stats import qmc

from imgtheranostics.nuclear import absorbed_fraction
from imgtheranostics.phantom import load_spec
from imgtheranostics.phantom.reading import library
from imgtheranostics.validation import FAIL, PASS, validate

EDGES_MM = (2.21, 3.0, 4.42)
TISSUE_G_ML = 1.04
MEV_TO_MGY_G = 0.1602176634
DECAY_PER_H = math.log(2) / 64.1
SHELL_MM = 0.25


def directions(points):
    cosine, angle = 2 * points[:, 0] - 1, 2 * np.pi * points[:, 1]
    sine = np.sqrt(1 - cosine**2)
    return np.stack([sine * np.cos(angle), sine * np.sin(angle), cosine], axis=1)


def landing(edge, radii, points):
    """Share of what a point source in a voxel leaves in each voxel of the octant, by distance, (216, n)."""
    shares = np.empty((216, radii.size))
    times = 2.0 ** np.array([np.count_nonzero(np.unravel_index(n, (6, 6, 6))) for n in range(216)])
    steps = directions(points[:, 3:])
    for n, radius in enumerate(radii):
        place = np.abs(np.floor(points[:, :3] + steps * (radius / edge)).astype(int))
        here = place[(place < 6).all(axis=1)] @ [36, 6, 1]
        shares[:, n] = np.bincount(here, minlength=216) / len(points) / times
    return shares


@pytest.fixture(scope="module")
def point_kernel(public_data):
    """Distances in mm at 1 g/mL, and energy in MeV that is absorbed around each."""
    radii = np.arange(SHELL_MM / 2, 12.0, SHELL_MM)
    points = qmc.Sobol(5, seed=1).random(2**16)
    rows, energies = [], []
    for edge in EDGES_MM:
        text = public_data(f"pet/voxel_s/90Y{edge:g}mmsoft.txt").read_text(encoding="latin-1")
        table = [line.split() for line in text.splitlines()[2:] if line.strip()]
        place = np.array([[int(n) for n in line[:3]] for line in table]) @ [36, 6, 1]
        mass_g = TISSUE_G_ML * 1e-3 * edge**3
        energy = np.array([float(line[3]) for line in table]) * mass_g / MEV_TO_MGY_G
        beta = energy > 1e-6
        rows.append(landing(edge, radii, points)[place[beta]] / (0.01 * energy[beta, np.newaxis]))
        energies.append(np.full(beta.sum(), 100.0))
    smooth = 300 * np.diff(np.eye(radii.size), 2, axis=0)
    matrix = np.concatenate([*rows, smooth])
    energy, _ = nnls(matrix, np.concatenate([*energies, np.zeros(len(smooth))]), maxiter=20000)
    residual = np.concatenate(rows) @ energy / 100.0 - 1
    assert np.sqrt(np.mean(residual**2)) < 0.02
    assert energy.sum() == pytest.approx(0.9331, rel=0.005)
    return radii * TISSUE_G_ML, energy


def decays_per_g(share_at_24_h, biological_half_life_h):
    """Of 90Y per decay that is injected, s, for a share per g that clears as one exponential."""
    rate = math.log(2) / biological_half_life_h
    return 3600 * share_at_24_h * math.exp(24 * rate) / (rate + DECAY_PER_H)


def uptake_of(region):
    truth = load_spec("upsn-90y-dose").region(region).uptake
    return decays_per_g(truth.value / 100, truth.kinetics.clearance_half_life_h)


def stated(method):
    (found,) = {item.value for item in load_spec("upsn-90y-dose").expect if item.method == method}
    return found


def test_expected_doses_follow_from_the_published_tables(point_kernel):
    """Self-dose of the sphere of 8 mm, and with the muscle around it, as the phantom's file says: 0.5 %."""
    points = qmc.Sobol(5, seed=3).random(2**16)
    start = 4.0 * points[:, :1] ** (1 / 3) * directions(points[:, 1:3])
    step = directions(points[:, 3:])
    own = around = 0.0
    for radius, energy in zip(*point_kernel, strict=True):
        end = start + radius * step
        inside = (end**2).sum(axis=1) <= 16
        muscle = ~inside & (np.hypot(end[:, 0], end[:, 1]) <= 8.5) & (np.abs(end[:, 2]) <= 8.5)
        own += energy * inside.mean()
        around += energy * muscle.mean()
    gray = MEV_TO_MGY_G * 1e-3
    self_dose = gray * own * uptake_of("tumour")
    assert stated("self_dose_Y-90") == pytest.approx(self_dose, rel=0.005)
    dose = self_dose + gray * around * uptake_of("muscle")
    assert stated("voxel_kernel_dose_Y-90") == pytest.approx(dose, rel=0.005)
    assert 0.05 < 1 - self_dose / dose < 0.1


def test_local_doses_follow_from_the_decay_data():
    """12 %ID/g, effective half-life 31.0 h, 0.9331 MeV per decay: 2.888 Gy/MBq."""
    local = uptake_of("tumour") * 0.9331 * MEV_TO_MGY_G * 1e-3
    for method in ("local_dose_Y-90", "voxel_local_dose_Y-90", "equilibrium_dose_Y-90"):
        assert stated(method) == pytest.approx(local, rel=5e-4)


@pytest.mark.parametrize(("radius_mm", "mass_g"), [(4.0, 0.26808), (3.0, 0.1131), (5.0, 0.5236)])
def test_share_that_a_sphere_keeps_of_the_published_tables(point_kernel, radius_mm, mass_g):
    """The package's absorbed fraction of 90Y in spheres of 6, 8 and 10 mm at 1 g/mL, 0.5 %."""
    radii, energy = point_kernel
    part = np.minimum(radii / radius_mm, 2)
    share = (energy * (1 - 0.75 * part + part**3 / 16)).sum() / energy.sum()
    found = absorbed_fraction("Y-90", mass_g=mass_g, density_g_ml=1.0)
    assert found.electron == pytest.approx(share, rel=0.005)


@pytest.mark.parametrize(("mass_g", "share"), [(0.004, 0.17), (0.065, 0.39), (4.0, 0.80)])
def test_share_that_a_sphere_keeps_of_akabani(mass_g, share):
    """Published for the beta spectrum of 90Y, two digits (PMC6352054, compared there with Akabani's)."""
    assert absorbed_fraction("Y-90", mass_g=mass_g).electron == pytest.approx(share, abs=0.006)


@pytest.fixture
def coarse(tmp_path):
    """Half the resolution: a kernel of fewer voxels."""
    text = (library() / "upsn-90y-dose.yaml").read_text(encoding="utf-8")
    fine = "shape: [44, 44, 44], voxel_mm: [0.4, 0.4, 0.4]"
    assert fine in text
    text = text.replace(fine, "shape: [24, 24, 24], voxel_mm: [0.75, 0.75, 0.75]")
    path = tmp_path / "coarse.yaml"
    path.write_text(text.replace("outputs: [dicom, nifti]", "outputs: [dicom]"), encoding="utf-8")
    return path


def rows(table, method):
    found = table[table["method"] == method]
    assert len(found)
    return found


def test_scans_become_the_doses_of_the_twin(coarse):
    """Voxels of 0.75 mm smear the edge of a sphere of 8 mm: its kernel dose is up to 4 % lower."""
    table = validate(coarse, [0, 2])
    kernel = rows(table, "voxel_kernel_dose_Y-90")
    assert kernel["measured"].tolist() == pytest.approx([1.70, 1.70], rel=0.045)
    others = table[table["method"] != "voxel_kernel_dose_Y-90"]
    assert set(others["verdict"]) == {PASS}
    assert set(rows(table, "curve_half_life_Y-90")["unit"]) == {"h"}
    assert set(kernel["unit"]) == {"Gy/MBq"}


def test_a_kernel_of_the_imaged_nuclide_fails(coarse, monkeypatch):
    """With the positrons of 86Y instead of the electrons of 90Y every dose but the local one is another."""
    from imgtheranostics.validation import dose_methods

    honest = dose_methods.dose_of_scans

    def wrong(scans, *, nuclide, **options):
        return honest(scans, nuclide="Y-86", **options)

    monkeypatch.setattr(dose_methods, "dose_of_scans", wrong)
    table = validate(coarse, 0)
    for method in ("voxel_kernel_dose_Y-90", "voxel_local_dose_Y-90"):
        assert set(rows(table, method)["verdict"]) == {FAIL}
    assert set(rows(table, "local_dose_Y-90")["verdict"]) == {PASS}
