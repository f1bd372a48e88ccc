"""Masks that are killed while they are written, or whose optional part is missing."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import pytest

from spotnet.masks.methods import METHODS, available_methods, foreground_masks
from spotnet.masks.writing import write_masks
from spotnet.scenes.render import render_scenes
from spotnet.scenes.config import SceneConfig

SCRIPT = """
import sys
from spotnet.masks import write_masks
from spotnet.data.readers import load_sequences
if __name__ == "__main__":
    write_masks(load_sequences("scenes", sys.argv[1]), sys.argv[2], sys.argv[3], workers=int(sys.argv[4]))
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    configs = [
        SceneConfig("post", frames=40, layout=3),
        SceneConfig("flight", frames=40, camera="drone", layout=9),
    ]
    return folder, render_scenes(folder, configs, progress=False)


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.mark.parametrize(
    ("method", "workers"), [("median", 1), ("flow", 2), ("mog2", 1), ("median+tracks", 1)]
)
def test_killed_while_writing(scenes, tmp_path, method, workers):
    folder, sequences = scenes
    (tmp_path / "script.py").write_text(SCRIPT)
    write_masks(sequences, tmp_path / "undisturbed", method)
    command = [
        sys.executable,
        tmp_path / "script.py",
        folder,
        tmp_path / "killed",
        method,
        str(workers),
    ]
    for wanted in (3, 30):
        run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        while len(list((tmp_path / "killed").rglob("*.png"))) < wanted and run.poll() is None:
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        half = {p: p.stat().st_mtime_ns for p in (tmp_path / "killed").rglob("*.png")}
        assert len(half) < 80, "was done before it could be killed"
    write_masks(sequences, tmp_path / "killed", method)
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
    assert all(
        p.stat().st_mtime_ns == t for p, t in half.items()
    )  # what was there is not made again


def test_workers_make_the_same_masks(scenes, tmp_path):
    for workers in (1, 2):
        write_masks(scenes[1], tmp_path / str(workers), "flow", workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.parametrize("method", ["pawcs", "subsense", "gsoc", "lsbp"])
def test_optional_methods_run_or_say_how_to_get_them(scenes, method):
    some = scenes[1][0][:3]
    if method in available_methods():
        assert len(list(foreground_masks(some, method))) == 3
    else:
        module = "pybgs" if method in ("pawcs", "subsense") else "cv2.bgsegm"
        assert importlib.util.find_spec(module.split(".")[0]) is None or module == "cv2.bgsegm"
        with pytest.raises(
            ImportError, match=f"{method}.*{module}.*(bgslibrary|opencv-contrib-python)"
        ):
            list(foreground_masks(some, method))


def test_every_other_method_is_available():
    assert set(METHODS) - set(available_methods()) <= {
        "pawcs",
        "subsense",
        "gsoc",
        "lsbp",
        "labels",
        "import",
    }
