"""The jobs on Volumes that the API and the command line both call; each lives in the module of its idea."""

from __future__ import annotations

from imgtheranostics.cest.b1_maps import contrast_at_b1, correct_b1
from imgtheranostics.cest.bloch_maps import fit_bloch
from imgtheranostics.cest.bloch_mcconnell import simulate
from imgtheranostics.cest.contrast_maps import contrast
from imgtheranostics.cest.contrast_tables import fold_table
from imgtheranostics.cest.correction_maps import b0_map, correct
from imgtheranostics.cest.exchange_maps import exchange_rate
from imgtheranostics.cest.ph_maps import ph_map
from imgtheranostics.cest.pool_maps import fit_pools

__all__ = [
    "b0_map",
    "contrast",
    "contrast_at_b1",
    "correct",
    "correct_b1",
    "exchange_rate",
    "fit_bloch",
    "fit_pools",
    "fold_table",
    "ph_map",
    "simulate",
]
