"""Kills real commands (SIGKILL) at random moments and shows that the same command, given again, ends as if nothing had been.

After the kill nothing of the command lives on, and every file visible under its final name is whole. After the second call,
what it left equals what an undisturbed one leaves, byte for byte or number by number (weights bit for bit; times and facts
about the machine do not count). Moments are spread evenly over the undisturbed duration, or over the stretch of it in which
files are written. Linux; ten minutes on two cores; not part of pytest."""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import psutil
import torch
import yaml
from safetensors import safe_open

from spotnet.batch.notebooks import _example_notebook
from spotnet.masks import write_masks
from spotnet.batch.runs import status
from spotnet.scenes import SceneConfig, render_scenes
from spotnet.data.readers import load_sequences

ROOT = Path(__file__).resolve().parent.parent
SPOTNET = [sys.executable, "-m", "spotnet"]
SHARES = {"masks": 12, "train": 12, "run": 7, "detect": 5, "write": 8, "collect": 6}
NEEDS = {"detect": "train", "collect": "run"}  # work on what the other leaves undisturbed
TRAINED = [
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
NOTEBOOK = """import json, pathlib, time
import numpy as np, pandas as pd
time.sleep(0.3)
chance, out, steps = np.random.default_rng([seed, len(variant)]), pathlib.Path(out), np.arange(1, 41)
pd.DataFrame({"step": steps, "loss": 9 / steps + chance.random(40)}).to_csv(out / "history.csv", index=False)
recall = np.linspace(0, 1, 200)
pd.DataFrame({"iou": 0.5, "recall": recall, "precision": 1 - recall ** len(variant)}).to_csv(out / "curve.csv", index=False)
(out / "metrics.json").write_text(json.dumps({"AP50": 90 * chance.random(), "AP70": 60 * chance.random(), "data": "scenes",
                                              "weights": 100_000, "detect_images_per_second": 40.0 + seed}))"""
WRITE = """import os, sys, numpy as np
from spotnet.data.detections import Detections
from spotnet.data.result_files import write_detections
chance, n = np.random.default_rng(0), 150_000
corner = chance.uniform(0, 900, (n, 2)).astype(np.float32)
boxes = np.hstack([corner, corner + chance.uniform(5, 90, (n, 2)).astype(np.float32)])
found = [Detections(f"camera {k}", np.arange(n) // 60 + 1, boxes + k, chance.random(n)) for k in range(3)]
write_detections(sys.argv[1], found, sys.argv[2])
os._exit(0)"""  # at once: what is disturbed is the writing


@dataclass
class Case:
    "A command to disturb."

    name: str
    command: object  # output folder -> argv
    contents: object  # output folder -> {name: what has to be equal}
    victims: tuple = (
        "main",
    )  # in turn: the first process alone, its process group, one of its workers alone
    begun: object = lambda out: (
        True
    )  # output folder -> whether the stretch that is to be disturbed has begun
    start: object = lambda out: None  # called with the output folder before the first call
    within: float = (
        None  # seconds after its beginning in which to kill; None: until the command ends
    )
    expected: dict = None  # what the undisturbed command left,
    seconds: float = 0.0  # and how long the stretch took


def call(case: Case, out: Path) -> tuple:
    "Start a command; the process, and the mark that all its descendants carry in their environment."
    mark = uuid.uuid4().hex
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    around = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "SPOTNET_FAULT": mark,
        "PYTHONPATH": path,
    }
    with (out.parent / "said.txt").open("a") as log:
        return subprocess.Popen(
            case.command(out),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=around,
            cwd=out.parent,
            start_new_session=True,
        ), mark


def alive(mark: str, patience: float = 20) -> list:
    "The processes with this mark that still live after so many seconds; they are killed then."
    deadline = time.monotonic() + patience
    while (
        found := [p for p in psutil.process_iter() if marked(p, mark)]
    ) and time.monotonic() < deadline:
        time.sleep(0.1)
    for p in found:
        with suppress(psutil.NoSuchProcess):
            p.kill()
    return [str(p) for p in found]


def marked(process, mark: str) -> bool:
    try:
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and process.environ().get("SPOTNET_FAULT") == mark
        )
    except psutil.Error:
        return False  # gone, or somebody else's


def visible(out: Path) -> list:
    "Files under their final names: neither they nor a folder they are in is hidden or called .part."
    return [
        p
        for p in sorted(out.rglob("*"))
        if p.is_file()
        and not any(
            part.startswith(".") or part.endswith(".part") for part in p.relative_to(out).parts
        )
    ]


