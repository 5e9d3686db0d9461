"""HDF5 files in the two layouts that are read, small and made for every kind of edit."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

DETECTORS, SAMPLES, WAVELENGTHS, MEASUREMENTS = 4, 12, 3, 2


def ipasc(path, *, edit=None, wavelengths=(8e-7, 7e-7, 7.6e-7), shape=None, compression=None):
    """An IPASC container; values say where they are."""
    shape = shape or (DETECTORS, SAMPLES, WAVELENGTHS, MEASUREMENTS)
    index = np.indices(shape)
    values = sum(
        index[n] * factor for n, factor in zip(range(len(shape)), (1.0, 10.0, 1000.0, 10000.0), strict=False)
    )
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "binary_time_series_data", data=values.astype(np.float64), compression=compression
        )
        meta = file.create_group("meta_data")
        meta["acquisition_wavelengths"] = np.array(wavelengths)
        meta["ad_sampling_rate"] = 4e7
        meta["pulse_energy"] = np.array([0.04, 0.05])
        meta["measurement_timestamps"] = np.array([1700000000.0, 1700000002.5])
        meta["temperature_control"] = np.array([307.15, 308.15])
        meta["speed_of_sound"] = 1520.0
        meta["sizes"] = np.array(shape)
        meta["acoustic_coupling_agent"] = "D2O"
        meta["photoacoustic_imaging_device_reference"] = "CANARY-device"
        meta["uuid"] = "CANARY-uuid"
        detectors = file.create_group("meta_data_device/detectors")
        file["meta_data_device/general/unique_identifier"] = "CANARY-serial"
        for n in range(shape[0]):
            detectors[f"detection_element_{n}/detector_position"] = np.array([0.001 * n, 0.0405, 0.0])
        if edit is not None:
            edit(file)
    return path


def images(path, *, edit=None, shape=(2, 3, 1, 4, 5), wavelengths=(800.0, 700.0, 760.0), compression=None):
    """Reconstructions (frame, wavelength, z, y, x) with a field of view of 25 x 20 mm."""
    index = np.indices(shape)
    values = sum(index[n] * factor for n, factor in enumerate((1e4, 1e3, 100.0, 10.0, 1.0))) - 3.0
    with h5py.File(path, "w") as file:
        image = file.create_dataset("recons/Canary method/0", data=values, compression=compression)
        image.attrs["RECONSTRUCTION_FIELD_OF_VIEW_X"] = 0.025
        image.attrs["RECONSTRUCTION_FIELD_OF_VIEW_Y"] = 0.020
        image.attrs["RECONSTRUCTION_FIELD_OF_VIEW_Z"] = 0.0
        image.attrs["speedofsound"] = 1500
        if wavelengths is not None:
            file["wavelengths"] = np.array(wavelengths)
        file["timestamp"] = 637371523560823431 + (np.arange(shape[0] * shape[1]) * 10**7).reshape(shape[:2])
        file.attrs["name"] = "CANARY"
        if edit is not None:
            edit(file)
    return path


def raw(path, *, edit=None):
    """Raw signals (frame, wavelength, detector, sample)."""
    shape = (2, 3, DETECTORS, SAMPLES)
    values = np.arange(int(np.prod(shape)), dtype=np.uint16).reshape(shape)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("raw_data", data=values)
        data.attrs["fs"], data.attrs["speedofsound"], data.attrs["name"] = 4e7, 1510.0, "CANARY"
        file["wavelengths"] = np.array([800.0, 700.0, 760.0])
        file["GEOMETRY"] = np.array([[0.001 * n, 0.0405, 0.0] for n in range(DETECTORS)])
        file["irf"] = np.ones(SAMPLES)
        file["TEMPERATURE"] = np.full((2, 3), 34.0)
        file["timestamp"] = 637371523560823431 + (np.arange(6) * 10**7).reshape(2, 3)
        if edit is not None:
            edit(file)
    return path


class Files:
    """What the tests of this folder make."""

    ipasc, images, raw = staticmethod(ipasc), staticmethod(images), staticmethod(raw)
    DETECTORS, SAMPLES = DETECTORS, SAMPLES


@pytest.fixture
def files():
    return Files
