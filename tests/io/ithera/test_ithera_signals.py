"""Raw signals of iThera scans: the public one to the last digit, and small ones for every rule."""

from __future__ import annotations

import base64
import hashlib

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
    UnsupportedInput,
)

load = it.msot.load_signals


def codes(signals):
    return [caution.code for caution in signals.warnings]


def test_public_scan_reads_back_every_value_of_the_sheet(public_data):
    """Values: msot.md section 5.2, computed from the file with other tools."""
    folder = public_data("msot/ithera_scan_9")
    raw = (folder / "Scan_9.bin").read_bytes()
    assert hashlib.sha256(raw).hexdigest().startswith("3aa8917b0fe23109")
    signals = load(folder / "Scan_9.msot")
    assert signals.shape == (1, 1, 256, 2030)
    assert signals.samples.dtype == np.float32
    assert signals.samples.tobytes() == np.frombuffer(raw, "<u2").astype(np.float32).tobytes()
    assert (signals.samples.min(), signals.samples.max()) == (0, 65535)
    assert signals.samples.mean(dtype=np.float64) == pytest.approx(37577.9046, abs=5e-5)
    assert signals.samples[0, 0, 0, :3].tolist() == [33824, 33832, 33848]
    assert signals.samples[0, 0, 255, -3:].tolist() == [34688, 33929, 33499]
    assert signals.sampling_rate_hz == 40e6
    assert signals.wavelength_nm.tolist() == [700.0]
    assert signals.temperature_cel[0, 0] == pytest.approx(33.27)
    assert signals.laser_energy_mj[0, 0] == pytest.approx(74.642, abs=5e-4)
    assert signals.energy_corrected is True
    assert (signals.couplant, signals.couplant_coefficient.tolist()) == ("D2O", [0.647])
    assert signals.speed_of_sound_offset_m_s == 43.0
    assert signals.speed_of_sound_m_s is None
    assert signals.impulse_response.shape == (2030,)
    assert signals.impulse_response.max() == pytest.approx(1000.0)
    assert signals.detector_positions_mm[0] == pytest.approx([28.9001872, -28.3730362, 0.0], abs=1e-6)
    assert_allclose(np.linalg.norm(signals.detector_positions_mm, axis=1), 40.5, atol=0.01)
    assert signals.stage_position_mm.tolist() == [pytest.approx(59.65)]
    assert load(folder).samples.tobytes() == signals.samples.tobytes()
    assert load(folder / "Scan_9.bin").shape == signals.shape


def test_public_scan_tells_what_is_odd_about_it(public_data):
    """0.03 is labelled cm and is metres in sense: both readings are told; 506 samples are at 0 or 65535."""
    signals = load(public_data("msot/ithera_scan_9"))
    told = {caution.code: caution.message for caution in signals.warnings}
    assert set(told) == {"couplant-path-unit", "samples-at-limits", "img-not-read", "speed-of-sound-unknown"}
    assert "0.3 mm" in told["couplant-path-unit"]
    assert "30 mm" in told["couplant-path-unit"]
    assert signals.couplant_path_mm == 30.0
    assert "506 " in told["samples-at-limits"]
    assert "43 m/s" in told["speed-of-sound-unknown"]


def test_public_scan_keeps_site_people_and_serials_to_itself(public_data):
    signals = load(public_data("msot/ithera_scan_9"))
    text = repr(signals) + repr(signals.warnings) + repr(signals.history) + repr(signals.subject)
    for word in ("Cambridge", "1-14-02", "9967", "P1296", "00:11", "GC_SS", "2020", "Scan_9", "6373715"):
        assert word not in text
    assert signals.software_version == "3.8.1.08"
    assert signals.subject.species == "mouse"


def test_frames_of_each_wavelength_go_to_their_place_whatever_their_order(tmp_path, scans):
    scan = scans.dynamic(wavelengths=(800.0, 700.0, 760.0), frames=2)
    signals = load(scan.write(tmp_path))
    stored = scan.samples()
    assert signals.wavelength_nm.tolist() == [700.0, 760.0, 800.0]
    for frame in range(2):
        for place, position in enumerate((1, 2, 0)):
            assert_array_equal(signals.samples[frame, place], stored[3 * frame + position])
    assert_allclose(signals.laser_energy_mj, [[50, 60, 40], [51, 61, 41]])
    assert_allclose(signals.frame_time_s, [[1, 2, 0], [4, 5, 3]])
    assert_allclose(signals.temperature_cel, [[33.25, 33.5, 33.0], [34.0, 34.25, 33.75]])
    assert signals.couplant_coefficient.tolist() == [1.5, 2.5, 0.5]
    assert signals.history[0].parameters["wavelength_order_nm"] == [800.0, 700.0, 760.0]


