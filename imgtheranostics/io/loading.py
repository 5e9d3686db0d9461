"""load, load_all and info: what a path holds, as Volumes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imgtheranostics.errors import (
    GeometryMismatch,
    ImgTheranosticsError,
    NothingUsable,
    UnsupportedInput,
)
from imgtheranostics.io.bruker.dataset import RAW_NAMES
from imgtheranostics.io.dicom.discovery import Found, find
from imgtheranostics.io.dicom.energies import check_energies
from imgtheranostics.io.dicom.energy_windows import Window, window_text
from imgtheranostics.io.dicom.planning import common_place, plan
from imgtheranostics.io.dicom.reading import read
from imgtheranostics.io.dicom.scaling import MR_SCALINGS
from imgtheranostics.io.dicom.series import Catalogue, Series, catalogue, combine
from imgtheranostics.io.entries import Entry, SeriesSummary, refused_entry, told
from imgtheranostics.io.foreign import refuse_file
from imgtheranostics.io.window_choice import WindowChoice, check_choice, energy_window, matches, only_match
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from imgtheranostics.io.bruker.planning import BrukerPlan
    from imgtheranostics.io.dicom.planning import Plan

PathLike = str | os.PathLike[str]

RAW_SIGNALS = "raw optoacoustic signals"
"""What `info` calls scans that only `imgtheranostics.msot.load_signals` reads."""

_UID_TAIL = 8


def load(
    path: PathLike | Sequence[PathLike],
    series: int | str | Sequence[int | str] | None = None,
    *,
    mr_scaling: str | None = None,
    wavelength_nm: Sequence[float] | None = None,
    frame_time_s: float | None = None,
    window_kev: WindowChoice | None = None,
) -> Volume:
    """Load one image series as a Volume.

    Parameters
    ----------
    path : path or list of paths
        A file, a folder (searched with its subfolders) or a list of files.
    series : int, str or list of them, optional
        Which one, where there are several: its number in the listing, its UID, or the end of its UID. A
        list, also as one text with commas, makes one Volume of series that differ in one parameter only, such
        as one per flip angle; ``all`` makes it of every series of the path.
    mr_scaling : {"floating_point", "display", "stored"}, optional
        Which of the values of MR images in DICOM files: those that compare between images (of Philips the
        precise ones, else the rescaled ones), those that the scanner displays, or the stored numbers. By
        default the first, with a warning where Philips files do not allow it; given outright, its absence is
        an error.
    wavelength_nm : sequence of float, optional
        Wavelengths of an optoacoustic image that states none, or wrong ones: one per image, in the order of
        the file. They are never guessed.
    frame_time_s : float, optional
        Time between the frames of an ultrasound cine that does not say when they were; display rates are no
        times. It replaces what the file says, with a warning.
    window_kev : float or (float, float), optional
        Which energy window of a gamma camera, where there are several: an energy in it, or its lower and
        upper limit. ``series="all"`` without it makes an ``energy`` axis of windows that share one grid.

    Returns
    -------
    Volume

    Raises
    ------
    NothingUsable
        If there is no image series, or several and `series` does not choose one, or no such energy window;
        the message lists them.
    ImgTheranosticsError
        The typed refusal of what cannot be a right number.

    Examples
    --------
    >>> import imgtheranostics as it
    >>> v = it.load("scan/PT")  # doctest: +SKIP
    """
    found = find(path)
    entries, parts = _entries(found, mr_scaling, wavelength_nm, frame_time_s)
    if not entries:
        raise _nothing(path, found, parts)
    _raise_broken(parts)
    if window_kev is not None:
        window_kev = check_choice(window_kev)
        volume = _of_window(entries, series, window_kev, path)
        if volume is not None:
            return volume
    several = _several(series, len(entries))
    if several is not None:
        combined = _combined(entries, several, path, mr_scaling)
        return combined if window_kev is None else energy_window(combined, window_kev)
    if series is not None and not isinstance(series, (int, str)):
        raise ValueError("an empty list chooses no series")
    chosen = entries if series is None else _matching(entries, series)
    if len(chosen) == 1:
        return chosen[0].load()
    _raise_if_one_series_of_many_orientations(chosen)
    raise NothingUsable(
        f"the path holds {len(chosen)} series",
        where=_place(path),
        found=_listing(entries),
        needed="one series",
        next_step="choose one with series= (--series): its number, or the end of its UID; or several that "
        "differ in one parameter, such as 1,2,3, or all, to make one volume of them",
    )


def _of_window(
    entries: list[Entry],
    series: int | str | Sequence[int | str] | None,
    window: WindowChoice,
    path: PathLike | Sequence[PathLike],
) -> Volume | None:
    """The Volume of an energy window, where its choice or that of one series is enough; else None."""
    cameras = [entry for entry in entries if entry.series is not None and entry.series.modality == "NM"]
    if series is None and len(cameras) > 1:
        windows = [_window_of(entry.series) for entry in cameras if entry.series is not None]
        fitting = [one for one in windows if matches(one, window)]
        if len(fitting) != 1 and len(set(windows)) < len(windows):
            return None
        return cameras[only_match(windows, window, _place(path))].load()
    if isinstance(series, (int, str)) or series is None:
        one_of_several = _several(series, len(entries)) is None
        chosen = entries if series is None else _matching(entries, series) if one_of_several else []
        return energy_window(chosen[0].load(), window) if len(chosen) == 1 else None
    return None


def _several(series: int | str | Sequence[int | str] | None, count: int) -> list[int | str] | None:
    """The choices that are to become one Volume, or None where one series is chosen."""
    if isinstance(series, str):
        if series.strip().lower() == "all":
            return list(range(1, count + 1))
        parts = [part.strip() for part in series.split(",")]
        return [part for part in parts if part] if len(parts) > 1 else None
    if series is None or isinstance(series, int):
        return None
    return list(series) or None


def load_all(path: PathLike | Sequence[PathLike], *, mr_scaling: str | None = None) -> list[Volume]:
    """Load every image series of a path.

    Parameters
    ----------
    path : path or list of paths
    mr_scaling : {"floating_point", "display", "stored"}, optional
        As in `load`.

    Returns
    -------
    list of Volume
        In the order of `info`.

    Raises
    ------
    NothingUsable
        If there is none.
    ImgTheranosticsError
        If any of them cannot be loaded.
    """
    found = find(path)
    entries, parts = _entries(found, mr_scaling)
    if not entries:
        raise _nothing(path, found, parts)
    _raise_broken(parts)
    return [entry.load() for entry in entries]


def info(path: PathLike | Sequence[PathLike]) -> list[SeriesSummary]:
    """What a path holds, without reading voxels; a series that cannot be loaded says why.

    Parameters
    ----------
    path : path or list of paths

    Returns
    -------
    list of SeriesSummary
        Image series first, then one entry (kind ``other``) per kind of other object or problem.

    Raises
    ------
    NothingUsable
        If the path does not exist or holds no images.
    """
    found = find(path)
    entries, parts = _entries(found, None)
    listed = [entry.summary(number) for number, entry in enumerate(entries, start=1)]
    number = len(listed)
    for name, count in sorted(parts.others.items()):
        number += 1
        listed.append(_other(number, name, count, ()))
    for error in parts.broken:
        number += 1
        listed.append(_other(number, "unreadable file", 1, (told(error),)))
    if not listed:
        raise _nothing(path, found, parts)
    return listed


def _entries(
    found: Found,
    mr_scaling: str | None,
    wavelength_nm: Sequence[float] | None = None,
    frame_time_s: float | None = None,
) -> tuple[list[Entry], Catalogue]:
    if mr_scaling is not None and mr_scaling not in MR_SCALINGS:
        raise ValueError(f"mr_scaling is one of {', '.join(MR_SCALINGS)}, not {mr_scaling!r}")
    alone = not (found.nifti or found.bruker or found.optoacoustic)
    parts = catalogue(found.dicom, doses=alone) if found.dicom else Catalogue()
    parts.broken += [refuse_file(file) for file in found.suspicious()]
    ordered = sorted(parts.series, key=series_order)
    entries = [_dicom_entry(one, mr_scaling, wavelength_nm, frame_time_s) for one in ordered]
    entries += [_nifti_entry(files, wavelength_nm, frame_time_s) for files in nifti_series(found.nifti)]
    entries += _bruker_entries(found.bruker)
    if found.optoacoustic:
        entries += _optoacoustic_entries(found, parts, wavelength_nm, alone=not entries)
    return entries, parts


def _optoacoustic_entries(
    found: Found, parts: Catalogue, wavelength_nm: Sequence[float] | None, *, alone: bool
) -> list[Entry]:
    """Reconstructions of optoacoustic scans; what else their files are goes to the other objects.

    A file that cannot be read counts only where it was named, or nothing else is there: it may be anything.
    """
    from imgtheranostics.io.optoacoustic_entries import optoacoustic_files, refuse_other, refuse_raw

    files = optoacoustic_files(found.optoacoustic, wavelength_nm)
    if found.explicit:
        parts.broken += [refuse_raw(str(file)) for file in files.raw]
        parts.broken += [refuse_other(file) for file in files.other]
    else:
        parts.others.update({RAW_SIGNALS: len(files.raw)} if files.raw else {})
        found.unknown += files.other
    if found.explicit or (alone and not files.entries):
        return files.entries + files.unreadable
    parts.others.update({"unreadable HDF5 file": len(files.unreadable)} if files.unreadable else {})
    return files.entries


def series_order(one: Series) -> tuple[str, float, str, str]:
    """What the DICOM series of a listing are sorted by."""
    try:
        number = one.header.number("SeriesNumber")
    except ImgTheranosticsError:
        number = None
    return one.modality, -1.0 if number is None else number, one.uid, str(one.files[0])


def _dicom_entry(
    one: Series,
    mr_scaling: str | None,
    wavelength_nm: Sequence[float] | None,
    frame_time_s: float | None,
) -> Entry:
    def volume() -> Volume:
        sidecar = None
        if one.modality == "US":
            from imgtheranostics.io.dicom.photoacoustic_sidecar import as_photoacoustic, photoacoustic_sidecar

            sidecar = photoacoustic_sidecar(one)
        if sidecar is not None:
            return as_photoacoustic(read(plan(one, mr_scaling, frame_time_s or 1.0)), sidecar)
        loaded = read(plan(one, mr_scaling, frame_time_s))
        if wavelength_nm is None:
            return loaded
        from imgtheranostics.io.wavelengths import with_wavelengths

        return with_wavelengths(loaded, wavelength_nm)

    return Entry("dicom", one.uid, lambda number: _dicom_summary(number, one), volume, one)


def _dicom_summary(number: int, one: Series) -> SeriesSummary:
    problems: tuple[str, ...] = ()
    planned: Plan | None = None
    try:
        planned = plan(one)
        problems = tuple(str(caution) for caution in planned.cautions)
    except ImgTheranosticsError as error:
        problems = (told(error),)
    if one.orientations > 1:
        problems = (*problems, f"inconsistent orientation: one of {one.orientations} within its series")
    return SeriesSummary(
        number=number,
        kind="dicom",
        modality=one.modality,
        n_images=len(one.frames),
        shape=planned.shape if planned else (),
        spacing_mm=_spacing(planned) if planned else (),
        axes={axis.name: len(axis) for axis in planned.axes} if planned else {},
        quantity=planned.quantity if planned else "",
        unit=planned.unit if planned else "",
        files=len(one.files),
        problems=problems,
        uid_tail=one.uid[-_UID_TAIL:],
        place=_window_place(one),
    )


def _window_place(one: Series) -> str:
    """The energy window of a gamma camera's series, by which its windows are told apart in a listing."""
    text = window_text(_window_of(one)) if one.modality == "NM" else ""
    return f"energy window {text}" if text else ""


