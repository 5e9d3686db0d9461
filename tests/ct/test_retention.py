"""Retention: masses, shares and spread of an agent whose amount the test put there itself."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.errors import (
    GeometryMismatch,
    IllConditioned,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.registration import Spline, Transform
from imgtheranostics.registration.transform import displacement
from imgtheranostics.volume import Grid, Volume

SHAPE, SPACING = (42, 38, 20), 3.0
SLOPE = it.ct.Slope(26.6, 0.5, "HfO2", 120.0)
"""HU per mg/mL of HfO2 at 120 kVp, table B of ct.md; the error is an invented one."""

CENTRE, RADIUS = np.array([12.0, 6.0, 0.0]), 15.0
ACQUISITION = CtAcquisition(tube_voltage_kv=120.0, kernel="B30f", slice_thickness_mm=3.0)
FILLED = 5.33
"""mg/mL where 10 % of the tumour's volume was injected, ct.md section 4.5."""


def affine():
    matrix = np.diag([-SPACING, -SPACING, SPACING, 1.0])
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return matrix


GRID = Grid(SHAPE, affine())
POINTS = GRID.world_mm(np.moveaxis(np.indices(SHAPE, dtype=float), 0, -1))
VOXEL_ML = SPACING**3 / 1000


def body_hu(points=POINTS):
    """An oval body with a spine and a liver, 40 HU, in air; the same at every z."""
    x, y, z = np.moveaxis(points, -1, 0)
    image = np.full(points.shape[:-1], -1000.0)
    image[(x / 58) ** 2 + (y / 50) ** 2 < 1] = 40.0
    image[((x + 22) / 18) ** 2 + ((y - 14) / 15) ** 2 + ((z - 6) / 22) ** 2 < 1] = 120.0
    image[(x / 8) ** 2 + ((y + 32) / 9) ** 2 < 1] = 400.0 + 3.0 * z[(x / 8) ** 2 + ((y + 32) / 9) ** 2 < 1]
    return image


def closed_body_hu(points=POINTS):
    """The same body with rounded ends and vertebrae, so that registration finds where it lies along z."""
    x, y, z = np.moveaxis(points, -1, 0)
    image = body_hu(points)
    image[((x / 8) ** 2 + ((y + 32) / 9) ** 2 < 1) & (np.abs(np.mod(z, 20.0) - 10.0) < 4)] = 40.0
    image[(x / 58) ** 2 + (y / 50) ** 2 + (z / 36) ** 2 >= 1] = -1000.0
    return image


def ball(radius=RADIUS, centre=CENTRE, points=POINTS):
    return np.linalg.norm(points - centre, axis=-1) <= radius


TUMOUR = ball()


def filled(radius=RADIUS, back=None):
    """Share of each voxel that lies in a ball, on 4 x 4 x 4 points; `back` takes points to the ball's."""
    offsets = SPACING * (np.arange(4) - 1.5) / 4
    share = np.zeros(SHAPE)
    for shift in np.stack(np.meshgrid(offsets, offsets, offsets), axis=-1).reshape(-1, 3):
        points = POINTS + shift
        share += ball(radius, points=points if back is None else back(points))
    return share / 64


def scan(extra=0.0, *, noise=None, sd=10.0, acquisition=ACQUISITION, hu=None):
    """The body with an agent's HU on top, and correlated noise from a generator."""
    from scipy import ndimage

    image = (body_hu() if hu is None else hu) + extra
    if noise is not None:
        field = ndimage.gaussian_filter(noise.normal(size=SHAPE), 0.6, mode="wrap")
        image = image + sd * field / field.std()
    return Volume(image, GRID.affine, "attenuation", "[HU]", acquisition=acquisition)


def regions(mask=TUMOUR, **more):
    return Regions.from_masks({"tumour": mask, **more}, GRID)


def moved_by(x_mm):
    matrix = np.array(GRID.affine)
    matrix[0, 3] += x_mm
    return matrix


def agent(mg_ml=FILLED, mask=TUMOUR):
    return SLOPE.hu_per_mg_ml * mg_ml * mask


