"""Gold nanorods against the table of the reference sheet (4.1), spheres against another Mie code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.msot import spectra
from imgtheranostics.msot.gold_particles import depolarisation
from imgtheranostics.msot.gold_permittivity import gold_permittivity
from imgtheranostics.msot.mie import absorption_efficiency
from imgtheranostics.msot.unmixing import unmix

MEASURED, MODEL = "johnson-christy-1972", "lorentz-drude-1998"

# aspect ratio, depolarisation, peak nm, C_abs nm2, eps 1/(M cm), mu_a 1/cm per g/L
TABLE = {
    MEASURED: (
        (3, 0.1087, 673, 1250, 3.27e9, 309),
        (3.5, 0.0897, 721, 1880, 4.92e9, 392),
        (4, 0.0754, 771, 2414, 6.31e9, 434),
        (4.5, 0.0645, 820, 2936, 7.68e9, 465),
        (5, 0.0558, 869, 3665, 9.58e9, 518),
    ),
    MODEL: (
        (2, 0.1736, 608, 181, 4.7e8, 72),
        (3, 0.1087, 712.5, 645, 1.69e9, 160),
        (3.5, 0.0897, 766, 1007, 2.63e9, 210),
        (4, 0.0754, 820.5, 1435, 3.75e9, 258),
        (4.5, 0.0645, 875, 1907, 4.99e9, 302),
        (5, 0.0558, 929.5, 2401, 6.28e9, 339),
    ),
}
ROWS = [(permittivity, *row) for permittivity, rows in TABLE.items() for row in rows]


@pytest.mark.parametrize(("permittivity", "ratio", "along", "peak_nm", "area", "molar", "per_g_l"), ROWS)
def test_nanorods_of_the_table(
    permittivity: str, ratio: float, along: float, peak_nm: float, area: float, molar: float, per_g_l: float
) -> None:
    wavelength = np.arange(500.0, 1100.0, 0.5)
    found = spectra.nanorod_cross_section_nm2(ratio, wavelength, permittivity=permittivity)
    top = int(found.argmax())
    assert depolarisation(ratio) == pytest.approx(along, abs=6e-5)
    assert wavelength[top] == pytest.approx(peak_nm, abs=1.0)
    assert found[top] == pytest.approx(area, rel=0.01)
    extinction = spectra.gold_nanorod(ratio, wavelength, permittivity=permittivity)
    assert extinction[top] == pytest.approx(molar, rel=0.01)
    volume = spectra.nanorod_volume_nm3(ratio, 10.0)
    assert spectra.absorption_per_gram_litre(extinction[top], volume) == pytest.approx(per_g_l, rel=0.01)


def test_the_shortest_rod_with_the_measured_table() -> None:
    """The row is where the sheet's search began, at 601 nm, and agrees there; the peak is at 587.5 nm."""
    at = spectra.nanorod_cross_section_nm2(2.0, 601.0, permittivity=MEASURED)
    molar = spectra.gold_nanorod(2.0, 601.0, permittivity=MEASURED)
    assert float(at) == pytest.approx(168.0, rel=0.01)
    assert float(molar) == pytest.approx(4.4e8, rel=0.01)
    volume = spectra.nanorod_volume_nm3(2.0, 10.0)
    assert float(spectra.absorption_per_gram_litre(molar, volume)) == pytest.approx(67.0, rel=0.01)
    wavelength = np.arange(500.0, 1100.0, 0.5)
    found = spectra.nanorod_cross_section_nm2(2.0, wavelength, permittivity=MEASURED)
    above = wavelength >= 601.0
    assert wavelength[above][found[above].argmax()] == 601.0
    assert wavelength[found.argmax()] == 587.5


def test_the_two_permittivities_put_the_peak_7_to_61_nm_apart() -> None:
    """The claim of the sheet from its rows: 601 and 608 nm for 2, 869 and 929.5 nm for 5."""
    wavelength = np.arange(601.0, 1100.0, 0.5)
    apart = [
        np.diff(
            [
                wavelength[spectra.gold_nanorod(ratio, wavelength, permittivity=one).argmax()]
                for one in (MEASURED, MODEL)
            ]
        )[0]
        for ratio in (2.0, 5.0)
    ]
    assert_allclose(apart, [7.0, 60.5], atol=1.0)


@pytest.mark.parametrize("ratio", [3.0, 3.5, 4.0, 4.5, 5.0])
def test_the_rule_of_thumb_lies_between_the_two_permittivities(ratio: float) -> None:
    """Peak at 95 nm times the aspect ratio plus 420 nm (M21, unconfirmed)."""
    wavelength = np.arange(601.0, 1100.0, 0.5)
    measured, model = (
        wavelength[spectra.gold_nanorod(ratio, wavelength, permittivity=one).argmax()]
        for one in (MEASURED, MODEL)
    )
    assert measured < 95.0 * ratio + 420.0 < model


