"""Good optoacoustic scans in the files of their scanners and in HDF5, and what reading them yields."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing.seeds import Outcome, Seed, read_images

_GUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
_DETECTORS, _SAMPLES = 4, 16
_WAVELENGTHS = (800.0, 700.0, 760.0)


def read_signals(folder: Path) -> Outcome:
    """The raw signals of the folder, and what they were taken with."""
    from imgtheranostics.io.loading import info
    from imgtheranostics.io.signal_loading import load_signals

    info(folder)
    signals = load_signals(folder)
    outcome: Outcome = {
        "voxels": hashlib.sha256(signals.samples.tobytes()).hexdigest()[:16],
        "shape": signals.shape,
        "rate": signals.sampling_rate_hz,
        "speed": signals.speed_of_sound_m_s,
        "corrected": signals.energy_corrected,
    }
    for name in ("wavelength_nm", "detector_positions_mm", "laser_energy_mj", "impulse_response"):
        value = getattr(signals, name)
        outcome[name] = None if value is None else tuple(np.round(value, 9).ravel().tolist())
    outcome["cautions"] = frozenset(caution.code for caution in signals.warnings)
    return outcome


def make_optoacoustic_seeds() -> Iterator[Seed]:
    """A scan as the scanner writes it, its reconstruction, and three HDF5 files."""
    raw, reconstructed = _scan(nodes=""), _scan(nodes=_node())
    for target, kind in (("a.msot", "msot"), ("a.bin", "msot"), ("a.irf", "msot")):
        weight = 2.0 if target == "a.msot" else 0.3
        yield Seed(f"raw {target}", kind, raw, target, read_signals, len(raw[target]), weight)
    size = len(reconstructed["a.msot"])
    yield Seed("reconstructed a.msot", "msot", reconstructed, "a.msot", read_images, size, 2.0)
    images = f"RECONs/{_GUID}.bin"
    yield Seed("reconstruction", "msot", reconstructed, images, read_images, len(reconstructed[images]), 0.3)
    for name, content, read in (
        ("ipasc", _ipasc(), read_signals),
        ("hdf5 raw", _raw(), read_signals),
        ("hdf5 images", _images(None), read_images),
        ("hdf5 images gzip", _images("gzip"), read_images),
    ):
        yield Seed(name, "hdf5", {"a.hdf5": content}, "a.hdf5", read, len(content), 2.0)


def _scan(nodes: str) -> dict[str, bytes]:
    angles = np.linspace(0.8, 5.5, _DETECTORS)
    positions = "".join(
        f'<PROJECTION number="{n + 1}"><VALUE axis-ref="1">{0.04 * np.cos(angle):.9f}</VALUE>'
        f'<VALUE axis-ref="2">{0.04 * np.sin(angle):.9f}</VALUE><VALUE axis-ref="3">0</VALUE></PROJECTION>'
        for n, angle in enumerate(angles)
    )
    frames = "".join(
        f'<DataModelScanFrame><Frame timestamp="{637371523560823431 + n * 10**6}">'
        f'<Z-POS axis-ref="3">12.5</Z-POS><TEMPERATURE unit="C" unit-modifier="none">33.{n}</TEMPERATURE>'
        f'<WAVELENGTH unit="m" unit-modifier="n">{wavelength:g}</WAVELENGTH>'
        f'<LASER-ENERGY unit="J" unit-modifier="m">{70 + n}.5</LASER-ENERGY></Frame>'
        f"<IDOffset>{n}</IDOffset></DataModelScanFrame>"
        for n, wavelength in enumerate(_WAVELENGTHS * 2)
    )
    listed = "".join(
        f'<WAVELENGTH unit="m" unit-modifier="n" number="{n + 1}">{one:g}</WAVELENGTH>'
        for n, one in enumerate(_WAVELENGTHS)
    )
    text = f"""<?xml version="1.0" encoding="utf-8"?>