def retention(baseline, followups, rois=None, **options):
    chosen = {"material": "HfO2", "slope": SLOPE, "register": None, "noise_sd": 5.0, **options}
    return it.ct.retention(baseline, followups, regions() if rois is None else rois, **chosen)


def number(result, quantity, region="tumour", scan=0, column="mean"):
    table = result.table
    rows = table[(table["quantity"] == quantity) & (table["region"] == region)]
    return float(rows[column].iloc[scan])


MASS = FILLED * TUMOUR.sum() * VOXEL_ML


@pytest.fixture(scope="module")
def without_noise():
    """Three scans with 100, 90 and 75 % of the agent, and one that was not made."""
    scans = [scan(agent(share * FILLED)) for share in (1.0, 0.9, 0.75)]
    scans.insert(2, None)
    return retention(scan(), scans, days=[1, 5, 8, 12], injected_mg=MASS, blanks=ball(40) & ~ball(22))


def test_mass_retained_and_recovered_without_noise(without_noise):
    """F14 and F16: sum of C V, over the first follow-up and over the injected mass."""
    np.testing.assert_allclose(without_noise.mass_mg, MASS * np.array([1.0, 0.9, 0.75]), rtol=1e-5)
    np.testing.assert_allclose(without_noise.retained_percent, [100, 90, 75], rtol=1e-5)
    np.testing.assert_allclose(without_noise.recovered_percent, [100, 90, 75], rtol=1e-5)
    assert without_noise.retained_error_percent == pytest.approx([0, 0, 0], abs=1e-4)
    # only the slope's share is left: 0.5 / 26.6
    np.testing.assert_allclose(without_noise.mass_error_mg / without_noise.mass_mg, 0.5 / 26.6, rtol=1e-4)
    assert without_noise.tumour_ml == pytest.approx(TUMOUR.sum() * VOXEL_ML)


def test_a_scan_that_was_not_made_is_counted_and_has_rows_without_numbers(without_noise):
    assert without_noise.n_missing == 1
    assert without_noise.numbers == (0, 1, 3)
    table = without_noise.table
    assert tuple(table.columns) == STATISTICS_COLUMNS
    assert len(table.attrs["details"]) == len(table)
    lacking = table[table["warnings"] == "missing-scan"]
    assert set(lacking["quantity"]) == {"concentration", "agent_mass", "retained_fraction"}
    assert lacking["mean"].isna().all()
    assert lacking["axis_value"].unique().tolist() == [8 * 86400.0]
    assert [caution.code for caution in without_noise.warnings if "missing" in caution.code] == [
        "missing-scans"
    ]


def test_table_holds_every_quantity_with_its_unit(without_noise):
    units = dict(zip(without_noise.table["quantity"], without_noise.table["unit"], strict=True))
    assert units == {
        "concentration": "mg/mL", "agent_mass": "mg", "retained_fraction": "%", "recovered_fraction": "%",
        "occupancy": "%", "coefficient_of_variation": "%", "centroid_shift": "mm", "detection_limit": "mg/mL",
    }  # fmt: skip
    assert number(without_noise, "concentration") == pytest.approx(FILLED, rel=1e-5)
    assert number(without_noise, "agent_mass", "shell 0-5 mm") == pytest.approx(0.0, abs=1e-3)
    assert number(without_noise, "centroid_shift", scan=1) == pytest.approx(0.0, abs=1e-3)
    assert without_noise.table["axis"].unique().tolist() == ["time"]


