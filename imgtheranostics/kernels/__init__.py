"""Numba kernels: plain arrays in, plain arrays out."""

import os
import sys
from importlib import import_module


def _import_numba_without_blas() -> None:
    """Keep Numba from importing SciPy's linear algebra, which no kernel calls; only in the console script.

    That import is a tenth of the time of a short command. Numba looks for it once, and would miss it only for
    the convolution of float arrays.
    """
    name = "scipy.linalg.cython_blas"
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        import_module("numba.np.arraymath")
    finally:
        del sys.modules[name]


if "IMGTHERANOSTICS_OWN_PROCESS" in os.environ and not {"numba", "scipy.linalg"} & sys.modules.keys():
    _import_numba_without_blas()
