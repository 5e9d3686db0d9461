"""Damaged files of every kind are read right, refused by type, or doubted aloud; the harness sees the rest.

``scripts/fuzz`` does the same with as many mutants as one likes (10,000 by default).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
KINDS = "dicom,nifti,json,table,regions,msot,hdf5"

FAULTY_READERS = """
import os, signal, sys, tempfile, time
from pathlib import Path
sys.path.append({scripts!r})
from fuzzing import running
from fuzzing.judging import judge
from fuzzing.seeds import Seed

running.SECONDS = 1

def outcome(number):
    return {{"number": number, "cautions": frozenset()}}

def crash(folder):
    os.kill(os.getpid(), signal.SIGSEGV)

def raises(folder):
    raise ValueError("nobody catches me")

def eats(folder):
    bytearray(8 * 2**30)

readers = {{
    "fine": lambda folder: outcome(1),
    "crashes": crash,
    "sleeps": lambda folder: time.sleep(60),
    "raises": raises,
    "eats": eats,
    "lies": lambda folder: outcome(2),
    "warns": lambda folder: {{"number": 2, "cautions": frozenset(["doubt"])}},
    "fine again": lambda folder: outcome(1),
}}
seeds = [Seed(name, "dicom", {{"a": b"x"}}, "a", read, 1) for name, read in readers.items()]
with tempfile.TemporaryDirectory() as scratch:
    found = running._read_all([(seed, b"y") for seed in seeds], Path(scratch))
    for seed, outcome_found, _ in found:
        print(seed.name + ":", judge(seed, outcome(1), outcome_found, b"y")[0])
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=240)


def test_three_hundred_damaged_files_are_refused_or_read_right(tmp_path):
    done = run(
        str(REPOSITORY / "scripts" / "fuzz"),
        "--mutants",
        "300",
        "--kinds",
        KINDS,
        "--keep",
        str(tmp_path / "found"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if re.search(r"(\s+\d+){8}$", line)]
    assert len(rows) > 30, "a row per seed that was drawn"
    same, caution, refused, edit, *bad = (int(n) for n in rows[-1].split()[1:])
    assert bad == [0, 0, 0, 0]
    assert same + caution + refused + edit == 300
    assert min(same, caution, refused, edit) > 0, "every kind of damage was met"


def test_the_same_seed_gives_the_same_verdicts():
    first, second = (
        run(str(REPOSITORY / "scripts" / "fuzz"), "--mutants", "30", "--seed", "7", "--kinds", "json,nifti")
        for _ in range(2)
    )
    assert first.returncode == second.returncode == 0
    drop_time = re.compile(r"^\d+ s, slowest.*$", re.MULTILINE)
    assert drop_time.sub("", first.stdout) == drop_time.sub("", second.stdout)


def test_the_harness_sees_crashes_hangs_exceptions_and_silent_changes():
    done = run("-c", FAULTY_READERS.format(scripts=str(REPOSITORY / "scripts")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "fine: same",
        "crashes: signal",
        "sleeps: hang",
        "raises: untyped",
        "eats: untyped",
        "lies: changed",
        "warns: caution",
        "fine again: same",
    ]


def test_help_says_what_it_does():
    done = run(str(REPOSITORY / "scripts" / "fuzz"), "-h")
    assert done.returncode == 0
    assert "--mutants" in done.stdout
    assert "--seed" in done.stdout
