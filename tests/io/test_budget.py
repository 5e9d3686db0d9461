"""The memory budget and the pseudonyms: small rules that everything else relies on."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from imgtheranostics.errors import CorruptInput, UnsupportedInput
from imgtheranostics.io import pseudonym as module
from imgtheranostics.io.budget import check_budget, check_file_holds, memory_budget_bytes
from imgtheranostics.io.pseudonym import pseudonym


def test_budget_is_half_of_the_machine_unless_given(monkeypatch):
    monkeypatch.delenv("IMGTHERANOSTICS_MEMORY_GB", raising=False)
    with open("/proc/meminfo") as stream:  # noqa: PTH123
        total = int(stream.readline().split()[1]) * 1024
    assert memory_budget_bytes() == pytest.approx(total / 2, rel=0.01)
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", "0.5")
    assert memory_budget_bytes() == 2**29


def test_what_exceeds_the_budget_is_refused(monkeypatch):
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", "1")
    check_budget(2**30, where="a.nii")
    with pytest.raises(UnsupportedInput, match="IMGTHERANOSTICS_MEMORY_GB") as caught:
        check_budget(2**30 + 1, where="a.nii")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("n_bytes", "inflated", "fits"),
    [(100, False, True), (101, False, False), (103_200, True, True), (103_201, True, False)],
)
def test_file_must_be_able_to_hold_what_it_declares(tmp_path, n_bytes, inflated, fits):
    path = tmp_path / "a.nii"
    path.write_bytes(bytes(100))
    if fits:
        check_file_holds(n_bytes, path, inflated=inflated)
        return
    with pytest.raises(CorruptInput, match="too small"):
        check_file_holds(n_bytes, path, inflated=inflated)


def test_empty_file_is_called_empty(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(CorruptInput, match="empty file"):
        check_file_holds(0, tmp_path / "a.nii")


def test_pseudonym_is_stable_and_does_not_contain_the_identifier(monkeypatch):
    first = pseudonym("Zq7Canary")
    assert first == pseudonym("Zq7Canary")
    assert first != pseudonym("Zq7Canary2")
    assert "Zq7" not in first
    assert first.startswith("sub-")
    assert pseudonym("") == ""
    monkeypatch.setenv("IMGTHERANOSTICS_SALT", "another")
    assert pseudonym("Zq7Canary") != first


def test_salt_is_made_once_and_only_for_the_user(monkeypatch, tmp_path):
    monkeypatch.delenv("IMGTHERANOSTICS_SALT", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    module._salt.cache_clear()
    first = pseudonym("Zq7Canary")
    salt = tmp_path / "imgtheranostics" / "salt"
    assert stat.S_IMODE(salt.stat().st_mode) == 0o600
    assert len(salt.read_bytes()) == 32
    module._salt.cache_clear()
    assert pseudonym("Zq7Canary") == first
    module._salt.cache_clear()


def test_unwritable_settings_give_pseudonyms_for_this_run(monkeypatch, tmp_path):
    monkeypatch.delenv("IMGTHERANOSTICS_SALT", raising=False)
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    module._salt.cache_clear()
    assert pseudonym("Zq7Canary") == pseudonym("Zq7Canary")
    module._salt.cache_clear()


def test_processes_that_start_at_once_share_one_salt(tmp_path):
    script = "from imgtheranostics.io.pseudonym import pseudonym; print(pseudonym('Zq7Canary'))"
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    environment.pop("IMGTHERANOSTICS_SALT")
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
        for _ in range(6)
    ]
    assert len({process.communicate()[0] for process in running}) == 1
    assert [path.name for path in (tmp_path / "imgtheranostics").iterdir()] == ["salt"]
