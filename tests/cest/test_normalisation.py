"""Z = S / M0: references and their drift, validity, order and noise (cest.md, sections 3 and 5)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.cest.zspectrum import noise_sd, normalise
from imgtheranostics.errors import ImplausibleValue, MissingMetadata
from imgtheranostics.volume import Flag

OFFSETS = np.linspace(-5, 5, 21)
NAN = np.nan


def curve(offsets):
    return 1 - 0.9 / (1 + offsets**2)


def series(offsets, m0=1000.0):
    """Signal of a Lorentzian dip at offsets, NaN for references; `m0` may drift."""
    z = np.where(np.isnan(offsets), 1.0, curve(np.nan_to_num(offsets)))
    return z * m0


@pytest.mark.parametrize("reference", [NAN, -300.0, 1560.0, 100.0])
def test_one_reference_is_known_by_its_offset(reference):
    found = normalise(series(np.r_[NAN, OFFSETS]), np.r_[reference, OFFSETS])
    assert found.z == pytest.approx(curve(OFFSETS))
    assert found.offset_ppm == pytest.approx(OFFSETS)
    assert found.m0 == pytest.approx(1000)
    assert found.flags == 0
    assert found.indices == tuple((k,) for k in range(1, 22))
    assert not found.warnings


def test_named_references_win_and_other_unsaturated_images_are_left_out():
    """The first of two is not in the steady state; -20 ppm is a reference because the caller says so."""
    offsets = np.r_[NAN, NAN, OFFSETS, -20.0]
    signal = np.r_[1300.0, 1000.0, 1000 * curve(OFFSETS), 1000.0]
    found = normalise(signal, offsets, m0_index=[1, 23])
    assert found.z == pytest.approx(curve(OFFSETS))
    assert [caution.code for caution in found.warnings] == ["unsaturated-images-unused"]
    assert found.decisions["m0"] == "named by m0_index: images 1, 23"


def test_offset_between_20_and_100_ppm_is_a_sample_with_a_caution():
    offsets = np.r_[NAN, OFFSETS, 30.0]
    found = normalise(series(offsets), offsets)
    assert found.offset_ppm[-1] == 30.0
    assert [caution.code for caution in found.warnings] == ["far-offset-taken-as-sample"]
    assert "m0_index" in found.warnings[0].message


@given(st.floats(-0.3, 0.3), st.integers(2, 5))
def test_linear_drift_between_references_is_removed_exactly(slope, n_references):
    """M0 linear in the position of acquisition; interleaved references."""
    parts = np.array_split(OFFSETS, n_references - 1)
    offsets = np.concatenate([*(np.r_[NAN, part] for part in parts), [NAN]])
    m0 = 1000 * (1 + slope * np.arange(offsets.size) / offsets.size)
    found = normalise(series(offsets, m0), offsets)
    assert found.z == pytest.approx(curve(OFFSETS))
    assert "linear" in found.decisions["m0_drift"]
    mean = normalise(series(offsets, m0), offsets, drift="mean")
    references = m0[np.isnan(offsets)].mean()
    assert mean.z == pytest.approx(curve(OFFSETS) * m0[~np.isnan(offsets)] / references)


def test_outside_the_references_the_nearest_holds():
    """NumPy's interpolation does the same; images before the first and after the last."""
    offsets = np.r_[OFFSETS[:5], NAN, OFFSETS[5:12], NAN, OFFSETS[12:]]
    m0 = np.ones(23)
    m0[5], m0[13] = 2.0, 3.0
    expected = np.interp(np.arange(23), [5, 13], [2.0, 3.0])[~np.isnan(offsets)]
    assert normalise(series(offsets, m0), offsets).z == pytest.approx(curve(OFFSETS) / expected)


def test_references_that_differ_by_noise_alone_count_as_their_mean(rng):
    """One reference before and one after, which is what makes the two sides of a spectrum differ.

    Of z near 1 the asymmetry has the noise of two samples, with interpolated references also that of both.
    """
    offsets = np.r_[NAN, np.linspace(-12, 12, 49), NAN]
    signal = series(offsets) + 25 * rng.standard_normal((4000, offsets.size))
    found, linear = normalise(signal, offsets), normalise(signal, offsets, drift="linear")
    assert "mean of the references: over 4000 voxels" in found.decisions["m0_drift"]
    at, mirror = found.z[:, 46], found.z[:, 2]
    assert (mirror - at).std() == pytest.approx(0.025 * np.sqrt(2) * curve(11.0), rel=0.05)
    assert (linear.z[:, 2] - linear.z[:, 46]).std() > 1.25 * (mirror - at).std()


