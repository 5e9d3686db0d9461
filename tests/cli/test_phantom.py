"""``phantom list``, ``show`` and ``make`` as a user calls them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
import yaml

import imgtheranostics as it
from imgtheranostics.cli.main import main
from imgtheranostics.phantom import available
from imgtheranostics.phantom.reading import library

TRAP = "mm302-decaytrap"


def digests(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_list_shows_slug_system_modality_and_claim(capsys):
    assert main(["phantom", "list"]) == 0
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith(TRAP))
    assert row.split()[1:4] == ["64Cu-MM-302", "PET", "13"]
    assert all(slug in text for slug in available())


def test_list_as_json_is_one_object(capsys):
    assert main(["phantom", "list", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    rows = {row["slug"]: row for row in content["phantoms"]}
    assert sorted(rows) == sorted(available())
    assert rows[TRAP]["claim"] == "13"
    assert rows[TRAP]["modality"] == ["PET"]
    assert rows["v7-ruby-msot"]["implemented"] == ["MSOT"]


def test_show_prints_the_file_with_its_provenance(capsys):
    assert main(["phantom", "show", TRAP]) == 0
    shown = capsys.readouterr().out
    assert shown == (library() / f"{TRAP}.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(shown)["provenance"]["regions.sphere.truth"]["status"] == "computed"


def test_show_as_json_is_the_checked_specification(capsys):
    assert main(["phantom", "show", "aguix-brain-t1", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)["specification"]
    assert content["slug"] == "aguix-brain-t1"
    assert content["provenance"]["regions.metastasis_*.truth"] == {
        "status": "unconfirmed",
        "source": "memory",
    }


def test_show_of_a_bad_file_names_the_line(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("slug: mine\ncolour: blue\n", encoding="utf-8")
    assert main(["phantom", "show", str(path)]) == 4
    assert f"{path}:" in capsys.readouterr().err


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "out"
    assert main(["phantom", "make", TRAP, "-o", str(folder), "--format", "both", "-q"]) == 0
    return folder


def test_make_writes_images_regions_and_truth(made):
    assert {path.name for path in (made / "dicom").iterdir()} >= {"start", "admin"}
    truth = json.loads((made / "truth" / "truth.json").read_text(encoding="utf-8"))
    assert truth["level"] == 0
    regions = it.load_rois(made / "regions.nii.gz")
    for image in (made / "dicom" / "start", made / "nifti" / "start.nii.gz"):
        table = it.roi_statistics(it.nuclear.suv(it.load(image)), regions).set_index("region")
        assert table.loc["sphere", "mean"] == pytest.approx(3.5, rel=0.002)


def test_make_refuses_a_folder_with_something_in_it_unless_forced(made, capsys):
    arguments = ["phantom", "make", TRAP, "-o", str(made), "--format", "nifti"]
    assert main(arguments) == 7
    assert "not empty" in capsys.readouterr().err
    assert main([*arguments, "--force", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["command"] == "phantom make"
    assert (content["slug"], content["level"], content["seed"]) == (TRAP, 0, 0)
    assert content["regions"] == ["background", "sphere"]


def test_seed_and_level_choose_the_noise(tmp_path):
    found = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = ["--level", "1", "--seed", str(seed), "--format", "nifti", "-q"]
        assert main(["phantom", "make", TRAP, "-o", str(tmp_path / name), *options]) == 0
        found[name] = digests(tmp_path / name)
    assert found["a"] == found["b"]
    assert found["a"] != found["c"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["make", "nope", "-o", "OUT"], 3, "no phantom"),
        (["make", "mm302-decaytrab", "-o", "OUT"], 3, "near: mm302-decaytrap"),
        (["make", TRAP, "-o", "OUT", "--level", "3"], 4, "no level 3"),
        (["make", TRAP, "-o", "OUT", "--level", "4"], 2, "level"),
        (["make", TRAP, "-o", "OUT", "--format", "minc"], 2, "format"),
        (["make", TRAP], 2, "out"),
        (["show", "nope"], 3, "no phantom"),
    ],
)
def test_bad_requests_have_their_exit_code_and_leave_nothing(tmp_path, capsys, arguments, code, said):
    out = tmp_path / "out"
    given = [str(out) if word == "OUT" else word for word in arguments]
    assert main(["phantom", *given]) == code
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_phantom_without_physics_is_refused_and_shown(tmp_path, capsys, monkeypatch):
    from imgtheranostics.phantom import physics

    monkeypatch.delitem(physics._HOMES, "US")
    assert main(["phantom", "make", "us-phase-gas", "-o", str(tmp_path / "out")]) == 4
    assert "not implemented" in capsys.readouterr().err
    assert main(["phantom", "show", "us-phase-gas"]) == 0


def test_help_imports_no_numerics():
    code = (
        "import sys\nfrom imgtheranostics.cli.main import main\n"
        "codes = [main(['phantom', *verb, '--help']) for verb in ([], ['list'], ['show'], ['make'])]\n"
        "print(codes, sorted({'numpy', 'numba', 'pydantic', 'pydicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0] []"
