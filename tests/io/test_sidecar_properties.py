"""Whatever a sidecar says: a Volume, or an error of ours; never another exception, never a warning."""

from __future__ import annotations

import json
from contextlib import suppress

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgtheranostics.errors import ImgTheranosticsError
from imgtheranostics.io.nifti import load_nifti
from imgtheranostics.io.saving import save

GOOD = {
    "pet": {
        "Modality": "PT",
        "Units": "kBq/mL",
        "TracerRadionuclide": "F18",
        "RadionuclideHalfLife": 6586.2,
        "InjectedRadioactivity": 370,
        "InjectedRadioactivityUnits": "MBq",
        "TimeZero": "10:00:00",
        "InjectionStart": 0,
        "ScanStart": 0,
        "FrameTimesStart": [0, 60, 180],
        "FrameDuration": [60, 120, 300],
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 0,
        "DecayCorrectionFactor": [1.00316, 1.01274, 1.03519],
        "PatientWeight": 70,
        "AcquisitionTime": "10:00:00",
        "RadiopharmaceuticalStartTime": "10:00:00",
        "FrameReferenceTime": [30, 120, 330],
    },
    "MESE": {
        "Modality": "MR",
        "MagneticFieldStrength": 3,
        "EchoTime": [0.01, 0.02, 0.03],
        "RepetitionTime": 2.0,
        "FlipAngle": 90,
        "ScanningSequence": ["GR"],
        "MTState": True,
    },
    "cest": {
        "SaturationOffsets": [None, 3.5, -3.5],
        "SaturationOffsetUnit": "ppm",
        "ImagingFrequency": 300,
        "M0Index": [0],
        "SaturationB1rms": 2,
        "SaturationPulseShape": "gauss",
    },
    "pa": {
        "Modality": "PA",
        "Wavelengths": [700, 750, 800],
        "WavelengthUnits": "nm",
        "LaserEnergies": [1, 2, 3],
        "EnergyCorrected": True,
        "SpeedOfSound": 1500,
    },
    "own": {
        "Quantity": "activity_concentration",
        "Units": "Bq/mL",
        "SoftwareName": "imgtheranostics",
        "Axes": [{"Name": "time", "Units": "s", "Values": [0, 1, 2]}],
        "Acquisition": {
            "record": "EmissionAcquisition",
            "series_datetime": {"seconds": 0.0, "zone": "local"},
            "frame_duration_s": {"numbers": [[1, 1, 1]], "shape": [2, 3]},
            "radiopharmaceutical": {"record": "Radiopharmaceutical", "nuclide": "F-18"},
        },
        "History": [{"Name": "x", "Parameters": {}, "Version": "1"}],
        "Warnings": [{"Code": "x", "Message": "y", "Where": ""}],
    },
}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=8)
    | st.sampled_from(
        ["n/a", "10:99:00", "1e999", "٣", "1_0", "START", "Hz", "Bq/mL", "s", "seconds", "record"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, min_size=3, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["seconds", "zone", "numbers", "moments", "shape", "record", "Name", "Values", "Units"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("sidecars")
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.float32).reshape((2, 2, 2, 3)), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    for kind in GOOD:
        nibabel.save(image, made / f"sub-01_{kind}.nii")
    return made


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_the_untouched_sidecar_loads(folder, kind):
    (folder / f"sub-01_{kind}.json").write_text(json.dumps(GOOD[kind]))
    volume = load_nifti([folder / f"sub-01_{kind}.nii"])[0]
    assert len(volume.axes) == 1
    assert not [one for one in volume.warnings if one.code not in ("a", "x")]


@pytest.mark.parametrize("kind", sorted(GOOD))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=80)
@given(data=st.data())
def test_any_change_is_loaded_or_refused_by_type(folder, kind, data):
    content = dict(GOOD[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.sampled_from(sorted(GOOD[kind])))] = data.draw(values)
    (folder / f"sub-01_{kind}.json").write_text(json.dumps(content))
    with suppress(ImgTheranosticsError):
        volume = load_nifti([folder / f"sub-01_{kind}.nii"])[0]
        save(volume, folder / "again.nii", force=True)
        again = load_nifti([folder / "again.nii"])[0]
        assert again.data.tobytes(order="F") == volume.data.tobytes(order="F")
        assert (again.quantity, again.unit) == (volume.quantity, volume.unit)
        assert all(mine.same_as(theirs) for mine, theirs in zip(volume.axes, again.axes, strict=True))
