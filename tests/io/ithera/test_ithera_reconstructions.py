"""Reconstructions beside a scan: which frame, which pixel, which place."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    MissingMetadata,
    NothingUsable,
    UnsupportedInput,
)

OTHER = "11111111-2222-3333-4444-555555555555"


def codes(volume):
    return [caution.code for caution in volume.warnings]


def test_raw_scan_names_the_reader_of_signals(public_data, tmp_path, scans):
    for path in (public_data("msot/ithera_scan_9"), scans.dynamic().write(tmp_path)):
        with pytest.raises(UnsupportedInput, match="load_signals"):
            it.load(path)
    (summary,) = it.info(public_data("msot/ithera_scan_9"))
    assert (summary.kind, summary.modality) == ("other", "raw optoacoustic signals")


def test_parts_of_a_scan_name_its_description(public_data):
    folder = public_data("msot/ithera_scan_9")
    for name in ("Scan_9.bin", "Scan_9.irf", "Scan_9.img"):
        with pytest.raises(UnsupportedInput, match=r"\.msot"):
            it.load(folder / name)


def test_images_stand_at_their_time_and_wavelength(tmp_path, scans):
    path = scans.dynamic(nodes=scans.node(6)).write(tmp_path)
    images = scans.write_images(tmp_path, 6)
    volume = it.load(path)
    assert (volume.quantity, volume.unit) == ("optoacoustic_signal", "[arb'U]")
    assert [axis.name for axis in volume.axes] == ["time", "wavelength"]
    assert_array_equal(volume.axes[1].values, [700, 760, 800])
    assert_allclose(volume.axes[0].values, [0, 3])
    assert volume.shape == (4, 4, 1, 2, 3)
    for frame in range(2):
        for place, position in enumerate((1, 2, 0)):
            assert_array_equal(volume.data[:, :, 0, frame, place].T, images[3 * frame + position])
    assert volume.data.min() == -5.0
    assert_allclose(volume.grid.spacing_mm[:2], 25.0 / 4)
    assert_allclose(volume.grid.world_mm([[1.5, 1.5, 0]])[0], [0, 0, 59.65], atol=1e-9)
    assert volume.acquisition.wavelength_nm == (700.0, 760.0, 800.0)
    assert_allclose(volume.acquisition.laser_energy_mj, [50.5, 60.5, 40.5])
    assert volume.acquisition.energy_corrected is True
    assert volume.acquisition.speed_of_sound_m_s is None
    assert {"slice-thickness-unknown", "no-patient-geometry"} <= set(codes(volume))


def test_newer_form_states_a_matrix_for_each_axis_and_single_precision(tmp_path, scans):
    size = (
        "<FIELD-OF-VIEW><PixelCount><X>5</X><Y>4</Y><Z>1</Z></PixelCount>"
        "<Extents><X>0.025</X><Y>0.02</Y><Z>0</Z></Extents></FIELD-OF-VIEW>"
    )
    path = scans.dynamic(nodes=scans.node(6, size=size)).write(tmp_path)
    images = scans.write_images(tmp_path, 6, shape=(4, 5), dtype="<f4")
    volume = it.load(tmp_path)
    assert volume.shape == (5, 4, 1, 2, 3)
    assert_allclose(volume.grid.spacing_mm[:2], 5.0)
    assert_array_equal(volume.data[:, :, 0, 0, 2].T, images[0])
    assert path.exists()


def test_places_of_the_stage_become_slices(tmp_path, scans):
    frames = [
        (wavelength, stage, float(n), 50.0)
        for n, (stage, wavelength) in enumerate((s, w) for s in (21.0, 20.0, 22.0) for w in (700.0, 800.0))
    ]
    path = scans.Scan(frames, nodes=scans.node(6)).write(tmp_path)
    images = scans.write_images(tmp_path, 6)
    volume = it.load(path)
    assert [axis.name for axis in volume.axes] == ["wavelength"]
    assert volume.shape == (4, 4, 3, 2)
    for place, first in enumerate((2, 0, 4)):
        assert_array_equal(volume.data[:, :, place, 1].T, images[first + 1])
    assert volume.grid.spacing_mm[2] == pytest.approx(1.0)
    assert_allclose(volume.affine[2, 3], 20.0)


def test_uneven_places_are_refused(tmp_path, scans):
    frames = [(700.0, stage, stage, 50.0) for stage in (20.0, 21.0, 23.0)]
    path = scans.Scan(frames, nodes=scans.node(3)).write(tmp_path)
    scans.write_images(tmp_path, 3)
    with pytest.raises(GeometryMismatch, match="uneven"):
        it.load(path)


def test_averaged_frames_have_the_mean_of_their_times(tmp_path, scans):
    frames = [(700.0, 1.0, float(n), 50.0 + n) for n in range(4)]
    made_of = [[0, 1], [2, 3]]
    path = scans.Scan(frames, nodes=scans.node(2, made_of=made_of)).write(tmp_path)
    scans.write_images(tmp_path, 2)
    volume = it.load(path)
    assert_allclose(volume.axes[0].values, [0, 2])


def test_an_image_of_several_wavelengths_is_refused(tmp_path, scans):
    path = scans.dynamic(nodes=scans.node(1, made_of=[[0, 1]])).write(tmp_path)
    scans.write_images(tmp_path, 1)
    with pytest.raises(CorruptInput, match="several wavelengths"):
        it.load(path)


def test_several_reconstructions_are_listed_and_chosen(tmp_path, scans):
    nodes = scans.node(6) + scans.node(6, guid=OTHER)
    scans.dynamic(nodes=nodes).write(tmp_path)
    scans.write_images(tmp_path, 6)
    scans.write_images(tmp_path, 6, guid=OTHER)
    with pytest.raises(NothingUsable, match="2 series") as caught:
        it.load(tmp_path)
    assert "reconstruction 2" in caught.value.found
    assert "anary" not in str(caught.value).replace(str(tmp_path), "")
    assert it.load(tmp_path, series=2).shape == it.load(tmp_path, series="55555555").shape
    assert [one.kind for one in it.info(tmp_path)] == ["msot", "msot"]
    assert len(it.load_all(tmp_path)) == 2


@pytest.mark.parametrize("guid", ["../../../etc/passwd", "a/b", "..", "", "x" * 36])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path, scans, guid):
    path = scans.dynamic(nodes=scans.node(6, guid=guid)).write(tmp_path)
    with pytest.raises((CorruptInput, MissingMetadata)):
        it.load(path)


@pytest.mark.parametrize("change", [-8, 8, -1])
def test_images_of_another_size_are_refused_with_both_sizes(tmp_path, scans, change):
    path = scans.dynamic(nodes=scans.node(6)).write(tmp_path)
    scans.write_images(tmp_path, 6)
    file = tmp_path / "RECONs" / f"{scans.GUID}.bin"
    content = file.read_bytes()
    file.write_bytes(content[:change] if change < 0 else content + b"\0" * change)
    with pytest.raises(CorruptInput, match="size") as caught:
        it.load(path)
    assert str(6 * 16 * 8) in caught.value.needed


def test_missing_images_are_named(tmp_path, scans):
    path = scans.dynamic(nodes=scans.node(6)).write(tmp_path)
    with pytest.raises(NothingUsable, match="RECONs"):
        it.load(path)


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        ("", MissingMetadata),
        ("<RoiLow>0.053</RoiLow><RoiHigh>0.028</RoiHigh>", MissingMetadata),
        ("<Roi>x</Roi>", CorruptInput),
    ],
)
def test_field_of_view_must_be_stated(tmp_path, scans, size, kind):
    path = scans.dynamic(nodes=scans.node(6, size=size)).write(tmp_path)
    scans.write_images(tmp_path, 6)
    with pytest.raises(kind):
        it.load(path)


@pytest.mark.parametrize(("roi", "told"), [("0.02", False), ("20", True)])
def test_older_field_of_view_is_in_m_or_plainly_in_mm(tmp_path, scans, roi, told):
    path = scans.dynamic(nodes=scans.node(6, size=f"<Roi>{roi}</Roi>")).write(tmp_path)
    scans.write_images(tmp_path, 6)
    volume = it.load(path)
    assert_allclose(volume.grid.spacing_mm[:2], 5.0)
    assert ("field-of-view-unit" in codes(volume)) == told


@pytest.mark.parametrize("side", ["0", "99999", "1e300", "-4"])
def test_impossible_matrix_is_refused(tmp_path, scans, side):
    path = scans.dynamic(nodes=scans.node(6, side=side)).write(tmp_path)
    scans.write_images(tmp_path, 6)
    with pytest.raises(CorruptInput):
        it.load(path)


def test_faulty_images_are_not_numbers(tmp_path, scans):
    edit = [
        (
            "<IDOffset>1</IDOffset><ZOffset>0</ZOffset><HasErrors>false",
            "<IDOffset>1</IDOffset><ZOffset>0</ZOffset><HasErrors>true",
        )
    ]
    path = scans.dynamic(nodes=scans.node(6), replacements=edit).write(tmp_path)
    scans.write_images(tmp_path, 6)
    volume = it.load(path)
    assert np.isnan(volume.data[..., 0, 0]).all()
    assert np.isfinite(volume.data[..., 1, :]).all()
    assert {"reconstruction-errors", "not-finite-voxels"} <= set(codes(volume))


def test_a_saved_copy_holds_no_word_of_the_scan(tmp_path, scans):
    path = scans.dynamic(nodes=scans.node(6)).write(tmp_path / "in")
    scans.write_images(tmp_path / "in", 6)
    volume = it.load(path)
    written = it.save(volume, tmp_path / "mouse_pa.nii.gz")
    text = (tmp_path / "mouse_pa.json").read_text() + repr(volume)
    for word in ("Canary", "CANARY", "00:11", "63737152", "Scan_1"):
        assert word not in text
    again = it.load(written[0])
    assert again.shape == volume.shape
    assert_array_equal(again.data, volume.data)
    assert all(mine.same_as(theirs) for mine, theirs in zip(volume.axes, again.axes, strict=True))
