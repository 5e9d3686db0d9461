"""The output folder: what is in it, the same bytes each time, all or nothing, and no person in it."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import os
import resource
from datetime import datetime
from pathlib import Path

import nibabel
import numpy as np
import pytest

from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.errors import Caution, ImgTheranosticsError, NothingUsable, OutputError
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.report.output import read_estimates, write_run
from imgtheranostics.report.run import Run
from imgtheranostics.report.tables import read_tsv, run_as_json
from imgtheranostics.volume import Estimate, Flag, Source, Volume, make_step

PLAIN_FILES = {
    "flags.json",
    "flags.nii.gz",
    "id_per_g.json",
    "id_per_g.nii.gz",
    "id_per_g_se.json",
    "id_per_g_se.nii.gz",
    "provenance.json",
    "quantities.json",
    "quantities.tsv",
}


def small_estimate(quantity="id_per_g", unit="%/g", *, flagged=(0, 0, 0), source=None, **changes) -> Estimate:
    data = np.arange(60, dtype=np.float32).reshape(3, 4, 5) / 7
    flags = np.zeros(data.shape, np.uint16)
    flags[flagged] = Flag.INVALID_INPUT
    data[flagged] = np.nan
    value = Volume(data, np.diag([2.0, 2.0, 3.0, 1.0]), quantity, unit, source=source or Source(), **changes)
    error = Volume(np.abs(data) * 0.1, value.affine, quantity, unit, source=value.source)
    return Estimate(
        value, error, Volume(flags, value.affine, "flags", "1"), 0.05, {"scaling": {"units": "BQML"}}
    )


def small_run(estimate: Estimate, **changes) -> Run:
    regions = Regions.from_masks({"left": np.arange(60).reshape(3, 4, 5) < 30}, estimate.grid)
    return Run("nuclear uptake", (estimate,), roi_statistics(estimate, regions), **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_the_folder_holds_what_the_contract_lists(mouse_run, mouse_folder):
    found = set(contents(mouse_folder))
    assert found >= PLAIN_FILES | {"report.html"}
    assert {name for name in found if "/" not in name} == PLAIN_FILES | {"report.html"}
    np.testing.assert_array_equal(
        read_tsv(mouse_folder / "quantities.tsv")["mean"], mouse_run.table["mean"].to_numpy()
    )
    rows = json.loads((mouse_folder / "quantities.json").read_text())["rows"]
    assert [row["mean"] for row in rows] == mouse_run.table["mean"].tolist()


def test_maps_read_back_equal_in_nibabel_with_their_unit(mouse_run, mouse_folder):
    estimate = mouse_run.maps[0]
    for name, volume in (
        ("id_per_g", estimate.value),
        ("id_per_g_se", estimate.standard_error),
        ("flags", estimate.flags),
    ):
        image = nibabel.load(mouse_folder / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), volume.data)
        np.testing.assert_allclose(image.affine, volume.affine, atol=1e-5)
        sidecar = json.loads((mouse_folder / f"{name}.json").read_text())
        assert sidecar["Units"] == volume.unit
    assert nibabel.load(mouse_folder / "id_per_g.nii.gz").get_data_dtype() == np.float32
    assert nibabel.load(mouse_folder / "flags.nii.gz").get_data_dtype() == np.uint16


def test_maps_can_be_read_as_estimates_again(mouse_run, mouse_folder):
    (found,) = read_estimates(mouse_folder)
    np.testing.assert_array_equal(found.value.data, mouse_run.maps[0].value.data)
    np.testing.assert_array_equal(found.flags.data, mouse_run.maps[0].flags.data)
    assert found.unit == "%/g"


def test_two_runs_give_equal_bytes(mouse_run, mouse_folder, tmp_path):
    files = write_run(dataclasses.replace(mouse_run, elapsed=3.0), tmp_path / "elsewhere")
    assert contents(tmp_path / "elsewhere") == contents(mouse_folder)
    assert [p.relative_to(tmp_path / "elsewhere").as_posix() for p in files] == sorted(
        contents(mouse_folder), key=Path
    )


def test_provenance_has_the_hash_of_each_result(mouse_folder):
    record = json.loads((mouse_folder / "provenance.json").read_text())
    assert set(record["outputs"]) == PLAIN_FILES - {"provenance.json"}
    for name, digest in record["outputs"].items():
        assert hashlib.sha256((mouse_folder / name).read_bytes()).hexdigest() == digest
    assert [item["sha256"] for item in record["inputs"]] == [
        hashlib.sha256(b"voxels %d" % n).hexdigest() for n in range(3)
    ]


def test_without_a_report_nothing_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("imgtheranostics.report.registry.render_figures", pytest.fail)
    write_run(small_run(small_estimate()), tmp_path / "out", html=False)
    assert set(contents(tmp_path / "out")) == PLAIN_FILES


def test_a_run_without_maps_writes_tables_and_report(tmp_path, dynamic_run):
    run = Run("nuclear curves", (), dynamic_run.table, decisions=dynamic_run.decisions)
    write_run(run, tmp_path / "out")
    found = contents(tmp_path / "out")
    assert {name for name in found if "/" not in name} == {
        "provenance.json",
        "quantities.json",
        "quantities.tsv",
        "report.html",
    }
    assert "figures/curves_id_per_g.svg" in found


def test_maps_share_one_flag_file_unless_their_flags_differ(tmp_path):
    first, alike = small_estimate(), small_estimate("id_per_ml", "%/mL")
    table = small_run(first).table
    write_run(Run("v", (first, alike), table), tmp_path / "alike", html=False)
    assert {p.name for p in (tmp_path / "alike").glob("*flags.nii.gz")} == {"flags.nii.gz"}
    other = small_estimate("id_per_ml", "%/mL", flagged=(2, 3, 4))
    write_run(Run("v", (first, other), table), tmp_path / "apart", html=False)
    assert {p.name for p in (tmp_path / "apart").glob("*flags.nii.gz")} == {
        "id_per_g_flags.nii.gz",
        "id_per_ml_flags.nii.gz",
    }
    back = {e.quantity: e for e in read_estimates(tmp_path / "apart")}
    np.testing.assert_array_equal(back["id_per_ml"].flags.data, other.flags.data)


def test_a_non_empty_folder_needs_force_and_keeps_other_files(tmp_path):
    run = small_run(small_estimate())
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "quantities.tsv").write_text("old")
    with pytest.raises(OutputError, match="not empty"):
        write_run(run, out, html=False)
    assert set(contents(out)) == {"notes.txt", "quantities.tsv"}
    assert (out / "quantities.tsv").read_text() == "old"
    write_run(run, out, force=True, html=False)
    assert set(contents(out)) == PLAIN_FILES | {"notes.txt"}
    assert (out / "quantities.tsv").read_text() != "old"


def test_an_empty_folder_and_missing_parents_are_fine(tmp_path):
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "deep" / "er" / "out"):
        files = write_run(small_run(small_estimate()), out, html=False)
        assert all(file.is_file() for file in files)


def test_a_full_disk_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written") as caught:
            write_run(small_run(small_estimate()), tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code == 7
    assert list(tmp_path.iterdir()) == []


def test_a_failure_late_in_the_report_leaves_the_earlier_result(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write_run(small_run(small_estimate()), out)
    before = contents(out)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imgtheranostics.report.output.render", fail)
    with pytest.raises(OutputError, match="cannot be written"):
        write_run(small_run(small_estimate(flagged=(1, 1, 1))), out, force=True)
    assert contents(out) == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError):
            write_run(small_run(small_estimate()), out)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_an_input_that_vanished_leaves_nothing(tmp_path):
    run = small_run(small_estimate(), inputs=[tmp_path / "gone.dcm"])
    with pytest.raises(NothingUsable):
        write_run(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


CANARIES = {
    "name": "CANARYNAME^JANE",
    "id": "CANARY-ID-77x",
    "birth": "19620304",
    "date": "20230516",
    "file": "canaryfile_001",
    "folder": "CanaryFolder_Doe",
    "option": "CANARYOPTION.json",
    "model": "CanaryScannerModel",
    "tracer": "CanaryTracer",
    "vendor": "CanaryVendor",
    "species": "CanarySpecies",
}


def canary_run(folder: Path) -> Run:
    place = folder / CANARIES["folder"]
    place.mkdir()
    file = place / f"{CANARIES['file']}.dcm"
    file.write_bytes(b"voxels")
    acquisition = EmissionAcquisition(
        manufacturer=CANARIES["vendor"],
        model=CANARIES["model"],
        series_datetime=datetime(2023, 5, 16, 10, 20, 30),
        private_scan_datetime=datetime(2023, 5, 16, 10, 20, 31),
        acquisition_datetime=np.full((5, 1), np.datetime64("2023-05-16T10:20:30", "us")),
        radiopharmaceutical=Radiopharmaceutical(
            nuclide="F-18", name=CANARIES["tracer"], start_datetime=datetime(2023, 5, 16, 9, 20, 30)
        ),
        subject=Subject(weight_kg=70.0, species=CANARIES["species"]),
    )
    source = Source(
        files=(file,),
        subject="sub-11223344",
        identifiers={
            "PatientName": CANARIES["name"],
            "PatientID": CANARIES["id"],
            "PatientBirthDate": CANARIES["birth"],
            "StudyDate": CANARIES["date"],
        },
    )
    said = f"{CANARIES['name']} ({CANARIES['id']}) of {CANARIES['date']} in {file}"
    caution = Caution("some-code", f"something about {said}", str(file))
    estimate = small_estimate(
        source=source,
        acquisition=acquisition,
        warnings=(caution,),
        history=(make_step("load", path=str(file), folder=CANARIES["folder"], said=said),),
    )
    estimate = dataclasses.replace(
        estimate, decisions={"clock": {"rule": "series_time", "explanation": said}}
    )
    run = small_run(
        estimate, parameters={"administration": Path(f"/x/{CANARIES['option']}"), "path": str(place)}
    )
    table = run.table.copy()
    table["region"] = f"lesion {CANARIES['id']}"
    regions = Regions.from_masks({f"lesion {CANARIES['id']}": np.ones((3, 4, 5))}, estimate.grid)
    return dataclasses.replace(run, table=table, regions=regions)


def spellings(text: str) -> set[bytes]:
    """The text in the encodings in which it could hide, base64 at each of its three alignments."""
    found = set()
    for raw in (text, text.lower(), text.upper(), text.replace("^", " "), text.partition("^")[0]):
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            plain = raw.encode(encoding)
            found.add(plain)
            for shift in range(3):
                coded = base64.b64encode(b"\0" * shift + plain)
                found.add(coded[(shift * 8 + 5) // 6 : len(plain) * 8 // 6])
    return {item for item in found if len(item) > 5}


def everything(folder: Path) -> dict[str, bytes]:
    """All bytes that the output holds: names, contents, and contents of what is packed in them."""
    found = {"names": "\n".join(contents(folder)).encode()}
    for name, content in contents(folder).items():
        found[name] = content
        if name.endswith(".gz"):
            found[f"{name} inflated"] = gzip.decompress(content)
        if name.endswith(".html"):
            for n, part in enumerate(content.split(b";base64,")[1:]):
                found[f"{name} image {n}"] = base64.b64decode(part[: part.index(b'"')])
    return found


def hits(folder: Path) -> set[tuple[str, str]]:
    stored = everything(folder)
    return {
        (place, key)
        for place, content in stored.items()
        for key, canary in CANARIES.items()
        if any(spelling in content for spelling in spellings(canary))
    } | {(place, "iso date") for place, content in stored.items() if b"2023-05-16" in content}


def test_no_canary_gets_into_any_output(tmp_path):
    run = canary_run(tmp_path)
    write_run(run, tmp_path / "out")
    assert hits(tmp_path / "out") == set()
    printed = json.dumps(run_as_json(run, output="out"), ensure_ascii=False)
    assert not [key for key, canary in CANARIES.items() if canary.encode() in printed.encode()]


def test_the_search_for_canaries_finds_them(tmp_path):
    (tmp_path / "a.json").write_text(CANARIES["name"])
    (tmp_path / "b.bin").write_bytes(CANARIES["id"].encode("utf-16-be"))
    (tmp_path / "c.bin").write_bytes(base64.b64encode(b"x" + CANARIES["folder"].encode() + b"yz"))
    (tmp_path / "d.nii.gz").write_bytes(gzip.compress(CANARIES["tracer"].encode()))
    assert {key for _, key in hits(tmp_path)} == {"name", "id", "folder", "tracer"}


def test_kept_identifiers_stand_in_provenance_only(tmp_path):
    write_run(canary_run(tmp_path), tmp_path / "out", keep_identifiers=True)
    found = hits(tmp_path / "out")
    assert {place for place, _ in found} == {"provenance.json"}
    assert {key for _, key in found} >= {"name", "id", "birth", "date", "file", "folder", "option"}
    kept = json.loads((tmp_path / "out" / "provenance.json").read_text())["identifiers"]
    assert kept["sources"][0]["PatientName"] == CANARIES["name"]


def test_errors_do_not_hold_identifiers(tmp_path):
    run = canary_run(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("")
    with pytest.raises(ImgTheranosticsError) as caught:
        write_run(run, tmp_path / "out")
    assert "CANARY" not in str(caught.value).upper().replace(str(tmp_path).upper(), "")


def test_files_can_be_read_by_others_as_the_umask_says_though_maps_are_written_side_by_side(tmp_path):
    before = os.umask(0o027)
    try:
        for n in range(5):
            write_run(small_run(small_estimate()), tmp_path / str(n), html=False)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o640}
