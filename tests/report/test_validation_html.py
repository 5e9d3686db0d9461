"""The validation report: complete, offline, escaped; its figures show what the numbers say."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from imgtheranostics.report.comparison import (
    Comparison,
    PhantomLabel,
    Recovery,
    RecoveryCurve,
    Triptych,
    relative_percent,
)
from imgtheranostics.report.figures.agreement import agreement_of, levels
from imgtheranostics.report.registry import comparison_makers, register_comparison, render_comparison_figures
from imgtheranostics.report.validation_html import render_comparison

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>&\"{{ 7*7 }}-->]]>\n\x00"
PROVENANCE = {
    "command": "validate",
    "version": "1.2.3",
    "versions": {"numpy": "2.0"},
    "levels": [0, 2],
    "seeds": [0, 1],
    "seed_rule": "rule",
    "measured_by": "imgtheranostics 1.2.3",
    "phantoms_sha256": {"mouse": "ab"},
    "outputs": {"validation.tsv": "cd"},
}


class Page(HTMLParser):
    """Elements, attributes and texts of a page whose tags must balance."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr", "base"})

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def row(**changes):
    given = {
        "slug": "mouse", "claim": "15", "quantity": "id_per_g", "region": "tumour", "axis_value": "24",
        "truth": 12.0, "measured": 12.3, "error": 0.3, "tolerance": 0.6, "verdict": "pass", "unit": "%/g",
        "method": "mean", "level": 2, "seeds": 2, "error_low": -0.1, "error_high": 0.7,
        "provenance": "published", "note": "",
    }  # fmt: skip
    return {**given, **changes}


def picture(slug="mouse"):
    truth = np.zeros((40, 12))
    truth[10:20, 4:8] = 12.0
    return Triptych(
        slug, 2, "id_per_ml", "%/mL", truth, truth * 0.9 + 0.2, (6.0, -6.0, -20.0, 20.0),
        ("R", "L", "S", "I"), 15, "coronal slice", "tumour",
    )  # fmt: skip


@pytest.fixture(scope="module")
def comparison():
    rows = [
        row(),
        row(region="liver", provenance="unconfirmed (source: memory)", truth=8.0, measured=8.4, error=0.4),
        row(verdict="fail", region="muscle", truth=1.0, measured=2.0, error=1.0, tolerance=0.1, claim="16"),
        row(verdict="refused-as-expected", method="refusal", truth=None, measured=None, error=None,
            error_low=None, error_high=None, note="refused: ImplausibleValue: half-life"),
        row(verdict="not implemented", method="sorcery", measured=None, error=None, error_low=None,
            error_high=None, note="there is no sorcery yet"),
        row(method="recovery", truth=0.80, measured=0.79, error=-0.01, tolerance=0.03, unit="1"),
        row(level=0, measured=12.0, error=0.0, error_low=None, error_high=None, seeds=1),
    ]  # fmt: skip
    repeats = [(12.1, 12.5), (8.3, 8.5), (2.0, 2.0), (float("nan"),) * 2, (), (0.78, 0.80), (12.0,)]
    return Comparison(
        rows=rows,
        repeats=repeats,
        phantoms=[PhantomLabel("mouse", "A mouse in PET", "PET", "15", "time, h")],
        levels=(0, 2),
        seeds=2,
        pictures=[picture()],
        recoveries=[Recovery("mouse", "tumour", 2, 8.0, 1.6, 0.80, (0.78, 0.80))],
        curves=[RecoveryCurve(1.6, (4.0, 8.0, 10.0), (0.61, 0.80, 0.84))],
    )


@pytest.fixture(scope="module")
def source(comparison):
    return render_comparison(comparison, PROVENANCE, render_comparison_figures(comparison))


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def images(page):
    prefix = "data:image/svg+xml;base64,"
    return [base64.b64decode(a["src"].removeprefix(prefix)).decode("utf-8") for a in page.all("img")]


