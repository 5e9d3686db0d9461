"""Voxels are cut into chunks for threads."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.kernels.threads import run_chunks


@pytest.mark.parametrize("workers", [1, 2, None])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000, 4096, 4097, 7 * 512])
def test_every_voxel_is_in_one_chunk_whatever_the_threads(count, workers):
    seen = np.zeros(count, np.int64)

    def task(first, last):
        assert 0 < last - first <= 512
        seen[first:last] += 1

    run_chunks(task, count, 512, workers)
    assert (seen == 1).all()


def test_what_a_task_raises_reaches_the_caller():
    def task(first, last):
        if first:
            raise ArithmeticError(f"chunk {first}")

    with pytest.raises(ArithmeticError, match="chunk"):
        run_chunks(task, 4096, 512, None)