@pytest.mark.parametrize("drift", [-0.004, 0.004])
def test_a_small_drift_that_voxels_have_in_common_is_followed(rng, drift):
    offsets = np.r_[NAN, np.linspace(-12, 12, 49), NAN]
    m0 = 1000 * (1 + drift * np.arange(51) / 50)
    signal = series(offsets, m0) + 25 * rng.standard_normal((4000, offsets.size))
    found = normalise(signal, offsets)
    assert "linear" in found.decisions["m0_drift"]
    # what noise adds to the mean of 1 / M0 is the same on both sides
    assert (found.z[:, 2] - found.z[:, 46]).mean() == pytest.approx(0, abs=4 * 0.035 / np.sqrt(4000))


def test_a_few_voxels_or_one_alone_tell_no_drift_from_noise(rng):
    offsets = np.r_[NAN, OFFSETS, NAN]
    signal = series(offsets) + 25 * rng.standard_normal((24, offsets.size))
    assert "linear" in normalise(signal, offsets).decisions["m0_drift"]
    assert "linear" in normalise(signal[0], offsets).decisions["m0_drift"]
    masked = normalise(np.r_[signal, signal], offsets, mask=np.arange(48) < 24)
    assert "linear" in masked.decisions["m0_drift"]


def test_references_in_a_row_count_as_their_mean_at_their_middle():
    offsets = np.r_[NAN, NAN, OFFSETS, NAN]
    m0 = np.r_[900.0, 1100.0, np.ones(21), 2000.0]
    expected = np.interp(np.arange(2, 23), [0.5, 23], [1000.0, 2000.0])
    assert normalise(series(offsets, m0), offsets).z == pytest.approx(curve(OFFSETS) / expected)


def test_references_on_one_side_are_averaged_whatever_is_asked():
    offsets = np.r_[NAN, NAN, NAN, OFFSETS]
    m0 = np.r_[900.0, 1000.0, 1100.0, np.full(21, 1000.0)]
    for drift in ("auto", "mean", "linear"):
        found = normalise(series(offsets, m0), offsets, drift=drift)
        assert found.z == pytest.approx(curve(OFFSETS))
        assert "mean" in found.decisions["m0_drift"]


def test_unsaturated_signal_measured_apart():
    m0 = np.array([[500.0, 1000.0], [2000.0, 0.0]])
    signal = m0[..., None] * curve(OFFSETS)
    found = normalise(signal, OFFSETS, m0=m0)
    assert found.z[0] == pytest.approx(np.tile(curve(OFFSETS), (2, 1)))
    assert found.flags.tolist() == [[0, 0], [0, Flag.INVALID_INPUT]]
    assert np.isnan(found.z[1, 1]).all()
    assert normalise(signal[0, 0], OFFSETS, m0=500.0).z == pytest.approx(curve(OFFSETS))


def test_no_reference_is_refused_with_what_to_give():
    with pytest.raises(MissingMetadata, match="unsaturated reference") as refusal:
        normalise(curve(OFFSETS), OFFSETS)
    assert "m0_index" in str(refusal.value)
    assert "m0" in str(refusal.value)


def test_voxels_without_a_valid_reference_or_sample_are_flagged_and_never_repaired():
    offsets = np.r_[NAN, OFFSETS, NAN]
    signal = np.tile(series(offsets), (6, 1))
    signal[1, 0], signal[2, 22], signal[3, 22], signal[4, 7] = 0.0, -5.0, NAN, np.inf
    signal[5, 3] = 1300.0
    found = normalise(signal, offsets)
    invalid = Flag.INVALID_INPUT
    assert found.flags.tolist() == [0, invalid, invalid, invalid, invalid, Flag.OUTSIDE_RANGE]
    assert np.isnan(found.z[1:5]).all()
    assert np.isnan(found.m0[1:5]).all()
    assert found.z[5, 2] == pytest.approx(1.3)


def test_voxels_outside_the_mask():
    offsets = np.r_[NAN, OFFSETS]
    found = normalise(np.tile(series(offsets), (2, 1)), offsets, mask=[True, False])
    assert found.flags.tolist() == [0, Flag.MASKED_OUT]
    assert np.isnan(found.z[1]).all()


@given(st.permutations(range(22)))
def test_order_of_acquisition_does_not_matter_without_drift(order):
    offsets = np.r_[NAN, OFFSETS][list(order)]
    found = normalise(series(offsets), offsets)
    assert found.z == pytest.approx(curve(OFFSETS))
    assert found.offset_ppm == pytest.approx(OFFSETS)
    assert [offsets[at] for (at,) in found.indices] == pytest.approx(OFFSETS)


