"""The warm-up of the kernels of Z-spectra compiles what the functions call, and nothing else is later."""

from __future__ import annotations

import numpy as np

from imgtheranostics.cest import zspectrum
from imgtheranostics.cest.contrast import mtr_asym
from imgtheranostics.cest.z_spline import asymmetry
from imgtheranostics.kernels import warmup, water_lorentzian, water_symmetry, z_spectra


def test_functions_meet_what_the_warm_up_compiled(rng):
    kernels = (z_spectra.measure_spectra, water_lorentzian.fit_lorentzians, water_symmetry.find_axes)
    groups = dict(warmup.compile_all())
    groups["saturation spectra"]()
    groups["position of water"]()
    compiled = [list(kernel.signatures) for kernel in kernels]
    offsets = np.linspace(-5, 5, 31)
    dip = 1 - 0.9 / (1 + offsets**2)
    for dtype in (np.float32, np.float64):
        z = np.asfortranarray((dip + 0.01 * rng.standard_normal((2, 3, 31))).astype(dtype))
        z.setflags(write=False)
        for spectra in (z, z[0, 0]):
            mask = np.ones(spectra.shape[:-1], bool)
            found = zspectrum.b0_minimum(spectra, offsets, mask=mask)
            zspectrum.b0_symmetry(spectra, offsets, noise_sd=0.01)
            zspectrum.b0_lorentzian(spectra, list(offsets), tilt=False)
            zspectrum.noise_sd(spectra, offsets)
            mtr_asym(spectra, offsets, at_ppm=2, b0_ppm=found.parameters["b0_ppm"])
            asymmetry(spectra, offsets[::-1], [1, 2])
    assert [list(kernel.signatures) for kernel in kernels] == compiled
