"""Verdicts as JUnit XML, so that a continuous-integration server shows them row by row."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtheranostics.validation.outcomes import FAIL, NOT_IMPLEMENTED, NOT_MEASURED

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from imgtheranostics.validation.comparing import Validation

_SKIPPED = (NOT_IMPLEMENTED, NOT_MEASURED)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(validation: Validation) -> str:
    """The validation as JUnit XML: one suite per phantom and level, one case per row.

    A row outside tolerance is a failure; one that is not implemented or not measured is skipped. There are
    no times and no host names: the same validation gives the same text.
    """
    from xml.etree.ElementTree import Element, SubElement, indent, tostring

    rows = [{str(name): value for name, value in row.items()} for row in validation.table.to_dict("records")]
    root = Element("testsuites", {"name": "imgtheranostics validate", **_counts(rows)})
    for slug, level in dict.fromkeys((row["slug"], row["level"]) for row in rows):
        chosen = [row for row in rows if (row["slug"], row["level"]) == (slug, level)]
        name = _clean(f"{slug} level {level}")
        suite = SubElement(root, "testsuite", {"name": name, **_counts(chosen)})
        for number, row in enumerate(chosen, start=1):
            suite.append(_case(row, name, number))
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def write_junit(validation: Validation, path: Path) -> None:
    """Write the XML file whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    from imgtheranostics.io.atomic import write_text

    write_text(path, junit_xml(validation))


def _case(row: dict[str, Any], suite: str, number: int) -> Element:
    from xml.etree.ElementTree import Element, SubElement

    words = [str(row[name]) for name in ("method", "quantity", "region", "axis_value") if row[name]]
    title = _clean(f"{number:03d} {' '.join(words) or 'phantom'}")
    case = Element("testcase", classname=suite.replace(" ", "."), name=title, time="0")
    details = _clean(_details(row))
    if row["verdict"] == FAIL:
        fault = SubElement(case, "failure", message=details, type="outside tolerance")
        fault.text = _clean(str(row["note"])) or details
    elif row["verdict"] in _SKIPPED:
        SubElement(case, "skipped", message=_clean(f"{row['verdict']}: {row['note']}"))
    else:
        SubElement(case, "system-out").text = details
    return case


def _details(row: dict[str, Any]) -> str:
    parts = [
        f"{name} {row[name]:.6g}"
        for name in ("truth", "measured", "error", "tolerance")
        if not math.isnan(row[name])
    ]
    unit = f" [{row['unit']}]" if row["unit"] not in ("", "1") else ""
    return f"{row['verdict']}: {', '.join(parts)}{unit}; claim {row['claim']}; truth is {row['provenance']}"


def _counts(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    verdicts = [row["verdict"] for row in rows]
    return {
        "tests": str(len(verdicts)),
        "failures": str(verdicts.count(FAIL)),
        "errors": "0",
        "skipped": str(sum(verdicts.count(verdict) for verdict in _SKIPPED)),
    }


def _clean(text: str) -> str:
    """The text without the characters that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
