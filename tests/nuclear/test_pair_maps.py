"""Maps of theranostic pairs: closed forms in every voxel, what is said, and what is refused."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import IllConditioned, ImplausibleValue, MissingMetadata
from imgtheranostics.nuclear import Administration, pair_table, transfer_maps
from imgtheranostics.nuclear.dosimetry import local_s
from imgtheranostics.regions import Regions

HOUR = 3600.0
INJECTED_BQ = 20e6
BIOLOGICAL_H = 60.0


def scans_of(series, moments, scan_at, hours=(1.0, 24.0, 48.0, 96.0), name="Y-86", **changes):
    """12 %ID/mL at injection, cleared with 60 h; corrected to the start of each scan."""
    half_life = nuclide(name).half_life_s
    volumes = []
    for after in hours:
        at = scan_at + timedelta(hours=after - 1)
        left = 2 ** (-after * HOUR / half_life) * 2 ** (-(after + 150 / HOUR) / BIOLOGICAL_H)
        volumes.append(
            series(
                data=np.full((8, 8, 4), 0.12 * INJECTED_BQ * left), spacing=4.0, series_datetime=at,
                acquisition_datetime=moments(at), total_dose=INJECTED_BQ,
                **{"nuclide": name, "half_life_s": half_life, **changes},
            )
        )  # fmt: skip
    return volumes


def injected(volumes):
    return Administration(INJECTED_BQ, at=volumes[0].acquisition.radiopharmaceutical.start_datetime)


def effective_s(name):
    return HOUR / (1 / BIOLOGICAL_H + HOUR / nuclide(name).half_life_s)


def codes(estimate):
    return [caution.code for caution in estimate.warnings]


def test_every_voxel_has_the_decays_and_the_local_dose_of_the_twin(series, moments, scan_at):
    volumes = scans_of(series, moments, scan_at)
    found = it.nuclear.transfer_maps(
        volumes, given="90Y", model="mono", method="local", administration=injected(volumes), density=1.0
    )
    area = 0.12 * effective_s("Y-90") / math.log(2)
    assert (found.decays.quantity, found.decays.unit) == ("tiac_per_ml", "s/mL")
    assert found.decays.value.data[4, 4, 1] == pytest.approx(area, rel=1e-5)
    assert (found.dose.quantity, found.dose.unit) == ("absorbed_dose_per_activity", "Gy/MBq")
    assert found.dose.value.data[4, 4, 1] == pytest.approx(area * local_s("Y-90") * 1e-3, rel=1e-5)
    assert (found.nuclide, found.imaged) == ("Y-90", "Y-86")
    said = ["same-biology", "label-not-carrier", "pair-caveat"]
    for estimate in (found.decays, found.dose):
        assert [code for code in codes(estimate) if code in said] == said
    assert found.dose.decisions["pair"]["given"] == "Y-90"
    assert "other-nuclide" not in codes(found.dose)


def test_maps_and_tables_agree(series, moments, scan_at):
    volumes = scans_of(series, moments, scan_at)
    rois = Regions.from_masks({"all": np.ones(volumes[0].grid.shape, bool)}, volumes[0].grid)
    common = {"given": "Y-90", "model": "mono", "administration": injected(volumes)}
    table = pair_table(volumes, rois, quantity="id_per_ml", **common)
    maps = transfer_maps(volumes, method="local", density=1.0, **common)
    for quantity, estimate in (("tiac_per_ml", maps.decays), ("local_dose_per_activity", maps.dose)):
        mean = it.roi_statistics(estimate, rois)["mean"].iloc[0]
        assert mean == pytest.approx(table.loc[table["quantity"] == quantity, "mean"].iloc[0], rel=1e-5)


def test_a_given_activity_makes_gray(series, moments, scan_at):
    volumes = scans_of(series, moments, scan_at)
    common = {"given": "Y-90", "model": "mono", "method": "local", "administration": injected(volumes)}
    per_mbq = transfer_maps(volumes, **common)
    whole = transfer_maps(volumes, given_mbq=10.0, **common)
    assert whole.dose.quantity == "absorbed_dose"
    assert whole.dose.value.data[2, 2, 2] == pytest.approx(10 * per_mbq.dose.value.data[2, 2, 2], rel=1e-6)


def test_extrapolation_is_said_and_refused_where_asked(series, moments, scan_at):
    """1 to 4 h of 68Ga, weeks of 177Lu."""
    volumes = scans_of(series, moments, scan_at, (1.0, 2.0, 4.0), "Ga-68")
    common = {"given": "Lu-177", "model": "mono", "method": "local", "administration": injected(volumes)}
    found = transfer_maps(volumes, **common)
    share = 100 * 2 ** (-(4 * HOUR + 150) / effective_s("Lu-177"))
    (said,) = [one for one in found.decays.warnings if one.code == "mostly-extrapolated"]
    assert said.message.startswith(f"{share:.0f} % of the decays of Lu-177")
    assert "other-element" in codes(found.dose)
    with pytest.raises(IllConditioned, match="after the last image"):
        transfer_maps(volumes, most_extrapolated=0.9, **common)


def test_elements_and_nuclides_are_checked(series, moments, scan_at):
    volumes = scans_of(series, moments, scan_at)
    common = {"administration": injected(volumes), "model": "mono", "method": "local"}
    with pytest.raises(ImplausibleValue, match="different elements"):
        transfer_maps(volumes, given="Lu-177", **common)
    allowed = transfer_maps(volumes, given="Lu-177", allow_other_element=True, **common)
    assert "other-element" in codes(allowed.dose)
    own = Administration(INJECTED_BQ, at=common["administration"].at, nuclide="Y-86")
    with pytest.raises(ImplausibleValue, match="another nuclide than is said"):
        transfer_maps(volumes, given="Cu-67", imaged="Cu-64", **common)
    nameless = scans_of(series, moments, scan_at, name="Y-86", nuclide=None)
    with pytest.raises(ValueError, match="but the administration says"):
        transfer_maps(nameless, given="Y-90", imaged="Cu-64", **{**common, "administration": own})
    with pytest.raises(MissingMetadata, match="imaged is not known"):
        transfer_maps(nameless, given="Y-90", **common)
    named = transfer_maps(nameless, given="Y-90", imaged="86Y", **common)
    plain = transfer_maps(volumes, given="Y-90", **common)
    assert named.decays.value.data[1, 1, 1] == pytest.approx(plain.decays.value.data[1, 1, 1], rel=1e-6)
    with pytest.raises(IllConditioned, match="one scan does not show"):
        transfer_maps(volumes[0], given="Y-90", **common)
