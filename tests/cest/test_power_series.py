"""One file with several B1 becomes one scan per B1, with B1 by the definition that the file states."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.cest.power_series import split_by_power
from imgtheranostics.cest.saturation import saturation_b1

LISTED = [None, 3.5, -3.5] * 2


def scans(tmp_path, **powers):
    image = nibabel.Nifti1Image(np.arange(48, dtype=np.float32).reshape((2, 2, 2, 6), order="F"), np.eye(4))
    nibabel.save(image, tmp_path / "a_cest.nii.gz")
    sidecar = {"SaturationOffsets": LISTED, "SaturationOffsetUnit": "ppm", "SaturationDutyCycle": 0.25}
    (tmp_path / "a_cest.json").write_text(json.dumps(sidecar | powers))
    return split_by_power(it.load(tmp_path / "a_cest.nii.gz"))


def test_rms_of_the_pulses_is_not_taken_for_the_continuous_wave(tmp_path):
    """F1 of the sheet: B1cwpe = B1rms sqrt(DC), half of it at a duty cycle of a quarter."""
    found = scans(tmp_path, SaturationB1rms=[2, 2, 2, 4, 4, 4])
    assert [saturation_b1(one, purpose="this").b1_ut for one in found] == pytest.approx([1.0, 2.0])
    np.testing.assert_array_equal(found[1].data[0, 0, 0], [24, 32, 40])


def test_continuous_wave_equivalent_is_taken_as_it_is(tmp_path):
    found = scans(tmp_path, SaturationB1cwpe=[2, 2, 2, 4, 4, 4], SaturationB1rms=[4, 4, 4, 8, 8, 8])
    assert [saturation_b1(one, purpose="this").b1_ut for one in found] == pytest.approx([2.0, 4.0])
