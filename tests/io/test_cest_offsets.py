"""Offsets from text, tables, JSON of other tools and sequences, and images placed by them.

The rules are those of the sheet on CEST, section 5: the count is that of the volumes, ppm unless numbers
beyond 60 that are no reference say Hz, references by index, else null or at least 100 ppm, sign downfield.
"""

from __future__ import annotations

import json
import random
import time

import numpy as np
import pytest

from imgtheranostics.acquisition import CtAcquisition, MrAcquisition
from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    ImgTheranosticsError,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.io.cest_offsets import read_offsets, with_offsets
from imgtheranostics.volume import Axis, Volume

OFFSETS = [-300.0, -4.0, -3.5, -2.0, -0.5, 0.0, 0.5, 2.0, 3.5, 4.0]
MHZ = 127.7292


def z_of(offsets, width=1.4):
    """A water line of depth 0.9 with an amide dip of 0.1 at +3.5 ppm; 1 without saturation."""
    values = np.array([np.nan if v is None else float(v) for v in offsets])
    far = ~np.isfinite(values) | (np.abs(values) >= 100)
    line = 0.9 * (width / 2) ** 2 / ((width / 2) ** 2 + np.nan_to_num(values) ** 2)
    amide = 0.1 * np.exp(-((np.nan_to_num(values) - 3.5) ** 2) / 0.1)
    return np.where(far, 1.0, 1.0 - line - amide)


def volume_of(offsets, acquisition=None, order=None):
    z = z_of(offsets)
    z = z if order is None else z[order]
    data = 1000.0 * np.broadcast_to(z, (4, 3, 2, len(z)))
    axes = (Axis("component", np.arange(len(z), dtype=float), "1"),)
    record = MrAcquisition(imaging_frequency_mhz=MHZ) if acquisition is None else acquisition
    return Volume(data, np.eye(4), "signal", "[arb'U]", axes, acquisition=record)


def write(tmp_path, text, name="offsets.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def codes(volume):
    return [one.code for one in volume.warnings]


def placed(tmp_path, text, name="offsets.txt", **options):
    return with_offsets(volume_of(OFFSETS), write(tmp_path, text, name), **options)


def values(volume):
    return volume.axis("saturation_offset").values


EXPECTED = [np.nan, *OFFSETS[1:]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "\n".join(f"{v:g}" for v in OFFSETS)),
        ("b.txt", "# offsets in ppm\n" + "\n".join(f"{v:g}" for v in OFFSETS) + "\n\n"),
        ("c.txt", "Offsets in ppm\n" + "\n".join(f"{v:g}" for v in OFFSETS)),
        ("d.txt", " ".join(f"{v:g}" for v in OFFSETS)),
        ("e.txt", "[" + ", ".join(f"{v:g}" for v in OFFSETS) + "]\n"),
        ("f.csv", "volume,offset_ppm\n" + "\n".join(f"{n},{v:g}" for n, v in enumerate(OFFSETS))),
        ("g.tsv", "volume\tOffset [ppm]\n" + "\n".join(f"{n}\t{v:g}" for n, v in enumerate(OFFSETS))),
        ("h.csv", "offset_ppm;n\n" + "\n".join(f"{v:g};1".replace(".", ",") for v in OFFSETS)),
        ("i.txt", "M0\n" + "\n".join(f"{v:g} % ppm" for v in OFFSETS[1:])),
        ("j.txt", "\n".join(f"{v:g}".replace("-", "\N{MINUS SIGN}") for v in OFFSETS)),
        ("k.csv", "offset_hz,offset_ppm\n" + "\n".join(f"{v * MHZ:g},{v:g}" for v in OFFSETS)),
    ],
)
def test_text_in_its_usual_forms(tmp_path, name, text):
    volume = placed(tmp_path, text, name)
    np.testing.assert_allclose(values(volume), EXPECTED)
    assert volume.axes[0].unit == "ppm"
    record = volume.acquisition.saturation
    assert record["m0_index"] == (0,)
    assert (record["recorded_unit"], record["sign"]) == ("ppm", "downfield_positive")
    assert record["offsets_source"] == "text"
    assert volume.warnings == ()


