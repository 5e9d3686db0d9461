"""Maps from images: which voxels, on which grid, as which estimates, tabulated in which regions."""