def _window_of(one: Series) -> Window:
    """The one energy window of a series; empty where it has none, or several."""
    windows = {frame.window for frame in one.frames}
    return windows.pop() if len(windows) == 1 else ()


def _spacing(planned: Plan | BrukerPlan) -> tuple[float, ...]:
    import numpy as np

    return tuple(float(v) for v in np.linalg.norm(planned.affine[:3, :3], axis=0))


def nifti_series(files: Sequence[Path]) -> list[list[Path]]:
    """Files by series; the header stands for a pair of header and image."""
    if not files:
        return []
    from imgtheranostics.io.nifti_series import group_files

    headers = {file.with_suffix("") for file in files if file.suffix.lower() == ".hdr"}
    return group_files([f for f in files if f.suffix.lower() != ".img" or f.with_suffix("") not in headers])


def _nifti_entry(
    files: list[Path], wavelength_nm: Sequence[float] | None, frame_time_s: float | None
) -> Entry:
    def volume() -> Volume:
        from imgtheranostics.io.nifti import load_nifti

        loaded = load_nifti(files, wavelength_nm=wavelength_nm, frame_time_s=frame_time_s)
        if len(loaded) != 1:
            raise NothingUsable(f"the file holds {len(loaded)} images", where=str(files[0]))
        return loaded[0]

    return Entry("nifti", files[0].name, lambda number: _nifti_summary(number, files, volume), volume)