def test_the_default_permittivity_is_the_analytic_one() -> None:
    wavelength = np.array([700.0, 800.0])
    expected = spectra.gold_nanorod(4.0, wavelength, permittivity=MODEL)
    assert spectra.gold_nanorod(4.0, wavelength).tolist() == expected.tolist()
    assert "lorentz-drude-1998" in spectra.component("gold nanorod 4", wavelength).source


def test_the_model_of_1998_equals_its_public_table() -> None:
    """Rows n, k of the same model in the refractive-index database (CC0), printed to five digits."""
    rows = np.array(
        [
            (623.46, 0.32432, 3.0630),
            (687.01, 0.26438, 3.6102),
            (757.02, 0.23618, 4.1753),
            (834.18, 0.22834, 4.7689),
            (919.19, 0.23639, 5.4006),
        ]
    )
    index = np.sqrt(gold_permittivity(rows[:, 0], MODEL))
    assert_allclose(index.real, rows[:, 1], rtol=2e-4)
    assert_allclose(index.imag, rows[:, 2], rtol=2e-4)


def test_the_measured_table_is_met_at_its_rows() -> None:
    index = np.sqrt(gold_permittivity(np.array([704.5, 892.0]), MEASURED))
    assert_allclose(index, [0.13 + 4.103j, 0.17 + 5.663j], rtol=1e-12)


@pytest.mark.parametrize("ratio", [1.0, 1.0003, 1.0006, 1.25, 4.0, 20.0])
def test_depolarisation_is_the_integral_that_defines_it(ratio: float) -> None:
    """Half of a b2 times the integral of ds / ((s + a2)^1.5 (s + b2)) from 0 on, semi-axes a and b = 1."""
    from scipy.integrate import quad

    integral, _ = quad(lambda s: (s + ratio**2) ** -1.5 / (s + 1.0), 0.0, np.inf, epsabs=1e-13)
    assert depolarisation(ratio) == pytest.approx(0.5 * ratio * integral, rel=1e-8)


def test_a_rod_of_aspect_ratio_1_is_a_small_sphere() -> None:
    """The closed Rayleigh limit, C_abs = k Im(alpha) with alpha = 3 V (eps - eps_m) / (eps + 2 eps_m)."""
    wavelength = np.array([520.0, 650.0, 800.0])
    gold, around = gold_permittivity(wavelength, MEASURED), 1.333**2
    volume = np.pi * 4.0**3 / 6.0
    limit = 2 * np.pi * 1.333 / wavelength * 3 * volume * ((gold - around) / (gold + 2 * around)).imag
    rod = spectra.nanorod_cross_section_nm2(1.0, wavelength, diameter_nm=4.0, permittivity=MEASURED)
    sphere = spectra.sphere_cross_section_nm2(4.0, wavelength, permittivity=MEASURED)
    assert_allclose(rod, limit, rtol=1e-12)
    assert_allclose(sphere, limit, rtol=5e-3)


@pytest.mark.parametrize(
    ("size", "index", "efficiency"),
    [
        (0.2, 0.25 + 3.1j, 0.06955819956906424),
        (0.6, 0.4 + 2.4j, 1.5690336233659308),
        (1.5, 0.3 + 4.5j, 0.14537012083186296),
        (3.0, 1.33 + 0.05j, 0.4841958023327071),
        (10.0, 1.5 + 1j, 1.0703367023052903),
    ],
)
def test_mie_absorption_equals_another_code(size: float, index: complex, efficiency: float) -> None:
    """Calculated with miepython 3.3.0, extinction minus scattering."""
    assert float(absorption_efficiency(size, index)) == pytest.approx(efficiency, rel=1e-9)


@pytest.mark.parametrize(
    ("diameter", "expected"),
    [
        (5.0, (6.393675649539, 0.133988962225, 0.075147398233, 0.034949688100)),
        (20.0, (423.5587750497, 8.922888342216, 4.983359854797, 2.314297623150)),
        (50.0, (6584.671556269, 172.3974447345, 93.68792117404, 42.62922471250)),
        (100.0, (20083.33067226, 2422.685134773, 1244.329068420, 510.0888527290)),
    ],
)
def test_gold_spheres_equal_another_code(diameter: float, expected: tuple[float, ...]) -> None:
    """Calculated with miepython 3.3.0 at rows of the table of 1972, in nm2."""
    wavelength = [520.9, 659.5, 704.5, 821.1]
    found = spectra.sphere_cross_section_nm2(diameter, wavelength, permittivity=MEASURED)
    assert_allclose(found, expected, rtol=1e-7)


