"""Numba kernels: plain arrays in, plain arrays out."""

from pathlib import Path

from imgtheranostics.kernels.stale_code import forget_stale_code

forget_stale_code(Path(__file__).resolve().parent)
