"""From samples to a trained checkpoint."""
from .targets import Targets, encode_targets
from .augmentation import AugmentConfig
from .samples import Samples
from .recipes import RECIPES, TrainConfig
from .history import History
from .loop import train
from .validation import hold_out

__all__ = [
    "AugmentConfig", "History", "RECIPES", "Samples", "Targets", "TrainConfig",
    "encode_targets", "hold_out", "train",
]
