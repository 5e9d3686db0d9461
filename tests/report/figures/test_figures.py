"""The figures: what they show, when they apply, and that their bytes are the same each time."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import struct
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.report.figures import curves, layout, mosaic, points, scene, theme, uncertainty
from imgtheranostics.report.registry import FigureMaker, makers, register, render_figures
from imgtheranostics.report.run import Run
from imgtheranostics.report.tables import table_rows
from imgtheranostics.volume import Axis, Estimate, Flag, Volume


def texts(svg: bytes) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.decode())


def by_file(run: Run, *names: str) -> dict[str, bytes]:
    """The figures of those names, or all that apply, drawn."""
    return {figure.file: figure.svg for figure in render_figures(dataclasses.replace(run, figures=names))}


def estimate_of(data, affine=None, quantity="id_per_g", unit="%/g", axes=(), flags=None) -> Estimate:
    affine = np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine
    value = Volume(np.asarray(data, np.float32), affine, quantity, unit, axes)
    error = Volume(np.abs(value.data) * 0.1, affine, quantity, unit, axes)
    marks = np.zeros(value.shape, np.uint16) if flags is None else flags
    return Estimate(value, error, Volume(marks, affine, "flags", "1", axes))


def run_of(estimate: Estimate, masks=None, **changes) -> Run:
    shape = estimate.grid.shape
    regions = Regions.from_masks(masks or {"all": np.ones(shape)}, estimate.grid)
    table = roi_statistics(estimate, regions, resolution_mm=2.0)
    return Run("v", (estimate,), table, regions=regions, **changes)


def test_figures_come_in_reading_order_for_what_is_there(mouse_run, dynamic_run):
    ours = ["map", "regions", "curves", "curves-log", "uncertainty"]
    assert [m.name for m in makers() if m.name in ours] == ours
    static = [m.name for m in makers() if m.applies(mouse_run)]
    assert static == ["map", "regions", "uncertainty"]
    dynamic = [m.name for m in makers() if m.applies(dynamic_run)]
    assert dynamic == ["map", "curves", "curves-log", "uncertainty"]


def test_figures_can_be_chosen_by_name(mouse_run):
    assert list(by_file(mouse_run, "regions")) == ["regions_id_per_g.svg"]
    with pytest.raises(ValueError, match="no figure named"):
        render_figures(dataclasses.replace(mouse_run, figures=("pie",)))
    with pytest.raises(ValueError, match="registered already"):
        register(FigureMaker("map", "", lambda _: (), mosaic.draw))


def test_bytes_do_not_depend_on_the_users_settings_or_on_earlier_figures(mouse_run):
    first = by_file(mouse_run)
    with matplotlib.rc_context(
        {"font.size": 22, "svg.hashsalt": None, "axes.facecolor": "red", "image.cmap": "jet"}
    ):
        assert by_file(mouse_run) == first
        assert matplotlib.rcParams["font.size"] == 22


def test_pyplot_is_never_touched(mouse_run):
    loaded = "matplotlib.pyplot" in sys.modules
    by_file(mouse_run, "regions")
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def png_chunks(content: bytes) -> set[bytes]:
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = set(), 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        found.add(content[place + 4 : place + 8])
        place += 12 + length
    return found


def test_pictures_carry_no_metadata(mouse_run):
    for svg in by_file(mouse_run).values():
        assert b"<metadata" not in svg
        assert b"<!--" not in svg
        assert b"Matplotlib v" not in svg
        for coded in re.findall(rb"data:image/png;base64,([^\"]*)", svg):
            assert png_chunks(base64.b64decode(coded)) <= {b"IHDR", b"IDAT", b"IEND", b"pHYs", b"sBIT"}
    with theme.style():
        png = theme.as_png(mosaic.draw(mouse_run, "id_per_g").figure)
    assert png_chunks(png) <= {b"IHDR", b"IDAT", b"IEND", b"pHYs"}


def test_the_map_has_letters_unit_numbers_and_regions(mouse_run):
    drawing = mosaic.draw(mouse_run, "id_per_g")
    parts = (drawing.figure, *drawing.figure.axes)
    shown = [text.get_text() for part in parts for text in part.texts]
    for word in ("R", "L", "A", "P", "S", "I", "Uptake [%ID/g]", "10 mm", *mouse_run.regions):
        assert word in shown
    assert sum(text.startswith("coronal, y = ") for text in shown) == 1
    n = np.isfinite(mouse_run.maps[0].value.data).sum()
    assert f"n = {n:,} voxels of 0.8 × 0.8 × 0.8 mm".replace(",", "\u202f") in drawing.caption
    assert "radiological convention" in drawing.caption
    assert "tumour" in drawing.alt


def first_picture(svg: bytes) -> np.ndarray:
    coded = re.search(rb"data:image/png;base64,([^\"]*)", svg)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(coded.group(1)))).convert("RGB"))


def test_flipping_the_voxel_axes_does_not_change_the_picture():
    """The same patient stored in two voxel orders must look the same, hot tumour on the patient's right."""
    rng = np.random.default_rng(3)
    data = rng.random((14, 16, 20)) * 0.1
    data[10:13, 6:10, 8:12] = 5.0
    data[11, 7, 9] = 6.0
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    plain = by_file(run_of(estimate_of(data, affine)), "map")["map_id_per_g.svg"]
    flipped = affine.copy()
    flipped[:2, :2] *= -1
    flipped[:2, 3] = 2.0 * (np.array(data.shape[:2]) - 1)
    other = by_file(run_of(estimate_of(data[::-1, ::-1], flipped)), "map")["map_id_per_g.svg"]
    np.testing.assert_array_equal(first_picture(plain), first_picture(other))
    # Large x is the patient's right (RAS+), which stands on the left of a coronal picture; hot is dark.
    dark = first_picture(plain).mean(axis=2) < 60
    assert dark.any()
    assert np.nonzero(dark)[1].mean() < dark.shape[1] / 2