def torn(path: Path) -> str:
    "In what a file is not whole; empty if it is."
    kind, data = path.suffix, path.read_bytes()
    ends = {
        ".html": b"</html>",
        ".tex": b"{tabular}\n",
        ".md": b"|\n",
        ".csv": b"\n",
        ".txt": b"\n",
        ".png": b"IEND\xaeB`\x82",
    }
    try:
        if not data.endswith(ends.get(kind, b"")):
            return f"{len(data)} bytes without the end of a {kind}"
        if (
            kind in (".csv", ".txt")
            and len({len(row) for row in csv.reader(data.decode().splitlines())}) != 1
        ):
            return "rows that are not full"
        if (
            kind == ".png"
            and cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is None
        ):
            return "a PNG that does not decode"
        if kind in (".json", ".ipynb"):
            json.loads(data)
        elif kind == ".jsonl":
            [
                json.loads(line) for line in data.decode().split("\n")[:-1]
            ]  # grows; its last line may be cut
        elif kind == ".safetensors":
            tensors(path)
        elif kind == ".pt":
            torch.load(path, weights_only=True)
        elif kind not in ends and kind != ".log":
            return "a kind of file that nobody expects here"
    except Exception as error:  # each kind has its own; any of them is the answer
        return f"{type(error).__name__}: {error}"
    return ""


def tensors(path: Path) -> dict:
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 (not a dictionary)


def files(out: Path) -> dict:
    return {str(p.relative_to(out)): p.read_bytes() for p in visible(out)}


def training(out: Path) -> dict:
    "Weights, state, and the columns that are no times."
    found = {
        "history": pd.read_csv(out / "history.csv")[[*TRAINED, "AP"]].to_csv(),
        "steps": pd.read_json(out / "steps.jsonl", lines=True)[TRAINED].to_csv(),
    }
    for place in (out / "checkpoint" / "last", out / "checkpoint" / "best"):
        state = json.loads((place / "state.json").read_text())
        found |= {f"{place.name} {k}": v for k, v in state.items() if k != "sums"} | {
            f"{place.name} {k}": v for k, v in tensors(place / "model.safetensors").items()
        }
    return found


def grid(out: Path) -> dict:
    "States, and what runs and report hold, without times."
    runs = pd.read_csv(out / "tables" / "runs.csv").drop(
        columns=["seconds", "memory_mb", "attempt", "commit"], errors="ignore"
    )
    found = {
        n: data
        for n, data in files(out).items()
        if n.endswith((".csv", ".png", "metrics.json")) and n != "tables/runs.csv"
    }
    states = {p.parent.name: status(p.parent)["state"] for p in out.glob("*/params.json")}
    return found | states | {"runs": runs.to_csv(), "report": (out / "report.html").exists()}