def test_hertz_need_frequency_and_sign(tmp_path):
    text = "# Hz\n" + "\n".join(f"{v * MHZ:.6f}" for v in OFFSETS)
    with pytest.raises(MissingMetadata, match="sign"):
        placed(tmp_path, text)
    volume = placed(tmp_path, text, sign="downfield_positive")
    np.testing.assert_allclose(values(volume), EXPECTED, atol=1e-6)
    assert volume.acquisition.saturation["recorded_unit"] == "Hz"
    assert volume.acquisition.saturation["recorded_offsets"][1] == pytest.approx(-4 * MHZ)
    bare = volume_of(OFFSETS, MrAcquisition())
    with pytest.raises(MissingMetadata, match="imaging frequency"):
        with_offsets(bare, write(tmp_path, text), sign="downfield_positive")
    again = with_offsets(
        bare,
        write(tmp_path, text),
        sign="downfield_positive",
        imaging_frequency_mhz=2 * MHZ,
        verify_order=False,
    )
    np.testing.assert_allclose(values(again)[1:], np.array(OFFSETS[1:]) / 2, atol=1e-6)


def test_upfield_positive_lists_are_turned_round(tmp_path):
    """The swap of the sign flips MTRasym: the amide dip stays at +3.5 ppm."""
    volume = placed(tmp_path, "\n".join(f"{-v:g}" for v in OFFSETS), sign="upfield_positive")
    np.testing.assert_allclose(values(volume), EXPECTED)
    at = {v: float(volume.data[0, 0, 0, n]) for n, v in enumerate(values(volume))}
    assert at[-3.5] - at[3.5] == pytest.approx(100.0, rel=1e-3)
    assert any(step.name == "reverse_offset_sign" for step in volume.history)
    stated = "# upfield positive, ppm\n" + "\n".join(f"{-v:g}" for v in OFFSETS)
    np.testing.assert_allclose(values(placed(tmp_path, stated)), EXPECTED)
    with pytest.raises(UnitMismatch, match="sign"):
        placed(tmp_path, stated, sign="left")


def test_hertz_without_a_unit_are_guessed_only_where_the_frequency_makes_sense_of_them(tmp_path):
    text = "\n".join(f"{v * MHZ:.6f}" for v in OFFSETS)
    volume = placed(tmp_path, text, sign="downfield_positive")
    np.testing.assert_allclose(values(volume), EXPECTED, atol=1e-6)
    assert codes(volume) == ["offset-unit-guessed"]
    assert volume.acquisition.saturation["unit_guessed"] is True
    with pytest.raises(ImplausibleValue, match="Hz"):
        with_offsets(volume_of(OFFSETS, MrAcquisition()), write(tmp_path, text))
    with pytest.raises(ImplausibleValue, match="Hz"):
        placed(tmp_path, text, imaging_frequency_mhz=12.0)
    with pytest.raises(ImplausibleValue, match="Hz"):
        placed(tmp_path, text, unit="ppm")


