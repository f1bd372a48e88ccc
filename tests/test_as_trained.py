"""A network is looked at as it was trained, scored on what it was not trained on, by the figure that
was asked for; what is written plays as fast as its source and is not taken for one."""

import json
import sys
import warnings
from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from material import picture, write_clip
from spotnet.cli import app
from spotnet.data.detections import Detections
from spotnet.data.frames import AbsentFrames, ArrayFrames
from spotnet.data.readers import load_sequences
from spotnet.data.sequences import Objects, Sequence
from spotnet.evaluation.scores import evaluate
from spotnet.explore.explorer import Explorer
from spotnet.explore.pictures import playing_rate, write_video
from spotnet.explore.views import View
from spotnet.files import LEDGER, DataError, refuse_foreign
from spotnet.network import detector as detector_module
from spotnet.network.detector import Detector, detect_sequences
from spotnet.network.geometry import OURS, REFERENCE, InputSpec
from spotnet.network.model import SpotNet, model_config
from spotnet.network.onnx import export_onnx
from spotnet.network.weights import CheckpointError, load_checkpoint, read_input, save_checkpoint
from spotnet.training import trainer as trainer_module
from spotnet.training.check import check_data
from spotnet.training.loop import launch, train
from spotnet.training.recipes import TrainConfig
from spotnet.training.validation import check_validation, hold_out, validate

SMALL = {"variant": "centernet", "steps": 1, "batch": 1}


def spotnet(*arguments) -> str:
    "Output of a command, standard error included. ValueError and the like where it refuses."
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def refused(call, *words, error=ValueError):
    with pytest.raises(error) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def blocks(name="cam1", count=2, shape=(96, 128), first=1) -> Sequence:
    "Frames of one bright block each."
    frames = np.random.default_rng(0).integers(30, 60, (count, *shape, 3)).astype(np.uint8)
    frames[:, 20:50, 30:70] = 220
    numbers = range(first, first + count)
    return Sequence(name, ArrayFrames(frames, numbers), [Objects([[30, 20, 70, 50]])] * count)


def finder(**model) -> SpotNet:
    "An untrained network that finds something everywhere."
    torch.manual_seed(0)
    network = SpotNet(model_config("tiny", "centernet", **model))
    state = network.state_dict()
    for name, value in state.items():
        if name.startswith("heads.") and name.endswith("1.bias"):
            value.fill_(1.0 if "heatmap" in name else 8.0 if "size" in name else 0.0)
    network.load_state_dict(state)
    return network.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("weights") / "a.safetensors", finder())


# ---- the input of a checkpoint


def test_every_way_to_a_detector_uses_the_trained_size(tmp_path):
    street = blocks(shape=(192, 256))
    config = TrainConfig(
        **SMALL, input_size=(96, 128), conventions={"tight_padding": False}, ema=0.9
    )
    result = train(config, [street], tmp_path / "run", validation=None, progress=False)
    last = tmp_path / "run" / "checkpoint" / "last"
    export_onnx(load_checkpoint(last), tmp_path / "a.onnx")
    resumed = train(config, [street], tmp_path / "run", resume=True, progress=False)
    launched = launch(1, config, [street], tmp_path / "launched", progress=False)
    wanted = Detector(result.model, (96, 128), conventions=config.pixel_conventions).detect(street)
    for model in (result.model, resumed.model, launched.model, last, tmp_path / "a.onnx"):
        detector = Detector(model, device="cpu")
        assert (detector.size, detector.conventions) == ((96, 128), config.pixel_conventions)
    for model in (last, tmp_path / "a.onnx"):
        [found] = detect_sequences(model, [street], device="cpu", progress=False)
        assert np.allclose(found.boxes, wanted.boxes, atol=0.1)
    view = Explorer(street, {"run": Detector(last)}, protocol="uavdt").view
    assert view.maps("run").geometry.size == (96, 128)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"input_size": (64, 96)}, (64, 96)),
        ({"input_size": (64, 96), "crop": True}, None),
        ({"input_size": (64, 96), "own_resolution": True}, None),
        ({}, None),
    ],
)
def test_the_input_is_that_of_the_validation(tmp_path, fields, size):
    network = TrainConfig(**SMALL, **fields).network()
    path = save_checkpoint(tmp_path / "a.safetensors", network)
    assert read_input(path) == InputSpec(size, OURS) and Detector(path).size == size


