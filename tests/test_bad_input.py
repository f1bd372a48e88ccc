"""A table of broken inputs: each ends in one clear message that names the place and the remedy, and nothing is half-written."""

import json
import os
import subprocess
import sys

import cv2
import nbformat
import numpy as np
import onnx
import pytest
import torch
from material import picture, street, write_clip

from spotnet.training.checkpoints import read_run, save_run
from spotnet.network.detector import Detector
from spotnet.batch.grids import Grid
from spotnet.batch.report import collect
from spotnet.data.mask_files import write_mask
from spotnet.evaluation.cdnet import evaluate_masks
from spotnet.masks import write_masks
from spotnet.network.model import SpotNet, model_config
from spotnet.network.weights import read_weights
from spotnet.data.result_files import read_detections
from spotnet.batch.progress import RunsView
from spotnet.training.samples import Samples
from spotnet.scenes.render import render_scenes
from spotnet.scenes.config import SceneConfig
from spotnet.data.video import VideoFrames
from spotnet.data.readers import load_sequences
from spotnet.data.sequences import Objects
from spotnet.training.recipes import TrainConfig


def missing_folder(p):
    load_sequences("uavdt", p / "nowhere")


def empty_folder(p):
    load_sequences("images", p)


def truncated_jpeg(p):
    data = picture(p / "img00001.jpg").read_bytes()
    (p / "img00001.jpg").write_bytes(data[: len(data) // 2])
    list(load_sequences("images", p)[0].frames)


def truncated_png(p):
    data = picture(p / "img00001.png").read_bytes()
    (p / "img00001.png").write_bytes(data[:20])
    list(load_sequences("images", p)[0].frames)


def empty_picture(p):
    (p / "img00001.jpg").write_bytes(b"")
    list(load_sequences("images", p)[0].frames)


def changing_size(p):
    picture(p / "img00001.jpg")
    picture(p / "img00002.jpg", (50, 64, 3))
    list(load_sequences("images", p)[0].frames)


def xml_that_is_not(p):
    (p / "MVI_20011.xml").write_text("<sequence name='MVI_20011'><frame")
    load_sequences("uadetrac", p)


def xml_of_another_kind(p):
    (p / "MVI_20011.xml").write_text("<html/>")
    load_sequences("uadetrac", p)


def xml_bomb(p):
    (p / "MVI_20011.xml").write_text('<!DOCTYPE x [<!ENTITY a "aaaa">]><sequence name="&a;"/>')
    load_sequences("uadetrac", p)


def xml_box_of_zero_size(p):
    (p / "MVI_20011.xml").write_text(
        '<sequence name="MVI_20011"><frame num="3"><target_list><target id="8"><box left="1" top="1" '
        'width="0" height="5"/><attribute vehicle_type="car"/></target></target_list></frame></sequence>'
    )
    load_sequences("uadetrac", p)


def uavdt(p, text):
    (p / "M0101_gt_whole.txt").write_text(text)
    load_sequences("uavdt", p)


def row_with_six_columns(p):
    uavdt(p, "1,1,5,5,9,9,1,1,1\n2,1,5,5,9,9\n")


def row_with_words(p):
    uavdt(p, "1,1,five,5,9,9,1,1,1\n")


def box_of_zero_size(p):
    uavdt(p, "1,1,5,5,9,9,1,1,1\n\n2,1,5,5,0,9,1,1,1\n")


def frame_beyond_the_video(p):
    write_clip(p / "M0101.mp4", 5)
    uavdt(p, "1,1,5,5,9,9,1,1,1\n6,1,5,5,9,9,1,1,1\n")


def video_that_is_not(p):
    (p / "M0101.mp4").write_bytes(b"no video")
    VideoFrames(p / "M0101.mp4")


def video_shorter_than_its_name(p):
    write_clip(p / "a.mp4", 1)
    VideoFrames(p / "a.mp4", np.arange(1, 9))


def coco_without_images(p):
    (p / "a.json").write_text(json.dumps({"annotations": []}))
    load_sequences("coco", p)


def coco_box_of_zero_size(p):
    (p / "a.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg"}],
                "categories": [{"id": 1, "name": "car"}],
                "annotations": [{"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 1, 0, 4]}],
            }
        )
    )
    load_sequences("coco", p)


