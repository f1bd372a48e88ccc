"""What is written touches only our own files; caches know content; masks of other values; warnings."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from material import street

from spotnet.data import ArrayFrames, Detections, FORMATS, Objects, Sequence, load_sequences
from spotnet.data import read_detections, write_detections
from spotnet.data.mask_files import is_own_mask, write_mask
from spotnet.evaluation import evaluate_masks
from spotnet.explore.pictures import write_video
from spotnet.files import LEDGER, DataError, record, write_atomic, write_table
from spotnet.masks import write_masks
from spotnet.training.checkpoints import fingerprint
from spotnet.training.samples import read_mask


def block(frames=6, seed=1):
    "A bright block that moves over a textured ground."
    ground = np.random.default_rng(seed).integers(60, 120, (48, 64, 3)).astype(np.uint8)
    images = np.repeat(ground[None], frames, 0)
    for i in range(frames):
        images[i, 10:25, 5 * i : 5 * i + 15] = 240
    boxes = [Objects([[5 * i, 10, 5 * i + 15, 25]]) for i in range(frames)]
    return Sequence("cam1", ArrayFrames(images), boxes)


def on_disk(root, sequence, suffix=".jpg"):
    "The frames of a sequence as files, read as `images`."
    folder = root / sequence.name
    folder.mkdir(parents=True)
    for name, image in zip(sequence.frames.names, sequence.frames):
        cv2.imwrite(str(folder / f"{name}{suffix}"), image[..., ::-1])
    [read] = load_sequences("images", root)
    return read


def contents(folder):
    return {p: p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def refused(call, *words):
    with pytest.raises(ValueError) as error:
        call()
    assert all(word in str(error.value) for word in words), str(error.value)


# ---- foreign files -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("method", ["mog2", "boxes", "import"])
def test_masks_into_the_folder_of_the_frames(method, suffix, tmp_path):
    read = on_disk(tmp_path / "mine", block(), suffix)
    before = contents(tmp_path)
    options = {"folder": tmp_path / "mine"} if method == "import" else {}
    call = lambda: write_masks([read], tmp_path / "mine", method, False, **options)  # noqa: E731
    refused(call, "mine/cam1", "another folder")
    assert contents(tmp_path) == before


def test_a_corrected_mask_survives_other_options_and_stays_in_the_same(tmp_path):
    write_masks([block()], tmp_path, "boxes")
    drawn = tmp_path / "cam1" / "000003.png"
    cv2.imwrite(str(drawn), np.zeros((48, 64), np.uint8))
    before = contents(tmp_path)
    write_masks([block()], tmp_path, "boxes")  # complete: nothing to do
    assert contents(tmp_path) == before
    refused(lambda: write_masks([block()], tmp_path, "mog2"), "000003.png", "changed since")
    assert contents(tmp_path) == before


def test_nothing_is_done_where_one_of_several_folders_is_foreign(tmp_path):
    other = replace(block(), name="cam2")
    (tmp_path / "cam2").mkdir()
    cv2.imwrite(str(tmp_path / "cam2" / "x.png"), np.zeros((4, 4), np.uint8))
    refused(lambda: write_masks([block(), other], tmp_path, "boxes"), "x.png")
    assert not (tmp_path / "cam1").exists()


def test_a_foreign_manifest_is_not_replaced(tmp_path):
    (tmp_path / "cam1").mkdir()
    (tmp_path / "cam1" / "masks.json").write_text('{"images": []}')
    before = contents(tmp_path)
    refused(lambda: write_masks([block()], tmp_path, "boxes"), "masks.json")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("format", FORMATS)
def test_results_replace_ours_and_nothing_else(format, tmp_path):
    found = Detections("s", [1], [[5, 5, 20, 20]], [0.5], [0])
    for _ in range(2):  # an earlier result of ours
        paths = write_detections(tmp_path, [found], format, sequences=[street()])
    ours = paths[0].read_bytes()
    paths[0].write_text("corrected by hand")
    refused(
        lambda: write_detections(tmp_path, [found], format, sequences=[street()]),
        paths[0].name,
        "did not write",
    )
    assert paths[0].read_text() == "corrected by hand"
    paths[0].write_bytes(ours)  # undone
    write_detections(tmp_path, [found], format, sequences=[street()])
    (tmp_path / LEDGER).unlink(missing_ok=True)
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
    user = tmp_path / "user"
    user.mkdir()
    (user / paths[0].name).write_text("by hand")
    if format != "yolo":
        refused(
            lambda: write_detections(user, [found], format, sequences=[street()]), paths[0].name
        )


def test_a_kill_between_note_and_file_leaves_our_file_ours(tmp_path):
    write_atomic(tmp_path / "a.csv", "first", own=True)
    record(tmp_path, {"a.csv": b"second"})  # killed here, before the file was replaced
    write_atomic(tmp_path / "a.csv", "third", own=True)
    assert (tmp_path / "a.csv").read_text() == "third"


def test_videos_and_tables_of_others_are_not_replaced(tmp_path):
    pictures = [np.zeros((48, 64, 3), np.uint8)] * 2
    (tmp_path / "a.webm").write_bytes(b"mine")
    refused(lambda: write_video(tmp_path / "a.webm", pictures, own=True), "a.webm")
    (tmp_path / "errors.csv").write_text("mine")
    refused(lambda: write_table(tmp_path / "errors.csv", pd.DataFrame(), own=True), "errors.csv")
    assert (tmp_path / "a.webm").read_bytes() == b"mine"


def test_our_results_among_the_inputs_are_no_input(tmp_path):
    read = on_disk(tmp_path / "data", block())
    write_masks([read], tmp_path / "data" / "found", "boxes", False)
    pictures = list(read.frames)
    write_video(tmp_path / "data" / "found" / "cam1.webm", pictures, own=True)
    write_detections(tmp_path / "data", [Detections("cam1", [1], [[1, 1, 9, 9]], [0.5])], "csv")
    assert [s.name for s in load_sequences("images", tmp_path / "data")] == ["cam1"]
    refused(lambda: load_sequences("video", tmp_path / "data"), "no video sequence")
    assert len(read_detections(tmp_path / "data", "csv")) == 1


# ---- content -------------------------------------------------------------------------------------


def test_masks_of_another_video_of_the_same_name_are_not_valid(tmp_path):
    first = on_disk(tmp_path / "first", block())
    second = on_disk(tmp_path / "second", block(seed=9))
    manifest = tmp_path / "masks" / "cam1" / "masks.json"
    write_masks([first], tmp_path / "masks", "mog2", False)
    before = json.loads(manifest.read_text())
    copied = shutil.copytree(tmp_path / "first", tmp_path / "copied")
    write_masks(load_sequences("images", copied), tmp_path / "masks", "mog2", False)
    assert json.loads(manifest.read_text()) == before  # the same content: still valid
    write_masks([second], tmp_path / "masks", "mog2", False)
    assert json.loads(manifest.read_text())["content"] != before["content"]


def test_the_fingerprint_of_a_training_changes_with_frames_and_masks(tmp_path):
    read = block()
    write_masks([read], tmp_path, "boxes")
    before = fingerprint([read], tmp_path)
    assert before == fingerprint([read], tmp_path) != fingerprint([read])
    assert before != fingerprint([block(seed=2)], tmp_path)
    write_mask(tmp_path / "cam1" / "000002.png", np.zeros((48, 64), np.uint8))
    assert before != fingerprint([read], tmp_path)


# ---- values of masks -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 2, 128, 254])
def test_masks_of_other_values(value, tmp_path):
    read, labels = block(), np.zeros((48, 64), np.uint8)
    labels[10:30, 10:40] = 255
    home = tmp_path / "drawn" / "cam1"
    home.mkdir(parents=True)
    for name in read.frames.names:
        cv2.imwrite(str(home / f"{name}.png"), labels // 255 * value)
    words = ("000001.png", str(value), "foreground")
    refused(lambda: read_mask(home / "000001.png", (48, 64)), *words)
    judged = replace(read, label_images=ArrayFrames([labels] * 6))
    refused(lambda: evaluate_masks([judged], tmp_path / "drawn"), *words)
    given = {"cam1": [labels // 255 * value] * 6}
    refused(lambda: evaluate_masks([judged], given), str(value))
    options = {"folder": tmp_path / "drawn"}
    refused(lambda: write_masks([read], tmp_path / "out", "import", False, **options), *words)
    options["foreground"] = value
    write_masks([read], tmp_path / "out2", "import", False, **options)
    assert evaluate_masks([judged], tmp_path / "out2").f.iloc[0] == 1
    assert is_own_mask(tmp_path / "out2" / "cam1" / "000001.png")


# ---- warnings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["median", "flow"])
def test_one_warning_for_each_cause_and_sequence(method, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (24, 96, 128, 3), np.uint8)  # nothing matches anything
    noise = Sequence("noise", ArrayFrames(images), [Objects([[5, 5, 40, 40]])] * 24)
    options = {"shaking": True} if method == "median" else {}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        write_masks([noise], tmp_path, method, **options)
    causes = [str(w.message).split(")")[-1] for w in told]
    assert causes and len(set(causes)) == len(causes), [str(w.message) for w in told]
    assert all(str(w.message).startswith("noise: ") for w in told)


def test_a_refusal_says_what_to_do(tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(DataError, match="--out"):
        write_atomic(tmp_path / "a.csv", "ours", own=True)
