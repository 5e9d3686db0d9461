"""Reading the database of the package `xraydb` without importing the package.

Importing it loads SQLAlchemy and SciPy's interpolation, and its first query inspects every table twice: a
second or more. Its session also belongs to the thread that opened it. The tables themselves are one SQLite
file.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from imgtheranostics.errors import UnsupportedInput


def rows(question: str, *values: str) -> list[tuple[Any, ...]]:
    """Rows that answer a question in SQL, values in place of its question marks.

    Raises
    ------
    UnsupportedInput
        If the package or its tables are not there.
    """
    place = _place()
    try:
        with closing(sqlite3.connect(f"{place.as_uri()}?mode=ro&immutable=1", uri=True)) as tables:
            return list(tables.execute(question, values))
    except sqlite3.Error as error:
        raise UnsupportedInput(
            "the X-ray tables cannot be read",
            where="xraydb.sqlite",
            found=str(error),
            needed="those of xraydb 4.5.8 or a later version with the same tables",
            next_step="install the version of xraydb that this package names",
        ) from error


def _place() -> Path:
    package = find_spec("xraydb")
    if package is None or package.origin is None:
        raise UnsupportedInput("the package xraydb is not installed", next_step="pip install xraydb")
    return Path(package.origin).with_name("xraydb.sqlite")
