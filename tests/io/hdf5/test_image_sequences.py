"""Reconstructions (frame, wavelength, z, y, x) and raw signals in HDF5."""

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
    UnitMismatch,
    UnsupportedInput,
)


def codes(volume):
    return {caution.code for caution in volume.warnings}


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_every_voxel_stands_where_the_layout_says(tmp_path, files, compression):
    volume = it.load(files.images(tmp_path / "a.hdf5", compression=compression))
    assert (volume.quantity, volume.unit) == ("optoacoustic_signal", "[arb'U]")
    assert [axis.name for axis in volume.axes] == ["time", "wavelength"]
    assert_array_equal(volume.axes[1].values, [700, 760, 800])
    assert_allclose(volume.axes[0].values, [0.0, 3.0])
    x, y, _, t, w = np.indices((5, 4, 1, 2, 3))
    assert_array_equal(volume.data, 1e4 * t + 1e3 * np.array([1, 2, 0])[w] + 10 * y + x - 3)
    assert_allclose(volume.grid.spacing_mm[:2], 5.0)
    assert_allclose(volume.grid.world_mm([[2.0, 1.5, 0.0]]), 0.0, atol=1e-12)
    assert volume.acquisition.speed_of_sound_m_s == 1500.0
    assert volume.history[0].parameters["wavelength_order_nm"] == [800.0, 700.0, 760.0]
    assert volume.history[0].parameters["pixel_rule"] == "field of view over number of pixels"
    assert codes(volume) == {"no-patient-geometry", "slice-thickness-unknown"}


def test_shuffled_wavelengths_give_the_same_volume(tmp_path, files):
    """msot.md section 6, swap of the wavelength order: the result must not depend on it."""
    one = it.load(files.images(tmp_path / "a.hdf5"))

    def shuffle(file):
        image, order = file["recons/Canary method/0"], [2, 0, 1]
        image[...] = image[()][:, order]
        file["wavelengths"][...] = file["wavelengths"][()][order]
        file["timestamp"][...] = file["timestamp"][()][:, order]

    two = it.load(files.images(tmp_path / "b.hdf5", edit=shuffle))
    assert_array_equal(one.data, two.data)
    assert all(a.same_as(b) for a, b in zip(one.axes, two.axes, strict=True))


def test_slices_of_a_volume_have_their_own_field_of_view(tmp_path, files):
    def edit(file):
        file["recons/Canary method/0"].attrs["RECONSTRUCTION_FIELD_OF_VIEW_Z"] = 0.006

    volume = it.load(files.images(tmp_path / "a.hdf5", edit=edit, shape=(1, 3, 3, 4, 5)))
    assert volume.shape == (5, 4, 3, 3)
    assert volume.grid.spacing_mm[2] == pytest.approx(2.0)
    assert_array_equal(volume.data[1, 2, :, 1], 2000 + 100 * np.arange(3) + 21 - 3)


@pytest.mark.parametrize(("extent", "thickness"), [(0.0, None), (0.001, 1.0), (0.0008, 0.8), (0.025, None)])
def test_extent_of_a_single_slice_counts_where_it_can_be_one(tmp_path, files, extent, thickness):
    def edit(file):
        file["recons/Canary method/0"].attrs["RECONSTRUCTION_FIELD_OF_VIEW_Z"] = extent

    volume = it.load(files.images(tmp_path / "a.hdf5", edit=edit))
    assert volume.grid.spacing_mm[2] == pytest.approx(thickness or 1.0)
    assert ("slice-thickness-unknown" in codes(volume)) == (thickness is None)


def test_places_of_the_stage_become_slices(tmp_path, files):
    def edit(file):
        file["Z-POS"] = np.repeat([[12.0], [10.0], [11.0]], 3, axis=1)

    volume = it.load(files.images(tmp_path / "a.hdf5", edit=edit, shape=(3, 3, 1, 4, 5)))
    assert volume.shape == (5, 4, 3, 3)
    assert_array_equal(volume.data[0, 0, :, 0], np.array([1, 2, 0]) * 1e4 + 1000 - 3)
    assert volume.affine[2, 3] == pytest.approx(10.0)


def test_places_that_were_not_visited_equally_often_are_refused(tmp_path, files):
    def edit(file):
        file["Z-POS"] = np.repeat([[12.0], [10.0], [10.0]], 3, axis=1)

    with pytest.raises(GeometryMismatch, match="equally often"):
        it.load(files.images(tmp_path / "a.hdf5", edit=edit, shape=(3, 3, 1, 4, 5)))


def without(*names):
    def edit(file):
        for name in names:
            holder, _, key = name.rpartition("@")
            if holder:
                del file[holder].attrs[key]
            else:
                del file[name]

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (without("wavelengths"), "wavelength"),
        (without("recons/Canary method/0@RECONSTRUCTION_FIELD_OF_VIEW_X"), "field of view"),
        (without("recons/Canary method/0@RECONSTRUCTION_FIELD_OF_VIEW_Y"), "field of view"),
    ],
)
def test_what_is_missing_is_never_guessed(tmp_path, files, edit, said):
    with pytest.raises(MissingMetadata, match=said):
        it.load(files.images(tmp_path / "a.hdf5", edit=edit))


def test_wavelengths_may_be_given(tmp_path, files):
    path = files.images(tmp_path / "a.hdf5", wavelengths=None)
    volume = it.load(path, wavelength_nm=[800, 700, 760])
    assert_array_equal(volume.axes[1].values, [700, 760, 800])
    assert_array_equal(volume.data[0, 0, 0, 0], [997, 1997, -3])
    with pytest.raises(CorruptInput, match="one wavelength per image"):
        it.load(path, wavelength_nm=[800, 700])


