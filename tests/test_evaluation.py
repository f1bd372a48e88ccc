"""What holds for any truth and any detections, and equality with the engine that COCO figures are published with."""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from spotnet.evaluation.comparison import sign_flip_test
from spotnet.evaluation.coco import coco_figures
from spotnet.evaluation.scores import SequencePool, average_precision, evaluate
from spotnet.evaluation.judging import PROTOCOLS, judge, match_boxes
from spotnet.data.detections import Detections
from spotnet.data.result_files import FORMATS, read_detections, write_detections
from spotnet.data.frames import ArrayFrames
from spotnet.data.sequences import Objects, Sequence

SIZE = 120
FRAMES = ArrayFrames(np.zeros((4, SIZE, SIZE, 3), np.uint8))


def boxes(draw, most):
    "Boxes on a grid of half pixels, so that ties, touching and exact thresholds occur."
    n = draw(st.integers(0, most))
    corner = draw(arrays.arrays(np.int64, (n, 2), elements=st.integers(-20, 2 * SIZE - 20)))
    size = draw(arrays.arrays(np.int64, (n, 2), elements=st.integers(1, 80)))
    return np.hstack([corner, corner + size]).astype(np.float32) / 2


@st.composite
def data(draw):
    objects = [None if draw(st.integers(0, 9)) == 0 else Objects(boxes(draw, 4)) for _ in range(4)]
    objects = [o if o is None else Objects(o.boxes, np.arange(len(o))) for o in objects]
    sequence = Sequence("s", FRAMES, objects, [boxes(draw, 2)] * 4)
    found = boxes(draw, 12)
    scores = draw(arrays.arrays(np.int64, len(found), elements=st.integers(1, 9))) / np.float32(10)
    return sequence, Detections(
        "s", draw(arrays.arrays(np.int64, len(found), elements=st.integers(1, 4))), found, scores
    )


@settings(max_examples=150, deadline=None)
@given(data(), st.sampled_from(sorted(PROTOCOLS)), st.randoms(use_true_random=False))
def test_scores_of_anything(pair, protocol, random):
    sequence, found = pair
    before = found.boxes.copy(), [None if o is None else o.boxes.copy() for o in sequence.objects]
    result = evaluate(protocol, [sequence], [found])
    assert np.isnan(result.ap) if result.objects == 0 else -1e-9 <= result.ap <= 100 + 1e-9
    order = list(range(len(found)))
    random.shuffle(order)
    shuffled = found[np.array(order, np.int64)]
    assert evaluate(protocol, [sequence], [shuffled]).ap == pytest.approx(
        result.ap, nan_ok=True, abs=1e-9
    )
    squeezed = Detections("s", found.frames, found.boxes, found.scores**3 / 2)
    assert evaluate(protocol, [sequence], [squeezed]).ap == pytest.approx(
        result.ap, nan_ok=True, abs=1e-9
    )
    assert np.array_equal(before[0], found.boxes)
    assert all(o is None or np.array_equal(o.boxes, b) for o, b in zip(sequence.objects, before[1]))


@settings(max_examples=150, deadline=None)
@given(data(), st.sampled_from(sorted(PROTOCOLS)))
def test_fewer_false_positives_never_score_less(pair, protocol):
    sequence, found = pair
    score, judged = evaluate(protocol, [sequence], [found]).ap, judge(protocol, sequence, found)
    for i in np.flatnonzero(judged.verdict == 1):
        less = evaluate(protocol, [sequence], [found[np.arange(len(found)) != i]]).ap
        assert np.isnan(less) or less >= score - 1e-9


@settings(max_examples=100, deadline=None)
@given(data(), st.sampled_from(sorted(PROTOCOLS)))
def test_the_truth_scores_a_hundred(pair, protocol):
    sequence, _ = pair
    judged = judge(protocol, sequence, Detections("s", [], [], []))
    inside = judged.truth if protocol != "uadetrac" else np.clip(judged.truth, 0, SIZE)
    if not len(judged.truth) or not np.array_equal(inside, judged.truth):
        return  # a clamped box can no longer equal one that leaves the image
    perfect = Detections(
        "s", sequence.numbers[judged.truth_place], judged.truth, np.ones(len(judged.truth))
    )
    result = evaluate(protocol, [sequence], [perfect])
    if result.ignored == 0:
        assert result.ap == pytest.approx(100)


