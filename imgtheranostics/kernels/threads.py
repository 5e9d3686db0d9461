"""How many threads a kernel may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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


def run_chunks(task: Callable[[int, int], None], count: int, chunk: int, workers: int | None) -> None:
    """Call ``task(first, last)`` for all chunks of `count` voxels, on at most `workers` threads.

    For kernels that release the interpreter and are too long to be compiled once more as a parallel loop,
    which takes as long again. Chunks do not depend on the threads, and each is done by one of them.
    """
    firsts = range(0, count, chunk)
    with thread_limit(workers) as threads:
        if threads == 1 or len(firsts) < 2:
            for first in firsts:
                task(first, min(first + chunk, count))
            return
        with ThreadPoolExecutor(min(threads, len(firsts))) as pool:
            for done in [pool.submit(task, first, min(first + chunk, count)) for first in firsts]:
                done.result()
