"""From manifest to command lines: which scans, regions, options and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from imgtheranostics.cli.study_program import CommandLine
from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.study.jobs import Job, Outcome, jobs_of
from imgtheranostics.study.manifest_files import read_manifest

HEAD = """\
study: two sessions
subjects:
  - id: m01
    weight: 21 g
    sex: F
    sessions:
      - id: d1
        date: 2026-03-01T09:30
        administration: {activity: 8.1 MBq, at: 2026-03-01T08:30, nuclide: Y-86}
        scans: {pet: {path: p1.nii.gz, series: "3"}, ct: c1.nii.gz}
        regions: {path: rois.nii.gz, drawn_on: ct}
      - id: d2
        date: 2026-03-02T09:30
        scans: {pet: p2.nii.gz, ct: c2.nii.gz}
analyses:
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("p1", "c1", "p2", "c2", "rois"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"x")
    return tmp_path


def planned(folder: Path, analyses: str, head: str = HEAD) -> list[Job]:
    manifest = folder / "study.yaml"
    manifest.write_text(head + analyses)
    [only] = jobs_of(read_manifest(manifest), manifest, CommandLine())
    if only.error is not None:
        raise only.error
    return list(only.jobs)


def line(job: Job, folder: Path) -> list[str]:
    return [word.replace(f"{folder}/", "") for word in job.command_line(folder / "out")]


UPTAKE = "  - {name: uptake, command: nuclear uptake, scans: [pet], options: {quantity: [id_per_g]}}\n"


def test_a_scan_is_quantified_with_its_series_regions_labels_and_what_was_injected(folder: Path) -> None:
    first = planned(folder, UPTAKE)[0]
    assert first.folder == "sub-m01/ses-d1/uptake"
    assert line(first, folder) == [
        *("nuclear", "uptake", "p1.nii.gz", "--series", "3", "--rois", "rois.nii.gz", "--resample-rois"),
        *("--subject", "m01", "--session", "d1", "--dose", "8100000.0Bq"),
        *("--injected-at", "2026-03-01T08:30:00", "--nuclide", "Y-86"),
        *("--weight-kg", "0.021", "--sex", "F", "--quantity", "id_per_g"),
    ]


def test_regions_are_carried_to_a_session_without_any_by_the_scan_that_they_were_drawn_on(
    folder: Path,
) -> None:
    _, carried, second = planned(folder, UPTAKE)
    assert carried.folder == "sub-m01/ses-d2/regions"
    assert line(carried, folder) == [
        *("study", "align", "c2.nii.gz", "c1.nii.gz", "--rois", "rois.nii.gz", "--resample-rois")
    ]
    assert second.after == ("sub-m01/ses-d2/regions",)
    assert "out/sub-m01/ses-d2/regions/regions.nii.gz" in line(second, folder)


def test_a_scan_is_brought_onto_another_where_the_analysis_says_so(folder: Path) -> None:
    text = (
        "  - {name: u, command: nuclear uptake, scans: [pet], options: {ct: {scan: ct}}, align: {ct: pet}}\n"
    )
    jobs = planned(folder, text)
    assert [job.folder for job in jobs[:2]] == ["sub-m01/ses-d1/ct-onto-pet", "sub-m01/ses-d1/u"]
    assert line(jobs[0], folder)[2:4] == ["p1.nii.gz", "c1.nii.gz"]
    words = line(jobs[1], folder)
    assert words[words.index("--ct") + 1] == "out/sub-m01/ses-d1/ct-onto-pet/moved.nii.gz"


@pytest.mark.parametrize(
    ("model", "folder_name"), [("position", "ct-onto-pet-position"), ("rigid", "ct-onto-pet")]
)
def test_scans_of_one_machine_are_brought_together_by_position(
    folder: Path, model: str, folder_name: str
) -> None:
    text = (
        "  - {name: u, command: nuclear uptake, scans: [pet], options: {ct: {scan: ct}}, align: {ct: pet},"
        f" align_model: {model}}}\n"
    )
    job = planned(folder, text)[0]
    assert job.folder == f"sub-m01/ses-d1/{folder_name}"
    assert ("--model" in line(job, folder)) is (model != "rigid")


