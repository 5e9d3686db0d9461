"""``agents list`` and ``agents show``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from imgtheranostics.agents import available, get
from imgtheranostics.cli.main import main

OWN = """\
id: own
name: Own
kind: other
summary: Mine
modalities: [MRI]
signal_of: drug
relaxivities:
  - {kind: r1, per: Fe, field_t: 3.0, temperature_c: 37, medium: water, value: 7, provenance: review}
"""


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_names_every_record(capsys):
    code, out, _ = run(capsys, "agents", "list")
    assert code == 0
    assert all(name in out for name in available())
    assert "unconfirmed" in out


def test_list_as_json(capsys):
    code, out, _ = run(capsys, "agents", "list", "--json")
    content = json.loads(out)
    assert code == 0
    assert [row["id"] for row in content["agents"]] == list(available())
    aguix = next(row for row in content["agents"] if row["id"] == "aguix")
    assert aguix["values"]["unconfirmed"] > 0
    assert aguix["modalities"] == ["MRI", "CT"]


def test_show_prints_values_with_provenance_and_source(capsys):
    code, out, err = run(capsys, "agents", "show", "Feraheme")
    assert code == 0
    (line,) = [text for text in out.splitlines() if "r1 per Fe, 1.5 T, 37 Cel, plasma" in text]
    assert "19 ± 1.7" in line
    assert "L/mmol/s" in line
    assert "published" in line
    assert "doi:10.1186/s12968-016-0261-2" in out
    assert err == "", "nothing in it is from memory"


def test_show_marks_what_is_from_memory(capsys):
    code, out, err = run(capsys, "agents", "show", "melphalan")
    assert code == 0
    values = [line for line in out.splitlines() if "ppm" in line or "1/s" in line]
    assert len(values) == 2
    assert all("unconfirmed" in line for line in values)
    assert "[unconfirmed-value]" in err
    assert run(capsys, "agents", "show", "melphalan", "-q")[2] == ""


def test_show_as_json_has_half_lives_and_the_unconfirmed_paths(capsys):
    code, out, _ = run(capsys, "agents", "show", "upsn-86y", "--json")
    content = json.loads(out)
    assert code == 0
    assert content["agent"]["id"] == "upsn"
    assert content["agent"]["labels"][0]["half_life_s"] == pytest.approx(14.74 * 3600, rel=1e-3)
    assert "pharmacokinetics.half_lives.0" in content["unconfirmed"]
    named = {
        entry.get("name"): entry["value"] for entry in content["agent"]["pharmacokinetics"]["biodistribution"]
    }
    assert (named["biodist"], named["pet"]) == (12, 10.4)
    assert content["warnings"][0]["code"] == "unconfirmed-value"
    assert all({"what", "value", "unit", "provenance", "source"} <= set(row) for row in content["values"])


@pytest.mark.parametrize("name", available())
def test_every_record_can_be_shown(capsys, name):
    code, out, _ = run(capsys, "agents", "show", name)
    assert code == 0
    assert get(name).summary in out


def test_a_file_of_ones_own_is_shown(capsys, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(OWN, encoding="utf-8")
    code, out, _ = run(capsys, "agents", "show", path)
    assert code == 0
    assert "r1 per Fe, 3 T, 37 Cel, water" in out


def test_a_file_cannot_steer_the_terminal(capsys, tmp_path):
    path = tmp_path / "own.yaml"
    hostile = '"\\e[2J\\e[31mred"'
    text = OWN.replace("summary: Mine", f"summary: {hostile}").replace(
        "provenance: review", f"provenance: review, note: {hostile}, source: {hostile}"
    )
    path.write_text(text, encoding="utf-8")
    code, out, err = run(capsys, "agents", "show", path)
    assert code == 0
    assert "\x1b" not in out + err
    assert "\\x1b[2J" in out


def test_a_wrong_file_is_refused_by_line_with_exit_code_4(capsys, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(OWN.replace("provenance: review", "provenance: published"), encoding="utf-8")
    code, out, err = run(capsys, "agents", "show", path, "--json")
    assert code == 4
    assert f"{path}:8" in err
    assert json.loads(out)["error"]["type"] == "CorruptInput"


def test_an_unknown_name_is_refused_with_exit_code_3(capsys):
    code, _, err = run(capsys, "agents", "show", "unobtainium")
    assert code == 3
    assert "known: aguix" in err


@pytest.mark.parametrize(
    "words", [["agents", "--help"], ["agents", "list", "--help"], ["agents", "show", "--help"]]
)
def test_help_imports_neither_numerics_nor_the_records(words):
    code = (
        "import sys\nfrom imgtheranostics.cli.main import main\n"
        f"code = main({words!r})\n"
        "print(code, sorted({'numpy', 'numba', 'pydantic', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
