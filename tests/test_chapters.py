"""What the chapters promise as a whole: they export to what is committed, and every cell passes."""

import configparser
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbdev.test import nbdev_test

ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted((ROOT / "nbs" / "experiments").glob("*.ipynb"))
CHAPTERS = sorted({*(ROOT / "nbs").glob("*.ipynb"), *(ROOT / "nbs").glob("[0-9]*/*.ipynb")})
BIN = Path(sys.executable).parent


def test_export_leaves_no_difference(tmp_path):
    copy = tmp_path / "project"
    for part in ("spotnet", "nbs"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "settings.ini", "setup.py", "README.md"):
        shutil.copy(ROOT / name, copy)
    subprocess.run([BIN / "nbdev-export"], cwd=copy, check=True)
    modules = {p.relative_to(ROOT) for p in (ROOT / "spotnet").rglob("*.py")}
    for path in sorted(modules):
        assert (copy / path).read_text() == (ROOT / path).read_text(), (
            f"{path} differs from its chapter: nbdev-export"
        )
    assert {p.relative_to(copy) for p in (copy / "spotnet").rglob("*.py")} == modules


def execute(path, log):
    "Run the cells of a notebook in this process, a new one; its output goes to the file `log`."
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
    multiprocessing.set_start_method(None, force=True)  # as in any process: the system's own
    os.environ["TQDM_DISABLE"] = "1"
    os.chdir(ROOT)
    nbdev_test(str(path), n_workers=0)


@pytest.fixture(scope="session")
def fresh_process():
    "Start processes that have imported what every chapter imports, where the system can fork."
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        heavy = ["torch", "pandas", "matplotlib.pyplot", "cv2", "accelerate", __name__]
        context.set_forkserver_preload(heavy)
    return context.Process


@pytest.mark.parametrize("path", EXPERIMENTS + CHAPTERS, ids=lambda p: p.stem)
def test_every_cell_passes(path, fresh_process, tmp_path):
    if path.stem == "peers" and not (ROOT / ".cache" / "peers" / "complete").exists():
        pytest.skip("no environment of the peers, which takes a gigabyte: make peers")
    log = tmp_path / "log.txt"
    process = fresh_process(target=execute, args=(path, log))
    process.start()
    process.join()
    assert process.exitcode == 0, log.read_text()[-4000:]


@pytest.mark.parametrize("path", EXPERIMENTS + CHAPTERS, ids=lambda p: p.stem)
def test_saved_outputs_are_real_and_small(path):
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    outputs = [o for c in cells for o in c["outputs"]]
    assert outputs, "was never executed"
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert "application/vnd.jupyter.widget-view+json" not in path.read_text(), (
        "a widget, which is dead without its kernel"
    )
    assert path.stat().st_size < 2_000_000
    counts = [c["execution_count"] for c in cells if c["execution_count"]]
    assert counts == sorted(counts), "cells were executed out of order"


def test_versions_are_equal():
    settings = configparser.ConfigParser(delimiters=["="], interpolation=None)
    settings.read(ROOT / "settings.ini")
    [stated] = re.findall(r'__version__ = "(.+)"', (ROOT / "spotnet" / "__init__.py").read_text())
    assert stated == settings["DEFAULT"]["version"]
    [cited] = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert cited == stated


def test_package_stands_without_nbdev():
    for path in (ROOT / "spotnet").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (nbdev|fastcore)", path.read_text(), re.M), (
            path.name
        )


def test_contents_list_every_chapter_in_order():
    text = (ROOT / "nbs" / "README.md").read_text()
    listed = re.findall(r"^- \[(.+?)\]\((.+?\.ipynb)\)(?:: (.+))?$", text, re.M)
    chapters = [p for p in CHAPTERS if p.parent.name[0].isdigit()]
    assert [ROOT / "nbs" / link for _, link, _ in listed] == chapters + EXPERIMENTS
    for title, link, line in listed:
        first = next(
            "".join(c["source"])
            for c in json.loads((ROOT / "nbs" / link).read_text())["cells"]
            if c["cell_type"] == "markdown"
        )
        assert first.startswith(f"# {title}\n"), link
        assert not line or f"> {line}" in first, link
