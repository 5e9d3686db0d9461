"""What the public functions of `it.mri` take is written in their signatures, and nothing is taken in vain."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mri import fit_options
from imgtheranostics.volume import Axis, Volume

SHAPE = (2, 2, 2)
ANGLES = np.array([2.0, 5.0, 10.0, 15.0])
RECORD = MrAcquisition(field_strength_t=3.0, repetition_time_s=0.005, echo_time_s=0.002)


PUBLIC = {name: getattr(it.mri, name) for name in it.mri.__all__}
ON_VOLUMES = [name for name, one in PUBLIC.items() if inspect.isfunction(one)]


def public_functions():
    for name in ON_VOLUMES:
        yield f"it.mri.{name}", PUBLIC[name]
    for home, module in PUBLIC.items():
        if not inspect.ismodule(module):
            continue
        for name, one in vars(module).items():
            if inspect.isfunction(one) and not name.startswith("_") and one.__module__.endswith(f".{home}"):
                yield f"{home}.{name}", one


FUNCTIONS = dict(public_functions())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_is_named_typed_and_described(name):
    function = FUNCTIONS[name]
    parameters = inspect.signature(function).parameters
    assert not [p for p in parameters.values() if p.kind is p.VAR_KEYWORD]
    assert all(p.annotation is not p.empty for p in parameters.values())
    described = inspect.getdoc(function) or ""
    assert described
    if (name.startswith("it.mri.") and len(parameters) > 1) or "Parameters\n---" in described:
        assert [one for one in parameters if one not in described] == []


@pytest.mark.parametrize("name", ON_VOLUMES)
def test_a_misspelt_keyword_is_named(name):
    function = getattr(it.mri, name)
    required = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    given = [None for p in required if p.kind is not p.KEYWORD_ONLY]
    more = {p.name: None for p in required if p.kind is p.KEYWORD_ONLY}
    with pytest.raises(TypeError, match="mehtod"):
        function(*given, **more, mehtod="nlls")


def test_options_of_a_way_are_keywords_of_its_function():
    for rate, names in fit_options.FIT_OPTIONS.items():
        own = {"r1": it.mri.t1_map, "r2": it.mri.t2_map, "r2star": it.mri.t2star_map}[rate]
        assert names <= set(inspect.signature(own).parameters)
        assert names <= set(inspect.signature(it.mri.concentration).parameters)
    assert set(inspect.signature(it.mri.concentration).parameters) >= fit_options.SIGNAL_OPTIONS
    for function in (it.mri.concentration, it.mri.t1_map, it.mri.t2_map, it.mri.t2star_map):
        defaults = {p.name: p.default for p in inspect.signature(function).parameters.values()}
        names = fit_options.SIGNAL_OPTIONS.union(*fit_options.FIT_OPTIONS.values()) & set(defaults)
        assert fit_options.given_options({name: defaults[name] for name in names}) == {}


def flip_angles(field_t=3.0):
    data = np.ones((*SHAPE, ANGLES.size), np.float32)
    record = MrAcquisition(field_strength_t=field_t, repetition_time_s=0.005)
    return Volume(data, np.eye(4), "signal", "[arb'U]", (Axis("flip_angle", ANGLES, "deg"),), record)


def along(name, values, unit="s"):
    data = np.ones((*SHAPE, len(values)), np.float32)
    return Volume(data, np.eye(4), "signal", "[arb'U]", (Axis(name, np.array(values), unit),), RECORD)


def image(quantity="signal", unit="[arb'U]", value=1.0):
    return Volume(np.full(SHAPE, value, np.float32), np.eye(4), quantity, unit, (), RECORD)


class TestInVain:
    def test_angles_of_a_concentration_from_rates(self):
        with pytest.raises(UnknownChoice, match=r"flip_angle_deg= \(--flip-angle-deg\).*fit of r1"):
            it.mri.concentration(flip_angles(), flip_angles(), agent="AGuIX", flip_angle_deg=5.0)

    def test_fits_of_a_concentration_from_maps(self):
        t1 = image("t1", "s")
        with pytest.raises(UnknownChoice, match="maps of r1"):
            it.mri.concentration(t1, 1.4, agent="AGuIX", noise_sd=3.0)
        with pytest.raises(UnknownChoice, match="map of the change of r1"):
            it.mri.concentration(image("delta_r1", "1/s"), agent="AGuIX", baseline=(0, 3))

    def test_fits_of_a_change_of_rate_between_maps(self):
        with pytest.raises(UnknownChoice, match="method"):
            it.mri.delta_r1_map(image("t1", "s"), image("t1", "s"), method="wlls")

    def test_methods_of_a_fit_for_a_concentration_from_signals(self):
        with pytest.raises(UnknownChoice, match="method"):
            it.mri.concentration(image(), image(), t1=1.4, agent="AGuIX", method="nlls")

    def test_what_belongs_to_a_series_or_to_a_pair(self):
        series = along("time", [0.0, 1.0, 2.0])
        with pytest.raises(UnknownChoice, match="register"):
            it.mri.concentration(series, t1=1.4, agent="AGuIX", baseline=(0, 2), register=True)
        with pytest.raises(UnknownChoice, match="register"):
            it.mri.enhancement(series, baseline=(0, 2), register=True)
        with pytest.raises(UnknownChoice, match="baseline"):
            it.mri.concentration(image(), image(), t1=1.4, agent="AGuIX", baseline=(0, 1))
        with pytest.raises(UnknownChoice, match="motion_correct"):
            it.mri.enhancement(image(), image(), motion_correct=True)

    def test_a_field_map_where_no_angle_counts(self):
        with pytest.raises(UnknownChoice, match="b1"):
            it.mri.t1_map(along("inversion_time", [0.1, 0.4, 0.9, 2.0]), b1=0.9)
        with pytest.raises(UnknownChoice, match="refocusing_angle_deg"):
            it.mri.t2_map(along("echo_time", [0.01, 0.02, 0.03]), refocusing_angle_deg=150.0)

    def test_what_belongs_to_signals_beside_concentrations(self):
        series = along("time", [0.0, 1.0, 2.0]).replace(quantity="gd_concentration", unit="mmol/L")
        with pytest.raises(UnknownChoice, match=r"t1= .*concentrations"):
            it.mri.dce_map(series, t1=1.4)

    def test_a_threshold_that_is_no_number(self):
        with pytest.raises(UnknownChoice, match="threshold"):
            it.mri.t1_map(flip_angles(), threshold=np.nan)


class TestRefusals:
    @pytest.mark.parametrize(
        ("function", "key"), [("t1_map", "FlipAngle"), ("t2_map", "EchoTime"), ("t2star_map", "EchoTime")]
    )
    def test_numbered_images_name_what_was_lost_and_where_to_write_it(self, function, key):
        numbered = along("component", [0.0, 1.0, 2.0, 3.0], "1")
        with pytest.raises(MissingMetadata, match="is lost: the file only numbers its 4 images") as refusal:
            getattr(it.mri, function)(numbered)
        assert key in refusal.value.where
        assert "sidecar" in refusal.value.next_step

    @pytest.mark.parametrize("window", [(0, 4), (2, 2), (-1, 2)])
    def test_a_baseline_beyond_the_series(self, window):
        series = along("time", [0.0, 1.0, 2.0])
        for call in (
            lambda: it.mri.enhancement(series, baseline=window),
            lambda: it.mri.time_intensity_maps(series, baseline=window),
            lambda: it.mri.concentration(series, t1=1.4, agent="AGuIX", baseline=window),
        ):
            with pytest.raises(UnsupportedInput, match="3 images") as refusal:
                call()
            assert "--baseline" in refusal.value.where

    def test_perfusion_of_no_dynamic_series(self):
        with pytest.raises(UnsupportedInput, match="do not vary in time"):
            it.mri.dce_map(flip_angles(), t1=1.4, agent="AGuIX", baseline=(0, 1))

    def test_rates_of_two_field_strengths(self):
        with pytest.raises(UnitMismatch, match=r"3 and 1\.5 T"):
            it.mri.delta_r1_map(flip_angles(3.0), flip_angles(1.5))
        with pytest.raises(UnitMismatch, match="field strengths"):
            it.mri.concentration(flip_angles(3.0), flip_angles(1.5), agent="AGuIX")
        it.mri.delta_r1_map(flip_angles(3.0), flip_angles(2.89))
