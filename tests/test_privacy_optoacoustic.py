"""Canaries in optoacoustic scans: site, people, serials, addresses and names of the public scan and of ours.

They stand in every text and attribute of the ``.msot`` description that is no number, unit or identifier, and
in every text, attribute and name of an HDF5 file that may be anything. Every verb that reads such files runs.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.cli.main import main
from imgtheranostics.errors import ImgTheranosticsError

CANARY = "ZqXcanary"
OF_THE_PUBLIC_SCAN = ("Cambridge", "1-14-02", "9967H103H104", "P1296", "00:11:1C", "201001_05", "Scientist")
MOMENTS = ("2020-10-01", "637371523", "20201001")
GUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
NUMBER = re.compile(r"^\s*[-+]?[\d.]+(e[-+]?\d+)?\s*$", re.IGNORECASE)
KEPT = {"GUID", "HasErrors", "AXIS", "DataModelVersion"}


def found_in(content: bytes, words=(CANARY, *OF_THE_PUBLIC_SCAN, *MOMENTS)) -> list[str]:
    lowered = content.lower()
    forms = {word: (word.lower().encode(), word.lower().encode("utf-16-le")) for word in words}
    return [word for word, looked_for in forms.items() if any(one in lowered for one in looked_for)]


def assert_clean(folder: Path) -> int:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        assert not found_in(path.read_bytes()), f"{path.name}: {found_in(path.read_bytes())}"
        assert CANARY not in path.name
    return len(files)


def planted(text: str) -> str:
    """The description with a canary in each text and attribute that is neither number nor unit."""
    root = ElementTree.fromstring(text)  # noqa: S314 - of the public scan
    for element in root.iter():
        name = element.tag.rpartition("}")[2]
        if element.text and element.text.strip() and not NUMBER.match(element.text) and name not in KEPT:
            element.text = f"{CANARY} {name}"
        for key, value in element.attrib.items():
            if key not in ("unit", "unit-modifier") and not NUMBER.match(value):
                element.set(key, CANARY)
        if name == "ScanNode":
            ElementTree.SubElement(element, "Comment").text = CANARY
    return ElementTree.tostring(root, encoding="unicode")


def node() -> str:
    return (
        f"<DataModelNewReconstructionNode><Name>{CANARY}</Name><Comment>{CANARY}</Comment><GUID>{GUID}</GUID>"
        "<Resolution>5</Resolution><RoiLow>0.028</RoiLow><RoiHigh>0.053</RoiHigh><ReconFrames>"
        "<DataModelReconstructionFrame><ScanFramesID><int>0</int></ScanFramesID><IDOffset>0</IDOffset>"
        "</DataModelReconstructionFrame></ReconFrames></DataModelNewReconstructionNode>"
    )


@pytest.fixture
def scans(public_data, tmp_path):
    """The public scan with a reconstruction: as it is, and with canaries everywhere."""
    source = public_data("msot/ithera_scan_9")
    text = (source / "Scan_9.msot").read_text(encoding="utf-8-sig")
    whole = text.replace("<ReconNodes />", f"<ReconNodes>{node()}</ReconNodes>")
    assert whole != text
    made = {}
    for name, content in (("public", whole.replace(CANARY, "recon")), ("planted", planted(whole))):
        folder = tmp_path / f"{CANARY}-{name}"
        (folder / "RECONs").mkdir(parents=True)
        (folder / "scan.msot").write_text(content, encoding="utf-8")
        for suffix in (".bin", ".irf", ".img"):
            shutil.copyfile(source / f"Scan_9{suffix}", folder / f"scan{suffix}")
        np.random.default_rng(1).normal(size=(5, 5)).tofile(folder / "RECONs" / f"{GUID}.bin")
        made[name] = folder
    return made


def hdf5(path: Path, *, images: bool) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs[CANARY] = file.attrs["name"] = file.attrs["comment"] = CANARY
        if images:
            data = file.create_dataset(
                f"recons/{CANARY}/{CANARY}", data=np.random.default_rng(2).normal(size=(1, 2, 1, 4, 5))
            )
            data.attrs["RECONSTRUCTION_FIELD_OF_VIEW_X"] = data.attrs["RECONSTRUCTION_FIELD_OF_VIEW_Y"] = 0.02
            data.attrs["RECONSTRUCTION_ALGORITHM"] = data.attrs[CANARY] = CANARY
            file["wavelengths"] = np.array([700.0, 800.0])
        else:
            file["binary_time_series_data"] = np.random.default_rng(3).normal(size=(3, 9, 2, 1))
            meta = file.create_group("meta_data")
            meta["acquisition_wavelengths"], meta["ad_sampling_rate"] = np.array([700.0, 800.0]), 4e7
            for name in ("uuid", "acoustic_coupling_agent", "encoding", "data_type", "scanning_method"):
                meta[name] = CANARY
            meta[f"regions_of_interest/{CANARY}"] = np.zeros((2, 3))
            file["meta_data_device/general/unique_identifier"] = CANARY
            for n in range(3):
                place = f"meta_data_device/detectors/detection_element_{n}"
                file[f"{place}/detector_position"] = np.array([0.001 * n, 0.04, 0.0])
                file[f"{place}/detector_geometry_type"] = CANARY
    return path


def run(arguments, capfd) -> tuple[int, bytes]:
    capfd.readouterr()
    code = main([str(word) for word in arguments])
    out, err = capfd.readouterr()
    return code, (out + err).encode()


@pytest.mark.parametrize("name", ["public", "planted"])
def test_info_and_convert_of_a_scan_show_nothing_of_people_and_devices(scans, tmp_path, capfd, name):
    for words in (["info"], ["info", "--json"]):
        code, printed = run([words[0], scans[name], *words[1:]], capfd)
        assert code == 0
        assert not found_in(printed)
    for target in ("image.nii.gz", "dicom"):
        out = tmp_path / f"out-{target}"
        out.mkdir()
        code, printed = run(["convert", scans[name], out / target, "--json"], capfd)
        assert code == 0, printed
        assert not found_in(printed)
        assert assert_clean(out) >= 1


@pytest.mark.parametrize("name", ["public", "planted"])
def test_signals_hold_nothing_of_people_and_devices(scans, name):
    signals = it.msot.load_signals(scans[name])
    texts = [repr(signals), str(signals.warnings), repr(signals.history), repr(signals.subject)]
    texts += [
        str(signals.manufacturer),
        str(signals.model),
        str(signals.software_version),
        str(signals.couplant),
    ]
    assert not found_in(" ".join(texts).encode())
    volume = it.load(scans[name])
    assert not found_in((repr(volume) + repr(volume.acquisition) + repr(volume.history)).encode())


def test_images_of_an_hdf5_file_leave_its_texts_behind(tmp_path, capfd):
    path = hdf5(tmp_path / "scan.hdf5", images=True)
    for words in (["info", path], ["info", path, "--json"]):
        code, printed = run(words, capfd)
        assert code == 0
        assert not found_in(printed)
    out = tmp_path / "out"
    out.mkdir()
    code, printed = run(["convert", path, out / "mouse_pa.nii.gz", "--json"], capfd)
    assert code == 0, printed
    assert not found_in(printed)
    assert assert_clean(out) == 2
    assert "Wavelengths" in json.loads((out / "mouse_pa.json").read_text())


def test_signals_of_an_hdf5_file_leave_its_texts_behind(tmp_path):
    signals = it.msot.load_signals(hdf5(tmp_path / "scan.hdf5", images=False))
    assert not found_in((repr(signals) + repr(signals.warnings) + repr(signals.history)).encode())
    assert signals.couplant is None


def test_refusals_quote_no_text_of_the_file(scans):
    """Each element in turn is gone or holds a canary: whatever is said does not repeat it."""
    path = scans["planted"] / "scan.msot"
    presets = re.compile(r"<(StudyPreset|OAMPreset)>.*?</\1>", re.DOTALL)
    good, count = presets.subn("", path.read_text(encoding="utf-8"))
    assert count, "presets, which nothing reads, would take most of the time"
    root = ElementTree.fromstring(good)  # noqa: S314 - made above
    names = sorted({element.tag.rpartition("}")[2] for element in root.iter()} - {"DataModelMsotProject"})
    refused = 0
    for name in names:
        damaged = re.sub(rf"(<(?:\w+:)?{re.escape(name)}\b[^>]*>)[^<]*<", rf"\1{CANARY}<", good)
        path.write_text(damaged, encoding="utf-8")
        for read in (it.msot.load_signals, it.load):
            try:
                read(path)
            except ImgTheranosticsError as error:
                refused += 1
                text = " ".join(error.parts().values()).replace(str(path), "").replace(str(path.parent), "")
                assert not found_in(text.encode()), f"{name}: {text}"
    assert refused > 20