def test_one_reference_at_80_ppm_of_a_list_without_unit_is_ambiguous_unless_it_is_named(tmp_path):
    text = "\n".join(f"{v:g}" for v in [80.0, *OFFSETS[1:]])
    with pytest.raises(ImplausibleValue):
        placed(tmp_path, text)
    assert placed(tmp_path, text, m0_index=0).acquisition.saturation["m0_index"] == (0,)
    volume = placed(tmp_path, text, unit="ppm")
    assert codes(volume) == ["reference-unknown"]
    assert values(volume)[0] == 80.0


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("# ppm or Hz\n" + "\n".join(map(str, OFFSETS)), UnitMismatch, "several units"),
        ("# rad/s\n" + "\n".join(map(str, OFFSETS)), UnitMismatch, "rad/s"),
        ("\n".join(f"{n} {v}" for n, v in enumerate(OFFSETS)), MissingMetadata, "2 columns"),
        ("\n".join(["-3,5", "3,5"] * 5), MissingMetadata, "decimal comma"),
        ("a,b\n" + "\n".join("1,2" for _ in OFFSETS), MissingMetadata, "header"),
        ("\n".join(map(str, OFFSETS[:-1])), CorruptInput, "9 entries, 10 volumes"),
        ("\n".join(map(str, [*OFFSETS, 5])), CorruptInput, "11 entries, 10 volumes"),
        ("\n".join(map(str, OFFSETS[:-1])) + "\nfour", CorruptInput, "line 10"),
        ("1 2 3\n1 2", CorruptInput, "line 2"),
        ("# nothing\n\n", CorruptInput, "no offsets"),
        ("", CorruptInput, "empty"),
        ("\n".join(str(-1000 * v) for v in range(1, 11)), ImplausibleValue, "Hz"),
    ],
)
def test_what_is_ambiguous_or_damaged_is_refused(tmp_path, text, error, message):
    with pytest.raises(error, match=message):
        placed(tmp_path, text)


def test_unsaturated_volumes_that_the_list_leaves_out_are_named(tmp_path):
    text = "\n".join(map(str, OFFSETS[1:]))
    with pytest.raises(CorruptInput, match="m0_index"):
        placed(tmp_path, text)
    volume = placed(tmp_path, text, m0_index=[0])
    np.testing.assert_allclose(values(volume), EXPECTED)
    assert volume.acquisition.saturation["m0_rule"] == "given"


def test_several_and_interleaved_references(tmp_path):
    listed = [None, -3.5, -1.0, None, 0.0, 1.0, 3.5, None]
    volume = with_offsets(volume_of(listed), listed)
    assert volume.acquisition.saturation["m0_index"] == (0, 3, 7)
    assert volume.acquisition.saturation["m0_rule"] == "null_or_far_offset"
    last = with_offsets(volume_of(listed), [v for v in listed if v is not None], m0_index=[0, 3, -1])
    assert last.acquisition.saturation["m0_index"] == (0, 3, 7)


def test_index_wins_over_far_offsets():
    listed = [-300.0, -150.0, *OFFSETS[2:]]
    volume = with_offsets(volume_of(listed), listed, m0_index=0)
    assert volume.acquisition.saturation["m0_index"] == (0,)
    assert values(volume)[1] == -150.0


def test_guess_of_the_first_image_is_recorded():
    listed = [5.0, *OFFSETS[1:]]
    volume = with_offsets(volume_of([None, *OFFSETS[1:]]), listed, m0_index="first")
    assert volume.acquisition.saturation["m0_rule"] == "first_image"
    assert codes(volume) == ["reference-guessed"]
    assert np.isnan(values(volume)[0])


@pytest.mark.parametrize("index", [10, -11, [0.5], "last"])
def test_wrong_index_is_a_usage_error(index):
    with pytest.raises(ValueError, match="m0_index"):
        with_offsets(volume_of(OFFSETS), OFFSETS, m0_index=index)


def test_duplicates_and_any_order_stay_as_they_are():
    listed = [-300.0, 3.5, -3.5, 3.5, 0.0, -3.5, 1.0]
    np.testing.assert_array_equal(values(with_offsets(volume_of(listed), listed))[1:], listed[1:])


