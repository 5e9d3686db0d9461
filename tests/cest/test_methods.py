"""The names that the command line lists are those that the array level takes."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

from imgtheranostics.cest import b1_correction, denoising, exchange, methods, ph, ph_ratio


def test_names_are_those_of_the_array_level():
    assert get_args(ph.RatioKind) == methods.SITE_RATIOS
    assert get_args(ph_ratio.TransferKind) == methods.POWER_RATIOS
    assert get_args(b1_correction.Method) == methods.B1_METHODS
    assert get_args(exchange.Form) == methods.FORMS
    assert set(methods.RANK_RULES) == set(get_args(denoising.RankCriterion))


def test_names_come_without_numerics():
    code = "import sys, imgtheranostics.cest.methods; print(sorted({'numpy', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
