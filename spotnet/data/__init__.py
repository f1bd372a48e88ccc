"""What is read and written: frames, objects, annotation, detections."""
from ..files import DataError
from .sequences import Objects, Sequence, box_mask
from .frames import ArrayFrames, FolderFrames, Frames
from .images import read_image
from .video import VideoFrames
from .boxes import box_iou, boxes_from_labels, clip_boxes
from .readers import READERS, check_sequences, load_sequences, sequence_names
from .detections import Detections
from .result_files import FORMATS, read_detections, write_detections
from .mask_files import MaskFolder, with_evidence
from .merged import find_merged, ignore_merged
from .published import published_table
from .stops import standing, stops
from .splits import near_training, recordings, split_frames

__all__ = [
    "ArrayFrames", "DataError", "Detections", "FORMATS", "FolderFrames", "Frames", "MaskFolder",
    "Objects", "READERS", "Sequence", "VideoFrames", "box_iou", "box_mask", "boxes_from_labels",
    "check_sequences", "clip_boxes", "find_merged", "ignore_merged", "load_sequences",
    "near_training", "published_table", "read_detections", "read_image", "recordings",
    "sequence_names", "split_frames", "standing", "stops", "with_evidence", "write_detections",
]
