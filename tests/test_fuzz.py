"""Every reader is given thousands of damaged files: it reads them, or refuses them with one of the library's own errors.

In the test suite each reader gets a few dozen, always the same. As a script it goes on for as long as asked, with new ones:

    python tests/test_fuzz.py --seconds 600
"""

import argparse
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from test_parity import reference_state

from spotnet.training.checkpoints import read_run, save_run
from spotnet.files import DataError, read_yaml
from spotnet.batch.grids import Grid
from spotnet.batch.notebooks import GridError, _example_notebook
from spotnet.masks.methods import foreground_masks
from spotnet.network.model import SpotNet, model_config
from spotnet.network.weights import CheckpointError, load_checkpoint, read_weights, save_checkpoint
from spotnet.batch.tables import runs_table
from spotnet.data.detections import Detections
from spotnet.data.result_files import read_detections, write_detections
from spotnet.batch.progress import RunsView
from spotnet.scenes.render import render_scenes
from spotnet.scenes.config import SceneConfig
from spotnet.data.benchmarks import _detrac_text
from spotnet.data.frames import ArrayFrames
from spotnet.data.images import read_image
from spotnet.data.video import VideoFrames
from spotnet.data.readers import load_sequences
from spotnet.data.sequences import Objects, Sequence
from spotnet.training.recipes import TrainConfig

NAMED = (DataError, GridError, CheckpointError)  # anything else that is raised is a finding
HOME = Path(tempfile.mkdtemp(prefix="spotnet-fuzz-"))
PIXELS = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
FRAMES = ArrayFrames(PIXELS[None].repeat(3, 0))
STREET = Sequence("s", FRAMES, [Objects([[5, 5, 20, 20]])] * 3)

XML = b"""<?xml version="1.0"?><sequence name="MVI_1"><sequence_attribute camera_state="stable" sence_weather="sunny"/>
<ignored_region><box left="1.5" top="2" width="30" height="4"/></ignored_region><frame density="1" num="2"><target_list>
<target id="7"><box left="3" top="4" width="10.5" height="9"/><attribute orientation="1" speed="2" vehicle_type="car"/>
<occlusion><region_overlap occlusion_id="1" occlusion_status="1"/></occlusion></target></target_list></frame></sequence>"""
COCO = {
    "images": [
        {"id": 1, "file_name": "a/000001.jpg", "frame_id": 1, "video_id": 2},
        {"id": 2, "file_name": "b.jpg"},
    ],
    "videos": [{"id": 2, "name": "v"}],
    "categories": [{"id": 3, "name": "car"}],
    "annotations": [
        {
            "id": 9,
            "image_id": 1,
            "category_id": 3,
            "bbox": [1, 2, 3.5, 4],
            "iscrowd": 0,
            "track_id": 4,
        }
    ],
}
GRID = b"""experiment: e
stages:
  - {name: first, notebook: n.ipynb, parameters: {a: 2}, resources: {minutes: 3, retries: 0}}
  - name: second
    notebook: n.ipynb
    needs: [first]
    axes: {a: [1, 2], b: [x, "${first}"]}
    seeds: [0, 1]
    excludes: [{a: 2, b: x}]
"""


def write(name: str, data: bytes) -> Path:
    path = HOME / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def encoded(ending: str, image=PIXELS) -> bytes:
    return cv2.imencode(ending, image)[1].tobytes()


def video(ending: str, code: str) -> bytes:
    path = HOME / f"sample{ending}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 25, (64, 48))
    for k in range(6):
        writer.write(np.roll(PIXELS, k, 1))
    writer.release()
    return path.read_bytes()


def saved(function, *given) -> bytes:
    function(HOME / "sample", *given)
    return (HOME / "sample").read_bytes()


def in_folder(folder: str, name: str, beside: dict, read):
    "A reader of a whole folder in which one file is damaged."

    def look(data: bytes) -> None:
        place = HOME / folder
        if not place.exists():
            for other, content in beside.items():
                write(f"{folder}/{other}", content)
        write(f"{folder}/{name}", data)
        read(place)

    return look


def sequences(source: str):
    def read(place: Path) -> None:
        for s in load_sequences(source, place):
            if s.frames.available:
                list(s.frames)

    return read


