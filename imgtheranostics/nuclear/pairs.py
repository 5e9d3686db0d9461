"""Theranostic pairs: what the image of one nuclide says about another one on the same carrier.

Both are assumed to move alike: the same carrier, a label that stays on it, and no effect of the mass given.
Then the decay-corrected curve is that of the carrier, and only the physical decay differs.
"""

from __future__ import annotations

from imgtheranostics.nuclear.pair_curves import biological_curve
from imgtheranostics.nuclear.pair_rules import PAIRS, Pair, twins
from imgtheranostics.nuclear.pair_transfer import Transfer, transfer

__all__ = ["PAIRS", "Pair", "Transfer", "biological_curve", "transfer", "twins"]
