"""Factors between energy per decay and absorbed dose."""

from __future__ import annotations

MEV_TO_J = 1.602176634e-13
"""Joule per MeV, exact."""

MGY_G_PER_MBQ_S_MEV = MEV_TO_J * 1e6 * 1e3 * 1e3
"""mGy x g per MBq s and MeV: 0.1602."""