def results(kind: str):
    found = [
        Detections("s", [1, 1, 3], [[1, 2, 9, 8], [4, 4, 8, 8], [0.5, 0, 7, 7]], [0.5, 0.25, 1])
    ]
    [path] = (
        write_detections(HOME / f"sample-{kind}", found, kind, sequences=[STREET])
        if kind != "yolo"
        else write_detections(HOME / f"sample-{kind}", [found[0].at(1)], kind, sequences=[STREET])
    )
    name = str(path.relative_to(HOME / f"sample-{kind}"))

    def read(place: Path) -> None:
        read_detections(place, kind, sequences=[STREET])

    return path.read_bytes(), in_folder(f"results-{kind}", name, {}, read)


def experiment(place: Path) -> None:
    view = RunsView(place)
    view.table()
    view.errors()
    runs_table(place)


def runs() -> dict:
    listed = {"experiment": "e", "runs": [{"id": "0a", "stage": "s", "name": "s a=1"}]}
    about = {
        "stage": "s",
        "notebook": "n.ipynb",
        "parameters": {"a": 1, "variant": "spotnet"},
        "needs": [],
        "varies": ["a"],
        "given": {"a": 1, "steps": 9},
    }
    state = {
        "state": "done",
        "stage": "s",
        "start": "2026-01-01T00:00:00+00:00",
        "end": "2026-01-01T00:01:00+00:00",
        "seconds": 60.0,
        "exit_code": 0,
        "attempt": 1,
        "versions": {},
        "commit": "",
        "host": "h",
        "gpu": "",
    }
    step = {"step": 3, "epoch": 0, "loss": 1.5, "seconds": 0.2}
    texts = {
        "grid.json": listed,
        "0a/params.json": about,
        "0a/status.json": state,
        "0a/metrics.json": {"AP50": 51.5, "AP": 30.0, "curve": [1, 2]},
    }
    return {
        **{k: json.dumps(v).encode() for k, v in texts.items()},
        "0a/steps.jsonl": (json.dumps(step) + "\n").encode() * 3,
        "0a/history.csv": b"step,loss,AP\n3,1.5,30.0\n",
        "0a/stdout.log": b"=== attempt 1\nEnding Cell 1----\n",
    }


def run_checkpoint() -> dict:
    torch.manual_seed(0)
    small = SpotNet(
        model_config(
            "tiny",
            depth=1,
            dims=(4, 4),
            modules=(1, 1),
            stem_dim=4,
            feature_dim=4,
            segmentation_dim=4,
        )
    )
    save_run(
        HOME / "sample-run",
        small,
        {"config": {"steps": 3}, "data": "d", "step": 1},
        {"optimizer": {"a": torch.zeros(2)}},
    )
    return {p.name: p.read_bytes() for p in (HOME / "sample-run").iterdir()}


