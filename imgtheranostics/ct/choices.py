"""What the functions of CT let one choose between, by name; imported without any numerics."""

from __future__ import annotations

METHODS = ("two_materials", "three_materials", "flat_background", "k_edge")
"""Ways to separate materials."""

REGISTRATIONS = ("rigid", "affine", "bspline")
"""Models that one scan may be aligned to another by."""

SETTINGS = ("kvp", "filter", "kernel", "slice_thickness")
"""What two scans must share, unless it is allowed to differ."""

PRIORS = ("spectrum", "A", "B")
"""Where a slope is from without a calibration: the model of the spectrum, or one of two tables."""
