"""The warm-up of the relaxation kernels compiles what the fits call, and nothing else is compiled later."""

from __future__ import annotations

import numpy as np

from imgtheranostics.kernels import inversion_recovery, vfa, vfa_voxel, warmup
from imgtheranostics.mri.relaxometry import fit_inversion_recovery, fit_saturation_recovery, fit_vfa


def test_fits_meet_what_the_warm_up_compiled(rng):
    kernels = (vfa.fit_planes, vfa_voxel.fit_exactly, inversion_recovery.fit_recovery)
    groups = dict(warmup.compile_all())
    groups["flip angles"]()
    groups["recovery curves"]()
    compiled = [list(kernel.signatures) for kernel in kernels]
    for dtype in (np.float32, np.float64):
        signal = np.asfortranarray(rng.uniform(1, 2, (2, 3, 4, 5)).astype(dtype))
        signal.setflags(write=False)
        b1 = np.ones((2, 3, 4), np.float32)
        b1.setflags(write=False)
        for shape in (signal, signal[0], signal[0, 0, 0]):
            field = b1 if shape is signal else 1.1
            fit_vfa(shape, [2, 5, 10, 15, 20], 0.01, b1=field, mask=np.ones(shape.shape[:-1], bool))
            fit_inversion_recovery(shape, [0.1, 0.2, 0.5, 1, 2], repetition_time_s=4.0)
            fit_saturation_recovery(shape, [0.1, 0.2, 0.5, 1, 2])
    assert [list(kernel.signatures) for kernel in kernels] == compiled