def test_quit_input_is_read(tmp_path):
    content = {"MTSat": {"TR": 0.055, "sat_f0": OFFSETS, "pulse": {"name": "Gauss"}}}
    offsets = read_offsets(write(tmp_path, json.dumps(content), "a.json"))
    assert offsets.values == tuple(OFFSETS)
    assert offsets.source == "quit"
    freqs = {"input_freqs": OFFSETS, "output_freqs": [3.5]}
    volume = with_offsets(volume_of(OFFSETS), write(tmp_path, json.dumps(freqs), "b.json"))
    np.testing.assert_allclose(values(volume), EXPECTED)
    both = {"sat_f0": OFFSETS, "input_freqs": OFFSETS[::-1]}
    with pytest.raises(MissingMetadata, match="differ"):
        read_offsets(write(tmp_path, json.dumps(both), "c.json"))
    with pytest.raises(MissingMetadata, match="no offsets"):
        read_offsets(write(tmp_path, '{"TR": 1}', "d.json"))
    with pytest.raises(CorruptInput):
        read_offsets(write(tmp_path, '{"sat_f0": ["a"]}', "e.json"))


def test_json_with_the_keys_of_the_sidecar_brings_pulses_and_references(tmp_path):
    content = {
        "SaturationOffsets": [40.0, *OFFSETS[1:]],
        "SaturationOffsetUnit": "ppm",
        "M0Index": [0],
        "SaturationB1cwpe": 2.0,
        "SaturationDutyCycle": 0.9,
    }
    volume = with_offsets(volume_of(OFFSETS), write(tmp_path, json.dumps(content), "a.json"))
    record = volume.acquisition.saturation
    assert (record["b1_cwpe_ut"], record["duty_cycle"], record["m0_index"]) == (2.0, 0.9, (0,))
    listed = with_offsets(volume_of(OFFSETS), write(tmp_path, json.dumps(OFFSETS), "b.json"))
    np.testing.assert_allclose(values(listed), EXPECTED)


def test_fabber_specification_has_b1_in_tesla_of_unknown_definition(tmp_path):
    rows = "\n".join(f"{v:g} {0 if n == 0 else 0.55e-6:g} 1" for n, v in enumerate(OFFSETS))
    volume = placed(tmp_path, rows, "a.dataspec")
    np.testing.assert_allclose(values(volume), EXPECTED)
    record = volume.acquisition.saturation
    assert record["offsets_source"] == "fabber"
    assert record["unspecified_b1_ut"][1] == pytest.approx(0.55)
    assert record["pulse_count"] == 1.0
    assert not any(key.startswith("b1_") for key in record)
    assert "b1-kind-unknown" in codes(volume)


def test_columns_of_b1_make_a_grid_of_offsets_and_b1(tmp_path):
    """Three B1 of the same offsets, as multi-B1 correction needs them."""
    listed = OFFSETS * 3
    powers = np.repeat([0.6, 1.2, 2.4], len(OFFSETS))
    text = "offset_ppm,B1rms_uT\n" + "\n".join(f"{v:g},{b:g}" for v, b in zip(listed, powers, strict=True))
    volume = with_offsets(volume_of(listed), write(tmp_path, text, "grid.csv"))
    assert [(axis.name, len(axis), axis.unit) for axis in volume.axes] == [
        ("saturation_offset", 10, "ppm"),
        ("saturation_b1", 3, "uT"),
    ]
    np.testing.assert_allclose(values(volume), EXPECTED)
    np.testing.assert_allclose(volume.axes[1].values, [0.6, 1.2, 2.4])
    np.testing.assert_allclose(volume.data[0, 0, 0, :, 2], 1000 * z_of(OFFSETS), rtol=1e-6)
    assert volume.acquisition.saturation["m0_index"] == (0,)
    assert volume.acquisition.saturation["b1_rms_ut"] == (0.6, 1.2, 2.4)


def test_b1_of_a_table_follows_volumes_that_it_leaves_out(tmp_path):
    rows = "\n".join(f"{v:g},2.5" for v in OFFSETS[1:])
    volume = placed(tmp_path, f"offset_ppm,b1_cwpe_ut\n{rows}", "a.csv", m0_index=0)
    assert volume.acquisition.saturation["b1_cwpe_ut"] == (0.0, *[2.5] * 9)
    assert [axis.name for axis in volume.axes] == ["saturation_offset"]