def _nifti_summary(number: int, files: list[Path], volume: Callable[[], Volume]) -> SeriesSummary:
    try:
        loaded = volume()
    except ImgTheranosticsError as error:
        return SeriesSummary(number, "nifti", "", 0, (), (), files=len(files), problems=(told(error),))
    record = loaded.acquisition
    return SeriesSummary(
        number=number,
        kind="nifti",
        modality=record.modality if record is not None else "",
        n_images=len(files),
        shape=loaded.shape,
        spacing_mm=loaded.grid.spacing_mm,
        axes={axis.name: len(axis) for axis in loaded.axes},
        quantity=loaded.quantity,
        unit=loaded.unit,
        files=len(files),
        problems=tuple(str(caution) for caution in loaded.warnings),
    )


def _bruker_entries(files: Sequence[Path]) -> list[Entry]:
    """The images of ParaVision scans; what cannot be described stays in the listing with its reason."""
    if not files:
        return []
    from imgtheranostics.io.bruker.dataset import place_of, sort_key
    from imgtheranostics.io.bruker.planning import plans

    entries = []
    for file in sorted(files, key=sort_key):
        try:
            entries += [_bruker_entry(planned) for planned in plans(file)]
        except ImgTheranosticsError as error:
            entries.append(refused_entry("bruker", "MR", place_of(file), error))
    return entries


