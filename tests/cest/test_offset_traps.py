"""Trap 20 of the input sheet from file to contrast: sign, ppm or Hz, references, lists that are not sorted.

The spectrum has a symmetric water line and a dip of 0.1 at +3.5 ppm, so that MTRasym(3.5 ppm) is 10 %: a
swapped sign would give -10 %.
"""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import ImplausibleValue, MissingMetadata
from imgtheranostics.io.cest_offsets import with_offsets

OFFSETS = np.concatenate(([-300.0], np.arange(-5.0, 5.01, 0.5)))
MHZ = 300.0


def signal(offsets):
    line = 0.9 / (1 + (offsets / 0.6) ** 2)
    dip = np.where(np.abs(offsets - 3.5) < 0.01, 0.1, 0.0)
    return 500.0 * np.where(np.abs(offsets) > 100, 1.0, 1.0 - line - dip)


def save(folder, offsets, sidecar, name="a_cest"):
    data = np.broadcast_to(signal(offsets), (3, 3, 2, len(offsets))).astype(np.float32)
    image = nibabel.Nifti1Image(data, np.eye(4))
    image.header.set_xyzt_units("mm", None)
    nibabel.save(image, folder / f"{name}.nii.gz")
    if sidecar is not None:
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
    return folder / f"{name}.nii.gz"


def asymmetry(volume):
    found = it.cest.contrast(volume, kind="mtr_asym", at_ppm=3.5, b0=None).value
    assert found.unit == "%"
    assert np.ptp(found.data) < 1e-3
    return float(found.data.ravel()[0])


def keys(offsets, **more):
    return {"SaturationOffsets": list(map(float, offsets)), "ImagingFrequency": MHZ} | more


def test_sorted_list_in_ppm_is_the_good_twin(tmp_path):
    volume = it.load(save(tmp_path, OFFSETS, keys(OFFSETS)))
    assert asymmetry(volume) == pytest.approx(10.0, abs=1e-3)
    assert volume.warnings == ()


@pytest.mark.parametrize("seed", [0, 1])
def test_order_of_volumes_does_not_matter_when_the_list_is_theirs(tmp_path, seed):
    shuffled = np.random.default_rng(seed).permutation(OFFSETS)
    assert asymmetry(it.load(save(tmp_path, shuffled, keys(shuffled)))) == pytest.approx(10.0, abs=1e-3)


def test_stated_sign_and_unit_give_the_same_contrast(tmp_path):
    upfield = it.load(
        save(tmp_path, OFFSETS, keys(-OFFSETS, SaturationOffsetSign="upfield_positive"), "b_cest")
    )
    hertz = it.load(save(tmp_path, OFFSETS, keys(OFFSETS * MHZ, SaturationOffsetUnit="Hz"), "c_cest"))
    for volume in (upfield, hertz):
        assert asymmetry(volume) == pytest.approx(10.0, abs=1e-3)


def test_hertz_that_nobody_declares_are_refused(tmp_path):
    with pytest.raises(ImplausibleValue, match="Hz"):
        it.load(save(tmp_path, OFFSETS, keys(OFFSETS * MHZ)))
    with pytest.raises(ImplausibleValue, match="Hz"):
        it.load(save(tmp_path, OFFSETS, keys(OFFSETS * MHZ, SaturationOffsetUnit="ppm"), "b_cest"))


def test_file_of_offsets_beside_a_bare_image(tmp_path):
    bare = it.load(save(tmp_path, OFFSETS, {"MagneticFieldStrength": 7}))
    with pytest.raises(MissingMetadata, match="offset"):
        it.cest.contrast(bare, kind="mtr_asym", at_ppm=3.5)
    path = tmp_path / "list.txt"
    path.write_text("\n".join(f"{v:g}" for v in OFFSETS))
    assert asymmetry(with_offsets(bare, path)) == pytest.approx(10.0, abs=1e-3)
    path.write_text("# Hz\n" + "\n".join(f"{v * MHZ:g}" for v in OFFSETS))
    with pytest.raises(MissingMetadata, match="sign"):
        with_offsets(bare, path, imaging_frequency_mhz=MHZ)
    stated = with_offsets(bare, path, imaging_frequency_mhz=MHZ, sign="downfield_positive")
    assert asymmetry(stated) == pytest.approx(10.0, abs=1e-3)


def test_reference_at_80_ppm_counts_only_by_its_index(tmp_path):
    listed = np.where(OFFSETS < -100, 80.0, OFFSETS)
    sidecar = keys(listed, SaturationOffsetUnit="ppm")
    doubtful = it.load(save(tmp_path, OFFSETS, sidecar))
    assert "reference-unknown" in [one.code for one in doubtful.warnings]
    named = it.load(save(tmp_path, OFFSETS, sidecar | {"M0Index": [0]}, "b_cest"))
    assert asymmetry(named) == pytest.approx(10.0, abs=1e-3)