def test_slices_pass_through_each_region_and_the_peak(mouse_run):
    chosen = scene.scene_of(mouse_run, "id_per_g")
    positions = [plane.position_mm for plane in chosen.tiles]
    assert positions == sorted(positions, reverse=True)
    assert len(positions) == 6
    for name in mouse_run.regions:
        inside = np.argwhere(mouse_run.regions.mask(name))
        z = mouse_run.maps[0].grid.world_mm(inside)[:, 2]
        assert any(z.min() - 0.4 <= position <= z.max() + 0.4 for position in positions), name
    data = np.where(mouse_run.regions.labels[..., 0] > 0, mouse_run.maps[0].value.data, -np.inf)
    hottest = np.unravel_index(np.nanargmax(data), data.shape)
    np.testing.assert_allclose(chosen.focus_mm, mouse_run.maps[0].grid.world_mm(np.array(hottest)))


def test_few_slices_are_tiled_along_their_own_axis():
    data = np.random.default_rng(1).random((40, 5, 30))
    chosen = scene.scene_of(run_of(estimate_of(data)), "id_per_g")
    assert chosen.stack == 1
    assert len(chosen.tiles) == 5
    assert not chosen.has_long_views


@pytest.mark.parametrize(
    "shape", [(30, 30, 90), (60, 50, 30), (80, 80, 14), (90, 20, 60), (9, 70, 70), (40, 40, 40)]
)
def test_pictures_of_a_mosaic_never_overlap_and_stay_on_the_page(shape):
    chosen = scene.scene_of(run_of(estimate_of(np.ones(shape))), "id_per_g")
    placed, height = layout.mosaic(chosen)
    for n, item in enumerate(placed):
        assert item.left_in >= 0
        assert item.left_in + item.width_in <= theme.WIDTH_IN + 1e-9
        assert item.top_in + item.height_in + layout.LABEL_IN <= height + 1e-9
        # A slice is large enough to look at, and to carry its label.
        assert item.tile is None or item.width_in >= 0.6
        for other in placed[n + 1 :]:
            apart_x = max(item.left_in, other.left_in) - min(
                item.left_in + item.width_in, other.left_in + other.width_in
            )
            apart_y = max(item.top_in, other.top_in) - min(
                item.top_in + item.height_in + layout.LABEL_IN,
                other.top_in + other.height_in + layout.LABEL_IN,
            )
            assert max(apart_x, apart_y) > 0
        across, up = item.plane.in_plane
        ratio = chosen.stage.size_mm(across) / chosen.stage.size_mm(up)
        assert item.width_in / item.height_in == pytest.approx(ratio)
    assert height < 8.0


