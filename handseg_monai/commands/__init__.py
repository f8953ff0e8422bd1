"""The commands of ``handseg``, each the face of a Python function; :mod:`handseg_monai.cli` gathers them."""
