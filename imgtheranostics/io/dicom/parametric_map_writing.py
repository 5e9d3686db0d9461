"""Writing a Volume of any quantity as a DICOM Parametric Map: its float32 values as they are, unit in UCUM.

References
----------
.. [1] DICOM PS3.3 A.75, Parametric Map; C.7.6.16.2.11, Real World Value Mapping; C.7.6.24, Floating Point
   Image Pixel, whose values may be NaN (PS3.5 section 8).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics._version import VERSION
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.io.budget import check_budget
from imgtheranostics.io.dicom.derived_objects import MANUFACTURER, STAND_IN_NAME, settle
from imgtheranostics.io.dicom.header_modules import ds, uid
from imgtheranostics.io.dicom.quantity_codes import (
    DERIVATION,
    OWN_QUANTITY,
    QUANTITY,
    STANDARD_ERROR,
    Code,
    axis_code,
    own_quantity,
    quantity_code,
    unit_code,
)
from imgtheranostics.io.dicom.series_header import PlaneGeometry, item
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

    from imgtheranostics.io.dicom.source_series import SourceSeries

PARAMETRIC_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.30"
SERIES_NUMBER = 910
MODEL = "maps"

_LARGEST_TEXT = 64
_LARGEST_LABEL = 16
_BYTES_PER_VOXEL = 12
"""The array, its frames and their bytes, which exist at a time."""


@dataclass(frozen=True, slots=True)
class MapPart:
    """Which of the objects of one quantity is written: the value, or its standard error.

    Both are instances of one series.
    """

    number: int = 1
    standard_error: bool = False


VALUE = MapPart()
ERROR = MapPart(2, standard_error=True)


def parametric_map(
    volume: Volume,
    series: SourceSeries,
    part: MapPart = VALUE,
    *,
    series_number: int = SERIES_NUMBER,
    identity: str = "",
) -> Dataset:
    """A Parametric Map of a Volume, in the study and frame of reference of a series.

    Parameters
    ----------
    volume : Volume
        On any right-angled grid. Samples along further axes become frames one after another, told apart by a
        real-world value mapping each that states the place along the axis. NaN stays NaN.
    series : SourceSeries
        The images from which the map was made. Frames refer to the image at the same place, where there is
        one.
    part : MapPart
        Whether the Volume is a value or the standard error of one.
    series_number : int
    identity : str
        What the series' UID derives from beside its source: the digest of the value, for its standard error.

    Returns
    -------
    pydicom.Dataset
        The same for the same Volume and series.

    Raises
    ------
    UnsupportedInput
        If the grid is sheared, a value is infinite, or the map exceeds the memory budget.
    """
    import highdicom as hd

    check_budget(_BYTES_PER_VOXEL * volume.data.size, where=volume.quantity, what="the parametric map")
    low, high = _range(volume)
    digest = map_digest(volume, series)
    description = f"{volume.quantity}{' standard error' if part.standard_error else ''}"[:_LARGEST_TEXT]
    planes = PlaneGeometry.of(volume.grid)
    dataset = hd.pm.ParametricMap(
        source_images=_images(series),
        pixel_array=_pixels(volume),
        series_instance_uid=uid("map series", identity or digest),
        series_number=series_number,
        sop_instance_uid=uid("map", part.number, digest),
        instance_number=part.number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=VERSION,
        device_serial_number="0",
        contains_recognizable_visual_features=series.header.get("QualityControlSubject") != "YES",
        real_world_value_mappings=_mappings(volume, part, low, high),
        voi_lut_transformations=[_window(low, high)],
        pixel_measures=hd.PixelMeasuresSequence(
            pixel_spacing=[float(value) for value in planes.pixel_spacing],
            slice_thickness=float(planes.thickness),
            spacing_between_slices=float(planes.thickness),
        ),
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", [float(v) for v in planes.orientation]),
        plane_positions=[
            hd.PlanePositionSequence("PATIENT", [float(v) for v in planes.position(k)])
            for k in range(planes.shape[2])
        ],
        content_label="MAP",
        content_description=description,
        series_description=volume.quantity[:_LARGEST_TEXT],
    )
    dataset.Laterality = ""
    _add_axis_dimension(dataset, volume)
    settle(dataset, series, digest)
    return dataset


def map_digest(volume: Volume, series: SourceSeries) -> str:
    """A digest of the map and of the series that it belongs to."""
    total = hashlib.sha256(f"{volume.quantity} {volume.unit}".encode())
    total.update(volume.affine.tobytes())
    for axis in volume.axes:
        total.update(f"{axis.name} {axis.unit}".encode() + axis.values.tobytes())
    total.update(np.ascontiguousarray(volume.data.T).tobytes())
    header = series.header
    total.update(
        repr([str(header.get(key)) for key in ("SeriesInstanceUID", "PatientID", "StudyDate")]).encode()
    )
    return total.hexdigest()


def _images(series: SourceSeries) -> list[Dataset]:
    """The source's images without pixels; of slices spread over several multi-frame files the first file."""
    try:
        images = series.images()
    except UnsupportedInput:
        images = series.first_image()
    for image in images:
        image.PatientName = STAND_IN_NAME
    return images


