"""The network and all that inference needs."""
from .model import SIZES, VARIANTS, ModelConfig, Prediction, SpotNet, model_config
from .weights import (
    VEHICLES, CheckpointError, convert_reference, load_checkpoint, read_weights, save_checkpoint,
    transfer,
)
from .losses import Criterion, NonFiniteLoss, center_l1_loss, focal_loss, segmentation_loss
from .geometry import REFERENCE, Conventions, Geometry
from .detector import Detector, decode, detect_sequences
from .onnx import export_onnx
from .flops import count_flops

__all__ = [
    "CheckpointError", "Conventions", "Criterion", "Detector", "Geometry", "ModelConfig",
    "NonFiniteLoss", "Prediction", "REFERENCE", "SIZES", "SpotNet", "VARIANTS", "VEHICLES",
    "center_l1_loss", "convert_reference", "count_flops", "decode", "detect_sequences",
    "export_onnx", "focal_loss", "load_checkpoint", "model_config", "read_weights",
    "save_checkpoint", "segmentation_loss", "transfer",
]