def test_repeated_offsets_are_averaged_with_a_caution():
    offsets = np.r_[NAN, OFFSETS, 3.5, OFFSETS[0]]
    signal = np.r_[1000 * np.ones(1), 1000 * curve(OFFSETS), 1000 * curve(3.5), 1000 * (curve(-5.0) + 0.02)]
    found = normalise(signal, offsets)
    assert found.z[0] == pytest.approx(curve(-5.0) + 0.01)
    assert found.indices[0] == (1, 23)
    assert found.offset_ppm.size == 21
    assert [caution.code for caution in found.warnings] == ["offsets-repeated"]
    nearly = normalise(signal, np.where(np.arange(24) == 22, 3.50002, offsets))
    assert nearly.offset_ppm == pytest.approx(found.offset_ppm)


def test_noise_comes_from_the_scatter_of_enough_references(rng):
    """Six about their mean leave five degrees of freedom; the mean over voxels is not biased."""
    offsets = np.r_[[NAN] * 6, OFFSETS]
    signal = series(offsets) + 20 * rng.standard_normal((4000, offsets.size))
    found = normalise(signal, offsets)
    assert found.noise_sd.mean() == pytest.approx(0.02, rel=0.02)
    assert found.decisions["noise"] == "scatter of 6 references, 5.0 degrees of freedom"


def test_noise_of_interleaved_references_does_not_count_their_drift(rng):
    offsets = np.r_[np.c_[np.full(21, NAN), OFFSETS].ravel(), NAN]
    m0 = 1000 * np.linspace(1.0, 1.4, offsets.size)
    signal = series(offsets, m0) + 12 * rng.standard_normal((3000, offsets.size))
    found = normalise(signal, offsets)
    assert found.noise_sd.mean() == pytest.approx(0.01, rel=0.03)
    assert "22 references" in found.decisions["noise"]


def test_noise_comes_from_the_spectrum_where_references_are_few(rng):
    offsets = np.r_[NAN, np.linspace(-6, 6, 61)]
    signal = series(offsets) + 10 * rng.standard_normal((3000, offsets.size))
    found = normalise(signal, offsets)
    assert found.decisions["noise"] == "what no smooth spectrum explains"
    assert found.noise_sd.mean() == pytest.approx(0.01, rel=0.06)
    assert noise_sd(found.z, found.offset_ppm) == pytest.approx(found.noise_sd)


def test_noise_of_too_little_is_not_known():
    found = normalise([1000.0, 700.0, 200.0, 800.0], [NAN, -3.5, 0.0, 3.5])
    assert np.isnan(found.noise_sd)
    assert "not known" in found.decisions["noise"]
    assert found.flags == 0
    with pytest.raises(ValueError, match="at least 6"):
        noise_sd([0.7, 0.2, 0.8], [-3.5, 0.0, 3.5])


@pytest.mark.parametrize("n", [21, 51, 101])
def test_noise_is_not_biased_by_a_dip_or_a_line_of_a_pool(rng, n):
    offsets = np.linspace(-5, 5, n)
    clean = curve(offsets) - 0.05 / (1 + ((offsets - 3.5) / 0.7) ** 2)
    for level in (0.01, 0.03):
        found = noise_sd(clean + level * rng.standard_normal((4000, n)), offsets)
        assert found.mean() == pytest.approx(level, rel=0.12 if n == 21 else 0.05)


@pytest.mark.parametrize(("n", "half"), [(25, 1.2), (25, 1.6), (49, 0.8), (49, 1.2), (49, 1.6)])
def test_noise_is_not_biased_by_the_curvature_of_coarse_lists(rng, n, half):
    """Closed form: water, a semisolid pool, and two as wide as two steps of 0.5 ppm; noise of 0.2 %."""
    offsets = np.linspace(-6, 6, n)
    lines = ((0.75, half, 0.1), (0.1, 9.0, -2.0), (0.02, 1.2, 3.5), (0.04, 1.5, -3.5))
    clean = 1 - sum(size / (1 + ((offsets - at) / width) ** 2) for size, width, at in lines)
    found = noise_sd(clean + 0.002 * rng.standard_normal((4000, n)), offsets)
    assert np.sqrt((found**2).mean()) == pytest.approx(0.002, rel=0.1)


def test_one_wild_sample_does_not_change_the_noise(rng):
    """A sample of 49 that is half as large again."""
    offsets = np.linspace(-6, 6, 49)
    z = curve(offsets) + 0.0005 * rng.standard_normal((2000, 49))
    z[:, 9] *= 1.5
    assert noise_sd(z, offsets).mean() == pytest.approx(0.0005, rel=0.1)


