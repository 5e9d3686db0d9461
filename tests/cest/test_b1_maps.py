"""Correction for B1 on Volumes; truth: a label whose depth is proportional to the B1 that a voxel had."""

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.cest import analysis
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnsupportedInput
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.volume import Axis, Flag, Volume

LEVELS = (1.0, 2.0, 3.0)
FIELD = np.linspace(0.8, 1.2, 60).reshape(5, 4, 3)
PER_UT = 0.02


def line(w, centre, width, amplitude):
    half = (width / 2.0) ** 2
    return amplitude * half / (half + (w - centre) ** 2)


def z_of(w, label):
    return 1.0 - line(w, 0.0, 1.6, 0.85) - line(w, 3.5, 1.2, label)


def contrast_of(label):
    return 100 * (z_of(-3.5, label) - z_of(3.5, label))


@pytest.fixture
def scans(made):
    return [made(label=PER_UT * b1 * FIELD, saturation={"b1_rms_ut": b1}, shift=0.1).volume for b1 in LEVELS]


@pytest.fixture
def field(scans, b0_volume):
    return b0_volume(scans[0], FIELD, "relative_b1", "1")


@pytest.mark.parametrize("method", ["linear", "quadratic"])
def test_the_contrast_is_that_of_the_nominal_b1(scans, field, method):
    found = analysis.contrast_at_b1(scans, at_ppm=3.5, nominal_b1_ut=2.0, b1=field, method=method)
    assert (found.quantity, found.unit) == ("mtr_asym", "%")
    np.testing.assert_allclose(found.value.data, contrast_of(PER_UT * 2.0), rtol=0.01)
    uncorrected = it.cest.contrast(scans[1], at_ppm=3.5).value.data
    assert np.ptp(uncorrected) > 10 * np.ptp(found.value.data)
    assert found.decisions["b1_correction"]["b1_ut"] == list(LEVELS)
    assert found.decisions["b1_correction"]["definition"] == "b1_rms_ut"
    assert (found.standard_error.data > 0).all()


def test_the_spectra_are_those_of_the_nominal_b1_and_serve_every_contrast(scans, field):
    found = analysis.correct_b1(scans, nominal_b1_ut=2.0, b1=field, method="linear")
    assert found.quantity == "z_spectrum"
    ppm = found.axes[0].values
    inner = np.abs(ppm) < 5.5
    expected = np.broadcast_to(z_of(ppm[inner], PER_UT * 2.0), (5, 4, 3, inner.sum()))
    np.testing.assert_allclose(found.value.data[..., inner], expected, atol=2e-3)
    contrast = it.cest.contrast(found, at_ppm=3.5)
    assert contrast.decisions["b0"]["rule"] == "the spectra are corrected already"
    np.testing.assert_allclose(contrast.value.data, contrast_of(PER_UT * 2.0), rtol=0.02)


def test_what_was_corrected_states_the_nominal_b1(scans, field):
    found = analysis.correct_b1(scans, nominal_b1_ut=2.0, b1=field, method="linear")
    assert found.value.acquisition.saturation["b1_rms_ut"] == pytest.approx(2.0)
    assert scans[0].acquisition.saturation["b1_rms_ut"] == 1.0


def test_one_volume_with_an_axis_of_b1_is_the_same(scans, field):
    stacked = Volume(
        np.stack([one.data for one in scans], axis=-1),
        scans[0].affine,
        "signal",
        "[arb'U]",
        (*scans[0].axes, Axis("saturation_b1", np.array(LEVELS), "uT")),
        scans[0].acquisition,
    )
    options = {"at_ppm": 3.5, "nominal_b1_ut": 2.0, "b1": field, "method": "linear"}
    one, other = (analysis.contrast_at_b1(x, **options) for x in (scans, stacked))
    np.testing.assert_array_equal(one.value.data, other.value.data)


def test_several_offsets_keep_their_axis(scans, field):
    found = analysis.contrast_at_b1(scans, at_ppm=[2.5, 3.5], nominal_b1_ut=2.0, b1=field, method="linear")
    assert found.axes[0].values.tolist() == [2.5, 3.5]
    np.testing.assert_allclose(found.value.data[..., 1], contrast_of(PER_UT * 2.0), rtol=0.01)


def test_a_nominal_b1_that_a_voxel_never_had_is_missing_and_flagged(scans, field):
    """At 0.8 of 3 uT the largest B1 was 2.4 uT."""
    found = analysis.contrast_at_b1(scans, at_ppm=3.5, nominal_b1_ut=2.8, b1=field, method="linear")
    lost = FIELD * 3.0 < 2.8
    assert np.isnan(found.value.data[lost]).all()
    assert (found.flags.data[lost] & Flag.OUTSIDE_RANGE).all()
    assert np.isfinite(found.value.data[FIELD * 3.0 > 2.81]).all()


def test_voxels_without_a_field_are_missing_and_flagged(scans, b0_volume):
    values = np.array(FIELD)
    values[0, 0, 0] = np.nan
    field = b0_volume(scans[0], values, "relative_b1", "1")
    found = analysis.contrast_at_b1(scans, at_ppm=3.5, nominal_b1_ut=2.0, b1=field, method="linear")
    assert np.isnan(found.value.data[0, 0, 0])
    assert found.flags.data[0, 0, 0] & Flag.INVALID_B1


class TestRefusals:
    def test_one_scan_is_too_few(self, scans, field):
        for job in (analysis.contrast_at_b1, analysis.correct_b1):
            more = {"at_ppm": 3.5} if job is analysis.contrast_at_b1 else {}
            with pytest.raises(UnsupportedInput, match="several B1"):
                job([scans[0]], nominal_b1_ut=2.0, b1=field, **more)

    def test_the_field_is_needed(self, scans):
        with pytest.raises(MissingMetadata, match="transmit field"):
            analysis.contrast_at_b1(scans, at_ppm=3.5, nominal_b1_ut=2.0)

    def test_a_field_on_another_grid_is_refused(self, scans, b0_volume):
        other = b0_volume(scans[0], FIELD, "relative_b1", "1", affine=np.diag([0.6, 0.5, 1.0, 1.0]))
        with pytest.raises(GeometryMismatch, match="transmit-field"):
            analysis.contrast_at_b1(scans, at_ppm=3.5, nominal_b1_ut=2.0, b1=other)

    def test_b1_by_different_definitions_is_refused(self, made, field):
        mixed = [made(saturation={name: 2.0}).volume for name in ("b1_rms_ut", "b1_mean_ut")]
        with pytest.raises(MissingMetadata, match="one definition"):
            analysis.contrast_at_b1(mixed, at_ppm=3.5, nominal_b1_ut=2.0, b1=field)

    def test_b1_given_for_other_than_all_scans_is_refused(self, scans, field):
        with pytest.raises(UnknownChoice, match="b1_ut"):
            analysis.contrast_at_b1(scans, at_ppm=3.5, nominal_b1_ut=2.0, b1=field, b1_ut=[1.0])

    def test_spectra_at_different_offsets_are_refused(self, made, field):
        other = np.linspace(-6, 6, 41)
        mixed = [
            made(saturation={"b1_rms_ut": 1.0}).volume,
            made(saturation={"b1_rms_ut": 2.0}, offsets=other).volume,
        ]
        with pytest.raises(UnsupportedInput, match="different offsets"):
            analysis.correct_b1(mixed, nominal_b1_ut=1.5, b1=field)
