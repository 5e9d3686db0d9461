"""Run and the hashes of its inputs."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from imgtheranostics.errors import Caution, NothingUsable
from imgtheranostics.report.run import Input, Run, gathered, hash_inputs
from imgtheranostics.volume import Source


def test_hashes_are_those_of_hashlib_and_folders_stand_for_their_files(tmp_path):
    (tmp_path / "series" / "deep").mkdir(parents=True)
    contents = {"b.dcm": b"two", "a.dcm": b"", "deep/c.dcm": b"x" * 3_000_000}
    for name, content in contents.items():
        (tmp_path / "series" / name).write_bytes(content)
    found = hash_inputs([tmp_path / "series"], workers=2)
    assert [item.path.name for item in found] == ["a.dcm", "b.dcm", "c.dcm"]
    for item in found:
        content = contents[item.path.relative_to(tmp_path / "series").as_posix()]
        assert item.sha256 == hashlib.sha256(content).hexdigest()
        assert item.n_bytes == len(content)
    # SHA-256 of nothing, FIPS 180-4 example value.
    assert found[0].sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_an_input_with_a_hash_is_not_read_again_and_repeats_count_once(tmp_path):
    known = Input(tmp_path / "not-there.dcm", "00" * 32, 5)
    (tmp_path / "a").write_bytes(b"1")
    found = hash_inputs([known, tmp_path / "a", tmp_path / "a"])
    assert found[0] is known
    assert len(found) == 2


def test_an_input_that_is_gone_is_refused(tmp_path):
    with pytest.raises(NothingUsable, match="no longer be read"):
        hash_inputs([tmp_path / "gone.dcm"])


def test_inputs_default_to_the_files_of_the_sources(mouse_run, tmp_path):
    file = tmp_path / "x.dcm"
    file.write_bytes(b"x")
    estimate = mouse_run.maps[0]
    value = estimate.value.replace(source=Source(files=(file,)))
    run = Run("v", (dataclasses.replace(estimate, value=value),), mouse_run.table)
    assert [item.path for item in run.hashed_inputs()] == [file]


def test_warnings_of_the_maps_come_along_once(mouse_run):
    own = Caution("extra", "one more")
    run = dataclasses.replace(mouse_run, warnings=(own, own))
    codes = [caution.code for caution in run.warnings]
    assert codes == ["extra", "clocks-differ"]


def test_what_is_said_of_several_quantities_is_said_once():
    same = [Caution("many-failed", f"{name}: 7 of 9 voxels failed", name) for name in ("ktrans", "vp")]
    other = Caution("many-failed", "ve: 8 of 9 voxels failed", "ve")
    plain = Caution("b1-not-mapped", "no map: angles are nominal", "--b1")
    elsewhere = Caution("many-failed", "ktrans: 7 of 9 voxels failed", "another place")
    unknown = Caution("many-failed", "iauc: 7 of 9 voxels failed", "iauc")
    found = gathered([same[0], plain, other, same[1], elsewhere, unknown], ["ktrans", "ve", "vp"])
    both = Caution("many-failed", "ktrans, vp: 7 of 9 voxels failed", "ktrans, vp")
    assert found == (both, plain, other, elsewhere, unknown)
    bare = [Caution("x", f"{name}: none", "") for name in ("ktrans", "vp")]
    assert gathered(bare, ["ktrans", "vp"]) == (Caution("x", "ktrans, vp: none", ""),)


def test_decisions_shared_by_all_maps_stand_once_and_others_by_quantity(mouse_run):
    estimate = mouse_run.maps[0]
    other = dataclasses.replace(
        estimate, value=estimate.value.replace(quantity="id_per_ml", unit="%/mL"),
        standard_error=estimate.standard_error.replace(quantity="id_per_ml", unit="%/mL"),
    )  # fmt: skip
    together = Run("v", {"a": estimate, "b": other}, mouse_run.table)
    assert set(together.decisions) == {"clock", "scaling", "half_life", "administered_activity"}
    differing = dataclasses.replace(other, decisions={"scaling": {"units": "GML"}})
    apart = Run("v", (estimate, differing), mouse_run.table)
    assert set(apart.decisions) == {"id_per_g", "id_per_ml"}
    assert apart.decisions["id_per_ml"] == {"scaling": {"units": "GML"}}
    denser = dataclasses.replace(other, decisions={**estimate.decisions, "density": {"rule": "1 g/mL"}})
    partly = Run("v", (estimate, denser), mouse_run.table)
    assert partly.decisions["clock"] == estimate.decisions["clock"]
    assert partly.decisions["id_per_ml"] == {"density": {"rule": "1 g/mL"}}
    assert "id_per_g" not in partly.decisions


def test_decisions_of_several_scans_are_kept_apart(mouse_run):
    first, second = {"clock": {"rule": "a"}}, {"clock": {"rule": "b"}}
    assert Run("v", (), mouse_run.table, decisions=[first, second]).decisions == {"scans": [first, second]}
    assert Run("v", (), mouse_run.table, decisions=[first]).decisions == first


def test_a_quantity_may_stand_once_and_the_table_must_be_complete(mouse_run):
    estimate = mouse_run.maps[0]
    with pytest.raises(ValueError, match="once"):
        Run("v", (estimate, estimate), mouse_run.table)
    with pytest.raises(ValueError, match="standard_error"):
        Run("v", (), mouse_run.table.drop(columns="standard_error"))
