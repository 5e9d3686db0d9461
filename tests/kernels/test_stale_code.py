"""Compiled code is removed where a piece that was compiled into it changed, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from imgtheranostics.kernels.stale_code import RECORD, forget_stale_code

MODULES = {
    "piece": "x = 1\n",
    "middle": "from imgtheranostics.kernels.piece import (\n    x,\n)\n",
    "outer": "from imgtheranostics.kernels import middle, other\n",
    "other": "y = 2\n",
}


@pytest.fixture
def folder(tmp_path):
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
        for ending in ("nbi", "1.nbc"):
            (cache / f"{name}.f-1.py311.{ending}").touch()
    (cache / "piece.cpython-311.pyc").touch()
    forget_stale_code(tmp_path)
    for name in MODULES:
        (cache / f"{name}.f-1.py311.nbi").touch()
    return tmp_path


def kept(folder):
    return {path.name.split(".")[0] for path in (folder / "__pycache__").glob("*.nbi")}


def edit(folder, name):
    module = folder / f"{name}.py"
    module.write_text(module.read_text() + "z = 3\n")


def test_without_a_record_all_compiled_code_is_of_unknown_age(folder):
    (folder / "__pycache__" / RECORD).unlink()
    assert forget_stale_code(folder) == sorted(MODULES)
    assert kept(folder) == set()
    assert (folder / "__pycache__" / "piece.cpython-311.pyc").exists()


def test_nothing_is_removed_while_nothing_changes(folder):
    assert forget_stale_code(folder) == []
    assert kept(folder) == set(MODULES)


def test_what_imports_a_changed_piece_goes_however_far_away(folder):
    edit(folder, "piece")
    assert forget_stale_code(folder) == ["middle", "outer"]
    assert kept(folder) == {"piece", "other"}
    assert forget_stale_code(folder) == []


def test_a_change_that_keeps_the_size_is_seen_by_its_time(folder):
    os.utime(folder / "other.py", ns=(1, 1))
    assert forget_stale_code(folder) == ["outer"]


def test_a_damaged_record_counts_as_none(folder):
    (folder / "__pycache__" / RECORD).write_text("[")
    assert forget_stale_code(folder) == sorted(MODULES)


def test_a_folder_without_compiled_code_is_left_alone(tmp_path):
    (tmp_path / "piece.py").touch()
    assert forget_stale_code(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["piece.py"]


def test_looking_is_cheap_and_needs_no_numba():
    code = "import sys; import imgtheranostics.kernels; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