def test_regions_drawn_on_one_modality_are_carried_to_another(folder: Path) -> None:
    """Drawn on the CT of the first day: from CT to CT between days, and from CT to PET within each."""
    text = "  - {name: u, command: nuclear uptake, scans: [pet], carry: rigid}\n"
    jobs = {job.folder: job for job in planned(folder, text)}
    assert list(jobs) == [
        "sub-m01/ses-d1/regions-on-pet",
        "sub-m01/ses-d1/u",
        "sub-m01/ses-d2/regions",
        "sub-m01/ses-d2/regions-on-pet",
        "sub-m01/ses-d2/u",
    ]
    first = line(jobs["sub-m01/ses-d1/regions-on-pet"], folder)
    assert first == [
        *("study", "align", "p1.nii.gz", "c1.nii.gz", "--series", "3"),
        *("--rois", "rois.nii.gz", "--resample-rois"),
    ]
    second = jobs["sub-m01/ses-d2/regions-on-pet"]
    assert second.after == ("sub-m01/ses-d2/regions",)
    assert line(second, folder)[2:] == [
        *("p2.nii.gz", "c2.nii.gz"),
        *("--rois", "out/sub-m01/ses-d2/regions/regions.nii.gz", "--resample-rois"),
    ]
    assert jobs["sub-m01/ses-d2/u"].after == ("sub-m01/ses-d2/regions-on-pet",)
    assert "out/sub-m01/ses-d2/regions-on-pet/regions.nii.gz" in line(jobs["sub-m01/ses-d2/u"], folder)


def test_regions_are_not_carried_to_the_scan_that_they_were_drawn_on(folder: Path) -> None:
    text = (
        "  - {name: c, command: ct concentration, scans: [ct], options: {background-hu: 40, material: I},"
        " carry: affine}\n"
    )
    first, carried, _ = planned(folder, text)
    assert "rois.nii.gz" in line(first, folder)
    assert carried.folder == "sub-m01/ses-d2/regions"


def test_regions_of_which_the_scan_is_not_known_are_not_carried(folder: Path) -> None:
    text = "  - {name: u, command: nuclear uptake, scans: [pet], carry: rigid}\n"
    with pytest.raises(MissingMetadata, match="drawn on") as caught:
        planned(folder, text, HEAD.replace("{path: rois.nii.gz, drawn_on: ct}", "rois.nii.gz"))
    assert caught.value.needed == "drawn_on: a role of this session"


def test_series_of_aligned_scans_are_chosen_by_the_alignment(folder: Path) -> None:
    head = HEAD.replace("ct: c1.nii.gz", 'ct: {path: c1.nii.gz, series: "2"}')
    text = (
        "  - {name: u, command: nuclear uptake, scans: [pet], options: {ct: {scan: ct}}, align: {ct: pet}}\n"
    )
    aligned, used, *_ = planned(folder, text, head)
    words = line(aligned, folder)
    assert words[2:] == ["p1.nii.gz", "c1.nii.gz", "--series", "3", "--moving-series", "2"]
    assert line(used, folder).count("--series") == 1
    assert "3" in line(used, folder)


def test_a_series_of_an_option_is_refused_and_not_dropped(folder: Path) -> None:
    head = HEAD.replace("ct: c1.nii.gz", 'ct: {path: c1.nii.gz, series: "2"}')
    text = "  - {name: u, command: nuclear uptake, scans: [pet], options: {ct: {scan: ct}}}\n"
    with pytest.raises(UnsupportedInput, match="cannot choose a series") as caught:
        planned(folder, text, head)
    assert caught.value.where == "m01, session d1, ct"


def test_scans_of_all_sessions_are_one_analysis_of_the_subject(folder: Path) -> None:
    text = "  - {name: curves, command: nuclear curves, scans: [pet@*]}\n"
    head = HEAD.replace('{path: p1.nii.gz, series: "3"}', "p1.nii.gz")
    *_, job = planned(folder, text, head)
    assert job.folder == "sub-m01/curves"
    words = line(job, folder)
    assert "--series" not in words
    assert words[2:4] == ["p1.nii.gz", "p2.nii.gz"]
    assert [words[n + 1] for n, word in enumerate(words) if word == "--rois"] == [
        "rois.nii.gz",
        "out/sub-m01/ses-d2/regions/regions.nii.gz",
    ]


def test_a_delay_stands_for_the_moment_of_injection(folder: Path) -> None:
    head = HEAD.replace("at: 2026-03-01T08:30", "delay: 60 min")
    words = line(planned(folder, UPTAKE, head)[0], folder)
    assert words[words.index("--delay") + 1] == "3600.0s"
    assert "--injected-at" not in words