def test_dose_enhancement_of_every_region_and_scan():
    """F19 at C / (C + 1000 mg/mL); ratio 81 of HfO2 at 60 keV from ct.md 4.6."""
    scans = [scan(agent()), None, scan(agent(0.75 * FILLED))]
    found = retention(scan(), scans, dose_ratio=81, shell_mm=5)
    rows = found.table[found.table["quantity"] == "dose_enhancement"]
    assert rows["region"].tolist() == ["tumour", "shell 0-5 mm", "tumour", "tumour", "shell 0-5 mm"]
    assert set(rows["unit"]) == {"1"}
    held = np.array([FILLED, 0.75 * FILLED])
    expected = 1 + 80 * held / (held + 1000)
    values = rows[rows["region"] == "tumour"]["mean"].to_numpy()
    np.testing.assert_allclose(values[[0, 2]], expected, rtol=1e-5)
    assert math.isnan(values[1])
    assert rows[rows["region"] == "shell 0-5 mm"]["mean"].to_numpy() == pytest.approx([1, 1], abs=1e-4)
    # without noise the slope's share of the concentration is left: dw/dC = 1000 / (C + 1000)^2
    errors = rows["standard_error"].to_numpy()[[0, 3]]
    np.testing.assert_allclose(errors, 80 * 1000 / (held + 1000) ** 2 * held * 0.5 / 26.6, rtol=1e-3)
    assert [one.code for one in found.warnings].count("macroscopic-only") == 1
    told = found.decisions["dose_enhancement"]
    assert (told["ratio"], told["source"], told["tissue_density_g_ml"]) == (81.0, "given", 1.0)
    assert told["displacement"].startswith("left out")


def test_dose_enhancement_of_a_record_of_known_density_makes_room(without_noise):
    found = retention(scan(), [scan(agent())], material="nbtxr3", dose_ratio=81)
    share = FILLED / (FILLED + 1000 - FILLED / 9.7)
    assert number(found, "dose_enhancement") == pytest.approx(1 + 80 * share, rel=1e-5)
    assert "9.7" in found.decisions["dose_enhancement"]["displacement"]
    assert "dose_enhancement" not in set(without_noise.table["quantity"])
    assert "dose_enhancement" not in without_noise.decisions


def test_dose_enhancement_beyond_what_is_known_is_refused():
    with pytest.raises(ImplausibleValue, match="photon energy"):
        retention(scan(), [scan(agent())], photon_kev=1250)
    found = retention(scan(), [scan(agent())], photon_kev=1250, dose_ratio=1.0)
    assert number(found, "dose_enhancement") == pytest.approx(1.0)


def test_a_result_is_pickled_whole(without_noise):
    again = pickle.loads(pickle.dumps(without_noise))  # noqa: S301
    np.testing.assert_array_equal(again.mass_mg, without_noise.mass_mg)
    assert again.decisions["injection"]["mass_mg"] == pytest.approx(MASS)


@pytest.fixture(scope="module")
def repeats():
    """Baseline and two follow-ups, thirty times with noise of their own: 100 and 60 % of the agent."""
    found = []
    for seed in range(30):
        noise = np.random.default_rng(seed)
        scans = [scan(agent(share * FILLED), noise=noise) for share in (1.0, 0.6)]
        found.append(retention(scan(noise=noise), scans, shell_mm=(), noise_sd=None, workers=1))
    return found


def test_standard_error_of_a_mass_is_its_scatter(repeats):
    """Within what 30 repeats tell of a scatter, 3.3 of its own standard errors of 13 %."""
    masses = np.array([one.mass_mg for one in repeats])
    stated = np.array([[s.masses["tumour"].noise_error_mg for s in one.scans] for one in repeats])
    np.testing.assert_allclose(np.sqrt((stated**2).mean(axis=0)) / masses.std(axis=0, ddof=1), 1.0, atol=0.43)
    assert masses.mean(axis=0) == pytest.approx([MASS, 0.6 * MASS], rel=0.01)


def test_standard_error_of_what_is_retained_is_its_scatter(repeats):
    """The baseline's noise is in both masses: errors in quadrature would be 1.3 times too large here."""
    shares = np.array([one.retained_percent[1] for one in repeats])
    stated = np.array([one.retained_error_percent[1] for one in repeats])
    assert np.sqrt((stated**2).mean()) == pytest.approx(shares.std(ddof=1), rel=0.43)
    assert shares.mean() == pytest.approx(60.0, abs=3.3 * shares.std() / np.sqrt(30))


def test_variation_beyond_noise_and_occupancy(repeats):
    """An even concentration: its spread is noise alone, and the noise is taken out."""
    first = repeats[0].scans[0].spread
    assert first.raw_variation_percent > 5.0
    assert first.variation_percent < 0.5 * first.raw_variation_percent
    assert first.occupancy_percent > 99.0


