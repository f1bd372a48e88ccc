"""Annotation and frames as other people and tools leave them: right, or refused by name."""

import json
import random
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from material import write_clip
from PIL import Image

from spotnet.data import check_sequences, load_sequences
from spotnet.data.time_order import time_order


def picture(path, grey=100, size=(48, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), grey, np.uint8))


def greys(sequence):
    "The brightness of every frame in the order of their numbers: tells which picture came when."
    return [int(sequence.frames[int(i)].mean()) for i in np.argsort(sequence.numbers)]


def write_coco(path, images, annotations=(), categories=((1, "car"),), **more):
    "images: (id, file name, width, height); annotations: dicts without an id."
    keys = ("id", "file_name", "width", "height")
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "images": [dict(zip(keys, image)) for image in images],
        "annotations": [{"id": i, **a} for i, a in enumerate(annotations, 1)],
        "categories": [{"id": i, "name": name} for i, name in categories],
    }
    path.write_text(json.dumps(data | more))


def refused(call, *words):
    with pytest.raises(ValueError) as error:
        call()
    assert all(word in str(error.value) for word in words), str(error.value)


# ---- names -------------------------------------------------------------------------------------


def test_equal_folder_names_become_paths(tmp_path):
    for camera in ("a", "b"):
        for part in ("day", "night"):
            picture(tmp_path / camera / part / "img1" / "000001.jpg")
    names = [s.name for s in load_sequences("images", tmp_path)]
    assert names == ["a/day/img1", "a/night/img1", "b/day/img1", "b/night/img1"]


def test_equal_video_names_become_paths_and_twins_in_one_folder_are_refused(tmp_path):
    for camera in ("c1", "c2"):
        (tmp_path / camera).mkdir()
        write_clip(tmp_path / camera / "vdo.avi", 3, "MJPG")
    assert [s.name for s in load_sequences("video", tmp_path)] == ["c1/vdo", "c2/vdo"]
    write_clip(tmp_path / "c1" / "VDO.mp4", 3)
    refused(lambda: load_sequences("video", tmp_path / "c1"), "VDO", "vdo.avi", "Rename")


@pytest.mark.parametrize(
    "litter",
    [
        ".ipynb_checkpoints/000001-checkpoint.jpg",
        "._000001.jpg",
        ".thumbs/000001.jpg",
        "__MACOSX/000001.jpg",
        "masks/cam1/000001.png",
    ],
)
def test_litter_is_no_frame(litter, tmp_path):
    for i in (1, 2):
        picture(tmp_path / "data" / "cam1" / f"{i:06d}.jpg")
    picture(tmp_path / "data" / litter)
    if "masks" in litter:
        (tmp_path / "data" / "masks" / "cam1" / "masks.json").write_text("{}")
    found = load_sequences("images", tmp_path / "data")
    assert [(s.name, len(s)) for s in found] == [("cam1", 2)]


def uavdt(root, frames="frames"):
    for i in (1, 2):
        picture(root / frames / "M0101" / f"img{i:06d}.jpg", 100 + i)
    (root / "GT").mkdir(exist_ok=True)
    (root / "GT" / "M0101_gt_whole.txt").write_text("1,1,5,5,20,20,1,1,1\n")


def test_two_places_for_one_sequence_are_refused(tmp_path):
    uavdt(tmp_path)
    picture(tmp_path / "overlays" / "M0101" / "img000001.png")
    refused(lambda: load_sequences("uavdt", tmp_path), "overlays/M0101", "frames/M0101")


def test_a_folder_and_a_video_of_one_name_are_refused(tmp_path):
    uavdt(tmp_path)
    write_clip(tmp_path / "M0101.mp4", 2)
    refused(lambda: load_sequences("uavdt", tmp_path), "M0101.mp4", "frames/M0101")