def test_nothing_is_loaded_and_nothing_runs(page, source):
    assert not {name for name, _ in page.elements} & {"script", "link", "iframe", "object", "base", "form"}
    for tag, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key == "style"], tag
        for key in ("src", "href"):
            if key in attributes:
                assert attributes[key].startswith(("data:image/svg+xml;base64,", "#"))
    for text in ("://", "@import", "url("):
        assert text not in source
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    style = source[source.index("<style>") + 7 : source.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"style-src 'sha256-{digest}'" in policy


def test_it_can_be_read_without_seeing_it(page):
    assert len(page.all("h1")) == 1
    assert all(len(attributes["alt"]) > 20 for attributes in page.all("img"))
    assert all(a.get("scope") in {"col", "row", "rowgroup"} for a in page.all("th"))
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    labels = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    assert labels <= set(identifiers)


def test_the_headline_is_the_verdict_and_failures_come_first(page):
    text = page.text
    assert "Outside tolerance: 1 of 7 numbers" in text
    assert text.index("mouse, level 2: Uptake of muscle") < text.index("Every number, by phantom")
    assert "truth 1.000 %ID/g, measured 2.000, +100 % (tolerance ± 10 %)" in text


def test_every_row_shows_truth_error_limits_tolerance_and_provenance(page):
    for words in (
        "Level 2: Uptake [%ID/g]",
        "12.00 12.30 +2.5 % −0.83 to +5.8 % ± 5 % pass published",
        "from memory",
        "claim 16",
        "refused",
        "Level 2: Uptake, recovery",
        "0.8000 0.7900 −0.01 −0.1 to +0.7 ± 0.03 pass",
        "time, h",
    ):
        assert words in page.text, words


def test_placeholders_and_what_is_missing_have_their_sections(page):
    text = page.text
    placeholders = text[text.index("Truths that are placeholders") : text.index("Not implemented")]
    assert "Uptake of liver" in placeholders
    assert "tumour" not in placeholders
    missing = text[text.index("Not implemented") : text.index("Provenance")]
    assert "there is no sorcery yet Uptake, sorcery of tumour at 24 (level 2)" in missing


def test_a_validation_without_fault_says_so(comparison):
    clean = dataclasses.replace(comparison, rows=[row()], repeats=[(12.1, 12.5)], pictures=[], recoveries=[])
    page = Page(render_comparison(clean, PROVENANCE, render_comparison_figures(clean)))
    assert page.text.count("Within tolerance") == 2  # title and heading
    assert "Nothing that was asked for is missing" in page.text
    assert "None: every truth used here" in page.text
    assert "Without a picture: mouse" in page.text


def test_nothing_measured_is_not_called_within_tolerance(comparison):
    empty = dataclasses.replace(
        comparison,
        rows=[row(verdict="not implemented", measured=None, error=None, error_low=None, error_high=None)],
        repeats=[()],
        pictures=[],
        recoveries=[],
    )
    text = Page(render_comparison(empty, PROVENANCE, render_comparison_figures(empty))).text
    assert "Nothing was measured" in text
    assert "Within tolerance" not in text


def test_the_report_of_a_tool_names_what_is_not_measured(comparison):
    given = dataclasses.replace(
        comparison,
        rows=[row(verdict="not measured", measured=None, error=None, note="the table has no id_per_g")],
        repeats=[()],
        pictures=[],
        source="tool.tsv",
        unused=["line 7: mouse, id_per_g of ear at 3"],
    )
    text = Page(render_comparison(given, PROVENANCE, [])).text
    assert "measured by another tool: tool.tsv" in text
    assert "In the truth, but not in the table" in text
    assert "line 7: mouse, id_per_g of ear at 3" in text


def test_hostile_texts_are_shown_and_not_obeyed(comparison):
    bad = {"slug": HOSTILE, "region": HOSTILE, "axis_value": HOSTILE, "note": HOSTILE, "claim": HOSTILE}
    hostile = dataclasses.replace(
        comparison,
        rows=[row(**bad, verdict=verdict) for verdict in ("fail", "pass", "not implemented", "not measured")],
        repeats=[(12.0, 12.5), (12.0,), (), ()],
        phantoms=[PhantomLabel(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)],
        pictures=[dataclasses.replace(picture(HOSTILE), words=HOSTILE, region=HOSTILE)],
        recoveries=[],
        source=HOSTILE,
        unused=[HOSTILE],
    )
    figures = render_comparison_figures(hostile)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+\.svg", figure.file) for figure in figures)
    page = Page(render_comparison(hostile, PROVENANCE, figures))
    assert "script" not in {name for name, _ in page.elements}
    assert all(attributes["src"].startswith("data:") for attributes in page.all("img"))
    assert not [a for _, a in page.elements if any(key.startswith("on") for key in a)]
    assert "<script>alert('x')</script>" in page.text
    for svg in images(page):
        assert "script" not in re.findall(r"<(\w+)", svg)


def test_figures_are_offline_and_follow_light_and_dark(page):
    found = images(page)
    assert len(found) == 3
    for svg in found:
        references = re.findall(r'(?:xlink:)?href="([^"]*)"', svg) + re.findall(r"url\(([^)]*)\)", svg)
        assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in references)
        assert "prefers-color-scheme:dark" in svg


