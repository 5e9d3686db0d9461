"""Synthetic phantoms."""
