"""Theranostic pairs at array level: closed forms, integration, SciPy, coverage of intervals, refusals."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

import imgtheranostics as it
from imgtheranostics.data.emissions import emission
from imgtheranostics.data.nuclides import nuclide, nuclides
from imgtheranostics.errors import IllConditioned, ImplausibleValue, UnsupportedInput
from imgtheranostics.fit import shortfall
from imgtheranostics.nuclear.curves import fit_exponential
from imgtheranostics.nuclear.dosimetry import effective_half_life
from imgtheranostics.nuclear.pair_curves import at_injection
from imgtheranostics.nuclear.pairs import PAIRS, biological_curve, transfer, twins

HOUR = 3600.0
HOURS = np.array([0.5, 3.0, 6.0, 12.0, 24.0, 48.0])
LONG = np.array([0.5, 1, 2, 4, 8, 16, 24, 48, 72, 96, 144])


def area_s(curve, given):
    """Decays per injected activity by numerical integration of a biological curve (h) with decay."""
    decay = nuclide(given).decay_constant_per_s * HOUR
    ends = (0.0, 5.0, 50.0, 500.0, 5000.0)
    parts = [quad(lambda h: curve(h) * math.exp(-decay * h), a, b, limit=400)[0] for a, b in pairwise(ends)]
    return sum(parts) * HOUR


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.imaged}-{pair.given}")
def test_every_pair_of_the_table_has_its_data_and_its_closed_form(pair):
    """T_eff from biological and physical half-lives, area f T_eff / ln 2 of both nuclides."""
    found = transfer(LONG * HOUR, 7 * 2 ** (-LONG / 40), imaged=pair.imaged, given=pair.given)
    for name, half, tiac in (
        (pair.given, found.effective_half_life_s, found.tiac_s),
        (pair.imaged, found.imaged_effective_half_life_s, found.imaged_tiac_s),
    ):
        effective = effective_half_life(40 * HOUR, nuclide(name).half_life_s)
        assert half == pytest.approx(effective, rel=1e-9)
        assert tiac == pytest.approx(0.07 * effective / math.log(2), rel=1e-9)
    late = 2 ** (-144 * HOUR / found.effective_half_life_s)
    assert found.extrapolated_fraction == pytest.approx(late, rel=1e-9)
    assert found.least_tiac_s == pytest.approx(found.tiac_s * (1 - late), rel=1e-9)
    after = 0.07 * 2 ** (-144 * HOUR / effective_half_life(40 * HOUR, nuclide(pair.given).half_life_s))
    most = found.least_tiac_s + after / nuclide(pair.given).decay_constant_per_s
    assert found.most_tiac_s == pytest.approx(most, rel=1e-9)
    assert found.tiac_ratio == pytest.approx(found.tiac_s / found.imaged_tiac_s, rel=1e-12)
    assert found.calibration_relative == 0
    assert pair.caveat in found.caveats
    assert ("other-element" in [one.code for one in found.warnings]) is not pair.same_element
    assert emission(pair.given)["beta"].total_mev > 0.1
    assert nuclide(pair.given).source.startswith("ICRP")


def test_every_nuclide_with_decay_data_has_emissions():
    for name, record in nuclides().items():
        kinds = emission(name)
        assert sum(kinds[kind].total_mev for kind in kinds) + record.mean_alpha_mev > 0, name


@pytest.mark.parametrize(("biological", "effective", "dose"), [(60.0, 31.0, 2.888), (1e9, 64.10, 5.972)])
def test_90y_dose_of_the_upsn_tumour_from_86y(biological, effective, dose):
    """The issue: 12 %ID/g gives 2.888 and 5.972 Gy/MBq of 90Y for T_eff 31.0 and 64.10 h to 0.1 %."""
    if effective == 31.0:
        biological = 1 / (1 / 31.0 - HOUR / nuclide("Y-90").half_life_s)
    found = transfer(HOURS * HOUR, 12 * 2 ** (-HOURS / biological), imaged="Y-86", given="Y-90")
    assert found.uptake == pytest.approx(12, rel=1e-8)
    assert found.effective_half_life_s == pytest.approx(effective * HOUR, rel=1e-6)
    assert found.local_dose_gy_per_mbq == pytest.approx(dose, rel=1e-3)
    assert found.imaged == "Y-86"
    assert "Y-90 is taken to be carried" in found.assumption


def test_iodine_twins_share_biology_and_differ_in_residence():
    """The therapeutic twin's TIAC by direct integration of the biological curve with its own decay."""
    times = np.array([4.0, 24.0, 48.0, 72.0, 96.0])
    biology = 3.0 * 2 ** (-times / 90)
    expected = area_s(lambda h: 0.03 * 2 ** (-h / 90), "I-131")
    for imaged in ("I-123", "I-124"):
        decayed = biology * np.exp(-nuclide(imaged).decay_constant_per_s * times * HOUR)
        curve = biological_curve(times * HOUR, decayed, imaged)
        assert curve == pytest.approx(biology, rel=1e-12)
        found = transfer(times * HOUR, curve, imaged=imaged, given="I-131")
        assert found.tiac_s == pytest.approx(expected, rel=1e-6)
        own = transfer(times * HOUR, curve, imaged=imaged, given=imaged)
        assert found.tiac_ratio == pytest.approx(found.tiac_s / own.tiac_s, rel=1e-9)
        assert found.imaged_tiac_s == pytest.approx(own.tiac_s, rel=1e-9)


