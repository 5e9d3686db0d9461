"""Files as an archive knows them: whole, with their three UIDs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from imgtheranostics.errors import ImgTheranosticsError
from imgtheranostics.io.dicomweb.objects import read_object

FILES = ["CT_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "rtplan.dcm", "MR_small_bigendian.dcm"]
"""Native, one fragment, RLE, without pixels, big endian: test files of pydicom."""


@pytest.mark.parametrize("name", FILES)
def test_whole_files_of_every_kind_are_taken(name, tmp_path):
    import pydicom

    path = tmp_path / name
    path.write_bytes(Path(get_testdata_file(name)).read_bytes())
    found, other = read_object(path), pydicom.dcmread(path)
    assert (found.uid, found.series, found.study) == (
        other.SOPInstanceUID,
        other.SeriesInstanceUID,
        other.StudyInstanceUID,
    )
    assert found.n_bytes == path.stat().st_size


@pytest.mark.parametrize("name", FILES[:3])
@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.95, 0.999])
def test_a_file_cut_in_its_pixels_is_refused(name, fraction, tmp_path):
    whole = Path(get_testdata_file(name)).read_bytes()
    path = tmp_path / name
    start = whole.rindex(b"\xe0\x7f\x10\x00") + 12
    # two of them end in padding (FFFC,FFFC), behind the pixels
    end = whole.rindex(b"\xfc\xff\xfc\xff") if name != "JPEG2000.dcm" else len(whole)
    path.write_bytes(whole[: start + int(fraction * (end - start))])
    with pytest.raises(ImgTheranosticsError, match=r"truncated|damaged|end"):
        read_object(path)
