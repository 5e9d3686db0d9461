"""What the documents show about agents works as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imgtheranostics.agents import available, load_file

REPOSITORY = Path(__file__).resolve().parents[2]


def blocks(document, language):
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_worked_example_is_a_valid_record(tmp_path):
    (example,) = [block for block in blocks("CONTRIBUTING.md", "yaml") if block.startswith("id: ")]
    path = tmp_path / "example-particle.yaml"
    path.write_text(example, encoding="utf-8")
    agent = load_file(path)
    assert agent.id == path.stem
    assert agent.relaxivity("r2", 7.0, medium="plasma").uncertainty == 5


def test_the_readme_example_runs_and_says_what_it_gives():
    (example,) = [block for block in blocks("README.md", "python") if "it.agents" in block]
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)  # noqa: S102
    assert names["r1"].value == 8.9
    assert names["later"].value == pytest.approx((8.9 + 6) / 2)
    assert names["seconds"] == pytest.approx(12.7 * 3600, rel=1e-3)


def test_the_readme_counts_the_records():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert f"{len(available())} records with provenance" in text
