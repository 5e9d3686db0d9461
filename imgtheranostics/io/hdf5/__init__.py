"""Optoacoustic data in HDF5 files: raw signals and reconstructions, read without following any file."""
