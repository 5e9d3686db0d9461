"""The NIST/ISMRM system phantom at 1.5 T from the folders of four scanners to T1 and T2 of its spheres.

Reference: `reference_times.csv` of the public test data (plate 4: MnCl2 solutions; plate 5: NiCl2 solutions;
certified times at 1.5 T, spheres 1 to 14 from long to short). Version and temperature of the phantom at each
site are not in the files.

The chain: load, `round_inserts` (14 spheres and 3 fiducial markers of the same size), mean of each region,
fit, match by rank. Nothing is tuned on the reference: all models are the defaults of their functions but for
what the protocol says (repetition times of each image, real or magnitude values, first echo of a train left
out, as in a multi-echo train it alone has no stimulated part).

Bars: for Philips by floating-point values, the figures of the task (6 % on plate 5, 12 % on plate 4; a public
implementation reached 4.6 % and 12 % there, and 25 % and 34 % from display values, 23 % and 30 % from stored
values). For the other scanners and for T2 nothing is published with the data; their bars are that the spheres
come out in order and within what the physics of the sequence explains.
"""

from __future__ import annotations

import csv
from functools import cache

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.mri.relaxometry import fit_inversion_recovery, fit_t2
from imgtheranostics.segmentation import round_inserts

DIAMETER_MM = 15.0
N_SPHERES, N_MARKERS = 14, 3
FIRST_INVERSION_S = 0.05
T1_SETS = (
    ("site1_20200218", 5),
    ("site2_20180925", 5),
    ("site3_ge", 4),
    ("site3_ge", 5),
    ("site4_philips", 4),
    ("site4_philips", 5),
)


@pytest.fixture
def spheres(public_data):
    """Curves of the 14 spheres of a plate, (14, n), and the volume they are from."""
    root = public_data("mri/nist_phantom")

    def measured(quantity: str, site: str, plate: int, scaling: str | None = None):
        return curves_of(root, quantity, site, plate, scaling)

    return measured


@pytest.fixture
def reference(public_data):
    """Certified T1 or T2 in s of a plate, from long to short."""
    path = public_data("mri/nist_phantom") / "reference_times.csv"

    def times(quantity: str, plate: int) -> np.ndarray:
        with path.open() as stream:
            rows = [row for row in csv.DictReader(stream) if int(row["plate"]) == plate]
        return np.array([float(row[f"{quantity}_ms"]) for row in rows]) / 1000.0

    return times


@cache
def curves_of(root, quantity, site, plate, scaling):
    options = {"series": "all"} if quantity == "T1" else {}
    if scaling:
        options["mr_scaling"] = scaling
    volume = it.load(root / quantity / site / f"plate{plate}", **options)
    rois = round_inserts(volume, diameter_mm=DIAMETER_MM, n=N_SPHERES + N_MARKERS)
    table = it.roi_statistics(volume, rois)
    curves = np.stack([table.loc[table.region == name, "mean"].to_numpy() for name in rois])
    # the markers hold no gel: the three that stay dark in every image
    bright = np.abs(curves).max(axis=1)
    order = np.argsort(bright)
    assert bright[order[N_MARKERS]] > 1.3 * bright[order[N_MARKERS - 1]]
    return volume, curves[np.sort(order[N_MARKERS:])]


def fitted_t1(volume, curves):
    record = volume.acquisition
    repetition = record.repetition_times_s or record.repetition_time_s
    return fit_inversion_recovery(
        curves,
        volume.axes[0].values,
        repetition_time_s=repetition,
        model="signed" if record.image_component == "real" else "magnitude",
    )


def by_rank(fit, name, truth):
    """Relative error of each sphere from long to short, NaN where the fit is flagged, and the order."""
    value = fit.parameters[name]
    order = np.argsort(-np.where(np.isfinite(value), value, -1.0), kind="stable")
    good = (fit.flags[order] == 0) & np.isfinite(value[order])
    return np.where(good, value[order] / truth - 1.0, np.nan), order


def mean_absolute(error):
    return 100.0 * float(np.nanmean(np.abs(error)))


