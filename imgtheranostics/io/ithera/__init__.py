"""Scans of iThera scanners: the .msot description, raw signals in .bin, reconstructions beside them."""
