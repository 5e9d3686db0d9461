"""ParaVision scans written on the fly: only what the format documentation says, never a copied file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

WORD_TYPES = {"u1": "_8BIT_UNSGN_INT", "i2": "_16BIT_SGN_INT", "i4": "_32BIT_SGN_INT", "f4": "_32BIT_FLOAT"}
CANARY = "Canary^Subject"


def array(values, *dims) -> str:
    """An array of numbers or words with its header, wrapped as ParaVision wraps lines."""
    flat = np.ravel(np.asarray(values))
    dims = dims or (len(flat),)
    lines, line = [], ""
    for value in flat:
        word = str(value) if isinstance(value, str) else repr(float(value)).removesuffix(".0")
        if len(line) + len(word) > 70:
            lines.append(line)
            line = ""
        line += word + " "
    return f"( {', '.join(map(str, dims))} )\n" + "\n".join([*lines, line.rstrip()])


def string(text: str) -> str:
    """A string in an array of 65 characters."""
    return f"( 65 )\n<{text}>"


def parameter_file(values: dict[str, str], version: str = "ParaVision 6.0.1") -> str:
    """A parameter file of PV 6 or later."""
    head = [
        f"##TITLE=Parameter List, {version}",
        "##JCAMPDX=4.24",
        "##DATATYPE=Parameter Values",
        "##ORIGIN=Bruker BioSpin MRI GmbH",
        "##OWNER=nmr",
        "$$ 2018-01-09 16:12:02.735 -0500  nmr@station",
        "$$ /opt/PV6.0.1/data/nmr/study/1/pdata/1/visu_pars",
    ]
    return "\n".join([*head, *(f"##${k}={v}" for k, v in values.items()), "##END=", ""])


class ScanMaker:
    """Writes scans."""

    array = staticmethod(array)
    string = staticmethod(string)
    parameter_file = staticmethod(parameter_file)

    def visu(
        self,
        groups=(),
        size=(4, 3),
        *,
        positions=None,
        slope=2.0,
        offset=0.0,
        dtype="i2",
        order="littleEndian",
    ) -> dict[str, str]:
        """visu_pars of a scan; `groups` are (length, name, {dependent parameter: value text})."""
        n_frames = int(np.prod([g[0] for g in groups], dtype=int)) if groups else 1
        n_slices = next((g[0] for g in groups if g[1] == "FG_SLICE"), 1)
        if positions is None:
            positions = [(-10.0, -20.0, 1.5 * k) for k in range(n_slices)]
        depending, described, values = [], [], {}
        for length, name, own in groups:
            own = dict(own)
            if name == "FG_SLICE":
                own |= {
                    "VisuCoreOrientation": array(np.tile(np.eye(3), (n_slices, 1, 1)), n_slices, 9),
                    "VisuCorePosition": array(positions, n_slices, 3),
                }
            described.append(f"({length}, <{name}>, <a (free) comment>, {len(depending)}, {len(own)})")
            depending += list(own)
            values |= own
        visu: dict[str, str] = {
            "VisuVersion": "3",
            "VisuUid": string("2.16.756.5.5.100.1.2.3"),
            "VisuCreatorVersion": string("6.0.1"),
            "VisuCoreFrameCount": str(n_frames),
            "VisuCoreDim": str(len(size)),
            "VisuCoreSize": array(size),
            "VisuCoreDimDesc": f"( {len(size)} )\n" + " ".join(["spatial"] * len(size)),
            "VisuCoreExtent": array([0.25 * n for n in size]),
            "VisuCoreFrameThickness": array([1.25]),
            "VisuCoreUnits": f"( {len(size)}, 65 )\n" + " ".join(["<mm>"] * len(size)),
            "VisuCoreOrientation": array(np.eye(3), 1, 9),
            "VisuCorePosition": array(positions[0], 1, 3),
            "VisuCoreDataSlope": array(np.broadcast_to(slope, n_frames)),
            "VisuCoreDataOffs": array(np.broadcast_to(offset, n_frames)),
            "VisuCoreFrameType": "MAGNITUDE_IMAGE",
            "VisuCoreWordType": WORD_TYPES[dtype],
            "VisuCoreByteOrder": order,
            "VisuSubjectId": string("Canary-ID-77"),
            "VisuSubjectName": string(CANARY),
            "VisuStudyReferringPhysician": string("Canary-Operator"),
            "VisuSubjectPosition": "Head_Prone",
            "VisuSubjectType": "Quadruped",
            "VisuSubjectWeight": "0.025",
            "VisuStation": string("BioSpec 94/20"),
            "VisuAcqDate": "<2018-01-09T16:12:02,733-0500>",
            "VisuAcqSequenceName": string("Bruker:FLASH"),
            "VisuAcqEchoSequenceType": "GradientEcho",
            "VisuAcqImagedNucleus": string("1H"),
            "VisuAcqImagingFrequency": "400.3",
            "VisuAcqRepetitionTime": array([250.0]),
            "VisuAcqEchoTime": array([3.5]),
            "VisuAcqFlipAngle": "30",
            "VisuAcqScanTime": "60000",
        }
        if groups:
            visu |= {
                "VisuFGOrderDescDim": str(len(groups)),
                "VisuFGOrderDesc": f"( {len(groups)} )\n" + " ".join(described),
            }
            if depending:
                visu["VisuGroupDepVals"] = f"( {len(depending)} )\n" + " ".join(
                    f"(<{name}>, 0)" for name in depending
                )
        return visu | values

    def stored(self, visu: dict[str, str], size, n_frames: int, dtype: str = "i2") -> np.ndarray:
        """Stored values, all different; the file's order is the array's in Fortran order."""
        count = int(np.prod(size)) * n_frames
        return (np.arange(count) % 251).astype(dtype).reshape((*size, n_frames), order="F")

    def write(
        self,
        folder: Path,
        visu: dict[str, Any] | None,
        stored: np.ndarray,
        *,
        method: dict[str, str] | None = None,
        acqp: dict[str, str] | None = None,
        order: str = "<",
        scan: int = 7,
        reconstruction: int = 1,
    ) -> Path:
        """Write one reconstruction; returns the scan's folder."""
        scan_folder = folder / str(scan)
        place = scan_folder / "pdata" / str(reconstruction)
        place.mkdir(parents=True, exist_ok=True)
        (place / "2dseq").write_bytes(stored.astype(stored.dtype.newbyteorder(order)).tobytes(order="F"))
        if visu is not None:
            (place / "visu_pars").write_text(parameter_file(visu))
        (folder / "subject").write_text(parameter_file({"SUBJECT_name_string": string(CANARY)}))
        for name, values in (
            ("method", {"Method": "<Bruker:FLASH>"} if method is None else method),
            ("acqp", acqp),
        ):
            if values:
                (scan_folder / name).write_text(parameter_file(values))
        return scan_folder


@pytest.fixture(scope="session")
def scans() -> ScanMaker:
    """Writes ParaVision scans."""
    return ScanMaker()