@pytest.mark.parametrize(("plate", "bar"), [(5, 6.0), (4, 12.0)])
def test_philips_floating_point_values_give_t1_within_the_bar_and_others_do_not(
    spheres, reference, plate, bar
):
    truth = reference("T1", plate)
    volume, curves = spheres("T1", "site4_philips", plate)
    assert volume.acquisition.value_scale == "philips_floating_point"
    error, _ = by_rank(fitted_t1(volume, curves), "t1_s", truth)
    assert np.isfinite(error).all()  # all 14 spheres count
    precise = mean_absolute(error)
    assert precise <= bar
    for scaling in ("display", "stored"):
        fit = fitted_t1(*spheres("T1", "site4_philips", plate, scaling))
        value = np.sort(np.where(np.isfinite(fit.parameters["t1_s"]), fit.parameters["t1_s"], 0.0))[::-1]
        # whatever a person who ignores the flags would read, a sphere without a value as 100 %
        assert 100.0 * np.mean(np.abs(value / truth - 1.0)) > max(2.0 * precise, 15.0)
        # and the standard errors say so
        relative = fit.standard_errors["t1_s"] / fit.parameters["t1_s"]
        assert not np.nanmedian(relative) < 0.1


@pytest.mark.parametrize(
    ("site", "plate", "bar"),
    [
        # Siemens, TR follows TI beyond 200 ms; the bar of the other plate 5
        ("site1_20200218", 5, 6.0),
        ("site2_20180925", 5, 6.0),
        # GE: the fitted inversion is only 0.8, and T1 beyond the last TI (0.8 s) come out up to 23 % short:
        # six times up to 0.8 s at TR 1 s hardly tell such a T1 from a weaker inversion
        ("site3_ge", 4, 12.0),
        ("site3_ge", 5, 12.0),
    ],
)
def test_t1_of_other_scanners(spheres, reference, site, plate, bar):
    fit = fitted_t1(*spheres("T1", site, plate))
    error, _ = by_rank(fit, "t1_s", reference("T1", plate))
    assert np.isfinite(error).sum() >= N_SPHERES - 1
    assert mean_absolute(error) <= bar


@pytest.mark.parametrize("site", ["site1_20200218", "site2_20180925"])
def test_repetition_times_of_each_image_matter(spheres, reference, site):
    """TR rises from 1 s to 2.46 s on Siemens; one TR for all images makes long T1 wrong."""
    volume, curves = spheres("T1", site, 5)
    assert volume.acquisition.repetition_times_s == pytest.approx((1.0, 1.0, 1.0, 1.26, 1.86, 2.46))
    truth = reference("T1", 5)
    right, _ = by_rank(fitted_t1(volume, curves), "t1_s", truth)
    model = "signed" if volume.acquisition.image_component == "real" else "magnitude"
    wrong, _ = by_rank(
        fit_inversion_recovery(curves, volume.axes[0].values, repetition_time_s=1.0, model=model),
        "t1_s",
        truth,
    )
    assert mean_absolute(wrong[:3]) > 2.0 * mean_absolute(right[:3])


def test_siemens_real_and_magnitude_images_of_two_scanners_agree(spheres):
    """Site 2 keeps the sign, site 1 does not: restoring the polarity gives the same T1 but for noise."""
    one, two = (
        np.sort(fitted_t1(*spheres("T1", site, 5)).parameters["t1_s"])
        for site in ("site1_20200218", "site2_20180925")
    )
    np.testing.assert_allclose(one, two, rtol=0.08)


def test_two_scanners_agree_on_plate_4_better_than_with_its_reference(spheres, reference):
    """Below 0.8 s GE and Philips agree to 3 %, while both are up to 21 % off the reference (sphere 11).

    What they share is then of this phantom's filling or temperature, not of the measurement.
    """
    short = slice(6, None)
    ge, philips = (
        np.sort(fitted_t1(*spheres("T1", site, 4)).parameters["t1_s"])[::-1][short]
        for site in ("site3_ge", "site4_philips")
    )
    np.testing.assert_allclose(ge, philips, rtol=0.03)
    truth = reference("T1", 4)[short]
    assert np.abs(philips / truth - 1.0).max() > 0.15
    np.testing.assert_allclose(ge / truth, philips / truth, atol=0.03)


