"""The one-file report: complete, offline, escaped, accessible, and rebuilt equal."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from imgtheranostics.errors import Caution, CorruptInput, NothingUsable
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.report.html import headline_tables, rebuild
from imgtheranostics.report.output import write_run
from imgtheranostics.report.run import Run
from imgtheranostics.report.tables import table_rows

VOID = {"meta", "img", "br", "link", "input", "hr", "base", "source"}


class Page(HTMLParser):
    """What a browser would see: elements, attributes, texts, and whether tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def page(mouse_folder):
    return Page((mouse_folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def source(mouse_folder):
    return (mouse_folder / "report.html").read_text(encoding="utf-8")


def images(page: Page) -> list[str]:
    return [
        base64.b64decode(attributes["src"].removeprefix("data:image/svg+xml;base64,")).decode("utf-8")
        for attributes in page.all("img")
    ]


def test_nothing_is_loaded_and_nothing_runs(page, source):
    names = {name for name, _ in page.elements}
    assert not names & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "video",
        "audio",
        "source",
    }
    for tag, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")], tag
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            if key in attributes:
                assert attributes[key].startswith(("data:image/svg+xml;base64,", "#"))
    assert "://" not in source
    assert "@import" not in source
    assert "url(" not in source


def test_pictures_hold_no_reference_to_elsewhere(page):
    assert len(images(page)) == 3
    for svg in images(page):
        assert "<script" not in svg
        references = re.findall(r'(?:xlink:)?href="([^"]*)"', svg) + re.findall(r"url\(([^)]*)\)", svg)
        assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in references)
        # Namespaces are names, not addresses that anybody fetches.
        addresses = set(re.findall(r"https?://[^\"' >]*", svg))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_the_content_security_policy_allows_this_style_and_pictures_only(page, source):
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    style = source[source.index("<style>") + len("<style>") : source.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not [tag for tag, attributes in page.elements if "style" in attributes]


def test_it_can_be_read_without_seeing_it(page):
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert {"header", "main", "footer"} <= {name for name, _ in page.elements}
    assert all(len(attributes["alt"]) > 20 for attributes in page.all("img"))
    assert all(attributes.get("scope") in {"col", "row"} for attributes in page.all("th"))
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    labels = {
        attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes
    }
    assert labels <= set(identifiers)


def test_sections_say_what_was_measured_decided_and_meant(page):
    for words in (
        "What was measured",
        "Figures",
        "Decisions made",
        "Reference time",
        "series time lies 30.5 min later",
        "1 warning",
        "the clocks of the series differ by 2.4 %",
        "Provenance",
        "How to cite",
        "Not a medical device",
        "calibration part of 5 %",
    ):
        assert words in page.text


def test_the_headline_answers_how_much_is_where_and_how_sure(mouse_run, page):
    row = mouse_run.table.set_index("region").loc["tumour"]
    # Two digits of the standard error; both below 100 and above 1 and 0.1, so two decimals.
    assert 0.1 < row["standard_error"] < 0.995
    assert f"{row['mean']:.2f} ± {row['standard_error']:.2f}" in page.text.replace("  ", " ")
    assert page.text.index("tumour") < page.text.index("liver") < page.text.index("muscle")
    assert f"{100 * row['standard_error'] / row['mean']:.1f} %" in page.text


def test_light_and_dark_and_print_are_catered_for(source, page):
    assert source.count("prefers-color-scheme: dark") == 1
    assert "@media print" in source
    assert all("prefers-color-scheme:dark" in svg for svg in images(page))


HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>&\"{{ 7*7 }}$\\frac{$--><!--]]>\t\n\x00"


def test_hostile_texts_are_shown_and_not_obeyed(mouse_run, tmp_path):
    estimate = mouse_run.maps[0]
    names = dict.fromkeys(mouse_run.regions.names)
    renamed = {number: f"{HOSTILE}{number}" for number in names}
    regions = Regions(mouse_run.regions.labels, renamed, mouse_run.regions.grid)
    run = Run(
        "nuclear uptake",
        (estimate,),
        roi_statistics(estimate, regions, subject=HOSTILE, session=HOSTILE),
        regions=regions,
        parameters={HOSTILE: HOSTILE},
        decisions={"clock": {"rule": HOSTILE, "explanation": HOSTILE}, HOSTILE: HOSTILE},
        warnings=(Caution(HOSTILE, HOSTILE, HOSTILE),),
    )
    write_run(run, tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "script" not in {name for name, _ in page.elements}
    assert all(attributes["src"].startswith("data:") for attributes in page.all("img"))
    assert not [a for _, a in page.elements if any(key.startswith("on") for key in a)]
    assert "<script>alert('x')</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    for svg in images(page):
        tags = re.findall(r"<(\w+)", svg)
        assert "script" not in tags
        assert "img" not in tags
        assert "onerror" not in re.sub(r">[^<]*<", "><", svg)
    assert len(page.all("img")) == len(images(page)) == 3


def test_missing_values_are_said_to_be_missing(mouse_run, tmp_path):
    table = mouse_run.table.copy()
    table.loc[
        table.region == "muscle", ["mean", "standard_error", "sd", "median", "p05", "p95", "min", "max"]
    ] = np.nan
    table.loc[table.region == "muscle", "n_valid"] = 0
    table.loc[table.region == "muscle", "flags"] = "INVALID_INPUT:140"
    table.loc[table.region == "liver", "n_valid"] -= 3
    table.loc[table.region == "liver", "flags"] = "BELOW_NOISE:40;INVALID_INPUT:3"
    table.loc[table.region == "heart", "standard_error"] = np.nan
    write_run(dataclasses.replace(mouse_run, table=table), tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "140 of 140 voxels have no value (invalid input 140)" in page.text
    assert "voxels have no value (invalid input 3)" in page.text
    assert "n/a" in page.text
    assert not re.search(r"\bnan\b", page.text.lower())


def test_an_empty_table_still_makes_a_report(mouse_run, tmp_path):
    run = Run("nuclear uptake", mouse_run.maps, mouse_run.table.iloc[:0])
    write_run(run, tmp_path / "out")
    assert "No region was measured" in Page((tmp_path / "out" / "report.html").read_text()).text


def test_curves_are_headed_by_their_peaks(dynamic_run):
    (table,) = headline_tables(table_rows(dynamic_run.table), [])
    assert table.axis == "time"
    assert [row["region"] for row in table.rows] == ["tumour", "liver", "spleen", "heart", "muscle"]
    # The uptake curve (1 - exp(-t/3000)) exp(-t/200000) has its maximum, of the nine frames, in the sixth.
    time_s = np.geomspace(60.0, 48 * 3600.0, 9)
    curve = (1 - np.exp(-time_s / 3000.0)) * np.exp(-time_s / 200_000.0)
    minutes = time_s[curve.argmax()] / 60
    assert {row["at"] for row in table.rows} == {f"{minutes / 60:.3f} h"}


def test_peaks_are_found_across_the_sessions_of_a_subject(dynamic_run):
    rows = table_rows(dynamic_run.table)
    apart = [{**row, "session": f"t{row['axis_value']:.0f}"} for row in rows]
    (together,) = headline_tables(rows, [])
    (several,) = headline_tables(apart, [])
    assert several.rows == together.rows


def test_long_tables_are_cut_at_the_top_and_say_so(mouse_run, tmp_path):
    row = mouse_run.table.iloc[0]
    table = pd.DataFrame([{**row, "region": f"region {n}", "mean": float(n)} for n in range(40)])
    write_run(Run("v", (), table), tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "The 24 highest of 40" in page.text
    headline = page.text[page.text.index("What was measured") : page.text.index("Figures")]
    assert "region 16" in headline
    assert "region 15" not in headline
    assert "region 15" in page.text[page.text.index("All values") :]


def test_a_calibration_part_is_claimed_only_where_all_regions_share_it():
    rows = [
        {"quantity": "id_per_g", "unit": "%/g", "subject": "", "session": "", "region": name, "axis": "",
         "axis_value": None, "mean": mean, "standard_error": 0.5, "volume_ml": 1.0, "n_voxels": 5,
         "n_valid": 5, "flags": ""}
        for name, mean in (("a", 10.0), ("b", 4.0))
    ]  # fmt: skip
    shared = [{"standard_error_calibration": 0.5}, {"standard_error_calibration": 0.2}]
    unequal = [{"standard_error_calibration": 0.5}, {"standard_error_calibration": 0.1}]
    assert "calibration part of 5 %" in headline_tables(rows, shared)[0].note
    assert headline_tables(rows, unequal)[0].note == ""
    assert headline_tables(rows, [])[0].note == ""


def test_a_report_is_rebuilt_to_the_same_bytes(mouse_run, tmp_path):
    write_run(mouse_run, tmp_path / "out")
    before = (tmp_path / "out" / "report.html").read_bytes()
    (tmp_path / "out" / "report.html").unlink()
    assert rebuild(tmp_path / "out") == tmp_path / "out" / "report.html"
    assert (tmp_path / "out" / "report.html").read_bytes() == before


def test_a_rebuilt_report_does_not_show_kept_identifiers(mouse_run, tmp_path):
    value = mouse_run.maps[0].value
    source = dataclasses.replace(value.source, identifiers={"PatientName": "CANARY^JANE"})
    estimate = dataclasses.replace(mouse_run.maps[0], value=value.replace(source=source))
    write_run(dataclasses.replace(mouse_run, estimates=(estimate,)), tmp_path / "out", keep_identifiers=True)
    rebuild(tmp_path / "out")
    assert "CANARY" in (tmp_path / "out" / "provenance.json").read_text()
    assert "CANARY" not in (tmp_path / "out" / "report.html").read_text()


def test_a_folder_written_without_report_is_drawn_from_its_maps(mouse_run, tmp_path):
    write_run(mouse_run, tmp_path / "out", html=False)
    rebuild(tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert len(images(page)) == 3
    assert "What was measured" in page.text


def test_other_folders_are_refused(mouse_folder, tmp_path):
    with pytest.raises(NothingUsable, match="not an output folder"):
        rebuild(tmp_path)
    for name in ("quantities.json", "provenance.json"):
        (tmp_path / name).write_bytes((mouse_folder / name).read_bytes())
    record = json.loads((mouse_folder / "provenance.json").read_text())
    (tmp_path / "provenance.json").write_text(json.dumps({**record, "schema": "other"}))
    with pytest.raises(CorruptInput, match="another version"):
        rebuild(tmp_path)
    (tmp_path / "provenance.json").write_text("[1, 2")
    with pytest.raises(CorruptInput, match="JSON"):
        rebuild(tmp_path)
    (tmp_path / "provenance.json").write_text(json.dumps(record))
    (tmp_path / "quantities.json").write_text(json.dumps({"rows": [{"region": 1}], "columns": []}))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "figures.json").write_text("[]")
    with pytest.raises(CorruptInput, match="does not hold"):
        rebuild(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_list_of_figures_cannot_reach_out_of_its_folder(mouse_folder, tmp_path):
    for name in ("quantities.json", "provenance.json"):
        (tmp_path / name).write_bytes((mouse_folder / name).read_bytes())
    (tmp_path / "secret.svg").write_text("<svg>secret</svg>")
    (tmp_path / "figures").mkdir()
    listing = [{"file": "../secret.svg", "title": "t", "caption": "c", "alt": "a"}]
    (tmp_path / "figures" / "figures.json").write_text(json.dumps(listing))
    with pytest.raises(CorruptInput, match="list of figures"):
        rebuild(tmp_path)


def test_folder_without_its_table_is_refused_by_type(mouse_folder, tmp_path):
    """Without figures they are drawn from maps and table, which may have been deleted."""
    shutil.copytree(mouse_folder, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "figures")
    (tmp_path / "out" / "quantities.tsv").unlink()
    with pytest.raises(CorruptInput):
        rebuild(tmp_path / "out")


@pytest.mark.parametrize("name", ["quantities.json", "provenance.json"])
@pytest.mark.parametrize("key", ["median", "max", "sha256"])
def test_record_without_a_key_is_refused_by_type(mouse_folder, tmp_path, name, key):
    shutil.copytree(mouse_folder, tmp_path / "out")
    path = tmp_path / "out" / name
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(f'"{key}"', f'"not {key}"'), encoding="utf-8")
    if f'"{key}"' in text:
        with pytest.raises(CorruptInput):
            rebuild(tmp_path / "out")
    else:
        assert rebuild(tmp_path / "out").exists()
