"""Names of methods, kinds and rules of CEST, without any numerics, so that the command line can list them."""

from __future__ import annotations

CONTRASTS = ("mtr_asym", "aptw", "mtr_norm_ref", "pcm", "mtr_rex", "arex", "lorentzian_difference")
"""Quantities that `imgtheranostics.cest.contrast_maps.contrast` gives."""

B0_METHODS = ("minimum", "symmetry", "lorentzian")
"""Ways to find water in Z-spectra."""

DRIFTS = ("auto", "mean", "linear")
"""Ways to use several unsaturated images."""

RANK_RULES = ("malinowski", "nelson", "median", "marchenko_pastur")
"""Rules for the number of principal components to keep."""

B1_METHODS = ("spline", "linear", "quadratic", "second_order")
"""Ways through the values at several B1 to that at the nominal one; the last two are one."""

SITE_RATIOS = ("mtr_asym", "inverse", "norm_ref", "amplitude")
"""How the transfer of two sites is compared; the first is the default."""

POWER_RATIOS = ("mtr_asym", "inverse", "norm_ref", "power")
"""How the transfer of one site at two powers is compared; the last is the default."""

IOPAMIDOL_PPM = (4.2, 5.5)
"""The two sites of iopamidol."""

EXCHANGE_METHODS = ("omega_plot", "hanes_woolf", "quesp", "quest")
"""Ways from contrasts at several powers or durations to an exchange rate."""

SIMULATION_METHOD = "bloch"
"""Name of the exchange rate by fits of simulated spectra."""

FORMS = ("published", "labelled")
"""Forms of ``quesp`` of the asymmetry; the first is the default."""

METRICS = ("mtr_asym", "mtr_rex")
"""Contrasts that ``quesp`` fits."""