def readers() -> dict:
    "Name -> (a sound file, what reads it)."
    torch.manual_seed(0)
    small = SpotNet(
        model_config(
            "tiny",
            depth=1,
            dims=(4, 4),
            modules=(1, 1),
            stem_dim=4,
            feature_dim=4,
            segmentation_dim=4,
        )
    )
    _example_notebook(HOME / "n.ipynb", "a = 1\nb = ''\nseed = 0\nout = ''", "pass")
    notebook, frames = (
        (HOME / "n.ipynb").read_bytes(),
        {f"img1/{k:06d}.jpg": encoded(".jpg") for k in (1, 2, 3)},
    )
    mot = {
        "s/seqinfo.ini": b"[Sequence]\nname=s\nimDir=img1\n",
        "s/gt/gt.txt": b"1,1,5,5,9,9,1,1,1\n3,2,5,6.5,9,9,0,1,1\n",
        **{f"s/{k}": v for k, v in frames.items()},
    }
    cdnet = {
        "temporalROI.txt": b"1 3\n",
        **{f"input/in{k:06d}.jpg": encoded(".jpg") for k in (1, 2, 3)},
        **{f"groundtruth/gt{k:06d}.png": encoded(".png", PIXELS[..., 0]) for k in (1, 2, 3)},
    }
    uavdt = {
        "M0101_gt_whole.txt": b"1,1,5,5,9,9,1,1,1\n2,1,5,5.5,9,9,2,1,3\n",
        "M0101_gt_ignore.txt": b"1,0,5,5,9,9,-1,-1,-1\n",
    }
    render_scenes(
        HOME / "rendered", [SceneConfig("a", frames=3, width=96, height=64)], progress=False
    )
    scene = {
        str(p.relative_to(HOME / "rendered" / "a")): p.read_bytes()
        for p in (HOME / "rendered" / "a").rglob("*.*")
    }
    run, experiments, published = (
        run_checkpoint(),
        runs(),
        reference_state((4, 4), (1, 1), 4, 4, 1, 1),
    )
    grey = encoded(".png", np.where(PIXELS[..., 0] > 99, 255, 0).astype(np.uint8))

    def one_image(data):
        read_image(write("a.img", data))
        read_image(HOME / "a.img", cv2.IMREAD_UNCHANGED)

    def masks(place):
        list(foreground_masks(STREET[:1], "import", within_boxes=False, folder=place))

    def config(path):
        values = read_yaml(path)
        if not isinstance(values, dict):
            raise DataError(path, "no mapping", "fields of TrainConfig", "Write name: value.")
        try:
            TrainConfig.from_dict(values)
        except ValueError:  # how a configuration is refused
            raise DataError(path, "no configuration", "one", "Correct it.") from None

    found = {
        "uadetrac xml": (XML, in_folder("xml", "MVI_1.xml", {}, sequences("uadetrac"))),
        "uadetrac text": (
            b"1,1,5,5,9,9,1\n3,2,5,5.5,9,9,1\n",
            lambda data: _detrac_text("s", FRAMES, [write("gt.txt", data)], {}, False),
        ),
        "coco": (
            json.dumps(COCO).encode(),
            in_folder(
                "coco",
                "a.json",
                dict.fromkeys(("a/000001.jpg", "b.jpg"), encoded(".jpg")),
                sequences("coco"),
            ),
        ),
        "png": (encoded(".png"), one_image),
        "jpeg": (encoded(".jpg"), one_image),
        "bmp": (encoded(".bmp"), one_image),
        "png of 16 bit": (encoded(".png", PIXELS.astype(np.uint16) * 200), one_image),
        "imported mask": (grey, in_folder("masks", "000001.png", {}, masks)),
        "grid": (GRID, lambda data: Grid.load(write("grid.yaml", data))),
        "notebook": (
            notebook,
            in_folder(
                "grid", "n.ipynb", {"grid.yaml": GRID}, lambda place: Grid.load(place / "grid.yaml")
            ),
        ),
        "training yaml": (
            b"recipe: quick\nsteps: 9\ninput_size: [64, 96]\nmodel: {feature_dim: 8}\naugment: {colour: 0.1}\n",
            lambda data: config(write("config.yaml", data)),
        ),
        "checkpoint": (
            saved(save_checkpoint, small),
            lambda data: load_checkpoint(write("a.safetensors", data)),
        ),
        "reference weights": (
            saved(lambda p: torch.save({"state_dict": published}, p)),
            lambda data: read_weights(write("a.pth", data)),
        ),
        "older reference weights": (
            saved(lambda p: torch.save(published, p, _use_new_zipfile_serialization=False)),
            lambda data: read_weights(write("a.pth", data)),
        ),
    }
    for ending, code in ((".mp4", "mp4v"), (".webm", "VP80"), (".avi", "MJPG")):
        found[f"video {ending}"] = (
            video(ending, code),
            lambda data, e=ending: list(VideoFrames(write(f"v{e}", data))),
        )
    for kind in ("uadetrac", "uavdt", "csv", "coco", "yolo"):
        found[f"results {kind}"] = results(kind)
    for folder, source, files, names in (
        ("uavdt", "uavdt", uavdt, list(uavdt)),
        ("mot", "mot", mot, ["s/seqinfo.ini", "s/gt/gt.txt"]),
        ("cdnet", "cdnet", cdnet, ["temporalROI.txt"]),
        ("scene", "scenes", scene, ["scene.json", "objects.csv"]),
    ):
        for name in names:
            found[f"{folder} {name}"] = (
                files[name],
                in_folder(f"{folder}-{Path(name).name}", name, files, sequences(source)),
            )
    for name, data in experiments.items():
        found[f"experiment {name}"] = (
            data,
            in_folder(f"experiment-{Path(name).name}", name, experiments, experiment),
        )
    for name in run:
        found[f"run {name}"] = (
            run[name],
            in_folder(f"run-{name}", name, run, lambda place: read_run(place, {"steps": 3}, "d")),
        )
    return found


