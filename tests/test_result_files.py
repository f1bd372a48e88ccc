"""Result files as other people and tools leave them: right, or refused by name."""

import json
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotnet.data import (
    DataError,
    Detections,
    Objects,
    Sequence,
    read_detections,
    write_detections,
)
from spotnet.data.frames import AbsentFrames, ArrayFrames
from spotnet.data.result_files import FORMATS
from spotnet.evaluation import evaluate, evaluate_files

BLACK = np.zeros((48, 64, 3), np.uint8)


def street(name="s", count=4, classes=("car", "bus"), **facts):
    "Frames 1, 2, ... named 000001 ..., one object of each class in each."
    boxes = [[5 + 25 * k, 5, 20 + 25 * k, 20] for k in range(len(classes))]
    objects = [Objects(boxes, labels=range(len(classes)))] * count
    return Sequence(name, ArrayFrames([BLACK] * count), objects, classes=classes, **facts)


def perfect(sequence, labels=True):
    "A detection of every object."
    parts = [
        Detections(sequence.name, [n] * len(o), o.boxes, [0.9] * len(o), o.labels)
        for n, o in zip(sequence.numbers, sequence.objects)
    ]
    whole = Detections.concatenate(parts)
    return whole if labels else replace(whole, labels=None)


def refused(call, *words):
    with pytest.raises(ValueError) as error:
        call()
    missing = [word for word in words if word not in str(error.value)]
    assert not missing, f"{missing} not in: {error.value}"


def entries(**changes):
    "Entries of a COCO result file for `coco_street`, one for each object."
    s = coco_street()
    rows = []
    for image, objects in zip(s.image_ids, s.objects):
        for (x0, y0, x1, y1), label in zip(objects.boxes.tolist(), objects.labels):
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "score": 0.5}
            rows.append({"image_id": image, "category_id": (3, 8)[label], **box} | changes)
    return rows


def coco_street(name="s", first=101, **facts):
    ids = list(range(first, first + 4))
    return street(name, image_ids=ids, category_ids=(3, 8), **facts)


def write_truth(folder, sequence, first=1):
    "A COCO annotation of a sequence, its frames in a folder of its name."
    images, annotations = [], []
    for i, objects in enumerate(sequence.objects):
        facts = {"file_name": f"{sequence.name}/{i + 1:06d}.jpg", "width": 64, "height": 48}
        images.append({"id": first + i, **facts})
        for (x0, y0, x1, y1), label in zip(objects.boxes.tolist(), objects.labels.tolist()):
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": 99, "iscrowd": 0}
            one = {"id": len(annotations), "image_id": first + i, "category_id": (3, 8)[label]}
            annotations.append(one | box)
    names = [{"id": i, "name": n} for i, n in zip((3, 8), sequence.classes)]
    folder.mkdir(parents=True, exist_ok=True)
    data = {"images": images, "annotations": annotations, "categories": names}
    (folder / "truth.json").write_text(json.dumps(data))
    return folder / "truth.json"


# ---- what is written comes back ------------------------------------------------------------------

NAMES = st.one_of(
    st.sampled_from(["NA", "nan", "null", "001", "1e5", "a,b", 'say "x"', "a_Det_b", "a.txt"]),
    st.sampled_from(["labels", "Straße 7", "c001/vdo", "日本", " x ", "-1", "a'b", "x;y", "True"]),
    st.text("ab_-. ", min_size=1, max_size=8).filter(lambda t: t.strip(". ") != ""),
)


@st.composite
def results(draw):
    "Sequences with odd names, frame numbers and sizes, and detections in them."
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique_by=str.casefold))
    sequences, found = [], []
    for name in names:
        first = draw(st.sampled_from([0, 1, 617, 1_714_557_600_123, 2**53 - 3]))
        numbers = np.arange(first, first + 3)
        sizes = np.array(draw(st.lists(st.sampled_from([(48, 64), (1080, 1920)]), min_size=3)))[:3]
        frames = AbsentFrames(numbers, name, ".")
        classes = ("car", "bus", "van")[: draw(st.integers(1, 3))]
        s = Sequence(name, frames, [Objects.empty()] * 3, classes=classes, sizes=sizes)
        count = draw(st.integers(0, 5))
        corner = st.one_of(st.floats(-20, 60, width=32), st.integers(-20, 60).map(float))
        side = st.sampled_from([0.03125, 0.1, 1.0, 7.3, 60.5])
        rows = draw(st.lists(st.tuples(corner, corner, side, side), min_size=count, max_size=count))
        x, y, w, h = np.array(rows, np.float32).reshape(-1, 4).T
        scores = draw(st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count))
        label = st.integers(0, len(classes) - 1)
        labels = draw(st.lists(label, min_size=count, max_size=count))
        at = draw(st.lists(st.sampled_from(numbers.tolist()), min_size=count, max_size=count))
        boxes = np.stack([x, y, x + w, y + h], 1)
        sequences.append(s)
        found.append(Detections(name, np.array(at, np.int64), boxes, scores, labels))
    return sequences, found


