"""Training that is killed, spread over processes, or runs out of disk: what a notebook cannot say."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from spotnet.masks import write_masks
from spotnet.network.weights import load_checkpoint
from spotnet.training.recipes import TrainConfig
from spotnet.scenes import SceneConfig, render_scenes

# argv: folder of the scene, run folder, TrainConfig as JSON, other options of train as JSON
SCRIPT = """
import json, sys
from pathlib import Path
from spotnet.data.readers import load_sequences
from spotnet.training.loop import launch, train
from spotnet.training.recipes import TrainConfig
root, out, config, options = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
[street] = load_sequences("scenes", root / "scenes")
action, start = (launch, (options.pop("launch"),)) if "launch" in options else (train, ())
action(*start, TrainConfig.from_dict(config), [street.between(1, 10)], out, masks=root / "masks",
       validation=[street.between(11, 13)], progress=False, **options)
"""
CONFIG = {
    "batch": 4,
    "steps": 9,
    "input_size": (64, 96),
    "crop": True,
    "validate_every": 2,
    "learning_rate": 1e-3,
    "iou": 0.3,
}
SAME = [
    "epoch",
    "step",
    "loss",
    "heatmap",
    "size",
    "offset",
    "foreground",
    "gradient_norm",
    "learning_rate",
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    folder = tmp_path_factory.mktemp("street")
    write_masks(
        render_scenes(
            folder / "scenes", [SceneConfig("street", frames=13, layout=3)], progress=False
        ),
        folder / "masks",
        "boxes",
    )
    (folder / "script.py").write_text(SCRIPT)
    return folder


def command(street, out, changes=(), **options):
    return [
        street / "script.py",
        street,
        out,
        json.dumps({**CONFIG, **dict(changes)}),
        json.dumps(options),
    ]


def run(
    street, out, changes=(), start=(sys.executable,), environment=ENVIRONMENT, code=0, **options
):
    done = subprocess.run(
        [*start, *command(street, out, changes, **options)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def weights(out):
    return load_checkpoint(out / "checkpoint" / "last").state_dict()


def test_killed_at_five_random_steps_and_resumed(street, tmp_path):
    changes = {"steps": 30, "ema": 0.9, "save_every": 2, "workers": 1, "bad_images": "skip"}
    run(street, tmp_path / "undisturbed", changes)
    chance = random.Random()  # another five on every call; a failure names them
    places = sorted(chance.sample(range(1, 30), 5))
    out = tmp_path / "killed"
    for place in places:
        process = subprocess.Popen(
            [sys.executable, *command(street, out, changes, resume=True)],
            start_new_session=True,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        steps = out / "steps.jsonl"
        while process.poll() is None and (
            not steps.exists() or len(steps.read_text().splitlines()) < place
        ):
            time.sleep(0.002)
        time.sleep(chance.random() * 0.05)  # also while a checkpoint is written
        assert process.poll() is None, (places, process.stderr.read())
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run(street, out, changes, resume=True)
    ours, theirs = weights(out), weights(tmp_path / "undisturbed")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs), places
    for name, columns in (("history.csv", [*SAME, "AP", "AP50"]), ("steps.jsonl", SAME)):
        read = pd.read_csv if name.endswith("csv") else lambda p: pd.read_json(p, lines=True)
        a, b = (read(f / name)[columns] for f in (out, tmp_path / "undisturbed"))
        pd.testing.assert_frame_equal(a, b, check_exact=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def torchrun():
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        free_port(),
    ]


@pytest.fixture(scope="module")
def one_process(street, tmp_path_factory):
    out = tmp_path_factory.mktemp("one")
    run(street, out / "run", {"micro_batch": 2, "metric": "loss"})
    return out / "run"


@pytest.mark.parametrize("way", ["torchrun", "launch"])
def test_two_processes_equal_one_that_accumulates(street, one_process, tmp_path, way):
    environment = {**ENVIRONMENT, "GLOO_SOCKET_IFNAME": "lo"}
    changes = {"metric": "loss"}
    if way == "torchrun":
        run(
            street,
            tmp_path / "run",
            changes,
            torchrun(),
            {**environment, "ACCELERATE_USE_CPU": "1"},
            processes=2,
        )
    else:
        run(street, tmp_path / "run", changes, environment=environment, launch=2)
    one, two = (
        pd.read_json(out / "steps.jsonl", lines=True) for out in (one_process, tmp_path / "run")
    )
    np.testing.assert_allclose(two[SAME], one[SAME], rtol=2e-3)
    one, two = (pd.read_csv(out / "history.csv") for out in (one_process, tmp_path / "run"))
    np.testing.assert_allclose(two[SAME], one[SAME], rtol=2e-3)
    state = json.loads((tmp_path / "run" / "checkpoint" / "last" / "state.json").read_text())
    assert state["processes"] == 2 and {"random_0.pt", "random_1.pt"} < set(
        os.listdir(tmp_path / "run" / "checkpoint" / "last")
    )


def test_validation_in_two_processes_sees_every_frame_once(street, one_process, tmp_path):
    (tmp_path / "script.py").write_text("""
