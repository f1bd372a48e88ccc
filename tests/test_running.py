"""Grids whose runners, workers and notebooks are killed, on this machine and on a Ray cluster: what a chapter cannot say."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml

from spotnet.network.detector import detect_sequences
from spotnet.batch.grids import Grid
from spotnet.batch.tables import runs_table
from spotnet.batch.runner import run_grid
from spotnet.batch.notebooks import GridError, _example_notebook
from spotnet.masks import write_masks
from spotnet.network.model import SpotNet, model_config
from spotnet.network.weights import save_checkpoint
from spotnet.batch.progress import RunsView
from spotnet.batch.runs import is_held, status
from spotnet.scenes.render import render_scenes
from spotnet.scenes.config import SceneConfig

BODY = """import json, os, pathlib, time
with open(pathlib.Path(out, "begun.txt"), "a") as file: file.write(f"{os.getpid()}\\n")
time.sleep(wait)
gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
found = {"square": a * a, "gpu": gpu, "threads": os.environ.get("OMP_NUM_THREADS")}
pathlib.Path(out, "metrics.json").write_text(json.dumps(found))
with open(pathlib.Path(out, "ended.txt"), "a") as file: file.write("x")"""


def write_grid(folder, values, wait=0.0, **stage):
    _example_notebook(folder / "square.ipynb", "a = 1\nwait = 0.0\nseed = 0\nout = ''", BODY)
    stage = {
        "name": "square",
        "notebook": "square.ipynb",
        "parameters": {"wait": wait},
        "axes": {"a": list(values)},
        **stage,
    }
    (folder / "grid.yaml").write_text(yaml.safe_dump({"experiment": "squares", "stages": [stage]}))
    return Grid.load(folder / "grid.yaml")


def command(folder, *more):
    return [
        sys.executable,
        "-m",
        "spotnet",
        "run",
        str(folder / "grid.yaml"),
        "--out",
        str(folder / "out"),
        *map(str, more),
    ]


def started(folder, run):
    return len((folder / "out" / run.id / "begun.txt").read_text().split())


def test_killed_runner_at_random_moments(tmp_path):
    grid, rng = write_grid(tmp_path, range(6), 0.7), random.Random(0)
    killed = []
    for _ in range(3):
        runner = subprocess.Popen(command(tmp_path, "--workers", 2), stdout=subprocess.DEVNULL)
        deadline = time.time() + rng.uniform(4, 9)
        while time.time() < deadline and runner.poll() is None:
            time.sleep(0.1)
        family = (
            psutil.Process(runner.pid).children(recursive=True) if runner.poll() is None else []
        )
        runner.kill()
        runner.wait()
        assert not psutil.wait_procs(family, timeout=15)[1], (
            "something that the runner started outlived it"
        )
        killed.append(
            {r.id for r in grid.runs if status(tmp_path / "out" / r.id)["state"] == "done"}
        )
    before = {r.id: started(tmp_path, r) for r in grid.runs if r.id in killed[-1]}
    done = subprocess.run(command(tmp_path, "--workers", 2), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for run in grid.runs:
        folder = tmp_path / "out" / run.id
        assert status(folder)["state"] == "done"
        assert (
            json.loads((folder / "metrics.json").read_text())["square"] == run.parameters["a"] ** 2
        )
        if run.id in before:
            assert started(tmp_path, run) == before[run.id], "done, and done again"
    assert (
        sum(started(tmp_path, r) for r in grid.runs) <= 6 + 3 * 2
    )  # at most the two that went on were begun again


def test_two_runners_share_a_folder(tmp_path):
    grid = write_grid(tmp_path, range(5), 0.5)
    runners = [
        subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [r.wait(timeout=200) for r in runners] == [0, 0], [r.stderr.read() for r in runners]
    assert [started(tmp_path, r) for r in grid.runs] == [1] * 5


def test_another_grid_in_a_folder_where_one_is_going_on(tmp_path):
    grid = write_grid(tmp_path, [1], 20)
    runner = subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL)
    try:
        while not is_held(tmp_path / "out" / grid.runs[0].id):
            time.sleep(0.1)
        other = write_grid(tmp_path, [2])
        with pytest.raises(GridError, match="another grid is going on here"):
            run_grid(other, tmp_path / "out")
    finally:
        runner.terminate()
        assert runner.wait(timeout=30) == 130
    assert status(tmp_path / "out" / grid.runs[0].id)["note"] == "interrupted"


def test_interrupted_twice_in_a_row(tmp_path):
    grid = write_grid(tmp_path, range(3), 20)
    runner = subprocess.Popen(
        command(tmp_path, "--workers", 2),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while sum((tmp_path / "out" / r.id / "begun.txt").exists() for r in grid.runs) < 2:
        time.sleep(0.1)
    family = psutil.Process(runner.pid).children(recursive=True)
    for _ in range(2):
        runner.send_signal(signal.SIGINT)
        time.sleep(0.1)
    said, _ = runner.communicate(timeout=30)
    assert (
        runner.returncode == 130
        and "run the same command again" in said
        and "Traceback" not in said
    )
    assert sorted(status(tmp_path / "out" / r.id)["state"] for r in grid.runs) == [
        "killed",
        "killed",
        "queued",
    ]
    assert not psutil.wait_procs(family, timeout=10)[1]


def test_killed_kernel_starts_again(tmp_path):
    grid = write_grid(tmp_path, [3])
    body = (
        BODY
        + """