def test_the_slope_cancels_in_what_is_retained(repeats):
    noise = np.random.default_rng(0)
    scans = [scan(agent(share * FILLED), noise=noise) for share in (1.0, 0.6)]
    before = scan(noise=noise)
    one, other = (
        retention(before, scans, shell_mm=(), slope=it.ct.Slope(value, error, "HfO2", 120.0))
        for value, error in ((26.6, 0.0), (20.0, 4.0))
    )
    np.testing.assert_allclose(other.retained_percent, one.retained_percent, rtol=1e-5)
    np.testing.assert_allclose(other.retained_error_percent, one.retained_error_percent, rtol=1e-3)
    np.testing.assert_allclose(other.mass_mg, one.mass_mg * 26.6 / 20.0, rtol=1e-5)
    assert other.mass_error_mg[0] > 0.2 * other.mass_mg[0]


@pytest.mark.parametrize(
    ("share", "still", "swollen"), [(0.1, 5.33, 4.85), (0.2, 10.66, 8.88), (0.42, 22.39, 15.76)]
)
def test_expected_concentration(share, still, swollen):
    """F18 and section 6 of ct.md: 53.3 mg/mL, 10, 20 and 42 % of the tumour's volume."""
    assert round(it.ct.expected_concentration(share), 2) == still
    assert it.ct.expected_concentration(share, swelling=True) == pytest.approx(swollen, abs=0.006)


def test_a_swollen_tumour_is_drawn_on_its_own_scan():
    """20 % of its volume injected: the tumour grows by it, the mean falls to 8.88 mg/mL, the mass stays."""
    swollen = RADIUS * 1.2 ** (1 / 3)
    before_ml = filled(swollen).sum() * VOXEL_ML / 1.2
    drawn = ball(swollen + 5)
    post = scan(agent(0.2 * 53.3 / 1.2, filled(swollen)))
    injection = {"injected_ml": 0.2 * before_ml, "suspension_mg_ml": 53.3}
    found = retention(scan(), [post], [regions(drawn)], **injection)
    assert found.recovered_percent[0] == pytest.approx(100.0, rel=1e-5)
    tight = retention(scan(), [post], [regions(filled(swollen) > 0.999)], **injection)
    assert number(tight, "concentration") == pytest.approx(8.883, rel=1e-3)
    # drawn as it was before, what lies beyond shows as leakage
    small = retention(scan(), [post], **injection)
    assert small.mass_mg[0] + small.scans[0].leaked_mg == pytest.approx(found.mass_mg[0], rel=1e-3)
    assert small.scans[0].leaked_mg > 0.1 * small.mass_mg[0]
    share = injection["injected_ml"] / (TUMOUR.sum() * VOXEL_ML)
    assert small.expected == pytest.approx((53.3 * share, 53.3 * share / (1 + share)))
    # a tumour that was drawn swollen does not tell how large it was
    assert found.expected is None
    stated = retention(scan(), [post], [regions(drawn)], tumour_ml=before_ml, **injection)
    assert stated.expected == pytest.approx((10.66, 8.883), rel=1e-3)


def test_tissue_that_stretches_keeps_its_mass():
    """A stretch by 1.25 along x: the concentration falls by it, the mass is the sum over the new volume."""
    stretch = [Transform(np.diag([1.25, 1.0, 1.0, 1.0]))]

    def back(points):
        return points / [1.25, 1.0, 1.0]

    post = scan(agent(FILLED / 1.25, filled(back=back)), hu=body_hu(back(POINTS)))
    wide = retention(scan(), [post], regions(ball(RADIUS + 6)), register=stretch, shell_mm=())
    assert wide.mass_mg[0] == pytest.approx(FILLED * filled().sum() * VOXEL_ML, rel=0.01)
    tight = retention(scan(), [post], register=stretch, shell_mm=())
    assert number(tight, "concentration", column="volume_ml") == pytest.approx(1.25 * TUMOUR.sum() * VOXEL_ML)
    # regions drawn on the stretched scan find their way back
    own = [regions(ball(RADIUS + 6, points=back(POINTS)))]
    drawn = retention(scan(), [post], own, register=stretch, shell_mm=())
    assert drawn.mass_mg[0] == pytest.approx(wide.mass_mg[0], rel=2e-3)