@pytest.mark.parametrize(
    ("curve", "options", "uptake"),
    [
        (lambda h: 6 * 2 ** (-h / 90) + 9 * 2 ** (-h / 6), {"terms": 2}, 15.0),
        (lambda h: 6 * 2 ** (-h / 90) + 9 * 2 ** (-h / 6), {"terms": "auto"}, 15.0),
        (lambda h: 8 * (2 ** (-h / 90) - 2 ** (-h / 3)), {"terms": 1, "uptake": True}, 0.0),
    ],
)
def test_curves_of_several_phases_are_integrated_as_they_are(curve, options, uptake):
    found = transfer(LONG * HOUR, curve(LONG), imaged="Cu-64", given="Cu-67", **options)
    assert found.tiac_s == pytest.approx(area_s(lambda h: curve(h) / 100, "Cu-67"), rel=1e-6)
    assert found.imaged_tiac_s == pytest.approx(area_s(lambda h: curve(h) / 100, "Cu-64"), rel=1e-6)
    assert found.uptake == pytest.approx(uptake, abs=1e-5)
    assert found.biological_half_life_s == pytest.approx(90 * HOUR, rel=1e-5)


def test_value_at_injection_has_the_error_of_the_whole_covariance(rng):
    """SciPy's curve_fit of the same two phases: the variance of a sum of correlated amplitudes."""
    from scipy.optimize import curve_fit

    def model(h, a, p, b, q):
        return a * np.exp(-p * h) + b * np.exp(-q * h)

    values = model(LONG, 6, 0.008, 9, 0.12) + rng.normal(0, 0.1, LONG.size)
    best, covariance = curve_fit(model, LONG, values, p0=(6, 0.008, 9, 0.12))
    found = transfer(LONG * HOUR, values, imaged="Y-86", given="Y-90", terms=2)
    gradient = np.array([1.0, 0.0, 1.0, 0.0])
    expected = math.sqrt(gradient @ covariance @ gradient) / shortfall(LONG.size - 4)
    assert found.uptake == pytest.approx(best[0] + best[2], rel=1e-5)
    assert found.uptake_standard_error == pytest.approx(expected, rel=1e-3)
    fit = fit_exponential(values, LONG * HOUR, terms=2, half_life_s=1e6, decay_corrected=True)
    assert at_injection(fit, LONG * HOUR, np.ones(LONG.size), math.log(2) / 1e6)[1] == pytest.approx(
        expected, rel=1e-3
    )


def test_standard_errors_cover_the_scatter_of_repeats():
    """400 repeats with known noise: the spread of the estimates is their stated standard error."""
    rng = np.random.default_rng(3)
    truth, noise = 12 * 2 ** (-HOURS / 60), np.full(HOURS.size, 0.3)
    found = [
        transfer(
            HOURS * HOUR, truth + rng.normal(0, noise), imaged="Y-86", given="Y-90", standard_error=noise
        )
        for _ in range(400)
    ]
    for value, error in (
        ("tiac_s", "tiac_standard_error_s"),
        ("uptake", "uptake_standard_error"),
        ("biological_rate_per_s", "biological_rate_standard_error"),
        ("local_dose_gy_per_mbq", "local_dose_standard_error"),
    ):
        stated = np.mean([getattr(one, error) for one in found])
        assert np.std([getattr(one, value) for one in found]) == pytest.approx(stated, rel=0.15), value


