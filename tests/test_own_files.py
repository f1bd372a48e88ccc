"""What is written touches only our own files; caches know content; masks of other values; warnings."""

import json
import multiprocessing
import shutil
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from material import street, write_clip
from typer.testing import CliRunner

from spotnet.batch import collect
from spotnet.cli import app
from spotnet.data import ArrayFrames, Detections, FORMATS, Objects, Sequence, load_sequences
from spotnet.data import read_detections, write_detections
from spotnet.data.mask_files import is_own_mask, write_mask
from spotnet.evaluation import evaluate_masks
from spotnet.explore.external import export_fiftyone
from spotnet.explore.pictures import write_video
from spotnet.explore.views import View
from spotnet.files import LEDGER, DataError, own_names, record, refuse_foreign, remove_temporary
from spotnet.files import write_atomic, write_table
from spotnet.masks import write_masks
from spotnet.masks.writing import frames_hash
from spotnet.network import Detector, SpotNet, export_onnx, model_config, save_checkpoint
from spotnet.scenes import SceneConfig, render_scenes
from spotnet.training import TrainConfig, train
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
    refused(lambda: write_masks([block()], tmp_path, "mog2"), "000003.png", "changed afterwards")
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


# ---- further members: links and folders, imports, caches ------------------------------------------


def test_links_and_folders_in_the_place_of_a_mask(tmp_path):
    folder = tmp_path / "cam1"
    folder.mkdir()
    (folder / "000002.png").symlink_to(tmp_path / "elsewhere.png")  # leads nowhere today
    refused(lambda: write_masks([block()], tmp_path, "boxes"), "000002.png")
    assert (folder / "000002.png").is_symlink()
    (folder / "000002.png").unlink()
    (folder / "000004.png").mkdir()
    refused(lambda: write_masks([block()], tmp_path, "boxes"), "000004.png")
    write_masks([replace(block(), name="frames")], tmp_path, "boxes")
    (tmp_path / "linked").symlink_to(tmp_path / "frames")
    on_disk(tmp_path / "mine", block(), ".png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cam1").symlink_to(tmp_path / "mine" / "cam1")  # the frames by another name
    before = contents(tmp_path / "mine")
    refused(lambda: write_masks([block()], tmp_path / "out", "mog2", False), "000001.png")
    assert contents(tmp_path / "mine") == before and len(before) == 6


@pytest.mark.parametrize("folder", ["masks", "masks/cam1", "linked"])
def test_an_import_in_place_harms_not_even_our_own_masks(folder, tmp_path):
    write_masks([block()], tmp_path / "masks", "boxes")
    (tmp_path / "linked").symlink_to(tmp_path / "masks")
    before = contents(tmp_path / "masks")
    options = {"folder": tmp_path / folder, "foreground": 255}
    refused(lambda: write_masks([block()], tmp_path / "masks", "import", **options), "cam1")
    assert contents(tmp_path / "masks") == before


def test_an_import_follows_what_it_imports(tmp_path):
    write_masks([block()], tmp_path / "drawn", "boxes")
    options = {"method": "import", "within_boxes": False, "folder": tmp_path / "drawn"}
    made = tmp_path / "out" / "cam1" / "000003.png"
    write_masks([block()], tmp_path / "out", **options)
    before = made.stat().st_mtime_ns
    write_masks([block()], tmp_path / "out", **options)
    assert made.stat().st_mtime_ns == before  # nothing changed
    cv2.imwrite(str(tmp_path / "drawn" / "cam1" / "000003.png"), np.full((48, 64), 255, np.uint8))
    write_masks([block()], tmp_path / "out", **options)
    assert cv2.imread(str(made), cv2.IMREAD_GRAYSCALE).min() == 255


def test_masks_that_are_missing_are_made_again(tmp_path):
    write_masks([block()], tmp_path, "boxes")
    (tmp_path / "cam1" / "000005.png").unlink()
    write_masks([block()], tmp_path, "boxes")
    assert len(list((tmp_path / "cam1").glob("*.png"))) == 6
    renamed = block()
    frames = ArrayFrames(renamed.frames.images, names=[f"f{i}" for i in range(6)])
    write_masks([replace(renamed, frames=frames)], tmp_path, "boxes")
    assert sorted(p.stem for p in (tmp_path / "cam1").glob("*.png")) == frames.names


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".jpg"])
def test_a_change_in_the_middle_of_one_frame_is_seen(suffix, tmp_path):
    flat = Sequence("cam1", ArrayFrames(np.full((3, 300, 400, 3), 90, np.uint8)), [None] * 3)
    read = on_disk(tmp_path, flat, suffix)
    before = frames_hash(read)
    path = read.frames.paths[1]
    image = cv2.imread(str(path))
    image[140:150, 190:200] = 250  # a BMP begins and ends as before, and is as large
    cv2.imwrite(str(path), image)
    [again] = load_sequences("images", tmp_path)
    assert frames_hash(again) != before
    path.touch()
    assert frames_hash(again) == frames_hash(again[:])