def test_noise_of_uneven_unsorted_offsets(rng):
    offsets = rng.permutation(np.r_[-6:-3:0.7, -2.9:3:0.1, 3:6.1:0.5])
    z = 0.8 + 0.01 * offsets + 0.02 * rng.standard_normal((4000, offsets.size))
    assert noise_sd(z, offsets).mean() == pytest.approx(0.02, rel=0.05)
    z[5, 3] = NAN
    found = noise_sd(z, offsets, mask=np.arange(4000) != 7)
    assert np.flatnonzero(np.isnan(found)).tolist() == [5, 7]


@pytest.mark.parametrize("n_references", [1, 3, 6])
def test_noise_alone_is_flagged_and_tissue_is_not(rng, n_references):
    """Rayleigh magnitudes; tissue of M0 at ten times the noise."""
    offsets = np.r_[[NAN] * n_references, np.linspace(-5, 5, 51)]
    air = np.hypot(*rng.standard_normal((2, 3000, offsets.size)))
    found = normalise(air, offsets)
    assert ((found.flags & Flag.BELOW_NOISE) > 0).mean() > 0.995
    assert np.isnan(found.z).all(axis=-1).mean() > 0.995
    real = series(offsets, 10.0) + rng.standard_normal((3000, offsets.size))
    tissue = np.hypot(real, rng.standard_normal((3000, offsets.size)))
    assert ((normalise(tissue, offsets).flags & Flag.BELOW_NOISE) > 0).mean() < 0.02


@pytest.mark.parametrize("n_references", [1, 3])
@pytest.mark.parametrize("n", [13, 21, 31, 47])
def test_noise_alone_in_fewer_offsets_is_flagged_and_water_is_not(rng, n, n_references):
    """Rayleigh magnitudes; Lorentzian water of four widths, 0.3 ppm from 0, at twenty times the noise."""
    offsets = np.r_[[NAN] * n_references, np.linspace(-5, 5, n)]
    air = np.hypot(*rng.standard_normal((2, 6000, offsets.size)))
    assert ((normalise(air, offsets).flags & Flag.BELOW_NOISE) > 0).mean() > 0.988
    for half, depth in ((0.5, 0.9), (1.0, 0.9), (2.0, 0.7), (3.0, 0.9)):
        z = 1 - depth / (1 + ((offsets[n_references:] - 0.3) / half) ** 2)
        real = 20 * np.r_[np.ones(n_references), z] + rng.standard_normal((2000, offsets.size))
        tissue = np.hypot(real, rng.standard_normal((2000, offsets.size)))
        assert ((normalise(tissue, offsets).flags & Flag.BELOW_NOISE) > 0).mean() < 0.005


def test_image_keeps_its_shape_type_and_memory(rng):
    offsets = np.r_[NAN, OFFSETS, NAN]
    image = np.asfortranarray(series(offsets) * rng.uniform(1, 2, (4, 3, 2, 1)), dtype=np.float32)
    found = normalise(image, offsets)
    assert found.z.shape == (4, 3, 2, 21)
    assert found.z.dtype == found.m0.dtype == found.noise_sd.dtype == np.float32
    assert found.z.flags.f_contiguous
    assert found.z[1, 2, 1] == pytest.approx(curve(OFFSETS), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"m0_index": [22]}, "between 0 and 21"),
        ({"m0_index": [-1]}, "between 0 and 21"),
        ({"m0_index": [0, 0]}, "twice"),
        ({"m0_index": [0.0]}, "positions"),
        ({"m0_index": []}, "positions"),
        ({"m0_index": [0], "m0": 5.0}, "not both"),
        ({"drift": "cubic"}, "auto, mean, linear"),
        ({"m0": np.ones(3)}, "shape"),
    ],
)
def test_options_that_cannot_be_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        normalise(series(np.r_[NAN, OFFSETS]), np.r_[NAN, OFFSETS], **options)


def test_lists_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="22 samples"):
        normalise(np.ones(21), np.r_[NAN, OFFSETS])
    with pytest.raises(ValueError, match="no saturated image"):
        normalise(np.ones(2), [NAN, -300.0])
    with pytest.raises(ValueError, match="finite"):
        normalise(np.ones(3), [NAN, 1.0, np.inf])
    with pytest.raises(ValueError, match="list"):
        normalise(np.ones((2, 3)), np.ones((2, 3)))


def test_offsets_in_hertz_are_refused():
    hertz = np.r_[NAN, np.linspace(-700, 700, 41)]
    with pytest.raises(ImplausibleValue, match="farther from water") as refusal:
        normalise(series(hertz), hertz)
    assert "Hz" in str(refusal.value)
    with pytest.raises(ImplausibleValue, match="farther"):
        normalise(series(hertz[1:]), hertz[1:])
