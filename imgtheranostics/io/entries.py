"""What a path holds, one entry for each image series: how it is listed, and how it becomes a Volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from imgtheranostics.errors import ImgTheranosticsError
from imgtheranostics.io.dicom.series import Series
from imgtheranostics.volume import Volume


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """One series of a path, as `info` lists it; nothing in it identifies a person.

    Attributes
    ----------
    number : int
        From 1, in the order of the listing; `load` takes it as `series`.
    kind : str
        ``dicom``, ``nifti``, ``bruker``, ``msot``, ``hdf5``; ``other`` for objects that are no image series.
    modality : str
    n_images : int
        Planes.
    shape : tuple of int
        Of the Volume; empty where the series cannot be one.
    spacing_mm : tuple of float
    axes : dict
        Axis name -> length.
    quantity, unit : str
    files : int
    problems : tuple of str
        Why it cannot be loaded, and what to know when it can.
    uid_tail : str
        Last characters of the series UID.
    place : str
        Which scan, reconstruction and image of it.
    """

    number: int
    kind: str
    modality: str
    n_images: int
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    axes: dict[str, int] = field(default_factory=dict)
    quantity: str = ""
    unit: str = ""
    files: int = 0
    problems: tuple[str, ...] = ()
    uid_tail: str = ""
    place: str = ""


@dataclass(slots=True)
class Entry:
    """Something that can become a Volume."""

    kind: str
    uid: str
    summary: Callable[[int], SeriesSummary]
    load: Callable[[], Volume]
    series: Series | None = None


def refused_entry(kind: str, modality: str, place: str, error: ImgTheranosticsError) -> Entry:
    """An entry that is listed with its reason and raises it when it is asked for."""

    def refuse() -> Volume:
        raise error

    def summary(number: int) -> SeriesSummary:
        problem = (told(error),)
        return SeriesSummary(number, kind, modality, 0, (), (), files=1, problems=problem, place=place)

    return Entry(kind, "", summary, refuse)


def told(error: ImgTheranosticsError) -> str:
    """A refusal as a listing tells it."""
    return f"{type(error).__name__}: {error}"
