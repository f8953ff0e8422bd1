"""A PACS: its radiographs by DICOMweb, and their masks back to it as DICOM SEG."""
