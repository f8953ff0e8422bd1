"""Layouts on disk -> MONAI datalists; the dataset itself is in `dataset`, which needs torch."""

from handseg_monai.data.datalists import (
    DatasetError,
    inference_datalist,
    phantom_datalist,
    training_datalist,
)
from handseg_monai.data.exclude import ExcludeError, read_exclude, write_exclude
from handseg_monai.data.folds import assign_folds, dataset_traits, split_items, write_folds
from handseg_monai.data.items import Item, LabelError
from handseg_monai.data.labels.competition import labelled_items, read_polygons
from handseg_monai.data.reading.images import UnreadableImageError, find_images, read_radiograph

__all__ = [
    "DatasetError",
    "ExcludeError",
    "Item",
    "LabelError",
    "UnreadableImageError",
    "assign_folds",
    "dataset_traits",
    "find_images",
    "inference_datalist",
    "labelled_items",
    "phantom_datalist",
    "read_exclude",
    "read_polygons",
    "read_radiograph",
    "split_items",
    "training_datalist",
    "write_exclude",
    "write_folds",
]
