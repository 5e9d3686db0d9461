"""Speed and memory of loading a dynamic PET folder against a serial pydicom loop, both in one run.

Goal (performance reference, section 3): 4 times faster than ``pixel_array`` times slope, at a peak of
1.1 times the float32 output. ``pytest tests/benchmarks --benchmark-only`` runs it; the number of images
comes from ``IMGTHERANOSTICS_BENCH_FRAMES`` (30 frames of 200 slices of 256 x 256 in full).
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

import imgtheranostics as it

FRAMES = int(os.environ.get("IMGTHERANOSTICS_BENCH_FRAMES", "30"))
SLICES, SIDE = 200, 256
PET = "1.2.840.10008.5.1.4.1.1.128"


def _template(pixels: bytes) -> bytes:
    """One PET slice with fixed-length placeholders for everything that varies."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = PET
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3.4"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.Modality, ds.PatientID, ds.SeriesInstanceUID = "PT", "bench", "1.2.3"
    ds.SeriesDate = ds.AcquisitionDate = "20250101"
    ds.SeriesTime, ds.AcquisitionTime = "100000.000000", "111111.000000"
    ds.ActualFrameDuration, ds.FrameReferenceTime = "60000", "2222222222"
    ds.ImagePositionPatient = ["-100.0", "-100.0", "3333333333"]
    ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.8]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = SIDE
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.RescaleIntercept, ds.RescaleSlope = "0", "4.44444444"
    ds.Units, ds.DecayCorrection, ds.CorrectedImage = "BQML", "START", ["DECY", "ATTN"]
    ds.SeriesType, ds.NumberOfTimeSlices, ds.NumberOfSlices = ["DYNAMIC", "IMAGE"], FRAMES, SLICES
    item = Dataset()
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = "370000000", "6586.2"
    item.RadiopharmaceuticalStartTime = "095900"
    ds.RadiopharmaceuticalInformationSequence = [item]
    ds.PixelData = pixels
    ds["PixelData"].VR = "OW"
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("dynamic")
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 32000, (8, SIDE, SIDE), dtype=np.int16)
    template = _template(planes[0].tobytes())
    head = template[: -SIDE * SIDE * 2]
    for frame in range(FRAMES):
        for place in range(SLICES):
            changed = (
                head.replace(b"111111", f"10{frame:02d}00".encode())
                .replace(b"2222222222", f"{frame * 60000 + 30000:<10d}".encode())
                .replace(b"3333333333", f"{place * 0.8:<10.4f}".encode())
                .replace(b"4.44444444", f"{1 + 0.01 * frame + 1e-4 * place:<10.6f}".encode())
            )
            (root / f"{(frame * 7919 + place * 104729) % 1000003:07d}_{frame}_{place}.dcm").write_bytes(
                changed + planes[(frame + place) % 8].tobytes()
            )
    return root


def _pydicom_serial(folder):
    planes = []
    for path in sorted(folder.iterdir()):
        ds = pydicom.dcmread(path)
        planes.append(
            (float(ds.ImagePositionPatient[2]), ds.AcquisitionTime, ds.pixel_array * float(ds.RescaleSlope))
        )
    planes.sort(key=lambda plane: (plane[1], plane[0]))
    return np.stack([plane[2] for plane in planes]).astype(np.float32)


def test_dynamic_pet_loads_four_times_faster_than_pydicom(benchmark, folder, capsys):
    volume = benchmark.pedantic(it.load, args=(folder,), rounds=3, warmup_rounds=1)
    start = time.perf_counter()
    reference = _pydicom_serial(folder)
    serial_s = time.perf_counter() - start
    ratio = serial_s / benchmark.stats.stats.min
    benchmark.extra_info["ratio"] = ratio
    with capsys.disabled():
        sys.stderr.write(f"\n{FRAMES * SLICES} slices: pydicom {serial_s:.2f} s, ratio {ratio:.1f}\n")
    ours = volume.data.transpose(3, 2, 1, 0).reshape(reference.shape)
    assert np.array_equal(ours, reference)
    assert ratio >= 4.0


_PEAK = """
import re, sys
from pathlib import Path
import imgtheranostics as it
import imgtheranostics.io.loading
import pydicom

def kib(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
before = kib("VmRSS")
v = it.load(sys.argv[1])
print(1024 * (kib("VmHWM") - before) / v.data.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux memory accounting")
def test_dynamic_pet_peak_memory_is_the_output(benchmark, folder, capsys):
    def peak() -> float:
        run = [sys.executable, "-c", _PEAK, str(folder)]
        return float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)

    share = benchmark.pedantic(peak, rounds=1)
    with capsys.disabled():
        sys.stderr.write(f"\npeak above start: {share:.3f} of the float32 output\n")
    assert share <= 1.1
