"""Writing leaves the whole result or nothing, and never touches what is not ours."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from imgtheranostics.errors import OutputError
from imgtheranostics.io.atomic import output_folder, replacing, write_bytes, write_text


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fill(folder, files, **options):
    with output_folder(folder, **options) as new:
        for name, text in files.items():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_text(text)


def test_file_is_written_and_replaced(tmp_path):
    write_bytes(tmp_path / "a.bin", b"one")
    write_bytes(tmp_path / "a.bin", b"two")
    assert tree(tmp_path) == {"a.bin": b"two"}


def test_text_is_utf8_with_unix_line_ends(tmp_path):
    write_text(tmp_path / "a.txt", "µ\nx\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc2\xb5\nx\n"


def test_new_file_has_the_permissions_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a.bin", b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_failure_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, stage):
    write_bytes(tmp_path / "a.bin", b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    if stage == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OutputError) as caught:
        write_bytes(tmp_path / "a.bin", b"new")
    assert caught.value.exit_code == 7
    assert "No space" in str(caught.value)
    assert tree(tmp_path) == {"a.bin": b"old"}


def test_error_of_the_writer_itself_leaves_the_old_file(tmp_path):
    write_bytes(tmp_path / "a.bin", b"old")

    def write_half():
        with replacing(tmp_path / "a.bin") as stream:
            stream.write(b"half")
            raise KeyError("x")

    with pytest.raises(KeyError):
        write_half()
    assert tree(tmp_path) == {"a.bin": b"old"}


def test_missing_folder_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_bytes(tmp_path / "absent" / "a.bin", b"x")
    assert not (tmp_path / "absent").exists()


def test_long_file_names_are_possible(tmp_path):
    name = "n" * 250
    write_bytes(tmp_path / name, b"x")
    assert tree(tmp_path) == {name: b"x"}


def test_read_only_folder_is_an_output_error(tmp_path):
    """As an ordinary user, as root ignores permissions."""
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"old")
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from imgtheranostics.errors import OutputError\n"
        "from imgtheranostics.io.atomic import output_folder, write_bytes\n"
        "target = Path(sys.argv[1])\n"
        "os.chmod(target, 0o555)\n"
        "os.geteuid() == 0 and os.seteuid(65534)\n"
        "try:\n    write_bytes(target / 'a.bin', b'new')\n"
        "except OutputError as error:\n    print(error.exit_code)\n"
        "try:\n    with output_folder(target / 'out') as new:\n        pass\n"
        "except OutputError as error:\n    print(error.exit_code)\n"
    )
    for part in [tmp_path, *tmp_path.parents][:3]:
        part.chmod(part.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True
    )
    folder.chmod(0o755)
    assert done.stdout.split() == ["7", "7"]
    assert tree(folder) == {"a.bin": b"old"}


def test_folder_appears_whole(tmp_path):
    with output_folder(tmp_path / "out") as new:
        (new / "sub").mkdir()
        (new / "a.txt").write_text("a")
        (new / "sub" / "b.txt").write_text("b")
        assert not (tmp_path / "out").exists()
    assert tree(tmp_path) == {"out/a.txt": b"a", "out/sub/b.txt": b"b"}


def test_folder_in_folders_that_do_not_exist(tmp_path):
    with output_folder(tmp_path / "x" / "y" / "out") as new:
        (new / "a.txt").write_text("a")
    assert tree(tmp_path) == {"x/y/out/a.txt": b"a"}


def test_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    with output_folder(tmp_path / "out") as new:
        (new / "a.txt").write_text("a")
    assert tree(tmp_path) == {"out/a.txt": b"a"}


@pytest.mark.parametrize("force", [False, True])
def test_error_in_the_block_leaves_everything_as_it_was(tmp_path, force):
    (tmp_path / "out").mkdir()
    if force:
        (tmp_path / "out" / "a.txt").write_text("old")
    before = tree(tmp_path)

    def write_half():
        with output_folder(tmp_path / "out", force=force) as new:
            (new / "a.txt").write_text("new")
            raise KeyError("x")

    with pytest.raises(KeyError):
        write_half()
    assert tree(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folder_with_something_in_it_needs_force(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty") as caught, output_folder(tmp_path / "out"):
        pytest.fail("the block must not run")
    assert "--force" in (caught.value.next_step or "")
    assert tree(tmp_path) == {"out/thesis.txt": b"mine"}


def test_force_replaces_our_files_and_leaves_foreign_ones(tmp_path):
    (tmp_path / "out" / "sub").mkdir(parents=True)
    for name in ("a.txt", "thesis.txt", "sub/b.txt", "sub/notes.txt"):
        (tmp_path / "out" / name).write_text("old")
    with output_folder(tmp_path / "out", force=True) as new:
        (new / "sub").mkdir()
        for name in ("a.txt", "sub/b.txt", "sub/c.txt"):
            (new / name).write_text("new")
    assert tree(tmp_path / "out") == {
        "a.txt": b"new",
        "thesis.txt": b"old",
        "sub/b.txt": b"new",
        "sub/c.txt": b"new",
        "sub/notes.txt": b"old",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_target_that_is_a_file_or_a_link_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "dangling"):
        with pytest.raises(OutputError, match="not a folder"), output_folder(tmp_path / name, force=True):
            pytest.fail("the block must not run")
    assert not (tmp_path / "nowhere").exists()
    assert list((tmp_path / "real").iterdir()) == []


def test_link_within_the_result_is_not_written_through(tmp_path):
    """With force, a link that stands where one of our folders goes must not lead the files elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="link"):
        fill(tmp_path / "out", {"sub/b.txt": "new"}, force=True)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_link_in_place_of_a_file_is_replaced_and_its_target_kept(tmp_path):
    (tmp_path / "precious.txt").write_text("old")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").symlink_to(tmp_path / "precious.txt")
    with output_folder(tmp_path / "out", force=True) as new:
        (new / "a.txt").write_text("new")
    assert (tmp_path / "precious.txt").read_text() == "old"
    assert (tmp_path / "out" / "a.txt").read_text() == "new"


def test_folder_in_place_of_a_file_is_an_output_error_before_anything_is_replaced(tmp_path):
    (tmp_path / "out" / "b.txt").mkdir(parents=True)
    (tmp_path / "out" / "a.txt").write_text("old")
    with pytest.raises(OutputError, match="folder stands"):
        fill(tmp_path / "out", {"a.txt": "new", "b.txt": "new"}, force=True)
    assert (tmp_path / "out" / "a.txt").read_text() == "old"


def test_output_error_of_the_block_passes_unchanged(tmp_path):
    with pytest.raises(OutputError, match="mine"), output_folder(tmp_path / "out"):
        raise OutputError("mine")
    assert list(tmp_path.iterdir()) == []


def test_reading_error_of_the_block_is_not_called_an_output_error(tmp_path):
    """A missing input file inside the block is no fault of the output."""
    with pytest.raises((FileNotFoundError, OutputError)), output_folder(tmp_path / "out"):
        (tmp_path / "absent.txt").read_text()
    assert list(tmp_path.iterdir()) == []


def test_kill_leaves_no_result_half_written(tmp_path):
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from imgtheranostics.io.atomic import output_folder\n"
        "with output_folder(Path(sys.argv[1])) as new:\n"
        "    (new / 'a.txt').write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "out").exists()
