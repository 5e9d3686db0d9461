"""load_signals: raw detector signals of an optoacoustic scan, whatever file they are in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from imgtheranostics.errors import NothingUsable, UnsupportedInput
from imgtheranostics.io.git_lfs import is_lfs_pointer, refuse_lfs_pointer
from imgtheranostics.optoacoustic_signals import OptoacousticSignals

_SUFFIX = ".msot"
_HDF5_SUFFIXES = (".hdf5", ".h5", ".hdf")


def load_signals(
    path: str | os.PathLike[str],
    *,
    wavelength_nm: Sequence[float] | None = None,
    drop_incomplete: bool = False,
) -> OptoacousticSignals:
    """Load the raw detector signals of an optoacoustic scan.

    Parameters
    ----------
    path : path
        A ``.msot`` file with its ``.bin`` beside it, an IPASC HDF5 file, an HDF5 file with ``raw_data``
        (frame, wavelength, detector, sample), or the folder that holds one of them.
    wavelength_nm : sequence of float, optional
        Wavelengths of an HDF5 file that states none, or wrong ones; in the order of its axis.
    drop_incomplete : bool
        Leave out the last repetition of a ``.msot`` scan that was broken off before its last wavelength.

    Returns
    -------
    OptoacousticSignals

    Raises
    ------
    NothingUsable
        If there is no such file, or several.
    UnsupportedInput
        If the file holds no raw signals, or `wavelength_nm` is given for a file that has its own.
    ImgTheranosticsError
        The typed refusal of what cannot be right signals.

    Examples
    --------
    >>> import imgtheranostics as it
    >>> signals = it.msot.load_signals("Scan_9/Scan_9.msot")  # doctest: +SKIP
    """
    from imgtheranostics.io.hdf5.safe_file import is_hdf5

    file = _file(Path(path))
    if file.suffix.lower() == _SUFFIX:
        if wavelength_nm is not None:
            raise UnsupportedInput(
                "the frames of a .msot scan state their own wavelengths",
                where=str(file),
                found="wavelength_nm",
                next_step="leave it out; choose some with signals.of_wavelengths",
            )
        from imgtheranostics.io.ithera.signals import load_ithera

        return load_ithera(file, drop_incomplete=drop_incomplete)
    with file.open("rb") as stream:
        head = stream.read(512)
    if is_lfs_pointer(head):
        raise refuse_lfs_pointer(file)
    if not is_hdf5(head):
        raise UnsupportedInput(
            "the file holds no raw optoacoustic signals that can be read",
            where=str(file),
            needed="a .msot file, or HDF5 with binary_time_series_data or raw_data",
        )
    return _of_hdf5(file, wavelength_nm)


def _of_hdf5(file: Path, wavelength_nm: Sequence[float] | None) -> OptoacousticSignals:
    from imgtheranostics.io.hdf5.image_sequences import has_raw_signals, load_raw
    from imgtheranostics.io.hdf5.ipasc import SIGNALS, load_ipasc
    from imgtheranostics.io.hdf5.safe_file import SafeFile

    with SafeFile(file) as opened:
        is_ipasc, is_raw = opened.has(SIGNALS), has_raw_signals(opened)
    if is_ipasc:
        return load_ipasc(file, wavelength_nm)
    if is_raw:
        return load_raw(file, wavelength_nm)
    raise UnsupportedInput(
        "the HDF5 file holds no raw optoacoustic signals",
        where=str(file),
        needed=f"{SIGNALS} (IPASC) or raw_data",
        next_step="images are read with imgtheranostics.load",
    )


def _file(path: Path) -> Path:
    if path.is_file():
        described = path.with_suffix(_SUFFIX)
        return described if path.suffix.lower() == ".bin" and described.is_file() else path
    if not path.is_dir():
        raise NothingUsable("the path does not exist", where=str(path), next_step="check the path")
    files = sorted(one for one in path.iterdir() if one.is_file())
    candidates = [one for one in files if one.suffix.lower() == _SUFFIX]
    candidates = candidates or [one for one in files if one.suffix.lower() in _HDF5_SUFFIXES]
    if len(candidates) != 1:
        raise NothingUsable(
            "the path holds several scans" if candidates else "the path holds no raw optoacoustic signals",
            where=str(path),
            found=f"{len(candidates)} files",
            needed="one .msot or HDF5 file",
        )
    return candidates[0]
