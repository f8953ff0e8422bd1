"""What MONAI's networks need here."""

from handseg_monai.networks.output_bias import set_output_bias

__all__ = ["set_output_bias"]
