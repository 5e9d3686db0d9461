"""A study from manifest to tables: what is kept, what is done anew, what fails and what does not stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgtheranostics.cli.main import main
from imgtheranostics.cli.study_program import CommandLine
from imgtheranostics.errors import NothingUsable, OutputError
from imgtheranostics.study.manifest_files import read_manifest
from imgtheranostics.study.results import StudyStatus, read_status
from imgtheranostics.study.runner import Means
from imgtheranostics.study.running import plan, run_plan

NO_REPORT = Means(report=False)


def run(manifest: Path, output: Path, means: Means = NO_REPORT) -> StudyStatus:
    program = CommandLine()
    return run_plan(plan(read_manifest(manifest), manifest, program), output, program, means)


def results(output: Path) -> dict[str, bytes]:
    """Every file but the lock and the cache of hashes, which hold no result."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and ".hashes" not in path.parts and path.name != ".lock"
    }


def times(output: Path) -> dict[str, int]:
    return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in output.rglob("job.json")}


def test_uptake_of_every_mouse_in_one_table(make_study: Callable[..., Path], tmp_path: Path) -> None:
    status = run(make_study(tmp_path / "in"), tmp_path / "out")
    assert status.counts == {"done": 3, "failed": 0, "waiting": 0}
    lines = (tmp_path / "out" / "quantities.tsv").read_text().splitlines()
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    tumours = [row for row in rows if row["region"] == "tumour"]
    assert [(row["subject"], row["session"], row["analysis"]) for row in tumours] == [
        (f"m{n:02d}", "d1", "uptake") for n in range(3)
    ]
    # Bq/mL at the scan, decayed back by one hour, over 8 MBq and 1 g/mL
    for n, row in enumerate(tumours):
        expected = (6000.0 + 500.0 * n) * 2 ** (3600 / 6586.2) / 8e6 * 100
        assert float(row["mean"]) == pytest.approx(expected, rel=5e-3)
    people = (tmp_path / "out" / "participants.tsv").read_text().splitlines()
    assert people[2].split("\t") == ["sub-m01", "treated", "n/a", "n/a", "0.021", "0.2"]


