"""Arrays measured on the reference implementation; see tests/parity/README.md."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spotnet.detection import decode
from spotnet.losses import center_l1_loss, focal_loss, segmentation_loss
from spotnet.masks import _farneback_mask, cut_with_boxes, foreground_masks
from spotnet.model import Prediction, SpotNet, convert_reference, model_config
from spotnet.samples import gaussian_radius
from spotnet.sequences import ArrayFrames, Objects, Sequence

ARRAYS = Path(__file__).parent / "parity"


def arrays(name):
    return np.load(ARRAYS / f"{name}.npz")


def tensor(values):
    return torch.from_numpy(values.astype(np.float32) if values.dtype == np.float16 else values)


@pytest.fixture(scope="module")
def tiny():
    weights = arrays("model_tiny_weights")
    config, state = convert_reference({k: tensor(weights[k]) for k in weights.files})
    model = SpotNet(config)
    model.load_state_dict(state)
    return model.eval()


@pytest.mark.parametrize("case", "abc")
@pytest.mark.parametrize("stack", [0, 1])
def test_network(tiny, case, stack):
    expected = arrays("model_tiny_eval")
    with torch.no_grad():
        features = tiny.features(tensor(expected[f"{case}_input"]).flip(1))  # stored as BGR
        answer = tiny.read(features[stack], stack)
    for ours, theirs in (("heatmap", "hm"), ("size", "wh"), ("offset", "reg"), ("attention", "seg")):
        difference = (getattr(answer, ours) - tensor(expected[f"{case}_stack{stack}_{theirs}"])).abs().max()
        assert difference < 2e-5, ours


def test_full_network_has_the_published_entries():
    shapes = json.loads((ARRAYS / "hourglass_full_state_dict_shapes.json").read_text())
    with torch.device("meta"):
        config, state = convert_reference({k: torch.empty(s) for k, s in shapes.items()})
        own = SpotNet(model_config("hourglass104", "spotnet")).state_dict()
    assert config == model_config("hourglass104", "spotnet") and state.keys() == own.keys()


def test_gaussian_radius():
    expected = arrays("target_primitives")
    height, width = expected["radius_hw"].T.astype(np.float64)
    assert np.array_equal(gaussian_radius(height, width), expected["radius_raw"])


@pytest.mark.parametrize("case", ["focal_pos", "focal_nopos"])
def test_focal_loss(case):
    expected = arrays("losses")
    logits = tensor(expected[f"{case}/logits"]).requires_grad_()
    loss = focal_loss(logits, tensor(expected[f"{case}/gt"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(expected[f"{case}/loss"]), rel=1e-5)
    assert torch.allclose(logits.grad, tensor(expected[f"{case}/grad_logits"]), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("case", ["some", "none", "all"])
def test_center_l1_loss(case):
    expected = {k: tensor(arrays("losses")[f"reg_{case}/{k}"]) for k in ("output", "ind", "mask", "target")}
    loss = center_l1_loss(expected["output"], expected["ind"], expected["mask"].bool(), expected["target"])
    assert loss.item() == pytest.approx(float(arrays("losses")[f"reg_{case}/l1"]), rel=1e-5)


def test_segmentation_loss():
    expected = arrays("losses")
    loss = segmentation_loss(tensor(expected["seg/logits"]), tensor(expected["seg/target"]))
    assert loss.item() == pytest.approx(float(expected["seg/loss"]), rel=1e-5)


@pytest.mark.parametrize("case", ["random_1cls", "random_4cls", "random_K20", "sparse_lt_K"])
def test_decode(case):
    stored = arrays("decode")
    heatmap = torch.logit(tensor(stored[f"{case}/hm"]).double(), 1e-12)  # stored as probabilities
    found = decode(
        Prediction(heatmap, tensor(stored[f"{case}/wh"]), tensor(stored[f"{case}/reg"]), None), int(stored[f"{case}/K"])
    )
    expected = tensor(stored[f"{case}/dets"])
    assert (found - expected).abs()[expected[..., 4] > 0].max() < 1e-5  # the order of rows that score 0 is not defined


def flow_pair(stored, first, second):
    frames = [np.ascontiguousarray(stored[name][..., ::-1]) for name in (first, second)]
    boxes = stored["boxes_xyxy"]
    return Sequence("pair", ArrayFrames(frames), [Objects(boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)])] * 2)


@pytest.mark.parametrize("chain", ["png", "jpeg"])
@pytest.mark.parametrize(
    ("case", "first", "second"),
    [
        ("move", "frame0_bgr", "frame1_bgr"),
        ("static_noise", "frame0_bgr", "static_frame1_bgr"),
        ("static_exact", "static_frame1_bgr", "static_frame1_bgr"),
    ],
)
def test_farneback_masks(case, first, second, chain):
    stored = arrays("masks_flow")
    masks = foreground_masks(flow_pair(stored, first, second), "farneback", jpeg=chain == "jpeg")
    assert np.array_equal(list(masks)[1], stored[f"{case}/final_{chain}_chain"])


@pytest.mark.parametrize("image", [2, 3, 4])
def test_farneback_boxes_that_leave_the_image(image):
    stored = arrays("masks_flow")
    white = np.full((180, 320, 3), 255, np.uint8)
    mask = _farneback_mask(white, stored[f"ranges/img0000{image}_boxes"], jpeg=False)
    assert np.array_equal(mask, stored[f"ranges/img0000{image}_final"])


@pytest.mark.parametrize("image", [1, 2])
def test_pawcs_masks_are_cut_with_boxes(image):
    stored = arrays("masks_pawcs")
    boxes = stored[f"img0000{image}_boxes_xyxy"].astype(np.float32)
    # the recipe loses a box that starts left of the image, because its slice wraps around; ours is cut at the border
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1) & (boxes[:, :2] >= 0).all(1)]
    frame = Sequence("frame", ArrayFrames([np.zeros((540, 960, 3), np.uint8)]), [Objects(boxes)])
    assert np.array_equal(next(cut_with_boxes(frame, [stored["raw_mask"]])), stored[f"img0000{image}_out"])