def test_two_annotations_of_one_name_are_refused(tmp_path):
    for folder in ("XML", "XML-v3"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "MVI_1.xml").write_text('<sequence name="MVI_1"/>')
    refused(lambda: load_sequences("uadetrac", tmp_path), "XML/MVI_1.xml", "XML-v3/MVI_1.xml")


def test_two_coco_videos_of_one_name_are_refused(tmp_path):
    images = [(1, "a/1.jpg", 64, 48), (2, "b/1.jpg", 64, 48)]
    data = {"videos": [{"id": 1, "name": "cam"}, {"id": 2, "name": "cam"}]}
    write_coco(tmp_path / "a.json", images)
    coco = json.loads((tmp_path / "a.json").read_text()) | data
    for image in coco["images"]:
        image["video_id"] = image["id"]
    (tmp_path / "a.json").write_text(json.dumps(coco))
    refused(lambda: load_sequences("coco", tmp_path), "cam", "second video")


def test_per_frame_facts_are_sliced_with_the_frames(tmp_path):
    images = [(10 * i, f"{i:02d}.jpg", 64 + i, 48) for i in range(1, 9)]
    crowd = {"image_id": 50, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1, "area": 7}
    write_coco(tmp_path / "a.json", images, [crowd])
    [s] = load_sequences("coco", tmp_path)
    part = s[4:6]
    assert part.image_ids == [50, 60] and part.sizes.tolist() == [[48, 69], [48, 70]]
    assert part.ignored_labels[0].tolist() == [0] and s[::-1].image_ids[0] == 80


# ---- time order --------------------------------------------------------------------------------

ORDERS = {
    "no padding": [f"frame_{i}" for i in range(12)],
    "seconds across a minute": ["12-00-58", "12-00-59", "12-01-00", "12-01-01"],
    "across midnight": ["20240501_235959", "20240502_000000", "20240502_000001"],
    "unpadded fields": ["2024-5-9_9-59", "2024-5-9_10-0", "2024-5-10_0-0"],
    "hash behind the number": ["f_0009_jpg.rf.ffff", "f_0010_jpg.rf.0a1b", "f_0011_jpg.rf.9c"],
    "epoch milliseconds": ["1714557600123", "1714557600163", "1714557600203"],
    "seconds with a fraction": ["1714557600.5", "1714557600.75", "1714557601.0"],
    "camera in front": ["cam2_9", "cam2_10", "cam2_11"],
    "camera behind": ["9_cam", "10_cam", "11_cam"],
    "text that differs, digits that end": ["b_1", "a_2", "b_3"],
}


@pytest.mark.parametrize("names", ORDERS.values(), ids=ORDERS.keys())
def test_frames_follow_time(names, tmp_path):
    for i, name in enumerate(names):
        picture(tmp_path / "cam" / f"{name}.png", 20 * i)
    [s] = load_sequences("images", tmp_path)
    assert greys(s) == [20 * i for i in range(len(names))]
    shuffled = random.Random(0).sample(names, len(names))
    write_coco(tmp_path / "a.json", [(i, f"cam/{n}.png", 64, 48) for i, n in enumerate(shuffled)])
    [s] = load_sequences("coco", tmp_path)
    assert greys(s) == [20 * i for i in range(len(names))]


@pytest.mark.parametrize("names", [["a", "b"], ["1.9", "1.10"], ["f_1", "f_01"], ["x1y", "z1w"]])
def test_an_order_that_names_do_not_tell_is_told_once(names, tmp_path):
    for name in names:
        picture(tmp_path / f"{name}.png")
    with pytest.warns(UserWarning, match="do not tell their order") as told:
        load_sequences("images", tmp_path)
    assert len(told) == 1


