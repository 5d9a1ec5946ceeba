"""DICOM out: objects that return into the study they came from."""
