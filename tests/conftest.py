"""Shared fixtures: test data, a fixed hypothesis profile, a private settings folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("fuzz", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

REPOSITORY = Path(__file__).resolve().parent.parent


def data_root() -> Path:
    return Path(os.environ.get("IMGTHERANOSTICS_DATA", REPOSITORY.parent / "shared" / "data")).resolve()


@pytest.fixture(scope="session")
def public_data():
    """Path of an item of the public test data; skips the test where it is absent."""

    def find(item: str) -> Path:
        path = data_root() / item
        if not path.exists():
            pytest.skip(f"test data {item} not found under IMGTHERANOSTICS_DATA ({data_root()})")
        return path

    return find


@pytest.fixture(autouse=True)
def _private_settings(monkeypatch, tmp_path_factory):
    """Keep the pseudonym salt and caches of the user out of the tests."""
    monkeypatch.setenv("IMGTHERANOSTICS_SALT", "test-salt")


@pytest.fixture
def rng():
    return np.random.default_rng(20221104)