def cdnet_frame_without_labels(p):
    picture(p / "input" / "in000001.jpg")
    picture(p / "input" / "in000002.jpg")
    picture(p / "groundtruth" / "gt000001.png", (48, 64))
    load_sequences("cdnet", p)


def mask_of_another_shape(p):
    picture(p / "frames" / "in000001.jpg")
    from dataclasses import replace

    [s] = load_sequences("images", p / "frames")
    s = replace(s, objects=[Objects([[1, 1, 9, 9]])])
    (p / "masks" / "frames").mkdir(parents=True)
    write_mask(p / "masks" / "frames" / "in000001.png", np.full((48, 48), 255, np.uint8))
    Samples([s], p / "masks")[0]


def grid(p, text):
    parameters = nbformat.v4.new_code_cell("a = 1\nout = ''", metadata={"tags": ["parameters"]})
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[parameters],
            metadata={"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}},
        ),
        p / "n.ipynb",
    )
    (p / "grid.yaml").write_text(text)
    Grid.load(p / "grid.yaml")


def grid_with_unknown_parameter(p):
    grid(p, "stages: [{name: s, notebook: n.ipynb, parameters: {ab: 1}}]")


def grid_with_unknown_stage(p):
    grid(p, "stages: [{name: s, notebook: n.ipynb, needs: [masks]}]")


def grid_that_builds_objects(p):
    grid(p, "stages: !!python/object/apply:os.system ['true']")


def masks_of_unknown_method(p):
    picture(p / "in000001.jpg")
    write_masks(load_sequences("images", p), p / "out", "magic")


def own_frames(p):
    picture(p / "frames" / "in000001.jpg")
    (p / "made").mkdir()
    return load_sequences("images", p / "frames"), p / "made"


def imported_mask_with_grey(p):
    sequences, made = own_frames(p)
    cv2.imwrite(str(made / "in000001.png"), np.full((48, 64), 127, np.uint8))
    write_masks(sequences, p / "result", "import", within_boxes=False, folder=str(made))


def imported_mask_of_another_size(p):
    sequences, made = own_frames(p)
    cv2.imwrite(str(made / "in000001.png"), np.zeros((48, 60), np.uint8))
    write_masks(sequences, p / "result", "import", within_boxes=False, folder=str(made))


def imported_mask_in_colour(p):
    sequences, made = own_frames(p)
    cv2.imwrite(str(made / "in000001.png"), np.zeros((48, 64, 3), np.uint8))
    write_masks(sequences, p / "result", "import", within_boxes=False, folder=str(made))


def imported_mask_missing(p):
    sequences, made = own_frames(p)
    write_masks(sequences, p / "result", "import", within_boxes=False, folder=str(made))


def tracks_without_identities(p):
    sequences, _ = own_frames(p)
    write_masks(sequences, p / "result", "knn+tracks", within_boxes=False)


def unknown_refinement(p):
    sequences, _ = own_frames(p)
    write_masks(sequences, p / "out", "knn+sharper")


def unknown_mask_option(p):
    sequences, _ = own_frames(p)
    write_masks(sequences, p / "out", "median", treshold=3)


def detrac_results(p, rows, name="MVI_1_Det_a.txt"):
    (p / name).write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    read_detections(p, "uadetrac")


def results_with_words(p):
    detrac_results(p, "1,1,5,5,10,10,.5\n1,2,5,5,wide,10,.5\n")


def results_cut_short(p):
    detrac_results(p, "1,1,5,5,10,10,.5\n1,2,5,5\n")


def results_without_size(p):
    detrac_results(p, "1,1,5,5,10,10,.5\n1,2,5,5,0,10,.5\n")


