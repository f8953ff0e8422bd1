"""Layouts on disk -> MONAI datalists and datasets."""

from handseg_monai.data.competition import labelled_items, read_polygons
from handseg_monai.data.datalists import (
    DatasetError,
    check_training,
    inference_datalist,
    phantom_datalist,
    training_datalist,
)
from handseg_monai.data.dataset import (
    EpochSampler,
    RadiographDataset,
    prepare_packed,
    prepare_planes,
    prepare_sized,
)
from handseg_monai.data.exclude import ExcludeError, read_exclude, write_exclude
from handseg_monai.data.folds import assign_folds, dataset_traits, split_items, write_folds
from handseg_monai.data.images import UnreadableImageError, find_images, read_radiograph
from handseg_monai.data.items import Item, LabelError

__all__ = [
    "DatasetError",
    "EpochSampler",
    "ExcludeError",
    "Item",
    "LabelError",
    "RadiographDataset",
    "UnreadableImageError",
    "assign_folds",
    "check_training",
    "dataset_traits",
    "find_images",
    "inference_datalist",
    "labelled_items",
    "phantom_datalist",
    "prepare_packed",
    "prepare_planes",
    "prepare_sized",
    "read_exclude",
    "read_polygons",
    "read_radiograph",
    "split_items",
    "training_datalist",
    "write_exclude",
    "write_folds",
]
