"""A whole command on a published series, warm: seconds per scan.

Goal (issue on the foundation): the uptake of a small PET series with its regions in a fifth of a second.
"""

from __future__ import annotations

import pytest

from imgtheranostics.cli.main import main


@pytest.mark.benchmark(group="command")
def test_uptake_of_a_series(benchmark, public_data, capsys):
    folder = public_data("pet/ibsi_suv/DRO_0_0")
    words = ["nuclear", "uptake", folder / "PT", "--rois", folder / "mask" / "DRO_mask.nii.gz"]
    words += ["--quantity", "suv_bw", "--json"]

    def command():
        code = main([str(word) for word in words])
        capsys.readouterr()
        return code

    assert benchmark.pedantic(command, rounds=10, warmup_rounds=2) == 0
    assert benchmark.stats.stats.median < 0.2