def test_an_argument_overrides_the_checkpoint(tmp_path):
    network = finder()
    network.input_spec = InputSpec((96, 128), REFERENCE)
    path = save_checkpoint(tmp_path / "a.safetensors", network)
    assert Detector(path, size=None).size is None and Detector(path).conventions == REFERENCE
    other = Detector(path, size=(64, 96), conventions=OURS)
    assert (other.size, other.conventions) == ((64, 96), OURS)
    refused(lambda: Detector(path, size="own"), "size", "own")
    refused(lambda: Detector(path, size=(0, 96)), "size")


def test_detect_takes_another_input_size(tmp_path):
    network = finder()
    network.input_spec = InputSpec((96, 128))
    path = save_checkpoint(tmp_path / "a.safetensors", network)
    picture(tmp_path / "cam/000001.png", (192, 256, 3))
    [cam] = load_sequences("images", tmp_path / "cam")
    for text, size in ((None, (96, 128)), ("own", None), ("64x96", (64, 96))):
        option = [] if text is None else ["--input-size", text]
        spotnet("detect", path, tmp_path / "cam", "--out", tmp_path / "out", "--score", 0, *option)
        table = pd.read_csv(tmp_path / "out/detections.csv")
        assert len(table) == len(Detector(path, size).detect(cam).above(0))
    for wrong in ("64", "64x", "big", "0x64"):
        call = ["detect", path, tmp_path / "cam", "--out", tmp_path / "no", "--input-size", wrong]
        refused(lambda call=call: spotnet(*call), "size")


def test_checkpoints_without_an_input_are_read_as_before(tmp_path):
    network = finder()
    with safe_open(save_checkpoint(tmp_path / "old.safetensors", network, epoch=3), "pt") as file:
        old = file.metadata()
    assert set(old) == {"format", "config", "facts"}  # all that older versions wrote and read
    detector = Detector(tmp_path / "old.safetensors")
    assert (detector.size, detector.conventions) == (None, OURS)
    network.input_spec = InputSpec((96, 128))
    with safe_open(save_checkpoint(tmp_path / "new.safetensors", network, epoch=3), "pt") as file:
        new = file.metadata()
    assert {k: new[k] for k in old} == old and set(new) == {*old, "input"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "[]",
        "null",
        "{}",
        '{"size": null}',
        '{"size": [512], "conventions": {}}',
        '{"size": [1e99, 512], "conventions": {}}',
        '{"size": [1000000, 1000000], "conventions": {}}',
        '{"size": null, "conventions": {"corners": "yes"}}',
        '{"size": null, "conventions": {"wings": true}}',
        '{"size": null, "conventions": {}, "wings": 2}',
        "[" * 5000,
    ],
)
def test_an_unsound_input_is_refused(tmp_path, text):
    network = finder()
    header = {"format": "spotnet", "config": json.dumps(asdict(network.config)), "facts": "{}"}
    path = tmp_path / "a.safetensors"
    save_file(dict(network.state_dict()), path, {**header, "input": text})
    refused(lambda: load_checkpoint(path), "a.safetensors", "input", error=CheckpointError)
    refused(lambda: read_input(path), "a.safetensors", error=CheckpointError)


def test_converted_weights_have_an_input(tmp_path):
    assert read_input("ctdet_coco_hg.pth") == InputSpec(None, REFERENCE)
    network = finder()
    network.input_spec = InputSpec((96, 128))
    ours = save_checkpoint(tmp_path / "a.safetensors", network)
    spotnet("convert", ours, tmp_path / "b.safetensors", "--classes", 3)
    assert load_checkpoint(tmp_path / "b.safetensors").input_spec == InputSpec((96, 128))


# ---- the figure that selects


@pytest.mark.parametrize("metric", ["AP", "AP50", "AP75", "loss"])
@pytest.mark.parametrize("protocol", ["uadetrac", "uavdt", "coco"])
def test_the_metric_is_the_figure_of_its_name(metric, protocol):
    street, network = blocks(), finder()
    [found] = [Detector(network, device="cpu").detect(street)]
    near = found.at(1).boxes[:20] + np.float32([0.15, 0, 0.15, 0]) * 30  # hits at some overlaps
    street = replace(street, objects=[Objects(near[(near[:, 2:] > near[:, :2]).all(1)]), None])
    figures = validate(network, [street], TrainConfig(**SMALL, protocol=protocol, metric=metric))
    if protocol == "coco":
        truth = evaluate("coco", [street], [found]).extra
    else:
        overlaps = {"AP": 0.7, "AP50": 0.5, "AP75": 0.75}
        truth = {k: evaluate(protocol, [street], [found], v).ap for k, v in overlaps.items()}
    for name in set(figures) - {"validation_loss"}:
        assert figures[name] == pytest.approx(truth[name], abs=1e-6)
    assert {"loss": "validation_loss"}.get(metric, metric) in figures