@settings(max_examples=300, deadline=None)
@given(results(), st.sampled_from(FORMATS))
def test_what_is_written_comes_back(tmp_path_factory, pair, format):
    sequences, found = pair
    folder = tmp_path_factory.mktemp("files")
    try:
        write_detections(folder, found, format, sequences=sequences)
    except DataError as error:
        assert "hidden" in str(error) or "half an image" in str(error)
        assert not any(folder.iterdir())
        return
    again = {d.name: d for d in read_detections(folder, format, sequences)}
    assert set(again) == {d.name for d in found}
    for d in found:
        read = again[d.name]
        assert len(read) == len(d)
        places = [(s.name, n) for s in sequences for n in s.numbers.tolist()]
        assert all((read.name, n) in places for n in read.frames.tolist())
        a, b = (np.lexsort((x.labels, x.scores, *x.boxes.round(2).T, x.frames)) for x in (d, read))
        assert np.array_equal(d.frames[a], read.frames[b])
        assert np.allclose(d.boxes[a], read.boxes[b], rtol=1e-6, atol=1e-5)
        assert np.array_equal(d.scores[a], read.scores[b])
        if format in ("csv", "coco", "yolo"):
            assert np.array_equal(d.labels[a], read.labels[b])


@pytest.mark.parametrize("format", FORMATS)
def test_what_could_not_be_read_is_not_written(format, tmp_path):
    s = street()
    for boxes, scores, found in (
        ([[5, 5, 5, 9]], [0.5], "without size"),
        ([[5, 5, np.nan, 9]], [0.5], "out of range"),
        ([[5, 5, 9, 9]], [np.inf], "out of range"),
    ):
        d = Detections("s", [2], boxes, scores, [0])
        refused(partial(write_detections, tmp_path, [d], format, sequences=[s]), "frame 2", found)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["coco", "yolo"])
def test_detections_of_no_frame_or_sequence_are_refused(format, tmp_path):
    d = Detections("s", [9], [[1, 1, 2, 2]], [0.5], [0])
    call = lambda *s: write_detections(tmp_path, [d], format, sequences=s)  # noqa: E731
    refused(lambda: call(street()), "frame 9", "1 to 4")
    refused(lambda: call(street("other")), "detections of s", "other")


def test_a_detectors_name_does_not_hide_the_end_of_a_sequences_name(tmp_path):
    for name in ("a_Det_b", "a/b", ""):
        refused(partial(write_detections, tmp_path, [], "uadetrac", name), "name")


@pytest.mark.parametrize("format", FORMATS)
def test_a_sequence_without_detections_counts_in_every_format(format, tmp_path):
    s = [coco_street("a"), coco_street("b", 201)]
    found = [perfect(s[0]), perfect(s[1])[:0]]
    write_detections(tmp_path, found, format, sequences=s)
    read = read_detections(tmp_path, format, s)
    result = evaluate("uavdt", s, read)
    assert round(result.ap, 3) == 50 and "no detection in 1 of 2 sequences (b)" in result.notes[-1]


def test_a_second_run_leaves_no_yolo_row_of_the_first(tmp_path):
    s = street()
    write_detections(tmp_path, [perfect(s)], "yolo", sequences=[s])
    write_detections(tmp_path, [perfect(s)[:2]], "yolo", sequences=[s])
    [read] = read_detections(tmp_path, "yolo", [s])
    assert read.frames.tolist() == [1, 1]


# ---- sizes ---------------------------------------------------------------------------------------


