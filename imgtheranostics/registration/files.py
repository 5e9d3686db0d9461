"""Transforms in files: ITK's ``.tfm`` text for other programs, JSON with everything that is known."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.errors import CorruptInput, UnsupportedInput
from imgtheranostics.io.atomic import write_bytes, write_text
from imgtheranostics.registration.transform import MODELS, Spline, Transform

if TYPE_CHECKING:
    from imgtheranostics.registration.quality import Quality

FORMAT = "imgtheranostics-transform"
"""The word by which a transform in JSON is known."""

_DIRECTION = "points of the fixed image to points of the moving image, RAS+ mm"
_LARGEST_BYTES = 256 * 2**20
_SUFFIXES = (".tfm", ".txt", ".json")


def save_transform(transform: Transform, path: str | Path, *, quality: Quality | None = None) -> None:
    """Write a transform to ``.json``, or to ``.tfm`` in LPS mm as ITK's programs read it.

    Raises
    ------
    UnsupportedInput
        If the suffix is another one.
    OutputError
        If the file cannot be written.
    """
    target = Path(path)
    _check_suffix(target)
    if target.suffix.lower() == ".json":
        write_text(target, json.dumps(_record(transform, quality), indent=1, allow_nan=False) + "\n")
        return
    import SimpleITK

    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "transform.tfm"
        SimpleITK.WriteTransform(transform.to_sitk(), str(written))
        write_bytes(target, written.read_bytes())


def load_transform(path: str | Path) -> Transform:
    """Read a transform from ``.json`` or from ITK's ``.tfm`` or ``.txt``.

    Raises
    ------
    CorruptInput
        If the file is absent, is no transform, or holds numbers that make none.
    UnsupportedInput
        If the suffix or the kind of transform is not read.
    """
    source = Path(path)
    _check_suffix(source)
    if not source.is_file():
        raise CorruptInput("the transform does not exist", where=source.name, needed="a file")
    if source.stat().st_size > _LARGEST_BYTES:
        raise CorruptInput("the file is far larger than a transform", where=source.name)
    try:
        return _from_json(source) if source.suffix.lower() == ".json" else _from_itk(source)
    except (ValueError, KeyError, TypeError, RecursionError, UnicodeDecodeError) as error:
        raise CorruptInput(
            "the file holds no transform",
            where=source.name,
            needed="a transform saved by this package, or an ITK transform of three dimensions",
        ) from error


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in _SUFFIXES:
        raise UnsupportedInput(
            "transforms are kept in .tfm and .json files",
            where=path.name,
            found=path.suffix or "no suffix",
            next_step="name the file .tfm for ITK's programs, .json for this one",
        )


def _record(transform: Transform, quality: Quality | None) -> dict[str, Any]:
    record: dict[str, Any] = {
        "format": FORMAT,
        "format_version": 1,
        "direction": _DIRECTION,
        "model": transform.model,
        "matrix": transform.linear.tolist(),
    }
    if transform.spline is not None:
        record["spline"] = {
            "affine": transform.spline.affine.tolist(),
            "shape": list(transform.spline.coefficients.shape),
            "coefficients_mm": transform.spline.coefficients.ravel(order="F").tolist(),
        }
    if quality is not None:
        record["quality"] = {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in asdict(quality).items()
        }
    return record


def _from_json(path: Path) -> Transform:
    record = json.loads(path.read_text("utf-8"))
    if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("format_version") != 1:
        raise ValueError("another format")
    if record["model"] not in MODELS:
        raise ValueError("another model")
    spline = None
    if "spline" in record:
        kept = record["spline"]
        coefficients = np.array(kept["coefficients_mm"], np.float64).reshape(kept["shape"], order="F")
        spline = Spline(coefficients, np.array(kept["affine"], np.float64))
    return Transform(np.array(record["matrix"], np.float64), spline, record["model"])


def _from_itk(path: Path) -> Transform:
    import SimpleITK

    try:
        read = SimpleITK.ReadTransform(str(path))
    except RuntimeError as error:
        raise ValueError("ITK does not read it") from error
    return Transform.from_sitk(read)