def make_cases(work: Path) -> dict:
    "What is disturbed, by kind."
    scenes, masks = work / "scenes", work / "masks"
    render_scenes(
        scenes,
        [SceneConfig("post", frames=40, layout=3), SceneConfig("second", frames=40, layout=4)],
        progress=False,
    )
    write_masks(load_sequences("scenes", scenes), masks, "boxes")
    _example_notebook(work / "quick.ipynb", "variant = 'spotnet'\nseed = 0\nout = ''", NOTEBOOK)
    stage = {
        "name": "quick",
        "notebook": "quick.ipynb",
        "axes": {"variant": ["centernet", "spotnet"]},
        "seeds": [0, 1],
    }
    (work / "grid.yaml").write_text(yaml.safe_dump({"experiment": "quick", "stages": [stage]}))
    settings = (
        "batch=2",
        "input_size=[64, 96]",
        "crop=true",
        "save_every=2",
        "validate_every=1",
        "iou=0.3",
    )
    trained, done = work / "train" / "quick" / "out", work / "run" / "quick" / "out"

    def command(*words):
        return lambda out: [*SPOTNET, *map(str, words), str(out)]

    def mask(method, workers):
        return command("masks", "scenes", scenes, "--method", method, "--workers", workers, "--out")

    def write(form):
        return lambda out: [sys.executable, "-c", WRITE, out, form]

    def copy(out, but=()):
        shutil.copytree(done, out, ignore=lambda place, names: but if Path(place) == done else ())

    def bare(out):
        copy(out, ("tables", "plots", "report.html"))

    def masked(out):
        return any(out.glob("*/*.png"))

    def saving(out):
        return (out / "checkpoint" / ".last.part").exists() and len(
            (out / "steps.jsonl").read_text().splitlines()
        ) > 6

    def replaced(out):
        return (out / "tables" / "runs.csv").stat().st_mtime > (
            out / "grid.json"
        ).stat().st_ctime  # later than the copy

    detect = (
        "detect",
        trained / "checkpoint" / "last",
        scenes,
        "--source",
        "scenes",
        "--score",
        0,
        "--format",
    )
    train = command(
        "train",
        "scenes",
        scenes,
        "--masks",
        masks,
        "--steps",
        24,
        "--workers",
        1,
        "--name",
        "post",
        "--frames",
        "1-12",
        "--validation",
        "38-40",
        "--resume",
        *(a for s in settings for a in ("--set", s)),
        "--out",
    )
    return {
        "masks": [
            Case("mog2", mask("mog2", 1), files),
            Case("mog2 writing", mask("mog2", 1), files, ("group",), masked),
            Case("median in two", mask("median", 2), files, ("group", "worker")),
            Case("median in two writing", mask("median", 2), files, ("main", "group"), masked),
        ],
        "train": [
            Case("quick", train, training, ("main", "group")),
            Case(
                "quick writing",
                train,
                training,
                ("main", "group"),
                lambda out: (out / "steps.jsonl").exists(),
            ),
            Case("quick saving", train, training, ("main", "group"), saving, within=0.05),
        ],
        "run": [
            Case(
                "quick",
                command("run", work / "grid.yaml", "--workers", 2, "--out"),
                grid,
                ("main", "group"),
            )
        ],
        "detect": [
            Case("csv", command(*detect, "csv", "--out"), files),
            Case(
                "uadetrac",
                command(*detect, "uadetrac", "--out"),
                files,
                begun=lambda out: any(out.glob("*.txt")),
            ),
        ],
        "write": [
            Case(form, write(form), files, begun=lambda out: any(out.glob(".*.part")))
            for form in ("csv", "uadetrac")
        ],
        "collect": [
            Case("anew", command("collect"), files, start=bare),
            Case(
                "drawing",
                command("collect"),
                files,
                start=bare,
                begun=lambda out: any(out.glob("plots/*")),
                within=0.02,
            ),
            Case(
                "over another",
                command("collect", "--baseline", "spotnet"),
                files,
                begun=replaced,
                start=copy,
            ),
        ],
    }


def begin(case: Case, folder: Path) -> tuple:
    "A case's command in a new folder, at the beginning of the stretch: output folder, process, mark, moment."
    folder.mkdir(parents=True)
    case.start(out := folder / "out")
    process, mark = call(case, out)
    while process.poll() is None and not case.begun(out):
        time.sleep(0.002)
    return out, process, mark, time.monotonic()


def undisturbed(case: Case, folder: Path) -> None:
    "Note what a case's command leaves in peace, and how long it takes."
    out, process, _, began = begin(case, folder)
    if process.wait(timeout=300):
        raise RuntimeError(f"{case.name}, undisturbed: {(folder / 'said.txt').read_text()[-2000:]}")
    case.seconds, case.expected = case.within or time.monotonic() - began, case.contents(out)


def kill(process, victim: str, chance: random.Random) -> bool:
    "Whether there was something to kill. Without a worker the command ends by itself, and says that it failed."
    if victim != "worker":
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL) if victim == "group" else process.kill()
        return process.wait() == -signal.SIGKILL
    while process.poll() is None:
        try:
            servers = [
                c
                for c in psutil.Process(process.pid).children()
                if "forkserver" in " ".join(c.cmdline())
            ]
            if workers := [w for s in servers for w in s.children()]:
                chance.choice(workers).kill()
                return process.wait(timeout=120) != 0
        except psutil.NoSuchProcess:
            continue  # between the look and the kill
    return False