TOKENS = [
    b"",
    b"0",
    b"-1",
    b"1e400",
    b"-1e308",
    b"nan",
    b"inf",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b"9" * 20,
    b"1_0",
    b"\x00",
    b"\xff\xfe",
    b"\n",
    b"\r\n",
    b",,,",
    b"'",
    b'"',
    b"../",
    b"/",
    b"<!--",
    b"]]>",
    b"&a;",
    b"*a",
    b"&a ",
    b"!!python/name:os ",
    "é\u2028²٣".encode(),
    b"[" * 3000,
    struct.pack("<Q", 2**62),
    struct.pack(">I", 2**31 - 1),
    b"\xff" * 4,
    bytes(8),
]
SNIPPETS = st.one_of(
    st.sampled_from(TOKENS),
    st.binary(max_size=12),
    st.floats().map(lambda x: repr(x).encode()),
    st.integers(-(2**70), 2**70).map(lambda i: str(i).encode()),
    st.text(max_size=6).map(lambda t: t.encode("utf-8", "replace")),
)
PLACES, KINDS = (
    st.floats(0, 1),
    st.sampled_from(["put", "word", "word", "cut", "twice", "flip", "swap"]),
)
EDITS = st.lists(st.tuples(KINDS, PLACES, PLACES, SNIPPETS), min_size=1, max_size=3)


def is_text(data: bytes) -> bool:
    return b"\0" not in data[:200]


def damaged(data: bytes, edits: list) -> bytes:
    "What edits make of a file: bytes put over others, words (runs of letters and digits) replaced, cuts, repetitions, bits."
    for what, at, long, snippet in edits:
        # headers decide most of what happens, so half of the places in a binary file are near its beginning
        n = len(data) if is_text(data) or at > 0.5 else min(len(data), 400)
        i = int((at if is_text(data) else at * 2 % 1) * n)
        k = 1 + int(long**6 * (len(data) - i))
        if what == "put":
            data = data[:i] + snippet + data[i + (len(snippet) if long < 0.5 else 0) :]
        elif what == "word":
            end = next(
                (
                    j
                    for j in range(i, len(data))
                    if not chr(data[j]).isalnum() and data[j] not in b".-"
                ),
                len(data),
            )
            data = data[:i] + snippet + data[end:]
        elif what == "cut":
            data = data[:i] + data[i + k :]
        elif what == "twice":
            data = data[: i + k] + data[i:][:20_000]
        elif what == "flip" and data:
            i = min(i, len(data) - 1)
            data = data[:i] + bytes([data[i] ^ 1 << int(long * 7)]) + data[i + 1 :]
        elif what == "swap":
            j = min(len(data), i + k)
            data = data[:i] + data[j : j + k] + data[i:j] + data[j + k :]
    return data


READERS = readers()


def tried(name: str, counts: Counter):
    "A test of one reader, for hypothesis to call with edits."
    sound, read = READERS[name]

    def test(edits):
        counts["tried"] += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(damaged(sound, edits))
                counts["read"] += 1
            except NAMED as error:
                counts["refused"] += 1
                assert str(error).isprintable() or isinstance(
                    error, (GridError, CheckpointError)
                ), "an error of several lines"

    return test


PROFILE = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused_by_name(name):
    READERS[name][1](READERS[name][0])  # the sound file is read
    given(EDITS)(settings(max_examples=25, derandomize=True, **PROFILE)(tried(name, Counter())))()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600, help="how long in all (600)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(2**32), help="of the first round"
    )
    parser.add_argument("--reader", action="append", help="only this one; repeat for several")
    options = parser.parse_args()
    for sound, read in READERS.values():
        read(sound)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders complain there, of each file
    counts, begin, round_, findings = (
        {n: Counter() for n in options.reader or READERS},
        time.time(),
        options.seed,
        {},
    )
    while time.time() - begin < options.seconds:
        for name in counts:
            if time.time() - begin > options.seconds:
                break
            try:
                given(EDITS)(
                    seed(round_)(settings(max_examples=60, **PROFILE)(tried(name, counts[name])))
                )()
            except Exception as error:  # a finding, whatever it is
                counts[name]["findings"] += 1
                if name not in findings:
                    findings[name] = f"{type(error).__name__}: {error}"
                    print(f"{name}, round {round_}: {findings[name][:600]}", flush=True)
        round_ += 1
    print(f"\n{'reader':32} {'tried':>8} {'read':>8} {'refused':>8} {'findings':>9}")
    for name, c in counts.items():
        print(f"{name:32} {c['tried']:8} {c['read']:8} {c['refused']:8} {c['findings']:9}")
    total = sum(counts.values(), Counter())
    print(
        f"{'in all':32} {total['tried']:8} {total['read']:8} {total['refused']:8} {total['findings']:9}   "
        f"{time.time() - begin:.0f} s, seeds {options.seed} to {round_ - 1}"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        shutil.rmtree(HOME, ignore_errors=True)
