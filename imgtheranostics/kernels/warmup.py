"""Every kernel once on the smallest input of the type that it is used with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from imgtheranostics.kernels import warmup_kinetics as kinetics


def compile_all() -> Iterator[tuple[str, Callable[[], None]]]:
    """Name and thunk of each group of kernels."""
    yield "region statistics", _region_statistics
    yield "peak value", _peak
    yield "contours", _contours
    yield "phantom shapes", _occupancy
    yield "contrast curves", _contrast_curves
    yield "time-intensity curves", _time_intensity
    yield "exponentials of activity", _exponentials
    yield "agent concentration", _agent_inversion
    yield "transverse relaxation", _decay
    yield "tracer models", _tracer_models
    yield "graphical analysis", kinetics.graphical_analysis
    yield "compartments", kinetics.compartments
    yield "one tissue compartment", kinetics.one_tissue
    yield "reference tissue", kinetics.reference_tissue
    yield "reference planes", kinetics.reference_planes
    yield "flip angles", _flip_angles
    yield "recovery curves", _recovery
    yield "pools of Z-spectra", _pools
    yield "tip patterns", _tip_patterns
    yield "exchange rates", _labelling
    yield "exchange of pools", _exchange_of_pools
    yield "saturation spectra", _saturation_spectra
    yield "position of water", _position_of_water
    yield "materials on CT", _materials
    yield "shifted regions", _shifted_regions
    yield "spectral unmixing", _unmixing
    yield "differences of scans", _differences_of_scans
    yield "images from sound", _images_from_sound
    yield "echo power", _echo_power
    yield "motion of tiles", _tile_motion


def _region_statistics() -> None:
    from imgtheranostics.kernels import region_statistics as kernels

    planar = np.zeros((1, 8), np.float32)
    planar.setflags(write=False)
    voxels = np.arange(8, dtype=np.int64)
    starts = np.array([0, 8], np.int64)
    table = np.empty((1, 1, 8))
    length = np.array([8], np.int64)
    runs = (voxels[:1], length, np.array([0, 1], np.int64), length)
    kernels.region_statistics(planar, *runs, np.array([0.05, 0.5, 0.95]), table)
    kernels.region_means(planar, *runs, np.empty((1, 1)))
    first, second = np.empty((2, 1, 3, 4), np.int64)
    kernels.neighbour_pairs(
        voxels, starts, np.array([2, 2, 2], np.int64), first, second, np.empty((1, 3), np.int64)
    )
    kernels.neighbour_products(planar, first, second, table[..., 1], np.empty((1, 1, 3, 2)))
    labels = np.ones(8, np.int32)
    counts = np.zeros(2, np.int64)
    kernels.count_labels(labels, counts)
    kernels.list_voxels(labels, np.array([-1, 0], np.int64), voxels.copy())


def _shifted_regions() -> None:
    from imgtheranostics.kernels.shifted_regions import shifted_means

    values = np.zeros(8, np.float32)
    values.setflags(write=False)
    extents, one = np.array([2, 2, 2], np.int64), np.ones(3, np.int64)
    places, means = np.zeros((1, 3), np.int64), np.empty(1)
    shifted_means(values, values == 0, extents, one[:1] - 1, one, extents, 1, one, places, means, 0)


def _echo_power() -> None:
    from imgtheranostics.kernels.echo_power import linear_power
    from imgtheranostics.kernels.lanes import read_only

    grey, out = read_only(np.zeros(2, np.float32)), np.empty(2, np.float32)
    linear_power(grey, np.ones(1, np.float32), 60.0, 1.0, 0.0, 255.0, out, np.zeros(1, np.int64))


def _tile_motion() -> None:
    from imgtheranostics.kernels import tile_motion as kernels
    from imgtheranostics.kernels.lanes import read_only

    image, still = np.zeros((2, 2), np.float32), np.eye(3)[:2]
    kernels.binned(read_only(image), 1, np.empty_like(image))
    kernels.smoothed(read_only(image), np.empty(2, np.float32), np.empty_like(image))
    kernels.add_moved(image, still, np.zeros_like(image), np.zeros_like(image))
    places, basis = np.zeros((1, 2), np.int32), np.zeros((4, 1), np.float32)
    sums, outside = np.empty((1, kernels.N_SUMS)), np.empty(1, np.int64)
    kernels.tile_sums(image, places, basis, np.array([0, 1], np.int64), still, sums, outside)


def _images_from_sound() -> None:
    from imgtheranostics.kernels import backprojection, optoacoustic_model

    signals, point = np.zeros((1, 1, 4), np.float32), np.zeros(1, np.float32)
    one, image = np.float32(1.0), np.empty((1, 1, 1, 1), np.float32)
    detectors = np.ones((1, 6), np.float32)
    backprojection.project_back(signals, detectors, True, point, point, point, one, one, image)
    pulse, places = np.zeros((2, 2), np.float32), np.zeros((1, 3))
    scene = places, places + 1.0, pulse, 1.0, 0.0
    optoacoustic_model.forward(point, *scene, np.empty((1, 4), np.float32))
    optoacoustic_model.adjoint(np.zeros((1, 8), np.float32), *scene, point)


def _differences_of_scans() -> None:
    from imgtheranostics.kernels import ct_difference as kernels
    from imgtheranostics.kernels.lanes import read_only

    labels, slots = read_only(np.zeros(2, np.int32)), np.full(1, -1, np.int64)
    top, limits = np.float32(1.0), np.ones(1, np.float32)
    partial = np.empty((1, 1, kernels.N_STATISTICS))
    image = read_only(np.zeros(2, np.float32))
    kernels.label_differences(image, image, labels, slots, (top, top, top), limits, 1, partial)
    flag = np.uint16(1)
    marks, change = np.empty(2, np.uint16), np.empty(2, np.float32)
    kernels.subtract(image, image, top, flag, flag, change, marks)
    known = read_only(np.zeros(2, np.uint16))
    kernels.concentrations(
        image, image, known, 1.0, (0.0, 0.0), 1.0, (flag, flag), change, change.copy(), marks
    )


def _peak() -> None:
    from imgtheranostics.kernels.peak import neighbourhood_means

    voxels = np.zeros(8, np.float32)
    voxels.setflags(write=False)
    shape, centres = np.array([2, 2, 2], np.int64), np.arange(8, dtype=np.int64)
    offsets, weights = np.zeros((1, 3), np.int64), np.ones(1)
    neighbourhood_means(voxels, shape, centres, offsets, weights, np.empty(8), np.empty(8))


def _contours() -> None:
    from imgtheranostics.kernels.polygon import fill_even_odd

    x, y = np.array([[0.0, 2.0, 2.0], [0.0, 0.0, 2.0]])
    fill_even_odd(x, y, np.array([0, 3], np.int64), np.zeros((2, 2), np.uint8))


def _occupancy() -> None:
    from imgtheranostics.kernels import occupancy

    rows, centres = np.eye(3)[np.newaxis], np.zeros((1, 3))
    groups, margins = np.zeros((1, 3), np.int32), np.ones((1, 3))
    boxes = np.array([[[0, 1], [0, 1], [0, 1]]], np.int32)
    owner, mixed = np.zeros((1, 1, 1), np.int32, order="F"), np.zeros((1, 1, 1), np.bool_, order="F")
    bores = np.zeros(1)
    occupancy.classify(rows, centres, groups, margins, bores, boxes, owner, mixed)
    one = np.ones(1, np.int32)
    voxels = np.zeros((1, 3), np.int32)
    occupancy.fractions(
        rows, centres, groups, margins, bores, one, one, voxels, np.zeros(1, np.int32), np.zeros((1, 2))
    )


def _contrast_curves() -> None:
    from imgtheranostics.kernels import curve_parameters as kernels

    samples, times, noise = np.ones((4, 1)), np.arange(4.0), np.zeros((4, 1))
    arrival, flags = np.zeros(1), np.zeros(1, np.uint16)
    rows, errors = np.empty((2, kernels.LANDMARKS, 1))
    kernels.landmarks(samples, noise, noise, times, 0, 2, 4.0, 2, 1, 0, arrival, rows, errors, flags)
    moments, (areas, deviations) = np.empty((2, 1)), np.empty((2, 1, 1))
    kernels.initial_areas(
        samples, noise, noise, times, 0, 2, 4.0, 2, np.ones(1), arrival, moments, areas, deviations, flags
    )


def _time_intensity() -> None:
    from imgtheranostics.kernels import bolus_fit, bolus_landmarks, curve_rows, replenishment_fit
    from imgtheranostics.kernels.lanes import read_only

    time = np.arange(12.0)
    curve = np.exp(-2.0 * np.log(np.maximum(time - 1.0, 0.1) / 4.0) ** 2)[np.newaxis]
    finite = np.empty(1, np.bool_)
    for dtype in (np.float32, np.float64):
        planes = read_only(np.ascontiguousarray(curve.T.astype(dtype)))
        curve_rows.gather_rows(planes, np.zeros(1, np.int64), curve.copy(), finite)
    values, covariances = np.empty((1, 5)), np.empty((1, 5, 5))
    found = values, covariances, np.empty((1, 3)), np.empty(1, np.int32), np.empty(1, np.uint8)
    bolus_fit.fit_bolus(0, True, time, curve, np.array([-3.0, 1.0]), 5, 0.1, 0.3, *found)
    table, reported = np.ones((1, 2)), np.empty((2, 4, 1))
    bolus_landmarks.describe_curves(
        0, values, covariances, -3.0, 4.0, table, table, np.ones((1, 3)), reported[0], reported[1]
    )
    rates = np.array([0.01, 0.1, 1.0])
    replenishment_fit.fit_replenishment(True, time, 1.0 - curve, rates, 5, *found)


def _decay() -> None:
    from imgtheranostics.kernels import (
        decay,
        decay_lanes,
        epg,
        linear_decay,
        linear_decay_lanes,
        noise_floor,
        noise_floor_lanes,
    )
    from imgtheranostics.kernels.lanes import read_only

    shifts = np.array([0.0, 0.01, 0.02])
    samples = np.exp(-50.0 * shifts)[:, np.newaxis]
    rates = np.array([1.0, 50.0, 1000.0])
    curves = np.exp(-np.outer(rates, shifts))
    results = np.empty((decay.ROWS, 1)), np.empty(1, np.int16), np.empty(1, np.uint16)
    times = 0.01, shifts, 0.01
    decay.fit_decays(samples, *times, rates, curves, False, *results)
    linear_decay.fit_lines(samples, *times, True, *results)
    linear_decay.fit_arlo(samples, *times, *results)
    table = np.ones((3, 2))
    table.setflags(write=False)
    noise_floor.fit_noise_floor(
        samples, np.zeros(1), 1.0, 4.0, False, *times, rates, curves, table, 16.0, *results
    )
    single, chosen = read_only(samples.astype(np.float32)), read_only(np.ones(1, np.bool_))
    planes = np.empty((decay_lanes.N_RESULTS, 1), np.float32)
    decay_lanes.fit_decay_lanes(single, chosen, 0.01, 0.01, planes, *results[1:])
    linear_decay_lanes.fit_line_lanes(
        single, chosen, 0.01, shifts.astype(np.float32), True, planes, *results[1:]
    )
    one = np.ones(1, np.float32)
    profile = np.ones((2, 3), np.float32)
    noise_floor_lanes.fit_noise_floor_lanes(
        single, read_only(one), chosen, 1.0, 4.0, 0.01, 0.01, profile, 64.0, planes, *results[1:]
    )
    angles, trains = np.full(1, 3.0), np.empty((1, 3, 3))
    epg.echo_trains(rates, 0.01, 0.99, angles, trains)
    epg.fit_echo_trains(samples, 0, 0.01, np.full(1, 0.99), angles, rates, 3.0, 0.1, trains, *results)


def _exponentials() -> None:
    from imgtheranostics.kernels import exponential_fit as kernels
    from imgtheranostics.kernels import exponential_pair_lanes as pairs

    time, one = np.array([0.2, 0.5, 1.0]), np.ones(1)
    table = np.exp(-np.outer([1.0, 2.0], time))
    search = table, np.array([[0], [1]], np.int64), np.ones((2, 1, 1)), np.ones((2, 1))
    found = np.empty((1, 6)), np.empty((1, 6)), np.empty((1, 2)), np.empty(1, np.int32), np.empty(1, np.uint8)
    kernels.fit_exponentials(
        kernels.PLAIN,
        table[:1].copy(),
        time,
        np.ones(3),
        one,
        9.0 * one,
        0.0,
        False,
        *search,
        5,
        1e-8,
        *found,
    )
    both, times = np.ones(2), np.linspace(0.1, 1.0, 5)
    table = np.exp(-np.outer([1.0, 4.0], times))
    search = table, np.array([[0, 1]], np.int64), np.eye(2)[np.newaxis], np.array([[1.0, 3.0]])
    found = np.empty((1, 8)), np.empty((1, 8)), *found[2:]
    pairs.fit_pairs(
        kernels.PLAIN,
        table[:1].copy(),
        times,
        np.ones(5),
        0.1 * both,
        9.0 * both,
        0.0,
        False,
        *search,
        *found,
    )


def _agent_inversion() -> None:
    from imgtheranostics.kernels import agent_inversion as kernels

    one, echoes = np.ones(1), np.array([0.002, 0.004])
    images, flags = np.ones((2, 1)), np.zeros((2, 1), np.uint16)
    out = np.empty((4, 2, 1))
    kernels.invert_with_decay(images, images, one, one, 4.0, 5.0, 0.005, 0.002, 20.0, out, flags)
    found = np.empty((8, 1))
    kernels.fit_echoes(images, images, echoes, one, one, 4.0, 5.0, 0.005, 20.0, found, flags[0].copy())


def _tracer_models() -> None:
    from imgtheranostics.kernels import tracer_fit, tracer_models

    time, plasma, rates = np.arange(4.0), np.array([0.0, 1.0, 0.5, 0.2]), np.array([0.1])
    table = np.empty((1, 3, 4))
    tracer_fit.tabulate(time, time, plasma, rates, np.zeros(1), table)
    gram, pairs = np.ones((1, 3, 3)), np.array([[0, 1]], np.int64)
    lower, upper, scale = np.zeros(2), np.ones(2), np.full(2, 1e-6)
    moments = (np.empty((1, 2)), np.empty((1, 2)), np.empty(1))
    out = (*moments, np.empty((1, 2)), np.empty(1, np.int32), np.empty(1, np.uint8))
    search = (table, gram, pairs, np.zeros(3), np.zeros(1))
    tracer_fit.fit_tracer_models(
        tracer_models.PATLAK,
        plasma[np.newaxis],
        time,
        time,
        plasma,
        False,
        True,
        lower,
        upper,
        scale,
        *search,
        5,
        1e-6,
        *out,
    )


def _flip_angles() -> None:
    from imgtheranostics.kernels import vfa, vfa_voxel
    from imgtheranostics.kernels.lanes import read_only

    angles, chosen = np.array([0.1, 0.2, 0.4]), read_only(np.ones(1, np.bool_))
    for kernel, dtype in ((vfa.fit_planes, np.float32), (vfa_voxel.fit_exactly, np.float64)):
        signal, field = read_only(np.ones((3, 1), dtype)), read_only(np.ones(1, dtype))
        planes, counts, flags = np.empty((6, 1), dtype), np.zeros(1, np.int16), np.zeros(1, np.uint16)
        kernel(signal, angles, field, 0.01, vfa_voxel.NONLINEAR, 20.0, chosen, planes, counts, flags)


def _recovery() -> None:
    from imgtheranostics.kernels import inversion_recovery as kernels
    from imgtheranostics.kernels.lanes import read_only

    times, order = np.array([0.1, 0.5, 1.0, 2.0]), np.arange(4)
    model = np.stack([times, 0.0 * times, [1.0, 0.0, 0.0, 0.0]])
    limits = np.array([0.05, 50.0, 0.0, 2.5, 20.0, 0.0, 1.0])
    rates, basis = np.array([0.5, 1.0]), np.ones((2, 4), np.float32)
    signal = read_only(np.abs(1.0 - 2.0 * np.exp(-times[:, None])))
    kernels.fit_recovery(
        signal,
        order,
        model,
        True,
        kernels.MAGNITUDE,
        limits,
        rates,
        basis,
        basis,
        read_only(np.ones(1, np.bool_)),
        np.array([0, 1, 2]),
        np.empty((8, 1)),
        np.zeros(1, np.int16),
        np.zeros(1, np.uint16),
    )


def _labelling() -> None:
    from imgtheranostics.kernels import labelling as kernels

    power, time, bounds = np.array([1e5, 1e6, 4e6]), np.full(3, 1e9), np.log([1.0, 1e6])
    starts, values = np.array([100.0, 1000.0]), np.array([[0.1, 0.3, 0.4]])
    counts = np.empty(1, np.int32), np.empty(1, np.uint8)
    found = np.empty((1, 2)), np.empty((1, 5)), np.empty(1), *counts
    kernels.fit_labelling(
        values,
        np.ones((1, 3)),
        power,
        time,
        np.ones(1),
        kernels.INVERSE,
        starts,
        bounds,
        bounds,
        5,
        1e-9,
        *found,
    )


def _tip_patterns() -> None:
    from imgtheranostics.kernels import wasabi as kernels

    offsets, one = np.linspace(-1.0, 1.0, 5), np.ones(1)
    bounds = np.zeros(4), np.full(4, 2.0), np.full(4, 1e-3)
    kernels.fit_tip_patterns(
        kernels.FREE_AMPLITUDES,
        np.ones((1, 5)),
        offsets,
        (267.5, 800.0, 0.0025),
        np.zeros(5),
        *bounds,
        one,
        one,
        np.ones((2, 8, 1), np.float32),
        5,
        1e-6,
        np.empty((1, 4)),
        np.empty((1, 4)),
        np.empty((1, 2)),
        np.empty(1, np.int32),
        np.empty(1, np.uint8),
    )


def _exchange_of_pools() -> None:
    from imgtheranostics.kernels import batched_steps
    from imgtheranostics.kernels import bloch_mcconnell as kernels
    from imgtheranostics.kernels import matrix_exponential as matrices

    pools, one = np.ones((1, 2, 5)), np.ones(1)
    first, events = np.array([0, 1], np.int64), np.zeros(1, np.int64)
    pulses = one, one, first, one
    program = (*pulses, one, events, events, one, one, np.ones(1, np.bool_), first)
    kernels.simulate(
        pools, 2, 0, 1.0, one, one, pools[:, :, 0].copy(), events, program, True, True, pools[:, :1].copy()
    )
    matrix = np.empty((4, 4))
    kernels.fill_matrix(pools[0], 1, 0, 1.0, 1.0, 1.0, 1.0, matrix)
    matrices.exponential(matrix, 1e-3, np.empty((matrices.N_MATRICES, 4, 4)), matrix.copy())
    normal, vector = np.ones((1, 1, 1)), np.ones((1, 1))
    batched_steps.bounded_steps(normal, vector, vector, one, one, one, vector.copy(), one.copy())
    batched_steps.variances(normal, vector > 0, one, vector.copy())


def _saturation_spectra() -> None:
    from imgtheranostics.kernels import z_spectra as kernels
    from imgtheranostics.kernels.lanes import read_only

    n = 8
    knots, steps = np.linspace(-2.0, 2.0, n), np.full(n - 1, 4.0 / (n - 1))
    grid = knots, steps, 1.0 / steps, np.full(n - 1, np.inf), np.zeros(n, np.uintp), 1.0
    square = np.eye(n)
    design = np.zeros((4, n)), np.ones((n - 4, 5)), np.ones(n), square, np.eye(2 * n), 2.0
    dip = (1.0 - 1.0 / (1.0 + knots**2))[:, np.newaxis]
    samples = read_only(np.empty((0, 0), np.float32)), read_only(dip)
    given = (np.empty((0, 0), np.float32), np.ones((1, 1))) * 3
    found = (np.empty((0, 0), np.float32), np.empty((1, 1))) * 3
    todo = kernels.NOISE + kernels.B0 + kernels.VALUES + kernels.ERRORS
    chosen, flags = read_only(np.ones(1, np.bool_)), np.empty(1, np.uint16)
    order = np.arange(n, dtype=np.int64)
    kernels.measure_spectra(samples, order, chosen, todo, grid, design, np.ones(1), True, given, found, flags)


def _position_of_water() -> None:
    from imgtheranostics.kernels.water_lorentzian import fit_lorentzians
    from imgtheranostics.kernels.water_symmetry import find_axes

    n = 9
    knots = np.linspace(-2.0, 2.0, n)
    samples = (1.0 - 0.9 / (1.0 + knots**2))[:, np.newaxis]
    first, last = np.zeros(1, np.int64), np.full(1, n - 1, np.int64)
    start, counts, flags = np.zeros(1), np.zeros(1, np.int16), np.zeros(1, np.uint16)
    window = first, last, start
    fit_lorentzians(samples, knots, *window, True, np.empty((4, 1)), counts, flags)
    spline = np.zeros((4, n)), np.eye(n)
    find_axes(samples, knots, *spline, *window, np.ones(1), True, np.empty((3, 1)), counts, flags)


def _materials() -> None:
    from imgtheranostics.kernels.ct_decomposition import decompose_voxels
    from imgtheranostics.kernels.lanes import read_only

    square, one = np.eye(2), np.ones(2)
    tables = np.concatenate([square, np.zeros((2, 1))], axis=1)[np.newaxis]
    chosen, flags = read_only(np.ones(2, np.uint8)), np.empty(2, np.uint16)
    for dtype in (np.float32, np.float64):
        samples, nothing = read_only(np.ones((2, 2), dtype)), np.empty((0, 0), dtype)
        none, found = read_only(nothing), (np.empty((2, 2), dtype), np.empty((2, 2), dtype), nothing, nothing)
        task = np.inf, tables[0], tables, np.zeros(2, np.int64), square, one, square, 0, 0, 2
        decompose_voxels(samples, one, none, none, chosen, *task, *found, flags)


def _unmixing() -> None:
    from imgtheranostics.kernels import nnls
    from imgtheranostics.kernels.lanes import read_only

    order, one, marks = np.zeros(1, np.int64), np.ones(1), np.empty((2, 1), np.uint16)
    square, cube = np.ones((1, 1)), np.ones((1, 1, 1))
    basis, tables = np.ones((nnls.TILE, 1)), np.ones((1, nnls.TILE, nnls.TILE))
    chosen = read_only(np.ones(1, np.bool_))
    for dtype in (np.float32, np.float64):
        samples, found = read_only(np.ones((1, 1), dtype)), np.empty((1, 1), dtype)
        solution = basis, tables, tables[0], tables[:0], square, one, square
        task = *solution, True, False, 0, 1, found, found.copy(), np.empty((2, 1), dtype)
        nnls.unmix_voxels(samples, True, order, chosen, *task, marks[0], marks[1])
        nnls.mapped_errors(square, cube, marks[1], marks[0], 0, 1, found)


def _pools() -> None:
    from imgtheranostics.kernels import pool_fit, pool_lines, pool_scan

    offsets = np.linspace(-5.0, 5.0, 8)
    curves = 1.0 - 0.8 / (1.0 + offsets**2)[np.newaxis]
    table, shapes = pool_lines.super_lorentzian_table(), np.zeros(1, np.int64)
    lower, upper = np.array([1.0, 0.0, 0.5, -1.0]), np.array([1.0, 1.0, 5.0, 1.0])
    pool_fit.fit_pools(
        0,
        1,
        curves,
        np.full(1, np.inf),
        offsets,
        np.array([2, 3], np.int64),
        np.arange(4),
        shapes,
        0,
        False,
        0.0,
        table,
        np.array([0.0, 0.0, 1.0, 1.0]),
        0.5 * (lower + upper)[np.newaxis],
        True,
        np.full(1, -1),
        np.zeros(1, np.int64),
        lower,
        upper,
        10,
        1e-8,
        np.empty((1, 4)),
        np.empty((1, 4)),
        np.empty((1, 3)),
        np.empty(1),
        np.zeros(1, np.int32),
        np.zeros(1, np.uint8),
    )
    pool_scan.scan_pairs(
        0, 1, curves, offsets, 0, -1, shapes, 0, False, 0.0, table, lower, upper,
        np.array([[1.0, 0.8, 2.0, 0.0]]), np.full(1, np.inf), np.zeros((1, 4, 4)), np.zeros((1, 4)),
    )  # fmt: skip
    pool_lines.super_lorentzian_line(offsets, np.full(8, 10.0), table, np.empty(8))