@given(
    st.lists(st.integers(0, 2**53), min_size=2, max_size=20, unique=True),
    st.text("ab_-", max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_numbers_behind_one_text_are_official(numbers, start):
    order = time_order([f"{start}{n}" for n in numbers])
    assert order.numbers == sorted(numbers) and order.known


# ---- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_and_a_declared_size(orientation, tmp_path):
    image = Image.fromarray(
        np.pad(np.full((16, 36, 3), 250, np.uint8), ((32, 12), (12, 52), (0, 0)))
    )
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "1.jpg", exif=exif, quality=95)
    turned = (60, 100) if orientation >= 5 else (100, 60)
    box = {"image_id": 1, "category_id": 1, "bbox": [12, 32, 36, 16]}

    def read(width, height):
        write_coco(tmp_path / "a.json", [(1, "1.jpg", width, height)], [box])
        [s] = load_sequences("coco", tmp_path)
        return s.frames[0]

    if orientation in (2, 3, 4):
        refused(lambda: read(100, 60), "1.jpg", "orientation")
    else:
        x0, y0, w, h = box["bbox"]
        assert read(100, 60)[y0 : y0 + h, x0 : x0 + w].mean() > 240  # as stored
        assert read(*turned).shape[:2] == turned[::-1]  # as viewers show it
    refused(lambda: read(101, 60), "1.jpg", "101x60")


def test_sizes_that_contradict_are_named(tmp_path):
    picture(tmp_path / "A" / "img1" / "000001.jpg")
    info = "[Sequence]\nname=A\nimDir=img1\nimWidth=640\nimHeight=480\n"
    (tmp_path / "A" / "seqinfo.ini").write_text(info)
    [s] = load_sequences("mot", tmp_path)
    refused(lambda: s.frames[0], "000001.jpg", "64x48", "640x480")
    picture(tmp_path / "B" / "000001.jpg")
    picture(tmp_path / "B" / "000002.jpg", size=(50, 64))
    [s] = load_sequences("images", tmp_path / "B")
    refused(lambda: list(s.frames), "000002.jpg", "64x50", "64x48")
    write_coco(tmp_path / "B" / "a.json", [(1, "000001.jpg", 64, 48), (2, "000002.jpg", 64, 50)])
    [s] = load_sequences("coco", tmp_path / "B")
    assert [f.shape[0] for f in s.frames] == [48, 50] and s.size_at(1) == (50, 64)
    refused(lambda: s.size, "000001", "000002", "64x48", "64x50")
    refused(lambda: check_sequences([s]), "64x50")


# ---- COCO --------------------------------------------------------------------------------------

LAYOUTS = {
    "COCO": ("annotations/instances_{}2017.json", "{}2017/1.jpg"),
    "CVAT": ("annotations/instances_{}.json", "images/{}/1.jpg"),
    "CVAT without subsets": ("{}/annotations/instances_default.json", "{}/images/1.jpg"),
    "Roboflow": ("{}/_annotations.coco.json", "{}/1.jpg"),
    "FiftyOne": ("{}/labels.json", "{}/data/1.jpg"),
    "own": ("{}.json", "{}/1.jpg"),
}


@pytest.mark.parametrize(("annotation", "image"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts(annotation, image, tmp_path):
    for grey, part in ((50, "train"), (150, "val")):
        picture(tmp_path / image.format(part), grey)
        write_coco(tmp_path / annotation.format(part), [(1, "1.jpg", 64, 48)])
    [s] = load_sequences("coco", tmp_path, "val")
    assert abs(int(s.frames[0].mean()) - 150) < 3
    [s] = load_sequences("coco", tmp_path / annotation.format("train"))
    assert abs(int(s.frames[0].mean()) - 50) < 3
    refused(lambda: load_sequences("coco", tmp_path), "2 json files", "split")


def test_habits_of_writers(tmp_path):
    picture(tmp_path / "images" / "cam" / "1.jpg")
    box = {"image_id": "7", "category_id": 3.0, "bbox": [5, 5, 9, 9], "iscrowd": None, "area": None}
    box |= {"segmentation": None, "track_id": None}
    write_coco(
        tmp_path / "a.json", [(7, "cam\\1.jpg", None, None)], [box], [(8, "bus"), ("3", "car")]
    )
    text = (tmp_path / "a.json").read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.json").write_text(text, encoding=encoding)
        [s] = load_sequences("coco", tmp_path)
        assert s.category_ids == ("3", 8) and s.objects[0].labels.tolist() == [0]
        assert s.name == "cam" and s.objects[0].extra["area"].tolist() == [81]
        assert s.objects[0].ids.tolist() == [-1] and s.frames[0].shape == (48, 64, 3)


def test_a_file_without_annotations_lists_frames_that_are_not_annotated(tmp_path):
    write_coco(tmp_path / "a.json", [(1, "1.jpg", 64, 48)])
    data = json.loads((tmp_path / "a.json").read_text())
    del data["annotations"]
    (tmp_path / "a.json").write_text(json.dumps(data))
    [s] = load_sequences("coco", tmp_path)
    assert s.objects == [None] and not s.frames.available and s.size == (48, 64)


DAMAGED = {
    "no box": {"bbox": None},
    "box of words": {"bbox": [1, 2, "x", 4]},
    "three numbers": {"bbox": [1, 2, 3]},
    "no width": {"bbox": [1, 2, 0, 4]},
    "not finite": {"bbox": [1, 2, float("nan"), 4]},
    "unknown image": {"image_id": 5},
    "unknown category": {"category_id": 5},
    "image null": {"image_id": None},
    "area of words": {"area": "large"},
    "area below zero": {"area": -1},
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_annotation_is_named_or_left_out(damage, tmp_path):
    good = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    write_coco(tmp_path / "a.json", [(1, "1.jpg", 64, 48)], [good, good | damage, good])
    refused(lambda: load_sequences("coco", tmp_path), "a.json", "annotation 2", "--repair")
    with pytest.warns(UserWarning, match="1 damaged") as told:
        [s] = load_sequences("coco", tmp_path, repair=True)
    assert len(s.objects[0]) == 2 and len(told) == 1


def test_damaged_rows_of_text_are_named_or_left_out(tmp_path):
    uavdt(tmp_path)
    rows = ["1,1,5,5,20,20,1,1,1", "1,2,5,5,0,20,1,1,1", "2,2,5,5", "9,2,5,5,4,4,1,1,1"]
    (tmp_path / "GT" / "M0101_gt_whole.txt").write_text("\n".join(rows))
    refused(lambda: load_sequences("uavdt", tmp_path), "gt_whole.txt:3", "--repair")
    with pytest.warns(UserWarning, match="3 damaged") as told:
        [s] = load_sequences("uavdt", tmp_path, repair=True)
    assert [len(o) for o in s.objects] == [1, 0] and len(told) == 1
    target = '<target id="{}"><box left="1" top="2" width="{}" height="4"/><attribute/></target>'
    targets = target.format(1, 3) + target.format(2, 0) + "<target/>"
    frame = f'<frame num="1"><target_list>{targets}</target_list></frame>'
    (tmp_path / "MVI_1.xml").write_text(f'<sequence name="MVI_1">{frame}</sequence>')
    refused(lambda: load_sequences("uadetrac", tmp_path), "MVI_1.xml", "frame 1", "--repair")
    with pytest.warns(UserWarning, match="2 damaged") as told:
        [s] = load_sequences("uadetrac", tmp_path, repair=True)
    assert s.objects[0].ids.tolist() == [1] and len(told) == 1


# ---- MOT, splits, frames from 0 ------------------------------------------------------------------


def mot(folder, first, rows):
    for k in range(4):
        picture(folder / "img1" / f"{first + k:06d}.png", 50 * k)
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("".join(f"{r},1,3,3,9,9,1,1,1\n" for r in rows))


@pytest.mark.parametrize(
    ("first", "rows", "at"),
    [
        (1, [1, 4], {0: 1, 3: 1}),  # MOTChallenge
        (0, [1, 4], {0: 1, 3: 1}),  # CVAT: files from 0, rows from 1
        (0, [0, 3], {0: 1, 3: 1}),  # both from 0
        (101, [101, 104], {0: 1, 3: 1}),  # a piece with official numbers
    ],
)
def test_mot_numbering(first, rows, at, tmp_path):
    mot(tmp_path / "A", first, rows)
    [s] = load_sequences("mot", tmp_path)
    assert {i: len(o) for i, o in enumerate(s.objects) if len(o)} == at


def test_mot_rows_that_no_picture_has_are_refused(tmp_path):
    mot(tmp_path / "A", 1, [0, 3])
    refused(lambda: load_sequences("mot", tmp_path), "gt.txt:1", "1 to 4")


def test_frame_zero_is_refused_where_annotation_counts_from_one(tmp_path):
    uavdt(tmp_path)
    picture(tmp_path / "frames" / "M0101" / "img000000.jpg")
    refused(lambda: load_sequences("uavdt", tmp_path), "M0101", "frame 0")
    (tmp_path / "M0101.xml").write_text('<sequence name="M0101"/>')
    refused(lambda: load_sequences("uadetrac", tmp_path), "M0101", "frame 0")


@pytest.mark.parametrize("source", ["video", "images", "cdnet"])
def test_a_split_of_a_source_without_splits_is_refused(source, tmp_path):
    picture(tmp_path / "train" / "1.png")
    refused(lambda: load_sequences(source, tmp_path, "train"), source, "no splits")


# ---- whatever a COCO file holds, what is read is what stands in it, or it is refused -------------

IDS = st.one_of(st.integers(-5, 2**40), st.integers(0, 99).map(str), st.text("abc", min_size=1))


@st.composite
def coco_files(draw):
    image_ids = draw(st.lists(IDS, min_size=1, max_size=5, unique_by=str))
    category_ids = draw(st.lists(IDS, min_size=1, max_size=4, unique_by=str))
    boxes = st.tuples(*[st.floats(-50, 900)] * 2, *[st.floats(0.5, 400)] * 2)
    rows = st.tuples(
        st.sampled_from(image_ids), st.sampled_from(category_ids), boxes, st.booleans()
    )
    return image_ids, category_ids, draw(st.lists(rows, max_size=12))


@given(coco_files())
@settings(max_examples=80, deadline=None)
def test_whatever_a_coco_file_holds_is_read_as_it_stands(tmp_path_factory, parts):
    image_ids, category_ids, rows = parts
    path = tmp_path_factory.mktemp("coco") / "a.json"
    images = [(i, f"cam/{k:03d}.jpg", 640 + k, 480) for k, i in enumerate(image_ids)]
    annotations = [
        {"image_id": i, "category_id": c, "bbox": list(box), "iscrowd": int(crowd)}
        for i, c, box, crowd in rows
    ]
    write_coco(path, images, annotations, [(c, f"n{k}") for k, c in enumerate(category_ids)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [s] = load_sequences("coco", path)
    assert s.image_ids == image_ids and s.sizes[:, 1].tolist() == [
        640 + k for k in range(len(images))
    ]
    names = {c: f"n{k}" for k, c in enumerate(category_ids)}
    for k, image in enumerate(image_ids):
        mine = [(c, box) for i, c, box, crowd in rows if i == image and not crowd]
        objects = s.objects[k]
        assert [s.classes[j] for j in objects.labels] == [names[c] for c, _ in mine]
        expected = np.array([box for _, box in mine]).reshape(-1, 4)
        sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
        assert np.allclose(objects.boxes[:, :2], expected[:, :2], atol=1e-3)
        assert np.allclose(sides, expected[:, 2:], atol=1e-3)
        assert len(s.ignored[k]) == sum(i == image and crowd for i, _, _, crowd in rows)
