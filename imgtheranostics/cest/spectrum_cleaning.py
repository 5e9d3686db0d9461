"""Denoising and smoothing of the spectra of an image, before water is located."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