def test_what_did_not_change_is_kept(make_study: Callable[..., Path], tmp_path: Path) -> None:
    manifest = make_study(tmp_path / "in")
    run(manifest, tmp_path / "out")
    before, content = times(tmp_path / "out"), results(tmp_path / "out")
    (tmp_path / "in" / "m00.nii.gz").touch()  # the same content at another time
    run(manifest, tmp_path / "out")
    assert times(tmp_path / "out") == before
    assert results(tmp_path / "out") == content


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        (lambda folder: (folder / "m01.nii.gz").write_bytes((folder / "m02.nii.gz").read_bytes()), {"m01"}),
        (lambda folder: _replace(folder / "m02.json", '"F"', '"M"'), {"m02"}),
        (lambda folder: _replace(folder / "rois.json", "tumour", "lesion"), {"m00", "m01", "m02"}),
        (lambda folder: _replace(folder / "study.yaml", "id_per_g", "id_per_ml"), {"m00", "m01", "m02"}),
    ],
    ids=["scan", "sidecar", "names of regions", "option"],
)
def test_only_what_changed_is_done_anew(
    make_study: Callable[..., Path], tmp_path: Path, change: Callable[[Path], object], anew: set[str]
) -> None:
    manifest = make_study(tmp_path / "in")
    run(manifest, tmp_path / "out")
    before = times(tmp_path / "out")
    change(tmp_path / "in")
    run(manifest, tmp_path / "out")
    after = times(tmp_path / "out")
    assert {name.split("/")[0][4:] for name in after if after[name] != before[name]} == anew
    fresh = run(manifest, tmp_path / "fresh")
    assert fresh.counts["done"] == 3
    assert results(tmp_path / "fresh") == results(tmp_path / "out")


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_one_corrupt_scan_in_fifty_is_reported_and_the_others_go_on(
    make_study: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make_study(tmp_path / "in", 50)
    scan = tmp_path / "in" / "m17.nii.gz"
    scan.write_bytes(scan.read_bytes()[:200])
    code = main(["study", "run", str(manifest), "-o", str(tmp_path / "out"), "--no-report"])
    told = capsys.readouterr().out
    assert code == 8
    assert "49 done, 1 failed" in told
    assert "sub-m17/ses-d1/uptake" in told
    status = read_status(tmp_path / "out")
    assert status.failed == ["m17"]
    [error] = status.subjects["m17"]["errors"]
    assert (error["type"], error["exit_code"]) == ("CorruptInput", 4)
    assert str(error["what"]) in told
    assert len(list((tmp_path / "out").glob("sub-*/ses-d1/uptake/quantities.tsv"))) == 49
    assert "m17" not in (tmp_path / "out" / "quantities.tsv").read_text()


def test_a_failure_leaves_no_result_of_an_earlier_scan(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = make_study(tmp_path / "in")
    run(manifest, tmp_path / "out")
    (tmp_path / "in" / "m01.nii.gz").write_bytes(b"no image")
    assert run(manifest, tmp_path / "out").failed == ["m01"]
    assert not (tmp_path / "out" / "sub-m01" / "ses-d1" / "uptake").exists()


def test_two_processes_give_the_bytes_of_one(make_study: Callable[..., Path], tmp_path: Path) -> None:
    manifest = make_study(tmp_path / "in", 5)
    run(manifest, tmp_path / "one")
    run(manifest, tmp_path / "two", Means(workers=2, report=False))
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_a_scheduler_and_a_worker_of_their_own_give_the_same_bytes(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = make_study(tmp_path / "in")
    run(manifest, tmp_path / "here")
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    options = ["--scheduler-file", str(file)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen(
            [*dask, "scheduler", *options, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"], **quiet
        )
    ]
    try:
        _wait_for(file)
        worker = ["worker", *options, "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path)]
        started.append(subprocess.Popen([*dask, *worker], **quiet))
        address = json.loads(file.read_text())["address"]
        status = run(manifest, tmp_path / "there", Means(scheduler=address, report=False))
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(20)
    assert status.counts["done"] == 3
    assert results(tmp_path / "here") == results(tmp_path / "there")


def _wait_for(file: Path) -> None:
    for _ in range(300):
        if file.exists() and file.stat().st_size:
            return
        time.sleep(0.1)
    pytest.fail("the scheduler did not start")


def test_a_scheduler_that_does_not_answer_is_refused(
    make_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgtheranostics.study.runner.CONNECT_S", 0.5)
    with pytest.raises(NothingUsable, match="cannot be reached"):
        run(make_study(tmp_path / "in"), tmp_path / "out", Means(scheduler="tcp://127.0.0.1:9"))


def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_bytes(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = make_study(tmp_path / "in", 50)
    run(manifest, tmp_path / "whole")
    command = [sys.executable, "-c", "from imgtheranostics.cli.main import run; run()"]
    command += ["study", "run", str(manifest), "-o", str(tmp_path / "out"), "--no-report", "-q"]
    rng = np.random.default_rng(5)
    kills = 0
    while kills < 20:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        done = len(list((tmp_path / "out").glob("sub-*/*/*/job.json")))
        _wait_for_more(tmp_path / "out", min(done + int(rng.integers(0, 3)), 49), process)
        time.sleep(float(rng.uniform(0.0, 0.15)))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        for folder in (tmp_path / "out").glob("sub-*/*/uptake"):
            assert (folder / "job.json").is_file()
            assert (folder / "quantities.tsv").is_file()
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def _wait_for_more(output: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None or len(list(output.glob("sub-*/*/*/job.json"))) > count:
            return
        if count >= 49 and output.exists():
            return
        time.sleep(0.01)


def test_two_runs_at_once_in_one_folder_are_refused(make_study: Callable[..., Path], tmp_path: Path) -> None:
    manifest = make_study(tmp_path / "in", 1)
    from imgtheranostics.study.results import study_folder

    with study_folder(tmp_path / "out"), pytest.raises(OutputError, match="another run"):
        run(manifest, tmp_path / "out")


def test_a_folder_that_holds_something_else_is_left_alone(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        run(make_study(tmp_path / "in", 1), tmp_path / "out")


def test_a_full_disk_stops_the_study_and_half_writes_nothing(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = make_study(tmp_path / "in", 2)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); "
    ignore = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    code = limit + ignore + "from imgtheranostics.cli.main import run; run()"
    ended = subprocess.run(
        [sys.executable, "-B", "-c", code, "study", "run", str(manifest), "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 7
    assert "cannot be written" in ended.stderr
    assert not list((tmp_path / "out").glob("sub-*/*/uptake"))


def test_more_memory_than_allowed_is_an_error_of_the_subject(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    status = run(make_study(tmp_path / "in", 1), tmp_path / "out", Means(memory_bytes=1000, report=False))
    assert status.failed == ["m00"]
    assert "more memory" in status.subjects["m00"]["errors"][0]["what"]


def test_left_over_subjects_are_named_and_in_no_table(
    make_study: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = make_study(tmp_path / "in", 3)
    run(manifest, tmp_path / "out")
    make_study(tmp_path / "in", 2)
    status = run(manifest, tmp_path / "out")
    assert [caution.code for caution in status.warnings] == ["left-over-subjects"]
    assert "sub-m02" in status.warnings[0].message
    assert "m02" not in (tmp_path / "out" / "quantities.tsv").read_text()


def test_a_worker_that_dies_fails_its_subject_only(make_study: Callable[..., Path], tmp_path: Path) -> None:
    manifest = make_study(tmp_path / "in", 4)
    program = Deadly()
    planned = plan(read_manifest(manifest), manifest, program)
    status = run_plan(planned, tmp_path / "out", program, Means(workers=2, report=False))
    assert status.failed == ["m02"]
    assert status.counts["done"] == 3
    assert "died" in status.subjects["m02"]["errors"][0]["what"]


class Deadly(CommandLine):
    """The command line, but the scan of m02 kills the process."""

    def run(self, arguments):
        if any("m02.nii" in word for word in arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(arguments)


class TestCommands:
    def test_dry_run_prints_the_plan_and_makes_nothing(
        self, make_study: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        manifest = make_study(tmp_path / "in")
        out = tmp_path / "out"
        assert main(["study", "run", str(manifest), "-o", str(out), "--dry-run", "--json"]) == 0
        plan_ = json.loads(capsys.readouterr().out)
        assert [one["jobs"] for one in plan_["subjects"]] == [
            [f"sub-m{n:02d}/ses-d1/uptake"] for n in range(3)
        ]
        assert plan_["subjects"][0]["memory_bytes"] == 300_000_000 + 3 * 4 * 12 * 12 * 8
        assert not out.exists()

    def test_status_says_what_run_said(
        self, make_study: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        manifest = make_study(tmp_path / "in")
        out = str(tmp_path / "out")
        assert main(["study", "run", str(manifest), "-o", out, "--no-report", "--json"]) == 0
        ran = json.loads(capsys.readouterr().out)
        assert main(["study", "status", out, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert {**said, "command": ""} == {**ran, "command": ""}

    @pytest.mark.parametrize(
        ("options", "code", "said"),
        [
            (["--memory-limit", "lots"], 2, "--memory-limit"),
            (["--workers", "0"], 2, "--workers"),
            (["--workers", "2", "--scheduler", "tcp://127.0.0.1:9"], 2, "--workers"),
            (["--analyses", "none.yaml"], 3, "does not exist"),
        ],
    )
    def test_wrong_options(
        self,
        make_study: Callable[..., Path],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        options: list[str],
        code: int,
        said: str,
    ) -> None:
        manifest = make_study(tmp_path / "in", 1)
        assert main(["study", "run", str(manifest), "-o", str(tmp_path / "out"), *options]) == code
        assert said in capsys.readouterr().err

    def test_a_missing_manifest_or_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["study", "run", str(tmp_path / "no.yaml"), "-o", str(tmp_path / "out")]) == 3
        assert main(["study", "status", str(tmp_path)]) == 3
        assert "no results of a study" in capsys.readouterr().err
