"""Annotation of bare video: tracks, verdicts, files, corrections."""
from .tracks import Track, link_boxes
from .verdicts import Rules
from .annotation import Annotation, annotate_sequence, annotation_quality
from .annotation_files import write_annotation
from .corrections import correct, read_corrections, write_doubtful
from .annotate import annotate

__all__ = [
    "Annotation", "Rules", "Track", "annotate", "annotate_sequence", "annotation_quality",
    "correct", "link_boxes", "read_corrections", "write_annotation", "write_doubtful",
]
