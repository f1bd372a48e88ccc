"""Videos as they are: every way of reaching a picture gives that picture, read off the picture itself."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from material import write_timed

from spotnet.data.video import VideoFrames

COUNT = 220
BITS = 8


def picture(i):
    "RGB: eight blocks of 16 pixels, bright where the bit of i is set."
    image = np.full((48, 16 * BITS, 3), 40, np.uint8)
    for bit in range(BITS):
        if i >> bit & 1:
            image[:, 16 * bit : 16 * bit + 16] = 215
    return image


def number(image):
    return sum(1 << bit for bit in range(BITS) if image[24, 16 * bit + 8, 1] > 127)


def write(path, codec, ticks, clock=1000, **options):
    "A video of COUNT pictures; picture i is shown from `ticks[i]` on, in 1/clock seconds."
    return write_timed(path, codec, map(picture, range(len(ticks))), ticks, clock, **options)


def steps(kind):
    rng = np.random.default_rng(3)
    even = np.full(COUNT, 40)
    if kind == "drops":
        even[rng.choice(np.arange(1, COUNT), 30, replace=False)] = 120
    if kind == "jitter":
        even = rng.integers(25, 60, COUNT)
    if kind == "changed":
        even[COUNT // 2 :] = 100
    return np.cumsum(even)


VIDEOS = {
    "constant.mp4": lambda p: write(p, "libx264", steps("even")),  # with reordered pictures
    "drops.mp4": lambda p: write(p, "libx264", steps("drops")),
    "jitter.mkv": lambda p: write(p, "mpeg4", steps("jitter")),
    "changed.mov": lambda p: write(p, "libx264", steps("changed")),
    "no_count.webm": lambda p: write(
        p, "libvpx", steps("even"), **{"auto-alt-ref": "1", "lag-in-frames": "16"}
    ),
    "packed.avi": lambda p: write(p, "mpeg4", np.arange(COUNT), clock=25),
}


@pytest.fixture(scope="module", params=VIDEOS)
def video(request, tmp_path_factory):
    return VIDEOS[request.param](tmp_path_factory.mktemp("video") / request.param)


def numbers_at(job):
    frames, indices = job
    return [number(frames[i]) for i in indices]


def test_every_way_leads_to_the_same_picture(video):
    frames = VideoFrames(video)
    assert len(frames) == COUNT
    every = list(range(COUNT))
    assert [number(f) for f in frames] == every, "forward"
    assert [number(frames[i]) for i in reversed(every)] == every[::-1], "backward"
    random = np.random.default_rng(0).integers(0, COUNT, 150).tolist()
    assert [number(frames[i]) for i in random] == random, "at random"
    assert [number(f) for f in frames[13:200:17]] == every[13:200:17], "through a slice"
    assert [number(f) for f in frames[::-31]] == every[::-31], "through a slice backward"
    assert number(frames[COUNT - 1]) == COUNT - 1 and number(frames[-1]) == COUNT - 1
    again = pickle.loads(pickle.dumps(frames))
    assert number(again[77]) == 77, "in another process"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers(video, method):
    frames = VideoFrames(video)
    assert number(frames[100]) == 100  # a decoder is open when the workers begin
    shares = np.array_split(np.random.default_rng(1).permutation(COUNT), 4)
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        found = list(pool.map(numbers_at, [(frames, share.tolist()) for share in shares]))
    assert found == [share.tolist() for share in shares]
