"""Which files of a path are DICOM, by content; nothing in a file ever names another file to open."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imgtheranostics.errors import NothingUsable
from imgtheranostics.io.git_lfs import is_lfs_pointer_file

MAXIMUM_FILES = 500_000

IMAGE_NAME = "2dseq"
"""What ParaVision calls its reconstructed images."""

SCAN_SUFFIX = ".msot"
"""Of the description of an iThera scan."""

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

_SUFFIXES = frozenset({".dcm", ".ima"})
_SIGNATURE_END = 132

PathLike = str | os.PathLike[str]


@dataclass(slots=True)
class Found:
    """Files of a path by content.

    Attributes
    ----------
    dicom, nifti : list of Path
        In the order of their names.
    bruker : list of Path
        Reconstructed images of ParaVision, by their name: the files carry no signature.
    optoacoustic : list of Path
        Descriptions of iThera scans by their name, and HDF5 files by their signature.
    other : int
        Files that are neither.
    links : int
        Symbolic links that were not followed because they lead out of the folder.
    explicit : bool
        Every file was named by the user, so one that cannot be read is an error rather than junk.
    """

    dicom: list[Path] = field(default_factory=list)
    nifti: list[Path] = field(default_factory=list)
    bruker: list[Path] = field(default_factory=list)
    optoacoustic: list[Path] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)
    links: int = 0
    explicit: bool = False

    @property
    def other(self) -> int:
        """Number of files that are neither DICOM nor NIfTI nor ParaVision images."""
        return len(self.unknown)

    def suspicious(self) -> list[Path]:
        """Unknown files that may be damaged slices: dropping one silently would shorten a volume.

        Every file that the user named; files called ``.dcm`` or ``.ima``; files too short for a DICOM
        signature that are named like the DICOM files beside them; and pointers of Git LFS that are named
        like images.
        """
        if self.explicit:
            return list(self.unknown)
        named = {(file.parent, file.suffix.lower()) for file in self.dicom}
        return [
            file
            for file in self.unknown
            if file.suffix.lower() in _SUFFIXES
            or ((file.parent, file.suffix.lower()) in named and _is_stub(file))
            or (_may_be_image(file) and is_lfs_pointer_file(file))
        ]


def _may_be_image(file: Path) -> bool:
    """A name as scanners give it: without a suffix, or ending in a number as UIDs do."""
    suffix = file.suffix.lower()
    return suffix in (".hdr", ".img") or not suffix or suffix[1:].isdigit()


def _is_stub(file: Path) -> bool:
    try:
        return file.stat().st_size < _SIGNATURE_END
    except OSError:
        return True


def find(path: PathLike | Sequence[PathLike]) -> Found:
    """Sort the files of a file, a folder or a list of them by content.

    Parameters
    ----------
    path : path or sequence of paths
        A folder is searched with everything below it. Links are followed only inside the folder.

    Raises
    ------
    NothingUsable
        If a path does not exist or the folder holds more files than any scan.
    """
    several = not isinstance(path, (str, os.PathLike))
    given = [Path(p) for p in path] if several else [Path(path)]  # type: ignore[union-attr,arg-type]
    if not given:
        raise NothingUsable("no path is given", needed="a file, a folder or a list of files")
    found = Found(explicit=all(p.is_file() for p in given))
    for entry in given:
        if not entry.exists():
            raise NothingUsable(
                "the path does not exist",
                where=str(entry),
                needed="a scan: a DICOM folder or file, a NIfTI file or a Bruker scan",
                next_step="check the path",
            )
        if not entry.is_dir() and not entry.is_file():
            raise NothingUsable(
                "the path is neither a file nor a folder", where=str(entry), needed="a scan on disk"
            )
        files = _walk(entry, found) if entry.is_dir() else [entry]
        for file in files:
            _sort_in(file, found)
    return found


def _walk(root: Path, found: Found) -> Iterable[Path]:
    top = root.resolve()
    count = 0
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        for name in sorted(names):
            file = Path(folder) / name
            if file.is_symlink() and not _inside(file, top):
                found.links += 1
                continue
            if not file.is_file():
                continue
            count += 1
            if count > MAXIMUM_FILES:
                raise NothingUsable(
                    "the folder holds too many files",
                    where=str(root),
                    needed=f"at most {MAXIMUM_FILES}",
                    next_step="give the folder of one study",
                )
            yield file


def _inside(link: Path, top: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(top)
    except (OSError, RuntimeError):
        return False


def _sort_in(file: Path, found: Found) -> None:
    if file.name == IMAGE_NAME:
        found.bruker.append(file)
        return
    try:
        with file.open("rb") as stream:
            head = stream.read(352)
    except OSError:
        found.unknown.append(file)
        return
    if head[128:132] == b"DICM":
        found.dicom.append(file)
    elif head.startswith(HDF5_SIGNATURE) or file.suffix.lower() == SCAN_SUFFIX:
        found.optoacoustic.append(file)
    elif _looks_like_nifti(file, head):
        found.nifti.append(file)
    else:
        found.unknown.append(file)


def _looks_like_nifti(file: Path, head: bytes) -> bool:
    """A name that promises NIfTI, or the signature; the NIfTI reader then judges the content."""
    name = file.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return True
    if (
        not head.startswith(b"\x1f\x8b")
        and len(head) < 348
        and not name.endswith((".hdr", ".img", ".img.gz"))
    ):
        return False
    from imgtheranostics.io.nifti import is_nifti

    return is_nifti(file)