def test_yolo_shares_and_cut_boxes_are_of_each_frames_own_size(tmp_path):
    sizes = np.array([[48, 64], [480, 640], [48, 640], [480, 64]])
    frames = AbsentFrames([1, 2, 3, 4], "s", ".")
    objects = [Objects([[w - 20, h - 20, w, h]]) for h, w in sizes]
    s = Sequence("s", frames, objects, sizes=sizes)
    write_detections(tmp_path, [perfect(s)], "yolo", sequences=[s])
    row = (tmp_path / "s" / f"{s.frames.names[1]}.txt").read_text().split()
    assert np.allclose([float(v) for v in row[:5]], [0, 630 / 640, 470 / 480, 20 / 640, 20 / 480])
    [read] = read_detections(tmp_path, "yolo", [s])
    assert np.allclose(read.boxes, [o.boxes[0] for o in objects])
    beyond = replace(read, boxes=read.boxes + np.float32([0, 0, 9, 9]))  # cut to each frame
    assert round(evaluate("uadetrac", [s], [beyond]).ap, 3) == 100


# ---- COCO results --------------------------------------------------------------------------------

IDS = {
    "of the annotation": lambda k: 101 + k,
    "as text": lambda k: str(101 + k),
    "as a float": lambda k: float(101 + k),
    "stem": lambda k: f"{k + 1:06d}",
    "stem as a number": lambda k: k + 1,
    "file name": lambda k: f"{k + 1:06d}.jpg",
    "path": lambda k: f"images/s/{k + 1:06d}.png",
    "path of Windows": lambda k: f"s\\{k + 1:06d}.jpg",
}


@pytest.mark.parametrize("of", IDS.values(), ids=IDS.keys())
def test_image_ids_of_other_tools(of, tmp_path):
    s, rows = coco_street(), entries()
    for row in rows:
        row["image_id"] = of(row["image_id"] - 101)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    [read] = read_detections(tmp_path / "a.json", "coco", [s])
    assert round(evaluate("coco", [s], [read]).ap, 3) == 100


def test_stems_that_two_sequences_have_are_refused_unless_the_folder_tells(tmp_path):
    s = [coco_street("a"), coco_street("b", 201)]
    (tmp_path / "a.json").write_text(json.dumps(entries(image_id="000002")))
    refused(lambda: read_detections(tmp_path / "a.json", "coco", s), "image_id '000002'")
    (tmp_path / "a.json").write_text(json.dumps(entries(image_id="b/000002.jpg")))
    a, b = read_detections(tmp_path / "a.json", "coco", s)
    assert not len(a) and set(b.frames.tolist()) == {2}


def test_ids_of_two_annotations_that_collide_are_refused(tmp_path):
    s = [coco_street("a"), coco_street("b")]
    found = [perfect(one) for one in s]
    refused(lambda: write_detections(tmp_path, found, "coco", sequences=s), "101", "a and", "b")


def test_counted_ids_do_not_depend_on_which_sequences_are_there(tmp_path):
    a, b = street("a"), street("b")
    write_detections(tmp_path, [perfect(b[2:])], "coco", sequences=[b[2:]])
    read = {d.name: d for d in read_detections(tmp_path, "coco", [a, b])}
    assert not len(read["a"]) and set(read["b"].frames.tolist()) == {3, 4}


def test_one_coco_file_speaks_of_all_sequences(tmp_path):
    a, b = coco_street("a"), coco_street("b", 201)
    (tmp_path / "detections.json").write_text("[]")
    assert [len(d) for d in read_detections(tmp_path, "coco", [a, b])] == [0, 0]
    truth = write_truth(tmp_path, a)
    result, missing = evaluate_files("coco", truth, tmp_path / "detections.json")
    assert result.ap == 0 and missing == []


WAYS = {
    "BOM": lambda rows: "\ufeff" + json.dumps(rows),
    "object": lambda rows: json.dumps({"info": None, "annotations": rows}),
    "lines": lambda rows: "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n",
    "null fields": lambda rows: json.dumps([r | {"segmentation": None, "id": None} for r in rows]),
    "unknown category among others": lambda rows: json.dumps(
        rows + [rows[0] | {"category_id": 1, "score": 0.99}]
    ),
    "categories as text": lambda rows: json.dumps(
        [r | {"category_id": str(r["category_id"])} for r in rows]
    ),
}


