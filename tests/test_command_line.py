"""The verbs as a shell user calls them, one after the other, on a rendered scene and on a video without annotation."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from spotnet.data.detections import Detections
from spotnet.data.result_files import write_detections
from spotnet.scenes import SceneConfig, render_scenes


def spotnet(*arguments, code=0):
    run = subprocess.run(
        [sys.executable, "-m", "spotnet", *map(str, arguments)], capture_output=True, text=True
    )
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    [scene] = render_scenes(
        folder / "scenes", [SceneConfig("street", frames=12, layout=3)], progress=False
    )
    writer = cv2.VideoWriter(
        str(folder / "own video.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 15, (480, 270)
    )
    for image in scene.frames:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return folder


def test_masks(work):
    said = json.loads(
        spotnet(
            "masks",
            "scenes",
            work / "scenes",
            "--method",
            "median",
            "--out",
            work / "masks",
            "--json",
        )
    )
    assert 0.5 < said["quality"]["street"]["f"] <= 1
    assert len(list((work / "masks" / "street").glob("*.png"))) == 12


def test_hold_out(tmp_path):
    "A block of the street at one end, with a gap before it; never together with another choice."
    slow = SceneConfig("slow", frames=12, fps=1.0, layout=3)
    render_scenes(tmp_path / "scenes", [slow], progress=False)
    call = ["train", "scenes", tmp_path / "scenes", "--variant", "centernet", "--check"]
    call += ["--out", tmp_path / "held", "--hold-out", "0.3"]
    said = spotnet(*call)
    assert "validation, not trained on: 4 of slow" in said, said
    assert "0 of 4 test frames have a training frame of the same recording within 2 s" in said, said
    run = [sys.executable, "-m", "spotnet", *map(str, call), "--validation", "7-12"]
    both = subprocess.run(run, capture_output=True, text=True)
    assert both.returncode == 2 and "leave out --validation" in both.stderr, both.stderr


def test_check_before_training(work):
    if not (work / "masks").exists():
        test_masks(work)
    said = spotnet(
        "train",
        "scenes",
        work / "scenes",
        "--masks",
        work / "masks",
        "--recipe",
        "quick",
        "--frames",
        "1-6",
        "--validation",
        "7-12",
        "--out",
        work / "checked",
        "--check",
    )
    assert (
        "100% of 6 test frames have a training frame of the same recording within 2 s" in said
        and (work / "checked" / "check.png").stat().st_size > 10_000
    )
    facts = json.loads((work / "checked" / "check.json").read_text())
    assert facts["sequences"][0]["objects"] > 0 and facts["findings"][0]["level"] == "warning"
    for mask in (work / "masks" / "street").glob("*.png"):
        (work / "black" / "street").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(work / "black" / "street" / mask.name), np.zeros((270, 480), np.uint8))
    said = spotnet(
        "train",
        "scenes",
        work / "scenes",
        "--masks",
        work / "black",
        "--out",
        work / "checked",
        "--check",
        code=1,
    )
    assert "stop:" in said and "learn that there is none" in said
    assert not (work / "checked" / "checkpoint").exists()


def test_train_detect_evaluate(work):
    if not (work / "masks").exists():
        test_masks(work)
    (work / "settings.yaml").write_text("steps: 90\nbatch: 2\n")
    said = spotnet(
        "train",
        "scenes",
        work / "scenes",
        "--masks",
        work / "masks",
        "--config",
        work / "settings.yaml",
        "--steps",
        3,
        "--set",
        "ema=0.9",
        "--validation",
        "1-2",
        "--out",
        work / "run",
    )
    assert "AP50" in said
    kept = json.loads((work / "run" / "checkpoint" / "last" / "state.json").read_text())["config"]
    assert (kept["steps"], kept["batch"], kept["ema"]) == (
        3,
        2,
        0.9,
    )  # options come after the file, and only those given
    assert "3 steps" in said and len(pd.read_csv(work / "run" / "history.csv"))
    assert "already" in spotnet(
        "train",
        "scenes",
        work / "scenes",
        "--masks",
        work / "masks",
        "--config",
        work / "settings.yaml",
        "--steps",
        3,
        "--set",
        "ema=0.9",
        "--validation",
        "1-2",
        "--out",
        work / "run",
        "--resume",
    )
    checkpoint = work / "run" / "checkpoint" / "last"
    spotnet(
        "detect",
        checkpoint,
        work / "own video.mp4",
        "--out",
        work / "found",
        "--video",
        "--masks",
        "--score",
        0,
    )
    assert len(list((work / "found" / "masks" / "own video").glob("*.png"))) == 12
    assert (
        cv2.VideoCapture(str(work / "found" / "own video.webm")).get(cv2.CAP_PROP_FRAME_COUNT) == 12
    )
    assert set(pd.read_csv(work / "found" / "detections.csv").sequence) == {"own video"}
    spotnet(
        "detect",
        checkpoint,
        work / "scenes" / "street" / "frames",
        "--out",
        work / "res",
        "--format",
        "uavdt",
        "--score",
        0,
    )
    spotnet(
        "detect",
        checkpoint,
        work / "scenes",
        "--source",
        "scenes",
        "--name",
        "street",
        "--out",
        work / "set",
        "--score",
        0,
    )
    assert set(pd.read_csv(work / "set" / "detections.csv").sequence) == {"street"}
    truth = work / "gt"
    truth.mkdir()
    (truth / "frames_gt_whole.txt").write_text("1,1,10,20,30,40,1,1,1\n")
    figures = json.loads(
        spotnet("evaluate", "uavdt", "--truth", truth, "--detections", work / "res", "--json")
    )
    assert figures["objects"] == 1 and figures["detections"] > 0 and 0 <= figures["AP"] <= 100


def test_evaluate_explains_and_compares(work):
    "Masks by CDnet's rules, rivals' files under the same rules, errors, audit, interval and comparison, on rendered video."
    scenes = work / "two"
    streets = render_scenes(
        scenes,
        [SceneConfig(n, frames=8, layout=k) for n, k in (("a", 3), ("b", 4))],
        progress=False,
    )
    for name, noise in (("good", 0.5), ("poor", 3.0)):
        rng = np.random.default_rng(0)
        rows = [
            [
                np.hstack(
                    [
                        o.boxes + rng.normal(0, noise, o.boxes.shape),
                        rng.uniform(0.3, 1, (len(o), 1)),
                        np.zeros((len(o), 1)),
                    ]
                )
                for o in s.objects
            ]
            for s in streets
        ]
        rows = [[r[(r[:, 2:4] > r[:, :2]).all(1)] for r in frames] for frames in rows]
        write_detections(
            work / name,
            [Detections.from_frames(s.name, s.numbers, r) for s, r in zip(streets, rows)],
            "yolo",
            sequences=streets,
        )
    ours = (
        "evaluate",
        "uadetrac",
        "--truth",
        scenes,
        "--source",
        "scenes",
        "--format",
        "yolo",
        "--iou",
        0.5,
    )
    said = json.loads(spotnet(*ours, "--detections", work / "good", "--interval", "--json"))
    assert said["AP"] > 80 and len(said["interval95"]) == 2
    text = spotnet(
        *ours,
        "--detections",
        work / "good",
        "--against",
        work / "poor",
        "--errors",
        work / "errors",
        "--audit",
        work / "audit.csv",
    )
    assert "2 sequences" in text and "a difference of +" in text and "sign-flip p" in text
    assert {p.name for p in (work / "errors").iterdir()} >= {
        "errors.csv",
        "errors.png",
        "worst_frames.csv",
        "worst_frames.png",
    }
    assert set(pd.read_csv(work / "audit.csv").verdict) <= {
        "hit",
        "false positive",
        "on ignored ground",
    }
    spotnet("masks", "scenes", scenes, "--method", "boxes", "--out", work / "boxes")
    table = pd.DataFrame(
        json.loads(
            spotnet(
                "evaluate",
                "cdnet",
                "--source",
                "scenes",
                "--truth",
                scenes,
                "--detections",
                work / "boxes",
                "--json",
            )
        )
    )
    assert table.recall.iloc[-1] > 0.9 and table.f.iloc[-1] < 1 and len(table) >= 4


def test_reference_weights_to_training_to_onnx(work):
    "A published-style COCO file becomes a start for training, a trained network becomes ONNX, and both detect alike."
    from test_parity import reference_state

    state = reference_state((32, 32, 48, 64), (1, 1, 1, 1), 16, 32, 80, 1, foreground=False)
    torch.save(
        {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}, work / "coco.pth"
    )
    said = json.loads(
        spotnet(
            "convert",
            work / "coco.pth",
            work / "start.safetensors",
            "--classes",
            1,
            "--variant",
            "spotnet",
            "--json",
        )
    )
    assert said["started_at_random"][0] == "heads.0.heatmap.1" and said["config"]["classes"] == 1
    if not (work / "masks").exists():
        test_masks(work)
    train = (
        "train",
        "scenes",
        work / "scenes",
        "--masks",
        work / "masks",
        "--size",
        "tiny",
        "--steps",
        2,
        "--batch",
        2,
    )
    assert "heads.0.heatmap.1" in spotnet(
        *train, "--out", work / "from_reference", "--init", work / "coco.pth"
    )
    checkpoint = work / "from_reference" / "checkpoint" / "last"
    assert "differs from the checkpoint" in spotnet(
        "export", checkpoint, work / "net.onnx", "--decode"
    )
    frames = {}
    for name, file in (("torch", checkpoint), ("onnx", work / "net.onnx")):
        spotnet(
            "detect",
            file,
            work / "scenes" / "street" / "frames",
            "--out",
            work / name,
            "--score",
            0,
        )
        frames[name] = pd.read_csv(work / name / "detections.csv")
    # Each detection has a twin in the other file: frame, box and score. After two steps the maps are
    # so flat that neighbours differ by a rounding error, and one of two equal peaks may be missing.
    columns = ["x0", "y0", "x1", "y1"]
    for one, other in (("torch", "onnx"), ("onnx", "torch")):
        twins = []
        for frame, found in frames[one].groupby("frame"):
            rest = frames[other][frames[other].frame == frame]
            apart = abs(found[columns].to_numpy()[:, None] - rest[columns].to_numpy()).max(2)
            score = abs(found.score.to_numpy()[:, None] - rest.score.to_numpy())
            twins += ((apart < 0.1) & (score < 1e-3)).any(1).tolist()
        assert len(twins) > 100 and np.mean(twins) > 0.98
    spotnet(
        "detect",
        checkpoint,
        work / "scenes" / "street" / "frames",
        "--out",
        work / "twice",
        "--flip",
        "--zoom",
        1,
        "--zoom",
        1.5,
    )


def test_masks_of_a_video_without_annotation(work):
    said = spotnet(
        "masks",
        "video",
        work / "own video.mp4",
        "--no-within-boxes",
        "--method",
        "knn",
        "--out",
        work / "own",
    )
    assert "1 sequences" in said and len(list((work / "own" / "own video").glob("*.png"))) == 12
    spotnet("masks", "video", work / "own video.mp4", "--out", work / "none", code=2)


def test_grid_refuses_before_anything_starts(work):
    (work / "n.ipynb").write_text(
        json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    (work / "grid.yaml").write_text(
        "stages: [{name: a, notebook: n.ipynb, parameters: {steps: 1}}]"
    )
    spotnet("run", work / "grid.yaml", "--out", work / "grid", code=2)
    assert not (work / "grid").exists()


def test_doctor_and_help():
    assert json.loads(spotnet("doctor", "--json"))["parts"]["torch"]
    assert "Example: spotnet train" in spotnet("train", "--help")
