"""Labels of other forms -> the form that training reads: one adapter a file, all behind :func:`convert`."""

from handseg_monai.data.labels.convert import ADAPTERS, Conversion, convert

__all__ = ["ADAPTERS", "Conversion", "convert"]
