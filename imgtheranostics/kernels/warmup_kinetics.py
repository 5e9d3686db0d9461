"""Kernels of tracer kinetics once on the smallest input; see `imgtheranostics.kernels.warmup`."""

from __future__ import annotations

import numpy as np


def compartments() -> None:
    """Compartment models."""
    from imgtheranostics.kernels import compartment_fit, compartment_models

    start = np.arange(4.0)
    frames, inflow = np.stack([start, start + 1.0, np.ones(4)]), np.stack([start, start, start])
    table, rates = np.empty((1, 2, 4)), np.array([0.0, 0.1])
    compartment_fit.tabulate_frames(frames, inflow, rates[1:], np.zeros(1), table)
    search = (table, np.ones((1, 2, 2)), np.array([[1, -1]], np.int64), rates, np.zeros(1), np.zeros(1))
    limits = (np.zeros(4), np.array([1.0, 1.0, 0.0, 0.0]), np.full(4, 1e-6))
    out = (np.empty((1, 4)), np.empty((1, 4)), np.empty((1, 4)), np.empty((1, 2)))
    rest = (np.empty(1, np.int32), np.empty(1, np.uint8))
    model = compartment_models.ONE_TISSUE
    compartment_fit.fit_compartments(
        model, np.ones((1, 4)), frames, inflow, *limits, *search, 2, 5, 1e-6, *out, *rest
    )


def one_tissue() -> None:
    """One tissue compartment by basis functions."""
    from imgtheranostics.kernels import one_tissue_bases

    curve, table = np.arange(1.0, 5.0), np.ones((3, 4))
    upper = np.array([1.0, 1.0, 1.0, 0.0])
    out = (np.empty((1, 4)), np.empty((1, 4)), np.empty((1, 4)))
    one_tissue_bases.fit_one_tissue(
        np.ones((1, 4)),
        curve,
        curve,
        table,
        table,
        np.ones((3, 2)),
        np.ones((2, 4)),
        -3.0,
        0.1,
        np.zeros(4),
        upper,
        1,
        *out,
        np.empty((1, 2)),
        np.empty(1, np.int32),
        np.empty(1, np.uint8),
    )


def reference_tissue() -> None:
    """Reference-tissue models by basis functions."""
    from imgtheranostics.kernels import frame_convolution, reference_bases

    curve = np.arange(1.0, 5.0)
    workspace = np.empty((3, 6)), np.empty(9), np.empty(9)
    frame_convolution.frame_averages(curve, curve, curve, curve, 0.1, 0.0, *workspace, np.empty((4, 4)))
    table, out, squares = np.ones((3, 4)), np.empty((1, reference_bases.N_VALUES)), np.empty((1, 2))
    reference_bases.fit_reference_model(
        np.ones((1, 4)),
        curve,
        curve,
        table,
        table,
        np.ones((3, 2)),
        -3.0,
        0.1,
        0.0,
        1,
        out,
        out,
        squares,
        np.empty(1, np.uint8),
    )


def reference_planes() -> None:
    """The multilinear model of three regressors."""
    from imgtheranostics.kernels import reference_planes as kernels
    from imgtheranostics.kernels.lanes import read_only

    chosen, line, flags = read_only(np.ones(1, np.bool_)), np.arange(1.0, 6.0), np.empty(1, np.uint16)
    for dtype in (np.float32, np.float64):
        samples, out = read_only(np.ones((5, 1), dtype)), np.empty((kernels.ROWS, 1), dtype)
        kernels.reference_planes(
            samples, chosen, 0, line, line, line, line, line, np.ones(4), 2, 1.0, out, flags
        )


def graphical_analysis() -> None:
    """Lines and planes of graphical analysis."""
    from imgtheranostics.kernels import graphical_lines as kernels
    from imgtheranostics.kernels.lanes import read_only

    chosen, line = read_only(np.ones(1, np.bool_)), np.arange(1.0, 6.0)
    flags = np.empty(1, np.uint16)
    for dtype in (np.float32, np.float64):
        samples, out = read_only(np.ones((5, 1), dtype)), np.empty((kernels.ROWS, 1), dtype)
        own = line.astype(dtype)
        kernels.fixed_lines(samples, chosen, 0, own, own, own, own, own, own, out, flags)
        kernels.own_lines(samples, chosen, 0, line, line, line, line, 2, 1.0, out, flags)
        kernels.own_planes(samples, chosen, 0, line, line, line, line, 2, 1.0, out, flags)