def results_with_odd_score(p):
    detrac_results(p, "1,1,5,5,10,10,1.5\n")


def results_that_are_binary(p):
    detrac_results(p, bytes(range(128, 256)))


def results_of_nothing(p):
    detrac_results(p, "1,1,5,5,10,10,.5\n", "readme.txt")


def results_without_a_column(p):
    (p / "detections.csv").write_text("sequence,frame,x0,y0,x1,y1\na,1,0,0,5,5\n")
    read_detections(p, "csv")


def csv_results_with_words(p):
    (p / "detections.csv").write_text(
        "sequence,frame,x0,y0,x1,y1,score\na,1,0,0,5,5,.5\na,1,0,0,wide,5,.5\n"
    )
    read_detections(p, "csv")


def csv_results_without_size(p):
    (p / "detections.csv").write_text("sequence,frame,x0,y0,x1,y1,score\na,1,5,0,5,5,.5\n")
    read_detections(p, "csv")


def coco_results_without_score(p):
    entry = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}
    (p / "detections.json").write_text(json.dumps([{**entry, "score": 0.5}, entry]))
    read_detections(p, "coco", [street()])


def yolo_without_size(p):
    (p / "s").mkdir()
    (p / "s" / "000001.txt").write_text("0 0.5 0.5 0.1 0.1 0.9\n0 0.5 0.5 0 0.1 0.9\n")
    read_detections(p, "yolo", [street()])


def coco_results_of_another(p):
    (p / "detections.json").write_text(
        '[{"image_id": 77, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}]'
    )
    read_detections(p, "coco", [street()])


def coco_results_cut_short(p):
    (p / "detections.json").write_text('[{"image_id": 1, "category_id": 1, "bbox": [0, 0')
    read_detections(p, "coco", [street()])


def yolo_without_scores(p):
    (p / "s").mkdir()
    (p / "s" / "000001.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    read_detections(p, "yolo", [street()])


def mask_scores_without_labels(p):
    evaluate_masks([street()], p)


def csv_results_with_a_column_too_many(p):
    (p / "detections.csv").write_text("sequence,frame,x0,y0,x1,y1,score\na,1,0,0,5,5,.5,7\n")
    read_detections(p, "csv")


def scene_objects_with_words(p):
    render_scenes(p, [SceneConfig("a", frames=2, width=96, height=64)], progress=False)
    (p / "a" / "objects.csv").write_text(
        (p / "a" / "objects.csv").read_text() + "1,63-1,0,1,1,9,9,1,1\n"
    )
    load_sequences("scenes", p)


def notebook_of_another_form(p):
    (p / "n.ipynb").write_text(
        '{"cells": [{}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}'
    )
    (p / "grid.yaml").write_text("stages: [{name: s, notebook: n.ipynb}]")
    Grid.load(p / "grid.yaml")


def run_folder(p, **files):
    about = {
        "stage": "s",
        "notebook": "n.ipynb",
        "parameters": {},
        "needs": [],
        "varies": [],
        "given": {},
    }
    sound = {
        "params_json": json.dumps(about),
        "status_json": '{"state": "done"}',
        "metrics_json": "{}",
    }
    (p / "0a").mkdir()
    for name, text in {**sound, **files}.items():
        (p / "0a" / name.replace("_", ".")).write_text(text)
    (p / "grid.json").write_text(json.dumps({"runs": [{"id": "0a", "stage": "s", "name": "s"}]}))
    RunsView(p).table()
    collect(p)


def run_without_parameters(p):
    run_folder(p, params_json='{"stage": "s"}')


def run_in_a_state_unheard_of(p):
    run_folder(p, status_json='{"state": "asleep"}')


def run_whose_metrics_are_a_number(p):
    run_folder(p, metrics_json="5.5")


def run_whose_steps_are_words(p):
    run_folder(p, steps_jsonl='{"step": "many", "epoch": 0, "loss": 1, "seconds": 1}\n')


def run_whose_history_has_no_steps(p):
    run_folder(p, history_csv="epoch,loss\n1,2\n")


def checkpoint_without_its_configuration(p):
    torch.manual_seed(0)
    save_run(
        p / "last", SpotNet(model_config("tiny")), {"config": {}, "data": "d"}, {"optimizer": {}}
    )
    (p / "last" / "state.json").write_text("{}")
    read_run(p / "last", {}, "d")


def configuration_of_numbers(p):
    TrainConfig.from_dict({5: 6})


def network_of_numbers(p):
    TrainConfig.from_dict({"model": {"dims": 5}})


def configuration_in_words(p):
    TrainConfig.from_dict({"augment": {"scale": "wide"}})


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def reference_that_runs_code(p):
    torch.save(
        {"state_dict": Trap(p / "out")}, p / "trap.pth"
    )  # the table asserts that no `out` appears
    read_weights(p / "trap.pth")


def reference_of_nothing(p):
    (p / "empty.pth").write_bytes(b"")
    read_weights(p / "empty.pth")


def onnx_of_nothing(p):
    (p / "broken.onnx").write_bytes(b"not at all")
    Detector(p / "broken.onnx", device="cpu")


def onnx_of_another(p):
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "other", [x], [y])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, ir_version=9, opset_imports=[opset]), p / "other.onnx")
    Detector(p / "other.onnx", device="cpu")


