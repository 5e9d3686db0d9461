"""PET and SPECT."""