@pytest.mark.parametrize("text", WAYS.values(), ids=WAYS.keys())
def test_coco_results_as_others_write_them(text, tmp_path):
    (tmp_path / "a.json").write_text(text(entries()), encoding="utf-8")
    s = coco_street()
    read = read_detections(tmp_path / "a.json", "coco", [s])
    assert round(evaluate("coco", [s], read).ap, 3) == 100


REFUSED = {
    "annotation": ({"annotations": [{"id": 1, "bbox": [1, 2, 3, 4]}]}, ["no score"]),
    "annotations of numbers": ({"annotations": [5]}, ["no score"]),
    "predictions": ({"predictions": []}, ["object without annotations"]),
    "numbers": ([5], ["entry 0", "5"]),
    "lists": ([[1, 2, 3]], ["entry 0"]),
    "segmentation": (
        [
            {k: v for k, v in e.items() if k != "bbox"} | {"segmentation": {"size": [1]}}
            for e in entries()
        ],
        ["entry 0", "segmentation without bbox"],
    ),
    "no box": (entries(bbox=None), ["entry 0", "'bbox'"]),
    "no score": (entries(score=None), ["entry 0", "'score'"]),
    "not finite": (entries(score=float("nan")), ["entry 0", "out of range"]),
    "no width": (entries(bbox=[1, 2, 0, 4]), ["entry 0", "0x4"]),
    "three numbers": (entries(bbox=[1, 2, 4]), ["entry 0", "incomplete"]),
    "unknown image": (entries(image_id=7777), ["entry 0", "image_id 7777"]),
    "image null": (entries(image_id=None), ["entry 0", "'image_id'"]),
    "unknown categories": (entries(category_id=0), ["category_id 0", "3, 8"]),
}


@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_coco_results_that_are_refused(data, words, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(data))
    refused(lambda: read_detections(tmp_path / "a.json", "coco", [coco_street()]), "a.json", *words)


# ---- damaged entries -----------------------------------------------------------------------------

HEAD = "sequence,frame,x0,y0,x1,y1,score,label\n"
GOOD = {
    "csv": "s,2,5,5,20,20,0.9,0\n",
    "uadetrac": "2,1,6,6,15,15,0.9\n",
    "uavdt": "2,-1,5,5,15,15,0.9,1,-1\n",
    "yolo": "0 0.2 0.3 0.2 0.3 0.9\n",
}
FILES = {
    "csv": "detections.csv",
    "uadetrac": "s_Det_x.txt",
    "uavdt": "s.txt",
    "yolo": "s/000002.txt",
}
DAMAGED = [
    ("csv", "s,2,5,5,5,20,0.9,0\n", "without size"),
    ("csv", "s,2,5,5,20\n", "not all numbers"),
    ("csv", "s,2,5,5,20,20,high,0\n", "high"),
    ("csv", ",2,5,5,20,20,0.9,0\n", "not all numbers"),
    ("csv", "s,2,5,5,20,20,0.9,0,7,7\n", "fields"),
    ("csv", "s,2.5,5,5,20,20,0.9,0\n", "fraction"),
    ("csv", "s,2,5,5,20,20,0.9,0.5\n", "fraction"),
    ("csv", "s,2,5,5,inf,20,0.9,0\n", "not all numbers"),
    ("uadetrac", "2,1,6,6,15,15\n", "6 columns"),
    ("uadetrac", "2,1,6,6,-15,15,0.9\n", "-15x15"),
    ("uadetrac", "2,1,6,6,15,15,17\n", "a score of 17"),
    ("uadetrac", "2,1,6,6,nan,15,0.9\n", "nan"),
    ("uavdt", "2,-1,5,5,15,0,0.9,1,-1\n", "15x0"),
    ("uavdt", "2 -1 5 5 15 15 0.9 1 -1\n", "2 -1 5 5"),
    ("uavdt", "2.5,-1,5,5,15,15,0.9,1,-1\n", "fraction"),
    ("yolo", "0 0.2 0.3 0.2 0.3\n", "5 columns"),
    ("yolo", "0 0.2 0.3 0.2 0.3 17\n", "a score of 17"),
    ("yolo", "0 0.2 0.3 0.2 0.3 0.9 0.1\n", "polygon"),
    ("yolo", "0 .1 .1 .2 .1 .2 .2 .1 .2\n", "oriented box"),
    ("yolo", "0 .1 .1 .2 .1 .2 .2 .1 .2 .1 .1\n", "polygon"),
    ("yolo", "0 20 14 12 14 0.9\n", "pixel coordinates"),
    ("yolo", "0 0.2 0.3 0 0.3 0.9\n", "without size"),
    ("yolo", "0.5 0.2 0.3 0.2 0.3 0.9\n", "class"),
    ("yolo", "car 0.2 0.3 0.2 0.3 0.9\n", "not a number"),
    ("yolo", "1e300 0.2 0.3 0.2 0.3 0.9\n", "class"),
]


