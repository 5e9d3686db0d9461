"""Warnings on the terminal: each once, with the regions of which they are said."""

from __future__ import annotations

from imgtheranostics.cli.terminal import print_cautions
from imgtheranostics.errors import Caution


def test_warning_of_regions_names_each_of_them_once(capsys):
    given = [Caution("few", "too few samples", f"region {name}") for name in ("liver", "tumour", "liver")]

    print_cautions(given, quiet=False)

    assert capsys.readouterr().err == "warning: regions liver, tumour: too few samples [few]\n"


def test_region_that_the_warning_names_itself_is_not_repeated(capsys):
    print_cautions([Caution("few", "region liver: too few", "region liver")], quiet=False)

    assert capsys.readouterr().err == "warning: region liver: too few [few]\n"


def test_warning_of_a_file_says_only_what_it_says(capsys):
    print_cautions([Caution("few", "too few samples", "scan.json")] * 2, quiet=False)

    assert capsys.readouterr().err == "warning: too few samples [few]\n"