def bump():
    """A spline that shifts and squeezes what lies around the tumour, and where its points come from."""
    from scipy import ndimage

    lattice = np.diag([21.0, 21.0, 21.0, 1.0])
    lattice[:3, 3] = -84.0
    nodes = np.moveaxis(np.indices((9, 9, 9), dtype=float), 0, -1) * 21.0 - 84.0
    offset = nodes - CENTRE
    bell = np.exp(-(offset**2).sum(axis=-1) / (2 * 25.0**2))[..., np.newaxis]
    push = bell * (np.array([3.0, -2.0, 2.0]) - np.array([0.2, 0.1, -0.1]) * offset)
    transform = Transform(np.eye(4), Spline(np.moveaxis(push, -1, 0), lattice), "bspline")
    fine = Grid((61, 61, 61), np.diag([3.0, 3.0, 3.0, 1.0]) + np.array([[0, 0, 0, -90.0]] * 3 + [[0] * 4]))
    moved = displacement(transform.spline, fine, np.zeros(3))

    def back(points):
        source = points
        for _ in range(6):
            place = np.moveaxis((source + 90.0) / 3.0, -1, 0)
            source = points - np.stack(
                [ndimage.map_coordinates(moved[..., n], place, order=1) for n in range(3)], axis=-1
            )
        return source

    return transform, back


def test_tissue_that_deforms_keeps_its_mass():
    """Through a spline: everywhere the concentration falls by what the tissue there grows."""
    transform, back = bump()
    source = back(POINTS)
    growth = transform.jacobian_determinant(GRID)
    there = POINTS + (POINTS - source)
    assert np.abs(growth[TUMOUR] - 1).max() > 0.1
    assert np.linalg.norm(there - POINTS, axis=-1)[TUMOUR].max() > 3.0
    step = 1.5
    columns = [(back(POINTS + step * unit) - back(POINTS - step * unit)) / (2 * step) for unit in np.eye(3)]
    squeezed = np.linalg.det(np.stack(columns, axis=-1))
    # a wide cloud: linear interpolation of 3 mm voxels, by itself, takes 0.8 % of this one out of the region
    cloud = [np.exp(-((at - CENTRE) ** 2).sum(axis=-1) / (2 * 12.0**2)) for at in (POINTS, source)]
    flat = np.full(SHAPE, 40.0)
    before, post = scan(hu=flat), scan(agent(FILLED, squeezed * cloud[1]), hu=flat)
    wide = ball(28)
    found = retention(before, [post], regions(wide), register=[transform], shell_mm=())
    held = FILLED * cloud[0][wide].sum() * VOXEL_ML
    assert found.mass_mg[0] == pytest.approx(held, rel=0.01)
    # what the sum says without the volume that each voxel has in the follow-up
    assert found.maps[0].value.data[wide].sum() * VOXEL_ML > 1.05 * held


def test_leakage_in_shells_and_air_left_out():
    """F17: 1 mg/mL in all tissue from 5 to 10 mm around the tumour."""
    from scipy import ndimage

    away = ndimage.distance_transform_edt(~TUMOUR, sampling=SPACING)
    ring = (away > 5) & (away <= 10)
    hu = body_hu()
    hu[(POINTS[..., 0] > 30)] = -1000.0  # the tumour lies under the skin
    before = scan(hu=hu)
    tissue = hu > -300
    found = retention(before, [scan(agent() + agent(1.0, ring & tissue), hu=hu)], shell_mm=(5, 10, 15))
    held = [(one.region, one.mass_mg) for one in found.scans[0].shells]
    assert [name for name, _ in held] == ["shell 0-5 mm", "shell 5-10 mm", "shell 10-15 mm"]
    expected = [0.0, (ring & tissue).sum() * VOXEL_ML, 0.0]
    np.testing.assert_allclose([mass for _, mass in held], expected, atol=1e-2)
    assert found.decisions["scans"]["0"]["air_in_shells"][1] == (ring & ~tissue).sum() > 0


