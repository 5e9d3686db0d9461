"""Curves of activity over time: exponentials, areas, half-lives and time-integrated activity.

Times count from the injection. Every function says whether its samples are the activity that was there, or
are decay corrected to the injection; both give the same half-lives and areas: those of the activity.
"""

from __future__ import annotations

from imgtheranostics.nuclear.curve_areas import auc
from imgtheranostics.nuclear.curve_intervals import Interval, band, interval
from imgtheranostics.nuclear.exponential_curves import fit_exponential

__all__ = ["Interval", "auc", "band", "fit_exponential", "interval"]
