"""CEST scans of ParaVision: lists of the method in ppm and Hz, compared where there are both."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata

BF1 = 500.3
OFFSETS = [-200.0, 4.0, -4.0, 2.0, -2.0, 0.5, -0.5, 0.0]
SIGNAL = [1000, 780, 800, 700, 720, 300, 310, 90]


@pytest.fixture
def cest(tmp_path, scans):
    def write(method, *, acqp=True, signal=SIGNAL, group="FG_CYCLE", drop=()):
        visu = scans.visu([(2, "FG_SLICE", {}), (len(signal), group, {})], slope=1.0)
        visu = {key: value for key, value in visu.items() if key not in drop}
        stored = np.empty((4, 3, 2 * len(signal)), dtype="i2", order="F")
        for n, value in enumerate(signal):
            stored[..., 2 * n : 2 * n + 2] = value
        lists = {"Method": "<Bruker:FLASH>"} | method
        scans.write(tmp_path, visu, stored, method=lists, acqp={"BF1": repr(BF1)} if acqp else None)
        return it.load(tmp_path)

    return write


def ppm(scans, values=OFFSETS, **more):
    return {
        "PVM_SatTransOnOff": "On",
        "PVM_SatTransFreqUnit": "unit_ppm",
        "PVM_SatTransFreqValues": scans.array(values),
        **more,
    }


def hertz(scans, values=OFFSETS, name="PVM_MagTransFL", frequency=BF1):
    return {"PVM_MagTransOnOff": "On", name: scans.array([v * frequency for v in values])}


def axis_of(volume):
    return volume.axis("saturation_offset").values


EXPECTED = [np.nan, *OFFSETS[1:]]


@pytest.mark.parametrize("group", ["FG_CYCLE", "FG_MOVIE", "FG_CEST"])
def test_list_in_ppm_is_the_axis(cest, scans, group):
    volume = cest(ppm(scans), group=group)
    np.testing.assert_allclose(axis_of(volume), EXPECTED)
    np.testing.assert_allclose(volume.data[0, 0, 0], SIGNAL)
    record = volume.acquisition.saturation
    assert (record["m0_index"], record["recorded_unit"], record["offsets_source"]) == ((0,), "ppm", "bruker")


def test_list_in_hertz_is_divided_by_the_basic_frequency(cest, scans):
    """BF1 of acqp, not the imaging frequency of visu_pars (400.3 MHz here)."""
    volume = cest(hertz(scans))
    np.testing.assert_allclose(axis_of(volume), EXPECTED, atol=1e-9)
    assert "convert_unit" in [step.name for step in volume.history]


def test_imaging_frequency_stands_in_and_nothing_is_refused(cest, scans):
    volume = cest(hertz(scans, frequency=400.3), acqp=False)
    np.testing.assert_allclose(axis_of(volume), EXPECTED, atol=1e-9)
    with pytest.raises(MissingMetadata, match="BF1"):
        cest(hertz(scans), acqp=False, drop=("VisuAcqImagingFrequency",))


def test_both_lists_are_compared(cest, scans):
    volume = cest(ppm(scans) | hertz(scans))
    np.testing.assert_allclose(axis_of(volume), EXPECTED)
    with pytest.raises(CorruptInput, match="contradict"):
        cest(ppm(scans) | hertz(scans, frequency=400.3))


def test_list_of_a_module_that_is_off_is_not_used(cest, scans):
    off = hertz(scans, frequency=1.0) | {"PVM_MagTransOnOff": "Off"}
    np.testing.assert_allclose(axis_of(cest(ppm(scans) | off)), EXPECTED)
    volume = cest(off)
    assert volume.axis("saturation_offset") is None


def test_unit_of_the_list_may_be_hertz(cest, scans):
    lists = ppm(scans, [v * BF1 for v in OFFSETS]) | {"PVM_SatTransFreqUnit": "unit_hz"}
    np.testing.assert_allclose(axis_of(cest(lists)), EXPECTED, atol=1e-9)


def test_list_of_another_length_is_not_used(cest, scans):
    volume = cest(ppm(scans, OFFSETS[:-1]))
    assert volume.axis("saturation_offset") is None
    assert volume.axis("time") is not None


def test_pulses_and_b1_of_block_pulses_are_recorded(cest, scans):
    more = {
        "PVM_SatTransPulseAmpl_uT": "3.6",
        "PVM_SatTransPulseEnum": "bp",
        "PVM_SatTransPulse": "(100, 12.8, 90, Yes, 4, 0.1, 0.2, 0.3, 0.4, 0, 0, 0, <$ExcPulse1Shape>)",
        "PVM_SatTransNPulses": "30",
        "PVM_SatTransInterPulseDelay": "10",
    }
    record = cest(ppm(scans, **more)).acquisition.saturation
    assert (record["b1_rms_ut"], record["b1_mean_ut"]) == (3.6, 3.6)
    assert (record["pulse_duration_s"], record["pulse_interval_s"], record["pulse_count"]) == (0.1, 0.01, 30)
    shaped = cest(ppm(scans, **(more | {"PVM_SatTransPulseEnum": "gauss"})))
    assert shaped.acquisition.saturation["unspecified_b1_ut"] == 3.6
    assert "b1_rms_ut" not in shaped.acquisition.saturation
    assert "b1-kind-unknown" in [one.code for one in shaped.warnings]


def test_image_that_contradicts_the_list_is_refused(cest, scans):
    with pytest.raises(ImplausibleValue, match="order"):
        cest(ppm(scans), signal=SIGNAL[::-1])


def test_list_in_hertz_declared_as_ppm_is_refused(cest, scans):
    with pytest.raises(ImplausibleValue, match="Hz"):
        cest(ppm(scans, [v * BF1 for v in OFFSETS]))
