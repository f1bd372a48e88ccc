"""Scores under the rules of each benchmark."""
from .judging import PROTOCOLS, Protocol, audit, judge
from .scores import Result, average_precision, evaluate, evaluate_files, rule_worth
from .cdnet import evaluate_masks
from .error_analysis import Errors, find_errors
from .error_figures import plot_errors, plot_worst_frames
from .road import road_figures, road_map
from .comparison import Comparison, beside_published, compare_detectors, compare_results

__all__ = [
    "Comparison", "Errors", "PROTOCOLS", "Protocol", "Result", "audit", "average_precision",
    "beside_published", "compare_detectors", "compare_results", "evaluate", "evaluate_files",
    "evaluate_masks", "find_errors", "judge", "plot_errors", "plot_worst_frames",
    "road_figures", "road_map", "rule_worth",
]