@pytest.mark.parametrize(("site", "plate"), T1_SETS)
def test_t1_below_the_first_inversion_time_is_right_or_said_to_be_unknown(spheres, reference, site, plate):
    """Within 10 %, or within three standard errors, or flagged: never plainly wrong."""
    fit = fitted_t1(*spheres("T1", site, plate))
    truth = reference("T1", plate)
    _, order = by_rank(fit, "t1_s", truth)
    short = truth < FIRST_INVERSION_S
    assert short.sum() == (3 if plate == 5 else 0)
    value, spread = fit.parameters["t1_s"][order], fit.standard_errors["t1_s"][order]
    with np.errstate(invalid="ignore"):
        near = np.abs(value - truth) <= np.maximum(0.1 * truth, 3.0 * spread)
    assert (near | (fit.flags[order] != 0))[short].all()


@pytest.mark.parametrize("site", ["site3_ge", "site4_philips"])
def test_t2_of_the_nickel_plate(spheres, reference, site):
    """T1 and T2 are nearly equal there, so that stimulated echoes decay as the others and do no harm."""
    volume, curves = spheres("T2", site, 5)
    fit = fit_t2(curves, volume.axes[0].values, drop_first=True)
    error, _ = by_rank(fit, "t2_s", reference("T2", 5))
    assert np.isfinite(error).all()
    assert mean_absolute(error) <= 6.0


@pytest.mark.parametrize("site", ["site1_20200218", "site3_ge", "site4_philips"])
def test_t2_of_the_manganese_plate_is_long_by_its_stimulated_echoes(spheres, reference, site):
    """T1 is three to ten times T2 there: what the train stores along z hardly decays and comes back later.

    A train of echoes with refocusing below 180 degrees then reads T2 too long; every scanner does so for T2
    below 300 ms, and none by less than a tenth in the mean. This is a property of the protocol, known of
    multi-echo trains, and no fit without the slice profile removes it.
    """
    volume, curves = spheres("T2", site, 4)
    fit = fit_t2(curves, volume.axes[0].values, drop_first=True)
    error, _ = by_rank(fit, "t2_s", reference("T2", 4))
    assert np.isfinite(error).all()
    assert (error[3:] > 0.05).all()
    assert 10.0 < mean_absolute(error) < 35.0
    nickel = fit_t2(*_train(spheres, site), drop_first=True) if site != "site1_20200218" else None
    if nickel is not None:
        same, _ = by_rank(nickel, "t2_s", reference("T2", 5))
        assert mean_absolute(error) > 2.0 * mean_absolute(same)


def _train(spheres, site):
    volume, curves = spheres("T2", site, 5)
    return curves, volume.axes[0].values


@pytest.mark.parametrize(("site", "plate"), T1_SETS)
def test_spheres_lie_where_the_plate_has_them(public_data, site, plate):
    """Ten spheres on a circle of 50 mm radius and four within: the same plate at every site.

    The layout is that of the phantom's drawing; distances are checked to 1.5 mm, with the plate turned and
    shifted as it lies.
    """
    folder = public_data("mri/nist_phantom") / "T1" / site / f"plate{plate}"
    volume, curves = curves_of(public_data("mri/nist_phantom"), "T1", site, plate, None)
    assert curves.shape == (N_SPHERES, 6)
    rois = round_inserts(it.load(folder, series="all"), diameter_mm=DIAMETER_MM, n=N_SPHERES + N_MARKERS)
    (step,) = rois.history
    centres = np.array(step.parameters["centres_mm"])
    bright = np.abs(
        np.stack([[volume.data[..., n][rois.mask(name)].mean() for n in range(6)] for name in rois])
    ).max(axis=1)
    centres = centres[np.argsort(bright)[N_MARKERS:]]
    plane = np.linalg.svd(centres - centres.mean(axis=0))[2][:2]
    flat = (centres - centres.mean(axis=0)) @ plane.T
    distance = np.sort(np.linalg.norm(flat, axis=1))
    assert distance[4:] == pytest.approx(np.full(10, 50.0), abs=1.5)
    assert distance[:4].max() < 35.0