def training_parameter_misspelt(p):
    TrainConfig.from_dict({"augment": {"colours": 0.1}})


CASES = [  # what is broken, and words that the message must hold
    (missing_folder, ["nowhere", "no such folder", "Check the path"]),
    (empty_folder, ["no images sequence", "Check the folder"]),
    (truncated_jpeg, ["img00001.jpg", "ends before its picture does", "download it again"]),
    (truncated_png, ["img00001.png", "no image decoder reads", "Copy the file again"]),
    (empty_picture, ["img00001.jpg", "0 bytes", "Copy the file again"]),
    (changing_size, ["img00002.jpg", "64x50", "64x48"]),
    (xml_that_is_not, ["MVI_20011.xml", "not sound XML", "line 1", "Unpack"]),
    (xml_of_another_kind, ["MVI_20011.xml", "<html>", "UA-DETRAC annotation"]),
    (xml_bomb, ["MVI_20011.xml", "not sound XML"]),
    (
        xml_box_of_zero_size,
        ["MVI_20011.xml", "frame 3", "target 8", "zero or negative size", "Remove"],
    ),
    (row_with_six_columns, ["M0101_gt_whole.txt:2", "6 columns", "at least 9", "Correct the row"]),
    (row_with_words, ["M0101_gt_whole.txt:1", "'five'", "a number"]),
    (box_of_zero_size, ["M0101_gt_whole.txt:3", "zero or negative size", "Remove the row"]),
    (
        frame_beyond_the_video,
        ["M0101_gt_whole.txt:2", "beyond the sequence", "5 frames 1 to 5", "Remove the row"],
    ),
    (video_that_is_not, ["M0101.mp4", "no video decoder reads", "convert it"]),
    (video_shorter_than_its_name, ["a.mp4", "1 frames", "8 frames (1 to 8)"]),
    (coco_without_images, ["a.json", "no COCO annotation", "images"]),
    (coco_box_of_zero_size, ["a.json", "annotation 7", "zero or negative size"]),
    (cdnet_frame_without_labels, ["frame 2 in only one", "Unpack"]),
    (results_with_words, ["MVI_1_Det_a.txt:2", "'wide'", "a number"]),
    (results_cut_short, ["MVI_1_Det_a.txt:2", "4 columns", "at least 7"]),
    (results_without_size, ["MVI_1_Det_a.txt:2", "0x10", "repair"]),
    (results_with_odd_score, ["MVI_1_Det_a.txt:1", "a score of 1.5", "from 0 to 1"]),
    (results_that_are_binary, ["MVI_1_Det_a.txt", "no readable text"]),
    (results_of_nothing, ["no uadetrac result file"]),
    (results_without_a_column, ["detections.csv", "no column score"]),
    (csv_results_with_words, ["detections.csv:3", "not all numbers", "wide"]),
    (csv_results_without_size, ["detections.csv:2", "without size"]),
    (coco_results_of_another, ["detections.json", "entry 0", "image_id 77"]),
    (coco_results_without_score, ["detections.json", "entry 1", "'score'"]),
    (yolo_without_size, ["s/000001.txt:2", "without size"]),
    (coco_results_cut_short, ["detections.json", "no COCO results"]),
    (yolo_without_scores, ["s/000001.txt:1", "5 columns", "save_conf"]),
    (csv_results_with_a_column_too_many, ["detections.csv", "no readable table"]),
    (scene_objects_with_words, ["objects.csv:", "'63-1'", "column id"]),
    (notebook_of_another_form, ["n.ipynb", "tagged `parameters`"]),
    (run_without_parameters, ["params.json", "no facts of a run"]),
    (run_in_a_state_unheard_of, ["status.json", "'asleep'"]),
    (run_whose_metrics_are_a_number, ["metrics.json", "float"]),
    (run_whose_steps_are_words, ["steps.jsonl", "no record of a step"]),
    (run_whose_history_has_no_steps, ["history.csv", "no column step"]),
    (checkpoint_without_its_configuration, ["last", "cannot resume", "config"]),
    (configuration_of_numbers, ["unknown training parameter 5"]),
    (network_of_numbers, ["dims is 5"]),
    (configuration_in_words, ["scale is 'wide'"]),
    (mask_scores_without_labels, ["s has no label images"]),
    (reference_that_runs_code, ["trap.pth", "would run", "mkdir"]),
    (reference_of_nothing, ["empty.pth", "Expected a PyTorch file"]),
    (onnx_of_nothing, ["broken.onnx", "not an ONNX file that can run here"]),
    (onnx_of_another, ["other.onnx", "spotnet export"]),
    (training_parameter_misspelt, ["'colours'", "did you mean 'colour'"]),
    (mask_of_another_shape, ["in000001.png", "48x48", "64x48"]),
    (grid_with_unknown_parameter, ["grid.yaml", "n.ipynb", "'ab'", "did you mean 'a'"]),
    (grid_with_unknown_stage, ["grid.yaml", "needs masks"]),
    (grid_that_builds_objects, ["grid.yaml", "no sound YAML", "os.system"]),
    (masks_of_unknown_method, ["'magic'", "median"]),
    (imported_mask_with_grey, ["in000001.png", "127", "only 0", "Convert it"]),
    (imported_mask_of_another_size, ["in000001.png", "60x48", "64x48"]),
    (imported_mask_in_colour, ["in000001.png", "(48, 64, 3)", "one channel"]),
    (imported_mask_missing, ["in000001.png", "no readable file"]),
    (tracks_without_identities, ["no identities", "tracks"]),
    (unknown_refinement, ["'sharper'", "grabcut"]),
    (unknown_mask_option, ["treshold", "samples"]),
]


@pytest.mark.parametrize(("broken", "words"), CASES, ids=lambda c: getattr(c, "__name__", None))
def test_broken_input_is_refused_with_a_clear_message(broken, words, tmp_path):
    with pytest.raises(ValueError) as error:
        broken(tmp_path)
    said = str(error.value)
    assert all(w in said for w in words), said
    assert not list(tmp_path.rglob(".*.part*")) and not (tmp_path / "out").exists()


def test_the_command_ends_in_one_line_and_exit_code_two(tmp_path):
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "spotnet",
            "masks",
            "uavdt",
            str(tmp_path / "nowhere"),
            "--out",
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2 and "Traceback" not in run.stderr and not (tmp_path / "out").exists()
    assert run.stderr.startswith("spotnet: ") and run.stderr.count("\n") == 1
