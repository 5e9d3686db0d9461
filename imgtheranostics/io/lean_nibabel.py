"""Importing nibabel for its NIfTI headers alone."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

SWITCH = "IMGTHERANOSTICS_OWN_PROCESS"
"""Environment variable that the console script sets: this process runs one command and nobody else's code."""


def nibabel_for_headers() -> Any:
    """The nibabel package, in a process of our own without its support for DICOM.

    That support imports pydicom with every decoder, which takes longer than the rest of a command, and it is
    never used here: header extensions are not read. A process that is not ours gets nibabel as it is.
    """
    hidden = SWITCH in os.environ and not {"nibabel", "pydicom"} & sys.modules.keys()
    if hidden:
        sys.modules["pydicom"] = None  # type: ignore[assignment]
    try:
        return import_module("nibabel")
    finally:
        if hidden:
            del sys.modules["pydicom"]
