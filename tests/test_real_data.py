"""Figures on real data. The material is not part of the project: SPOTNET_SHARED names the folder that holds data/."""
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from spotnet.evaluation import evaluate_files, trim_trajectories
from spotnet.masks import foreground_masks, mask_quality
from spotnet.sequences import Sequence, load_sequences

DATA = Path(os.environ.get("SPOTNET_SHARED", Path(__file__).parents[2] / "shared")) / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; SPOTNET_SHARED names its parent")


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
    [("boxes", True, 0.932), ("mog2", False, 0.7084), ("median", True, 0.9843), ("median", False, 0.9842)],
)
def test_highway_masks(highway, method, within, expected):
    assert mask_quality(highway, foreground_masks(highway, method, within))["f"] == pytest.approx(expected, abs=6e-4)


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
    assert len(clip.annotated) == 65 and sum(len(clip.objects[i]) for i in clip.annotated) == 370 + 1028


def test_detrac_trimming(detrac, tmp_path):
    [xml] = detrac.rglob("MVI_20011.xml")
    alone = tmp_path / xml.name
    alone.write_bytes(xml.read_bytes())
    [sequence] = load_sequences("uadetrac", alone)
    assert sum(len(o) for o in sequence.objects) == 7655
    assert sum(len(o) for o in trim_trajectories(sequence)) == 6014
