"""What MONAI lacks for its networks, and the networks that no library has."""

from handseg_monai.networks.attention_unet import DilatedAttentionUNet
from handseg_monai.networks.backends import OpenVINONetwork, on_backend
from handseg_monai.networks.ducknet import DUCKNet
from handseg_monai.networks.encoders import begin_encoder, efficientnet_encoder, smp_encoder, timm_encoder
from handseg_monai.networks.fitting import take_lone_values, with_momentum, without
from handseg_monai.networks.heads import Heads, heads_of
from handseg_monai.networks.output_bias import set_output_bias
from handseg_monai.networks.packages import check_packages
from handseg_monai.networks.rapunet import RAPUNet
from handseg_monai.networks.space_to_depth import SpaceToDepth
from handseg_monai.networks.unet3plus import UNet3Plus

__all__ = [
    "DUCKNet",
    "DilatedAttentionUNet",
    "Heads",
    "OpenVINONetwork",
    "RAPUNet",
    "SpaceToDepth",
    "UNet3Plus",
    "begin_encoder",
    "check_packages",
    "efficientnet_encoder",
    "heads_of",
    "on_backend",
    "set_output_bias",
    "smp_encoder",
    "take_lone_values",
    "timm_encoder",
    "with_momentum",
    "without",
]
