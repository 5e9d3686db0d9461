"""The system phantom of four sites as one series each; every figure comes from the files through pydicom."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

import imgtheranostics as it
from imgtheranostics.errors import MissingMetadata, NothingUsable

PHILIPS = (0x2005, 0x100E)
T1_FOLDERS = (
    "T1/site1_20200218/plate5",
    "T1/site2_20180925/plate5",
    "T1/site3_ge/plate4",
    "T1/site3_ge/plate5",
    "T1/site4_philips/plate4",
    "T1/site4_philips/plate5",
)
T2_FOLDERS = (
    "T2/site1_20200218/plate4",
    "T2/site3_ge/plate4",
    "T2/site3_ge/plate5",
    "T2/site4_philips/plate4",
    "T2/site4_philips/plate5",
)


@pytest.fixture
def phantom(public_data):
    """A folder of the phantom and its files, read by pydicom, by inversion or echo time."""

    def read(folder: str):
        root = public_data(f"mri/nist_phantom/{folder}")
        files = [pydicom.dcmread(path) for path in sorted(root.iterdir())]
        key = "InversionTime" if folder.startswith("T1") else "EchoTime"
        return root, sorted(files, key=lambda ds: float(ds[key].value))

    return read


def floating_point(ds) -> np.ndarray:
    """Philips by its own formula, others by their slope."""
    stored = ds.pixel_array.astype(np.float64)
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    if PHILIPS in ds:
        return (stored * slope + intercept) / (slope * float(ds[PHILIPS].value))
    return stored * slope + intercept


@pytest.mark.parametrize("folder", T1_FOLDERS)
def test_inversion_times_are_in_order_with_the_values_of_each_image(phantom, folder):
    root, files = phantom(folder)
    volume = it.load(root, series="all")
    (axis,) = volume.axes
    assert (axis.name, axis.unit) == ("inversion_time", "s")
    assert axis.values == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.6, 0.8])
    for n, ds in enumerate(files):
        np.testing.assert_allclose(volume.data[:, :, 0, n].T, floating_point(ds), rtol=1e-6)
    times = tuple(float(ds.RepetitionTime) / 1000.0 for ds in files)
    if len(set(times)) > 1:
        assert volume.acquisition.repetition_times_s == times
        assert volume.acquisition.repetition_time_s is None
    else:
        assert volume.acquisition.repetition_time_s == times[0]


@pytest.mark.parametrize("folder", T2_FOLDERS)
def test_echo_times_are_in_order_with_the_values_of_each_image(phantom, folder):
    root, files = phantom(folder)
    volume = it.load(root)
    (axis,) = volume.axes
    assert (axis.name, axis.unit) == ("echo_time", "s")
    assert axis.values == pytest.approx([float(ds.EchoTime) / 1000.0 for ds in files])
    for n in (0, 1, len(files) // 2, len(files) - 1):
        np.testing.assert_allclose(volume.data[:, :, 0, n].T, floating_point(files[n]), rtol=1e-6)


@pytest.mark.parametrize("folder", ["T1/site4_philips/plate5", "T1/site4_philips/plate4"])
def test_philips_values_are_of_the_kind_that_was_asked_for(phantom, folder):
    """The slopes differ from image to image, so that the three kinds differ by more than a factor."""
    root, files = phantom(folder)
    assert len({float(ds[PHILIPS].value) for ds in files}) == 6
    assert len({float(ds.RescaleSlope) for ds in files}) == 4
    kinds = {
        "floating_point": (floating_point, "philips_floating_point"),
        "display": (
            lambda ds: ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept),
            "philips_display",
        ),
        "stored": (lambda ds: ds.pixel_array.astype(float), "stored"),
    }
    for wanted, (value, recorded) in kinds.items():
        volume = it.load(root, series="all", mr_scaling=wanted)
        assert volume.acquisition.value_scale == recorded
        for n, ds in enumerate(files):
            np.testing.assert_allclose(volume.data[:, :, 0, n].T, value(ds), rtol=1e-6)
    assert it.load(root, series="all").acquisition.value_scale == "philips_floating_point"


def test_display_values_say_that_they_do_not_compare(phantom):
    root, _ = phantom("T1/site4_philips/plate5")
    volume = it.load(root, series="all", mr_scaling="display")
    assert [caution.code for caution in volume.warnings] == ["philips-display-values"]


@pytest.mark.parametrize("folder", ["T1/site1_20200218/plate5", "T1/site3_ge/plate5"])
def test_other_makers_have_one_kind_of_values(phantom, folder):
    root, _ = phantom(folder)
    plain = it.load(root, series="all")
    for wanted in ("floating_point", "display", "stored"):
        assert np.array_equal(it.load(root, series="all", mr_scaling=wanted).data, plain.data)


def test_series_are_never_merged_unasked(phantom):
    root, _ = phantom("T1/site1_20200218/plate5")
    with pytest.raises(NothingUsable, match="6 series") as caught:
        it.load(root)
    assert "all" in str(caught.value)


def test_part_of_the_inversion_times(phantom):
    root, _ = phantom("T1/site3_ge/plate5")
    volume = it.load(root, series="1,3,2")
    assert volume.axes[0].values == pytest.approx([0.05, 0.1, 0.2])


def test_floating_point_values_that_are_not_there_are_refused(tmp_path, make_series):
    def edit(ds, k):
        ds.Manufacturer, ds.RescaleSlope, ds.RescaleIntercept = "Philips", "2", "0"

    make_series(tmp_path, "MR", edit=edit)
    with pytest.raises(MissingMetadata, match="2005,100E"):
        it.load(tmp_path, mr_scaling="floating_point")
    assert it.load(tmp_path, mr_scaling="display").data.max() == 2 * 119
    assert it.load(tmp_path, mr_scaling="stored").data.max() == 119


def test_unknown_kind_of_values_is_a_usage_error(tmp_path, make_series):
    make_series(tmp_path, "MR")
    with pytest.raises(ValueError, match="floating_point"):
        it.load(tmp_path, mr_scaling="nonsense")


def test_kind_of_values_leaves_other_modalities_alone(tmp_path, make_series):
    make_series(tmp_path, "PT")
    assert np.array_equal(it.load(tmp_path, mr_scaling="stored").data, it.load(tmp_path).data)