def test_coco_has_no_overlap_of_its_own():
    refused(lambda: TrainConfig(protocol="coco", iou=0.5), "iou", "COCO", "AP50")
    street = blocks()
    empty = {"cam1": Detections.from_frames("cam1", [], [])}
    refused(lambda: evaluate("coco", [street], empty, 0.5), "iou", "COCO")
    for iou in (0, 1.5, float("nan")):
        refused(lambda iou=iou: TrainConfig(iou=iou), "iou")


# ---- figures that are no numbers


def follow(monkeypatch, tmp_path, figures, **fields):
    "A run whose validations give these figures: its trainer's state, and what it warned of."
    values = iter(figures)
    metric = fields.get("metric", "AP")
    key = "validation_loss" if metric == "loss" else metric
    monkeypatch.setattr(
        trainer_module, "validate", lambda *_: {"AP": 1.0, "AP50": 1.0, key: next(values)}
    )
    config = TrainConfig(
        variant="centernet", batch=2, epochs=len(figures), validate_every=1, diverge=0, **fields
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = train(
            config, [blocks()], tmp_path / "run", validation=[blocks("other")], progress=False
        )
    state = json.loads((tmp_path / "run/checkpoint/last/state.json").read_text())
    best = tmp_path / "run/checkpoint/best/state.json"
    told = [str(w.message) for w in told if "counts neither" in str(w.message)]
    step = json.loads(best.read_text())["step"] if best.exists() else None
    return len(result.history), state, step, told


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("figures", "fields", "epochs", "best", "at"),
    [  # figures of the validations; epochs trained, the best figure, and the step that it is of
        ([NAN, 30, NAN, 20], {}, 4, 30, 2),
        ([NAN, NAN, NAN], {"patience": 1}, 3, None, None),
        ([30, NAN, NAN, 20, 40], {"patience": 1}, 4, 30, 1),  # 20 alone is no improvement
        ([NAN, 0.0, 0.0, 0.0], {"patience": 2}, 4, 0, 2),
        ([INF, 2.0, 1.0], {"metric": "loss"}, 3, -1, 3),
        ([NAN, 2.0, NAN, 3.0], {"metric": "loss", "patience": 1}, 4, -2, 2),
        ([NAN, 5.0], {"metric": "AP50"}, 2, 5, 2),
    ],
)
def test_no_number_is_never_the_best(monkeypatch, tmp_path, figures, fields, epochs, best, at):
    count, state, step, told = follow(monkeypatch, tmp_path, figures, **fields)
    assert (count, state["best"], step) == (epochs, best, at)
    assert len(told) == sum(not np.isfinite(v) for v in figures[:epochs])


def test_a_best_that_is_no_number_is_replaced_on_resume(monkeypatch, tmp_path):
    street, config = blocks(), TrainConfig(variant="centernet", batch=2, steps=2, validate_every=1)
    options = {"validation": [blocks("other")], "progress": False}
    monkeypatch.setattr(trainer_module, "validate", lambda *_: {"AP": 7.0, "AP50": 7.0})

    def stop(self, record, real=trainer_module.Trainer.count):
        if self.state["step"] == 1:
            raise KeyboardInterrupt
        real(self, record)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer_module.Trainer, "count", stop)
        train(config, [street], tmp_path / "run", **options)
    path = tmp_path / "run/checkpoint/last/state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "best": NAN, "since_best": 1}))  # as 0.2 left it
    train(config, [street], tmp_path / "run", resume=True, **options)
    assert json.loads(path.read_text())["best"] == 7


