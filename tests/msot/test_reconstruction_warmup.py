"""The warm-up of the reconstruction compiles what it calls, and nothing else is compiled later."""

from __future__ import annotations

from imgtheranostics import msot
from imgtheranostics.kernels import backprojection, optoacoustic_model, warmup


def test_reconstructions_meet_what_the_warm_up_compiled(sphere_scan):
    kernels = backprojection.project_back, optoacoustic_model.forward, optoacoustic_model.adjoint
    dict(warmup.compile_all())["images from sound"]()
    compiled = [list(kernel.signatures) for kernel in kernels]
    scan = sphere_scan([(0.0, 0.0, 0.0, 0.5, 1.0)])
    for method in ("backprojection", "delay_and_sum", "model"):
        msot.reconstruct(scan, method=method, pixel_mm=0.4, shape=(6, 6), max_iterations=2)
    msot.focus_speed_of_sound(scan, pixel_mm=0.1, shape=(300, 300))
    assert [list(kernel.signatures) for kernel in kernels] == compiled
