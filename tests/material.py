"""Small pictures, videos and sequences that several tests use."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
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


def write_timed(
    path: Path,
    codec: str,
    pictures: Iterable[np.ndarray],  # RGB uint8 (H, W, 3)
    ticks: Iterable[int],  # from which each picture is shown, in 1/clock seconds
    clock: int = 1000,
    **options: str,
) -> Path:
    "A video whose pictures are shown at given times."
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        for i, (image, tick) in enumerate(zip(pictures, ticks)):
            if i == 0:
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 24
                stream.codec_context.time_base = Fraction(1, clock)
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = int(tick), Fraction(1, clock)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def street(name: str = "s", frames: int = 1) -> Sequence:
    "Black frames with one box each."
    return Sequence(
        name,
        ArrayFrames(np.zeros((frames, 48, 64, 3), np.uint8)),
        [Objects([[5, 5, 20, 20]])] * frames,
    )