<DataModelMsotProject><DataModelVersion>2.2</DataModelVersion>
<HARDWARE-DESC xmlns="Header_Schema"><SAMPLING-FREQUENCY unit="Hz" unit-modifier="M">40</SAMPLING-FREQUENCY>
<FRAME-DESC>{positions}</FRAME-DESC></HARDWARE-DESC>
<MEASUREMENT-DESC LEnergy-normalization="PerPulse" xmlns="Header_Schema">
<RECORDED-LENGTH>{_SAMPLES}</RECORDED-LENGTH>
<PATH-LENGTH-IN-WATER unit="m" unit-modifier="c">3</PATH-LENGTH-IN-WATER><WAVELENGTHS>{listed}</WAVELENGTHS>
<COORDINATE-DEFINITION><AXIS number="1" unit="m" unit-modifier="none">x</AXIS>
<AXIS number="2" unit="m" unit-modifier="none">y</AXIS><AXIS number="3" unit="m" unit-modifier="m">z</AXIS>
</COORDINATE-DEFINITION></MEASUREMENT-DESC>
<ScanNode><TrimSpeedOfSound>43</TrimSpeedOfSound><ScanFrames>{frames}</ScanFrames></ScanNode>
<ReconNodes>{nodes}</ReconNodes></DataModelMsotProject>
"""
    samples = np.random.default_rng(4).integers(20000, 40000, (6, _DETECTORS, _SAMPLES)).astype("<u2")
    response = np.hanning(_SAMPLES).astype("<f8")
    files = {"a.msot": text.encode(), "a.bin": samples.tobytes(), "a.irf": response.tobytes()}
    if nodes:
        images = np.random.default_rng(5).normal(size=(6, 4, 4)).astype("<f8")
        files[f"RECONs/{_GUID}.bin"] = images.tobytes()
    return files


def _node() -> str:
    frames = "".join(
        f"<DataModelReconstructionFrame><ScanFramesID><int>{n}</int></ScanFramesID><IDOffset>{n}</IDOffset>"
        "<HasErrors>false</HasErrors></DataModelReconstructionFrame>"
        for n in range(6)
    )
    return (
        f"<DataModelNewReconstructionNode><GUID>{_GUID}</GUID><Resolution>4</Resolution>"
        f"<RoiLow>0.028</RoiLow><RoiHigh>0.053</RoiHigh><ReconFrames>{frames}</ReconFrames>"
        "</DataModelNewReconstructionNode>"
    )


def _hdf5(fill: Any) -> bytes:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def _ipasc() -> bytes:
    def fill(file: Any) -> None:
        rng = np.random.default_rng(6)
        file["binary_time_series_data"] = rng.normal(size=(_DETECTORS, _SAMPLES, 3, 2))
        meta = file.create_group("meta_data")
        meta["acquisition_wavelengths"] = np.array([8e-7, 7e-7, 7.6e-7])
        meta["ad_sampling_rate"], meta["speed_of_sound"] = 4e7, 1520.0
        meta["pulse_energy"], meta["sizes"] = np.array([0.04, 0.05]), np.array([_DETECTORS, _SAMPLES, 3, 2])
        for n in range(_DETECTORS):
            name = f"meta_data_device/detectors/detection_element_{n}/detector_position"
            file[name] = np.array([0.001 * n, 0.04, 0.0])

    return _hdf5(fill)


def _raw() -> bytes:
    def fill(file: Any) -> None:
        rng = np.random.default_rng(7)
        samples = rng.integers(0, 65535, (2, 3, _DETECTORS, _SAMPLES)).astype(np.uint16)
        data = file.create_dataset("raw_data", data=samples)
        data.attrs["fs"], data.attrs["speedofsound"] = 4e7, 1510.0
        file["wavelengths"] = np.array(_WAVELENGTHS)
        file["GEOMETRY"] = rng.normal(size=(_DETECTORS, 3)) * 0.02

    return _hdf5(fill)


def _images(compression: str | None) -> bytes:
    def fill(file: Any) -> None:
        values = np.random.default_rng(8).normal(size=(2, 3, 1, 5, 6))
        image = file.create_dataset("recons/a/0", data=values, compression=compression)
        image.attrs["RECONSTRUCTION_FIELD_OF_VIEW_X"] = 0.024
        image.attrs["RECONSTRUCTION_FIELD_OF_VIEW_Y"] = 0.020
        file["wavelengths"] = np.array(_WAVELENGTHS)

    return _hdf5(fill)
