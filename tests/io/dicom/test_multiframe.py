"""Multi-frame objects: enhanced and legacy-converted, gamma camera, ultrasound, photoacoustic."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, GeometryMismatch, MissingMetadata, UnsupportedInput


def item(**values) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def code(value: str, scheme: str = "UCUM", meaning: str = "") -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning or value)


def enhanced(make_series, path, kind, stored, frames, shared=None, edit=None):
    """One enhanced file; `frames` holds (z, extra macros) per frame in file order."""
    ds = make_series.new_dataset(kind)
    make_series.set_pixels(ds, stored)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    common = item(
        PixelMeasuresSequence=[item(PixelSpacing=[1.5, 2.0], SliceThickness=9)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=-5, RescaleType="US")],
    )
    for keyword, value in (shared or {}).items():
        setattr(common, keyword, value)
    ds.SharedFunctionalGroupsSequence = [common]
    groups = []
    for z, macros in frames:
        group = item(PlanePositionSequence=[item(ImagePositionPatient=[-10, -20, z])])
        for keyword, value in macros.items():
            setattr(group, keyword, value)
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    if edit is not None:
        edit(ds)
    make_series.save(ds, path)
    return path


def filled(values) -> np.ndarray:
    """One constant frame per value."""
    return np.array([np.full((2, 3), v) for v in values], dtype=np.int16)


def test_enhanced_ct_frames_are_sorted_and_scaled_per_frame(tmp_path, make_series):
    order = [2, 0, 3, 1]
    frames = [
        (
            3.0 * z,
            {
                "PixelValueTransformationSequence": [
                    item(RescaleSlope=z + 1, RescaleIntercept=-1024, RescaleType="HU")
                ],
                "CTXRayDetailsSequence": [item(KVP=80)],
            },
        )
        for z in order
    ]
    path = enhanced(make_series, tmp_path / "x.dcm", "enhanced CT", filled([10 * z for z in order]), frames)
    volume = it.load(path)
    assert volume.shape == (3, 2, 4)
    assert volume.data[0, 0].tolist() == [10 * z * (z + 1) - 1024 for z in range(4)]
    assert (volume.quantity, volume.acquisition.tube_voltage_kv) == ("attenuation", 80)
    assert volume.grid.spacing_mm == (2.0, 1.5, 3.0)
    assert volume.affine[:3, 3].tolist() == [10, 20, 0]


def test_enhanced_ct_of_another_rescale_type_is_no_attenuation(tmp_path, make_series):
    path = enhanced(
        make_series, tmp_path / "x.dcm", "enhanced CT", filled(range(3)), [(z, {}) for z in range(3)]
    )
    assert it.load(path).quantity == "signal"


def test_enhanced_mr_echo_axis_comes_from_effective_echo_time(tmp_path, make_series):
    frames, values = [], []
    for z in range(3):
        for echo in (3, 1, 2):
            values.append(100 * echo + z)
            macros = {
                "MREchoSequence": [item(EffectiveEchoTime=1.5 * echo)],
                "MRTimingAndRelatedParametersSequence": [item(RepetitionTime=30.0, FlipAngle=12.0)],
            }
            frames.append((2.0 * z, macros))
    volume = it.load(enhanced(make_series, tmp_path / "x.dcm", "enhanced MR", filled(values), frames))
    assert volume.axes[0].name == "echo_time"
    assert volume.axes[0].values == pytest.approx([0.0015, 0.003, 0.0045])
    assert volume.data[0, 0, 1].tolist() == [2 * (100 * e + 1) - 5 for e in (1, 2, 3)]
    assert (volume.acquisition.repetition_time_s, volume.acquisition.flip_angle_deg) == (0.03, 12.0)


def test_enhanced_time_follows_the_dimension_index_not_the_frame_order(tmp_path, make_series):
    frames, values = [], []
    for t in (2, 0, 1):
        for z in (1, 0, 2):
            values.append(100 * t + z)
            content = item(
                DimensionIndexValues=[t + 1, z + 1],
                TemporalPositionIndex=t + 1,
                FrameAcquisitionDateTime=f"202503011015{10 * t:02d}",
            )
            frames.append((2.0 * z, {"FrameContentSequence": [content]}))

    def edit(ds):
        ds.DimensionIndexSequence = [
            item(DimensionIndexPointer=0x00209128, FunctionalGroupPointer=0x00209111),
            item(DimensionIndexPointer=0x00200032, FunctionalGroupPointer=0x00209113),
        ]

    path = enhanced(make_series, tmp_path / "x.dcm", "enhanced MR", filled(values), frames, edit=edit)
    volume = it.load(path)
    assert volume.axes[0].values == pytest.approx([0, 10, 20])
    assert volume.data[0, 0].tolist() == [[2 * (100 * t + z) - 5 for t in range(3)] for z in range(3)]


def test_enhanced_pet_states_its_reference_and_unit_outright(tmp_path, make_series):
    unit = item(RealWorldValueSlope=4.0, RealWorldValueIntercept=0.0)
    unit.add_new(0x00409216, "SS", -32768)
    unit.add_new(0x00409211, "SS", 32767)
    unit.MeasurementUnitsCodeSequence = [code("Bq/ml")]
    frames = []
    for z in range(3):
        content = item(
            FrameAcquisitionDateTime="20250301102000",
            FrameReferenceDateTime="20250301102500",
            FrameAcquisitionDuration=600000.0,
        )
        frames.append((2.0 * z, {"FrameContentSequence": [content]}))

    def edit(ds):
        ds.DecayCorrected, ds.DecayCorrectionDateTime = "YES", "20250301101500"
        drug = item(RadionuclideTotalDose=5e6, RadionuclideHalfLife=6586.2)
        drug.RadiopharmaceuticalStartDateTime = "20250301091500"
        drug.RadionuclideCodeSequence = [code("77004003", "SCT", "^18^Fluorine")]
        ds.RadiopharmaceuticalInformationSequence = [drug]

    shared = {"RealWorldValueMappingSequence": [unit]}
    path = enhanced(make_series, tmp_path / "x.dcm", "enhanced PT", filled([1, 2, 3]), frames, shared, edit)
    volume = it.load(path)
    record = volume.acquisition
    assert (volume.quantity, record.units, record.decay_correction) == (
        "activity_concentration",
        "BQML",
        "START",
    )
    assert volume.data[0, 0].tolist() == [4, 8, 12]
    assert record.decay_reference_s == -300.0  # 10:15 against the first frame at 10:20
    assert (record.frame_duration_s == 600).all()
    assert record.radiopharmaceutical.nuclide == "F-18"
    assert record.corrections == ("DECY",)


def test_legacy_converted_pet_keeps_its_units(tmp_path, make_series):
    def edit(ds):
        ds.Units, ds.DecayCorrection, ds.CorrectedImage = "BQML", "START", ["DECY"]

    frames = [
        (
            2.0 * z,
            {
                "UnassignedPerFrameConvertedAttributesSequence": [
                    item(FrameReferenceTime="300000", ActualFrameDuration="600000", DecayFactor="1.02")
                ]
            },
        )
        for z in range(3)
    ]
    path = enhanced(make_series, tmp_path / "x.dcm", "legacy PT", filled([1, 2, 3]), frames, edit=edit)
    volume = it.load(path)
    assert volume.quantity == "activity_concentration"
    assert (volume.acquisition.frame_reference_time_s == 300).all()
    assert (volume.acquisition.decay_factor == 1.02).all()


def test_groups_that_do_not_describe_every_frame_are_corrupt(tmp_path, make_series):
    path = enhanced(
        make_series, tmp_path / "x.dcm", "enhanced MR", filled(range(4)), [(z, {}) for z in range(3)]
    )
    with pytest.raises(CorruptInput, match="5200,9230"):
        it.load(path)


def test_frame_without_position_is_missing_metadata(tmp_path, make_series):
    def edit(ds):
        del ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence

    frames = [(z, {}) for z in range(3)]
    path = enhanced(make_series, tmp_path / "x.dcm", "enhanced MR", filled(range(3)), frames, edit=edit)
    with pytest.raises(MissingMetadata, match="ImagePositionPatient"):
        it.load(path)


def test_classic_multi_frame_without_geometry_is_refused(tmp_path, make_series):
    ds = make_series.new_dataset("CT")
    make_series.set_pixels(ds, make_series.stored())
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    make_series.save(ds, tmp_path / "x.dcm")
    with pytest.raises(MissingMetadata, match="where its frames lie"):
        it.load(tmp_path)


def spect(make_series, path, kind="RECON TOMO", edit=None, n=4):
    ds = make_series.new_dataset("NM")
    ds.ImageType = ["ORIGINAL", "PRIMARY", kind, "EMISSION"]
    make_series.set_pixels(ds, filled(range(n)).astype(np.uint16))
    ds.PixelSpacing, ds.SliceThickness, ds.SpacingBetweenSlices = [4, 4], 4, 4.4
    ds.FrameIncrementPointer = 0x00540080
    ds.SliceVector = list(range(1, n + 1))
    ds.NumberOfSlices = n
    ds.DetectorInformationSequence = [
        item(ImagePositionPatient=[-100, -100, 50], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    ]
    ds.EnergyWindowInformationSequence = [
        item(EnergyWindowRangeSequence=[item(EnergyWindowLowerLimit=126.5, EnergyWindowUpperLimit=154.5)])
    ]
    ds.RotationInformationSequence = [
        item(ActualFrameDuration=20000, NumberOfFramesInRotation=60, ScanArc=360)
    ]
    if edit is not None:
        edit(ds)
    make_series.save(ds, path)
    return path


def test_spect_geometry_comes_from_the_detector_information(tmp_path, make_series):
    volume = it.load(spect(make_series, tmp_path / "x.dcm"))
    assert (volume.quantity, volume.unit) == ("counts", "{counts}")
    assert volume.data[0, 0].tolist() == [0, 1, 2, 3]
    assert volume.affine[:3, 3].tolist() == [100, 100, 50]
    assert volume.affine[2, 2] == pytest.approx(4.4)
    record = volume.acquisition
    assert record.energy_windows_kev == ((126.5, 154.5),)
    assert (record.n_projections, record.scan_arc_deg, record.frame_duration_s) == (60, 360.0, 20.0)


def test_spect_with_negative_spacing_runs_the_other_way(tmp_path, make_series):
    """SpacingBetweenSlices of NM is signed along the normal of rows and columns (PS3.3 C.8.4.15)."""

    def edit(ds):
        ds.SpacingBetweenSlices = -4.4

    volume = it.load(spect(make_series, tmp_path / "x.dcm", edit=edit))
    assert volume.data[0, 0].tolist() == [3, 2, 1, 0]
    assert volume.affine[2, 3] == pytest.approx(50 - 3 * 4.4)
    assert volume.affine[2, 2] > 0


def test_spect_real_world_map_makes_activity(tmp_path, make_series):
    def edit(ds):
        mapping = item(RealWorldValueSlope=12.5, RealWorldValueIntercept=0.0)
        mapping.add_new(0x00409216, "US", 0)
        mapping.add_new(0x00409211, "US", 65535)
        mapping.MeasurementUnitsCodeSequence = [code("Bq/ml")]
        ds.RealWorldValueMappingSequence = [mapping]

    volume = it.load(spect(make_series, tmp_path / "x.dcm", edit=edit))
    assert (volume.quantity, volume.data.max()) == ("activity_concentration", 37.5)


@pytest.mark.parametrize(("kind", "words"), [("TOMO", "projections"), ("RECON GATED TOMO", "gated")])
def test_projections_and_gated_images_are_no_volume(tmp_path, make_series, kind, words):
    with pytest.raises(UnsupportedInput, match=words):
        it.load(spect(make_series, tmp_path / "x.dcm", kind))


def test_index_vector_of_the_wrong_length_is_corrupt(tmp_path, make_series):
    def edit(ds):
        ds.SliceVector = [1, 2, 3]

    with pytest.raises(CorruptInput, match="SliceVector"):
        it.load(spect(make_series, tmp_path / "x.dcm", edit=edit))


def test_dynamic_planar_image_has_times_of_its_phases(tmp_path, make_series):
    def edit(ds):
        ds.FrameIncrementPointer = [0x00540030, 0x00540100]
        ds.PhaseVector, ds.TimeSliceVector = [1, 1, 2, 2], [1, 2, 1, 2]
        ds.PhaseInformationSequence = [
            item(PhaseDelay=0, ActualFrameDuration=1000, PauseBetweenFrames=0, NumberOfFramesInPhase=2),
            item(PhaseDelay=0, ActualFrameDuration=10000, PauseBetweenFrames=500, NumberOfFramesInPhase=2),
        ]

    volume = it.load(spect(make_series, tmp_path / "x.dcm", "DYNAMIC", edit))
    assert volume.axes[0].values == pytest.approx([0.5, 1.5, 7, 17.5])
    assert volume.shape == (3, 2, 1, 4)
    assert "no-patient-geometry" in [w.code for w in volume.warnings]


def cine(make_series, path, stored, edit=None):
    ds = make_series.new_dataset("US")
    make_series.set_pixels(ds, stored)
    ds.FrameTime = 40.0
    if edit is not None:
        edit(ds)
    make_series.save(ds, path)
    return path


def region(**changes) -> Dataset:
    values = {
        "RegionSpatialFormat": 1,
        "RegionDataType": 1,
        "RegionLocationMinX0": 0,
        "RegionLocationMinY0": 0,
        "RegionLocationMaxX1": 5,
        "RegionLocationMaxY1": 4,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": 0.02,
        "PhysicalDeltaY": 0.03,
    }
    return item(**{**values, **changes})


def test_ultrasound_cine_has_time_and_the_spacing_of_its_tissue_region(tmp_path, make_series):
    def edit(ds):
        m_mode = region(RegionSpatialFormat=2, PhysicalUnitsXDirection=4, PhysicalDeltaX=0.001)
        ds.SequenceOfUltrasoundRegions = [m_mode, region()]

    stored = make_series.stored(3, dtype="uint8")
    volume = it.load(cine(make_series, tmp_path / "x.dcm", stored, edit))
    assert volume.shape == (6, 5, 1, 3)
    assert volume.axes[0].values == pytest.approx([0, 0.04, 0.08])
    assert volume.grid.spacing_mm[:2] == pytest.approx((0.2, 0.3))  # cm to mm
    assert np.array_equal(volume.data[:, :, 0], stored.transpose(2, 1, 0).astype(np.float32))
    assert [r["x_unit"] for r in volume.acquisition.regions] == ["s", "cm"]
    assert volume.acquisition.frame_time_s == 0.04


def test_frame_time_vector_wins_over_frame_time(tmp_path, make_series):
    def edit(ds):
        ds.FrameTimeVector = [0, 30, 50]

    volume = it.load(cine(make_series, tmp_path / "x.dcm", make_series.stored(3, dtype="uint8"), edit))
    assert volume.axes[0].values == pytest.approx([0, 0.03, 0.08])


def test_cine_rate_is_no_time(tmp_path, make_series):
    def edit(ds):
        del ds.FrameTime
        ds.CineRate, ds.RecommendedDisplayFrameRate = 30, 30

    with pytest.raises(MissingMetadata, match="FrameTime"):
        it.load(cine(make_series, tmp_path / "x.dcm", make_series.stored(3, dtype="uint8"), edit))


def test_disagreeing_tissue_regions_give_no_spacing(tmp_path, make_series):
    def edit(ds):
        ds.SequenceOfUltrasoundRegions = [region(), region(PhysicalDeltaX=0.05)]

    volume = it.load(cine(make_series, tmp_path / "x.dcm", make_series.stored(3, dtype="uint8"), edit))
    assert volume.grid.spacing_mm[:2] == (1.0, 1.0)
    assert {"several-tissue-regions", "pixel-spacing-unknown"} <= {w.code for w in volume.warnings}


def test_colour_cine_becomes_luminance(tmp_path, make_series):
    """ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B; a swap of red and blue would show."""
    rgb = np.zeros((2, 3, 4, 3), dtype=np.uint8)
    rgb[0] = 77  # grey, kept exactly
    rgb[1, ..., 0], rgb[1, ..., 1], rgb[1, ..., 2] = 200, 50, 10

    def edit(ds):
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.PixelData = rgb.tobytes()

    volume = it.load(cine(make_series, tmp_path / "x.dcm", rgb[..., 0], edit))
    assert (volume.data[..., 0] == 77).all()
    assert volume.data[..., 1] == pytest.approx(np.full((4, 3, 1), 0.299 * 200 + 0.587 * 50 + 0.114 * 10))
    assert "colour-overlay" in [w.code for w in volume.warnings]


@pytest.mark.parametrize(("stated", "warned"), [("YES", True), ("NO", False), (None, True)])
def test_burned_in_text_is_warned_of(tmp_path, make_series, stated, warned):
    """Input rules, section 6: YES, or absent in ultrasound."""

    def edit(ds):
        if stated is not None:
            ds.BurnedInAnnotation = stated

    volume = it.load(cine(make_series, tmp_path / "x.dcm", make_series.stored(3, dtype="uint8"), edit))
    assert ("burned-in-text" in [w.code for w in volume.warnings]) == warned


def test_compressed_colour_cine_of_the_wheel(pydicom_file):
    """30 frames, 33.333 ms, 0.05105 cm; frame means near 9.48, 9.33, 9.27 (ultrasound reference)."""
    volume = it.load(pydicom_file("examples_ybr_color.dcm"))
    assert volume.shape == (320, 240, 1, 30)
    assert volume.axes[0].values[1] == pytest.approx(0.033333)
    assert volume.grid.spacing_mm[0] == pytest.approx(0.5105, abs=1e-4)
    means = volume.data.reshape(-1, 30, order="F").mean(axis=0)[:6]
    assert means == pytest.approx([9.48, 9.33, 9.27, 9.24, 9.25, 9.35], abs=0.04)


def photoacoustic(make_series, path, wavelengths, edit=None, z=(0.0, 1.0, 2.0)):
    ds = make_series.new_dataset("PA")
    values = [10 * w + k for w in range(len(wavelengths)) for k in range(len(z))]
    make_series.set_pixels(ds, filled(values))
    kind = item(ImageDataTypeCodeSequence=[code("110816", "DCM", "Initial pressure")])
    ds.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[0.1, 0.2], SliceThickness=1)],
            PlaneOrientationVolumeSequence=[item(ImageOrientationVolume=[1.0, 0, 0, 0, 1.0, 0])],
            ImageDataTypeSequence=[kind],
        )
    ]
    groups = []
    for wavelength in wavelengths:
        for place in z:
            excitation = [item(ExcitationWavelength=float(v)) for v in np.atleast_1d(wavelength)]
            groups.append(
                item(
                    PlanePositionVolumeSequence=[item(ImagePositionVolume=[0.0, 0.0, place])],
                    PhotoacousticExcitationCharacteristicsSequence=excitation,
                )
            )
    ds.PerFrameFunctionalGroupsSequence = groups
    ds.ExcitationWavelengthSequence = [
        item(ExcitationWavelength=float(np.atleast_1d(w)[0])) for w in wavelengths
    ]
    ds.SoundSpeedCorrectionMechanismCodeSequence = [code("130818", "DCM")]
    ds.ObjectSoundSpeed = 1520.0
    if edit is not None:
        edit(ds)
    make_series.save(ds, path)
    return path


def test_photoacoustic_wavelengths_in_one_file_become_a_sorted_axis(tmp_path, make_series):
    volume = it.load(photoacoustic(make_series, tmp_path / "x.dcm", [1064.0, 757.0]))
    assert (volume.quantity, volume.axes[0].name, volume.axes[0].unit) == (
        "optoacoustic_signal",
        "wavelength",
        "nm",
    )
    assert volume.axes[0].values.tolist() == [757.0, 1064.0]
    assert volume.data[0, 0].tolist() == [[10, 0], [11, 1], [12, 2]]
    assert volume.acquisition.wavelength_nm == (757.0, 1064.0)
    assert volume.acquisition.speed_of_sound_m_s == 1520.0
    assert volume.acquisition.image_type == "Initial pressure"
    assert [w.code for w in volume.warnings] == ["no-patient-geometry"]


def test_photoacoustic_files_of_one_wavelength_each_go_together(tmp_path, make_series):
    for n, wavelength in enumerate((700.0, 850.0, 800.0)):
        photoacoustic(make_series, tmp_path / f"{n}.dcm", [wavelength])
    assert it.load(tmp_path).axes[0].values.tolist() == [700.0, 800.0, 850.0]


def test_shared_wavelength_list_counts_when_it_is_one(tmp_path, make_series):
    def edit(ds):
        for group in ds.PerFrameFunctionalGroupsSequence:
            del group.PhotoacousticExcitationCharacteristicsSequence

    volume = it.load(photoacoustic(make_series, tmp_path / "x.dcm", [757.0], edit))
    assert volume.acquisition.wavelength_nm == (757.0,)


def test_frame_of_several_wavelengths_is_refused(tmp_path, make_series):
    with pytest.raises(UnsupportedInput, match="several wavelengths"):
        it.load(photoacoustic(make_series, tmp_path / "x.dcm", [(700.0, 850.0)]))


def test_photoacoustic_without_wavelength_is_missing_metadata(tmp_path, make_series):
    def edit(ds):
        del ds.ExcitationWavelengthSequence
        for group in ds.PerFrameFunctionalGroupsSequence:
            del group.PhotoacousticExcitationCharacteristicsSequence

    with pytest.raises(MissingMetadata, match="0018,9826"):
        it.load(photoacoustic(make_series, tmp_path / "x.dcm", [757.0], edit))


def test_enhanced_geometry_is_checked_like_any_other(tmp_path, make_series):
    frames = [(z, {}) for z in (0.0, 1.0, 2.0, 4.0)]
    path = enhanced(make_series, tmp_path / "x.dcm", "enhanced MR", filled(range(4)), frames)
    with pytest.raises(GeometryMismatch, match="uneven"):
        it.load(path)