@pytest.mark.parametrize(
    ("objects", "ignored", "fields", "words"),
    [
        ([None, None], None, {}, ["none of them annotated"]),
        ([None, None], None, {"metric": "loss"}, ["none of them annotated"]),
        ([Objects([]), Objects([])], None, {}, ["2 annotated frames", "uadetrac"]),
        ([Objects([]), None], None, {"protocol": "coco", "metric": "AP50"}, ["1 annotated frames"]),
        ([Objects([]), Objects([])], None, {"protocol": "uavdt"}, ["uavdt"]),
        # every object lies in an ignored region, so UA-DETRAC's rules look for none
        ([Objects([[10, 10, 20, 20]])] * 2, [np.float32([[0, 0, 128, 96]])] * 2, {}, ["uadetrac"]),
    ],
)
def test_a_validation_without_objects_is_refused(tmp_path, objects, ignored, fields, words):
    empty = replace(blocks("night"), objects=objects, ignored=ignored or blocks().ignored)
    config = TrainConfig(**SMALL, **fields)
    refused(
        lambda: train(config, [blocks()], tmp_path / "run", validation=[empty], progress=False),
        "validation on night",
        *words,
        error=DataError,
    )
    assert not (tmp_path / "run/history.csv").exists()  # before it trains
    check_validation([empty, blocks()], config)  # one sequence with objects is enough
    assert check_data(config.samples([blocks()]), [empty]).stops or ignored


def test_a_validation_without_images_is_refused(tmp_path):
    absent = replace(blocks("far"), frames=AbsentFrames([1, 2], "far", tmp_path))
    call = partial(train, TrainConfig(**SMALL), [blocks()], tmp_path / "run", progress=False)
    refused(lambda: call(validation=[blocks("near"), absent]), "no images of far", error=DataError)
    assert not (tmp_path / "run/history.csv").exists()


def test_the_loss_needs_no_object(tmp_path):
    empty = replace(blocks("night"), objects=[Objects([]), Objects([])])
    config = TrainConfig(**SMALL, metric="loss")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        result = train(config, [blocks()], tmp_path, validation=[empty], progress=False)
    assert np.isfinite(result.metrics["validation_loss"])


# ---- held out


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    "Two cameras of six annotated frames in COCO's form."
    root = tmp_path_factory.mktemp("data")
    images, annotations = [], []
    for cam in ("cam1", "cam2"):
        for k in range(1, 7):
            name, i = f"{cam}/{k:06d}.png", len(images) + 1
            picture(root / name, (96, 128, 3))
            images.append({"id": i, "file_name": name, "width": 128, "height": 96})
            box = {"bbox": [10 + 5 * k, 20, 40, 30], "area": 1200, "iscrowd": 0}
            annotations.append({"id": i, "image_id": i, "category_id": 1, **box})
    categories = [{"id": 1, "name": "car"}]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (root / "a.json").write_text(json.dumps(whole))
    return root


@pytest.mark.parametrize(
    ("options", "steps", "word"),
    [
        (["--validation", "4-6"], 6, "3 of cam1 (4 to 6), 3 of cam2 (4 to 6)"),
        (["--validation", "2-2"], 10, "1 of cam1 (2)"),  # from the middle
        (["--validation", "4-6", "--step", "2"], 4, "3 of cam1"),  # 1 and 3
        (["--validation", "4-6", "--frames", "1-3"], 6, None),
        (["--validation", "4-6", "--frames", "2-3"], 4, None),
        (["--validation-name", "cam2"], 6, None),
        (["--validation-name", "cam2", "--validation", "1-3"], 6, None),  # frames of cam2 alone
    ],
)
def test_validation_frames_are_not_trained_on(data, tmp_path, options, steps, word):
    fixed = ["--variant", "centernet", "--batch", "1", "--set", "epochs=1", "--out", tmp_path]
    said = spotnet("train", "coco", data, *fixed, *options)
    assert pd.read_csv(tmp_path / "history.csv").step.iloc[-1] == steps
    assert (word or "not trained on") in said if word else "not trained on" not in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--frames", "1-5", "--validation", "4-6"], ["--frames 1-5", "--validation 4-6", "cam1"]),
        (["--frames", "4-4", "--validation", "4-6"], ["overlap"]),
        (["--validation", "1-6"], ["cam1", "Choose other frames"]),
        (["--validation-name", "cam1", "--validation-name", "cam2"], ["--validation-name"]),
    ],
)
def test_overlaps_are_refused(data, tmp_path, options, words):
    call = ["train", "coco", data, "--variant", "centernet", "--out", tmp_path / "run", *options]
    refused(lambda: spotnet(*call), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (blocks("cam1", 2), 1),
        (blocks("cam1", 3, first=2), 1),  # frame 2 alone
        (blocks("cam1", 2, first=3), 0),
        (blocks("cam2", 2), 0),
    ],
)
def test_shared_frames_are_told_once(tmp_path, other, told):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = TrainConfig(variant="centernet", steps=2, batch=2, validate_every=1)
        train(config, [blocks()], tmp_path, validation=[other], progress=False)
    texts = [str(w.message) for w in caught if "trained on as well" in str(w.message)]
    assert len(texts) == told and all("cam1" in text for text in texts)


