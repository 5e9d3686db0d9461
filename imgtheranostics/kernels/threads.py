"""How many threads a kernel may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numba

SMALLEST_CHUNK = 64
"""Voxels that are worth a task of their own."""


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
    which takes as long again. Few voxels are cut into smaller chunks, so that all threads end together:
    what a task finds for a voxel must not depend on the others of its chunk. Chunks that run at the same time
    lie far apart: else threads wait for each other where they write a page of memory for the first time.
    """
    with thread_limit(workers) as threads:
        chunk = min(chunk, max(SMALLEST_CHUNK, -(-count // (2 * threads))))
        firsts = range(0, count, chunk)
        if threads == 1 or len(firsts) < 2:
            for first in firsts:
                task(first, min(first + chunk, count))
            return
        part = -(-len(firsts) // threads)
        with ThreadPoolExecutor(min(threads, len(firsts))) as pool:
            for done in [
                pool.submit(task, first, min(first + chunk, count))
                for begin in range(part)
                for first in firsts[begin::part]
            ]:
                done.result()
