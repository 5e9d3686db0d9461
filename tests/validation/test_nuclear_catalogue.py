"""Cells of the catalogue for nuclear phantoms (systems.md section 4, pet.md section 6) in their files.

A tolerance that is wider than the sheet's, or a cell that nothing tests any more, fails here.
"""

from __future__ import annotations

import pytest

from imgtheranostics.phantom import load_spec

UPSN, DOSE, MM302, TRAP = "upsn-86y-mouse-pet", "upsn-90y-dose", "mm302-64cu-torso-pet", "mm302-decaytrap"
PLGA, LIPOSOME = "tc99m-plga-mouse-spect", "in111-bilayer-vs-lumen"
IODINE, VIALS = "i123-i124-i131-pair", "agents-multi-tracer-dualiso"

SPECT, GROUPS = ((0.005, 0), (0.08, 2)), ((0.02, 0), (0.12, 2))

# slug, method, region (over another), value, tolerance (relative; as text absolute), level
CELLS = (
    (UPSN, "mean", "tumour", 12.0, 0.001, 0),
    (UPSN, "mean", "liver", 8.0, 0.001, 0),
    (UPSN, "mean", "muscle", "truth", 0.001, 0),
    (UPSN, "ratio", "tumour/muscle", 12.4, 0.001, 0),
    (UPSN, "ratio", "tumour/liver", 1.5, 0.001, 0),
    (UPSN, "transfer_matrix", "tumour", 12.0, 0.01, 0),
    (UPSN, "mean", "tumour", 9.8, 0.05, 2),
    (UPSN, "recovery", "tumour", "closed_form", "0.03", 2),
    (UPSN, "partial_volume_corrected", "tumour", 12.0, 0.06, 2),
    (UPSN, "transfer_matrix", "tumour", "truth", 0.06, 2),
    (UPSN, "region_based_voxels", "tumour", 12.0, 0.06, 2),
    (UPSN, "iterative_yang", "tumour", 12.0, 0.06, 2),
    (DOSE, "local_dose_Y-90", "tumour", 2.888, 0.001, 0),
    (DOSE, "voxel_local_dose_Y-90", "tumour", 2.888, 0.001, 0),
    (DOSE, "effective_half_life_Y-90", "tumour", 31.0, 0.001, 0),
    (DOSE, "curve_half_life_Y-90", "tumour", 31.0, 0.001, 0),
    (DOSE, "equilibrium_dose_Y-90", "tumour", 2.888, 0.03, 0),
    (DOSE, "voxel_kernel_dose_Y-90", "tumour", 1.7, 0.03, 0),
    (DOSE, "voxel_kernel_dose_Y-90", "tumour", 1.7, 0.03, 2),
    (MM302, "mean", "lesion_06", 0.364, 0.001, 0),
    (MM302, "mean", "lesion_03", 3.5, 0.001, 0),
    (MM302, "mean", "lesion_07", 12.95, 0.001, 0),
    *((MM302, "mean", f"lesion_{n:02}", "truth", 0.001, 0) for n in range(1, 13)),
    *((MM302, "recovery", f"lesion_{n:02}", "closed_form", "0.03", 2) for n in range(1, 13)),
    # those of at least 17 mm
    *((MM302, "mean", f"lesion_{n:02}_core", "truth", 0.10, 2) for n in (3, 4, 5, 6, 9, 10, 11, 12)),
    *((MM302, "transfer_matrix", f"lesion_{n:02}", "truth", 0.10, 2) for n in (3, 4, 5, 6, 9, 10, 11, 12)),
    (MM302, "biological_half_life", "blood", 60.0, 0.001, 0),
    (TRAP, "mean", "sphere", 3.5, 0.002, 0),
    (TRAP, "spread", "sphere", 0.0, "0.002", 2),
    (TRAP, "refusal", "sphere", None, None, 0),
    *((PLGA, "mean", organ, "truth", 0.005, 0) for organ in ("liver", "spleen")),
    *((PLGA, "mean", f"{organ}_core", "truth", 0.08, 2) for organ in ("liver", "spleen")),
    *((PLGA, "free_pertechnetate", "all", 10.0, tol, level) for tol, level in SPECT),
    *((PLGA, "count_fraction", "liver", 0.0629, tol, level) for tol, level in SPECT),
    *((PLGA, "free_label_warning", "all", 1, "0", level) for level in (0, 1, 2)),
    *((LIPOSOME, "group_ratio", "liver", 1.5714286, tol, level) for tol, level in GROUPS),
    *((LIPOSOME, "group_mean", "liver", 22.0, tol, level) for tol, level in GROUPS),
    *((LIPOSOME, "group_mean", "liver", 14.0, tol, level) for tol, level in GROUPS),
    *((LIPOSOME, "group_variation", "liver", 0.2, tol, level) for tol, level in GROUPS),
    (LIPOSOME, "largest_drift", "liver", 0.05, "0.005", 2),
    *((IODINE, "mean", organ, "truth", 0.01, 0) for organ in ("liver", "tumour")),
    *((IODINE, "isotope_deviation", "liver", 0.0, "0.01", level) for level in (0, 1, 2)),
    *((IODINE, "isotope_deviation", "tumour", 0.0, "0.01", level) for level in (0, 1, 2)),
    *((IODINE, "residence_I-131", "tumour", 1.43425, 0.02, level) for level in (0, 1, 2)),
    *((IODINE, "residence_I-131", "liver", 14.47377, 0.02, level) for level in (0, 1, 2)),
    *((VIALS, "linearity", "all", 1.0, "0.0001", level) for level in (0, 1, 2)),
    *((VIALS, name, "all", 1.0, 0.005, level)
      for name in ("calibration_factor", "restored_factor", "separated_factor") for level in (0, 1, 2)),
)  # fmt: skip


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: "-".join(str(part) for part in cell))
def test_the_phantom_tests_the_cell_of_the_sheet(cell):
    slug, method, region, value, tolerance, level = cell
    name, _, over = region.partition("/")
    found = [
        item
        for item in load_spec(slug).expect
        if item.method == method
        and name in item.roi
        and (item.over or "") == over
        and level in item.level
        and item.value == value
    ]
    assert found
    for item in found:
        absolute = isinstance(tolerance, str)
        assert item.tol_abs == (float(tolerance) if absolute else None)
        assert item.tol_rel == (None if absolute else tolerance)


