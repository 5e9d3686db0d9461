"""Exchange rates on Volumes; truths are the closed forms F13 and F14 of cest.md, put into spectra exactly."""

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.cest.exchange_maps import ExchangePlan
from imgtheranostics.cest.prepared_spectra import Handling
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Flag, Volume

GAMMA = 267.5154109126009
SHAPE = (4, 3, 2)
OFFSETS = np.linspace(-8.0, 8.0, 65)
AT = 5.0
T1_S = 2.0
RATE = np.linspace(300.0, 900.0, 24).reshape(SHAPE)
FRACTION = 1e-3
POWERS = (1.0, 2.0, 3.0, 4.5)


def transfer(b1_ut, rate, fraction=FRACTION):
    power = (GAMMA * b1_ut) ** 2
    return fraction * rate * power / (power + rate**2)


def scan(b1_ut, *, metric="mtr_rex", time_s=None, noise=0.0, saturation=None, affine=None, seed=0):
    """Spectra whose contrast at 5 ppm is that of the closed form."""
    width = (0.6 / 2) ** 2
    near = width / (width + (OFFSETS - AT) ** 2)
    water = 1.0 - 0.85 * 0.49 / (0.49 + OFFSETS**2)
    u = transfer(b1_ut, RATE)[..., None] * near
    if metric == "mtr_rex":
        z = 1.0 / (1.0 / water + u * T1_S)
    else:
        r1 = 1.0 / T1_S
        full = FRACTION * RATE[..., None] if metric == "mtr_asym" else transfer(b1_ut, RATE)[..., None]
        z = water - u / (r1 + full) * (1.0 - np.exp(-(r1 + full) * time_s))
    # The mirrored offset sees the far tail of the label, 1e-3 of it.
    signal = 900.0 * np.concatenate([np.ones((*SHAPE, 1)), z], axis=-1)
    signal += np.random.default_rng(seed).normal(0, 900.0 * noise, signal.shape) if noise else 0.0
    record = MrAcquisition(
        field_strength_t=7.0,
        imaging_frequency_mhz=298.0,
        saturation={"b1_cwpe_ut": b1_ut, "duration_s": time_s or 10.0} if saturation is None else saturation,
    )
    axis = Axis("saturation_offset", np.r_[np.nan, OFFSETS], "ppm")
    return Volume(signal, np.eye(4) if affine is None else affine, "signal", "[arb'U]", (axis,), record)


def rate_of(scans, **more):
    options = {"at_ppm": AT, "t1": T1_S, "b0": 0.0, "noise_sd": 1e-5} | more
    return it.cest.exchange_rate(scans, **options)


@pytest.mark.parametrize("method", ["omega_plot", "hanes_woolf", "quesp"])
def test_rate_and_fraction_are_those_of_the_closed_form(method):
    found = rate_of([scan(b1) for b1 in POWERS], method=method)
    assert (found["exchange_rate"].unit, found["labelled_fraction"].unit) == ("1/s", "1")
    np.testing.assert_allclose(found["exchange_rate"].value.data, RATE, rtol=0.01)
    np.testing.assert_allclose(found["labelled_fraction"].value.data, FRACTION, rtol=0.01)


def test_quesp_of_the_asymmetry_takes_the_duration_from_the_scans():
    scans = [scan(b1, metric="mtr_asym", time_s=3.0) for b1 in POWERS]
    found = rate_of(scans, method="quesp", metric="mtr_asym")
    np.testing.assert_allclose(found["exchange_rate"].value.data, RATE, rtol=0.01)
    assert found["exchange_rate"].decisions["exchange"]["saturation_time_s"] == [3.0] * 4


def test_the_form_of_quesp_is_chosen_recorded_and_drawn():
    """Spectra of the labelled form, in which f k alpha stands for f k."""
    scans = [scan(b1, metric="labelled", time_s=3.0) for b1 in POWERS]
    found = rate_of(scans, method="quesp", metric="mtr_asym", form="labelled")
    rate = found["exchange_rate"]
    np.testing.assert_allclose(rate.value.data, RATE, rtol=0.01)
    assert rate.decisions["exchange"]["form"] == "labelled"
    assert "published-form" not in {caution.code for caution in rate.warnings}
    options = {"method": "quesp", "metric": "mtr_asym", "at_ppm": AT, "t1": T1_S}
    plan = ExchangePlan.of(scans, Handling.of({"b0": 0.0, "noise_sd": 1e-5}), form="labelled", **options)
    (curve,) = plan.curves(None)
    np.testing.assert_allclose(curve.fitted, curve.measured, rtol=0.01)
    published = rate_of(scans, method="quesp", metric="mtr_asym")["exchange_rate"]
    assert published.decisions["exchange"]["form"] == "published"
    (said,) = [caution.message for caution in published.warnings if caution.code == "published-form"]
    assert "25 % low" in said
    assert (published.value.data < 0.97 * RATE).all()
    for vain in ({"method": "quesp"}, {"method": "omega_plot"}):
        with pytest.raises(UnknownChoice, match="form"):
            rate_of(scans, form="labelled", **vain)
    with pytest.raises(UnknownChoice, match="published, labelled"):
        rate_of(scans, method="quesp", metric="mtr_asym", form="exact")


