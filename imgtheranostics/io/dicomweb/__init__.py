"""Images from and to an archive (PACS) over DICOMweb; the only place of the package that uses a network."""