AXES = (
    (UPSN, ("time",), [(0.5, 3, 6, 12, 24, 48)], 1.6),
    (DOSE, ("time",), [(1, 6, 12, 24, 48)], 1.6),
    (MM302, ("time",), [(1, 24, 48)], 5.0),
    (PLGA, ("time",), [(1, 4, 24)], 0.6),
    (LIPOSOME, ("group", "time"), [("bilayer", "lumen"), (4, 24, 72)], 0.9),
    (IODINE, ("isotope", "time"), [("I-123", "I-124", "I-131"), (4, 24, 48, 72)], 6.5),
    (VIALS, ("isotope",), [("Tc-99m", "In-111", "Cu-64", "Ga-68")], 0.9),
)


@pytest.mark.parametrize(("slug", "kinds", "values", "fwhm_mm"), AXES, ids=[one[0] for one in AXES])
def test_axes_and_resolution_are_those_of_the_sheet(slug, kinds, values, fwhm_mm):
    spec = load_spec(slug)
    axes = (spec.axis, *spec.axes)
    assert tuple(axis.kind for axis in axes) == kinds
    assert [tuple(axis.values) for axis in axes] == values
    assert spec.physics.psf_fwhm_mm == fwhm_mm


def test_nuisances_are_those_of_the_sheet():
    """Floor of prompt gammas for 86Y and 124I, counts of the camera, drift, dead time, widths by isotope."""
    for slug in (UPSN, DOSE, IODINE):
        assert load_spec(slug).physics_of("PET").prompt_gamma_floor > 0
    for slug in (PLGA, LIPOSOME, VIALS):
        assert load_spec(slug).physics_of("SPECT").sensitivity_cps_mbq == 847
    liposome = load_spec(LIPOSOME)
    assert [(group.animals, group.variation) for group in liposome.groups] == [(6, 0.2), (6, 0.2)]
    assert len(liposome.physics.calibration_drift) == 1
    widths = load_spec(IODINE).physics_of("SPECT").isotope_fwhm_mm
    assert widths["I-131"] > widths["I-123"]
    assert load_spec(VIALS).physics.dead_time_s > 0
    lesions = [region for region in load_spec(MM302).regions if region.name.startswith("lesion")]
    assert len(lesions) == 12
    assert {lesion.uptake.value for lesion in lesions} >= {0.52, 5.0, 18.5}
    assert load_spec(MM302).administration.activity_bq == 400e6
    assert {lesion.shape[0].diameter_mm for lesion in lesions} == {10, 13, 17, 22, 28, 37}