def test_repetitions_of_a_wavelength_before_the_next_make_the_same_frames(tmp_path, scans):
    frames = [
        (700.0, 1.0, 0.0, 50.0),
        (700.0, 1.0, 1.0, 51.0),
        (800.0, 1.0, 2.0, 60.0),
        (800.0, 1.0, 3.0, 61.0),
    ]
    signals = load(scans.Scan(frames).write(tmp_path))
    assert_allclose(signals.laser_energy_mj, [[50, 60], [51, 61]])
    assert_allclose(signals.frame_time_s, [[0, 2], [1, 3]])
    assert signals.history[0].parameters["wavelength_order_nm"] == [700.0, 800.0]


def test_detector_coordinates_have_the_unit_of_their_own_axis(tmp_path, scans):
    """Coordinates x and y are in m, z is in mm in one file (msot.md 5.2)."""
    positions = load(scans.dynamic().write(tmp_path)).detector_positions_mm
    assert_allclose(np.hypot(positions[:, 0], positions[:, 1]), 40.5)
    assert_allclose(positions[:, 2], 1.5)


def test_detectors_in_a_wrong_unit_are_refused(tmp_path, scans):
    edit = [
        ('<AXIS number="1" unit="m" unit-modifier="none">', '<AXIS number="1" unit="m" unit-modifier="k">')
    ]
    with pytest.raises(UnitMismatch, match="detectors"):
        load(scans.dynamic(replacements=edit).write(tmp_path))


@pytest.mark.parametrize(("cut", "said"), [(-1, "size"), (2 * 6 * 20, "size"), (-(10**6), "empty|size")])
def test_signals_that_are_too_short_or_too_long_are_refused_with_both_sizes(tmp_path, scans, cut, said):
    """inputs.md section 4: one byte short, one frame long."""
    path = scans.dynamic().write(tmp_path)
    data = path.with_suffix(".bin")
    content = data.read_bytes()
    data.write_bytes(content + b"\0" * cut if cut > 0 else content[:cut])
    with pytest.raises(CorruptInput, match=said) as caught:
        load(path)
    assert str(6 * 6 * 20 * 2) in caught.value.needed
    assert caught.value.exit_code == 4


def test_missing_signals_are_named(tmp_path, scans):
    path = scans.dynamic().write(tmp_path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(NothingUsable, match=r"\.bin"):
        load(path)


@pytest.mark.parametrize(
    "prologue",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        "<!DOCTYPE a>",
        '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>',
    ],
)
def test_a_document_type_is_refused_outright(tmp_path, scans, prologue):
    path = scans.dynamic(replacements=[("<DataModelMsotProject", prologue + "<DataModelMsotProject")]).write(
        tmp_path
    )
    for read in (load, it.load, it.load_all):
        with pytest.raises(CorruptInput, match="document type definition"):
            read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<a><b></a>",
        b"not xml",
        b"<a>\xff\xfe</a>",
        b"<a/><b/>",
        b"<a>" * 100 + b"</a>" * 100,
        b'<?xml version="1.0" encoding="nonsense"?><a/>',
    ],
)
def test_what_is_no_xml_is_corrupt(tmp_path, content):
    path = tmp_path / "a.msot"
    path.write_bytes(content)
    for read in (load, it.load):
        with pytest.raises(CorruptInput):
            read(path)


def test_the_list_beside_the_frames_does_not_count(tmp_path, scans):
    """The preset lists ten wavelengths where one was measured (msot.md 5.2)."""
    signals = load(scans.dynamic(wavelengths=(700.0,), listed=(700.0, 730.0, 760.0)).write(tmp_path))
    assert signals.wavelength_nm.tolist() == [700.0]
    assert "wavelength-list-differs" in codes(signals)


def test_a_scan_that_was_broken_off_is_refused(tmp_path, scans):
    scan = scans.dynamic(wavelengths=(700.0, 800.0), frames=2)
    scan.frames.pop()
    with pytest.raises(CorruptInput, match="equally often") as caught:
        load(scan.write(tmp_path))
    assert "700 nm 2, 800 nm 1" in caught.value.found


def test_the_last_repetition_of_a_broken_scan_may_be_left_out(tmp_path, scans):
    scan = scans.dynamic(wavelengths=(800.0, 700.0, 760.0), frames=3)
    stored = scan.samples()
    scan.frames.pop()
    path = scan.write(tmp_path)
    signals = load(path, drop_incomplete=True)
    assert signals.shape[:2] == (2, 3)
    assert_array_equal(signals.samples[1, 0], stored[4])
    assert "incomplete-frame-dropped" in codes(signals)
    whole = load(scans.dynamic().write(tmp_path / "whole"), drop_incomplete=True)
    assert "incomplete-frame-dropped" not in codes(whole)


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ('<TEMPERATURE unit="C"', '<TEMPERATURE unit="F"', "temperature_cel"),
        ('<LASER-ENERGY unit="J" unit-modifier="m">', "<LASER-ENERGY>", "laser_energy_mj"),
        ('<PATH-LENGTH-IN-WATER unit="m"', '<PATH-LENGTH-IN-WATER unit="ft"', "couplant_path_mm"),
    ],
)
def test_what_a_scan_can_do_without_is_not_used_in_an_unknown_unit(tmp_path, scans, before, after, field):
    signals = load(scans.dynamic(replacements=[(before, after)]).write(tmp_path))
    assert getattr(signals, field) is None
    assert "unit-unknown" in codes(signals)
    assert signals.shape == (2, 3, 6, 20)


