"""Foreground masks from video and boxes, and their quality."""
from .methods import METHODS, foreground_masks
from .quality import mask_agreement, mask_counts, mask_quality, mask_scores
from .writing import write_masks

__all__ = [
    "METHODS", "foreground_masks", "mask_agreement", "mask_counts", "mask_quality",
    "mask_scores", "write_masks",
]
