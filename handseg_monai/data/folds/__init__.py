"""Folds of whole subjects, alike in sex, height and wrist deviation."""

from handseg_monai.data.folds.assign import assign_folds, dataset_traits, read_folds, split_items, write_folds

__all__ = ["assign_folds", "dataset_traits", "read_folds", "split_items", "write_folds"]