def test_quest_fits_durations_at_one_power():
    times = (0.5, 1.0, 2.0, 4.0, 8.0)
    scans = [scan(2.0, metric="mtr_asym", time_s=time) for time in times]
    found = rate_of(scans, method="quest", noise_sd=1e-6)
    good = np.isfinite(found["exchange_rate"].value.data)
    assert good.mean() > 0.5
    np.testing.assert_allclose(found["exchange_rate"].value.data[good], RATE[good], rtol=0.03)


def test_protons_of_the_agent_give_its_concentration():
    """F16: 2 protons, f = 1e-3: 55.5 mmol/L."""
    found = rate_of([scan(b1) for b1 in POWERS], protons=2)
    assert found["label_concentration"].unit == "mmol/L"
    np.testing.assert_allclose(found["label_concentration"].value.data, 55.5, rtol=0.01)


def test_one_volume_with_an_axis_of_powers_is_the_same_as_scans():
    scans = [scan(b1) for b1 in POWERS]
    stacked = Volume(
        np.stack([one.data for one in scans], axis=-1),
        scans[0].affine,
        "signal",
        "[arb'U]",
        (*scans[0].axes, Axis("saturation_b1", np.array(POWERS), "uT")),
        scans[0].acquisition,
    )
    one, other = rate_of(scans), rate_of(stacked)
    np.testing.assert_array_equal(one["exchange_rate"].value.data, other["exchange_rate"].value.data)


def test_a_transmit_field_scales_the_powers():
    """The plot at 0.8 of nominal with the map is that of nominal powers of 0.8."""
    with_map = rate_of([scan(0.8 * b1, saturation={"b1_cwpe_ut": b1}) for b1 in POWERS], b1=0.8)
    np.testing.assert_allclose(with_map["exchange_rate"].value.data, RATE, rtol=0.01)


def test_powers_that_cannot_tell_the_rate_leave_voxels_missing_and_flagged():
    scans = [scan(b1, noise=2e-3, seed=n) for n, b1 in enumerate((14.0, 14.5, 15.0))]
    found = rate_of(scans, noise_sd=2e-3)["exchange_rate"]
    lost = np.isnan(found.value.data)
    assert lost.mean() > 0.8
    assert (found.flags.data[lost] != 0).all()
    assert (found.flags.data & Flag.ILL_CONDITIONED).any()


def test_what_was_done_is_recorded():
    found = rate_of([scan(b1) for b1 in POWERS])["exchange_rate"]
    assert found.decisions["exchange"]["b1_cwpe_ut"] == list(POWERS)
    assert found.decisions["t1"]["rule"] == "given"
    assert found.value.history[-1].parameters["method"] == "omega_plot"