@pytest.mark.parametrize(("format", "row", "words"), DAMAGED)
def test_a_damaged_row_is_named_or_left_out(format, row, words, tmp_path):
    file = tmp_path / FILES[format]
    file.parent.mkdir(exist_ok=True)
    head = HEAD if format == "csv" else ""
    file.write_text(head + GOOD[format] + row + GOOD[format])

    def read(**how):
        return read_detections(tmp_path, format, [street()], **how)

    refused(read, file.name, words, "--repair")
    with pytest.warns(UserWarning, match="1 damaged") as told:
        [d] = read(repair=True)
    assert len(d) == 2 and len(told) == 1 and np.allclose(d.boxes[0], [5, 5, 20, 20], atol=2.5)


@pytest.mark.parametrize(
    "damage",
    [
        {"bbox": None},
        {"bbox": [1, 2, 0, 4]},
        {"bbox": [1, 2, "x", 4]},
        {"score": None},
        {"score": float("inf")},
        {"image_id": None},
        {"image_id": 7777},
        {"category_id": None},
        {"image_id": [1]},
    ],
    ids=str,
)
def test_a_damaged_entry_is_named_or_left_out(damage, tmp_path):
    rows = entries()
    rows[3] |= damage
    (tmp_path / "a.json").write_text(json.dumps(rows))
    read = lambda **how: read_detections(tmp_path / "a.json", "coco", [coco_street()], **how)  # noqa: E731
    refused(read, "a.json, entry", "--repair")
    with pytest.warns(UserWarning, match="1 damaged") as told:
        [d] = read(repair=True)
    assert len(d) == len(rows) - 1 and len(told) == 1


