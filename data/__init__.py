"""Ground truth and detections, files in, arrays out. Networks are unknown here."""

from data.records import Detections, GroundTruth, InputError

__all__ = ["Detections", "GroundTruth", "InputError"]
