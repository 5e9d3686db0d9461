"""Several quantities at once: what is left out and why, what is refused, and the joint table."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.errors import MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.nuclear import percent_id_per_gram, suv
from imgtheranostics.nuclear.quantities import QUANTITIES, Request, quantify
from imgtheranostics.regions import Regions, roi_statistics


def everywhere(volume):
    return Regions.from_masks({"all": np.ones(volume.grid.shape, bool)}, volume.grid)


def test_defaults_are_suv_and_injected_dose_per_gram(series):
    volume = series()
    result = quantify(volume, everywhere(volume))
    assert [estimate.quantity for estimate in result.estimates] == ["suv_bw", "id_per_g"]
    assert result.table["quantity"].tolist() == ["suv_bw", "id_per_g"]
    assert result.warnings == ()
    alone = roi_statistics(suv(volume), everywhere(volume))["mean"][0]
    assert result.table["mean"][0] == alone
    assert len(result.table.attrs["details"]) == 2


def test_default_without_weight_leaves_suv_out_and_says_why(series, record):
    volume = series(record(weight_kg=None))
    result = quantify(volume, everywhere(volume))
    assert [estimate.quantity for estimate in result.estimates] == ["id_per_g"]
    (caution,) = result.warnings
    assert caution.code == "quantity-left-out"
    assert "suv_bw" in caution.message
    assert "weight" in caution.message.lower()


def test_ready_suv_images_need_no_dose_and_a_weight_for_injected_dose_per_gram(series, record):
    """SUV = %ID/g x W[g] / 100 (pet.md 3.2): SUV 2.4 at 70 kg is 0.0034286 %ID/g."""
    data = np.full((64, 64, 4), 2.4)
    known = series(record(units="GML", total_dose=None), data, quantity="suv_bw", unit="g/mL")
    table = quantify(known, everywhere(known)).table.set_index("quantity")
    assert table["mean"]["suv_bw"] == pytest.approx(2.4)
    assert table["mean"]["id_per_g"] == pytest.approx(2.4 * 100 / 70e3)
    weightless = series(record(units="GML", weight_kg=None), data, quantity="suv_bw", unit="g/mL")
    result = quantify(weightless, everywhere(weightless))
    assert [estimate.quantity for estimate in result.estimates] == ["suv_bw"]
    assert [caution.code for caution in result.warnings] == ["quantity-left-out"]


def test_a_quantity_that_was_asked_for_is_refused_not_left_out(series, record):
    volume = series(record(weight_kg=None))
    with pytest.raises(MissingMetadata):
        quantify(volume, everywhere(volume), quantities=["id_per_g", "suv_bw"])


def test_when_no_default_can_be_had_the_first_refusal_is_raised(series, record):
    volume = series(record(units="PROPCNTS"), quantity="signal", unit="[arb'U]")
    with pytest.raises((UnsupportedInput, UnitMismatch)):
        quantify(volume, everywhere(volume))


def test_unknown_quantity_is_refused_with_the_known_ones(series):
    volume = series()
    with pytest.raises(UnsupportedInput) as refusal:
        quantify(volume, everywhere(volume), quantities=["suv"])
    assert all(name in (refusal.value.needed or "") for name in QUANTITIES)


def test_injected_dose_per_region_has_rows_and_no_map(series):
    volume = series()
    result = quantify(volume, everywhere(volume), quantities=["id_per_region", "id_per_ml"], subject="m1")
    assert [estimate.quantity for estimate in result.estimates] == ["id_per_ml"]
    rows = result.table.set_index("quantity")
    per_ml, total = rows.loc["id_per_ml"], rows.loc["id_per_region"]
    assert total["unit"] == "%"
    assert total["mean"] == pytest.approx(per_ml["mean"] * per_ml["volume_ml"])
    assert result.table["subject"].tolist() == ["m1", "m1"]


def test_request_reaches_the_methods(series):
    volume = series()
    dense = quantify(volume, everywhere(volume), quantities=["id_per_g"], request=Request(density_g_ml=1.04))
    plain = percent_id_per_gram(volume).value.data
    assert np.allclose(dense.estimates[0].value.data * 1.04, plain, rtol=1e-6)
