"""COCO's twelve figures equal those of pycocotools on the files that we write."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spotnet.data import load_sequences, read_detections, write_detections
from spotnet.data.detections import Detections
from spotnet.evaluation import evaluate
from spotnet.evaluation.coco import COCO_FIGURES


def random_annotation(rng):
    "Images of several sizes and folders; gapped ids; areas, crowds and images without objects."
    categories = rng.choice(np.arange(0, 90), rng.integers(1, 5), replace=False).tolist()
    ids = rng.choice(np.arange(0, 10_000), rng.integers(1, 7), replace=False).tolist()
    images, annotations = [], []
    for k, i in enumerate(ids):
        width, height = (int(side) for side in rng.integers(60, 900, 2))
        name = f"{'ab'[k % 2]}/{k:03d}.jpg"
        images.append({"id": i, "file_name": name, "width": width, "height": height})
        for _ in range(rng.integers(0, 12)):
            w, h = rng.choice([8, 40, 150]) * rng.uniform(0.5, 1.5, 2)
            box = np.round([*rng.uniform(0, [width, height]), w, h], 2).tolist()
            row = {"id": len(annotations) + 5, "image_id": i, "bbox": box}
            row["category_id"] = int(rng.choice(categories))
            row["iscrowd"] = int(rng.random() < 0.15)
            row["area"] = float(w * h * rng.choice([1.0, rng.uniform(0.3, 1)]))
            annotations.append(row)
    named = [{"id": c, "name": f"class {c}"} for c in categories]
    return {"images": images, "annotations": annotations, "categories": named}


def random_detections(rng, sequence):
    "Boxes near objects and anywhere, some of equal score, up to 120 in an image."
    frames, boxes, labels = [], [], []
    for i, number in enumerate(sequence.numbers.tolist()):
        near = np.concatenate([sequence.objects[i].boxes, sequence.ignored[i]])
        known = np.concatenate([sequence.objects[i].labels, sequence.ignored_labels[i]])
        for k in range(len(near) * int(rng.integers(0, 3))):
            j = k % len(near)
            side = near[j, 2:] - near[j, :2]
            corner = near[j, :2] + rng.normal(0, 0.1, 2) * side
            boxes.append([*corner, *(corner + side * rng.uniform(0.8, 1.25, 2))])
            labels.append(known[j] if rng.random() < 0.8 else rng.integers(len(sequence.classes)))
            frames.append(number)
        for _ in range(int(rng.choice([0, 5, 110]))):
            corner, side = rng.uniform(0, 600, 2), rng.uniform(5, 200, 2)
            boxes.append([*corner, *(corner + side)])
            labels.append(rng.integers(len(sequence.classes)))
            frames.append(number)
    scores = np.round(rng.random(len(frames)), int(rng.choice([1, 6])))  # many ties, or none
    boxes = np.float32(boxes).reshape(-1, 4)
    return Detections(sequence.name, frames, boxes, scores, np.array(labels, np.int64))


def theirs(annotation, results):
    "The twelve figures of pycocotools in percent; NaN for what it calls -1."
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotation))
        rows = json.loads(results.read_text())
        if not rows:
            return None
        run = COCOeval(truth, truth.loadRes(rows), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [100 * value if value >= 0 else np.nan for value in run.stats]


@pytest.mark.parametrize("block", range(8))
def test_two_hundred_random_cases(block, tmp_path):
    compared = 0
    for seed in range(25 * block, 25 * (block + 1)):
        rng = np.random.default_rng(seed)
        annotation = tmp_path / f"{seed}.json"
        annotation.write_text(json.dumps(random_annotation(rng)))
        sequences = load_sequences("coco", annotation)
        found = [random_detections(rng, s) for s in sequences]
        out = tmp_path / str(seed)
        [file] = write_detections(out, found, "coco", sequences=sequences)
        expected = theirs(annotation, file)
        if expected is None:
            continue
        back = {d.name: d for d in read_detections(file, "coco", sequences)}
        empty = {s.name: Detections(s.name, [], [], []) for s in sequences}
        for ours in ({d.name: d for d in found}, empty | back):
            figures = evaluate("coco", sequences, ours).extra
            assert np.allclose(
                [figures[name] for name in COCO_FIGURES], expected, rtol=1e-9, equal_nan=True
            ), (seed, figures, expected)
        compared += 1
    assert compared > 20