def test_a_file_that_breaks_off_is_refused_or_read_up_to_there(tmp_path):
    text = json.dumps(entries())
    (tmp_path / "a.json").write_text(text[: len(text) // 2])
    read = lambda **how: read_detections(tmp_path / "a.json", "coco", [coco_street()], **how)  # noqa: E731
    refused(read, "a.json", "after 4 entries", "--repair")
    with pytest.warns(UserWarning, match="1 damaged"):
        [d] = read(repair=True)
    assert len(d) == 4


def test_results_of_a_larger_set_are_refused_or_cut_to_this_one(tmp_path):
    rows = entries() + entries(image_id=900) + entries(image_id=901)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    s = coco_street()
    refused(lambda: read_detections(tmp_path / "a.json", "coco", [s]), "entry 8", "image_id 900")
    with pytest.warns(UserWarning, match="16 damaged"):
        read = read_detections(tmp_path / "a.json", "coco", [s], repair=True)
    assert round(evaluate("coco", [s], read).ap, 3) == 100


# ---- rows of other columns -----------------------------------------------------------------------

TABLES = {
    "torchvision": "image,xmin,ymin,xmax,ymax,confidence,class\n1,5,5,20,20,0.9,0\n",
    "MOT": "1,1,5,5,15,15,0.9,-1,-1,-1\n",
    "no head": "s,1,5,5,20,20,0.9,0\n",
    "semicolons": HEAD.replace(",", ";") + "s;1;5;5;20;20;0.9;0\n",
    "tabs": HEAD.replace(",", "\t") + "s\t1\t5\t5\t20\t20\t0.9\t0\n",
    "capitals": HEAD.upper() + GOOD["csv"],
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES.keys())
def test_tables_of_other_columns_are_refused_with_ours(text, tmp_path):
    (tmp_path / "detections.csv").write_text(text)
    for repair in (False, True):
        refused(
            partial(read_detections, tmp_path, "csv", repair=repair),
            "detections.csv",
            "no column",
            "sequence, frame, x0, y0, x1, y1, score",
        )


def test_tables_in_another_order_and_with_more_columns_are_read(tmp_path):
    text = "score,id,label,y1,x1,y0,x0,frame,sequence\n0.9,7,1,20,19,5,4,2,NA\n"
    (tmp_path / "detections.csv").write_text("\ufeff" + text, encoding="utf-8")
    for repair in (False, True):
        [d] = read_detections(tmp_path, "csv", repair=repair)
        assert (d.name, d.frames[0], d.labels[0]) == ("NA", 2, 1)
        assert d.boxes.tolist() == [[4, 5, 19, 20]]


@pytest.mark.parametrize(
    "row", ["0 .2 .4 .2 .4 .9 17", "0\t.2\t.4\t.2\t.4\t.9", "0.0 .2 .4 .2 .4 1"]
)
def test_yolo_rows_that_are_right(row, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "000003.txt").write_text(row + "\n")
    [d] = read_detections(tmp_path, "yolo", [street()])
    assert d.frames.tolist() == [3] and np.allclose(d.boxes, [[6.4, 9.6, 19.2, 28.8]])


def test_results_of_two_detectors_in_one_folder_are_refused(tmp_path):
    for name in ("A", "B"):
        write_detections(tmp_path, [perfect(street())], "uadetrac", name)
    refused(lambda: read_detections(tmp_path, "uadetrac"), "s_Det_A.txt", "s_Det_B.txt")


@pytest.mark.parametrize(
    ("frames", "shown", "words"),
    [
        ([0, 1, 2, 3], 4, ["frames 0 to 3", "from 0"]),
        ([0, 1], 4, ["frames 0 to 1", "from 0"]),  # also where the last have no detection
        ([101, 104], 4, ["frames 101 to 104", "1 to 4"]),
        ([0], 4, ["frames 0 to 0"]),
        ([1, 2, 3, 4], 4, None),
        ([2], 4, None),
        ([0, 4], 4, None),  # odd, but not one off
    ],
)
def test_frames_that_cannot_be_those_of_the_annotation(frames, shown, words, tmp_path):
    truth = write_truth(tmp_path / "truth", street())
    boxes = [[5, 5, 20, 20]] * len(frames)
    write_detections(tmp_path / "found", [Detections("s", frames, boxes, [0.5] * len(frames))])
    call = lambda: evaluate_files("coco", truth, tmp_path / "found", format="csv")  # noqa: E731
    if words:
        refused(call, *words)
    else:
        call()


def test_frames_from_one_where_the_annotation_counts_from_zero(tmp_path):
    truth = write_truth(tmp_path / "truth", street())
    data = json.loads(truth.read_text())
    data["videos"] = [{"id": 1, "name": "s"}]
    for k, image in enumerate(data["images"]):
        image |= {"video_id": 1, "frame_id": k}
    truth.write_text(json.dumps(data))
    boxes = [[5, 5, 20, 20]] * 4
    write_detections(tmp_path / "found", [Detections("s", [1, 2, 3, 4], boxes, [0.5] * 4)])
    refused(lambda: evaluate_files("coco", truth, tmp_path / "found"), "1 to 4", "from 1")


# ---- classes -------------------------------------------------------------------------------------


def notes(protocol, sequences, detections):
    return " | ".join(evaluate(protocol, sequences, detections).notes)


def test_classes_are_told_apart_by_cocos_rules_alone():
    s = street()
    found = perfect(s)
    swapped = replace(found, labels=1 - found.labels)
    assert evaluate("coco", [s], [swapped]).ap == 0
    assert round(evaluate("uavdt", [s], [swapped]).ap, 3) == 100
    assert round(evaluate("coco", [s], [perfect(s, labels=False)]).ap, 3) == 100
    assert "detections have no class labels" in notes("coco", [s], [perfect(s, labels=False)])
    assert not notes("coco", [s], [found]) and not notes("uavdt", [s], [found])


def test_a_detector_of_one_class_for_all_is_told():
    s = street()
    found = replace(perfect(s), labels=np.zeros(8))
    assert "every detection is of class car" in notes("coco", [s], [found])
    assert not notes("coco", [street(classes=("car",))], [perfect(street(classes=("car",)))])


def test_a_sequence_of_strangers_alone_is_left_out_by_cocos_rules(tmp_path):
    "One class is annotated; in sequence b the detector found nothing but persons, category 1."
    a, b = (
        street(n, classes=("car",), image_ids=list(ids), category_ids=(3,))
        for n, ids in (("a", range(4)), ("b", range(10, 14)))
    )
    empty = replace(b, objects=[Objects.empty()] * 4)
    rows = [
        {"image_id": i, "category_id": c, "bbox": [5, 5, 15, 15], "score": 0.5}
        for ids, c in ((range(4), 3), (range(10, 14), 1))
        for i in ids
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    read = read_detections(tmp_path / "a.json", "coco", [a, empty])
    assert evaluate("coco", [a, empty], read).detections == 4
    assert "4 detections of no class" in notes("coco", [a, empty], read)
    assert "left out" in notes("coco", [a, empty], read)
    assert evaluate("uavdt", [a, empty], read).detections == 8
    assert "count like all others" in notes("uavdt", [a, empty], read)


def test_two_categories_of_one_name_stay_two():
    s = street(classes=("car", "car"))
    found = perfect(s)
    assert evaluate("coco", [s], [replace(found, labels=1 - found.labels)]).ap == 0
    assert round(evaluate("coco", [s], [found]).ap, 3) == 100


@pytest.mark.parametrize("format", ["csv", "yolo", "coco"])
@pytest.mark.parametrize("classes", [["car"], ["car", "bus"], [0], ["0"]])
def test_classes_are_chosen_by_name_or_number(format, classes, tmp_path):
    s = coco_street()
    if format == "coco" and classes[0] in (0, "0"):
        classes = [3]
    write_detections(tmp_path, [perfect(s)], format, sequences=[s])
    [d] = read_detections(tmp_path, format, [s], classes=classes)
    assert set(d.labels.tolist()) == set(range(len(classes)))
    refused(
        lambda: read_detections(tmp_path, format, [s], classes=["person"]), "person", "car, bus"
    )


@pytest.mark.parametrize("format", ["uadetrac", "uavdt", "csv"])
def test_classes_of_results_that_name_none_are_refused(format, tmp_path):
    s = street()
    write_detections(tmp_path, [perfect(s, labels=False)], format)
    refused(lambda: read_detections(tmp_path, format, [s], classes=["car"]), "has a class")


def test_unknown_classes_come_back_unknown(tmp_path):
    s = coco_street()
    with pytest.warns(UserWarning, match="8 detections name no class"):
        write_detections(tmp_path, [perfect(s, labels=False)], "coco", sequences=[s])
    [d] = read_detections(tmp_path, "coco", [s])
    assert (d.labels == -1).all() and round(evaluate("coco", [s], [d]).ap, 3) == 100
    rows = json.loads((tmp_path / "detections.json").read_text())
    assert {row["category_id"] for row in rows} == {3}  # for scorers that do not tell them apart


def test_classes_that_the_annotation_lacks_are_not_written_as_others(tmp_path):
    s = coco_street()
    found = replace(perfect(s), labels=np.full(8, 2))
    refused(lambda: write_detections(tmp_path, [found], "coco", sequences=[s]), "class 2", "car")


# ---- scores and nothing --------------------------------------------------------------------------


def test_scores_that_are_identities_are_told(tmp_path):
    s = street()
    found = replace(perfect(s), scores=np.arange(8) + 1)
    for format in ("csv", "uavdt", "coco"):
        write_detections(tmp_path, [found], format, sequences=[s])
        read = read_detections(tmp_path, format, [s])
        assert "scores go from 1 to 8" in notes("uavdt", [s], read)


@pytest.mark.parametrize("protocol", ["uadetrac", "uavdt", "coco"])
def test_nothing_is_never_a_figure(protocol):
    refused(lambda: evaluate(protocol, [], []), "no sequences")
    s = street(classes=("car",))
    bare = replace(s, objects=[Objects.empty()] * 4)
    blind = replace(s, objects=[None] * 4)
    for one in (bare, blind):
        for d in (perfect(s), perfect(s)[:0]):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert np.isnan(evaluate(protocol, [one], [d]).ap)
    assert evaluate(protocol, [s], [perfect(s)[:0]]).ap == 0
