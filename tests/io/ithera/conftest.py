"""A small scan in the form that iThera scanners write, for every kind of edit.

Element names, units and prefixes are those of the public scan (msot.md section 5.2); the values are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

GUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
TICKS = 637371523560823431
DETECTORS, SAMPLES = 6, 20


@dataclass
class Scan:
    """What one scan is made of; `frames` are (wavelength, stage in mm, seconds, energy in mJ)."""

    frames: list[tuple[float, float, float, float]]
    listed: tuple[float, ...] = ()
    normalisation: str = 'LEnergy-normalization="PerPulse"'
    nodes: str = ""
    more: str = ""
    replacements: list[tuple[str, str]] = field(default_factory=list)

    def text(self) -> str:
        angles = np.linspace(0.25 * np.pi, 1.75 * np.pi, DETECTORS)
        positions = "".join(
            f'<PROJECTION wavelength-ref="all" number="{n + 1}">'
            f'<VALUE axis-ref="1">{float(0.0405 * np.cos(angle))!r}</VALUE>'
            f'<VALUE axis-ref="2">{float(0.0405 * np.sin(angle))!r}</VALUE>'
            f'<VALUE axis-ref="3">1.5</VALUE></PROJECTION>'
            for n, angle in enumerate(angles)
        )
        wavelengths = self.listed or tuple(dict.fromkeys(frame[0] for frame in self.frames))
        listed = "".join(
            f'<WAVELENGTH unit="m" unit-modifier="n" number="{n + 1}">{value:g}</WAVELENGTH>'
            for n, value in enumerate(wavelengths)
        )
        coefficients = "".join(
            f'<WATER-ABSORPTION-COEFFICIENT number="{n + 1}" coefficient="{0.5 + n}" />'
            for n in range(len(wavelengths))
        )
        frames = "".join(self._frame(n, frame) for n, frame in enumerate(self.frames))
        text = f"""<?xml version="1.0" encoding="utf-8"?>
<DataModelMsotProject xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <FolderName>Scan_1</FolderName><DataModelVersion>2.2</DataModelVersion>
  <Scientist>Canary Smith</Scientist><CustomerName>Canary University</CustomerName>
  <HARDWARE-DESC xmlns="Header_Schema">
    <SAMPLING-FREQUENCY unit="Hz" unit-modifier="M">40</SAMPLING-FREQUENCY>
    <FRAME-DESC>{positions}</FRAME-DESC>
    <DAQTriggerDelay>0</DAQTriggerDelay><DAQTriggerDelayStepSize>200</DAQTriggerDelayStepSize>
  </HARDWARE-DESC>
  <MEASUREMENT-DESC {self.normalisation} xmlns="Header_Schema">
    <RECORDED-LENGTH>{SAMPLES}</RECORDED-LENGTH>
    <PATH-LENGTH-IN-WATER unit="m" unit-modifier="c">0.03</PATH-LENGTH-IN-WATER>
    <WATER-ABSORPTION-COEFFICIENTS>{coefficients}</WATER-ABSORPTION-COEFFICIENTS>
    <WATER-ABSORPTION-CALCULATION-FILE>WaterAbsorptionVsWavelength_D2O.bin</WATER-ABSORPTION-CALCULATION-FILE>
    <WAVELENGTHS>{listed}</WAVELENGTHS>
    <COORDINATE-DEFINITION>
      <AXIS number="1" unit="m" unit-modifier="none">x</AXIS>
      <AXIS number="2" unit="m" unit-modifier="none">y</AXIS>
      <AXIS number="3" unit="m" unit-modifier="m">z</AXIS>
    </COORDINATE-DEFINITION>
  </MEASUREMENT-DESC>
  <ScanNode>
    <Name>Canary animal 7</Name><Comment>Canary comment</Comment>
    <TrimSpeedOfSound>43</TrimSpeedOfSound>
    <DeviceSN>CANARY-1-14</DeviceSN><TransducerSN>CANARY-9967</TransducerSN><LaserSN>CANARYP1296</LaserSN>
    <DAQ_MACaddress>00:11:1C:01:7E:19 </DAQ_MACaddress><SW_Version>3.8.1.08</SW_Version>
    <ScanFrames>{frames}</ScanFrames>
    <AnimalLibType>Female Mouse</AnimalLibType>
  </ScanNode>
  <ReconNodes>{self.nodes}</ReconNodes>{self.more}
