"""What makes the folder of a study's results a BIDS derivative: files at its top."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgtheranostics._version import VERSION
from imgtheranostics.io.atomic import write_text
from imgtheranostics.report.plain import as_json
from imgtheranostics.report.tables import as_tsv
from imgtheranostics.study.bids_names import IGNORED_SUFFIXES, VISIBLE_FOLDERS, Naming

DESCRIPTION_FILE = "dataset_description.json"
BIDS_VERSION = "1.11.1"

_DESCRIPTIONS = "descriptions.tsv"
_README = """\
# Results of a study

Made by `imgtheranostics study run`. It is a BIDS derivative:

- `sub-*/[ses-*/]anat` and `pet` hold the maps that BIDS has names for, each with its unit, what it is and
  where it comes from in the JSON file of its name. `descriptions.tsv` says what each `desc` label stands for.
- `participants.tsv` has the subjects as the manifest describes them.

What BIDS does not know yet is listed in `.bidsignore`:

- `quantities.tsv` has all quantities of all regions, subjects and sessions; `study.json` what the study asks,
  `status.json` what was done and what failed, `outcomes.tsv` the outcomes.
- `sub-*/[ses-*/]<analysis>` has what each command wrote: its report, its record of every decision
  (`provenance.json`), its table, flags of voxels that could not be estimated, and `job.json`.
- `sub-*/[ses-*/]ct`, `mr`, `nm`, `pa`, `us`, `other`, and `pet/*_mimap`: maps without a BIDS name yet.
"""


def bidsignore() -> str:
    """Everything is ignored but what has a BIDS name."""
    keep = [DESCRIPTION_FILE, "README.md", "participants.*", "descriptions.*", "sub-*"]
    lines = ["/*", *(f"!/{name}" for name in keep)]
    for level in ("/sub-*", "/sub-*/ses-*"):
        lines += [f"{level}/*", *(f"!{level}/{name}" for name in VISIBLE_FOLDERS)]
        lines += ["!/sub-*/ses-*"] if level == "/sub-*" else []
    lines += [f"/sub-*/**/pet/*_{suffix}.*" for suffix in IGNORED_SUFFIXES]
    return "\n".join(lines) + "\n"


def description(output: Path, study: str, naming: Naming) -> dict[str, Any]:
    """The content of ``dataset_description.json``."""
    links = {
        name: urllib.parse.quote(Path(os.path.relpath(root, output)).as_posix())
        for root, name in naming.datasets
    }
    return {
        "Name": f"Results of a study: {study}" if study else "Results of a study",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "imgtheranostics", "Version": VERSION}],
        **({"DatasetLinks": links} if links else {}),
    }


def write_dataset(output: Path, study: str, naming: Naming) -> None:
    """The files that do not depend on results."""
    write_text(output / DESCRIPTION_FILE, as_json(description(output, study, naming)))
    write_text(output / ".bidsignore", bidsignore())
    write_text(output / "README.md", _README)


def write_descriptions(output: Path, descriptions: Mapping[str, str]) -> None:
    """``descriptions.tsv``, the meaning of each label of the ``desc`` entity; no file where there is none."""
    if not descriptions:
        (output / _DESCRIPTIONS).unlink(missing_ok=True)
        return
    rows = [{"desc_id": f"desc-{label}", "description": text} for label, text in sorted(descriptions.items())]
    write_text(output / _DESCRIPTIONS, as_tsv(rows, ["desc_id", "description"]))
