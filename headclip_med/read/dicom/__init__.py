"""DICOM in: headers scanned first, stacks planned from them, pixels read when asked for."""