def test_heterogeneity_occupancy_and_centroid():
    """Half of the tumour holds everything: CoV of two levels 0 and 2 C in equal parts is 1, LOD as F8."""
    left = TUMOUR & (POINTS[..., 0] < CENTRE[0])
    right = TUMOUR & (POINTS[..., 0] > CENTRE[0] + 1)
    found = retention(scan(), [scan(agent(10.0, left)), scan(agent(10.0, right))], shell_mm=())
    shares = np.array([left.sum(), right.sum()]) / TUMOUR.sum()
    first = found.scans[0].spread
    assert first.lod_mg_ml == pytest.approx(3.3 * math.hypot(5, 5) / 26.6)
    assert found.decisions["scans"]["0"]["occupancy_lod_mg_ml"] == first.lod_mg_ml
    assert first.occupancy_percent == pytest.approx(100 * shares[0])
    assert first.raw_variation_percent == pytest.approx(100 * np.sqrt(1 / shares[0] - 1), rel=0.01)
    apart = POINTS[right].mean(axis=0) - POINTS[left].mean(axis=0)
    assert number(found, "centroid_shift", scan=1) == pytest.approx(np.linalg.norm(apart), rel=1e-3)


def test_motion_is_registered_and_its_transform_serves_again():
    """A follow-up 4 mm and 3 degrees off, and one at rest; the search looks outside of the tumour."""
    angle = np.radians(3.0)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = [3.0, -2.0, 1.5]
    inverse = np.linalg.inv(matrix)

    def back(points):
        return points @ inverse[:3, :3].T + inverse[:3, 3]

    noise = np.random.default_rng(5)
    before = scan(noise=noise, hu=closed_body_hu())
    moved = scan(agent(FILLED, filled(back=back)), hu=closed_body_hu(back(POINTS)), noise=noise)
    still = filled()
    scans = [moved, scan(agent(0.8 * FILLED, still), noise=noise, hu=closed_body_hu())]
    options = {"shell_mm": (), "noise_sd": None, "rois": regions(ball(RADIUS + 5))}
    found = retention(before, scans, register=["rigid", None], **options)
    assert found.mass_mg[0] == pytest.approx(FILLED * still.sum() * VOXEL_ML, rel=0.05)
    assert found.retained_percent[1] == pytest.approx(80.0, abs=3.0)
    np.testing.assert_allclose(found.scans[0].transform.matrix, matrix, atol=0.1)
    alignment = found.decisions["scans"]["0"]["alignment"]
    assert alignment["overlap"] > 0.7
    assert alignment["rule"].startswith("rigid registration")
    assert alignment["rule"].endswith("the tumour")
    again = retention(before, scans, register=[found.scans[0].transform, None], **options)
    np.testing.assert_array_equal(again.mass_mg, found.mass_mg)


def test_a_failed_registration_is_refused(rng):
    noise = scan().replace(data=rng.normal(scale=30.0, size=SHAPE))
    with pytest.raises(IllConditioned):
        retention(scan(noise=rng), [noise], register="rigid")
    far = scan().replace(affine=moved_by(400.0))
    with pytest.raises(IllConditioned, match="overlap") as refused:
        retention(scan(), [None, far], register="rigid")
    assert (refused.value.where or "").startswith("follow-up 1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tube_voltage_kv": 100.0}, "tube voltage"),
        ({"filter_material": "TIN"}, "filter"),
        ({"kernel": "B70f"}, "kernel"),
    ],
)
def test_scans_of_another_beam_are_refused(changes, words):
    """F16: the same beam at every scan; also where the baseline does not say which it was."""
    from dataclasses import replace

    stated = replace(ACQUISITION, filter_material="ALUMINUM")
    other = replace(stated, **changes)
    with pytest.raises(UnitMismatch, match=words):
        retention(scan(acquisition=stated), [scan(agent(), acquisition=other)])
    silent = CtAcquisition(tube_voltage_kv=None)
    with pytest.raises(UnitMismatch, match=words):
        retention(
            scan(acquisition=silent),
            [scan(agent(), acquisition=stated), scan(agent(), acquisition=other)],
        )
    with pytest.raises(ValueError, match="may not differ"):
        retention(scan(), [scan(agent())], allow_mismatch=["kvp"])