import json, sys, torch
from dataclasses import replace
from pathlib import Path
from spotnet.network.weights import load_checkpoint
from spotnet.data.readers import load_sequences
from spotnet.training.devices import start_accelerator
from spotnet.training.validation import validate
from spotnet.training.recipes import TrainConfig
root, checkpoint, config = Path(sys.argv[1]), sys.argv[2], TrainConfig.from_dict(json.loads(sys.argv[3]))
[street] = load_sequences("scenes", root / "scenes")
sequences = [replace(street.between(a, b), name=f"part {a}") for a, b in ((11, 13), (3, 3), (1, 8))]
accelerator = start_accelerator(config, None, (), Path("."))
model = load_checkpoint(checkpoint)
torch.nn.init.constant_(model.heads[-1]["size"][-1].bias, 8.0)  # boxes of about 32 pixels, so that some meet a vehicle
if not accelerator.is_main_process:  # as after steps on other images: what counts is the first process's statistics
    for buffer in model.buffers():
        buffer.mul_(3)
metrics = validate(model, sequences, config, accelerator, root / "masks")
accelerator.print("metrics", json.dumps(metrics))
""")
    said = []
    for first in (11, 3, 1):
        (street / "masks" / f"part {first}").symlink_to(street / "masks" / "street")
    for start, environment in (
        ([sys.executable], ENVIRONMENT),
        (torchrun(), {**ENVIRONMENT, "ACCELERATE_USE_CPU": "1", "GLOO_SOCKET_IFNAME": "lo"}),
    ):
        settings = json.dumps({**CONFIG, "metric": "loss", "iou": 0.02})
        done = subprocess.run(
            [*start, tmp_path / "script.py", street, one_process / "checkpoint" / "last", settings],
            capture_output=True,
            text=True,
            env=environment,
        )
        [line] = [x for x in done.stdout.splitlines() if x.startswith("metrics")] or [
            done.stdout + done.stderr
        ]
        said.append(json.loads(line.removeprefix("metrics ")))
    assert said[0]["AP"] > 0 and said[1] == pytest.approx(said[0], rel=1e-5)


def test_processes_that_do_not_know_of_each_other_are_refused(street, tmp_path):
    environment = {k: v for k, v in ENVIRONMENT.items() if k != "ACCELERATE_USE_CPU"} | {
        "CUDA_VISIBLE_DEVICES": ""
    }
    said = run(street, tmp_path / "run", (), torchrun(), environment, code=1)
    assert "each would train a network of its own" in said and "ACCELERATE_USE_CPU=1" in said
    assert not (tmp_path / "run").exists()


def test_full_disk_leaves_the_earlier_checkpoint(street, tmp_path):
    out = tmp_path / "run"
    run(street, out, {"steps": 2})
    before = {p.name: p.read_bytes() for p in (out / "checkpoint" / "last").iterdir()}
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
    (tmp_path / "script.py").write_text(
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + small + SCRIPT
    )
    done = subprocess.run(
        [
            sys.executable,
            tmp_path / "script.py",
            *command(street, out, {"steps": 2}, overwrite=True)[1:],
        ],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert (
        done.returncode == 1
        and "could not be written" in done.stderr
        and "untouched" in done.stderr
    ), done.stderr
    assert {p.name: p.read_bytes() for p in (out / "checkpoint" / "last").iterdir()} == before
    assert {p.name for p in (out / "checkpoint").iterdir()} == {
        "best",
        "last",
    }  # nothing half-written beside it


def test_tensorboard(street, tmp_path):
    pytest.importorskip("tensorboard")
    run(street, tmp_path / "run", {"steps": 2}, trackers=["tensorboard"])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [events] = (tmp_path / "run" / "spotnet").glob("events*")
    read = EventAccumulator(str(events)).Reload()
    assert [e.step for e in read.Scalars("heatmap")] == [1, 2]


def test_configurations_survive_their_way_through_json():
    config = TrainConfig.from_dict({"recipe": "paper"})
    assert TrainConfig.from_dict(json.loads(json.dumps(config.__dict__))) == config
