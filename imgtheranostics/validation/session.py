"""One phantom on disk, read back and quantified as a user would, with what was measured in it so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from imgtheranostics.errors import ImgTheranosticsError
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from imgtheranostics.nuclear import Calibration
    from imgtheranostics.phantom.making import Phantom

_MOST_KEPT_BYTES = 128 * 2**20
"""Loaded images that are kept for further measurements; the one asked for last always is."""

Means = dict[tuple[str, int], float]


class Point(NamedTuple):
    """A region in one image of a curve: mid-frame time in s after injection, mean, error of sampling."""

    time_s: float
    mean: float
    standard_error: float


FileFormat = Literal["dicom", "nifti"]


class Session:
    """One phantom on disk, with what was measured in it so far.

    Parameters
    ----------
    phantom : Phantom
    folder : Path
        Where the images are written, each when it is first asked for.
    file_format : {"dicom", "nifti"}
    """

    def __init__(self, phantom: Phantom | None, folder: Path, file_format: FileFormat = "dicom") -> None:
        self._phantom = phantom
        self.folder = folder
        self.file_format = file_format
        self._loaded: dict[int, Volume] = {}
        self._means: dict[tuple[int, str], Means | ImgTheranosticsError] = {}
        self._curves: dict[tuple[int, str, bool], dict[str, Point]] = {}
        self._kept: dict[Hashable, Any] = {}

    @property
    def phantom(self) -> Phantom:
        """The phantom as it was made, with its truth."""
        if self._phantom is None:
            raise MethodMissing("phantom in this session")
        return self._phantom

    def image(self, volume: int) -> Volume:
        """One of the phantom's images, written to a file and read by the public loader."""
        from imgtheranostics.io.loading import load

        if volume not in self._loaded:
            found = load(self._file(volume))
            held = sum(other.data.nbytes for other in self._loaded.values())
            if held + found.data.nbytes > _MOST_KEPT_BYTES:
                self._loaded.clear()
            self._loaded[volume] = found
        return self._loaded[volume]

    def quantified(self, volume: int, quantity: str) -> Volume | Estimate:
        """A quantity's map of one image, by the public API."""
        if self.modality(volume) == "MRI":
            from imgtheranostics.validation import mri_maps

            return mri_maps.quantified(self, volume, quantity)
        if self.modality(volume) == "CEST":
            from imgtheranostics.validation import cest_maps

            return cest_maps.quantified(self, volume, quantity)
        if self.modality(volume) == "CT":
            from imgtheranostics.validation import ct_maps

            return ct_maps.quantified(self, volume, quantity)
        if self.modality(volume) == "MSOT":
            from imgtheranostics.validation import msot_maps

            return msot_maps.quantified(self, volume, quantity)
        return quantify(self.image(volume), quantity, calibration=self.calibration(volume))

    def modality(self, volume: int) -> str:
        """Modality of one of the phantom's images."""
        from imgtheranostics.phantom.physics import part_with

        return part_with(self.phantom.spec, volume)[0].modality

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What several measurements need, made once; small things such as one map."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def calibration(self, volume: int) -> Calibration | None:
        """What the user of the phantom's camera knows of it, for images in counts; else None."""
        from imgtheranostics.nuclear import Calibration

        spec, modality = self.phantom.spec, self.modality(volume)
        physics = spec.physics_of(modality)
        if modality != "SPECT" or physics.sensitivity_cps_mbq is None:
            return None
        return Calibration(physics.sensitivity_cps_mbq, dead_time_s=physics.dead_time_s)

    def curve(self, volume: int, quantity: str, *, decay_corrected: bool = True) -> dict[str, Point]:
        """Each region of a static image as a point of its curve, from `nuclear.time_activity`."""
        from imgtheranostics import nuclear

        key = (volume, quantity, decay_corrected)
        if key not in self._curves:
            table = nuclear.time_activity(
                self.image(volume),
                self.phantom.regions,
                quantity=quantity,
                decay_corrected=decay_corrected,
                sensitivity_cps_mbq=self.calibration(volume),
                peak=False,
            )
            errors = [detail["standard_error_sampling"] for detail in table.attrs["details"]]
            columns = (table["region"], table["axis_value"], table["mean"], errors)
            self._curves[key] = {
                region: Point(float(time_s), float(mean), float(error))
                for region, time_s, mean, error in zip(*columns, strict=True)
            }
        return self._curves[key]

    def mean(self, place: tuple[int, int], quantity: str, region: str) -> float:
        """Mean of a quantity in a region of one volume's frame; NaN where the region is absent."""
        volume, frame = place
        key = (volume, quantity)
        if key not in self._means:
            try:
                self._means[key] = self._measure(volume, quantity)
            except ImgTheranosticsError as error:
                self._means[key] = error
        found = self._means[key]
        if isinstance(found, ImgTheranosticsError):
            raise found
        return found.get((region, frame), math.nan)

    def _measure(self, volume: int, quantity: str) -> Means:
        from imgtheranostics.regions import roi_statistics

        table = roi_statistics(self.quantified(volume, quantity), self.phantom.regions)
        # a region has one row per frame, in the order of the frames
        order = dict.fromkeys(table["region"], 0)
        means: Means = {}
        for region, mean in zip(table["region"], table["mean"], strict=True):
            means[region, order[region]] = float(mean)
            order[region] += 1
        return means

    def _file(self, volume: int) -> Path:
        """The image on disk.

        No DICOM attribute holds saturation offsets, so that CEST is always NIfTI; ultrasound files hold whole
        grey levels, which cines without speckle (level 0) are finer than.
        """
        from imgtheranostics.phantom.writer import nifti_stem, write_image_as_dicom

        name = self.phantom.names[volume]
        if self.modality(volume) == "CEST":
            return self._nifti(volume, f"{name}_cest{'.nii' if self.file_format == 'dicom' else '.nii.gz'}")
        fine = self.modality(volume) == "US" and self.phantom.level == 0
        if self.file_format == "dicom" and not fine:
            place = self.folder / name
            if not place.is_dir():
                write_image_as_dicom(self.phantom, volume, self.folder)
                self.phantom.release()
            return place
        return self._nifti(volume, f"{nifti_stem(self.phantom, volume)}.nii.gz")

    def _nifti(self, volume: int, name: str) -> Path:
        from imgtheranostics.io.saving import save

        self.folder.mkdir(parents=True, exist_ok=True)
        place = self.folder / name
        if not place.is_file():
            save(self.phantom.volumes[volume], place)
            self.phantom.release()
        return place


Quantifier = Callable[..., "Volume | Estimate"]

_NUCLEAR = {"id_per_g": "percent_id_per_gram", "id_per_ml": "percent_id_per_ml", "suv_bw": "suv"}


def quantify(volume: Volume, quantity: str, *, calibration: Calibration | None = None) -> Volume | Estimate:
    """The map of a quantity, as the public API makes it from a loaded image.

    Counts need a calibration; images with a scale are taken as they are.

    Raises
    ------
    MethodMissing
        If the package has no method for it yet.
    ImgTheranosticsError
        If the method refuses the image.
    """
    from imgtheranostics import nuclear

    if quantity == volume.quantity:
        return volume
    if quantity == "activity_concentration" and calibration is not None:
        return nuclear.calibrate(volume, calibration)
    name = _NUCLEAR.get(quantity)
    if name is None:
        raise MethodMissing(f"method for {quantity}")
    method: Quantifier | None = getattr(nuclear, name, None)
    if method is None:
        raise MethodMissing(f"imgtheranostics.nuclear.{name}")
    if calibration is not None and volume.quantity in ("counts", "count_rate"):
        return method(volume, sensitivity_cps_mbq=calibration)
    return method(volume)