def test_without_injected_mass_all_but_the_recovered_share(without_noise):
    found = retention(scan(), [scan(agent())])
    assert found.mass_mg[0] == pytest.approx(MASS, rel=1e-5)
    assert "recovered_fraction" not in set(found.table["quantity"])
    assert "injected-mass-not-given" in {caution.code for caution in found.warnings}
    assert "injected-mass-not-given" not in {caution.code for caution in without_noise.warnings}
    with pytest.raises(MissingMetadata, match="injected_mg"):
        _ = found.recovered_percent
    with pytest.raises(MissingMetadata, match="injected"):
        retention(scan(), [scan(agent())], recovery=True)


def test_injected_mass_from_volume_and_strength():
    found = retention(scan(), [scan(agent())], injected_ml=2.0, material="nbtxr3", slope=26.6)
    assert found.injection.mass_mg == pytest.approx(106.6)
    assert "suspension-from-record" in {caution.code for caution in found.warnings}
    with pytest.raises(MissingMetadata, match="suspension_mg_ml"):
        retention(scan(), [scan(agent())], injected_ml=2.0, material="Gd2O3", slope=26.6)
    with pytest.raises(ImplausibleValue, match="contradict"):
        retention(scan(), [scan(agent())], injected_ml=2.0, injected_mg=50.0, suspension_mg_ml=53.3)
    for mg, told in ((106.6, False), (10.0, True)):
        both = retention(
            scan(), [scan(agent())], injected_ml=2.0, injected_mg=mg, material="nbtxr3", slope=26.6
        )
        assert both.injection.mass_mg == mg
        assert ("suspension-not-of-record" in {caution.code for caution in both.warnings}) is told
    for options in ({"injected_mg": -1.0}, {"injected_ml": 0.0, "suspension_mg_ml": 53.3}):
        with pytest.raises(ImplausibleValue, match="positive"):
            retention(scan(), [scan(agent())], **options)


@pytest.mark.parametrize(
    ("injected_mg", "shares", "where"),
    [
        (0.8 * MASS, (1.0,), "follow-up 0"),
        (1.3 * MASS, (1.0,), "follow-up 0"),
        (1.25 * MASS, (1.0, 1.25), "follow-up 1"),
    ],
    ids=["more than injected", "less than injected", "more than before"],
)
def test_a_balance_that_does_not_close_is_told(injected_mg, shares, where):
    """Mass in tumour and shells beyond two standard errors of 1.9 % (the slope) of the injected mass."""
    found = retention(scan(), [scan(agent(share * FILLED)) for share in shares], injected_mg=injected_mg)
    assert where in [caution.where for caution in found.warnings if caution.code == "mass-balance"]
    closed = retention(scan(), [scan(agent(0.98 * FILLED))], injected_mg=MASS)
    assert not [caution for caution in closed.warnings if caution.code == "mass-balance"]


def test_saturated_voxels_are_counted_and_never_averaged():
    extra = agent()
    extra[tuple(np.argwhere(TUMOUR)[7])] = 4000.0
    found = retention(scan(), [scan(extra)])
    one = found.scans[0].masses["tumour"]
    assert one.n_saturated == 1
    assert one.n_valid == one.n_voxels - 1
    assert one.mass_mg == pytest.approx(MASS * one.n_valid / one.n_voxels, rel=1e-5)
    assert {"saturated-in-region", "incomplete-region"} <= {caution.code for caution in found.warnings}
    many = agent()
    many[TUMOUR & (POINTS[..., 2] > 0)] = 3071.0
    found = retention(scan(), [scan(agent()), scan(many)])
    assert math.isnan(found.mass_mg[1])
    assert math.isnan(found.retained_percent[1])


def test_a_region_outside_the_field_of_view_is_refused():
    hu = body_hu()
    hu[ball(RADIUS + 3)] = np.nan
    with pytest.raises(GeometryMismatch, match="field of view"):
        retention(scan(), [scan(hu=hu)], shell_mm=())
    with pytest.raises(GeometryMismatch, match="no voxels"):
        retention(scan(), [scan(agent())], regions(np.zeros(SHAPE, bool)))


