"""Series of one file per slice and sample: what CT and MR writing share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.io.dicom.header_modules import clock_text, ds
from imgtheranostics.io.dicom.sample_parameters import each_sample
from imgtheranostics.io.dicom.series_header import (
    PlaneGeometry,
    SeriesIdentity,
    add_grey_pixels,
    encoded,
    new_dataset,
    set_instance,
    set_pixels,
)
from imgtheranostics.io.dicom.stored_values import StoredScale
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset


def content_digest(volume: Volume, *parts: object) -> str:
    """A digest of voxels, geometry, axes, and of everything else that the files will say."""
    total = hashlib.sha256(np.ascontiguousarray(volume.data.T).data)  # a view: Fortran order
    total.update(volume.affine.tobytes())
    for axis in volume.axes:
        total.update(repr((axis.name, axis.unit, axis.values.tolist())).encode())
    total.update(repr((volume.quantity, *parts)).encode())
    return total.hexdigest()


class SliceSeries:
    """One series being written: the part that all files share, and each file from it.

    Parameters
    ----------
    volume : Volume
    identity : SeriesIdentity
    samples : sequence of dict
        Attributes by keyword of each sample; ``time_s`` is seconds from the start of the series.
    scales : callable
        The scale of the plane (slice, sample).
    describe : callable
        Adds the modules of the modality to the shared dataset.
    """

    def __init__(
        self,
        volume: Volume,
        identity: SeriesIdentity,
        samples: Sequence[dict[str, Any]],
        scales: Callable[[int, int], StoredScale],
        describe: Callable[[Dataset], None],
    ) -> None:
        self.identity = identity
        self.samples = samples
        self.finish: Callable[[Dataset, StoredScale], None] | None = None
        self.scales = scales
        self.planes = PlaneGeometry.of(volume.grid)
        self.voxels = each_sample(volume)
        dataset = new_dataset(identity)
        add_grey_pixels(dataset, volume.grid.shape)
        self.planes.add_plane(dataset)
        describe(dataset)
        if scales(0, 0).padded:
            dataset.PixelPaddingValue = 0
        self.dataset = encoded(dataset)

    def write(self, folder: Path) -> Iterator[str]:
        """Write all files into `folder`; yields their names."""
        for sample in range(self.voxels.shape[3]):
            for k in range(self.voxels.shape[2]):
                name = f"f{sample + 1:04d}_s{k + 1:04d}.dcm"
                self._image(sample, k).save_as(folder / name, enforce_file_format=True)
                yield name

    def _image(self, sample: int, k: int) -> Dataset:
        """The dataset of one slice of one sample; the same object every time."""
        dataset, scale = self.dataset, self.scales(k, sample)
        set_instance(dataset, self.identity.digest, sample, k)
        dataset.InstanceNumber = sample * self.voxels.shape[2] + k + 1
        dataset.ImagePositionPatient = self.planes.position(k)
        attributes = dict(self.samples[sample])
        seconds = attributes.pop("time_s", None)
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        self._clock(dataset, seconds)
        dataset.RescaleSlope, dataset.RescaleIntercept = scale.slope, scale.intercept
        if self.finish is not None:
            self.finish(dataset, scale)
        set_pixels(dataset, scale.store(self.voxels[:, :, k, sample]))
        return dataset

    def _clock(self, dataset: Dataset, seconds: float | None) -> None:
        moment = self.identity.moment
        if moment is not None and seconds is not None:
            moment += timedelta(seconds=seconds)
        dataset.AcquisitionDate = dataset.ContentDate = moment.strftime("%Y%m%d") if moment else ""
        dataset.AcquisitionTime = dataset.ContentTime = clock_text(moment)


def time_attributes(number: int, seconds: float) -> dict[str, Any]:
    """The attributes of the sample that is the `number`-th in time, counted from 0."""
    return {
        "TemporalPositionIdentifier": number + 1,
        "AcquisitionNumber": number + 1,
        "time_s": float(seconds),
    }


def milliseconds(seconds: float) -> str:
    """A time in s as a decimal string in ms, without the digits of rounding."""
    return ds(float(np.format_float_positional(seconds * 1000.0, precision=12, unique=True)))