def test_hold_out_goes_by_name_and_number():
    training = [blocks("a", 4), blocks("b", 4), blocks("a", 4, first=5)]
    left, shared = hold_out(training, [blocks("a", 3, first=3), blocks("c", 9)])
    assert [s.numbers.tolist() for s in left] == [[1, 2], [1, 2, 3, 4], [6, 7, 8]]
    assert {k: v.tolist() for k, v in shared.items()} == {"a": [3, 4, 5]}
    assert hold_out([], [blocks()]) == ([], {})
    left, _ = hold_out(training, [blocks("b", 4)])  # a sequence without frames is left out
    assert [s.name for s in left] == ["a", "a"]


# ---- one sequence is asked for as several are


def test_one_sequence_goes_where_it_was_sent(monkeypatch, weights):
    monkeypatch.setitem(sys.modules, "ray", None)

    def ask(count, **where):
        streets = [blocks(f"cam{k}") for k in range(count)]
        return list(detect_sequences(weights, streets, progress=False, **where))

    for k in (1, 2):
        refused(partial(ask, k, ray="auto"), "Ray", error=ImportError)
        refused(partial(ask, k, ray="auto", workers=2), "workers")
        refused(partial(ask, k, workers=1, gpus=64), "64 GPUs")
        refused(partial(ask, k, gpus=-1), "GPUs")
    assert list(detect_sequences(weights, [], ray="auto")) == []


def test_detect_passes_ray_on(monkeypatch, weights, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    picture(tmp_path / "cam/1.png", (96, 128, 3))
    call = ["detect", weights, tmp_path / "cam", "--out", tmp_path / "out", "--ray", "auto"]
    refused(lambda: spotnet(*call), "Ray", error=ImportError)
    assert not (tmp_path / "out").exists()


def test_no_gpu_means_the_cpu(monkeypatch, weights):
    made = []
    real = detector_module.Detector

    def noted(*arguments, **options):
        made.append(options.get("device"))
        return real(*arguments, **{**options, "device": "cpu"})

    monkeypatch.setattr(detector_module, "Detector", noted)
    for gpus in (0, None):
        list(detect_sequences(weights, [blocks()], gpus=gpus, progress=False))
    assert made == ["cpu", None]


# ---- as fast as the source


def clip_rate(path) -> float:
    return cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS)


