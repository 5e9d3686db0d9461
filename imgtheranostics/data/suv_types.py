"""SUVType (0054,1006) and the quantity that each stands for (DICOM PS3.3, C.8.9.1)."""

from __future__ import annotations

SUV_TYPE_OF_QUANTITY = {
    "suv_bw": "BW",
    "suv_lbm_james120": "LBM",
    "suv_lbm_james128": "LBMJAMES128",
    "suv_lbm_janmahasatian": "LBMJANMA",
    "suv_ibw": "IBW",
    "suv_bsa": "BSA",
}
"""The standard's own spelling."""

QUANTITY_OF_SUV_TYPE = {
    **{suv_type: quantity for quantity, suv_type in SUV_TYPE_OF_QUANTITY.items()},
    "LBM_JANMA": "suv_lbm_janmahasatian",
}
"""Every spelling that files have."""
