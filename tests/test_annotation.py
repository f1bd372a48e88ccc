"""Annotation of bare video: odd material ends in usable output or in one sentence, nothing that is
there is made twice, and nobody's files are replaced."""

import json
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
from material import write_timed

from spotnet.annotation import annotate, annotate_sequence, annotation_quality, read_corrections
from spotnet.annotation.ego_motion import neighbour_motion
from spotnet.data.detections import Detections
from spotnet.data.frames import ArrayFrames
from spotnet.data.readers import load_sequences
from spotnet.data.result_files import write_detections
from spotnet.data.sequences import Sequence
from spotnet.files import DataError
from spotnet.scenes import SceneConfig, render_scene


def bare(name, images):
    return Sequence(name, ArrayFrames(list(images)), [None] * len(images))


def teacher_of(scene, drop=0.0, shake=0.0, seed=0):
    "Detections as a good detector would give them: the annotation, spoiled."
    rng, rows = np.random.default_rng(seed), []
    for objects in scene.objects:
        boxes = objects.boxes[rng.random(len(objects)) >= drop]
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = boxes + rng.normal(0, shake, boxes.shape) * sides
        rows.append(np.hstack([boxes, np.full((len(boxes), 1), 0.7), np.zeros((len(boxes), 1))]))
    return Detections.from_frames(scene.name, scene.numbers, rows)


@pytest.fixture(scope="module")
def street():
    return render_scene(SceneConfig("street", layout=11, seed=5, frames=45))