def test_unweighted_errors_come_from_the_residuals():
    """scipy.optimize.curve_fit on the same data, over the mean of a standard deviation of so few samples."""
    from scipy.optimize import curve_fit

    rng = np.random.default_rng(5)
    values = 12 * 2 ** (-HOURS / 40) + rng.normal(0, 0.2, HOURS.size)
    found = transfer(HOURS * HOUR, values, imaged="Y-86", given="Y-90")
    best, covariance = curve_fit(lambda t, a, r: a * np.exp(-r * t), HOURS, values, p0=(10, 0.02))
    errors = np.sqrt(np.diag(covariance)) / shortfall(HOURS.size - 2)
    assert found.uptake == pytest.approx(best[0], rel=1e-5)
    assert found.biological_rate_per_s * HOUR == pytest.approx(best[1], rel=1e-5)
    assert found.uptake_standard_error == pytest.approx(errors[0], rel=1e-3)
    assert found.biological_rate_standard_error * HOUR == pytest.approx(errors[1], rel=1e-3)
    assert found.total_standard_error(10.0, 3.0) == 3.0
    shared = transfer(HOURS * HOUR, values, imaged="Y-86", given="Y-90", calibration_relative=0.4)
    assert shared.total_standard_error(10.0, 3.0) == pytest.approx(5.0)
    assert shared.tiac_standard_error_s == found.tiac_standard_error_s


@pytest.mark.parametrize(
    ("parameter", "imaged", "given", "options"),
    [
        ("tiac_s", "Y-86", "Y-90", {}),
        ("local_dose_gy_per_mbq", "I-124", "I-131", {}),
        ("biological_half_life_s", "Cu-64", "Cu-67", {}),
        ("tiac_s", "Cu-64", "Cu-67", {"method": "bootstrap", "n_resamples": 199}),
    ],
)
def test_nominal_intervals_cover_the_truth(parameter, imaged, given, options):
    """The issue: 95 % intervals contain the truth in 92 to 98 % of 500 simulated curves."""
    rng = np.random.default_rng(20261123)
    times = np.array([1.0, 4, 12, 24, 48, 72])
    exact = transfer(times * HOUR, 12 * 2 ** (-times / 30), imaged=imaged, given=given)
    truth = getattr(exact, parameter)
    inside = 0
    for seed in range(500):
        values = 12 * 2 ** (-times / 30) + rng.normal(0, 0.4, times.size)
        found = transfer(times * HOUR, values, imaged=imaged, given=given).interval(
            parameter, rng=seed, **options
        )
        inside += found.lower <= truth <= found.upper
    assert 0.92 <= inside / 500 <= 0.98


def test_a_rising_curve_is_bounded_by_decay_alone():
    found = transfer(HOURS * HOUR, 5 + HOURS / 24, imaged="Y-86", given="Y-90")
    assert found.biological_rate_per_s == 0
    assert found.biological_half_life_s == math.inf
    assert found.effective_half_life_s == pytest.approx(nuclide("Y-90").half_life_s)
    assert found.most_tiac_s == pytest.approx(found.tiac_s, rel=1e-9)
    assert [caution.code for caution in found.warnings] == ["no-clearance", "mostly-extrapolated"]
    bounds = found.interval()
    assert bounds.lower < found.tiac_s < bounds.upper
    assert bounds.method == "profile"