@settings(max_examples=100, deadline=None)
@given(data())
def test_the_fast_matching_is_the_plain_one(pair):
    sequence, found = pair
    judged = judge("uavdt", sequence, found, 0.5)
    hits = np.zeros(len(found), bool)
    for place in range(len(sequence)):
        mine = np.flatnonzero((judged.place == place) & (judged.verdict <= 1))
        mine = mine[np.lexsort((*found.boxes[mine].T[::-1], -found.scores[mine]))]
        if len(mine):
            hits[mine] = (
                match_boxes(
                    found.boxes[mine], found.scores[mine], sequence.objects[place].boxes, 0.5
                )
                >= 0
            )
    assert np.array_equal(hits, judged.verdict == 0)


@settings(max_examples=50, deadline=None)
@given(st.lists(data(), min_size=2, max_size=5), st.integers(0, 99))
def test_drawn_sequences_are_scored_like_copies(pairs, seed):
    "The weights of the bootstrap stand for copies of whole sequences."
    parts = []
    for sequence, found in pairs:
        judged = judge("uavdt", sequence, found)
        parts.append((judged.scores[judged.order], judged.hits, len(judged.truth)))
    weights = np.random.default_rng(seed).integers(0, 3, len(parts))
    [fast] = SequencePool(parts).ap(weights[None])
    # copies of one detection stand side by side, as when every part is repeated before the ranking
    scores, hits = (
        np.concatenate([np.repeat(p[k], w) for p, w in zip(parts, weights)]) for k in (0, 1)
    )
    plain, *_ = average_precision(scores, hits, int(sum(p[2] * w for p, w in zip(parts, weights))))
    if len(np.unique(np.concatenate([p[0] for p in parts]))) == sum(
        len(p[0]) for p in parts
    ):  # equal scores have no order
        assert fast == pytest.approx(plain, nan_ok=True, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(data(), st.sampled_from(FORMATS))
def test_files_bring_the_very_boxes_back(tmp_path_factory, pair, format):
    sequence, found = pair
    exact = Detections(
        "s",
        found.frames,
        found.boxes * np.float32(1.1) + np.float32(0.3),
        found.scores * np.float32(0.77),
    )
    folder = tmp_path_factory.mktemp("files")
    if not len(exact):
        return
    write_detections(folder, [exact], format, sequences=[sequence])
    [again] = read_detections(folder, format, [sequence])
    a, b = (np.lexsort((d.scores, *d.boxes.T, d.frames)) for d in (exact, again))
    for column in ("frames", "boxes", "scores"):
        assert np.array_equal(getattr(exact, column)[a], getattr(again, column)[b]), column


def test_coco_figures_are_those_of_pycocotools():
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    images = [{"id": i + 1, "width": 640, "height": 480} for i in range(40)]
    annotations, rows = [], []
    for image in images:
        for x, y, w, h in np.hstack(
            [rng.uniform(0, 400, (12, 2)), rng.gamma(2, 40, (12, 2)) + 3]
        ).tolist():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
            for _ in range(rng.integers(0, 4)):
                dx, dy, dw, dh = rng.normal(0, 6, 4)
                rows.append(
                    [image["id"], x + dx, y + dy, max(2, w + dw), max(2, h + dh), rng.random(), 1]
                )
    truth = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
        "info": {},
    }
    ours = coco_figures(truth, np.array(rows))
    with redirect_stdout(io.StringIO()):
        engine = COCO()
        engine.dataset = truth
        engine.createIndex()
        run = COCOeval(engine, engine.loadRes(np.array(rows)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    assert np.allclose(list(ours.values()), 100 * run.stats, atol=1e-9)


def test_sign_flip_test_is_exact_for_few_and_close_for_many():
    rng = np.random.default_rng(0)
    values = rng.normal(0.4, 1, 14)
    exact = sign_flip_test(values)
    signs = 1 - 2 * rng.integers(0, 2, (40_000, 14))
    assert exact == pytest.approx(
        (np.abs(signs @ values) >= abs(values.sum()) - 1e-9).mean(), abs=0.01
    )
