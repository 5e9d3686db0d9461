"""The DICOM objects of one run: its maps, the regions and what was measured in them, beside the source.

They join the study and the frame of reference of the images from which the run was made; a run without such
images has no place in DICOM and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imgtheranostics.errors import Caution, MissingMetadata
from imgtheranostics.grid import Grid
from imgtheranostics.regions import Regions
from imgtheranostics.report.labels import labelled
from imgtheranostics.report.privacy import Scrubber
from imgtheranostics.report.run import Run
from imgtheranostics.report.tables import quantities_object
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from pydicom import Dataset

    from imgtheranostics.io.dicom.source_series import SourceSeries

SEGMENTATION = "regions.seg.dcm"
REPORT = "measurements.sr.dcm"

_NOT_IMAGES = ("labels", "flags")


def with_dicom(run: Run, *, keep_identifiers: bool = False) -> Run:
    """The run with its DICOM objects among the files that it leaves.

    ``<quantity>.dcm`` and ``<quantity>_se.dcm`` are Parametric Maps of each map and its standard error,
    `SEGMENTATION` the regions, `REPORT` the table as a structured report (TID 1500).

    Parameters
    ----------
    run : Run
    keep_identifiers : bool
        Repeat name, ID and dates of the source series, for which otherwise a pseudonym and a neutral date
        stand; what the series states to be a phantom or de-identified is repeated as it is.

    Raises
    ------
    MissingMetadata
        If the run was not made from DICOM images, or these have no frame of reference.
    UnsupportedInput
        If a map holds infinite values, lies on a sheared grid, or exceeds the memory budget.
    """
    inputs = run.hashed_inputs()
    scrubber = Scrubber.for_run(run, inputs)
    named = labelled(run, scrubber)
    sources = _sources(run, [item.path for item in inputs], keep_identifiers)
    objects, cautions = _objects(named, sources, quantities_object(run.table, scrubber.label)["rows"])
    files = {name: _as_bytes(dataset) for name, dataset in objects}
    return run.with_files(files, inputs=inputs, warnings=cautions)


def _sources(run: Run, inputs: Sequence[Path], keep: bool) -> list[SourceSeries]:
    """The DICOM series of the maps, or else of everything that was read."""
    from imgtheranostics.io.dicom.source_series import SourceSeries

    mapped = [path for source in run.sources for path in source.files]
    for files in (mapped, inputs):
        found = SourceSeries.all_of(list(dict.fromkeys(files)), keep_identifiers=keep)
        if found:
            return found
    raise MissingMetadata(
        "DICOM objects refer to the DICOM images from which they were made, and there are none",
        where="--dicom",
        found="a scan in another format",
        needed="a scan read from DICOM files",
        next_step="leave out --dicom, or convert the scan to DICOM first (imgtheranostics convert)",
    )


def _objects(
    run: Run, sources: Sequence[SourceSeries], rows: Sequence[dict[str, object]]
) -> tuple[list[tuple[str, Dataset]], list[Caution]]:
    from imgtheranostics.io.dicom.measurement_report_writing import Evidence, measurement_report
    from imgtheranostics.io.dicom.seg_writing import segmentation

    maps = dict(_maps(run, sources))
    objects = list(maps.items())
    cautions: list[Caution] = []
    regions = run.delineated if run.delineated is not None else run.regions
    drawn = None
    home = sources[0]
    if regions is not None and len(regions):
        fitting = [one for one in sources if _fits(regions, one.grid)]
        if fitting:
            home = fitting[0]
            drawn = segmentation(regions, home)
            objects.append((SEGMENTATION, drawn))
        else:
            text = f"the regions lie on another grid than the source series: no {SEGMENTATION} was written"
            cautions.append(Caution("regions-not-in-dicom", text))
    if rows:
        values = {e.quantity: maps[f"{e.quantity}.dcm"] for e in run.maps}
        evidence = Evidence(drawn, values, _axis_units(run))
        objects.append((REPORT, measurement_report(rows, home, evidence)))
    return objects, cautions


def _fits(regions: Regions, grid: Grid) -> bool:
    return bool(grid.same_as(regions.grid)) or grid.axis_match(regions.grid) is not None


def _axis_units(run: Run) -> dict[str, str]:
    volumes = [*(estimate.value for estimate in run.maps), *run.images.values()]
    return {"time": "s", **{axis.name: axis.unit for volume in volumes for axis in volume.axes}}


def _maps(run: Run, sources: Sequence[SourceSeries]) -> Iterator[tuple[str, Dataset]]:
    """Parametric maps by file name, each with the series of its grid."""
    from imgtheranostics.io.dicom.parametric_map_writing import (
        ERROR,
        SERIES_NUMBER,
        map_digest,
        parametric_map,
    )

    shown: list[tuple[str, Volume | Estimate]] = [(e.quantity, e) for e in run.maps]
    shown += [(name, image) for name, image in run.images.items() if image.quantity not in _NOT_IMAGES]
    for number, (name, one) in enumerate(shown, start=SERIES_NUMBER):
        series = next((source for source in sources if source.grid.same_as(one.grid)), sources[0])
        value = one.value if isinstance(one, Estimate) else one
        yield f"{name}.dcm", parametric_map(value, series, series_number=number)
        if isinstance(one, Estimate):
            identity = map_digest(value, series)
            yield (
                f"{name}_se.dcm",
                parametric_map(one.standard_error, series, ERROR, series_number=number, identity=identity),
            )


def _as_bytes(dataset: Dataset) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
