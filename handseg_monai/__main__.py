"""``python -m handseg_monai``: the same as ``handseg``."""

from handseg_monai.cli import main

main()