def test_a_change_in_the_middle_of_a_video_is_seen(tmp_path):
    write_clip(tmp_path / "cam.avi", 60, "MJPG")
    [clip] = load_sequences("video", tmp_path)
    before = frames_hash(clip)
    data = bytearray((tmp_path / "cam.avi").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "cam.avi").write_bytes(data)
    [clip] = load_sequences("video", tmp_path)
    assert frames_hash(clip) != before


# ---- masks that hold more than two values ----------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "ground", "road_user", "edge"),
    [
        ("class indices", 0, 2, 1),
        ("255 does not count", 0, 1, 255),
        ("ground is 1", 1, 255, 255),
        ("trimap", 0, 128, 255),
    ],
)
def test_masks_of_three_values(what, ground, road_user, edge, tmp_path):
    mask = np.full((48, 64), ground, np.uint8)
    mask[10:30, 10:40] = edge
    mask[12:28, 12:38] = road_user
    cv2.imwrite(str(tmp_path / "000001.png"), mask)
    refused(lambda: read_mask(tmp_path / "000001.png", (48, 64)), "000001.png", "0 for ground")
    judged = replace(block(1), label_images=ArrayFrames([np.zeros((48, 64), np.uint8)]))
    refused(lambda: evaluate_masks([judged], tmp_path), "000001.png", "0 for ground")
    call = lambda: write_masks([block(1)], tmp_path / "out", "import", folder=tmp_path)  # noqa: E731
    refused(call, "000001.png", "grey values")


def test_soft_edges_and_codes_are_read(tmp_path):
    mask = np.zeros((96, 128), np.uint8)
    mask[21:59, 23:81] = 255
    soft = cv2.GaussianBlur(mask, (0, 0), 1.5)
    shadow = mask.copy()
    shadow[59:65, 23:81] = 127
    for name, kind in {"soft": soft, "shadow": shadow, "nothing": mask * 0}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), kind)
        assert read_mask(tmp_path / f"{name}.png", (48, 64)).shape == (48, 64)


# ---- scenes ----------------------------------------------------------------------------------------


def test_scenes_replace_scenes_and_nothing_else(tmp_path):
    config = SceneConfig("street", frames=2, layout=3)
    data = tmp_path / "street" / "frames" / "000001.jpg"
    data.parent.mkdir(parents=True)
    data.write_bytes(b"a frame of the user, in the layout of a scene")
    refused(lambda: render_scenes(tmp_path, [config], progress=False), "000001.jpg", "Choose")
    refused(lambda: render_scenes(tmp_path, [replace(config, name="../x")], progress=False), "..")
    assert contents(tmp_path) == {data: data.read_bytes()}
    data.unlink()
    render_scenes(tmp_path, [config], progress=False)
    (tmp_path / "street" / ".DS_Store").write_bytes(b"litter")
    render_scenes(tmp_path, [replace(config, frames=1)], progress=False)  # our own: replaced
    assert len(list((tmp_path / "street" / "frames").iterdir())) == 1
    before = contents(tmp_path)
    note = tmp_path / "street" / "labels" / "notes.txt"
    note.write_text("mine")
    refused(lambda: render_scenes(tmp_path, [config], progress=False), "notes.txt")
    assert contents(tmp_path) == before | {note: b"mine"}


# ---- training --------------------------------------------------------------------------------------

