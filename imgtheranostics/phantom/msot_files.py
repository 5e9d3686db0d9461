"""Optoacoustic images of phantoms in the common HDF5 layout of reconstructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imgtheranostics.volume import Volume

RECONSTRUCTION = "recons/phantom/0"
"""Name of the image in the file."""

_MM_PER_M = 1e3


def write_reconstruction(volume: Volume, path: Path) -> None:
    """Write an optoacoustic image as (frame, wavelength, z, y, x) with its field of view in m.

    The layout has no place for the patient's axes: rows and columns run towards +x and +y, as a reader that
    takes them for the axes of space expects.

    Parameters
    ----------
    volume : Volume
        ``optoacoustic_signal`` with the wavelength as its only axis, upright and centred on the origin.
    path : Path
        New file.
    """
    import h5py

    axis = volume.axes[-1]
    upright = [slice(None, None, int(np.sign(volume.grid.affine[n, n]))) for n in range(3)]
    images = np.transpose(volume.data[tuple(upright)], (3, 2, 1, 0))[np.newaxis]
    with h5py.File(path, "w", track_order=True) as file:
        file.create_dataset("wavelengths", data=np.asarray(axis.values, np.float64))
        stored = file.create_dataset(
            RECONSTRUCTION, data=np.ascontiguousarray(images), compression="gzip", compression_opts=1
        )
        for letter, count, spacing in zip("XYZ", volume.shape, volume.grid.spacing_mm, strict=False):
            stored.attrs[f"RECONSTRUCTION_FIELD_OF_VIEW_{letter}"] = count * spacing / _MM_PER_M
        stored.attrs["WAVELENGTHS"] = np.asarray(axis.values, np.float64)