@pytest.mark.parametrize("known", [False, True])
def test_profile_bounds_of_a_curve_at_the_bound_are_those_of_a_search(known):
    """SciPy: least and largest area of all curves whose squares are within t^2 s^2 of the best one's."""
    from scipy import optimize, stats

    times = np.array([1.0, 6, 24, 48, 72, 100])
    values = 12 + np.array([0.3, -0.5, 0.1, 0.6, -0.2, 0.4])
    decay = nuclide("Y-90").decay_constant_per_s * HOUR
    error = 0.4 if known else None

    def squares(p):
        return float((((values - 10 * p[0] * np.exp(-p[1] / 1000 * times)) / (error or 1.0)) ** 2).sum())

    least = optimize.minimize(squares, (1.2, 1.0), bounds=((0, None), (0, None)), tol=1e-14).fun
    quantile = stats.norm.ppf(0.975) if known else stats.t.ppf(0.975, 4)
    limit = least + quantile**2 * (1.0 if known else least / 4)
    ends = [
        sign
        * optimize.minimize(
            lambda p, sign=sign: sign * p[0] / (p[1] / 1000 + decay),
            (1.2, 0.5),
            bounds=((0.1, 3), (0, 100)),
            constraints={"type": "ineq", "fun": lambda p: limit - squares(p)},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        ).fun
        for sign in (1, -1)
    ]
    found = transfer(
        times * HOUR, values, imaged="Y-86", given="Y-90",
        standard_error=None if error is None else np.full(6, error),
    )  # fmt: skip
    bounds = found.interval()
    assert found.biological_rate_per_s == 0
    assert (bounds.lower, bounds.upper) == pytest.approx([end * HOUR / 10 for end in ends], rel=1e-3)
    dose = found.interval("local_dose_gy_per_mbq")
    assert dose.lower / found.local_dose_gy_per_mbq == pytest.approx(bounds.lower / found.tiac_s, rel=1e-9)
    half = found.interval("effective_half_life_s")
    assert half.lower < half.upper == pytest.approx(nuclide("Y-90").half_life_s)
    slowest = found.interval("biological_half_life_s")
    assert (1 / slowest.lower + 1 / half.upper) == pytest.approx(1 / half.lower, rel=1e-9)
    assert slowest.upper == math.inf


@pytest.mark.parametrize(("imaged", "given", "times", "half_life_h"), [
    ("Y-86", "Y-90", (1.0, 4, 12, 24, 48, 72), 1000.0), ("Ga-68", "Lu-177", (0.5, 1, 2, 3, 4), 100.0),
])  # fmt: skip
def test_intervals_cover_also_where_clearance_is_hardly_seen(imaged, given, times, half_life_h):
    """A tenth of these curves is at the bound; of all 500, 92 to 98 % of the intervals hold the truth."""
    rng = np.random.default_rng(9)
    hours = np.array(times)
    clean, noise = 12 * 2 ** (-hours / half_life_h), 0.4 if imaged == "Y-86" else 0.2
    truth = transfer(hours * HOUR, clean, imaged=imaged, given=given).tiac_s
    inside = bound = 0
    for _ in range(500):
        found = transfer(hours * HOUR, clean + rng.normal(0, noise, hours.size), imaged=imaged, given=given)
        bounds = found.interval()
        inside += bounds.lower <= truth <= bounds.upper
        bound += bounds.method == "profile"
    assert bound > 25
    assert 0.92 <= inside / 500 <= 0.98


def test_much_extrapolation_is_said_with_its_bounds_and_refused_where_that_is_asked_for():
    """68Ga for 4 h, 177Lu for weeks: T_eff 43.6 h for 60 h of biology, 94 % of the decays come later."""
    times = np.array([0.5, 1.0, 2.0, 4.0])
    values = 12 * 2 ** (-times / 60)
    found = transfer(times * HOUR, values, imaged="68Ga", given="177Lu")
    share = 2 ** (-4 * HOUR / effective_half_life(60 * HOUR, nuclide("Lu-177").half_life_s))
    assert found.extrapolated_fraction == pytest.approx(share, rel=1e-8)
    assert [caution.code for caution in found.warnings] == ["other-element", "mostly-extrapolated"]
    most = 100 * found.most_tiac_s / found.tiac_s
    assert f"between {100 - 100 * share:.0f} %" in found.warnings[1].message
    assert f"and {most:.0f} %" in found.warnings[1].message
    with pytest.raises(IllConditioned, match="after the last image") as caught:
        transfer(times * HOUR, values, imaged="Ga-68", given="Lu-177", most_extrapolated=0.9)
    assert caught.value.found == "94 %"
    accepted = transfer(times * HOUR, values, imaged="Ga-68", given="Lu-177", most_extrapolated=0.95)
    assert accepted.tiac_s == found.tiac_s
    codes = [
        one.code
        for one in transfer(HOURS * HOUR, 12 * 2 ** (-HOURS / 60), imaged="Y-86", given="Y-90").warnings
    ]
    assert codes == ["much-extrapolated"]


