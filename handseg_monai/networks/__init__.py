"""What MONAI lacks for its networks."""

from handseg_monai.networks.output_bias import set_output_bias
from handseg_monai.networks.space_to_depth import SpaceToDepth

__all__ = ["SpaceToDepth", "set_output_bias"]
