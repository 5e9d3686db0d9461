"""The interface of the engine: volumes on demand, seeds, modalities without physics, and level 3."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.phantom import make, physics
from imgtheranostics.phantom.making import grid_of
from imgtheranostics.phantom.misplacement import misdrawn, shapes_on_grid
from imgtheranostics.phantom.physics import (
    LazyVolumes,
    PhysicsMissing,
    Seeds,
    implemented,
    joined,
    part_with,
    physics_for,
)
from imgtheranostics.phantom.reading import parse_spec
from imgtheranostics.volume import Volume


def volume(value):
    return Volume(np.full((2, 2, 2), value, np.float32), np.eye(4), "signal", "[arb'U]")


def digest(phantom):
    total = hashlib.sha256()
    for one in phantom.volumes:
        total.update(one.data.tobytes(order="F"))
    total.update(phantom.regions.labels.tobytes())
    return total.hexdigest()


def test_only_the_volume_asked_for_last_is_kept():
    made = []

    def build(number):
        made.append(number)
        return volume(number)

    volumes = LazyVolumes(3, build)
    assert len(volumes) == 3
    assert made == []
    assert volumes[1] is volumes[1]
    assert made == [1]
    assert volumes[-1].data[0, 0, 0] == 2
    assert [v.data[0, 0, 0] for v in volumes] == [0, 1, 2]
    assert [v.data[0, 0, 0] for v in volumes[1:]] == [1, 2]
    volumes.release()
    assert volumes[2].data[0, 0, 0] == 2
    with pytest.raises(IndexError):
        _ = volumes[3]


def test_modalities_follow_each_other():
    both = joined([LazyVolumes(2, volume), LazyVolumes(1, lambda n: volume(10 + n))])
    assert [v.data[0, 0, 0] for v in both] == [0, 1, 10]


def test_a_seed_gives_the_same_children_each_time():
    seeds = Seeds([5, 0, 7], 3)
    first = [child.generate_state(2).tolist() for child in seeds[1].spawn(2)]
    again = [child.generate_state(2).tolist() for child in seeds[1].spawn(2)]
    reference = np.random.SeedSequence([5, 0, 7]).spawn(3)[1].spawn(2)
    assert first == again == [child.generate_state(2).tolist() for child in reference]
    states = {tuple(seed.generate_state(2).tolist()) for seed in seeds}
    assert len(states) == 3
    shared = Seeds([5, 0, 7], 3, shared=True)
    assert len({tuple(seed.generate_state(2).tolist()) for seed in shared}) == 1


def test_volume_made_again_is_the_same(dynamic):
    dynamic["axis"]["layout"] = "separate"
    phantom = make(dynamic, 1)
    first = phantom.volumes[0].data.copy()
    assert not np.array_equal(phantom.volumes[1].data, first)
    assert_array_equal(phantom.volumes[0].data, first)
    phantom.release()
    assert_array_equal(phantom.volumes[0].data, first)


def test_modality_without_physics_is_refused_and_says_what_there_is(monkeypatch):
    monkeypatch.delitem(physics._HOMES, "MPI")
    with pytest.raises(PhysicsMissing, match="not implemented") as caught:
        physics_for("MPI")
    assert "PET" in caught.value.needed
    assert isinstance(caught.value, UnsupportedInput)


def test_every_modality_has_physics():
    assert set(implemented()) == {"PET", "SPECT", "MRI", "CEST", "CT", "MSOT", "US", "MPI"}


def test_volume_that_a_phantom_lacks_is_refused(small):
    with pytest.raises(UnsupportedInput, match="no such volume"):
        part_with(parse_spec(small), 1)


@pytest.fixture
def moving(small):
    """Two scans at level 3."""
    small["axis"]["values"] = [6.0, 7.0]
    small["physics"]["levels"] = [0, 1, 2, 3]
    small["physics"]["misplacement"] = {
        "shift_sd_mm": 0.8,
        "region_shift_sd_mm": 0.7,
        "region_margin_sd_mm": 0.8,
    }
    return small


def centre_of_mass(volume, grid):
    data = volume.data.astype(np.float64)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    mean = (index * data[..., None]).sum(axis=(0, 1, 2)) / data.sum()
    return grid.affine[:3, :3] @ mean + grid.affine[:3, 3]


def test_shifted_shapes_are_where_the_shift_puts_them(small):
    spec = parse_spec(small)
    grid = grid_of(spec)
    for shift in ((0, 0, 0), (1.2, -0.7, 0.4)):
        mixture = shapes_on_grid(spec, grid, shift)
        share = Volume(mixture.occupancy("sphere"), grid.affine, "signal", "[arb'U]")
        assert_allclose(centre_of_mass(share, grid), np.add((0.3, 0.2, 0.4), shift), atol=5e-3)
        assert mixture.volumes_ml()["sphere"] == pytest.approx(np.pi / 6 * 0.729, rel=1e-3)
        assert mixture.grid is grid


def test_first_image_lies_still_and_the_next_has_moved(moving):
    moving["physics"]["sensitivity"] = 1.0
    moving["administration"]["activity_bq"] = 5e9
    two, three = make(moving, 2), make(moving, 3)
    grid = three.grid
    assert_allclose(centre_of_mass(three.volumes[0], grid), centre_of_mass(two.volumes[0], grid), atol=0.02)
    moved = centre_of_mass(three.volumes[1], grid) - centre_of_mass(two.volumes[1], grid)
    assert 0.1 < np.linalg.norm(moved) < 5 * 0.8


def test_shift_keeps_the_activity(moving):
    moving["administration"]["activity_bq"] = 5e9
    moving["physics"]["sensitivity"] = 1.0
    two, three = make(moving, 2), make(moving, 3)
    total = [float(p.volumes[1].data.sum(dtype=np.float64)) for p in (two, three)]
    # the box nearly fills the grid along k, so a little leaves it with the blur
    assert total[1] == pytest.approx(total[0], rel=0.03)


def test_regions_of_level_three_are_drawn_wrongly_but_cores_are_not(moving):
    two, three = make(moving, 2), make(moving, 3)
    assert not np.array_equal(two.regions.mask("sphere"), three.regions.mask("sphere"))
    assert_array_equal(two.regions.mask("sphere_core"), three.regions.mask("sphere_core"))


@pytest.mark.parametrize("margin", [-1.5, 1.5])
def test_margin_grows_a_sphere_by_its_shell(small, margin):
    """Radius 4.5 mm at 0.5 mm voxels becomes 6 or 3 mm: volumes of the closed form within 2 %."""
    small["grid"] = {"shape": [48, 40, 48], "voxel_mm": [0.5, 0.5, 0.5]}
    small["physics"]["levels"] = [0, 3]
    small["physics"]["misplacement"] = {"region_margin_sd_mm": 1.0}

    class Fixed:
        def normal(self, mean, sd, size=None):
            return np.zeros(size) if size else margin

    spec = parse_spec(small)
    names, labels = misdrawn(spec, grid_of(spec), Fixed())
    number = next(n for n, name in names.items() if name == "sphere")
    found = (labels == number).sum() * 0.125
    assert found == pytest.approx(4 / 3 * np.pi * (4.5 + margin) ** 3, rel=0.02)


def test_level_three_follows_the_seed(moving):
    assert digest(make(moving, 3, rng=1)) == digest(make(moving, 3, rng=1))
    assert digest(make(moving, 3, rng=1)) != digest(make(moving, 3, rng=2))


def test_level_three_does_not_depend_on_threads(tmp_path, moving, digests):
    import yaml

    path = tmp_path / "moving.yaml"
    path.write_text(yaml.safe_dump(moving, sort_keys=False), encoding="utf-8")
    here, elsewhere = digests(path, 3)
    assert here == elsewhere


def test_motion_costs_a_moved_lesion_some_of_its_signal(moving):
    """The scan that moved reads less in the region drawn on the first one; the truth is still there."""
    moving["physics"]["misplacement"] = {"shift_sd_mm": 3.0}
    moving["regions"][1]["shape"]["diameter_mm"] = 5.0
    moving["administration"]["activity_bq"] = 5e9
    moving["physics"]["sensitivity"] = 1.0
    two, three = make(moving, 2), make(moving, 3)
    means = [
        it.roi_statistics(it.nuclear.percent_id_per_gram(p.volumes[1]), p.regions).set_index("region")["mean"]
        for p in (two, three)
    ]
    assert means[1]["sphere"] < 0.97 * means[0]["sphere"]