@pytest.mark.parametrize(
    ("wavelengths", "kind"),
    [((0.8, 0.7, 0.76), UnitMismatch), ((800.0, 700.0), CorruptInput), ((8e-7, 7e-7, 7.6e-7), None)],
)
def test_wavelengths_of_the_file_are_checked(tmp_path, files, wavelengths, kind):
    path = files.images(tmp_path / "a.hdf5", wavelengths=wavelengths)
    if kind is None:
        assert_allclose(it.load(path).axes[1].values, [700, 760, 800])
    else:
        with pytest.raises(kind):
            it.load(path)


def test_repeated_wavelengths_are_told(tmp_path, files):
    assert "wavelength-repeated" in codes(
        it.load(files.images(tmp_path / "a.hdf5", wavelengths=(700, 700, 800)))
    )


def test_field_of_view_in_mm_is_refused(tmp_path, files):
    def edit(file):
        for axis in "XY":
            file["recons/Canary method/0"].attrs[f"RECONSTRUCTION_FIELD_OF_VIEW_{axis}"] = 250.0

    with pytest.raises(UnitMismatch, match="plausibly large"):
        it.load(files.images(tmp_path / "a.hdf5", edit=edit))


def test_without_times_frames_are_numbered_and_told(tmp_path, files):
    volume = it.load(files.images(tmp_path / "a.hdf5", edit=without("timestamp")))
    assert_array_equal(volume.axes[0].values, [0, 1])
    assert "time-unknown" in codes(volume)


def test_several_reconstructions_are_listed_without_their_names(tmp_path, files):
    def edit(file):
        file.copy("recons/Canary method/0", "recons/Canary method/1")

    path = files.images(tmp_path / "a.hdf5", edit=edit)
    with pytest.raises(NothingUsable, match="2 series") as caught:
        it.load(path)
    assert "Canary" not in caught.value.found
    assert it.load(path, series=2).shape == (5, 4, 1, 2, 3)
    assert [one.place for one in it.info(path)] == ["reconstruction 1", "reconstruction 2"]


def test_converted_images_are_named_as_their_sidecars_are_recognised(tmp_path, files):
    """msot.md 5.4: file name suffix _pa, so that the image is photoacoustic even without our own keys."""

    def edit(file):
        file.copy("recons/Canary method/0", "recons/Canary method/1")

    path = files.images(tmp_path / "a.hdf5", edit=edit)
    written = it.convert(path, tmp_path / "out")
    images = [file for file in written if file.name.endswith(".nii.gz")]
    assert [file.name for file in images] == [
        "01_optoacoustic_signal_pa.nii.gz",
        "02_optoacoustic_signal_pa.nii.gz",
    ]
    images[0].with_name("01_optoacoustic_signal_pa.json").unlink()
    with pytest.raises(MissingMetadata, match="wavelengths"):
        it.load(images[0])
    assert it.load(images[0], wavelength_nm=[700, 760, 800]).quantity == "optoacoustic_signal"


def test_not_finite_values_are_kept_and_counted(tmp_path, files):
    def edit(file):
        file["recons/Canary method/0"][0, 0, 0, 1, 2] = np.nan

    volume = it.load(files.images(tmp_path / "a.hdf5", edit=edit))
    assert np.isnan(volume.data[2, 1, 0, 0, 2])
    assert np.isnan(volume.data).sum() == 1
    assert "not-finite-voxels" in codes(volume)


def test_images_survive_saving_as_nifti_and_as_dicom(tmp_path, files):
    volume = it.load(files.images(tmp_path / "a.hdf5"))
    it.save(volume, tmp_path / "mouse_pa.nii.gz")
    again = it.load(tmp_path / "mouse_pa.nii.gz")
    assert_array_equal(again.data, volume.data)
    it.save(volume, tmp_path / "dicom")
    third = it.load(tmp_path / "dicom")
    assert [axis.name for axis in third.axes] == ["time", "wavelength"]
    assert_allclose(third.data, volume.data, atol=np.ptp(volume.data) * 2.0**-16)
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.name != "a.hdf5":
            assert b"anary" not in file.read_bytes().lower()


def test_raw_signals_of_the_same_layout(tmp_path, files):
    path = files.raw(tmp_path / "a.hdf5")
    signals = it.msot.load_signals(path)
    stored = np.arange(2 * 3 * 4 * 12).reshape(2, 3, 4, 12)
    assert_array_equal(signals.samples, stored[:, [1, 2, 0]])
    assert_array_equal(signals.wavelength_nm, [700, 760, 800])
    assert (signals.sampling_rate_hz, signals.speed_of_sound_m_s) == (4e7, 1510.0)
    assert_allclose(signals.detector_positions_mm[1], [1.0, 40.5, 0.0])
    assert_allclose(signals.frame_time_s, [[1, 2, 0], [4, 5, 3]])
    assert signals.energy_corrected is None
    assert "CANARY" not in repr(signals) + repr(signals.history)
    with pytest.raises(UnsupportedInput, match="load_signals"):
        it.load(path)


def test_raw_signals_need_a_sampling_rate(tmp_path, files):
    with pytest.raises(MissingMetadata, match="sampling rate"):
        it.msot.load_signals(files.raw(tmp_path / "a.hdf5", edit=without("raw_data@fs")))


def test_images_are_no_signals(tmp_path, files):
    with pytest.raises(UnsupportedInput, match=r"imgtheranostics\.load"):
        it.msot.load_signals(files.images(tmp_path / "a.hdf5"))
