"""Bruker ParaVision: parameter files (JCAMP-DX) and reconstructed images (2dseq)."""
