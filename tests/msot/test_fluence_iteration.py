"""Light from the image itself, in bodies whose light is known in closed form or by another solver."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from imgtheranostics.errors import IllConditioned, MissingMetadata, UnsupportedInput
from imgtheranostics.msot import fluence, spectra
from imgtheranostics.msot.body_depth import depth_from_mask
from imgtheranostics.msot.fixed_point import FixedPoint
from imgtheranostics.msot.fluence_iteration import iterative
from imgtheranostics.msot.light_diffusion import Cells
from imgtheranostics.volume import Axis, Volume

NM = np.array([700.0, 730.0, 750.0, 760.0, 800.0, 820.0, 850.0, 880.0])
BLOOD = ("HbO2", "Hb", "ICG")
SPACING = (0.5, 0.25, 0.5)
FloatArray = npt.NDArray[np.float64]


def columns() -> FloatArray:
    return np.stack([spectra.component(name, NM).natural for name in BLOOD], axis=1)


def block(shape: tuple[int, int, int] = (4, 80, 4)) -> Volume:
    return Volume(np.ones(shape, np.int32), np.diag([*SPACING, 1.0]), "labels", "1")


def signal(data: FloatArray) -> Volume:
    axis = Axis("wavelength", NM, "nm")
    return Volume(data, np.diag([*SPACING, 1.0]), "optoacoustic_signal", "[arb'U]", axes=(axis,))


def two_layers(depth_mm: FloatArray, upper: float, lower: float, at_mm: float, mu_s: float) -> FloatArray:
    """Closed form of diffusion in a layer over another that goes on: fluence and flow are continuous."""
    z, h = 0.1 * depth_mm, 0.1 * at_mm
    m1, m2 = (float(np.sqrt(3 * a * (a + mu_s))) for a in (upper, lower))
    d1, d2 = (1.0 / (3.0 * (a + mu_s)) for a in (upper, lower))
    ratio = (d1 * m1 - d2 * m2) / (d1 * m1 + d2 * m2) * np.exp(-2.0 * m1 * h)
    above = (np.exp(-m1 * z) + ratio * np.exp(m1 * z)) / (1.0 + ratio)
    edge = (np.exp(-m1 * h) + ratio * np.exp(m1 * h)) / (1.0 + ratio)
    return np.where(z < h, above, edge * np.exp(-m2 * (z - h)))


def made_image(
    upper: FloatArray, lower: FloatArray, *, gain: float = 1.0
) -> tuple[Volume, Volume, FloatArray]:
    """Image, body and absorption of 5 mm over 15 mm, lit from the front."""
    mask = block()
    depth = depth_from_mask(mask, illumination="anterior").data.astype(float)
    mu_s = fluence.reduced_scattering(NM)
    absorption = np.where(depth[..., np.newaxis] < 5.0, columns() @ upper, columns() @ lower)
    light = np.stack(
        [
            two_layers(depth, float(columns()[n] @ upper), float(columns()[n] @ lower), 5.0, float(mu_s[n]))
            for n in range(NM.size)
        ],
        axis=-1,
    )
    return signal(gain * absorption * light), mask, absorption


def saturation(spectrum: FloatArray) -> tuple[float, FloatArray]:
    amounts, *_ = np.linalg.lstsq(columns(), spectrum, rcond=None)
    return float(amounts[0] / (amounts[0] + amounts[1])), amounts


def cells_of(mask: Volume, illumination: str, cell_mm: float) -> Cells:
    depth = depth_from_mask(mask, illumination=illumination).data.astype(float)
    inside = mask.data != 0
    return Cells.of(inside, depth, mask.grid, illumination=illumination, cell_mm=cell_mm)


def test_light_in_cells_is_that_of_a_slab() -> None:
    cells = cells_of(block((4, 160, 4)), "anterior", 0.25)
    found = cells.light(np.full(cells.n, 0.2), 10.0)
    np.testing.assert_allclose(np.log(found), np.log(fluence.slab(cells.depth_mm, 0.2, 10.0)), atol=0.01)


def test_light_in_cells_is_that_of_two_layers() -> None:
    cells = cells_of(block((4, 160, 4)), "anterior", 0.25)
    mu_a = np.where(cells.depth_mm < 5.0, 0.1, 0.5)
    found = cells.light(mu_a, 10.0)
    expected = two_layers(cells.depth_mm, 0.1, 0.5, 5.0, 10.0)
    bright = expected > 1e-3
    assert bright.sum() > 0.4 * cells.n
    np.testing.assert_allclose(np.log(found[bright]), np.log(expected[bright]), atol=0.02)


def test_light_in_cells_is_that_of_a_cylinder() -> None:
    x = 0.25 * (np.arange(71) - 35)
    r = np.hypot(*np.meshgrid(x, x, indexing="ij"))
    inside = np.repeat((r <= 8.0)[..., np.newaxis], 2, axis=2).astype(np.int32)
    disc = Volume(inside, np.diag([0.25, 0.25, 1.0, 1.0]), "labels", "1")
    cells = cells_of(disc, "around", 0.25)
    found = cells.on_voxels(np.log(cells.light(np.full(cells.n, 0.2), 10.0)))[..., 0]
    expected = np.log(fluence.cylinder(np.minimum(r, 8.0), 8.0, 0.2, 10.0))
    np.testing.assert_allclose(found[r < 7.5], expected[r < 7.5], atol=0.05)


def test_what_an_even_body_shows_gives_its_light_and_absorption_back() -> None:
    """15 mm deep, sO2 is 0.70 again, and without the correction it is not."""
    amounts = np.array([70e-6, 30e-6, 0.0])
    image, mask, absorption = made_image(amounts, amounts, gain=0.15)
    found = iterative(
        image, mask, BLOOD, calibration=0.15, illumination="anterior", model="slab", tolerance=1e-6
    )
    assert found.converged
    np.testing.assert_allclose(found.volume.data, absorption, rtol=1e-4)
    np.testing.assert_allclose(found.absorption_per_cm, columns() @ amounts, rtol=1e-4)
    assert (found.volume.quantity, found.volume.unit) == ("optical_absorption", "1/cm")
    deep = int(np.argmin(np.abs(0.25 * (79.5 - np.arange(80)) - 15.0)))
    assert abs(saturation(image.data[2, deep, 2].astype(float))[0] - 0.7) > 0.02
    assert saturation(found.volume.data[2, deep, 2].astype(float))[0] == pytest.approx(0.7, abs=1e-3)


@pytest.mark.parametrize("scale", [{"calibration": 0.15}, {"thb_umol_l": 80.0}])
def test_what_two_layers_show_gives_their_light_and_absorption_back(scale: dict[str, float]) -> None:
    """20 umol/L at 0.80 over 100 umol/L at 0.60 with ICG; four fifths of the body are of the second."""
    upper, lower = np.array([16e-6, 4e-6, 0.0]), np.array([60e-6, 40e-6, 0.5e-6])
    image, mask, absorption = made_image(upper, lower, gain=0.15)
    found = iterative(image, mask, BLOOD, **scale, illumination="anterior", cell_mm=0.25)  # type: ignore[arg-type]
    assert found.signal_per_absorption == pytest.approx(0.15, rel=0.03)
    raw = found.volume.data.astype(float)
    spectrum = raw / (1.0 if "calibration" in scale else found.signal_per_absorption)
    for place, amounts in ((70, upper), (40, lower), (20, lower)):
        so2, estimates = saturation(spectrum[2, place, 2])
        assert so2 == pytest.approx(amounts[0] / (amounts[0] + amounts[1]), abs=0.01)
        assert estimates[0] == pytest.approx(amounts[0], rel=0.05)
    assert saturation(image.data[2, 20, 2].astype(float))[0] != pytest.approx(0.6, abs=0.02)
    assert np.abs(spectrum / absorption - 1.0)[1:-1, 4:, 1:-1].max() < 0.15


def test_a_background_of_water_is_taken_into_account() -> None:
    amounts = np.array([70e-6, 30e-6, 0.0])
    mask = block()
    depth = depth_from_mask(mask, illumination="anterior")
    water = 0.75 * spectra.absorption("water", NM)
    mu_a = columns() @ amounts + water
    image = signal(3.0 * fluence.fluence_map(depth, NM, mu_a=mu_a).data * mu_a)
    for scale in ({"calibration": 3.0}, {"thb_umol_l": 100.0}):
        found = iterative(
            image, mask, BLOOD, **scale, background={"water": 0.75}, illumination="anterior",  # type: ignore[arg-type]
            model="slab", tolerance=1e-6,
        )  # fmt: skip
        np.testing.assert_allclose(found.absorption_per_cm, mu_a, rtol=1e-3)
        assert found.signal_per_absorption == pytest.approx(3.0, rel=1e-3)


def test_stated_haemoglobin_is_told_and_the_result_stays_proportional() -> None:
    amounts = np.array([70e-6, 30e-6, 0.0])
    image, mask, _ = made_image(amounts, amounts)
    found = iterative(image, mask, BLOOD, thb_umol_l=100.0, illumination="anterior", model="slab")
    assert (found.volume.quantity, found.volume.unit) == ("optoacoustic_signal", "[arb'U]")
    assert {"stated-haemoglobin", "fluence-model"} <= {caution.code for caution in found.cautions}
    assert {step.name for step in found.volume.history} >= {"iterative_fluence", "fluence_correction"}


def test_an_error_of_the_calibration_grows_where_light_is_weak_and_this_is_told() -> None:
    """A body of 20 mm; its first 3 mm alone are bright."""
    amounts = np.array([70e-6, 30e-6, 0.0])
    image, mask, absorption = made_image(amounts, amounts)
    options = {"illumination": "anterior", "cell_mm": 0.5}
    found = iterative(image, mask, BLOOD, calibration=0.95, **options)  # type: ignore[arg-type]
    assert "weak-light" in {caution.code for caution in found.cautions}
    error = found.volume.data[2, :, 2, 0] / absorption[2, :, 2, 0] - 1.0
    assert abs(error[20]) > 2.0 * abs(error[78])
    shallow = np.zeros(mask.grid.shape, np.int32)
    shallow[:, 68:] = 1
    body = Volume(shallow, mask.affine, "labels", "1")
    found = iterative(image, body, BLOOD, calibration=1.0, **options)  # type: ignore[arg-type]
    assert "weak-light" not in {caution.code for caution in found.cautions}


def test_wavelengths_in_another_order_give_the_same_light() -> None:
    upper, lower = np.array([16e-6, 4e-6, 0.0]), np.array([60e-6, 40e-6, 0.5e-6])
    image, mask, _ = made_image(upper, lower)
    order = np.array([5, 0, 7, 2, 1, 6, 3, 4])
    shuffled = image.replace(data=image.data[..., order], axes=(Axis("wavelength", NM[order], "nm"),))
    options = {"calibration": 1.0, "illumination": "anterior", "cell_mm": 1.0}
    one = iterative(image, mask, BLOOD, **options)  # type: ignore[arg-type]
    other = iterative(shuffled, mask, BLOOD, **options)  # type: ignore[arg-type]
    np.testing.assert_allclose(other.fluence.data, one.fluence.data[..., order], rtol=1e-4)


def test_noise_grows_as_light_fails() -> None:
    amounts = np.array([70e-6, 30e-6, 0.0])
    image, mask, _ = made_image(amounts, amounts)
    found = iterative(image, mask, BLOOD, calibration=2.0, illumination="anterior", model="slab")
    noise = found.noise_sd(0.1)
    np.testing.assert_allclose(noise[1, 1, 1], 0.1 / (2.0 * found.fluence.data[1, 1, 1]), rtol=1e-6)


def test_a_cylinder_is_lit_from_all_around() -> None:
    x = 0.25 * (np.arange(71) - 35)
    r = np.hypot(*np.meshgrid(x, x, indexing="ij"))
    disc = Volume((r <= 8.0)[..., np.newaxis].astype(np.int32), np.diag([0.25, 0.25, 1, 1]), "labels", "1")
    mu_a = columns() @ [35e-6, 15e-6, 0.0]
    light = fluence.cylinder(np.minimum(r, 8.0)[..., np.newaxis], 8.0, mu_a, fluence.reduced_scattering(NM))
    data = np.where((r <= 8.0)[..., np.newaxis], light * mu_a, 0.0)[:, :, np.newaxis]
    image = Volume(data, disc.affine, "optoacoustic_signal", "[arb'U]", axes=(Axis("wavelength", NM, "nm"),))
    for model, tolerance in (("cylinder", 0.03), ("diffusion", 0.12)):
        found = iterative(image, disc, BLOOD, calibration=1.0, model=model, cell_mm=0.5)
        middle = found.volume.data[35, 35, 0].astype(float)
        assert saturation(middle)[0] == pytest.approx(0.7, abs=0.01)
        np.testing.assert_allclose(middle, mu_a, rtol=tolerance)


def test_absolute_absorption_is_needed() -> None:
    amounts = np.array([70e-6, 30e-6, 0.0])
    image, mask, _ = made_image(amounts, amounts)
    for given in ({}, {"calibration": 1.0, "thb_umol_l": 100.0}):
        with pytest.raises(MissingMetadata, match="thb_umol_l"):
            iterative(image, mask, BLOOD, **given, illumination="anterior")  # type: ignore[arg-type]


def test_light_that_does_not_settle_is_refused() -> None:
    amounts = np.array([70e-6, 30e-6, 0.0])
    image, mask, _ = made_image(amounts, amounts)
    with pytest.raises(IllConditioned, match="did not settle") as refusal:
        iterative(image, mask, BLOOD, calibration=1.0, illumination="anterior", max_iterations=2)
    assert "after 2 iterations" in (refusal.value.found or "")


def test_an_image_without_blood_has_no_scale_from_it() -> None:
    mask = block()
    image = signal(np.full((*mask.grid.shape, NM.size), -1.0))
    with pytest.raises(IllConditioned, match="no haemoglobin"):
        iterative(image, mask, BLOOD, thb_umol_l=100.0, illumination="anterior")
    with pytest.raises(ValueError, match="needs Hb"):
        iterative(image, mask, ["ICG"], thb_umol_l=100.0, illumination="anterior")


def test_a_corrected_image_and_vain_options_are_refused() -> None:
    amounts = np.array([70e-6, 30e-6, 0.0])
    image, mask, _ = made_image(amounts, amounts)
    found = iterative(image, mask, BLOOD, thb_umol_l=100.0, illumination="anterior", model="slab")
    with pytest.raises(UnsupportedInput, match="already"):
        iterative(found.volume, mask, BLOOD, thb_umol_l=100.0, illumination="anterior")
    with pytest.raises(ValueError, match="cylinder"):
        iterative(image, mask, BLOOD, calibration=1.0, illumination="anterior", model="cylinder")
    with pytest.raises(ValueError, match="tolerance"):
        iterative(image, mask, BLOOD, calibration=1.0, tolerance=0.0)
    with pytest.raises(ValueError, match="model"):
        iterative(image, mask, BLOOD, calibration=1.0, model="magic")


def test_mixed_steps_reach_a_fixed_point_faster_than_repetition() -> None:
    """Of x = A x + b with eigenvalues up to 0.95: the answer is solve(1 - A, b)."""
    slopes = np.linspace(0.0, 0.95, 30)
    answer = 1.0 / (1.0 - slopes)
    path, mixed, repeated = FixedPoint(), np.zeros(30), np.zeros(30)
    for _ in range(40):
        mixed = path.next(mixed, slopes * mixed + 1.0)
        repeated = slopes * repeated + 1.0
    assert np.abs(mixed - answer).max() < 0.05 * np.abs(repeated - answer).max()
