"""Sharpening of an image by its point spread alone: Richardson-Lucy and Van Cittert.

Without regions noise grows with every iteration, and edges ring: few iterations, and means over regions.

References
----------
.. [1] Richardson WH, J Opt Soc Am 1972;62:55-59. Lucy LB, Astron J 1974;79:745-754.
.. [2] van Cittert PH, Z Phys 1931;69:298-308. Reblurred: Tohka J, Reilhac A, NeuroImage 2008;39:1570-1584.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.nuclear.point_spread import Float32Array, PointSpread, Width
from imgtheranostics.nuclear.transfer_matrix import missing_caution
from imgtheranostics.volume import Estimate, Flag, Step, Volume, make_step

BoolArray = npt.NDArray[np.bool_]

LARGEST_STEP = 2.0
"""From it on Van Cittert diverges."""

_FREQUENCIES = 33
_TINY = np.float32(1e-12)


def richardson_lucy(volume: Volume | Estimate, *, psf_fwhm_mm: Width, iterations: int = 10) -> Estimate:
    """Deconvolution that keeps the total, for counts: multiplied by the blurred ratio of image to model.

    A frame with negative values is lifted by the lowest of them before and lowered by it afterwards, which a
    blur that keeps uniform images allows; they stay negative, and convergence is slower.

    Parameters
    ----------
    volume : Volume or Estimate
        Any quantity; frames are worked on one by one. Voxels that are not finite say nothing about their
        surroundings, and stay unknown.
    psf_fwhm_mm : float or 3 floats
        Full width at half maximum of the image's resolution along its voxel axes.
    iterations : int

    Returns
    -------
    Estimate
        Of the quantity of the image. The standard error is NaN: it is not propagated through a method that
        is not linear.

    Raises
    ------
    ValueError
        If a width is not positive, or there is no iteration.
    ImgTheranosticsError
        As `PointSpread.of`.
    """
    spread = _checked(volume, psf_fwhm_mm, iterations)
    lifted: list[float] = []

    def sharpened(image: Float32Array, known: BoolArray) -> Float32Array:
        lift = np.float32(max(0.0, -float(image.min(initial=0.0))))
        lifted.append(float(lift))
        image = np.where(known, image + lift, np.float32(0.0))
        peak = float(image.max(initial=0.0))
        if peak == 0.0:
            return image - lift
        # Unknown voxels take no part: the ratio is averaged over those that are known.
        weight = None if known.all() else np.maximum(spread.blur(known.astype(np.float32)), _TINY)
        model = np.full(image.shape, image[known].mean(dtype=np.float64), np.float32, order="F")
        least = np.float32(peak) * _TINY
        for _ in range(iterations):
            ratio = spread.blur(image / np.maximum(spread.blur(model), least))
            model *= ratio if weight is None else ratio / weight
        return np.asarray(model - lift, np.float32)

    step = make_step("richardson_lucy", psf_fwhm_mm=list(spread.fwhm_mm), iterations=iterations)
    rules = {"method": {"rule": "Richardson-Lucy", "iterations": iterations, "start": "uniform"}}
    result = _frame_by_frame(volume, spread, sharpened, step, rules, None)
    return _with_rule(result, "negative_values", {"rule": "lifted by the lowest of the frame", "by": lifted})


def van_cittert(
    volume: Volume | Estimate,
    *,
    psf_fwhm_mm: Width,
    iterations: int = 10,
    step: float = 1.5,
    reblurred: bool = True,
) -> Estimate:
    """Linear deconvolution: what the blurred model lacks of the image is added to it, from the image on.

    Parameters
    ----------
    volume : Volume or Estimate
        Any quantity; frames are worked on one by one. Negative values are as good as others. Voxels that are
        not finite say nothing about their surroundings, and stay unknown.
    psf_fwhm_mm : float or 3 floats
        Full width at half maximum of the image's resolution along its voxel axes.
    iterations : int
    step : float
        Share of the difference that is added, above 0 and below 2.
    reblurred : bool
        The difference is blurred before it is added, which spares the highest frequencies, where noise is.

    Returns
    -------
    Estimate
        Of the quantity of the image. The standard error is that of an Estimate times the growth of noise that
        is correlated as the resolution; NaN for a Volume.

    Raises
    ------
    ValueError
        If a width is not positive, the step is not between 0 and 2, or there is no iteration.
    ImgTheranosticsError
        As `PointSpread.of`.
    """
    if not 0 < step < LARGEST_STEP:
        raise ValueError(f"step must lie between 0 and {LARGEST_STEP:g}, not {step!r}")
    spread = _checked(volume, psf_fwhm_mm, iterations)

    def sharpened(image: Float32Array, known: BoolArray) -> Float32Array:
        start = image[known].mean(dtype=np.float64) if not known.all() else 0.0
        model = np.where(known, image, np.float32(start))
        for _ in range(iterations):
            rest = np.where(known, image - spread.blur(model), np.float32(0.0))
            model += np.float32(step) * (spread.blur(rest) if reblurred else rest)
        return np.asarray(model, np.float32)

    growth = noise_growth(spread, iterations, step, reblurred)
    done = make_step(
        "van_cittert",
        psf_fwhm_mm=list(spread.fwhm_mm),
        iterations=iterations,
        step=step,
        reblurred=reblurred,
    )
    rules = {
        "method": {"rule": "Van Cittert", "iterations": iterations, "step": step, "reblurred": reblurred},
        "noise": {"rule": "correlated as the resolution", "growth": growth},
    }
    return _frame_by_frame(volume, spread, sharpened, done, rules, growth)


def noise_growth(spread: PointSpread, iterations: int, step: float, reblurred: bool) -> float:
    """Standard deviation of noise after Van Cittert over that before; the noise has the blur of the image.

    After n iterations from the image on, a wave that the blur leaves the share g of is multiplied by
    (1 - r^n) / g + r^n, where r = 1 - step g, or 1 - step g^2 when reblurred.
    """
    angle = np.linspace(0.0, np.pi, _FREQUENCIES)
    shares = [
        kernel[kernel.size // 2]
        + 2 * sum(kernel[kernel.size // 2 + m] * np.cos(m * angle) for m in range(1, kernel.size // 2 + 1))
        for kernel in spread.kernels
    ]
    weights = [np.where((angle == 0) | (angle == np.pi), 0.5, 1.0) for _ in range(3)]
    g = np.einsum("i,j,k->ijk", *shares)
    weight = np.einsum("i,j,k->ijk", *weights) * g**2
    left = (1 - step * (g**2 if reblurred else g)) ** iterations
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(np.abs(g) > 1e-9, (1 - left) / g + left, 1.0)
    return float(np.sqrt(np.sum(weight * gain**2) / np.sum(weight)))


def _checked(volume: Volume | Estimate, psf_fwhm_mm: Width, iterations: int) -> PointSpread:
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, not {iterations}")
    return PointSpread.of(volume.value if isinstance(volume, Estimate) else volume, psf_fwhm_mm)


def _frame_by_frame(
    volume: Volume | Estimate,
    spread: PointSpread,
    sharpened: Callable[[Float32Array, BoolArray], Float32Array],
    step: Step,
    rules: dict[str, Any],
    growth: float | None,
) -> Estimate:
    v = volume.value if isinstance(volume, Estimate) else volume
    out = np.empty(v.shape, np.float32, order="F")
    flags = np.zeros(v.shape, np.uint16, order="F")
    for index in np.ndindex(v.shape[3:]):
        frame = (slice(None), slice(None), slice(None), *index)
        image = np.asarray(v.data[frame], np.float32)
        known = np.isfinite(image)
        found = sharpened(np.where(known, image, np.float32(0.0)), known) if known.any() else image
        out[frame] = np.where(known, found, np.float32(np.nan))
        flags[frame] = np.where(known, 0, Flag.INVALID_INPUT.value)
    result = v.derived(out, v.quantity, v.unit, step).with_warnings(*missing_caution(v))
    plain = result.replace(warnings=())
    error = np.full(v.shape, np.nan, np.float32, order="F")
    calibration = 0.0
    if isinstance(volume, Estimate):
        calibration = volume.calibration_relative
        flags |= volume.flags.data
        if growth is not None:
            shared = calibration * np.abs(v.data)
            noise = np.sqrt(np.maximum(volume.standard_error.data**2 - shared**2, 0.0))
            error = np.hypot(noise * growth, calibration * np.abs(out))
    return Estimate(
        result,
        plain.replace(data=error),
        plain.replace(data=flags, quantity="flags", unit="1"),
        calibration,
        {"psf": spread.decision(), **rules},
    )


def _with_rule(estimate: Estimate, name: str, rule: dict[str, Any]) -> Estimate:
    return Estimate(
        estimate.value,
        estimate.standard_error,
        estimate.flags,
        estimate.calibration_relative,
        {**estimate.decisions, name: rule},
    )