QUICK = TrainConfig.from_dict(
    {"recipe": "quick", "steps": 2, "batch": 2, "input_size": (64, 64), "workers": 0}
)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("history.csv", "epoch,loss\n1,0.5\n"),
        ("steps.jsonl", '{"step": 1, "reward": 3}\n'),
        ("steps.jsonl", "not JSON"),
        ("checkpoint/last/model.safetensors", "weights of another library"),
        ("checkpoint/best/weights.pt", "weights of another library"),
        ("checkpoint/last", "a file"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_training_refuses_a_folder_with_files_of_others(place, text, overwrite, tmp_path):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    before = contents(tmp_path)
    config = replace(QUICK, variant="centernet")
    refused(lambda: train(config, [block()], tmp_path, overwrite=overwrite), "another")
    assert contents(tmp_path) == before


def test_a_run_keeps_what_lies_in_its_checkpoints_and_knows_its_masks(tmp_path):
    run, masks = tmp_path / "run", tmp_path / "masks"
    write_masks([block()], masks, "boxes")
    options = {"masks": masks, "progress": False}
    train(QUICK, [block()], run, **options)
    (run / "checkpoint" / "last" / "notes.txt").write_text("the good one")
    copied = shutil.copytree(masks, tmp_path / "copied")
    train(QUICK, [block()], run, masks=copied, progress=False, resume=True)
    cv2.imwrite(str(masks / "cam1" / "000002.png"), np.full((48, 64), 255, np.uint8))
    refused(lambda: train(QUICK, [block()], run, resume=True, **options), "masks")
    others = replace(block(seed=3), objects=block().objects)
    refused(lambda: train(QUICK, [others], run, copied, resume=True, progress=False), "frames")
    (run / "history.csv").write_text("opened and saved by somebody")
    train(QUICK, [block()], run, overwrite=True, **options)
    assert (run / "checkpoint" / "last" / "notes.txt").read_text() == "the good one"
    assert pd.read_csv(run / "history.csv").step.tolist() == [2]


# ---- exports, reports, the command line --------------------------------------------------------------


def test_weights_of_others_are_not_replaced(tmp_path):
    network = SpotNet(model_config("tiny"))
    (tmp_path / "a.safetensors").write_bytes(b"weights of another library")
    refused(lambda: save_checkpoint(tmp_path / "a.safetensors", network), "a.safetensors")
    (tmp_path / "a.onnx").write_bytes(b"another model")
    refused(lambda: export_onnx(network, tmp_path / "a.onnx"), "a.onnx")
    assert (tmp_path / "a.safetensors").read_bytes() == b"weights of another library"
    for _ in range(2):  # our own is replaced
        save_checkpoint(tmp_path / "b.safetensors", network)


def test_pictures_of_the_explorer_replace_only_ours(tmp_path):
    view = View(block(), {"a": Detector(SpotNet(model_config("tiny")), device="cpu")})
    for name in ("a.png", "a.webm", "facts.json", "a.rrd"):
        (tmp_path / name).write_bytes(b"mine")
    refused(lambda: view.save_figure(tmp_path / "a.png"), "a.png")
    refused(lambda: view.make_video(tmp_path / "a.webm", [0], progress=False), "a.webm")
    refused(lambda: export_fiftyone(view, tmp_path, [0], progress=False), "facts.json")
    for _ in range(2):
        view.save_figure(tmp_path / "b.png")
        export_fiftyone(view, tmp_path / "new", [0], progress=False)
    (tmp_path / "new" / "data" / "IMG_1.jpg").write_bytes(b"mine")
    refused(lambda: export_fiftyone(view, tmp_path / "new", [0], progress=False), "IMG_1.jpg")
    assert (tmp_path / "a.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "place", ["report.html", "tables/runs.csv", "tables/runs.tex", "plots/speed.png"]
)
def test_a_report_replaces_only_ours(place, tmp_path):
    (tmp_path / "0a").mkdir()
    about = {"stage": "s", "notebook": "n.ipynb", "parameters": {}, "needs": [], "varies": []}
    for name, facts in (("params", about | {"given": {}}), ("status", {"state": "done"})):
        (tmp_path / "0a" / f"{name}.json").write_text(json.dumps(facts))
    (tmp_path / "0a" / "metrics.json").write_text('{"AP": 50.0}')
    runs = [{"id": "0a", "stage": "s", "name": "s"}]
    (tmp_path / "grid.json").write_text(json.dumps({"experiment": "e", "runs": runs}))
    for _ in range(2):
        collect(tmp_path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("mine")
    before = contents(tmp_path)
    refused(lambda: collect(tmp_path), place.split("/")[-1], "did not write")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("place", "options"),
    [
        ("detections.csv", []),
        ("detections.json", ["--format", "coco"]),
        ("cam1.txt", ["--format", "uavdt"]),
        ("cam1_Det_SpotNet.txt", ["--format", "uadetrac"]),
        ("cam1/000004.txt", ["--format", "yolo"]),
        ("cam1.webm", ["--video"]),
        ("masks/cam1/000001.png", ["--masks"]),
    ],
)
def test_detect_refuses_before_it_detects(place, options, tmp_path):
    on_disk(tmp_path / "data", block())
    weights = save_checkpoint(tmp_path / "a.safetensors", SpotNet(model_config("tiny")))
    (tmp_path / "out" / place).parent.mkdir(parents=True)
    (tmp_path / "out" / place).write_text("mine")
    arguments = ["detect", weights, tmp_path / "data", "--out", tmp_path / "out", *options]
    said = CliRunner().invoke(app, [str(a) for a in arguments])
    assert said.exit_code and place.split("/")[-1] in str(said.exception)
    assert contents(tmp_path / "out") == {tmp_path / "out" / place: b"mine"}


@pytest.mark.parametrize("place", ["errors.csv", "recall_by_size.csv", "worst_frames.png"])
def test_errors_are_refused_before_anything_is_scored(place, tmp_path):
    (tmp_path / "errors").mkdir()
    (tmp_path / "errors" / place).write_text("mine")
    arguments = ["evaluate", "uavdt", "--truth", "nowhere", "--detections", "nowhere"]
    for option in (["--errors", "errors"], ["--audit", f"errors/{place}"]):
        given = [*arguments, option[0], str(tmp_path / option[1])]
        assert place in str(CliRunner().invoke(app, given).exception)
    assert (tmp_path / "errors" / place).read_text() == "mine"


def test_yolo_results_of_an_earlier_call_do_not_mix(tmp_path):
    frames = street(frames=3)
    two = Detections("s", [1, 2], [[5, 5, 20, 20]] * 2, [0.5, 0.6], [0, 0])
    write_detections(tmp_path, [two], "yolo", sequences=[frames])
    one = Detections("s", [2], [[5, 5, 20, 20]], [0.7], [0])
    write_detections(tmp_path, [one], "yolo", sequences=[frames])
    [read] = read_detections(tmp_path, "yolo", sequences=[frames])
    assert read.frames.tolist() == [2] and np.allclose(read.scores, 0.7)


# ---- the ledger ------------------------------------------------------------------------------------


def write_many(folder, first):
    for i in range(first, first + 25):
        write_atomic(folder / f"{i}.csv", f"{i}", own=True)


def test_processes_that_write_into_one_folder_keep_each_others_notes(tmp_path):
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_many, [tmp_path] * 4, range(0, 100, 25)))
    refuse_foreign(tmp_path / f"{i}.csv" for i in range(100))
    assert len(own_names(tmp_path)) == 100