def test_b1_with_another_number_of_entries_is_refused(tmp_path):
    content = {"SaturationOffsets": OFFSETS, "SaturationB1rms": [1, 2, 3]}
    with pytest.raises(CorruptInput, match="3 entries, 10 volumes"):
        with_offsets(volume_of(OFFSETS), write(tmp_path, json.dumps(content), "a.json"))


SEQUENCE = """[VERSION]
major 1
minor 3
revision 1
[DEFINITIONS]
B1pa 1.78
B1rms 1.99620497
DCsat 0.909090909
FREQ 127.7292
M0_offset -300
Trec 3.5
Tsat 1.975
n_pulses 36
offsets_ppm {offsets}
td 0.005
tp 0.05
{more}
[BLOCKS]
{blocks}
[ADC]
1 1 1000000 0 0 0
"""


def sequence(tmp_path, offsets, n_readouts, more="", name="a.seq"):
    blocks = "\n".join(f"{n + 1} 0 0 0 0 0 1 0" for n in range(n_readouts))
    text = SEQUENCE.format(offsets=" ".join(f"{v:g}" for v in offsets), blocks=blocks, more=more)
    return write(tmp_path, text, name)


def test_sequence_brings_offsets_and_pulses(tmp_path):
    """Definitions as the public library of CEST sequences writes them; its B1rms is over the train."""
    volume = with_offsets(volume_of(OFFSETS, MrAcquisition()), sequence(tmp_path, OFFSETS, 10))
    np.testing.assert_allclose(values(volume), EXPECTED)
    record = volume.acquisition.saturation
    assert record["b1_cwpe_ut"] == pytest.approx(1.99620497)
    assert record["b1_mean_ut"] == 1.78
    assert (record["pulse_duration_s"], record["pulse_interval_s"], record["pulse_count"]) == (
        0.05,
        0.005,
        36,
    )
    assert (record["duration_s"], record["recovery_time_s"]) == (1.975, 3.5)
    assert volume.acquisition.imaging_frequency_mhz == 127.7292
    assert volume.warnings == ()


def test_reference_scan_of_a_sequence_comes_first(tmp_path):
    path = sequence(tmp_path, OFFSETS[1:], 10, "run_m0_scan True")
    np.testing.assert_allclose(values(with_offsets(volume_of(OFFSETS), path)), EXPECTED)
    near = sequence(tmp_path, [40, *OFFSETS[1:]], 10, name="b.seq")
    near.write_text(near.read_text().replace("M0_offset -300", "M0_offset 40"))
    assert with_offsets(volume_of(OFFSETS), near).acquisition.saturation["m0_index"] == (0,)
    odd = read_offsets(sequence(tmp_path, OFFSETS, 12, name="c.seq"))
    assert [one.code for one in odd.cautions] == ["sequence-offsets-differ"]
    none = write(tmp_path, SEQUENCE.format(offsets="", blocks="1 0 0 0 0 0 1 0", more=""), "d.seq")
    with pytest.raises(ImgTheranosticsError, match="offsets_ppm"):
        read_offsets(none)


def test_image_contradicts_a_list_in_another_order():
    """Four volumes too late, as a sort by file name may give: the reference is dark, water elsewhere."""
    by_name = np.roll(np.arange(10), 4)
    with pytest.raises(ImplausibleValue, match="order"):
        with_offsets(volume_of(OFFSETS, order=by_name), OFFSETS)
    volume = with_offsets(volume_of(OFFSETS, order=by_name), OFFSETS, verify_order=False)
    np.testing.assert_allclose(values(volume), EXPECTED)