def test_newer_files_hold_the_impulse_response_themselves(tmp_path, scans):
    response = np.linspace(-1, 1, scans.SAMPLES)
    text = base64.b64encode(response.astype("<f8").tobytes()).decode()
    more = (
        f"<Preset><ImpulseResponse>true</ImpulseResponse></Preset><ImpulseResponse>{text}</ImpulseResponse>"
    )
    path = scans.dynamic(more=more).write(tmp_path)
    assert load(path).impulse_response[0] == 1000.0, "that of the file beside it counts"
    path.with_suffix(".irf").unlink()
    assert_array_equal(load(path).impulse_response, response)


@pytest.mark.parametrize(("modifier", "value"), [("u", "0.8"), ("none", "8e-7"), ("n", "800")])
def test_wavelengths_have_the_prefix_that_is_stated(tmp_path, scans, modifier, value):
    before = '<WAVELENGTH unit="m" unit-modifier="n">800</WAVELENGTH>'
    after = f'<WAVELENGTH unit="m" unit-modifier="{modifier}">{value}</WAVELENGTH>'
    signals = load(scans.dynamic(replacements=[(before, after)]).write(tmp_path))
    assert_allclose(signals.wavelength_nm, [700, 760, 800])


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ('unit="m" unit-modifier="n">800', 'unit="m" unit-modifier="none">800', UnitMismatch),
        ('unit="m" unit-modifier="n">800', 'unit="ft" unit-modifier="n">800', UnitMismatch),
        ('unit="m" unit-modifier="n">800', 'unit="m" unit-modifier="q">800', UnitMismatch),
        ('unit="m" unit-modifier="n">800', 'unit-modifier="n">800', MissingMetadata),
        ('unit="m" unit-modifier="n">800', 'unit="m" unit-modifier="n">', CorruptInput),
        ('unit="m" unit-modifier="n">800', 'unit="m" unit-modifier="n">nan', CorruptInput),
        ("<RECORDED-LENGTH>20</RECORDED-LENGTH>", "", MissingMetadata),
        ("<RECORDED-LENGTH>20<", "<RECORDED-LENGTH>-20<", CorruptInput),
        ("<RECORDED-LENGTH>20<", "<RECORDED-LENGTH>2.5<", CorruptInput),
        ("<RECORDED-LENGTH>20<", "<RECORDED-LENGTH>99999999999999<", CorruptInput),
        ("<RECORDED-LENGTH>20<", "<RECORDED-LENGTH>0<", CorruptInput),
        ("<IDOffset>1</IDOffset>", "<IDOffset>0</IDOffset>", CorruptInput),
        ("<IDOffset>1</IDOffset>", "<IDOffset>9</IDOffset>", CorruptInput),
        ('<VALUE axis-ref="3">1.5</VALUE>', "", CorruptInput),
        ("<DataModelMsotProject", "<Other", CorruptInput),
    ],
)
def test_what_the_description_cannot_mean_is_refused(tmp_path, scans, before, after, kind):
    replacements = [(before, after)]
    if after == "<Other":
        replacements.append(("</DataModelMsotProject", "</Other"))
    with pytest.raises(kind) as caught:
        load(scans.dynamic(replacements=replacements).write(tmp_path))
    assert "Canary" not in str(caught.value)


def test_response_must_have_one_value_per_sample(tmp_path, scans):
    path = scans.dynamic().write(tmp_path)
    response = path.with_suffix(".irf")
    response.write_bytes(response.read_bytes()[:-8])
    with pytest.raises(CorruptInput, match="impulse response"):
        load(path)
    np.full(scans.SAMPLES, np.nan).tofile(response)
    with pytest.raises(CorruptInput, match="finite"):
        load(path)
    response.unlink()
    assert load(path).impulse_response is None


def test_energies_are_divided_out_once_and_never_where_the_scanner_did(tmp_path, scans):
    path = scans.dynamic().write(tmp_path)
    signals = load(path)
    again = signals.energy_normalised()
    assert signals.energy_corrected
    assert_array_equal(again.samples, signals.samples)
    assert again.history[-1].parameters["divided_by"] == "scanner"
    plain = load(scans.dynamic(normalisation='LEnergy-normalization="None"').write(tmp_path / "b"))
    divided = plain.energy_normalised()
    assert_allclose(divided.samples, plain.samples / plain.laser_energy_mj[..., None, None], rtol=1e-6)
    assert divided.energy_corrected
    assert divided.history[-1].parameters["divided_by"] == "imgtheranostics"
    assert divided.energy_normalised() is divided