import signal
if len(open(pathlib.Path(out, "begun.txt")).readlines()) == 1: os.kill(os.getpid(), signal.SIGKILL)"""
    )
    _example_notebook(tmp_path / "square.ipynb", "a = 1\nwait = 0.0\nseed = 0\nout = ''", body)
    said = []
    states = run_grid(grid, tmp_path / "out", echo=said.append)
    assert (
        states.state.tolist() == ["done"]
        and status(tmp_path / "out" / grid.runs[0].id)["attempt"] == 2
    )
    assert any("starts again" in line for line in said)


def test_stages_only_and_exit_codes(tmp_path):
    _example_notebook(tmp_path / "first.ipynb", "bad = False\nout = ''", "assert not bad")
    _example_notebook(
        tmp_path / "then.ipynb",
        "place = ''\na = 0\nout = ''",
        "import pathlib; assert pathlib.Path(place, 'status.json').exists()",
    )
    text = (
        "stages:\n  - {name: first, notebook: first.ipynb, parameters: {bad: %s}}\n"
        "  - {name: then, notebook: then.ipynb, needs: [first], parameters: {place: '${first}'}, axes: {a: [1, 2]}}\n"
    )
    (tmp_path / "grid.yaml").write_text(text % "true")
    run = subprocess.run(command(tmp_path), capture_output=True, text=True)
    assert (
        run.returncode == 1
        and "1 failed" in run.stdout
        and "2 blocked" in run.stdout
        and "AssertionError" in run.stdout
    )
    (tmp_path / "grid.yaml").write_text(text % "false")
    grid = Grid.load(tmp_path / "grid.yaml")
    for only, state in ((grid.runs[1].id, "blocked"), ("first", "done"), (grid.runs[1].id, "done")):
        states = run_grid(grid, tmp_path / "out", only=only, report=False)
        assert states.state.tolist() == [state]
    said = subprocess.run(
        [sys.executable, "-m", "spotnet", "status", tmp_path / "out"],
        capture_output=True,
        text=True,
    ).stdout
    assert "2 done" in said and "1 queued" in said
    assert len(run_grid(grid, tmp_path / "out", only="failed", report=False)) == 0
    run = subprocess.run(command(tmp_path, "--only", "second"), capture_output=True, text=True)
    assert run.returncode == 2 and "expected failed, a stage (first, then)" in run.stderr


def test_sbatch_script_runs_the_grid(tmp_path):
    """The printed script with a `sbatch` that does at once what it is told: every run is done, in order."""
    grid = write_grid(tmp_path, [1, 2])
    script = subprocess.run(
        command(tmp_path, "--print-sbatch"), capture_output=True, text=True
    ).stdout
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "sbatch").write_text("""#!/bin/bash
case "$*" in *--wrap*) eval "${@: -1}"; exit;; esac
script=$(cat); last=$(grep -o 'array=0-[0-9]*' <<< "$script" | cut -d- -f2)
for i in $(seq 0 $last); do SLURM_ARRAY_TASK_ID=$i bash <<< "$script" >&2 || exit 1; done; echo 17""")
    (fake / "spotnet").write_text(f'#!/bin/bash\nexec {sys.executable} -m spotnet "$@"')
    for file in fake.iterdir():
        file.chmod(0o755)
    environment = {**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"}
    run = subprocess.run(["bash"], input=script, text=True, capture_output=True, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    assert all(status(tmp_path / "out" / r.id)["state"] == "done" for r in grid.runs)
    assert (tmp_path / "out" / "report.html").exists()


def one_after_the_other(folder, table, gpu):
    "Whether runs that saw this device never overlapped."
    states = [status(folder / "out" / run) for run in table.run]
    spans = sorted((s["start"], s["end"]) for s in states if s["devices"] == gpu)
    return len(spans) > 0 and all(end <= start for (_, end), (start, _) in zip(spans, spans[1:]))


def test_devices_on_one_machine(tmp_path, monkeypatch):
    """Two declared GPUs: one run at a time on each, and none is seen by a run that wants none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    run_grid(write_grid(tmp_path, range(4), 0.5), tmp_path / "out")
    table = runs_table(tmp_path / "out")
    threads = str(max(1, os.cpu_count() // 2))
    assert set(table.gpu.astype(str)) == {"3", "5"}
    assert "OMP_NUM_THREADS" in os.environ or set(table.threads.astype(str)) == {threads}
    for gpu in ("3", "5"):
        assert one_after_the_other(tmp_path, table, gpu)
    grid = write_grid(tmp_path, [9], resources={"gpus": 0})
    run_grid(grid, tmp_path / "cpu")
    assert (
        json.loads((tmp_path / "cpu" / grid.runs[0].id / "metrics.json").read_text())["gpu"] == ""
    )
    with pytest.raises(ValueError, match="this machine has"):
        run_grid(write_grid(tmp_path, [9], resources={"gpus": 4}), tmp_path / "much")
    grid = write_grid(tmp_path, [9], resources={"gpus": 4})
    run_grid(grid, tmp_path / "shared", gpus_per_run=0.5)  # the command's word against the grid's
    assert status(tmp_path / "shared" / grid.runs[0].id)["devices"] in ("3", "5")


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    for attempt in range(4):
        try:
            ray.init(
                num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False
            )  # declared GPUs, not real ones
            break
        except Exception as error:  # Ray gives its own processes 30 s to start, too few where other tests keep the cores busy
            ray.shutdown()
            if attempt == 3 or "timed out" not in str(error):
                raise
    yield ray
    ray.shutdown()


def test_ray_gives_each_run_one_device(tmp_path, cluster):
    grid = write_grid(tmp_path, range(4), 1)
    states = run_grid(grid, tmp_path / "out", ray="auto")
    table = runs_table(tmp_path / "out")
    assert states.state.eq("done").all() and set(table.gpu.astype(str)) == {"0", "1"}
    for gpu in ("0", "1"):
        assert one_after_the_other(tmp_path, table, gpu)


def test_ray_worker_is_killed(tmp_path, cluster):
    """The worker that supervises a run is killed: the run's notebook goes with it, Ray starts the run again, and it succeeds."""
    grid, victims = write_grid(tmp_path, range(2), 3), []

    def kill_one(view):
        path = tmp_path / "out" / grid.runs[0].id / "begun.txt"
        if not victims and path.exists() and path.read_text().endswith("\n"):
            kernel = psutil.Process(int(path.read_text()))
            worker = next(
                p
                for p in kernel.parents()
                if "_on_cluster" in p.name() or "ray::" in " ".join(p.cmdline())
            )
            victims.extend([worker, kernel])
            worker.kill()

    states = run_grid(grid, tmp_path / "out", ray="auto", view=kill_one)
    assert len(victims) == 2 and not psutil.wait_procs(victims, timeout=10)[1]
    assert (
        states.state.eq("done").all() and status(tmp_path / "out" / grid.runs[0].id)["attempt"] == 2
    )
    assert started(tmp_path, grid.runs[0]) == 2 and started(tmp_path, grid.runs[1]) == 1


def test_ray_makes_masks_and_detections(tmp_path, cluster):
    streets = render_scenes(
        tmp_path / "scenes",
        [SceneConfig(f"street {k}", frames=6, layout=k) for k in (1, 3)],
        progress=False,
    )
    write_masks(streets, tmp_path / "here", "flow")
    write_masks(streets, tmp_path / "there", "flow", ray="auto")
    files = sorted(p.relative_to(tmp_path / "here") for p in (tmp_path / "here").rglob("*.png"))
    assert len(files) == 12 and all(
        (tmp_path / "here" / f).read_bytes() == (tmp_path / "there" / f).read_bytes() for f in files
    )
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "new.safetensors", SpotNet(model_config("tiny")))
    found = [
        sorted(
            detect_sequences(
                tmp_path / "new.safetensors", streets, top=5, device="cpu", progress=False, **where
            ),
            key=lambda d: d.name,
        )
        for where in ({"workers": 1}, {"ray": "auto", "gpus": 0})
    ]
    for one, other in zip(*found):
        assert (
            one.name == other.name and np.allclose(one.boxes, other.boxes, atol=1e-2) and len(one)
        )


def test_training_run_is_watched_killed_and_goes_on(tmp_path):
    """A real training: the table follows it, its kernel is killed, and the next call goes on from the run's own checkpoint."""
    root = Path(__file__).parent.parent / "nbs" / "experiments"
    (tmp_path / "train.ipynb").write_text((root / "train.ipynb").read_text())
    small = {
        "size": "tiny",
        "steps": 40,
        "batch": 2,
        "train_frames": "1-20",
        "test_frames": "1-6",
        "mask_method": "boxes",
        "input_size": [64, 96],
        "options": {"save_every": 2},
    }
    stage = {
        "name": "train",
        "notebook": "train.ipynb",
        "parameters": small,
        "resources": {"retries": 0},
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"stages": [stage]}))
    grid, seen = Grid.load(tmp_path / "grid.yaml"), []
    folder = tmp_path / "out" / grid.runs[0].id

    def kill_later(view):
        seen.append(view.table().iloc[0])
        if seen[-1].step is not None and seen[-1].step >= 4:
            family = {p.pid for p in psutil.Process().children(recursive=True)}
            for p in psutil.process_iter(["cmdline"]):
                if p.pid in family and "ipykernel_launcher" in " ".join(p.info["cmdline"] or ()):
                    p.kill()

    first = run_grid(grid, tmp_path / "out", view=kill_later, report=False)
    assert first.state.tolist() == ["killed"] and any(
        row.state == "running" and 0 < (row.done or 0) < 1 for row in seen
    )
    lines = (folder / "steps.jsonl").read_text().splitlines()
    assert 4 <= len(lines) < 40
    (folder / "steps.jsonl").write_text(
        "\n".join([json.dumps(json.loads(lines[0]) | {"mark": 1}), *lines[1:]]) + "\n"
    )
    assert run_grid(grid, tmp_path / "out").state.tolist() == ["done"]
    records = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == list(range(1, 41)) and records[0].get("mark") == 1, (
        "it began from nothing"
    )
    last = RunsView(tmp_path / "out").table().iloc[0]
    assert (
        last.state == "done"
        and last.attempt == 2
        and last.done == 1
        and last.metric.startswith("AP@0.5")
    )
    assert last.memory_mb > 300
