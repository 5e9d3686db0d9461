"""No network, no space, no permission, kill -9: the same result, or one refusal and nothing half written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imgtheranostics.cli.main import main
from imgtheranostics.phantom import make, write

COMMAND = (sys.executable, "-c", "from imgtheranostics.cli.main import run; run()")

KILLED = """
import json, os, signal, sys
import imgtheranostics.report.output, imgtheranostics.nuclear.quantities, pandas, nibabel, rich.table
from imgtheranostics.cli.main import main
words, moments = json.loads(sys.argv[1]), json.loads(sys.argv[2])

def counting(real, moment):
    def call(*arguments, **options):
        call.count += 1
        if call.count == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    call.count = 0
    return call

# one child per moment, which dies before its n-th call of a function that makes something last
for number, (name, moment) in enumerate(moments):
    child = os.fork()
    if child == 0:
        setattr(os, name, counting(getattr(os, name), moment))
        code = main([word.replace("NUMBER", str(number)) for word in words])
        os._exit(code)
    _, status = os.waitpid(child, 0)
    print(number, "killed" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}")
"""


@pytest.fixture(scope="module", autouse=True)
def _one_salt():
    """The pseudonym of the subject is the same in all processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGTHERANOSTICS_SALT", "test-salt")
        yield


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "decay"
    write(make("mm302-decaytrap"), folder)
    return folder


def words(phantom: Path, out: Path, variant: str = "start") -> list[str]:
    found = [
        "nuclear",
        "uptake",
        phantom / "dicom" / variant,
        "--rois",
        phantom / "regions.nii.gz",
        "-o",
        out,
    ]
    return [str(word) for word in [*found, "--quantity", "suv_bw", "-q", "--no-report"]]


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def results(phantom, tmp_path_factory) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What two uninterrupted runs write: of one variant, and of another."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(words(phantom, folder / "start")) == 0
    assert main(words(phantom, folder / "admin", "admin")) == 0
    return content(folder / "start"), content(folder / "admin")


def test_without_any_network_the_result_is_the_same(phantom, results, tmp_path):
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-n", "true"], capture_output=True).returncode:
        pytest.skip("no permission to make a network namespace")
    command = [unshare, "-n", *COMMAND, *words(phantom, tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out") == results[0]


@pytest.mark.parametrize("limit", [100, 3_000])
def test_full_disk_is_one_error_and_no_folder(phantom, tmp_path, limit):
    code = (
        f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));{COMMAND[2]}"
    )
    command = [sys.executable, "-c", code, *words(phantom, tmp_path / "out")]
    environment = {**os.environ, "NUMBA_DISABLE_JIT_CACHING": "1", "MPLCONFIGDIR": str(tmp_path / "mpl")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 7, done.stderr
    assert "OutputError" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "mpl"] == []


def test_full_disk_leaves_an_earlier_result_as_it_was(phantom, results, tmp_path):
    out = tmp_path / "out"
    assert main(words(phantom, out)) == 0
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); {COMMAND[2]}"
    command = [sys.executable, "-c", code, *words(phantom, out, "admin"), "--force"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert content(out) == results[0]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_place_that_cannot_be_written_is_refused_with_one_block(phantom, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(words(phantom, tmp_path / "file" / "out")) == 7
    assert main(words(phantom, Path("/proc/imgtheranostics/out"))) == 7
    errors = capsys.readouterr().err
    assert errors.count("error: OutputError") == 2
    assert (tmp_path / "file").read_text() == "mine"
    assert main(["convert", str(phantom / "dicom" / "start"), str(tmp_path / "file" / "a.nii.gz")]) == 7
    assert main(["convert", str(phantom / "dicom" / "start"), str(tmp_path / "file" / "a")]) == 7


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_refused(phantom, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert main(words(phantom, folder / "out")) == 7
    assert list(folder.iterdir()) == []


def kill(words_to_run: list[str], moments: list[tuple[str, int]]) -> list[str]:
    command = [sys.executable, "-c", KILLED, json.dumps(words_to_run), json.dumps(moments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.split()[0].isdigit()]


MOMENTS = [("fsync", 1), ("fsync", 5), ("replace", 1), ("replace", 2), ("replace", 6)]


def test_killed_while_writing_leaves_no_result_or_a_whole_one(phantom, results, tmp_path):
    ends = kill(words(phantom, tmp_path / "NUMBER" / "out"), MOMENTS)
    assert sum("killed" in end for end in ends) >= 3, ends
    for number in range(len(MOMENTS)):
        out = tmp_path / str(number) / "out"
        assert not out.exists() or content(out) == results[0], ends[number]
    assert main([*words(phantom, tmp_path / "0" / "out"), "--force"]) == 0, "no cleaning up is needed"
    assert content(tmp_path / "0" / "out") == results[0]


def test_killed_while_replacing_leaves_every_file_old_or_new(phantom, results, tmp_path):
    old, new = results
    assert main(words(phantom, tmp_path / "0")) == 0
    for number in range(1, len(MOMENTS)):
        shutil.copytree(tmp_path / "0", tmp_path / str(number))
    ends = kill([*words(phantom, tmp_path / "NUMBER", "admin"), "--force"], MOMENTS)
    assert sum("killed" in end for end in ends) >= 3, ends
    for number in range(len(MOMENTS)):
        found = content(tmp_path / str(number))
        assert found.keys() >= old.keys() & new.keys()
        for name, raw in found.items():
            assert raw in (old.get(name), new.get(name)), f"{name} after {MOMENTS[number]}"


def test_killed_during_conversion_leaves_no_image_without_its_end(phantom, tmp_path):
    source = str(phantom / "dicom" / "start")
    assert main(["convert", source, str(tmp_path / "whole.nii.gz"), "-q"]) == 0
    ends = kill(["convert", source, str(tmp_path / "NUMBER.nii.gz"), "-q"], MOMENTS[:3])
    assert any("killed" in end for end in ends)
    for path in tmp_path.glob("[0-9].nii.gz"):
        assert path.read_bytes() == (tmp_path / "whole.nii.gz").read_bytes()


def test_interrupt_from_the_keyboard_leaves_nothing(phantom, tmp_path):
    code = (
        "import os, signal, sys; real = os.fsync\n"
        # whoever runs the tests in the background may ignore the signal, and a child would inherit that
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def fsync(handle):\n    os.kill(os.getpid(), signal.SIGINT); return real(handle)\n"
        f"os.fsync = fsync; {COMMAND[2]}"
    )
    command = [sys.executable, "-c", code, *words(phantom, tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
