"""What the functions of ultrasound let one choose between, by name; imported without any numerics."""

from __future__ import annotations

BOLUS_MODELS = ("lognormal", "gamma_variate", "ldrw", "first_passage")
"""Models of a bolus in the order of their codes in the kernels."""

MODELS = (*BOLUS_MODELS, "replenishment")
"""Models that can be fitted."""

BASELINES = ("fit", "zero")
"""What the signal without agent is: fitted along, or 0 because it was subtracted."""