def test_one_contradiction_is_a_caution():
    listed = [None, *OFFSETS[1:]]
    swapped = [0, 1, 5, 3, 4, 2, 6, 7, 8, 9]
    volume = with_offsets(volume_of(listed, order=swapped), listed)
    assert codes(volume) == ["offset-order-doubtful"]
    shifted = with_offsets(volume_of([-0.5, *OFFSETS[1:]]), [None, *OFFSETS[1:]])
    assert codes(shifted) == ["offset-order-doubtful"]
    assert "unsaturated" in shifted.warnings[0].message


@pytest.mark.parametrize("shift", [-0.5, 0.3, 1.0])
def test_field_offsets_do_not_look_like_a_wrong_order(shift):
    data = volume_of([v if abs(v) > 50 else v - shift for v in OFFSETS])
    assert with_offsets(data, OFFSETS).warnings == ()


def test_offsets_that_stand_in_the_image_are_replaced_with_a_word():
    first = with_offsets(volume_of(OFFSETS), OFFSETS)
    assert with_offsets(first, OFFSETS).warnings == ()
    other = [v if abs(v) > 50 else v + 0.1 for v in OFFSETS]
    again = with_offsets(first, other)
    assert codes(again) == ["offsets-replaced"]
    np.testing.assert_allclose(values(again)[1:], other[1:])


def test_images_without_room_or_of_another_kind_are_refused(tmp_path):
    volume = volume_of(OFFSETS)
    with pytest.raises(GeometryMismatch):
        with_offsets(volume.frame(0), OFFSETS)
    with pytest.raises(MissingMetadata, match="magnetic"):
        with_offsets(volume.replace(acquisition=CtAcquisition()), OFFSETS)
    with pytest.raises(NothingUsable):
        read_offsets(tmp_path / "absent.txt")
    assert with_offsets(volume.replace(acquisition=None), OFFSETS).acquisition.saturation["m0_index"] == (0,)


def test_large_and_binary_files_are_refused(tmp_path):
    path = tmp_path / "big.txt"
    path.write_bytes(b"1\n" * 3_000_000)
    with pytest.raises(UnsupportedInput, match="too large"):
        read_offsets(path)
    path.write_bytes(b"1\n" * 200_000)
    with pytest.raises(UnsupportedInput, match="too long"):
        read_offsets(path)
    path.write_bytes(b"\0\1\2" * 20)
    with pytest.raises(CorruptInput, match="not text"):
        read_offsets(path)


def test_mutants_are_read_or_refused_by_name(tmp_path):
    """500 files with changed, cut or doubled pieces; never another exception, and fast."""
    rng = random.Random(11)
    texts = [
        "\n".join(map(str, OFFSETS)),
        "volume,offset_ppm,B1rms_uT\n" + "\n".join(f"{n},{v},2.0" for n, v in enumerate(OFFSETS)),
        "\n".join(f"{v} 5.5e-07 1" for v in OFFSETS),
        json.dumps({"SaturationOffsets": OFFSETS, "SaturationOffsetUnit": "ppm", "M0Index": [0]}),
        json.dumps({"MTSat": {"sat_f0": OFFSETS}}),
    ]
    start = time.process_time()
    n_refused = 0
    volume = volume_of(OFFSETS)
    for _ in range(500):
        source = rng.choice(texts)
        text = list(source)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            kind = rng.randrange(3)
            if kind == 0:
                text[at] = rng.choice('0123456789-+.e,;:\t #%[]{}"nMé')
            elif kind == 1:
                del text[at : at + rng.randint(1, 12)]
            else:
                text[at:at] = text[at : at + rng.randint(1, 20)]
        name = "a.json" if source.startswith("{") else "a.csv"
        try:
            result = with_offsets(volume, write(tmp_path, "".join(text), name), verify_order=False)
        except ImgTheranosticsError:
            n_refused += 1
        else:
            assert result.shape[3:] == (10,)
            assert not np.isinf(values(result)).any()
    assert n_refused > 100
    assert time.process_time() - start < 20
