"""Every control of the explorer, moved without a browser."""

import asyncio

import numpy as np
import pytest
import torch

from spotnet.explore.explorer import Explorer
from spotnet.network.detector import Detector
from spotnet.explore.maps import GATES, Gate
from spotnet.masks import write_masks
from spotnet.network.model import SpotNet, model_config
from spotnet.scenes import SceneConfig, render_scenes
from spotnet.data.frames import FolderFrames
from spotnet.data.sequences import Sequence
from spotnet.files import DataError


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    [scene] = render_scenes(
        folder / "scenes", [SceneConfig("street", frames=8, layout=3)], progress=False
    )
    write_masks([scene], folder / "masks", "boxes")
    return scene, folder / "masks"


@pytest.fixture(scope="module")
def detectors():
    "Untrained, but with a heatmap that follows the features: what matters here is that answers change."
    made = {}
    for name in ("spotnet", "spotnet_paper", "centernet"):
        torch.manual_seed(0)
        model = SpotNet(model_config("tiny", name))
        with torch.no_grad():
            for head in model.heads:
                head["heatmap"][-1].weight.mul_(100)
                head["size"][-1].bias.fill_(6.0)
                if "segmentation" in head:
                    head["segmentation"][-2].weight.mul_(30)
        made[name] = Detector(model.eval())
    return made


@pytest.fixture
def explorer(scene, detectors):
    return Explorer(
        scene[0], {n: detectors[n] for n in ("spotnet", "centernet")}, scene[1], score=0.05
    )


def shown(explorer, name="spotnet"):
    canvas = explorer.canvases[name]
    return canvas.value, canvas.alt, explorer.captions[name].value, explorer.legend.value


# control, its new value, and what must change: the picture, the words, or both
MOVES = [
    *(
        (lambda e, n=n: e.layers[n], 0.35, "picture")
        for n in (
            "frame",
            "mask",
            "foreground",
            "heatmap",
            "size",
            "objects",
            "detections",
            "errors",
        )
    ),
    (lambda e: e.frame, 3, "both"),
    (lambda e: e.number, 5, "both"),
    (lambda e: e.score, 0.6, "both"),
    (lambda e: e.zoom, 3.0, "picture"),
    (lambda e: e.colours, "magma", "both"),
    (lambda e: e.scale, "logit", "both"),
    *((lambda e: e.kind, kind, "both") for kind in GATES[1:]),
]


@pytest.mark.parametrize(
    ("control", "value", "what"), MOVES, ids=lambda v: v if isinstance(v, str) else None
)
def test_control(explorer, control, value, what):
    explorer.layers["errors"].value = 0.9
    before = shown(explorer)
    assert control(explorer).value != value
    control(explorer).value = value
    after = shown(explorer)
    assert after[0] != before[0]
    assert (after[1:] != before[1:]) == (what == "both")


@pytest.mark.parametrize(
    ("kind", "control", "value"), [("blurred", "blur", 60), ("thresholded", "threshold", 0.9)]
)
def test_options_of_gates(explorer, kind, control, value):
    explorer.kind.value = kind
    before = shown(explorer)
    getattr(explorer, control).value = value
    assert shown(explorer)[:2] != before[:2] and f"{value:g}" in str(explorer.view.gate)


def test_changes_layer(explorer):
    explorer.kind.value = "off"
    assert any(len(rows) for rows in explorer.view.changes("spotnet"))
    before = shown(explorer)
    explorer.layers["changes"].value = 0
    assert shown(explorer)[0] != before[0]


def test_detectors_side_by_side(explorer):
    assert [p.children[0].label for p in explorer.panels.children] == [
        "street, spotnet",
        "street, centernet",
    ]
    explorer.detector.value = ("centernet",)
    assert [p.children[0].label for p in explorer.panels.children] == ["street, centernet"]


def test_number_finds_the_nearest_frame(explorer):
    explorer.number.value = 999
    assert explorer.frame.value == 7 and explorer.number.value == 8


def test_painting_by_numbers_mouse_and_back(explorer):
    own = shown(explorer)
    for control, value in zip(explorer.corners, (10, 20, 200, 150)):
        control.value = value
    explorer.paint_button.click()
    assert (
        explorer.view.gate.painted == (((10, 20, 200, 150), 0.0),) and shown(explorer)[0] != own[0]
    )
    explorer.strength.value = 1.5
    explorer.canvases["spotnet"]._handle_custom_msg({"event": "box", "box": [0.5, 0.5, 1, 1]}, [])
    assert explorer.view.gate.painted[1] == ((240, 135, 480, 270), 1.5)
    assert [c.value for c in explorer.corners] == [240, 135, 480, 270]
    explorer.undo_button.click()
    assert len(explorer.view.gate.painted) == 1
    explorer._on_key("Escape")
    assert shown(explorer)[:2] == own[:2]


def test_painted_box_without_area_is_refused_in_words(explorer):
    for control, value in zip(explorer.corners, (50, 50, 50, 90)):
        control.value = value
    explorer.paint_button.click()
    assert "role='alert'" in explorer.legend.value and "expected x0" in explorer.legend.value
    assert explorer.view.gate == Gate()