def test_tissue_that_changed_without_agent_is_told():
    """5 HU more in all of the body: 3.5 % of what the agent adds."""
    found = retention(scan(), [scan(agent() + 5.0)])
    assert "blank-tissue-changed" in {caution.code for caution in found.warnings}


def test_noise_is_not_taken_for_a_change_of_tissue():
    """Shells have room for parts of themselves only; chance is 1 in 1000 for each of 30 readings."""
    for seed in range(1, 6):
        noise = np.random.default_rng(100 + seed)
        found = retention(scan(noise=noise), [scan(agent(), noise=noise) for _ in range(2)], workers=1)
        assert any("parts" in shell.blank.rule for shell in found.scans[0].shells)
        assert "blank-tissue-changed" not in {caution.code for caution in found.warnings}


def test_nothing_to_retain_is_no_number(rng):
    found = retention(scan(noise=rng), [scan(noise=rng), scan(agent(), noise=rng)], noise_sd=None)
    assert np.isnan(found.retained_percent).all()
    assert "retention-unknown" in {caution.code for caution in found.warnings}
    assert found.scans[0].spread.centroid_mm is None


def test_scans_in_the_wrong_order_are_told(rng):
    """An agent in the scan before the injection leaves a negative mass."""
    found = retention(scan(agent(), noise=rng), [scan(noise=rng)], noise_sd=None)
    assert found.mass_mg[0] < -0.9 * MASS
    (told,) = (caution for caution in found.warnings if caution.code == "negative-amount")
    assert told.where == "follow-up 0"
    nothing = retention(scan(noise=rng), [scan(noise=rng)], noise_sd=None)
    assert "negative-amount" not in {caution.code for caution in nothing.warnings}


def test_one_scan_given_for_two_days_is_told(rng):
    before, after = scan(noise=rng), scan(agent(), noise=rng)
    found = retention(before, [after, None, after, scan(agent(), noise=rng)], noise_sd=None)
    told = [caution for caution in found.warnings if caution.code == "same-scan"]
    assert [caution.where for caution in told] == ["follow-up 2"]
    assert "follow-up 0 and follow-up 2" in told[0].message


def test_the_first_scan_missing_is_told():
    found = retention(scan(), [None, scan(agent())], days=[0, 5])
    assert found.retained_percent.tolist() == [100.0]
    assert {"missing-scans", "reference-scan-missing"} <= {caution.code for caution in found.warnings}


def test_without_blank_tissue_the_error_comes_from_the_region(rng):
    found = retention(
        scan(noise=rng), [scan(agent(), noise=rng)], blanks=ball(4, np.array([12.0, 6.0, 30.0]))
    )
    assert "no-blank-tissue" in {caution.code for caution in found.warnings}
    assert 0 < found.scans[0].masses["tumour"].noise_error_mg < 0.2 * MASS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tumour": "lesion"}, "no region 'lesion'"),
        ({"days": [1, 2]}, "days"),
        ({"days": [math.nan]}, "days"),
        ({"shell_mm": (10, 5)}, "shell_mm"),
        ({"shell_mm": -1}, "shell_mm"),
        ({"node_spacing_mm": 30.0}, "bspline"),
        ({"register": "elastic"}, "rigid, affine, bspline"),
        ({"register": ["rigid", "rigid"]}, "transforms"),
    ],
)
def test_unknown_options_are_usage_errors(options, message):
    with pytest.raises(ValueError, match=message):
        retention(scan(), [scan(agent())], **options)


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(NothingUsable, match="no scan after"):
        retention(scan(), [None, None])
    with pytest.raises(ValueError, match="one for each"):
        retention(scan(), [scan(agent())], [regions(), regions()])
    with pytest.raises(ValueError, match="has no regions"):
        retention(scan(), [scan(agent())], [None])
    other = scan(agent()).replace(affine=moved_by(2.0))
    with pytest.raises(GeometryMismatch, match="different grids"):
        retention(scan(), [other])
    with pytest.raises(GeometryMismatch, match="another grid"):
        retention(scan(), [scan(agent())], Regions.from_masks({"tumour": TUMOUR}, other.grid))
    with pytest.raises(UnitMismatch, match="Hounsfield"):
        retention(scan().replace(quantity="concentration", unit="mg/mL"), [scan(agent())])
