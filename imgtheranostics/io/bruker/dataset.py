"""One reconstruction of a ParaVision scan: its 2dseq file and the parameter files that belong to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from imgtheranostics.errors import Caution
from imgtheranostics.io.bruker.frame_groups import Frames, read_frames
from imgtheranostics.io.bruker.parameters import Parameters, read_parameters
from imgtheranostics.io.bruker.placement import missing_visu

PARAMETER_NAMES = frozenset({"visu_pars", "method", "acqp", "reco"})
RAW_NAMES = frozenset({"fid", "ser", "rawdata.job0", "acqp", "method"})

_NUMBER = re.compile(r"^\d{1,6}$")


@dataclass(frozen=True, slots=True)
class Dataset:
    """The parameters of one reconstruction.

    Attributes
    ----------
    path : Path
        The 2dseq file.
    visu : Parameters
    method, acqp : Parameters or None
        Those of the scan, where they are there.
    frames : Frames
    """

    path: Path
    visu: Parameters
    method: Parameters | None
    acqp: Parameters | None
    frames: Frames

    @property
    def files(self) -> tuple[Path, ...]:
        """The image and the parameter files that were read."""
        read = (self.visu, self.method, self.acqp)
        return (self.path, *(one.path for one in read if one is not None))

    def cautions(self) -> tuple[Caution, ...]:
        """What is missing beside the image."""
        if self.method is not None:
            return ()
        return (
            Caution(
                "method-file-missing",
                "the scan has no method file: what only that says, such as lists of repetition or inversion "
                "times, is not known",
                "method",
            ),
        )


def open_dataset(path: Path) -> Dataset:
    """Read the parameter files of a 2dseq file.

    Raises
    ------
    MissingMetadata
        If there is no visu_pars file.
    CorruptInput
        If a parameter file is damaged.
    """
    visu_path = path.parent / "visu_pars"
    if not visu_path.is_file():
        raise missing_visu(str(visu_path))
    visu = read_parameters(visu_path)
    folder = scan_folder(path)
    method, acqp = (
        read_parameters(folder / name) if (folder / name).is_file() else None for name in ("method", "acqp")
    )
    return Dataset(path, visu, method, acqp, read_frames(visu))


def scan_folder(path: Path) -> Path:
    """The folder of the scan that a 2dseq file belongs to: two above, where ParaVision put it.

    It is relative where `path` is, so that messages name it as it was typed.
    """
    folder = path.parent
    if folder.absolute().parent.name != "pdata":
        return folder
    return folder.parent.parent if folder.parent.name == "pdata" else folder / ".." / ".."


def place_of(path: Path) -> str:
    """Scan and reconstruction number, as far as the folders are numbers; nothing that a person named."""
    folder = path.absolute().parent
    words = []
    scan = folder.parent.parent.name
    if folder.parent.name == "pdata" and _NUMBER.match(scan):
        words.append(f"scan {scan}")
    if _NUMBER.match(folder.name):
        words.append(f"reconstruction {folder.name}")
    return ", ".join(words)


def sort_key(path: Path) -> tuple[tuple[int, str], ...]:
    """Scans and reconstructions by their numbers: 2 before 10."""
    return tuple((int(part), "") if _NUMBER.match(part) else (-1, part) for part in path.absolute().parts)
