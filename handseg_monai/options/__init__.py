"""Options of the bundle: declared once, for checks, for tables, and for the components that take them."""

from handseg_monai.options.bundle import Options, check_window
from handseg_monai.options.declare import arguments_of, checked_values, expected_of
from handseg_monai.options.table import Row, table
from handseg_monai.options.views import PARTS, Hands, HandView, Invert, WindowView

__all__ = [
    "PARTS",
    "HandView",
    "Hands",
    "Invert",
    "Options",
    "Row",
    "WindowView",
    "arguments_of",
    "check_window",
    "checked_values",
    "expected_of",
    "table",
]
