"""MONAI dictionary transforms that MONAI lacks."""

from handseg_monai.transforms.drop_covered import DropCoveredd, drop_covered
from handseg_monai.transforms.drop_pieces import DropPiecesd, drop_pieces
from handseg_monai.transforms.fill_holes import FillHolesd, fill_holes
from handseg_monai.transforms.load_bone_planes import LoadBonePlanesd
from handseg_monai.transforms.load_radiograph import LoadRadiographd, fitted_shape
from handseg_monai.transforms.logits_to_planes import LogitsToPlanesd, logits_to_planes
from handseg_monai.transforms.rand_albumentations import RandAlbumentationsd
from handseg_monai.transforms.scale_percentiles import ScalePercentilesd

__all__ = [
    "DropCoveredd",
    "DropPiecesd",
    "FillHolesd",
    "LoadBonePlanesd",
    "LoadRadiographd",
    "LogitsToPlanesd",
    "RandAlbumentationsd",
    "ScalePercentilesd",
    "drop_covered",
    "drop_pieces",
    "fill_holes",
    "fitted_shape",
    "logits_to_planes",
]