def _bruker_entry(planned: BrukerPlan) -> Entry:
    from imgtheranostics.io.bruker.reading import read as read_bruker

    uid = planned.uid

    def summary(number: int) -> SeriesSummary:
        return SeriesSummary(
            number=number,
            kind="bruker",
            modality="MR",
            n_images=int(planned.chosen.size),
            shape=planned.shape,
            spacing_mm=_spacing(planned),
            axes={axis.name: len(axis) for axis in planned.axes},
            quantity=planned.quantity,
            unit=planned.unit,
            files=len(planned.dataset.files),
            problems=tuple(str(caution) for caution in planned.cautions),
            uid_tail=uid[-_UID_TAIL:],
            place=planned.label,
        )

    return Entry("bruker", uid, summary, lambda: read_bruker(planned))


def _other(number: int, name: str, count: int, problems: tuple[str, ...]) -> SeriesSummary:
    problems = problems or ("not an image series",)
    return SeriesSummary(number, "other", name, count, (), (), files=count, problems=problems)


def _raise_broken(parts: Catalogue) -> None:
    """A file that cannot be read may be a slice of the series that is asked for: nothing is dropped."""
    if parts.broken:
        raise parts.broken[0]


def _matching(entries: list[Entry], series: int | str) -> list[Entry]:
    if isinstance(series, int) or series.isdecimal():
        number = int(series)
        if 1 <= number <= len(entries):
            return [entries[number - 1]]
    text = str(series)
    matching = [entry for entry in entries if text and entry.uid.endswith(text)]
    if not matching:
        raise NothingUsable(
            "no series has that number or UID",
            found=_listing(entries),
            needed="a number of the listing, a UID, or the end of a UID",
        )
    return matching


