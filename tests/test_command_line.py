"""The verbs as a shell user calls them, one after the other, on a rendered scene and on a video without annotation."""
import json
import subprocess
import sys

import cv2
import pandas as pd
import pytest

from spotnet.scenes import SceneConfig, render_scenes


def spotnet(*arguments, code=0):
    run = subprocess.run([sys.executable, "-m", "spotnet", *map(str, arguments)], capture_output=True, text=True)
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    [scene] = render_scenes(folder / "scenes", [SceneConfig("street", frames=12, layout=3)], progress=False)
    writer = cv2.VideoWriter(str(folder / "own video.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 15, (480, 270))
    for image in scene.frames:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return folder


def test_masks(work):
    said = json.loads(spotnet("masks", "scenes", work / "scenes", "--method", "median", "--out", work / "masks", "--json"))
    assert 0.5 < said["quality"]["street"]["f"] <= 1
    assert len(list((work / "masks" / "street").glob("*.png"))) == 12


def test_train_detect_evaluate(work):
    if not (work / "masks").exists():
        test_masks(work)
    said = spotnet(
        "train", "scenes", work / "scenes", "--masks", work / "masks", "--steps", 3, "--batch", 2, "--out", work / "run"
    )
    assert "3 steps" in said and len(pd.read_csv(work / "run" / "history.csv"))
    assert "already" in spotnet("train", "scenes", work / "scenes", "--masks", work / "masks", "--steps", 3, "--batch", 2,
                                "--out", work / "run", "--resume")
    checkpoint = work / "run" / "checkpoint" / "last"
    spotnet("detect", checkpoint, work / "own video.mp4", "--out", work / "found", "--video", "--score", 0)
    assert cv2.VideoCapture(str(work / "found" / "own video.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 12
    assert set(pd.read_csv(work / "found" / "detections.csv").sequence) == {"own video"}
    spotnet("detect", checkpoint, work / "scenes" / "street" / "frames", "--out", work / "res", "--format", "uavdt", "--score", 0)
    truth = work / "gt"
    truth.mkdir()
    (truth / "frames_gt_whole.txt").write_text("1,1,10,20,30,40,1,1,1\n")
    figures = json.loads(spotnet("evaluate", "uavdt", "--truth", truth, "--detections", work / "res", "--json"))
    assert figures["objects"] == 1 and figures["detections"] > 0 and 0 <= figures["AP"] <= 100


def test_masks_of_a_video_without_annotation(work):
    said = spotnet("masks", "video", work / "own video.mp4", "--no-within-boxes", "--method", "knn", "--out", work / "own")
    assert "1 sequences" in said and len(list((work / "own" / "own video").glob("*.png"))) == 12
    spotnet("masks", "video", work / "own video.mp4", "--out", work / "none", code=2)


def test_grid_refuses_before_anything_starts(work):
    (work / "n.ipynb").write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (work / "grid.yaml").write_text("stages: [{name: a, notebook: n.ipynb, parameters: {steps: 1}}]")
    spotnet("run", work / "grid.yaml", "--out", work / "grid", code=2)
    assert not (work / "grid").exists()


def test_doctor_and_help():
    assert json.loads(spotnet("doctor", "--json"))["parts"]["torch"]
    assert "Example: spotnet train" in spotnet("train", "--help")
