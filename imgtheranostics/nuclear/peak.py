"""SUVpeak: the highest mean in a sphere of 1 mL, which lesions are also delineated by."""

from __future__ import annotations

from imgtheranostics.segmentation.sphere_peak import (
    RADIUS_MM,
    SMALLEST_SHARE,
    SPHERE_ML,
    Peak,
    region_peaks,
    sphere_weights,
)

__all__ = ["RADIUS_MM", "SMALLEST_SHARE", "SPHERE_ML", "Peak", "region_peaks", "sphere_weights"]
