"""Time to make a noise-free mouse of 256 x 256 x 128 voxels; goal under 2 s."""

from __future__ import annotations

from imgtheranostics.phantom import load_spec, make
from imgtheranostics.phantom.reading import parse_spec

GOAL_S = 2.0


def test_noise_free_mouse(benchmark):
    content = load_spec("upsn-86y-mouse-pet").model_dump(mode="json")
    for region in content["regions"]:
        region["shape"] = region["shape"] or "template"
    content["grid"] = {"shape": [256, 256, 128], "voxel_mm": [0.34, 0.34, 0.67]}
    content["axis"]["values"], content["physics"]["frame_duration_s"] = [24], [1800]
    content["expect"] = []
    spec = parse_spec(content)
    phantom = benchmark.pedantic(lambda: make(spec), rounds=3, warmup_rounds=1)
    assert phantom.volumes[0].shape == (256, 256, 128)
    assert benchmark.stats["median"] < GOAL_S