def test_switches_files_and_lists_become_options(folder: Path) -> None:
    options = "{quantity: [id_per_g, suv_bw], strict-dose: true, strict-clock: false, ct: {file: c1.nii.gz}}"
    text = f"  - {{name: u, command: nuclear uptake, scans: [pet], options: {options}}}\n"
    words = line(planned(folder, text)[0], folder)
    assert words[words.index("--quantity") :] == [
        *("--quantity", "id_per_g", "--quantity", "suv_bw", "--strict-dose", "--ct", "c1.nii.gz")
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  - {name: u, command: nuclear uptakes, scans: [pet]}\n", "no such command"),
        (
            "  - {name: u, command: nuclear uptake, scans: [pet], options: {dose-mg: 3}}\n",
            "no option --dose-mg",
        ),
        ("  - {name: u, command: nuclear uptake, scans: [pet@d9]}\n", "done to no session"),
    ],
)
def test_an_analysis_that_cannot_be_done_is_refused_before_anything_runs(
    folder: Path, text: str, said: str
) -> None:
    with pytest.raises(UnsupportedInput, match=said):
        planned(folder, text)


def test_a_series_that_a_command_cannot_choose_is_an_error_of_the_subject(folder: Path) -> None:
    head = HEAD.replace("pet: p2.nii.gz", 'pet: {path: p2.nii.gz, series: "2"}')
    with pytest.raises(UnsupportedInput, match="cannot choose a series"):
        planned(folder, "  - {name: e, command: ct materials, scans: [pet@*]}\n", head)


@pytest.mark.parametrize("command", ["nuclear curves", "nuclear dose", "nuclear pairs"])
def test_series_of_later_scans_are_named_in_their_order(folder: Path, command: str) -> None:
    text = f"  - {{name: curves, command: {command}, scans: [pet@*]}}\n"
    *_, job = planned(folder, text)
    words = line(job, folder)
    # the scan of the second session is the only one of its file
    assert [words[n + 1] for n, word in enumerate(words) if word == "--series"] == ["3", "-"]


def test_series_of_follow_ups_and_second_scans_have_options_of_their_own(folder: Path) -> None:
    head = HEAD.replace("ct: c1.nii.gz", 'ct: {path: c1.nii.gz, series: "4"}')
    head = head.replace("ct: c2.nii.gz", 'ct: {path: c2.nii.gz, series: "5"}')
    *_, kept = planned(folder, "  - {name: r, command: ct retention, scans: [ct@d1, ct@d2]}\n", head)
    *_, change = planned(folder, "  - {name: e, command: mri enhancement, scans: [ct@d1, ct@d2]}\n", head)
    *_, echo = planned(
        folder,
        "  - {name: u, command: ultrasound enhancement, scans: [ct@d2], options: {before: {scan: ct@d1}}}\n",
        head,
    )
    for job, option in ((kept, "--followup-series"), (change, "--post-series")):
        words = line(job, folder)
        assert words[words.index("--series") + 1] == "4"
        assert words[words.index(option) + 1] == "5"
    words = line(echo, folder)
    assert (words[words.index("--series") + 1], words[words.index("--before-series") + 1]) == ("5", "4")


def test_regions_that_cannot_be_carried_are_an_error_of_the_subject(folder: Path) -> None:
    head = HEAD.replace("{pet: p2.nii.gz, ct: c2.nii.gz}", "{pet: p2.nii.gz}")
    with pytest.raises(MissingMetadata, match="same role in both sessions"):
        planned(folder, UPTAKE, head)


def test_a_subject_that_cannot_be_planned_leaves_the_others(folder: Path) -> None:
    manifest = folder / "study.yaml"
    head = HEAD.replace("{pet: p2.nii.gz, ct: c2.nii.gz}", "{pet: p2.nii.gz}")
    other = head[head.index("  - id: m01") : head.index("analyses")].replace("m01", "m02")
    other = other[: other.index("      - id: d2")]
    manifest.write_text(head.replace("analyses:\n", other + "analyses:\n") + UPTAKE)
    first, second = jobs_of(read_manifest(manifest), manifest, CommandLine())
    assert isinstance(first.error, MissingMetadata)
    assert [job.name for job in second.jobs] == ["uptake"]


class NoOptions:
    """A program whose commands take nothing."""

    def options(self, command: str) -> frozenset[str] | None:
        return frozenset()

    def run(self, arguments: Sequence[str]) -> Outcome:
        raise AssertionError


def test_only_options_that_a_command_has_are_given(folder: Path) -> None:
    manifest = folder / "study.yaml"
    text = "  - {name: u, command: any thing, scans: [ct]}\n"
    manifest.write_text(HEAD + text)
    [subject] = jobs_of(read_manifest(manifest), manifest, NoOptions())
    assert [line(job, folder) for job in subject.jobs] == [
        ["any", "thing", "c1.nii.gz"],
        ["any", "thing", "c2.nii.gz"],
    ]