</DataModelMsotProject>
"""
        for before, after in self.replacements:
            assert before in text, before
            text = text.replace(before, after)
        return text

    def _frame(self, number: int, frame: tuple[float, float, float, float]) -> str:
        wavelength, stage, seconds, energy = frame
        return (
            f'<DataModelScanFrame><Frame timestamp="{TICKS + round(seconds * 1e7)}">'
            f'<Z-POS axis-ref="3">{stage!r}</Z-POS>'
            f'<TEMPERATURE unit="C" unit-modifier="none">{33 + 0.25 * number}</TEMPERATURE>'
            f'<WAVELENGTH unit="m" unit-modifier="n">{wavelength:g}</WAVELENGTH>'
            f'<LASER-ENERGY unit="J" unit-modifier="m">{energy!r}</LASER-ENERGY>'
            f"</Frame><IDOffset>{number}</IDOffset></DataModelScanFrame>"
        )

    def samples(self) -> np.ndarray:
        """Samples that say where they are: frame, detector and sample."""
        index = np.indices((len(self.frames), DETECTORS, SAMPLES))
        return (1000 + 3000 * index[0] + 100 * index[1] + index[2]).astype("<u2")

    def write(self, folder: Path, name: str = "Scan_1") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.msot"
        path.write_text(self.text(), encoding="utf-8")
        self.samples().tofile(folder / f"{name}.bin")
        response = np.zeros(SAMPLES)
        response[0] = 1000.0
        response.tofile(folder / f"{name}.irf")
        return path


def dynamic(wavelengths=(800.0, 700.0, 760.0), frames=2, **changes) -> Scan:
    """Wavelengths in turn, again and again, at one place."""
    listed = [
        (wavelength, 59.65, float(number * len(wavelengths) + n), 40.0 + 10 * n + number)
        for number in range(frames)
        for n, wavelength in enumerate(wavelengths)
    ]
    return Scan(listed, **changes)


def node(
    images: int, *, guid=GUID, side=4, size="<RoiLow>0.028</RoiLow><RoiHigh>0.053</RoiHigh>", made_of=None
):
    """A reconstruction of each scan frame, in the older form."""
    frames = "".join(
        "<DataModelReconstructionFrame><ScanFramesID>"
        + "".join(f"<int>{one}</int>" for one in (made_of[n] if made_of else [n]))
        + f"</ScanFramesID><IDOffset>{n}</IDOffset><ZOffset>0</ZOffset><HasErrors>false</HasErrors>"
        + "</DataModelReconstructionFrame>"
        for n in range(images)
    )
    return (
        f"<DataModelNewReconstructionNode><Name>Canary recon</Name><GUID>{guid}</GUID>"
        f"<Resolution>{side}</Resolution>{size}<ReconFrames>{frames}</ReconFrames>"
        "</DataModelNewReconstructionNode>"
    )


def write_images(folder: Path, images: int, *, guid=GUID, shape=(4, 4), dtype="<f8") -> np.ndarray:
    """Images of which each pixel says where it is; negative ones too."""
    values = np.arange(images * int(np.prod(shape)), dtype=dtype).reshape(images, *shape) - 5.0
    (folder / "RECONs").mkdir(parents=True, exist_ok=True)
    values.astype(dtype).tofile(folder / "RECONs" / f"{guid}.bin")
    return values


class Scans:
    """What the tests of this folder make."""

    Scan, dynamic, node, write_images = (
        Scan,
        staticmethod(dynamic),
        staticmethod(node),
        staticmethod(write_images),
    )
    GUID, DETECTORS, SAMPLES = GUID, DETECTORS, SAMPLES


@pytest.fixture
def scans():
    return Scans
