"""Absorbed dose as the convolution of time-integrated activity with a voxel kernel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

GY_PER_MGY = 1e-3

_BLOCK_BYTES = 1 << 19
"""Of the spectrum, that a thread works on at once."""


def convolve(
    tia_mbq_s: npt.ArrayLike,
    kernel: npt.ArrayLike,
    *,
    workers: int | None = None,
    missing: str = "spread",
) -> FloatArray:
    """Absorbed dose from time-integrated activity per voxel and voxel S-values, Gy.

    The activity outside the array is zero. Transforms are in float32: what rounding adds anywhere is below a
    millionth of the highest dose, and never makes a dose negative where neither activity nor kernel is.

    Parameters
    ----------
    tia_mbq_s : array_like, shape (i, j, k)
        Decays per voxel, MBq s.
    kernel : array_like, shape (odd, odd, odd)
        mGy/(MBq s) by offset from the source, its own voxel in the middle; see `voxel_s`.
    workers : int, optional
        Threads of the transforms, all without it; the result does not depend on it.
    missing : str
        Where the activity is not known (NaN): ``spread`` gives no dose wherever the kernel reaches from
        there, as a sum over the voxels would; ``zero`` counts it as none, and only that voxel has no dose.

    Returns
    -------
    ndarray, shape (i, j, k), float32
        NaN where the dose is not known.

    Raises
    ------
    ValueError
        If an array has not three dimensions, the kernel has no middle or is not finite, or `missing` is
        another word.
    """
    tia, table = np.asarray(tia_mbq_s), np.asarray(kernel)
    if tia.ndim != 3 or table.ndim != 3:
        raise ValueError(
            f"three dimensions are needed, not {tia.ndim} of activity and {table.ndim} of kernel"
        )
    if any(n % 2 == 0 for n in table.shape):
        raise ValueError(f"the kernel has no middle voxel: its shape is {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("the kernel is not finite")
    if missing not in ("spread", "zero"):
        raise ValueError(f"missing must be 'spread' or 'zero', not {missing!r}")
    if tia.size == 0:
        return np.zeros(tia.shape, np.float32)
    if tia.flags.f_contiguous and not tia.flags.c_contiguous:
        return convolve(tia.T, table.T, workers=workers, missing=missing).T
    values = np.asarray(tia, np.float32)
    finite = np.isfinite(values)
    unknown = None if finite.all() else ~finite
    del finite
    if unknown is not None:
        values = np.where(unknown, np.float32(0.0), values)
    peak = max(float(values.max()), -float(values.min()))
    # Products of very small or very large numbers leave the range of float32 within the transforms.
    highest = float(np.abs(table).max()) * GY_PER_MGY
    if peak == 0.0 or highest == 0.0:
        dose = np.zeros(tia.shape, np.float32)
    else:
        scaled = np.asarray(table * (GY_PER_MGY / highest), np.float32)
        dose = _same_size(values, np.float32(1.0 / peak), scaled, workers)
        dose *= np.float32(peak * highest)
        if values.min() >= 0 and scaled.min() >= 0:
            np.maximum(dose, 0.0, out=dose)
    if unknown is not None:
        dose[_reached(unknown, table.shape) if missing == "spread" else unknown] = np.nan
    return dose


def _same_size(values: FloatArray, factor: np.float32, kernel: FloatArray, workers: int | None) -> FloatArray:
    """The middle part of the full convolution of values times a factor.

    Padding by half the kernel is enough: what is folded back lands outside the part that is kept. Axis by
    axis, so that rows of zeros and rows that are cut off afterwards are not transformed; and in blocks, so
    that but one spectrum is held, not padded along the first axis.
    """
    from scipy.fft import fft, ifft, irfft, next_fast_len, rfft

    from imgtheranostics.kernels.threads import SMALLEST_CHUNK, run_chunks

    # A kernel larger than the volume never reaches across it with its outermost voxels.
    kernel, half = _cut(kernel, values.shape)
    length = [
        next_fast_len(n + h, real=axis == 2)
        for axis, (n, h) in enumerate(zip(values.shape, half, strict=True))
    ]
    kept = [slice(h, h + n) for h, n in zip(half, values.shape, strict=True)]
    spectrum = np.empty((values.shape[0], length[1], length[2] // 2 + 1), np.complex64)
    own = fft(rfft(kernel, length[2], axis=2), length[1], axis=1, overwrite_x=True)
    dose = np.empty(values.shape, np.float32)

    def forward(first: int, last: int) -> None:
        rows = rfft(values[first:last] * factor, length[2], axis=2)
        spectrum[first:last] = fft(rows, length[1], axis=1, overwrite_x=True)

    def across(first: int, last: int) -> None:
        product = fft(spectrum[:, first:last], length[0], axis=0)
        product *= fft(own[:, first:last], length[0], axis=0)
        spectrum[:, first:last] = ifft(product, axis=0, overwrite_x=True)[kept[0]]

    def back(first: int, last: int) -> None:
        rows = ifft(spectrum[first:last], axis=1)[:, kept[1]]
        dose[first:last] = irfft(rows, length[2], axis=2)[:, :, kept[2]]

    for step, count, size in (
        (forward, values.shape[0], length[1]),
        (across, length[1], length[0]),
        (back, values.shape[0], length[1]),
    ):
        chunk = _BLOCK_BYTES // (spectrum.itemsize * size * spectrum.shape[2])
        run_chunks(step, count, int(np.clip(chunk, 1, SMALLEST_CHUNK)), workers)
    return dose


def _cut(kernel: FloatArray, shape: tuple[int, ...]) -> tuple[FloatArray, list[int]]:
    """What of the kernel reaches from one voxel of the volume to another, and its half widths."""
    half = [min(m // 2, n - 1) for m, n in zip(kernel.shape, shape, strict=True)]
    parts = tuple(slice(m // 2 - h, m // 2 + h + 1) for m, h in zip(kernel.shape, half, strict=True))
    return kernel[parts], half


def _reached(unknown: npt.NDArray[np.bool_], kernel_shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Voxels within the kernel's box around any of those given."""
    from scipy.ndimage import maximum_filter1d

    found = unknown.astype(np.uint8)
    for axis, size in enumerate(kernel_shape):
        found = maximum_filter1d(found, size, axis=axis, mode="constant")
    return found.astype(bool)