def test_the_fullest_frame_is_shown_and_named(dynamic_run):
    chosen = scene.scene_of(dynamic_run, "id_per_g")
    time_s = dynamic_run.maps[0].axes[0].values
    curve = (1 - np.exp(-time_s / 3000.0)) * np.exp(-time_s / 200_000.0)
    assert chosen.sample_index == int(curve.argmax())
    assert chosen.sample_words == f"time {time_s[curve.argmax()] / 3600:.3f} h"
    assert chosen.sample_words in mosaic.draw(dynamic_run, "id_per_g").caption


def test_two_axes_are_both_named():
    axes = (Axis("time", [0.0, 60.0], "s"), Axis("wavelength", [700.0, 800.0, 900.0], "nm"))
    data = np.ones((4, 4, 14, 2, 3))
    data[..., 1, 2] = 9.0
    chosen = scene.scene_of(run_of(estimate_of(data, axes=axes)), "id_per_g")
    assert chosen.sample_words == "time 60 s, wavelength 900 nm"
    assert (chosen.data == 9.0).all()


def test_signed_change_has_a_diverging_scale_around_zero():
    data = np.random.default_rng(0).normal(size=(12, 12, 14))
    run = run_of(estimate_of(data, quantity="delta_attenuation", unit="[HU]"))
    scale = scene.scale_of(scene.scene_of(run, "delta_attenuation"))
    assert scale.low == -scale.high
    assert scale.colours == "RdBu_r"
    positive = scene.scale_of(scene.scene_of(run_of(estimate_of(np.abs(data))), "id_per_g"))
    assert positive.low == 0.0
    assert positive.colours == "gray_r"


def test_a_small_hot_region_is_not_cut_by_the_scale():
    data = np.full((40, 40, 40), 0.1)
    data[20, 20, 20] = 50.0
    mask = data > 1
    scale = scene.scale_of(scene.scene_of(run_of(estimate_of(data), {"spot": mask}), "id_per_g"))
    assert scale.high >= 50.0


def test_a_hot_spot_in_a_large_region_is_told_from_its_surroundings():
    data = np.full((30, 30, 30), 1.0)
    data[3:5, 3:5, 3:5] = 4.0
    scale = scene.scale_of(scene.scene_of(run_of(estimate_of(data)), "id_per_g"))
    assert 2.0 <= scale.high <= 4.0
    assert scale.beyond == "max"


@pytest.mark.parametrize(
    "data",
    [
        np.full((5, 5, 5), np.nan),
        np.zeros((5, 5, 5)),
        np.full((1, 1, 1), 3.0),
        np.ones((64, 48, 1)),
        np.where(np.arange(125).reshape(5, 5, 5) == 62, 7.0, np.nan),
        -np.ones((6, 6, 20)),
    ],
)
def test_degenerate_maps_are_drawn(data):
    found = by_file(run_of(estimate_of(data)), "map", "uncertainty")
    assert found["map_id_per_g.svg"].startswith(b"<svg")


def test_oblique_and_sheared_maps_are_drawn_upright():
    affine = np.array([[1.6, -0.5, 0.3, 5], [0.6, 1.4, -0.4, -9], [-0.2, 0.5, 2.2, 1], [0, 0, 0, 1]])
    data = np.random.default_rng(2).random((16, 14, 15))
    assert by_file(run_of(estimate_of(data, affine)), "map")["map_id_per_g.svg"].startswith(b"<svg")