@pytest.mark.parametrize("word", ["", 'LEnergy-normalization="PerMoon"'])
def test_an_unknown_normalisation_is_told_and_not_guessed(tmp_path, scans, word):
    signals = load(scans.dynamic(normalisation=word).write(tmp_path))
    assert signals.energy_corrected is None
    assert "energy-normalisation-unknown" in codes(signals)
    with pytest.raises(MissingMetadata, match="divided"):
        signals.energy_normalised()
    stated = signals.replace(energy_corrected=False).energy_normalised()
    assert_allclose(stated.samples[0, 0], signals.samples[0, 0] / 50.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("modifier", "value", "millimetres"), [("c", "3.0", 30.0), ("m", "30", 30.0), ("c", "9e9", None)]
)
def test_couplant_path_is_checked_for_sense(tmp_path, scans, modifier, value, millimetres):
    before = '<PATH-LENGTH-IN-WATER unit="m" unit-modifier="c">0.03<'
    after = f'<PATH-LENGTH-IN-WATER unit="m" unit-modifier="{modifier}">{value}<'
    signals = load(scans.dynamic(replacements=[(before, after)]).write(tmp_path))
    assert signals.couplant_path_mm == millimetres
    assert ("couplant-path-unit" in codes(signals)) == (millimetres is None)


def test_delay_before_the_first_sample_is_counted_and_told(tmp_path, scans):
    edit = [("<DAQTriggerDelay>0<", "<DAQTriggerDelay>25<")]
    signals = load(scans.dynamic(replacements=edit).write(tmp_path))
    assert signals.first_sample_s == pytest.approx(5e-6)
    assert "trigger-delay-unit" in codes(signals)


def test_wavelengths_of_one_frame_must_be_taken_at_one_place(tmp_path, scans):
    frames = [(700.0, 1.0, 0.0, 50.0), (800.0, 2.0, 1.0, 50.0)]
    with pytest.raises(GeometryMismatch, match="different places"):
        load(scans.Scan(frames).write(tmp_path))


def test_wavelengths_are_chosen_by_value_or_listed(tmp_path, scans):
    signals = load(scans.dynamic().write(tmp_path))
    some = signals.of_wavelengths([800.2, 700])
    assert some.wavelength_nm.tolist() == [700.0, 800.0]
    assert_array_equal(some.samples, signals.samples[:, [0, 2]])
    with pytest.raises(UnsupportedInput, match="700, 760, 800 nm") as caught:
        signals.of_wavelengths([730])
    assert "760 nm" in caught.value.next_step or "700 nm" in caught.value.next_step


def test_folder_with_two_scans_asks(tmp_path, scans):
    scans.dynamic().write(tmp_path, "a")
    scans.dynamic().write(tmp_path, "b")
    with pytest.raises(NothingUsable, match="several"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["missing", "folder", "file.txt"])
def test_what_holds_no_signals_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("nothing")
    with pytest.raises(UnsupportedInput):
        load(tmp_path / name)


def test_wavelengths_cannot_be_given_for_frames_that_have_their_own(tmp_path, scans):
    with pytest.raises(UnsupportedInput, match="own wavelengths"):
        load(scans.dynamic().write(tmp_path), wavelength_nm=[700, 800, 900])


def test_memory_budget_is_asked_before_reading(tmp_path, scans, monkeypatch):
    path = scans.dynamic().write(tmp_path)
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", "1e-6")
    with pytest.raises(UnsupportedInput, match="memory"):
        load(path)


def test_nothing_that_identifies_is_in_any_text(tmp_path, scans):
    signals = load(scans.dynamic().write(tmp_path))
    text = repr(signals) + repr(signals.warnings) + repr(signals.history) + repr(signals.subject)
    for word in ("CANARY", "Canary", "00:11", "637371523"):
        assert word not in text


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1039360\n"


@pytest.mark.parametrize(
    "name", ["Scan_1.msot", "Scan_1.bin", "RECONs/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0.bin", "a.hdf5"]
)
def test_a_pointer_of_git_lfs_is_named_as_one(tmp_path, scans, name):
    scans.dynamic(nodes=scans.node(6) if "RECON" in name else "").write(tmp_path)
    scans.write_images(tmp_path, 6)
    (tmp_path / name).write_bytes(LFS)
    path = tmp_path / (name if name.startswith("a") else "Scan_1.msot")
    with pytest.raises(CorruptInput, match="LFS"):
        (it.load if "RECON" in name else load)(path)
