"""Small pictures, videos and sequences that several tests use."""

from pathlib import Path

import cv2
import numpy as np

from spotnet.data.frames import ArrayFrames
from spotnet.data.sequences import Objects, Sequence


def picture(path: Path, shape=(48, 64, 3)) -> Path:
    "A picture of noise, in the format that the name's ending says."
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        cv2.imencode(path.suffix, np.random.default_rng(0).integers(0, 255, shape, np.uint8))[
            1
        ].tobytes()
    )
    return path


def write_clip(path: Path, frames: int = 60, code: str = "mp4v") -> Path:
    "A video of noise, 64 x 48."
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 25, (64, 48))
    for i in range(frames):
        writer.write(np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    return path


def street(name: str = "s", frames: int = 1) -> Sequence:
    "Black frames with one box each."
    return Sequence(
        name,
        ArrayFrames(np.zeros((frames, 48, 64, 3), np.uint8)),
        [Objects([[5, 5, 20, 20]])] * frames,
    )
