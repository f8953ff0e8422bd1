"""MONAI dictionary transforms that MONAI lacks."""

from handseg_monai.transforms.clean_planes import CleanPlanesd
from handseg_monai.transforms.drop_apart import drop_apart
from handseg_monai.transforms.drop_covered import drop_covered
from handseg_monai.transforms.drop_pieces import drop_pieces
from handseg_monai.transforms.drop_small import drop_small
from handseg_monai.transforms.fill_holes import fill_holes
from handseg_monai.transforms.load_bone_planes import LoadBonePlanesd
from handseg_monai.transforms.load_radiograph import LoadRadiographd, fitted_shape
from handseg_monai.transforms.rand_albumentations import RandAlbumentationsd
from handseg_monai.transforms.scale_percentiles import ScalePercentilesd
from handseg_monai.transforms.turn_negative import TurnNegatived

__all__ = [
    "CleanPlanesd",
    "LoadBonePlanesd",
    "LoadRadiographd",
    "RandAlbumentationsd",
    "ScalePercentilesd",
    "TurnNegatived",
    "drop_apart",
    "drop_covered",
    "drop_pieces",
    "drop_small",
    "fill_holes",
    "fitted_shape",
]
