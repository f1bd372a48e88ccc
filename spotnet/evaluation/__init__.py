"""Scores under the rules of each benchmark."""
from .judging import PROTOCOLS, Protocol, audit, judge
from .scores import Result, average_precision, evaluate, evaluate_files
from .cdnet import evaluate_masks
from .error_analysis import find_errors
from .comparison import compare_results

__all__ = [
    "PROTOCOLS", "Protocol", "Result", "audit", "average_precision", "compare_results",
    "evaluate", "evaluate_files", "evaluate_masks", "find_errors", "judge",
]