def _combined(
    entries: list[Entry],
    wanted: Sequence[int | str],
    path: PathLike | Sequence[PathLike],
    mr_scaling: str | None,
) -> Volume:
    kept = {id(entry): entry for text in wanted for entry in _matching(entries, text)}
    chosen = [entry for entry in entries if id(entry) in kept]
    if len(chosen) == 1:
        return chosen[0].load()
    dicom = [entry.series for entry in chosen if entry.series is not None]
    if len(dicom) == len(chosen):
        check_energies(dicom, _place(path))
        return read(plan(combine(dicom, _place(path)), mr_scaling))
    if dicom or len({entry.kind for entry in chosen}) > 1:
        raise UnsupportedInput(
            "series of different file formats cannot be put together",
            where=_place(path),
            found=", ".join(sorted({entry.kind for entry in chosen})),
        )
    from imgtheranostics.io.nifti_series import stack_volumes

    return stack_volumes([entry.load() for entry in chosen], _place(path))


def _raise_if_one_series_of_many_orientations(entries: list[Entry]) -> None:
    first = entries[0].series
    if first is None or first.orientations < 2:
        return
    if all(entry.series is not None and entry.series.uid == first.uid for entry in entries):
        raise GeometryMismatch(
            "inconsistent orientation: the images of one series are not parallel",
            where=common_place(first.files),
            found=_listing(entries),
            needed="one orientation per volume",
            next_step="choose one group with series= (--series), or give the files of one orientation",
        )


def _listing(entries: list[Entry]) -> str:
    lines = []
    for number, entry in enumerate(entries, start=1):
        summary = entry.summary(number)
        shape = " x ".join(str(n) for n in summary.shape) or f"{summary.n_images} images"
        tail = f", UID ...{summary.uid_tail}" if summary.uid_tail else ""
        place = f", {summary.place}" if summary.place else ""
        what = f", {summary.quantity}" if place and summary.quantity not in ("", "signal") else ""
        lines.append(f"{number}: {summary.modality or summary.kind} {shape}{what}{place}{tail}")
    return "; ".join(lines)


def _place(path: PathLike | Sequence[PathLike]) -> str:
    if isinstance(path, (str, os.PathLike)):
        return str(path)
    return f"{len(path)} files"


def _nothing(path: PathLike | Sequence[PathLike], found: Found, parts: Catalogue) -> ImgTheranosticsError:
    if parts.broken:
        return parts.broken[0]
    if parts.others.get(RAW_SIGNALS) and len(parts.others) == 1:
        from imgtheranostics.io.optoacoustic_entries import refuse_raw

        return refuse_raw(_place(path))
    if parts.others:
        held = ", ".join(f"{count} {name}" for name, count in sorted(parts.others.items()))
        return UnsupportedInput(
            "the path holds DICOM objects, but no image series",
            where=_place(path),
            found=held,
            needed="CT, MR, PT, NM, US or PA images",
        )
    if any(file.name in RAW_NAMES for file in found.unknown):
        return NothingUsable(
            "a ParaVision scan without reconstructed images",
            where=_place(path),
            needed="2dseq and visu_pars in a folder pdata/1",
            next_step="reconstruct the scan in ParaVision, and give the folder of the scan",
        )
    return NothingUsable(
        "nothing to load: neither DICOM nor NIfTI images, nor a ParaVision or optoacoustic scan",
        where=_place(path),
        found=f"{found.other} other files"
        + (f", {found.links} links that lead out of the folder and were not followed" if found.links else ""),
    )