def slow_clip(path, rate=10, frames=12):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, (64, 48))
    for i in range(frames):
        writer.write(np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(
    ("change", "rate"),
    [
        (lambda s: s, 10),
        (lambda s: s[::2], 5),
        (lambda s: s[::-1], 10),
        (lambda s: s[2:], 10),
        (lambda s: s[::2][::3], 10 / 6),
        (lambda s: s.between(3, 9, 4), 2.5),
        (lambda s: s[np.array([0, 1, 2, 11])], 10),
        (lambda s: s[:1], 10),
        (lambda s: s[::2].in_memory(), 5),
        (lambda s: s.in_memory()[::2], 5),
        (lambda s: s[:0], 10),
    ],
)
def test_a_part_of_a_video_has_its_share_of_the_rate(tmp_path, change, rate):
    [street] = load_sequences("video", slow_clip(tmp_path / "street.mp4"))
    assert change(street).frames.rate == pytest.approx(rate)


def mot(root, rate):
    for k in range(1, 5):
        picture(root / f"MOT17-02/img1/{k:06d}.png")
    line = "" if rate is None else f"frameRate={rate}\n"
    (root / "MOT17-02/seqinfo.ini").write_text(f"[Sequence]\nname=MOT17-02\nimDir=img1\n{line}")
    return root


@pytest.mark.parametrize(("stated", "rate"), [(12, 12), (29.97, 29.97), (None, 25), (0, 25)])
def test_detect_writes_the_rate_of_mot(weights, tmp_path, stated, rate):
    root = mot(tmp_path / "data", stated)
    call = ["--source", "mot", "--out", tmp_path / "out", "--video"]
    spotnet("detect", weights, root, *call)
    assert clip_rate(tmp_path / "out/MOT17-02.webm") == pytest.approx(rate, abs=0.01)


def test_mot_with_a_rate_that_is_none(tmp_path):
    refused(lambda: load_sequences("mot", mot(tmp_path, "fast")), "seqinfo.ini")


def test_each_video_of_a_folder_keeps_its_rate(weights, tmp_path):
    (tmp_path / "in").mkdir()
    for rate in (5, 15, 30):
        slow_clip(tmp_path / f"in/at {rate}.mp4", rate)
    spotnet("detect", weights, tmp_path / "in", "--out", tmp_path / "out", "--video")
    rates = {p.stem: clip_rate(p) for p in (tmp_path / "out").glob("*.webm")}
    assert rates == {"at 5": 5, "at 15": 15, "at 30": 30}


def test_the_explorer_writes_the_rate_of_its_source(tmp_path):
    [street] = load_sequences("video", slow_clip(tmp_path / "street.mp4"))
    street = replace(street, objects=[Objects([[5, 5, 20, 20]])] * len(street))
    detector = Detector(finder(), device="cpu")
    for sequence, indices, fps, rate in (
        (street, None, None, 10),
        (street, range(0, 12, 2), None, 5),
        (street[::2], iter([0, 1, 2]), None, 5),
        (street, None, 8, 8),
        (street.in_memory(), None, None, 10),
        (replace(blocks(count=4), name="b"), None, None, 10),  # states none
    ):
        view = View(sequence, detector)
        path = view.make_video(tmp_path / "a.webm", indices, fps, progress=False)
        assert clip_rate(path) == pytest.approx(rate)
    path = Explorer(street[::2], {"a": detector}).make_video(tmp_path / "b.webm", progress=False)
    assert clip_rate(path) == pytest.approx(5)


@pytest.mark.parametrize("fps", [0, -1, NAN, INF, 1e5, 0.01])
def test_a_rate_that_no_video_states_is_refused(tmp_path, fps):
    pictures = [np.zeros((48, 64, 3), np.uint8)]
    refused(lambda: write_video(tmp_path / "a.webm", pictures, fps), "a.webm", "per second")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("stated", "rate"), [(90000.0, 25), (0.001, 0.1), (NAN, 25), ("10", 25), (None, 25), (7, 7)]
)
def test_an_absurd_rate_is_not_written(stated, rate):
    assert playing_rate(SimpleNamespace(rate=stated)) == rate


# ---- what lies beside and below


def test_own_results_below_the_pictures_are_not_looked_at(tmp_path):
    network = SpotNet(model_config("tiny", "spotnet")).eval()
    network.load_state_dict({**network.state_dict(), **finder().state_dict()})
    path = save_checkpoint(tmp_path / "a.safetensors", network)
    for k in (11, 12):
        picture(tmp_path / f"own/{k:06d}.png", (96, 128, 3))
    for out in ("own/found", "own/found", "again"):  # the same command twice, then another
        call = ["--out", tmp_path / out, "--score", "0", "--masks", "--video"]
        said = spotnet("detect", path, tmp_path / "own", *call)
        assert " in 2 frames" in said
        assert set(pd.read_csv(tmp_path / out / "detections.csv").frame) == {11, 12}
    assert (tmp_path / "own/found/masks/own/000011.png").exists()
    assert (tmp_path / "own/found/own.webm").exists()


def test_own_results_below_videos_are_not_looked_at(weights, tmp_path):
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in/street.mp4", 4)
    for out in ("in", "in", "in/deep/found", "again"):
        said = spotnet("detect", weights, tmp_path / "in", "--out", tmp_path / out, "--video")
        assert " in 4 frames" in said
    [sequence] = load_sequences("video", tmp_path / "in")
    assert sequence.frames.path.name == "street.mp4"


@pytest.mark.parametrize(
    "files",
    [
        ["000001.png", "street.mp4"],
        ["cam/000001.png", "street.mp4"],
        ["000001.png", "clips/street.mp4"],
        ["cam/000001.png", "clips/street.mp4"],
        ["cam/000001.WEBP", "clips/street.MOV"],
    ],
)
def test_pictures_beside_videos_are_refused(weights, tmp_path, files):
    for name in files:
        path = tmp_path / "mixed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".webp"):
            picture(path)
        else:
            write_clip(path.with_suffix(".mp4"), 3).rename(path)
    call = ["detect", weights, tmp_path / "mixed", "--out", tmp_path / "out"]
    refused(lambda: spotnet(*call), "pictures", "videos", *files, "--source images")
    assert not (tmp_path / "out").exists()
    assert " in 1 frames" in spotnet(*call, "--source", "images")
    assert " in 3 frames" in spotnet(*call, "--source", "video")


