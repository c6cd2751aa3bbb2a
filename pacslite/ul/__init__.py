"""The DICOM upper layer (PS3.8), without I/O."""
