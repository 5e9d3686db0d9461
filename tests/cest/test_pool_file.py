"""Pool systems from YAML: the keys that simulators share, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgtheranostics.cest.bloch_mcconnell import (
    ExchangePool,
    MtPool,
    PoolSystem,
    PulseTrain,
    WaterPool,
    read_pools,
    simulate,
)
from imgtheranostics.errors import (
    CorruptInput,
    ImgTheranosticsError,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnsupportedInput,
)

FILE = """\
water_pool: {f: 1.0, t1: 1.0, t2: 0.040}
mt_pool: {
  f: 0.1351, # of water
  t1: 1.0, t2: 4.0e-05, k: 30, dw: -3.0,
  lineshape: 'Lorentzian'
}
cest_pool: {
  'amide': {f: 100e-3 / 111, r1: 1 / 1.3, r2: 10, k: 50, dw: 3.5},
  'NOE_1': {f: 0.0045, t1: 1.3, t2: 0.005, k: 20, dw: -3}
}
b0: 3
gamma: 267.5154109126009
b0_inhom: 0.1
rel_b1: 0.9
verbose: False
reset_init_mag: True
scale: 0.5
max_pulse_samples: 300
"""


def read(tmp_path: Path, text: str) -> PoolSystem:
    path = tmp_path / "pools.yaml"
    path.write_text(text)
    return read_pools(path)


def test_all_keys_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, FILE) == PoolSystem(
        WaterPool(1.0, 0.04),
        (
            ExchangePool("amide", 0.1 / 111, 1 / (1 / 1.3), 0.1, 50.0, 3.5),
            ExchangePool("NOE_1", 0.0045, 1.3, 0.005, 20.0, -3.0),
        ),
        MtPool(0.1351, 1.0, 4e-5, 30.0, -3.0, "lorentzian"),
        3.0,
        b0_inhomogeneity_ppm=0.1,
        relative_b1=0.9,
        scale=0.5,
        max_pulse_samples=300,
    )


def test_words_for_people_change_nothing(tmp_path: Path) -> None:
    plain, described = tmp_path / "plain.yaml", tmp_path / "described.yaml"
    plain.write_text(FILE)
    described.write_text("description: white matter at 3 T\nversion: 1.2\n" + FILE)
    assert read_pools(described) == read_pools(plain)


def test_water_and_field_are_enough(tmp_path: Path) -> None:
    pools = read(tmp_path, "water_pool: {t1: 1.2, t2: 0.07}\nb0: 7\n")
    assert pools == PoolSystem(WaterPool(1.2, 0.07), field_t=7.0)


@pytest.mark.parametrize(
    ("written", "shape"),
    [
        ("Lorentzian", "lorentzian"),
        ("SuperLorentzian", "super_lorentzian"),
        ("Super-Lorentzian", "super_lorentzian"),
        ("None", "none"),
    ],
)
def test_line_shapes_go_by_their_names_in_such_files(tmp_path: Path, written: str, shape: str) -> None:
    pools = read(tmp_path, FILE.replace("Lorentzian", written))
    assert pools.mt is not None
    assert pools.mt.line_shape == shape
    assert simulate(pools, PulseTrain([2.0], [1.0], 0.5)).shape == (1,)


@pytest.mark.parametrize(
    ("old", "new", "kind", "line", "named"),
    [
        ("t2: 0.040", "t2: 25", ImplausibleValue, 1, "water_pool.t2"),
        ("r2: 10", "r2: 1e7", ImplausibleValue, 8, "cest_pool.amide.r2"),
        ("r2: 10", "r2: 0", CorruptInput, 8, "cest_pool.amide.r2"),
        ("t2: 0.005", "t2: 5", ImplausibleValue, 9, "cest_pool.NOE_1.t2"),
        ("f: 0.1351", "f: 13.51", ImplausibleValue, 3, "mt_pool.f"),
        ("f: 0.0045", "f: -0.1", ImplausibleValue, 9, "cest_pool.NOE_1.f"),
        ("dw: 3.5", "dw: 447", ImplausibleValue, 8, "cest_pool.amide.dw"),
        ("k: 50", "k: -1", ImplausibleValue, 8, "cest_pool.amide.k"),
        ("b0: 3", "b0: 127.7", ImplausibleValue, 11, "b0"),
        ("gamma: 267.5154109126009", "gamma: 42.576", ImplausibleValue, 12, "gamma"),
        ("rel_b1: 0.9", "rel_b1: 90", ImplausibleValue, 14, "rel_b1"),
        ("scale: 0.5", "scale: 50", ImplausibleValue, 17, "scale"),
        ("k: 50", "kex: 50", CorruptInput, 8, "cest_pool.amide.kex"),
        ("b0_inhom: 0.1", "b0_inhomo: 0.1", CorruptInput, 13, "b0_inhomo"),
        ("k: 50", "k: fast", CorruptInput, 8, "cest_pool.amide.k"),
        ("k: 50", "k: true", CorruptInput, 8, "cest_pool.amide.k"),
        ("k: 50", "k: .nan", CorruptInput, 8, "cest_pool.amide.k"),
        ("100e-3 / 111", "100e-3 / 0", CorruptInput, 8, "cest_pool.amide.f"),
        ("r2: 10", "r2: 10, t2: 0.1", CorruptInput, 8, "cest_pool.amide.t2"),
        ("reset_init_mag: True", "reset_init_mag: 3", CorruptInput, 16, "reset_init_mag"),
        ("max_pulse_samples: 300", "max_pulse_samples: 0", CorruptInput, 18, "max_pulse_samples"),
        ("b0_inhom: 0.1", "b0_inhom: 0.1\nb0_inhomogeneity: 0.2", CorruptInput, 14, "b0_inhomogeneity"),
        ("'amide'", "'water'", CorruptInput, 8, "cest_pool.water"),
        ("water_pool: {f: 1.0,", "water_pool: {dw: 4.7,", CorruptInput, 1, "water_pool.dw"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, kind: type[ImgTheranosticsError], line: int, named: str
) -> None:
    assert old in FILE
    with pytest.raises(kind) as caught:
        read(tmp_path, FILE.replace(old, new))
    assert caught.value.where == f"{tmp_path / 'pools.yaml'}:{line}"
    assert named in (caught.value.found or "")


@pytest.mark.parametrize(
    ("old", "new", "needed"),
    [
        (", t2: 0.040", "", "water_pool.t2 (or r2)"),
        ("k: 50, ", "", "cest_pool.amide.k"),
        ("b0: 3\n", "", "b0"),
        ("water_pool: {f: 1.0, t1: 1.0, t2: 0.040}", "", "water_pool"),
        (" dw: -3.0,\n  lineshape: 'Lorentzian'", " dw: -3.0", "mt_pool.lineshape"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, old: str, new: str, needed: str) -> None:
    assert old in FILE
    with pytest.raises(MissingMetadata) as caught:
        read(tmp_path, FILE.replace(old, new))
    assert caught.value.needed == needed


def test_other_line_shapes_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput, match="line shape"):
        read(tmp_path, FILE.replace("Lorentzian", "Gaussian"))
    with pytest.raises(NothingUsable):
        read_pools(tmp_path / "nothing.yaml")
    with pytest.raises(CorruptInput):
        read(tmp_path, "- 1\n- 2\n")
    with pytest.raises(CorruptInput):
        read(tmp_path, FILE + "b0: 7\n")
    with pytest.raises(CorruptInput):
        read(tmp_path, "water_pool: !!python/object/apply:os.getcwd []\nb0: 3\n")