def test_pictures_in_a_folder_and_below_it_are_told(weights, tmp_path):
    for name in ("own/1.png", "own/2.png", "own/night/1.png", "own/.thumbs/1.png"):
        picture(tmp_path / name)
    said = spotnet("detect", weights, tmp_path / "own", "--out", tmp_path / "out", "--score", "0")
    assert " in 3 frames" in said and "others: night" in said
    picture(tmp_path / "cams/a/1.png")
    picture(tmp_path / "cams/b/1.png")
    said = spotnet("detect", weights, tmp_path / "cams", "--out", tmp_path / "out")
    assert "others" not in said


@pytest.mark.parametrize("foreign", ["street.webm", "clips/street.webm"])
def test_a_video_of_somebody_else_is_not_replaced(weights, tmp_path, foreign):
    source = tmp_path / foreign
    source.parent.mkdir(exist_ok=True)
    write_video(source, np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3), np.uint8))
    before = source.read_bytes()
    call = ["detect", weights, source, "--out", source.parent]
    refused(lambda: spotnet(*call, "--video"), "the video to detect in", "--out", error=DataError)
    (source.parent / LEDGER).unlink()  # from here on somebody else's
    refused(lambda: spotnet(*call, "--video"), "street.webm", "--out")
    assert source.read_bytes() == before and list(source.parent.iterdir()) == [source]
    spotnet(*call)  # without --video it writes no video


@pytest.mark.parametrize("text", ["", "3", "{}", "0  street.mp4", "[" * 5000, "\udcff"])
def test_a_foreign_ledger_lets_nothing_be_replaced(tmp_path, text):
    (tmp_path / LEDGER).write_bytes(text.encode(errors="surrogateescape"))
    clip = write_clip(tmp_path / "street.mp4", 2)
    refused(lambda: refuse_foreign([clip]), "street.mp4", "--out", error=DataError)


def test_the_networks_masks_replace_nothing_foreign(tmp_path):
    detector = Detector(SpotNet(model_config("tiny", "spotnet")), device="cpu")
    street = blocks()
    picture(tmp_path / "drawn/000002.png", (96, 128))
    before = (tmp_path / "drawn/000002.png").read_bytes()
    call = lambda: detector.write_foreground(street, tmp_path / "drawn")  # noqa: E731
    refused(call, "000002.png", "did not write", error=DataError)
    assert (tmp_path / "drawn/000002.png").read_bytes() == before
    assert [p.name for p in (tmp_path / "drawn").iterdir()] == ["000002.png"]
    for _ in range(2):  # its own it may
        detector.write_foreground(street, tmp_path / "new")
    assert len(list((tmp_path / "new").glob("*.png"))) == 2
    (tmp_path / "label").mkdir()
    (tmp_path / "label/masks.json").write_text(json.dumps({"method": "median"}))
    picture(tmp_path / "label/000001.png", (96, 128))
    refused(
        lambda: detector.write_foreground(street, tmp_path / "label"),
        "label",
        "another method",
        error=DataError,
    )


def test_a_checkpoint_written_before_a_field_existed_answers_the_same(tmp_path):
    torch.manual_seed(0)
    network = SpotNet(model_config("tiny", "spotnet", stacks=2)).eval()
    path = save_checkpoint(tmp_path / "now.safetensors", network)
    with safe_open(path, "pt") as file:
        header = file.metadata()
    known = {  # the fields of 0.2.0
        *("depth", "dims", "modules", "stacks", "stem_dim", "feature_dim", "segmentation_dim"),
        *("classes", "segmentation", "attention", "attention_pool", "attention_heads"),
        *("mean", "std"),
    }
    config = json.loads(header["config"])
    assert known < set(config)
    header["config"] = json.dumps({name: config[name] for name in known})
    save_file(network.state_dict(), tmp_path / "before.safetensors", header)
    picture = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    now, before = (
        Detector(tmp_path / f"{name}.safetensors", device="cpu")([picture])[0]
        for name in ("now", "before")
    )
    assert len(now) and np.array_equal(now, before)
