"""pacslite: a DICOM archive server."""