def test_agreement_is_bias_and_limits_of_numpy(comparison, rng):
    values = rng.normal(2.0, 3.0, size=50)
    found = agreement_of(values.tolist())
    assert found.bias == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * values.std(ddof=1))
    assert found.high == pytest.approx(values.mean() + 1.96 * values.std(ddof=1))
    assert np.isnan(agreement_of([1.0]).low)
    by_level = levels(comparison)
    # percent of the truth: 12.1 and 12.5 of 12, 8.3 and 8.5 of 8, 2 of 1 twice; recovery in points of 100
    expected = [100 * 0.1 / 12, 100 * 0.5 / 12, 100 * 0.3 / 8, 100 * 0.5 / 8, 100, 100, -2.0, 0.0]
    assert by_level[2].n == len(expected)
    assert by_level[2].bias == pytest.approx(np.mean(expected))
    assert by_level[2].high == pytest.approx(np.mean(expected) + 1.96 * np.std(expected, ddof=1))
    assert by_level[0].bias == 0.0


def test_shares_and_zero_truths_are_not_divided():
    assert relative_percent(row(), 0.3) == pytest.approx(2.5)
    assert relative_percent(row(method="spread"), 0.3) is None
    assert relative_percent(row(method="log10_detection_limit", truth=-14.4), 0.3) is None
    assert relative_percent(row(truth=0.0), 0.3) is None
    assert relative_percent(row(truth=None), None) is None


def test_captions_state_numbers_of_points_and_the_largest_departure(comparison):
    figures = {figure.file.partition("_")[0]: figure for figure in render_comparison_figures(comparison)}
    assert list(figures) == ["agreement", "recovery", "triptych"]
    assert "n = 9" in figures["agreement"].caption
    assert "closed form 0.02; n = 1" in figures["recovery"].caption
    assert "coronal slice" in figures["triptych"].caption
    assert "differ by up to 1" in figures["triptych"].alt


def test_figures_are_drawn_equal_each_time(comparison):
    first, second = (render_comparison_figures(comparison) for _ in range(2))
    assert [figure.svg for figure in first] == [figure.svg for figure in second]


def test_flat_and_wide_pictures_are_drawn_too(comparison):
    wide = np.zeros((10, 40))
    flat = dataclasses.replace(
        picture(), truth=wide, measured=wide, extent_mm=(20.0, -20.0, -5.0, 5.0), profile_row=5
    )
    only = dataclasses.replace(comparison, pictures=[flat], recoveries=[], rows=[], repeats=[])
    (figure,) = render_comparison_figures(only)
    assert figure.svg.startswith(b"<svg")


def test_a_name_of_a_figure_is_given_once():
    maker = comparison_makers()[0]
    with pytest.raises(ValueError, match="registered already"):
        register_comparison(maker)