def test_zoom_and_mouse_agree(explorer):
    explorer._on_picture({"event": "wheel", "point": [0.25, 0.5], "up": True})
    assert explorer.zoom.value == 1.25 and explorer.view.centre == (120, 135)
    explorer.zoom.value = 2
    x0, y0, x1, y1 = explorer.view.window().box
    explorer._on_picture({"event": "click", "point": [0.5, 0.5]})
    assert explorer.view.point == (int((x0 + x1) / 2), int((y0 + y1) / 2))
    explorer._on_key("0")
    assert explorer.zoom.value == 1


def test_keys(explorer):
    for key, frame in (
        ("ArrowRight", 1),
        ("PageDown", 7),
        ("ArrowLeft", 6),
        ("Home", 0),
        ("End", 7),
        ("PageUp", 0),
    ):
        explorer._on_picture({"event": "key", "key": key})
        assert explorer.frame.value == frame
    for key, zoom in (("+", 1.25), ("-", 1.0)):
        explorer._on_key(key)
        assert explorer.zoom.value == zoom
    for kind in ("off", "own"):
        explorer._on_key("a")
        assert explorer.kind.value == kind


def test_probe(explorer):
    explorer.x.value, explorer.y.value = 100, 60
    explorer.probe_button.click()
    said = explorer.answer.value
    assert "Pixel 100, 60" in said and "Nearest object" in said and said.count("<tr>") == 3
    facts = explorer.view.maps("spotnet").probe(100, 60)
    assert f"{facts['heatmap']:.3f}" in said and f"{facts['logit']:.3f}" in said
    explorer.frame.value = 4
    assert explorer.answer.value != said
    with pytest.raises(ValueError, match="outside of the frame"):
        explorer.probe(480, 0)
    assert explorer.course.layout.display == "none"
    explorer.analyse()
    assert explorer.course.layout.display == "" and len(explorer.course.value) > 1000


def test_analysis_progress_cancel_and_curves(explorer):
    explorer.range.value = 0, 5

    async def use():
        explorer.analyse_button.click()
        while explorer.bar.value < 3:
            await asyncio.sleep(0.001)
        explorer.cancel_button.click()
        await asyncio.sleep(0.05)
        assert (
            explorer.progress.value.startswith("stopped after")
            and 3 <= explorer.bar.value < explorer.bar.max == 12
        )
        assert len(explorer.view.timelines["spotnet"]) >= 3  # what was found stays
        explorer.analyse_button.click()
        await explorer._task
        assert (
            explorer.progress.value == "12 analysed"
            and explorer.strip.value
            and "AP" in explorer.strip.alt
        )
        explorer.kind.value = "off"  # and the range is asked again by itself
        await explorer._task
        assert "with gate off" in explorer.captions["spotnet"].value
        left, right, first, last = explorer._span
        explorer._on_strip(
            {
                "event": "click",
                "point": [left + (2.5 - first + 0.4) / (last - first) * (right - left), 0.3],
            }
        )
        assert explorer.number.value == 3
        explorer._on_strip({"event": "key", "key": "End"})
        assert explorer.number.value == 8

    asyncio.run(use())


def test_play_stops_at_the_end_and_when_told(explorer):
    async def use():
        explorer.play.value = True
        await asyncio.sleep(0.5)
        explorer.play.value = False
        at = explorer.frame.value
        assert at >= 1
        await asyncio.sleep(0.3)
        assert explorer.frame.value == at
        explorer.frame.value = 6
        explorer.play.value = True
        task = explorer._playing
        await task
        assert explorer.frame.value == 7 and not explorer.play.value

    asyncio.run(use())


def test_frame_that_vanished_is_told(scene, detectors, tmp_path):
    import cv2

    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, scene[0].frames):
        cv2.imwrite(str(path), image)
    sequence = Sequence("gone", FolderFrames(paths, np.arange(3)), [None] * 3)
    explorer = Explorer(sequence, detectors["spotnet"], score=0.05)
    paths[1].unlink()

    async def use():
        explorer.analyse_button.click()
        with pytest.raises(DataError):
            await explorer._task
        await asyncio.sleep(0.01)
        assert "1.png" in explorer.legend.value and explorer.progress.value == "failed"

    asyncio.run(use())


def test_frames_without_annotation_and_masks(scene, detectors):
    bare = Sequence("bare", scene[0].frames, [None] * len(scene[0]))
    explorer = Explorer(bare, detectors["spotnet_paper"], score=0.05)
    assert "objects missed" not in explorer.canvases["detector"].alt
    for kind, why in (("objects", "not annotated"), ("mask", "no label mask")):
        explorer.kind.value = kind
        assert why in explorer.canvases["detector"].alt
    explorer.analyse()
    assert "nan" in explorer.strip.alt  # there is no AP without truth, and none is made up
    explorer.figure()


def test_exported_network_and_empty_sequence_are_refused(scene, detectors):
    with pytest.raises(ValueError, match="no frames"):
        Explorer(scene[0][:0], detectors)
    with pytest.raises(FileNotFoundError, match="spotnet masks"):
        Explorer(scene[0], detectors, "nowhere")
