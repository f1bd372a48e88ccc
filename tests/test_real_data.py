"""Figures on real data. The material is not part of the project: SPOTNET_SHARED names the folder that holds data/."""

import os
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from spotnet.evaluation.scores import evaluate_files, load_files
from spotnet.evaluation.judging import audit, trim_trajectories
from spotnet.evaluation.cdnet import evaluate_masks
from spotnet.masks.methods import foreground_masks
from spotnet.masks.quality import mask_quality
from spotnet.data.readers import load_sequences
from spotnet.data.sequences import Sequence
from spotnet.files import DataError

DATA = Path(os.environ.get("SPOTNET_SHARED", Path(__file__).parents[2] / "shared")) / "data"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no real data at {DATA}; SPOTNET_SHARED names its parent"
)


@pytest.fixture(scope="module")
def highway(tmp_path_factory) -> Sequence:
    folder = tmp_path_factory.mktemp("highway")
    with zipfile.ZipFile(DATA / "highway.zip") as archive:
        archive.extractall(folder)
    [sequence] = load_sequences("cdnet", folder)
    return sequence


@pytest.fixture(scope="module")
def uavdt(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uavdt")
    for name in ("uavdt.tar.xz", "uavdt_frames.tar"):
        with tarfile.open(DATA / name) as archive:
            archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def detrac(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("detrac")
    with tarfile.open(DATA / "uadetrac.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_highway_has_the_stated_boxes(highway):
    assert sum(len(highway.objects[i]) for i in highway.annotated) == 4796
    assert highway.numbers[highway.annotated].tolist() == list(range(470, 1701))
    assert highway.attributes["boxes"] == "derived"


@pytest.mark.parametrize(
    ("method", "within", "expected"),
    [
        ("boxes", True, 0.932),
        ("mog2", False, 0.7084),
        ("median", True, 0.9843),
        ("median", False, 0.9842),
    ],
)
def test_highway_masks(highway, method, within, expected):
    assert mask_quality(highway, foreground_masks(highway, method, within))["f"] == pytest.approx(
        expected, abs=6e-4
    )


def test_uavdt_published_detections(uavdt):
    [results] = uavdt.rglob("spotnet_published")
    result, missing = evaluate_files("uavdt", uavdt, results)
    assert round(result.ap, 2) == 65.09 and result.objects == 108_642 and len(missing) == 42
    assert {k: round(v, 2) for k, v in result.per_sequence.items()} == {
        "M0203": 90.06,
        "M0205": 87.85,
        "M0208": 5.02,
        "M0403": 83.98,
        "M0601": 13.15,
        "M0602": 26.37,
        "M0801": 99.14,
        "M0802": 71.62,
    }


@pytest.mark.parametrize(("method", "expected"), [("mog2", 0.7084), ("knn", 0.8034)])
def test_highway_by_the_rules_of_cdnet(highway, method, expected):
    """OpenCV's subtractors at their defaults.

    KNN draws random samples, from a generator that each thread has of its own. So its figure
    belongs to one thread, and to a new one: this process may have drawn samples before."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(1) as new:
            masks = new.submit(list, foreground_masks(highway, method, within_boxes=False)).result()
    finally:
        cv2.setNumThreads(threads)
    table = evaluate_masks([highway], {"highway": masks})
    assert table.f[0] == pytest.approx(expected, abs=6e-5) and table.frames[0] == 1231


def test_detrac_published_detections(detrac):
    "SpotNet's file for a clip of a test sequence: unclamped, and scored on the 65 frames whose annotation is at hand."
    [file] = detrac.rglob("MVI_40852_Det_SpotNet.txt")
    result, _ = evaluate_files("uadetrac", detrac, file, repair=True)
    judged = audit(
        "uadetrac", *(x[0] for x in load_files("uadetrac", detrac, file, repair=True)[:2])
    )
    assert (
        (judged.verdict != "frame not annotated").sum()
        == 65 * 100
        == result.detections + result.ignored
    )
    assert (
        result.objects == 1254 and round(result.ap, 2) == 95.64
    )  # of 1,398 objects; by these rules, on these frames
    with pytest.raises(DataError, match=":47120: found a box without size, 188x-1"):
        evaluate_files("uadetrac", detrac, file)


def test_uavdt_video_seeks_exactly(uavdt):
    [sequence] = load_sequences("uavdt", uavdt, names=["M0703"])
    wanted = [500, 20, 300, 299, 682]
    forward = {i: image for i, image in enumerate(sequence.frames) if i in wanted}
    assert len(sequence) == 683 and len(forward) == len(wanted)
    for i in wanted:
        assert np.array_equal(sequence.frames[i], forward[i]), i


def test_detrac_layouts(detrac):
    by_name = {s.name: s for s in load_sequences("uadetrac", detrac)}
    assert len(by_name["MVI_20011"]) == 9 and by_name["MVI_20011"].attributes["weather"] == "sunny"
    clip = by_name["MVI_40852"]
    assert clip.numbers[[0, -1]].tolist() == [618, 869] and clip.size == (540, 960)
    assert (
        len(clip.annotated) == 65
        and sum(len(clip.objects[i]) for i in clip.annotated) == 370 + 1028
    )


def test_detrac_trimming(detrac, tmp_path):
    [xml] = detrac.rglob("MVI_20011.xml")
    alone = tmp_path / xml.name
    alone.write_bytes(xml.read_bytes())
    [sequence] = load_sequences("uadetrac", alone)
    assert sum(len(o) for o in sequence.objects) == 7655
    assert sum(len(o) for o in trim_trajectories(sequence)) == 6014