class TestB1:
    def test_b1_by_its_rms_and_duty_cycle(self):
        """F1: B1cwpe = B1rms sqrt(DC)."""
        stated = [scan(b1, saturation={"b1_rms_ut": b1 / 0.5**0.5, "duty_cycle": 0.5}) for b1 in POWERS]
        found = rate_of(stated)["exchange_rate"]
        np.testing.assert_allclose(found.decisions["exchange"]["b1_cwpe_ut"], POWERS)
        np.testing.assert_allclose(found.value.data, RATE, rtol=0.01)

    def test_the_duty_cycle_may_follow_from_pulse_and_gap(self):
        timing = {"pulse_duration_s": 0.05, "pulse_interval_s": 0.05}
        stated = [scan(b1, saturation={"b1_rms_ut": b1 / 0.5**0.5, **timing}) for b1 in POWERS]
        np.testing.assert_allclose(rate_of(stated)["exchange_rate"].value.data, RATE, rtol=0.01)

    @pytest.mark.parametrize(
        "saturation",
        [{}, {"b1_rms_ut": 2.0}, {"b1_mean_ut": 2.0, "duty_cycle": 0.5}],
        ids=["none", "rms without duty cycle", "mean without shape"],
    )
    def test_b1_without_its_definition_is_refused(self, saturation):
        with pytest.raises(MissingMetadata, match="B1") as refusal:
            rate_of([scan(b1, saturation=saturation) for b1 in POWERS])
        assert "b1_ut=" in (refusal.value.next_step or "")

    def test_b1_can_be_given_instead(self):
        found = rate_of([scan(b1, saturation={}) for b1 in POWERS], b1_ut=POWERS)
        np.testing.assert_allclose(found["exchange_rate"].value.data, RATE, rtol=0.01)

    def test_b1_given_for_other_than_all_scans_is_refused(self):
        with pytest.raises(UnknownChoice, match="b1_ut"):
            rate_of([scan(b1) for b1 in POWERS], b1_ut=[1.0, 2.0])

    def test_b1_that_differs_between_offsets_is_refused(self):
        mixed = {"b1_cwpe_ut": tuple(np.linspace(1.0, 2.0, 66))}
        with pytest.raises(UnsupportedInput, match="b1_cwpe_ut"):
            rate_of([scan(b1, saturation=mixed) for b1 in POWERS])


class TestScans:
    def test_one_scan_is_too_few(self):
        with pytest.raises(UnsupportedInput, match="several powers"):
            rate_of(scan(2.0))

    def test_equal_powers_are_too_few(self):
        with pytest.raises(UnsupportedInput, match="2 different"):
            rate_of([scan(2.0), scan(2.0)])

    def test_t1_is_needed(self):
        with pytest.raises(MissingMetadata, match="T1"):
            rate_of([scan(b1) for b1 in POWERS], t1=None)

    def test_a_duration_is_needed_for_the_asymmetry(self):
        scans = [scan(b1, saturation={"b1_cwpe_ut": b1}) for b1 in POWERS]
        with pytest.raises(MissingMetadata, match="duration"):
            rate_of(scans, method="quesp", metric="mtr_asym")

    def test_scans_on_different_grids_are_refused(self):
        with pytest.raises(GeometryMismatch):
            rate_of([scan(1.0), scan(2.0, affine=np.diag([2.0, 1.0, 1.0, 1.0]))])

    def test_scans_at_different_fields_are_refused(self):
        other = scan(2.0).replace(
            acquisition=MrAcquisition(field_strength_t=3.0, saturation={"b1_cwpe_ut": 2.0})
        )
        with pytest.raises(UnitMismatch, match="field"):
            rate_of([scan(1.0), other])

    def test_unknown_methods_and_vain_metrics_are_refused(self):
        scans = [scan(b1) for b1 in POWERS]
        with pytest.raises(UnknownChoice, match="omega_plot"):
            rate_of(scans, method="omega")
        with pytest.raises(UnknownChoice, match="metric"):
            rate_of(scans, metric="mtr_asym")
        with pytest.raises(UnknownChoice, match="protons"):
            rate_of(scans, protons=0)

    def test_a_voxel_that_one_scan_lacks_is_missing(self):
        scans = [scan(b1) for b1 in POWERS]
        data = np.array(scans[2].data)
        data[1, 1, 1, 7] = np.nan
        scans[2] = scans[2].replace(data=data)
        found = rate_of(scans)["exchange_rate"]
        assert np.isnan(found.value.data[1, 1, 1])
        assert found.flags.data[1, 1, 1] & Flag.INVALID_INPUT
        assert np.isfinite(found.value.data).sum() == RATE.size - 1


def test_regions_have_their_contrasts_over_power_with_the_model():
    scans = [scan(b1) for b1 in POWERS]
    whole = Regions.from_masks({"tube": np.ones(SHAPE, bool)}, scans[0].grid)
    plan = ExchangePlan.of(scans, Handling(b0=0.0, noise_sd=1e-5), at_ppm=AT, t1=T1_S)
    region, voxel = plan.curves(whole)
    assert (region.label, region.axis, region.axis_unit) == ("tube", "saturation_b1", "uT")
    np.testing.assert_allclose(voxel.fitted, voxel.measured, rtol=5e-3)
    expected = np.mean([transfer(b1, RATE) * T1_S for b1 in POWERS], axis=(1, 2, 3))
    np.testing.assert_allclose(region.measured, expected, rtol=5e-3)
    assert region.value == pytest.approx(RATE.mean(), rel=0.15)
