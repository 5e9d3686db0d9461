"""Maps that the sidecar of a scan names: B0Map in ppm, B1Map relative to nominal, T1Map in s."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from imgtheranostics.errors import CorruptInput, MissingMetadata
from imgtheranostics.volume import Estimate, Volume

_MEANING = {"b0_map": ("B0Map", "b0_shift"), "b1_map": ("B1Map", "relative_b1"), "t1_map": ("T1Map", "t1")}
"""Key of the sidecar, and the quantity that it promises."""

_UNITS = {"b0_shift": "ppm", "relative_b1": "1", "t1": "s"}
_IMAGES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")


def named_map(v: Volume, which: str) -> Volume | Estimate | None:
    """The map that the sidecar of a scan names, with its standard error where that lies beside it.

    Parameters
    ----------
    v : Volume
        Loaded from files; others name nothing.
    which : {"b0_map", "b1_map", "t1_map"}

    Returns
    -------
    Volume or Estimate or None
        Where the map's own file states no unit, in that of the key: ppm, 1 or s.

    Raises
    ------
    CorruptInput
        If the key holds no path below or beside the scan's folder.
    MissingMetadata
        If there is no such file.
    """
    from imgtheranostics.io.sidecar import read_sidecar
    from imgtheranostics.mapping.map_files import load_map

    key, quantity = _MEANING[which]
    image = next((file for file in v.source.files if file.name.lower().endswith(_IMAGES)), None)
    if image is None or not image.is_file():
        return None
    sidecar = read_sidecar(image)
    if key not in sidecar:
        return None
    text = sidecar.text(key)
    if text is None or _leads_away(text):
        raise CorruptInput(
            f"{key} names no file near the scan",
            where=sidecar.where(key),
            needed="a path relative to the scan's folder, such as ../fmap/sub-1_b0map.nii.gz",
        )
    place = image.parent / Path(*PurePosixPath(text).parts)
    if not place.is_file():
        raise MissingMetadata(
            f"the map that {key} names is not there",
            where=sidecar.where(key),
            needed="the file beside the scan",
            next_step=f"put it there, remove {key}, or give another map",
        )
    found = load_map(place)
    if isinstance(found, Volume) and found.quantity == "signal" and found.unit == "[arb'U]":
        return found.replace(quantity=quantity, unit=_UNITS[quantity])
    return found


def _leads_away(text: str) -> bool:
    path = PurePosixPath(text)
    return path.is_absolute() or path.parts.count("..") > 1 or ".." in path.parts[1:] or "\\" in text