def test_a_ledger_of_others_makes_nothing_ours(tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    for text in (b"", b"\x00\xff\n" * 3, b"a.csv\n", b"  a.csv\n", b'{"a.csv": 1}'):
        (tmp_path / LEDGER).write_bytes(text)
        refused(lambda: write_atomic(tmp_path / "a.csv", "ours", own=True), "a.csv")
    (tmp_path / LEDGER).unlink()
    (tmp_path / LEDGER).mkdir()
    refused(lambda: write_atomic(tmp_path / "a.csv", "ours", own=True), "a.csv")


def test_downloads_are_no_temporary_files_of_ours(tmp_path):
    theirs = [tmp_path / name for name in (".film.mp4.part", ".film.part.mp4", "a.1.part")]
    for path in theirs:
        path.write_bytes(b"half")
    (tmp_path / ".a.csv.123.part").write_bytes(b"half")
    remove_temporary(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(theirs)


def test_a_file_of_the_user_under_a_name_that_was_ours_is_an_input_again(tmp_path):
    write_video(tmp_path / "cam.webm", list(block().frames))
    refused(lambda: load_sequences("video", tmp_path), "no video")
    write_clip(tmp_path / "cam.webm", 9, "VP80")
    assert [len(s) for s in load_sequences("video", tmp_path)] == [9]


# ---- options that are paths ------------------------------------------------------------------------


def test_paths_as_options(tmp_path):
    write_masks([block()], tmp_path / "drawn", "boxes")
    for folder in (tmp_path / "drawn", str(tmp_path / "drawn")):  # the same to the manifest
        write_masks([block()], tmp_path / "out", "import", folder=folder)
    manifest = tmp_path / "out" / "cam1" / "masks.json"
    assert json.loads(manifest.read_text())["options"] == {"folder": str(tmp_path / "drawn")}
