"""The same scan gives the same bytes, whatever the threads, the process, the folder and the time zone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgtheranostics.phantom import make, write

COMMAND = (sys.executable, "-c", "from imgtheranostics.cli.main import run; run()")
RUNS = {
    # name: (threads of Numba, --workers)
    "one thread": (1, 1),
    "one worker of two threads": (2, 1),
    "two threads": (2, 2),
    "two threads again": (2, None),
}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """A noisy scan, so that sums depend on their order if anything does."""
    folder = tmp_path_factory.mktemp("phantom") / "decay"
    write(make("mm302-decaytrap", level=1, rng=3), folder)
    return folder


def run(phantom: Path, out: Path, threads: int, workers: int | None, seed: int) -> None:
    environment = {
        **os.environ,
        "NUMBA_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": str(seed),
        "TZ": "Asia/Tokyo" if seed % 2 else "UTC",
    }
    words = [
        "nuclear",
        "uptake",
        phantom / "dicom" / "start",
        "--rois",
        phantom / "regions.nii.gz",
        "-o",
        out,
    ]
    words += ["--json"] + ([] if workers is None else ["--workers", workers])
    done = subprocess.run([*COMMAND, *map(str, words)], capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    printed = done.stdout.replace(str(out).encode(), b"OUT")
    (out / "printed.json").write_bytes(printed)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_maps_tables_records_and_reports_are_byte_equal(phantom, tmp_path):
    results = {}
    for seed, (name, (threads, workers)) in enumerate(RUNS.items()):
        out = tmp_path / name.replace(" ", "-")
        run(phantom, out, threads, workers, seed)
        results[name] = content(out)
    first = results.pop("one thread")
    assert {"suv_bw.nii.gz", "quantities.tsv", "provenance.json", "report.html"} <= first.keys()
    for name, files in results.items():
        differing = [file for file in sorted({*first, *files}) if first.get(file) != files.get(file)]
        assert not differing, f"{name} differs in {differing}"


def test_two_phantoms_of_one_seed_are_byte_equal_and_of_two_seeds_are_not(phantom, tmp_path):
    write(make("mm302-decaytrap", level=1, rng=3), tmp_path / "same")
    write(make("mm302-decaytrap", level=1, rng=4), tmp_path / "other")
    assert content(phantom) == content(tmp_path / "same")
    assert content(phantom) != content(tmp_path / "other")