@pytest.fixture(scope="module")
def files(street, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    write_detections(folder, [teacher_of(street, drop=0.2, shake=0.04)])
    return folder


def test_result_files_become_an_annotation(street, files, tmp_path):
    [annotation] = annotate([street], tmp_path, files, "csv", frames=False, ask=0, progress=False)
    quality = annotation_quality(street, annotation.sequence)
    single = annotation_quality(
        street, annotate_sequence(street, teacher_of(street, 0.2, 0.04)).sequence
    )
    assert quality["recall"] > 0.85 and quality["precision"] > 0.9
    assert quality["wrong_negatives"] <= quality["without_regions"]
    assert single["recall"] > 0.8  # without masks, too
    assert set(annotation.tracks.verdict) <= {"object", "ignored", "dropped"}


def test_an_annotation_that_is_there_is_not_looked_at(street, files, tmp_path):
    wrong = replace(street, objects=[street.objects[0]] * len(street))
    options = {"frames": False, "ask": 0, "method": "none", "progress": False}
    [a] = annotate([wrong], tmp_path / "a", files, "csv", **options)
    [b] = annotate([street], tmp_path / "b", files, "csv", **options)
    for p, q in zip(a.sequence.objects, b.sequence.objects):
        assert np.array_equal(p.boxes, q.boxes)


@pytest.mark.parametrize("count", [1, 3, 30])
def test_a_picture_in_which_nothing_moves(count, tmp_path):
    noise = np.random.default_rng(0).integers(60, 180, (12, 20, 3), np.uint8)
    images = [cv2.resize(noise, (160, 96), interpolation=cv2.INTER_CUBIC)] * count
    with pytest.warns(UserWarning, match="no track has enough evidence"):
        [annotation] = annotate([bare("still", images)], tmp_path, progress=False)
    assert annotation.summary()["object"] == 0
    [read] = load_sequences("mot", tmp_path, names=["still"])
    assert len(read) == count and all(o is not None and not len(o) for o in read.objects)


def test_a_black_video(tmp_path):
    images = [np.zeros((96, 160, 3), np.uint8)] * 20
    with pytest.warns(UserWarning, match="another checkpoint or result files"):
        annotate([bare("night", images)], tmp_path, progress=False)


def test_headlights_only(tmp_path):
    scene = render_scene(SceneConfig("night", weather="night", layout=11, seed=5, frames=30))
    lights = [(np.clip(f.astype(int) - 170, 0, 85) * 3).astype(np.uint8) for f in scene.frames]
    [annotation] = annotate([bare("night", lights)], tmp_path, progress=False)
    [read] = load_sequences("mot", tmp_path)
    assert [len(o) for o in read.objects] == [len(o) for o in annotation.sequence.objects]
    assert annotation_quality(scene, annotation.sequence)["precision"] > 0.9  # of few boxes
    assert annotation.summary()["ignored"] > 10  # pairs of lights


def test_a_variable_frame_rate(street, files, tmp_path):
    ticks = np.cumsum(np.random.default_rng(0).integers(20, 90, len(street)))
    path = write_timed(tmp_path / "street.mp4", "libx264", street.frames, ticks, crf="12")
    options = {"teacher": files, "format": "csv", "progress": False}
    [annotation] = annotate(load_sequences("video", path), tmp_path / "out", **options)
    quality = annotation_quality(street, annotation.sequence)
    assert quality["recall"] > 0.85 and quality["precision"] > 0.9
    [read] = load_sequences("mot", tmp_path / "out")
    assert len(read) == len(street)


def test_cuts_end_tracks(street, tmp_path):
    other = render_scene(SceneConfig("other", layout=4, seed=1, frames=20))
    video = bare("video", [*street.frames[:20], *other.frames])
    rows = [teacher_of(s) for s in (street[:20], other)]
    late = replace(rows[1], frames=rows[1].frames + 20)
    joined = Detections.concatenate([rows[0], late])
    write_detections(tmp_path / "teacher", [replace(joined, name="video")])
    found = annotate(
        [video], tmp_path / "out", tmp_path / "teacher", "csv", frames=False, progress=False
    )
    assert [a.sequence.name for a in found] == ["video-shot1", "video-shot2"]
    for annotation, truth in zip(found, (street[:20], other)):
        objects = sum(map(len, annotation.sequence.objects))
        assert objects > 0.7 * sum(map(len, truth.objects))


def test_a_pan(street, tmp_path):
    wide = np.hstack([*street.frames[:1], street.frames[0][:, ::-1]])
    width = wide.shape[1] // 2
    images = [np.ascontiguousarray(wide[:, 4 * i : 4 * i + width]) for i in range(30)]
    video = bare("pan", images)
    motion = neighbour_motion(video)
    assert np.median([m[0, 2] for m in motion[1:] if m is not None]) == pytest.approx(-4, abs=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether the halves of a street hold vehicles is open
        [annotation] = annotate([video], tmp_path, frames=False, progress=False)
    assert len(annotation.sequence) == 30


def test_ten_frames_get_no_masks(street, files, tmp_path):
    annotate([street[:10]], tmp_path, files, "csv", frames=False, progress=False)
    assert not (tmp_path / "masks").exists()


def test_names_that_do_not_match_are_refused(street, files, tmp_path):
    with pytest.raises(DataError, match="detections of street; expected some of lane"):
        annotate([bare("lane", street.frames)], tmp_path / "out", files, "csv")
    assert not (tmp_path / "out").exists()


def test_unsound_calls_are_refused(street, tmp_path):
    with pytest.raises(ValueError, match="sequences with frames"):
        annotate([], tmp_path)
    with pytest.raises(DataError, match="street"):
        annotate([street, street], tmp_path)
    with pytest.raises(ValueError, match="no readable checkpoint"):
        annotate([street], tmp_path / "out", tmp_path / "nothing", progress=False)


def test_a_second_call_makes_nothing_twice(street, tmp_path):
    video = bare("street", street.frames[:20])
    annotate([video], tmp_path, progress=False)
    kept = [
        tmp_path / "teacher" / "street" / "detections.csv",
        *(tmp_path / "street" / "img1").iterdir(),
        *(tmp_path / "masks" / "street").glob("*.png"),
    ]
    times = [path.stat().st_mtime_ns for path in kept]
    assert len(kept) == 41
    (tmp_path / "street" / "img1" / "000007.jpg").unlink()
    annotate([video], tmp_path, progress=False)
    again = [path.stat().st_mtime_ns for path in kept]
    assert sum(a != b for a, b in zip(times, again)) == 1


def test_other_weights_or_frames_are_detected_anew(street, tmp_path):
    annotate([bare("street", street.frames[:4])], tmp_path, frames=False, ask=0, progress=False)
    note = tmp_path / "teacher" / "street" / "made_of.json"
    before = json.loads(note.read_text())
    annotate([bare("street", street.frames[1:5])], tmp_path, frames=False, ask=0, progress=False)
    assert json.loads(note.read_text())["frames"] != before["frames"]


@pytest.mark.parametrize(
    "place",
    ["street/gt/gt.txt", "street/img1/000003.jpg", "annotations/instances.json", "look/street.png"],
)
def test_foreign_files_stay(street, files, tmp_path, place):
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text("mine")
    with pytest.raises(DataError, match="did not write"):
        annotate([street], tmp_path, files, "csv", method="none", progress=False)
    assert (tmp_path / place).read_text() == "mine"
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1  # refused before any work


def test_corrections_of_another_annotation_are_refused(street, files, tmp_path):
    options = {"frames": False, "method": "none", "progress": False}
    found = annotate([street], tmp_path, files, "csv", ask=3, **options)
    file = tmp_path / "correct" / "annotations" / "instances_default.json"
    content = json.loads(file.read_text())
    for image in content["images"]:
        image["file_name"] = image["file_name"].replace("street/", "lane/")
        place = tmp_path / "correct" / "images" / image["file_name"]
        place.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(place), np.zeros((image["height"], image["width"], 3), np.uint8))
    other = tmp_path / "correct" / "annotations" / "other.json"
    other.write_text(json.dumps(content))
    with pytest.raises(DataError, match="frames of lane"):
        read_corrections(found, other)


def test_unknown_classes_in_corrections_are_refused(street, files, tmp_path):
    options = {"frames": False, "method": "none", "progress": False}
    found = annotate([street], tmp_path, files, "csv", ask=3, **options)
    file = tmp_path / "correct" / "annotations" / "instances_default.json"
    content = json.loads(file.read_text())
    content["categories"].append({"id": 9, "name": "tree"})
    content["annotations"][0]["category_id"] = 9
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="tree"):
        read_corrections(found, file)
    with pytest.raises(DataError, match="did not write, or that was changed"):
        annotate([street], tmp_path, files, "csv", ask=3, **options)