def test_two_elements_are_refused_unless_they_are_a_known_pair_or_confirmed():
    values = 12 * 2 ** (-LONG / 20)
    for imaged, given in (("Zr-89", "Lu-177"), ("F-18", "I-131"), ("Y-90", "In-111")):
        with pytest.raises(ImplausibleValue, match="different elements") as caught:
            transfer(LONG * HOUR, values, imaged=imaged, given=given)
        assert "--other-element" in str(caught.value.next_step)
        assert "Ga-68 -> Lu-177, In-111 -> Y-90" in str(caught.value.needed)
    found = transfer(LONG * HOUR, values, imaged="89Zr", given="177Lu", allow_other_element=True)
    assert [caution.code for caution in found.warnings] == ["other-element"]
    for imaged, given in (("Ga-68", "Lu-177"), ("In-111", "Y-90")):
        (caution,) = twins(imaged, given).cautions
        assert caution.code == "other-element"
        assert "come off" in caution.message
    for imaged, given in (("Cu-61", "Cu-67"), ("I-131", "I-124"), ("Sc-44", "Sc-47")):
        assert twins(imaged, given).cautions == ()


def test_what_is_said_of_a_pair_names_biology_label_and_pair():
    codes = [caution.code for caution in twins("Y-86", "Y-90").said()]
    assert codes == ["same-biology", "label-not-carrier", "pair-caveat"]
    assert [c.code for c in twins("In-111", "Y-90").said()] == [
        "same-biology", "label-not-carrier", "other-element",
    ]  # fmt: skip
    assert twins("Cu-61", "Cu-67").decisions()["given_half_life_s"] == nuclide("Cu-67").half_life_s


def test_samples_below_zero_are_said():
    values = np.append(12 * 2 ** (-LONG[:-1] / 5), -0.05)
    found = transfer(LONG * HOUR, values, imaged="Y-86", given="Y-90")
    assert "negative-activity" in [caution.code for caution in found.warnings]


def test_too_few_times_negative_uptake_and_misfits_are_refused():
    with pytest.raises(IllConditioned, match="too few"):
        transfer([0.0, 3600.0], [1.0, 0.5], imaged="Y-86", given="Y-90")
    with pytest.raises(IllConditioned, match="too few") as caught:
        transfer(HOURS[:4] * HOUR, [4, 3, 2, 1], imaged="Y-86", given="Y-90", terms=2)
    assert caught.value.needed == "at least 5"
    with pytest.raises(ImplausibleValue, match="uptake"):
        transfer(HOURS * HOUR, -np.ones(6), imaged="Y-86", given="Y-90")
    with pytest.raises(UnsupportedInput, match="not in the table"):
        transfer(HOURS * HOUR, np.ones(6), imaged="Y-86", given="Y-99")
    for times, values, errors in (
        ([1, 2, 3], [1, 2], None),
        ([1, 2, np.nan], [1, 2, 3], None),
        ([1, 2, 3], [1, np.nan, 3], None),
        ([-1, 2, 3], [3, 2, 1], None),
        ([1, 3, 2], [3, 2, 1], None),
        ([1, 2, 2, 3], [3, 2, 2, 1], None),
        ([1, 2, 3], [3, 2, 1], [1, 1, 0]),
    ):
        with pytest.raises(ValueError, match=r"must|length"):
            transfer(times, values, imaged="Y-86", given="Y-90", standard_error=errors)


@pytest.mark.parametrize(
    "options",
    [
        {"terms": 4},
        {"terms": "many"},
        {"uptake": 3},
        {"calibration_relative": -0.1},
        {"calibration_relative": math.nan},
        {"most_extrapolated": 0.0},
        {"most_extrapolated": 20.0},
        {"weights": np.ones(6), "standard_error": np.ones(6)},
    ],
)
def test_choices_that_do_not_exist_are_refused(options):
    with pytest.raises(ValueError, match=r"must|not both"):
        transfer(HOURS * HOUR, 12 * 2 ** (-HOURS / 60), imaged="Y-86", given="Y-90", **options)


def test_there_are_intervals_of_what_has_one():
    found = transfer(HOURS * HOUR, 12 * 2 ** (-HOURS / 60), imaged="Y-86", given="Y-90")
    with pytest.raises(ValueError, match="no interval of"):
        found.interval("uptake")
    assert it.nuclear.pairs.transfer is transfer
