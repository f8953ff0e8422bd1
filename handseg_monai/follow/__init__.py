"""What follows a run: notices, tracking and the sheet, all by one protocol."""

from handseg_monai.follow.follow import Follower, FollowRun, Run
from handseg_monai.follow.notify import Notifications
from handseg_monai.follow.sheet import ResultSheet
from handseg_monai.follow.tracking import MLflowTracking

__all__ = ["FollowRun", "Follower", "MLflowTracking", "Notifications", "ResultSheet", "Run"]