def test_anatomy_on_another_grid_lies_under_the_map():
    data = np.zeros((20, 20, 20))
    data[12:15, 8:11, 9:12] = 4.0
    estimate = estimate_of(data)
    fine = np.zeros((80, 80, 80), np.float32)
    fine[10:70, 10:70, 10:70] = 100.0
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = -0.75
    anatomy = Volume(fine, affine, "attenuation", "[HU]")
    run = run_of(estimate, {"spot": data > 1}, anatomy=anatomy)
    chosen = scene.scene_of(run, "id_per_g")
    scale, grey = scene.scale_of(chosen), scene.anatomy_scale(chosen.anatomy_data)
    picture = scene.over_anatomy(chosen, chosen.tiles[len(chosen.tiles) // 2], scale, grey)
    coloured = (picture.max(axis=2).astype(int) - picture.min(axis=2)) > 20
    # The spot has 3 x 3 voxels of 2 mm; pixels follow the finer grid.
    pixels = 36 / float(chosen.stage.pixel_mm[0] * chosen.stage.pixel_mm[1])
    assert coloured.any()
    tiles = [scene.over_anatomy(chosen, tile, scale, grey) for tile in chosen.tiles]
    most = max(((t.max(axis=2).astype(int) - t.min(axis=2)) > 20).sum() for t in tiles)
    assert most == pytest.approx(pixels, rel=0.15)
    assert by_file(run, "map")["map_id_per_g.svg"].startswith(b"<svg")


def test_region_points_are_sorted_and_labelled_with_n(mouse_run):
    shown = texts(by_file(mouse_run, "regions")["regions_id_per_g.svg"])
    rows = table_rows(mouse_run.table)
    order = [text for text in shown if text in set(mouse_run.regions)]
    # The axis is drawn from bottom to top.
    assert order[::-1] == [row["region"] for row in sorted(rows, key=lambda row: -row["mean"])]
    for row in rows:
        assert f"n = {row['n_valid']:,}".replace(",", "\u202f") in shown
    assert "Uptake [%ID/g]" in shown


def test_curves_have_a_point_per_frame_and_region_with_its_error(dynamic_run):
    figure = curves.draw(dynamic_run, "id_per_g").figure
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Time [h]"
    assert len(axes.containers) == 5
    table = dynamic_run.table
    drawn = axes.containers[0].lines[0]
    tumour = table[table.region == "tumour"].sort_values("axis_value")
    np.testing.assert_allclose(np.asarray(drawn.get_xdata(), float), tumour["axis_value"] / 3600.0)
    np.testing.assert_allclose(np.asarray(drawn.get_ydata(), float), tumour["mean"])
    bars = axes.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([b[1, 1] - b[0, 1] for b in bars], 2 * tumour["standard_error"])
    assert curves.draw_log(dynamic_run, "id_per_g").figure.axes[0].get_yscale() == "log"


def test_the_logarithmic_figure_needs_positive_values_and_a_range_or_a_wish(dynamic_run):
    def keys(means, figures=()):
        table = dynamic_run.table.head(len(means)).assign(mean=means, axis_value=np.arange(len(means)))
        return curves.log_keys(Run("v", (), table, figures=figures))

    assert keys([1.0, 25.0]) == ("id_per_g",)
    assert keys([1.0, 15.0]) == ()
    assert keys([1.0, 15.0], ("curves-log",)) == ("id_per_g",)
    assert keys([-1.0, 30.0], ("curves-log",)) == ()


def test_labels_of_curves_keep_apart():
    moved = curves._apart([0.1, 0.11, 0.98, 0.99, 1.0], 0.06)
    assert np.diff(moved).min() >= 0.06 - 1e-12
    assert moved[0] == pytest.approx(0.1)
    assert moved[-1] <= 1.0 + 1e-12


def test_flags_are_counted_over_all_samples():
    axes = (Axis("time", [0.0, 1.0], "s"),)
    flags = np.zeros((3, 3, 3, 2), np.uint16)
    flags[0, 0, 0, 0] = Flag.AT_BOUND | Flag.NOT_CONVERGED
    flags[1, 1, :, 1] = Flag.AT_BOUND
    estimate = estimate_of(np.ones((3, 3, 3, 2)), axes=axes, flags=flags)
    assert uncertainty.flag_counts(estimate.flags) == {"AT_BOUND": 4, "NOT_CONVERGED": 1}
    shown = texts(by_file(run_of(estimate), "uncertainty")["uncertainty_id_per_g.svg"])
    assert "at bound: 4 voxels" in shown
    assert "Standard error [%ID/g]" in shown


def test_a_map_without_errors_and_flags_has_no_figure_of_them():
    estimate = estimate_of(np.ones((3, 3, 3)))
    silent = dataclasses.replace(
        estimate, standard_error=estimate.standard_error.replace(data=np.full((3, 3, 3), np.nan))
    )
    assert uncertainty.keys(run_of(silent)) == ()
    assert "no voxel carries a flag" in uncertainty.draw(run_of(estimate), "id_per_g").caption


def test_many_regions_and_foreign_names_are_drawn():
    data = np.random.default_rng(5).random((10, 10, 14))
    masks = {f"領域 {n} $x^{{2}}$": np.arange(1400).reshape(10, 10, 14) % 50 == n for n in range(50)}
    run = run_of(estimate_of(data), masks)
    found = by_file(run, "map", "regions")
    assert "the 40 highest of 50 regions" in points.draw(run, "id_per_g").caption
    assert any("and 34 more" in text for text in texts(found["map_id_per_g.svg"]))
    assert any(re.fullmatch(r"領域 \d+ \$x\^\{2\}\$", text) for text in texts(found["regions_id_per_g.svg"]))
