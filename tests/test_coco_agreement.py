"""COCO's twelve figures of the files that we write are those of pycocotools, in 200 random cases."""

import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spotnet.data import Detections, load_sequences, read_detections, write_detections
from spotnet.evaluation import evaluate, evaluate_files
from spotnet.evaluation.coco import COCO_FIGURES

CASES = 200


def random_ids(rng, count):
    "Ids with gaps, from 0 or beyond 32 bits, as numbers, as text of numbers, or as names."
    numbers = rng.choice(3 * count + 5, count, replace=False).tolist()
    kind = rng.integers(5)
    if kind == 1:
        return [n + 1_714_557_600_123 for n in numbers]
    if kind == 2:
        return [str(n) for n in numbers]
    if kind == 3:
        return [f"cam{n:03d}" for n in numbers]
    return numbers


def random_boxes(rng, count, width, height):
    "x, y, width, height (count, 4) with two decimals, some partly outside, of all three sizes."
    sides = np.exp(rng.uniform(np.log(4), np.log(250), (count, 2)))
    corners = rng.uniform(-20, [width, height], (count, 2))
    return np.maximum(np.hstack([corners, sides]).round(2), [-50, -50, 1, 1])


def annotation(rng):
    "A COCO data set: several folders, sizes, classes, crowds, areas that are not width x height."
    categories = rng.choice(12, rng.integers(1, 5), replace=False).tolist()
    used = categories[: rng.integers(1, len(categories) + 1)]  # others have no object
    count, folders = int(rng.integers(1, 9)), ["", "a/", "b/"][: rng.integers(1, 4)]
    names = rng.permutation(count).tolist()
    images, annotations = [], []
    for image_id, name in zip(random_ids(rng, count), names):
        width, height = rng.integers(100, 700, 2).tolist()
        file_name = f"{folders[rng.integers(len(folders))]}frame_{name}.jpg"
        facts = {"file_name": file_name, "width": width, "height": height}
        images.append({"id": image_id, **facts})
        objects = 0 if rng.random() < 0.2 else int(rng.integers(1, 12))
        for box in random_boxes(rng, objects, width, height).tolist():
            area = box[2] * box[3] * rng.choice([1, rng.uniform(0.3, 1)])
            one = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": used[rng.integers(len(used))],
                "bbox": box,
                "area": float(rng.choice([area, 32**2, 96**2], p=[0.9, 0.05, 0.05])),
                "iscrowd": int(rng.random() < 0.1),
            }
            annotations.append(one)
    names = [{"id": c, "name": f"class {c}"} for c in categories]
    return {"images": images, "annotations": annotations, "categories": names}


def detections(rng, sequence, ties):
    "Objects moved a little, some of another class, and false positives; at most 120 per frame."
    rows = []
    for i, (number, (height, width)) in enumerate(zip(sequence.numbers, sequence.sizes)):
        objects, times = sequence.objects[i], int(rng.integers(0, 4))
        boxes = np.repeat(np.concatenate([objects.boxes, sequence.ignored[i]]), times, 0)
        labels = np.repeat(np.append(objects.labels, sequence.ignored_labels[i]), times)
        boxes = boxes + rng.normal(0, rng.choice([0, 1, 8]), boxes.shape)
        more = int(rng.integers(0, 5)) if rng.random() < 0.9 else 120 - len(boxes)
        others = random_boxes(rng, more, width, height)
        others[:, 2:] += others[:, :2]
        boxes = np.concatenate([boxes, others])
        labels = np.append(labels, rng.integers(0, len(sequence.classes), more))
        wrong = rng.random(len(labels)) < 0.1
        labels[wrong] = rng.integers(0, len(sequence.classes), wrong.sum())
        sound = (boxes[:, 2:] > boxes[:, :2] + 0.01).all(1)
        scores = rng.random(len(boxes)).round(1 if ties else 9)
        for row in zip(boxes[sound], scores[sound], labels[sound]):
            rows.append((number, *row))
    rows = [rows[i] for i in rng.permutation(len(rows))]
    frames, boxes, scores, labels = zip(*rows) if rows else ([], [], [], [])
    return Detections(sequence.name, frames, np.array(boxes), scores, labels)


def reference(truth, results):
    "The figures of pycocotools in percent, NaN where it says -1."
    with redirect_stdout(io.StringIO()):
        engine = COCO(str(truth))
        run = COCOeval(engine, engine.loadRes(str(results)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return np.where(run.stats < 0, np.nan, 100 * run.stats)


def assert_equal(figures, expected):
    ours = np.array([figures[name] for name in COCO_FIGURES])
    assert np.allclose(ours, expected, rtol=1e-9, atol=1e-9, equal_nan=True), dict(
        zip(COCO_FIGURES, zip(ours, expected))
    )


@pytest.mark.parametrize("part", range(10))
def test_the_files_that_we_write_have_the_figures_of_pycocotools(part, tmp_path):
    for case in range(part, CASES, 10):
        rng = np.random.default_rng(case)
        folder = tmp_path / str(case)
        folder.mkdir()
        (folder / "truth.json").write_text(json.dumps(annotation(rng)))
        sequences = load_sequences("coco", folder / "truth.json")
        found = [detections(rng, s, ties=case % 2) for s in sequences]
        if not any(map(len, found)):
            continue
        [results] = write_detections(folder / "out", found, "coco", sequences=sequences)
        expected = reference(folder / "truth.json", results)
        direct = evaluate("coco", sequences, found)
        assert_equal(direct.extra, expected)
        read, _ = evaluate_files("coco", folder / "truth.json", results)
        assert_equal(read.extra, expected)
        assert {d.name: len(d) for d in read_detections(results, "coco", sequences)} == {
            d.name: len(d) for d in found
        }