def disturb(case: Case, victim: str, share: float, folder: Path, chance: random.Random) -> dict:
    "Kill a case's command at a share of its duration, look at what it left, call it again, and compare."
    while True:
        out, process, mark, began = begin(case, folder)
        while process.poll() is None and time.monotonic() < began + share * case.seconds:
            time.sleep(0.001)
        if kill(process, victim, chance):
            break
        shutil.rmtree(folder)
        share *= 0.9  # it was faster than the undisturbed one
    lives, seen = alive(mark), {str(p.relative_to(out)): torn(p) for p in visible(out)}
    row = {
        "kind": folder.parent.name,
        "case": case.name,
        "victim": victim,
        "after": round(share * case.seconds, 3),
        "files": len(seen),
        "parts": parts(out),
        "torn": {n: why for n, why in seen.items() if why},
    }
    began, (process, mark) = time.monotonic(), call(case, out)
    try:
        row["finished"] = process.wait(timeout=120 + 10 * case.seconds) == 0
    except subprocess.TimeoutExpired:
        row["finished"] = False
    row |= {
        "seconds": round(time.monotonic() - began, 2),
        "lives": lives + alive(mark),
        "parts_after": parts(out),
    }
    try:
        ours = case.contents(out)
        row["different"] = sorted(
            k for k in ours.keys() | case.expected.keys() if ours.get(k) != case.expected.get(k)
        )
    except Exception as error:  # whatever is missing, it is not equal
        row["different"] = [f"{type(error).__name__}: {error}"]
    return row


def parts(out: Path) -> list:
    "Unfinished files and folders that lie about."
    return sorted(
        str(p.relative_to(out)) for p in out.rglob("*") if p.name.endswith((".part", ".old"))
    )


def lost(row: dict) -> str:
    "What is wrong, in words."
    return "; ".join(
        [
            *(["the second call failed"] if not row["finished"] else []),
            *(f"differs: {d}" for d in row["different"]),
            *(f"torn: {p}: {why}" for p, why in row["torn"].items()),
            *(f"lives on: {o}" for o in row["lives"]),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tests/faults.py --kinds masks,train --times 10 --seed 1",
    )
    parser.add_argument("--times", type=int, default=50, help="kills in all (50)")
    parser.add_argument(
        "--kinds", default=",".join(SHARES), help=f"of {', '.join(SHARES)}; all by default"
    )
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims (0)")
    parser.add_argument(
        "--keep", type=Path, help="an empty folder to work in, kept; by default a temporary one"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of the table"
    )
    asked = parser.parse_args()
    kinds = asked.kinds.split(",")
    if odd := set(kinds) - set(SHARES):
        parser.error(f"--kinds {', '.join(sorted(odd))}; expected some of {', '.join(SHARES)}")
    bounds = np.cumsum([0, *(SHARES[k] for k in kinds)])
    counts = dict(
        zip(kinds, np.diff(np.round(bounds * asked.times / bounds[-1]).astype(int)).tolist())
    )
    began, chance, rows, say = (
        time.monotonic(),
        random.Random(asked.seed),
        [],
        partial(print, file=sys.stderr, flush=True),
    )
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        work = (asked.keep or Path(temporary)).resolve()
        cases = make_cases(work)
        for kind in [k for k in SHARES if k in kinds or k in [NEEDS.get(other) for other in kinds]]:
            for case in cases[kind]:
                undisturbed(case, work / kind / case.name.replace(" ", "-"))
                say(f"{kind} {case.name}: {case.seconds:.2f} s to disturb")
        for kind, count in counts.items():
            moments = [
                (i + chance.random()) / count for i in range(count)
            ]  # one in each of so many equal stretches
            chance.shuffle(moments)
            plan = [(case, victim) for case in cases[kind] for victim in case.victims]
            for i, share in enumerate(moments):
                case, victim = plan[i % len(plan)]
                rows.append(row := disturb(case, victim, share, work / kind / f"{i:02d}", chance))
                say(
                    f"[{len(rows)}/{asked.times}] {kind} {case.name}: {victim} at {row['after']:.2f} of {case.seconds:.2f} s, "
                    f"{row['files']} files; again {row['seconds']:.1f} s: {lost(row) or 'equal'}"
                )
    table = pd.DataFrame(
        [
            {
                "kind": r["kind"],
                "injected": 1,
                "finished": int(r["finished"]),
                "equal": int(not r["different"]),
                "files": r["files"],
                "half-written": len(r["torn"]),
                "left-over processes": len(r["lives"]),
                ".part after the kill": len(r["parts"]),
                "at the end": len(r["parts_after"]),
            }
            for r in rows
        ]
    )
    table = table.groupby("kind", sort=False).sum()
    table.loc["all"] = table.sum()
    bad = sum(bool(lost(r)) for r in rows)
    if asked.json:
        print(
            json.dumps(
                {"seed": asked.seed, "lost": bad, "summary": table.to_dict("index"), "kills": rows},
                indent=1,
            )
        )
    else:
        print(
            f"{table.to_string()}\n{len(rows)} kills in {time.monotonic() - began:.0f} s, seed {asked.seed}: {bad} with a loss"
        )
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
