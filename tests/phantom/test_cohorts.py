"""Cohort phantoms: who holds what, what is written, and that the images hold what the cohort says."""

from __future__ import annotations

import csv
import hashlib
import json
import math

import numpy as np
import pytest
import yaml

from imgtheranostics.cli.main import main
from imgtheranostics.cli.study_program import CommandLine
from imgtheranostics.errors import (
    CorruptInput,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    OutputError,
    UnsupportedInput,
)
from imgtheranostics.phantom import available_cohorts, load_cohort, make_cohort, write_cohort
from imgtheranostics.phantom.cohort_spec import cohort_path
from imgtheranostics.phantom.truth import region_truth
from imgtheranostics.study.jobs import jobs_of
from imgtheranostics.study.manifest_files import read_manifest

# Section 5 of the claims: cohort, claim, subjects, modality
CLAIMS = {
    "coh-mm302": ("C1", 19, "PET"),
    "coh-nanorad": ("C2", 15, "MRI"),
    "coh-v7size": ("C3", 30, "MSOT"),
    "coh-in111": ("C4", 12, "SPECT"),
    "coh-labeldrug": ("C5", 18, "PET"),
    "coh-olsa": ("C6", 24, "CEST"),
    "coh-epr": ("C7", 20, "PET"),
}


def digests(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def changed(tmp_path, old, new, slug="coh-epr"):
    """A cohort file with one thing changed."""
    text = cohort_path(slug).read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "coh-changed.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Every cohort with a few subjects, on disk as DICOM: folder and cohort by slug."""
    made = {}
    for slug in CLAIMS:
        cohort = make_cohort(slug, subjects=1 if slug == "coh-labeldrug" else 2, seed=4)
        folder = tmp_path_factory.mktemp("cohorts") / slug
        write_cohort(cohort, folder)
        made[slug] = (folder, cohort)
    return made


def test_every_claim_has_its_cohort():
    assert set(available_cohorts()) == set(CLAIMS)


@pytest.mark.parametrize("slug", CLAIMS)
def test_file_states_claim_size_modality_and_null_twin(slug):
    spec, (claim, subjects, modality) = load_cohort(slug), CLAIMS[slug]
    assert (spec.slug, spec.claim, spec.design.subjects) == (slug, claim, subjects)
    assert spec.base().modality == modality
    assert spec.null_twin
    assert spec.analysis


@pytest.mark.parametrize("slug", CLAIMS)
def test_numbers_from_memory_are_marked(slug):
    """Every setting of the design has a provenance, of its own or of the whole design."""
    spec = load_cohort(slug)
    whole = "design" in spec.provenance
    for name in type(spec.design).model_fields:
        if name in ("kind", "hazard", "hours", "region", "not_evaluable"):
            continue
        assert whole or f"design.{name}" in spec.provenance, name
    assert all(item.status == "review" or item.source for item in spec.provenance.values())


def test_same_seed_gives_the_same_cohort_and_another_gives_others():
    one, same, other = (make_cohort("coh-mm302", seed=seed) for seed in (3, 3, 4))
    assert one.members == same.members
    assert one.members != other.members


def test_null_twin_changes_the_effect_and_nothing_else():
    """Of C1 the uptake is the same to the digit, and the hazard is 1 for all."""
    cohort, twin = (make_cohort("coh-mm302", null=null) for null in (False, True))
    assert [one.visits for one in cohort.members] == [one.visits for one in twin.members]
    assert {one.hidden["relative_hazard"] for one in twin.members} == {1.0}
    assert len({one.hidden["relative_hazard"] for one in cohort.members}) == 19


def test_fewer_subjects_are_spread_over_the_groups():
    members = make_cohort("coh-in111", subjects=5).members
    assert [one.group for one in members] == ["lumen", "bilayer", "lumen", "bilayer", "lumen"]


def test_uptake_of_lesions_has_the_stated_distribution():
    """C1: lognormal, SD of the logarithm .71, half of its variance between patients; 1 to 8 lesions."""
    members = make_cohort("coh-mm302", subjects=1000).members
    logs = [np.log(list(one.visits[0].held.values())) for one in members]
    values = np.concatenate(logs)
    assert {one.size for one in logs} == set(range(1, 9))
    assert np.exp(values.mean()) == pytest.approx(3.1, rel=0.08)
    assert values.std() == pytest.approx(0.71, rel=0.05)
    within = sum(((one - one.mean()) ** 2).sum() for one in logs) / sum(one.size - 1 for one in logs)
    assert within / values.var() == pytest.approx(0.5, abs=0.05)


def test_survival_of_a_patient_of_average_uptake_has_the_stated_median():
    """C1: exponential, 5.6 months; half of the patients of the null twin are past it."""
    times = np.array(
        [one.outcome["time"] for one in make_cohort("coh-mm302", subjects=1000, null=True).members]
    )
    assert np.mean(times > 5.6) == pytest.approx(0.5, abs=0.05)
    assert times.max() == 12.0
    assert np.mean(times == 12.0) == pytest.approx(2 ** (-12 / 5.6), abs=0.04)


def test_label_and_drug_follow_their_compartments():
    """C5: the area of the matrix exponential, by quadrature, is the closed form; so is the ratio."""
    from scipy.integrate import quad

    design = load_cohort("coh-labeldrug").design
    numeric = quad(lambda hours: design.at(hours, 0.01, 0.02), 0, 1000)[0]
    assert design.area(0.01, 0.02) == pytest.approx(numeric, rel=1e-4)
    for release in design.release_per_h:
        assert design.ratio(release) == pytest.approx((1 + release / 0.02) / (1 + release / 0.2))
        assert design.ratio(release, null=True) == 1.0


def test_mean_concentration_of_a_patient_is_dose_times_uptake():
    """C2: lesions scatter about it, 0.0014 mmol/L per mg/kg."""
    for one in make_cohort("coh-nanorad").members:
        expected = 0.0014 * one.covariates["dose_mg_per_kg"] * math.exp(one.hidden["log_uptake"])
        assert np.mean(list(one.visits[0].held.values())) == pytest.approx(expected)


@pytest.mark.parametrize("slug", CLAIMS)
def test_written_study_has_a_manifest_that_can_be_run(slug, written):
    folder, cohort = written[slug]
    study = read_manifest(folder / "manifest.yaml")
    assert [one.id for one in study.subjects] == [one.id for one in cohort.members]
    assert study.agent == cohort.spec.base().agent.record
    assert study.analyses
    for subject, member in zip(study.subjects, cohort.members, strict=True):
        assert [one.id for one in subject.in_time] == [one.session for one in member.visits]
        assert subject.covariates == pytest.approx(dict(member.covariates))


MEASURED = {
    "coh-mm302": ("uptake", "id_per_g", 1000.0),  # %ID/kg
    "coh-nanorad": ("enhancement", "enhancement", 1.0),
    "coh-v7size": ("dye", "ir780_region_ratio", 100.0),  # over the liver, which holds 100 nmol/L
    "coh-in111": ("uptake", "id_per_g", 1.0),
    "coh-labeldrug": ("uptake", "id_per_g", 1.0),
    "coh-olsa": ("contrast", "delta_mtr_asym", 1.0),
    "coh-epr": ("uptake", "id_per_g", 1.0),
}


def expected(cohort, visit, phantom, region):
    """What an analysis finds of a region: what it holds, or what its signal changes by for that."""
    spec = phantom.spec
    if cohort.spec.slug == "coh-nanorad":
        return region_truth(spec, region, "enhancement", 0)
    if cohort.spec.slug == "coh-olsa":
        pre, post = (region_truth(spec, region, "mtr_asym", volume) for volume in (0, 1))
        return post - pre
    return visit.held[region]


@pytest.mark.parametrize("slug", CLAIMS)
def test_what_the_commands_of_the_manifest_measure_is_the_truth_of_the_cohort(slug, written, tmp_path):
    """To 0.1 %: half a step of 16-bit voxels, and the decay inside a frame."""
    folder, cohort = written[slug]
    manifest = folder / "manifest.yaml"
    name, quantity, factor = MEASURED[slug]
    scans = [(visit, phantom) for _, visit, phantom in cohort.scans()]
    jobs = [job for one in jobs_of(read_manifest(manifest), manifest, CommandLine()) for job in one.jobs]
    jobs = [job for job in jobs if job.name == name]
    assert len(jobs) == len(scans)
    for job, (visit, phantom) in zip(jobs, scans, strict=True):
        out = tmp_path / job.folder
        assert main([*job.command_line(tmp_path), "-o", str(out), "--no-report", "-q"]) == 0
        with (out / "quantities.tsv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file, delimiter="\t") if row["quantity"] == quantity]
        found = {row["region"].removesuffix("/liver"): factor * float(row["mean"]) for row in rows}
        for region in visit.held:
            wanted = expected(cohort, visit, phantom, region)
            assert found[region] == pytest.approx(wanted, rel=1e-3), (job.folder, region)


def test_area_of_label_from_scans_is_that_of_its_compartments():
    """C5: trapezoids through six scans and the rate of the last two; the closed form to 5 %."""
    for null in (False, True):
        for one in make_cohort("coh-labeldrug", subjects=3, null=null).members:
            hours = np.array([0.0, *(visit.hours for visit in one.visits)])
            held = np.array([0.0, *(visit.held["tumour"] for visit in one.visits)])
            rate = math.log(held[-2] / held[-1]) / (hours[-1] - hours[-2])
            area = np.trapezoid(held, hours) + held[-1] / rate
            assert area == pytest.approx(one.hidden["label_auc"], rel=0.05)


def test_study_run_accepts_a_cohort(written, tmp_path):
    folder, cohort = written["coh-mm302"]
    out = tmp_path / "out"
    line = [
        "study",
        "run",
        str(folder / "manifest.yaml"),
        "-o",
        str(out),
        "--no-report",
        "-q",
        "--workers",
        "1",
    ]
    assert main(line) == 0
    with (out / "quantities.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    lesions = sum(len(one.visits[0].held) for one in cohort.members)
    assert sum(row["region"].startswith("lesion_") for row in rows) == 2 * lesions  # %ID/g and SUV


def test_outcomes_are_those_of_the_subjects_and_name_their_units(tmp_path):
    cohort = make_cohort("coh-nanorad", subjects=2)
    write_cohort(cohort, tmp_path / "c", "nifti")
    with (tmp_path / "c" / "outcomes.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["subject"] for row in rows] == ["p01", "p02"]
    assert float(rows[0]["response"]) == pytest.approx(cohort.members[0].outcome["response"])
    assert rows[1]["response"] == "n/a"  # the one who is not evaluable
    assert json.loads((tmp_path / "c" / "outcomes.json").read_text())["response"]["Units"] == "%"


def test_truth_tells_what_was_drawn_and_that_it_is_a_null_twin(tmp_path):
    cohort = make_cohort("coh-in111", null=True, subjects=1, seed=8)
    write_cohort(cohort, tmp_path / "c", "nifti")
    truth = json.loads((tmp_path / "c" / "truth" / "truth.json").read_text(encoding="utf-8"))
    assert (truth["null"], truth["seed"], truth["claim"]) == (True, 8, "C4")
    held = truth["subjects"][0]["visits"][1]["held"]
    assert held == dict(cohort.members[0].visits[1].held)
    manifest = yaml.safe_load((tmp_path / "c" / "manifest.yaml").read_text(encoding="utf-8"))
    assert "null twin" in manifest["study"]


def test_same_cohort_is_written_to_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_cohort(make_cohort("coh-labeldrug", subjects=1, seed=2), tmp_path / name, level=1)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_command_makes_lists_and_shows_cohorts(tmp_path, capsys):
    out = tmp_path / "c"
    line = ["phantom", "make", "coh-in111", "-o", str(out), "--null", "--subjects", "1", "--json"]
    assert main([*line, "--format", "nifti"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["claim"], content["null"], content["subjects"]) == ("C4", True, ["m01"])
    assert (out / "sub-m01" / "ses-h24" / "spect.nii.gz").is_file()
    assert main(["phantom", "list", "--json"]) == 0
    rows = {row["slug"]: row for row in json.loads(capsys.readouterr().out)["cohorts"]}
    assert {slug: (row["claim"], row["subjects"]) for slug, row in rows.items()} == {
        slug: (claim, subjects) for slug, (claim, subjects, _) in CLAIMS.items()
    }
    assert main(["phantom", "show", "coh-epr"]) == 0
    assert capsys.readouterr().out == cohort_path("coh-epr").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "line",
    [
        ["mm302-decaytrap", "--null"],
        ["mm302-decaytrap", "--subjects", "3"],
        ["coh-epr", "--format", "msot-h5"],
        ["coh-epr", "--subjects", "0"],
    ],
)
def test_command_refuses_what_does_not_fit(line, tmp_path, capsys):
    assert main(["phantom", "make", *line, "-o", str(tmp_path / "c")]) == 2
    assert not (tmp_path / "c").exists()


def test_unknown_cohort_is_refused_with_the_known_ones():
    with pytest.raises(NothingUsable, match="coh-mm302"):
        load_cohort("coh-mm30")


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ("  subjects: 20", "  subjects: 20\n  colour: red", CorruptInput, "colour"),
        ("  kind: retest", "  kind: rehearsal", CorruptInput, "rehearsal"),
        ("  variation: 0.9", "  variation: -0.9", ImplausibleValue, "variation"),
        ("lesions: [3, 3]", "lesions: [3, 2]", CorruptInput, "fewest|smallest"),
        ("lesions: [3, 3]", "lesions: [3, 4]", MissingMetadata, "lesion_4"),
        ("quantity: id_per_g\nroles", "quantity: t1\nroles", MissingMetadata, "lesion_1"),
        ("claim: C7", "claim: seven", CorruptInput, "claim"),
    ],
)
def test_wrong_cohort_file_is_refused(tmp_path, old, new, error, said):
    with pytest.raises(error, match=said):
        load_cohort(changed(tmp_path, old, new))


def test_times_of_groups_are_ascending_hours(tmp_path):
    path = changed(tmp_path, '{"4": 9.0, "24": 14.0', '{"24": 9.0, "4": 14.0', "coh-in111")
    with pytest.raises(CorruptInput, match="ascending"):
        load_cohort(path)


def test_unknown_format_level_and_number_are_refused(tmp_path):
    cohort = make_cohort("coh-olsa", subjects=1)
    with pytest.raises(UnsupportedInput, match="format"):
        write_cohort(cohort, tmp_path / "c", "msot-h5")
    with pytest.raises(UnsupportedInput, match="level"):
        write_cohort(cohort, tmp_path / "c", level=3)
    with pytest.raises(ValueError, match="at least 1"):
        make_cohort("coh-olsa", subjects=0)
    assert not (tmp_path / "c").exists()


def test_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(OutputError):
        write_cohort(make_cohort("coh-in111", subjects=1), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
