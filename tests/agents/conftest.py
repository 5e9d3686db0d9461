"""A small record to break, as a file."""

from __future__ import annotations

import pytest

RECORD = """\
id: my-particle
name: My particle
aliases: [MP-1]
kind: iron oxide
summary: Made for a test
modalities: [MRI, PET]
signal_of: carrier
particle:
  core_diameter_nm: {value: 9, uncertainty: 1, provenance: published, source: "doi:10.1000/1"}
labels:
  - {nuclide: Cu-64, chelator: NOTA, provenance: review}
relaxivities:
  - {kind: r1, per: Fe, field_t: 3.0, temperature_c: 37, medium: plasma, value: 10, provenance: review}
cest_pools:
  - name: hydroxyl
    offset_ppm: {value: -1.5, provenance: unconfirmed, source: memory}
    exchange: [{ph: 7.4, between: [100, 200], provenance: unconfirmed, source: memory}]
attenuation:
  composition:
    formula: Fe3O4
    mass_fractions: {Fe: 0.7236, O: 0.2764}
    provenance: computed
    source: atomic weights
pharmacokinetics:
  half_lives:
    - {compartment: blood, species: mouse, value: 90, unit: min, provenance: review}
  biodistribution:
    - {organ: liver, species: mouse, time_h: 24, value: 20, unit: "%/g", provenance: review}
observations:
  - {quantity: delta_r2star, region: liver, value: 100, unit: 1/s, provenance: review}
"""


@pytest.fixture
def record() -> str:
    return RECORD


@pytest.fixture
def written(tmp_path):
    def write(text: str = RECORD):
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
