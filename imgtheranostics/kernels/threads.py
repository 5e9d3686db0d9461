"""How many threads a kernel may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba


@contextmanager
def thread_limit(workers: int | None) -> Iterator[int]:
    """Run Numba kernels on at most `workers` threads inside the block; None takes all that there are."""
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, found {workers}")
    before = numba.get_num_threads()
    count = before if workers is None else min(int(workers), before)
    numba.set_num_threads(count)
    try:
        yield count
    finally:
        numba.set_num_threads(before)
