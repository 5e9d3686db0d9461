"""Pseudonyms: a salted hash stands for a PatientID wherever something is written or printed."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path


def pseudonym(patient_id: str) -> str:
    """A stable pseudonym such as ``sub-3f9a01bc``; empty for an empty identifier.

    The salt is secret and belongs to this user: ``IMGTHERANOSTICS_SALT``, else a random one that is
    made once in the user's settings folder.
    """
    if not patient_id:
        return ""
    digest = hmac.new(
        _salt(os.environ.get("IMGTHERANOSTICS_SALT")),
        patient_id.encode("utf-8", "surrogatepass"),
        hashlib.sha256,
    )
    return f"sub-{digest.hexdigest()[:8]}"


@lru_cache(maxsize=4)
def _salt(given: str | None) -> bytes:
    if given:
        return given.encode()
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = home / "imgtheranostics" / "salt"
    try:
        if not path.exists():
            _make_salt(path)
        return path.read_bytes()
    except OSError:
        return secrets.token_bytes(16)


def _make_salt(path: Path) -> None:
    """Write the salt whole; of several processes that start at once, the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_hex(16).encode())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
