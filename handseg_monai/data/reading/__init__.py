"""Files -> radiographs: PNG, JPEG, TIFF and DICOM."""