def _range(volume: Volume) -> tuple[float, float]:
    """Smallest and largest value that is known; nothing infinite."""
    infinite = int(np.isinf(volume.data).sum())
    if infinite:
        raise UnsupportedInput(
            "a parametric map with infinite values is not written",
            found=f"{infinite} of {volume.data.size} voxels of {volume.quantity}",
            next_step="save the map as NIfTI",
        )
    low, high = float(np.fmin.reduce(volume.data, axis=None)), float(np.fmax.reduce(volume.data, axis=None))
    return (0.0, 0.0) if np.isnan(low) else (low, high)


def _pixels(volume: Volume) -> npt.NDArray[np.float32]:
    """(slices, rows, columns) values, with the samples of further axes last."""
    planar = np.asarray(volume.data, np.float32).reshape((*volume.grid.shape, -1), order="F")
    frames = planar.transpose(2, 1, 0, 3)
    return np.ascontiguousarray(frames if volume.axes else frames[..., 0])


def _window(low: float, high: float) -> Any:
    """A window over all values."""
    import highdicom as hd

    # the plain linear function takes one from the width, as if values were whole numbers
    width = high - low
    return hd.VOILUTTransformation(
        window_center=float(ds((low + high) / 2)),
        window_width=float(ds(width)) if width > 0 else 1.0,
        voi_lut_function=hd.VOILUTFunctionValues.LINEAR_EXACT,
    )


def _mappings(volume: Volume, part: MapPart, low: float, high: float) -> list[Any]:
    """What the values are, for the whole map or for each sample of its axes."""
    if not volume.axes:
        return [_mapping(volume, part, (low, high), volume.quantity, ())]
    found = []
    for number, place in enumerate(places(volume), start=1):
        told = ", ".join(f"{code.meaning} {value:g} {unit}" for code, value, unit in place)
        found.append([_mapping(volume, part, (low, high), f"{number}: {told}", place)])
    return found


Place = tuple[tuple[Code, float, str], ...]


def places(volume: Volume) -> list[Place]:
    """Where each sample lies: code of the axis, coordinate and unit; the first axis fastest."""
    axes = [[(axis_code(axis.name), float(v), axis.unit) for v in axis.values] for axis in volume.axes]
    return [tuple(reversed(one)) for one in product(*reversed(axes))]


def _mapping(volume: Volume, part: MapPart, values: tuple[float, float], label: str, place: Place) -> Any:
    import highdicom as hd

    description = QUANTITIES[volume.quantity].description
    mapping: Any = hd.pm.RealWorldValueMapping(
        lut_label=label[:_LARGEST_LABEL],
        lut_explanation=f"{'standard error of: ' if part.standard_error else ''}{description}"[
            :_LARGEST_TEXT
        ],
        unit=unit_code(volume.unit, volume.quantity).concept(),
        value_range=values,
        slope=1.0,
        intercept=0.0,
    )
    definition = [
        _coded(QUANTITY, quantity_code(volume.quantity)),
        _coded(OWN_QUANTITY, own_quantity(volume.quantity)),
    ]
    if part.standard_error:
        definition.append(_coded(DERIVATION, STANDARD_ERROR))
    mapping.QuantityDefinitionSequence = definition + [_number(*one) for one in place]
    return mapping


def _coded(name: Code, value: Code) -> Dataset:
    return item(ValueType="CODE", ConceptNameCodeSequence=[name.item()], ConceptCodeSequence=[value.item()])


def _number(name: Code, value: float, unit: str) -> Dataset:
    return item(
        ValueType="NUMERIC",
        ConceptNameCodeSequence=[name.item()],
        NumericValue=ds(value),
        MeasurementUnitsCodeSequence=[unit_code(unit).item()],
    )


def _add_axis_dimension(dataset: Dataset, volume: Volume) -> None:
    """Make the samples of further axes a dimension of their own, so that no two frames have one index."""
    if not volume.axes:
        return
    from pydicom.tag import Tag

    pointer = item(
        DimensionIndexPointer=Tag("LUTLabel"),
        FunctionalGroupPointer=Tag("RealWorldValueMappingSequence"),
        DimensionDescriptionLabel="Sample",
    )
    dataset.DimensionIndexSequence.insert(0, pointer)
    numbers: dict[str, int] = {}
    for group in _frame_groups(dataset):
        label = str(group.RealWorldValueMappingSequence[0].LUTLabel)
        number = numbers.setdefault(label, len(numbers) + 1)
        content = group.FrameContentSequence[0]
        indices = content.DimensionIndexValues
        old = list(indices) if isinstance(indices, Sequence) or hasattr(indices, "__iter__") else [indices]
        content.DimensionIndexValues = [number, *old]


def _frame_groups(dataset: Dataset) -> Sequence[Dataset]:
    """The functional groups of the frames, with those that one sample shares put into each."""
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    if "RealWorldValueMappingSequence" in shared:
        mapping = shared.RealWorldValueMappingSequence
        del shared.RealWorldValueMappingSequence
        for group in groups:
            group.RealWorldValueMappingSequence = mapping
    return groups
