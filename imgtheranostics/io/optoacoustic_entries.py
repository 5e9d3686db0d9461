"""Reconstructions of optoacoustic scans in the files of their scanners and in HDF5, as entries of a path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from imgtheranostics.errors import ImgTheranosticsError, UnsupportedInput
from imgtheranostics.io.entries import Entry, SeriesSummary, refused_entry, told
from imgtheranostics.io.frame_stack import FrameStack, arrange, stack_volume
from imgtheranostics.volume import Volume

_UID_TAIL = 8


@dataclass(slots=True)
class OptoacousticFiles:
    """What the optoacoustic files of a path are.

    Attributes
    ----------
    entries : list of Entry
        One for each reconstruction, and one for each scan that is refused.
    unreadable : list of Entry
        HDF5 files that are refused before it is known what they are.
    raw : list of Path
        Files of raw signals without a reconstruction.
    other : list of Path
        HDF5 files that hold neither.
    """

    entries: list[Entry] = field(default_factory=list)
    unreadable: list[Entry] = field(default_factory=list)
    raw: list[Path] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)


def optoacoustic_files(files: Sequence[Path], wavelength_nm: Sequence[float] | None) -> OptoacousticFiles:
    """Sort optoacoustic files by what they hold; none of their images is read."""
    found = OptoacousticFiles()
    for file in files:
        kind = "msot" if file.suffix.lower() == ".msot" else "hdf5"
        try:
            entries, is_raw = (_of_msot if kind == "msot" else _of_hdf5)(file, wavelength_nm)
        except ImgTheranosticsError as error:
            refused = found.entries if kind == "msot" else found.unreadable
            refused.append(refused_entry(kind, "PA", "", error))
            continue
        found.entries += entries
        if not entries:
            (found.raw if is_raw else found.other).append(file)
    return found


def begin_of(file: Path) -> datetime | None:
    """When an optoacoustic scan began, on the clock of its scanner; None where its file does not say it."""
    from imgtheranostics.io.hdf5 import image_sequences
    from imgtheranostics.io.hdf5.safe_file import SafeFile
    from imgtheranostics.io.ithera import description

    try:
        if file.suffix.lower() == ".msot":
            return description.begin_of(file)
        with SafeFile(file) as opened:
            return image_sequences.begin_of(opened)
    except ImgTheranosticsError:
        return None


def refuse_raw(place: str) -> UnsupportedInput:
    """The refusal of raw signals where images are wanted; it names what reads them."""
    return UnsupportedInput(
        "raw detector data are no volume",
        where=place,
        found="optoacoustic signals without a reconstruction",
        next_step="make images of them with imgtheranostics msot reconstruct; in Python, with "
        "msot.load_signals and msot.reconstruct",
    )


def refuse_other(file: Path) -> UnsupportedInput:
    """The refusal of an HDF5 file that holds nothing that is known."""
    return UnsupportedInput(
        "the HDF5 file holds no optoacoustic images that are known",
        where=str(file),
        needed="reconstructions (frame, wavelength, z, y, x) below recons",
        next_step="convert it to NIfTI with a _pa sidecar",
    )


def _of_msot(file: Path, wavelength_nm: Sequence[float] | None) -> tuple[list[Entry], bool]:
    from imgtheranostics.io.ithera.description import node_count, read_description
    from imgtheranostics.io.ithera.reconstructions import reconstruction

    count = node_count(file)
    if not count:
        return [], True
    if wavelength_nm is not None:
        raise UnsupportedInput(
            "the frames of a .msot scan state their own wavelengths", where=str(file), found="wavelength_nm"
        )
    description = read_description(file)
    return [
        _entry("msot", index, lambda index=index: reconstruction(description, index))  # type: ignore[misc]
        for index in range(count)
    ], True


def _of_hdf5(file: Path, wavelength_nm: Sequence[float] | None) -> tuple[list[Entry], bool]:
    from imgtheranostics.io.hdf5.image_sequences import has_raw_signals, reconstruction, reconstruction_names
    from imgtheranostics.io.hdf5.ipasc import SIGNALS
    from imgtheranostics.io.hdf5.safe_file import SafeFile

    with SafeFile(file) as opened:
        names = reconstruction_names(opened)
        is_raw = opened.has(SIGNALS) or has_raw_signals(opened)

    def describe(index: int) -> FrameStack:
        with SafeFile(file) as opened:
            return reconstruction(opened, index, wavelength_nm)

    entries = [
        _entry("hdf5", index, lambda index=index: describe(index))  # type: ignore[misc]
        for index in range(len(names))
    ]
    return entries, is_raw


def _entry(kind: str, index: int, describe: Callable[[], FrameStack]) -> Entry:
    place = f"reconstruction {index + 1}"
    try:
        stack = describe()
    except ImgTheranosticsError as error:
        return refused_entry(kind, "PA", place, error)

    def load() -> Volume:
        return stack_volume(stack)

    return Entry(kind, stack.uid, lambda number: _summary(number, kind, stack), load)


def _summary(number: int, kind: str, stack: FrameStack) -> SeriesSummary:
    files = len(stack.source.files)
    n_images = stack.n_frames * len(stack.wavelength_nm)
    try:
        arranged = arrange(stack)
    except ImgTheranosticsError as error:
        return SeriesSummary(
            number, kind, "PA", n_images, (), (), files=files, problems=(told(error),), place=stack.label
        )
    return SeriesSummary(
        number=number,
        kind=kind,
        modality="PA",
        n_images=n_images,
        shape=arranged.shape,
        spacing_mm=tuple(float(v) for v in np.linalg.norm(arranged.affine[:3, :3], axis=0)),
        axes={axis.name: len(axis) for axis in arranged.axes},
        quantity=stack.quantity,
        unit=stack.unit,
        files=files,
        problems=tuple(str(one) for one in (*stack.cautions, *arranged.cautions)),
        uid_tail=stack.uid[-_UID_TAIL:],
        place=stack.label,
    )