@given(st.floats(0.01, 15.0), st.floats(0.05, 2.0), st.floats(0.0, 5.0))
def test_a_sphere_neither_makes_light_nor_absorbs_without_loss(size: float, n: float, k: float) -> None:
    efficiency = float(absorption_efficiency(size, complex(n, k)))
    assert efficiency >= -1e-9 * max(size, 1.0)
    if k == 0.0:
        assert abs(efficiency) < 1e-9 * max(size, 1.0)


def test_a_spread_of_shapes_widens_and_lowers_the_peak() -> None:
    """Against the mean over many rods that were drawn one by one."""
    wavelength = np.array([700.0, 760.0, 820.5, 900.0])
    drawn = np.random.default_rng(1).normal(4.0, 0.4, 4000)
    drawn = drawn[(drawn > 2.4) & (drawn < 5.6)]
    each = np.array([spectra.gold_nanorod(ratio, wavelength) for ratio in drawn])
    found = spectra.gold_nanorod(4.0, wavelength, aspect_ratio_sd=0.4)
    error = each.std(axis=0) / np.sqrt(drawn.size)
    assert np.all(np.abs(found - each.mean(axis=0)) < 4.0 * error)
    assert found[2] < 0.75 * float(spectra.gold_nanorod(4.0, 820.5))


def test_absorption_grows_with_the_volume_of_a_rod() -> None:
    small, large = (float(spectra.gold_nanorod(4.0, 820.5, diameter_nm=d)) for d in (10.0, 20.0))
    assert large / small == pytest.approx(8.0, rel=1e-12)


def test_one_gram_per_litre_of_the_rods_of_the_sheet() -> None:
    """2880 nm3 per rod, 1.80e13 rods per cm3, 434 per cm."""
    volume = spectra.nanorod_volume_nm3(4.0, 10.0)
    assert volume == pytest.approx(2880.0, rel=1e-3)
    area_cm2 = 1e-14 * float(spectra.nanorod_cross_section_nm2(4.0, 771.0, permittivity=MEASURED))
    rods_per_cm3 = 1e-3 / (19.3 * volume * 1e-21)
    assert rods_per_cm3 == pytest.approx(1.80e13, rel=2e-3)
    assert rods_per_cm3 * area_cm2 == pytest.approx(434.0, rel=2e-3)


def test_above_650_nm_a_sphere_is_not_detected_and_a_rod_of_the_same_gold_is() -> None:
    """0.1 nmol/L of particles of one volume; noise of 5 % of the rods' peak at each of 31 wavelengths."""
    wavelength = np.linspace(680.0, 980.0, 31)
    diameter = (6.0 * spectra.nanorod_volume_nm3(4.0, 10.0) / np.pi) ** (1.0 / 3.0)
    rod = spectra.gold_nanorod(4.0, wavelength)
    sphere = spectra.gold_sphere(diameter, wavelength)
    concentration = 1e-10
    noise = 0.05 * concentration * float(rod.max())
    for column, seen in ((rod, True), (sphere, False)):
        fit = unmix(column * concentration, wavelength, {"gold": column}, noise_sd=noise)
        ratio = float(fit.parameters["gold"] / fit.standard_errors["gold"])
        assert (ratio > 30.0) if seen else (ratio < 3.0)


@pytest.mark.parametrize(
    "options",
    [{"aspect_ratio": 0.5}, {"aspect_ratio": 25.0}, {"diameter_nm": 0.0}, {"medium_index": 0.5},
     {"aspect_ratio_sd": -0.1}, {"aspect_ratio_sd": 3.0}, {"permittivity": "drude"}],
)  # fmt: skip
def test_shapes_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    arguments = {"aspect_ratio": 4.0, **options}
    ratio = arguments.pop("aspect_ratio")
    with pytest.raises(ValueError, match=r"ratio|diameter|index|permittivity"):
        spectra.gold_nanorod(ratio, 800.0, **arguments)  # type: ignore[arg-type]


def test_a_sphere_of_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match="diameter"):
        spectra.gold_sphere(0.0, 800.0)


def test_wavelengths_beyond_the_permittivity_are_refused() -> None:
    with pytest.raises(UnsupportedInput, match="1972"):
        spectra.gold_nanorod(4.0, [800.0, 2000.0], permittivity=MEASURED)
    assert np.isfinite(spectra.gold_nanorod(4.0, 2000.0))
