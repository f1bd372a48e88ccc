"""Other people's machines: OpenCV from anywhere or broken, foreign kernels, long temporary paths, YAML
values, SLURM's words. Each is right or refused by name."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import nbformat
import numpy as np
import pytest

from spotnet.batch import Grid, GridError, sbatch_script
from spotnet.batch.notebooks import _example_notebook
from spotnet.batch.material import (
    find_masks,
    label_as_in_training,
    select_sequences,
    used_methods,
)
from spotnet.cli import doctor
from spotnet.cli.application import read_assignments
from spotnet.data import box_mask
from spotnet.environment import MOST_BYTES, OPENCV, explain, explain_import, package_versions
from spotnet.files import DataError, write_json
from spotnet.masks import write_masks

HERE = Path(__file__).parent.parent


def command(*arguments, cwd=None, **environment):
    "Run `spotnet` of this tree with other environment variables: (exit code, all that it says)."
    plain = {k: v for k, v in os.environ.items() if "COLOR" not in k}
    before = environment.pop("PYTHONPATH", "")
    plain["PYTHONPATH"] = os.pathsep.join(filter(None, (before, str(HERE))))
    program = "import sys; sys.argv[0] = 'spotnet'; from spotnet.cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**plain, **environment},
    )
    return run.returncode, run.stdout + run.stderr


def fake(folder, name, code):
    "A module that does not import, in front of the true one."
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)
    return folder


def square_grid(folder, entry="", parameters="a = 1\nout = ''", body="a * a"):
    folder.mkdir(exist_ok=True)
    _example_notebook(folder / "one.ipynb", parameters, body)
    (folder / "grid.yaml").write_text(f"stages: [{{name: s, notebook: one.ipynb{entry}}}]")
    return folder / "grid.yaml"


# ---- OpenCV and other packages


@pytest.mark.parametrize("installed", [*([name] for name in OPENCV), [], OPENCV[:2]])
def test_versions_with_any_opencv(installed, monkeypatch):
    true = metadata.version

    def version(name):
        if name in OPENCV and name not in installed:
            raise metadata.PackageNotFoundError(name)
        return "4.11" if name in OPENCV else true(name)

    monkeypatch.setattr(metadata, "version", version)
    found = package_versions(["numpy", "opencv"])
    assert found.pop("numpy") == np.__version__
    assert list(found) == (list(installed) or ["opencv"]) and "unknown" not in found.values()


def test_doctor_names_every_broken_part(tmp_path):
    """One machine with all of it: no libgthread, torch without its libraries, an av that crashes, two
    OpenCV distributions, a working directory that is gone, a TMPDIR that does not exist."""
    fake(
        tmp_path, "cv2", "raise ImportError('libgthread-2.0.so.0: cannot open shared object file')"
    )
    fake(tmp_path, "torch", "raise OSError('libcudart.so.12: cannot open shared object file')")
    fake(tmp_path, "av", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    contrib = tmp_path / "opencv_contrib_python-4.11.dist-info"
    contrib.mkdir()
    (contrib / "METADATA").write_text("Name: opencv-contrib-python\nVersion: 4.11\n")
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"rmdir '{gone}'; exec '{sys.executable}' -c 'from spotnet.cli import main; main()'"
    run = subprocess.run(
        ["bash", "-c", f"{program} doctor --json"],
        capture_output=True,
        text=True,
        cwd=gone,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{HERE}", "TMPDIR": "/nowhere/at/all"},
    )
    assert run.returncode == 1 and "Traceback" not in run.stderr, run.stderr
    found = json.loads(run.stdout)
    advice = "\n".join(found["advice"])
    for words in (
        "import cv2 fails: libgthread",
        "apt-get install libgl1 libglib2.0-0",
        "opencv-contrib-python-headless",
        "import torch fails: libcudart.so.12",
        "import av fails: the process that imported it ended with signal 11",
        "several OpenCV distributions",
        "TMPDIR=/nowhere/at/all",
    ):
        assert words in advice, (words, advice)
    assert found["parts"]["numpy"] == np.__version__


def test_doctor_on_an_unreadable_disk(monkeypatch):
    def stale(path):
        raise OSError(116, "Stale file handle")  # a network file system that went away

    monkeypatch.setattr(shutil, "disk_usage", stale)
    assert doctor._disk() == "unknown (Stale file handle)"


@pytest.mark.parametrize(
    "module, code, words",
    [
        ("cv2", "raise ImportError('libGL.so.1: cannot open shared object file')", "libgl1"),
        ("av", "raise ImportError('numpy.core.multiarray failed to import')", "another numpy"),
        ("pandas", "raise AttributeError('_ARRAY_API not found')", "another numpy"),
        ("cv2", "import no_such_thing", "pip install no_such_thing"),
    ],
)
def test_verbs_name_a_broken_part_in_one_line(module, code, words, tmp_path):
    fake(tmp_path, module, code)
    call = ["status", tmp_path]
    if module == "av":  # imported with the first video
        (tmp_path / "street.mp4").touch()
        call = ["masks", "video", tmp_path / "street.mp4", "--out", tmp_path / "out"]
    code, said = command(*call, PYTHONPATH=str(tmp_path))
    assert code == 2 and len(said.strip().splitlines()) == 1
    assert "import " in said and "fails" in said and words in said


@pytest.mark.parametrize(
    "module, message, words",
    [
        (
            "torch",
            "/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found",
            "older release of torch",
        ),
        ("torch", "No module named 'torch'", "pip install torch"),
        ("PIL", "libjpeg.so.8: cannot open shared object file", "--force-reinstall pillow"),
        ("cv2", "partially initialized module 'cv2' has no attribute 'gapi'", "--force-reinstall"),
    ],
)
def test_remedies(module, message, words):
    assert words in explain(module, message)


def test_errors_that_are_no_imports_keep_their_words():
    for error in (ValueError("a"), ImportError("export needs onnx: pip install it"), OSError("b")):
        try:
            raise error
        except Exception as raised:
            assert explain_import(raised) is None


# ---- kernels


def test_grid_runs_in_its_own_interpreter(tmp_path, monkeypatch):
    """The site's `python3` is an interpreter that is gone, the notebook names a kernel of its author's
    machine, and TMPDIR has a long path with blanks: one run."""
    site = tmp_path / "jupyter" / "kernels"
    for name in ("python3", "my-env"):
        (site / name).mkdir(parents=True)
        write_json(
            site / name / "kernel.json",
            {"argv": ["/gone/python", "-f", "{connection_file}"], "language": "python"},
        )
    long = tmp_path / ("a long name " * 12)
    long.mkdir()
    body = (
        "import json, os, pathlib, sys, tempfile\n"
        "facts = {'who': sys.executable, 'where': os.path.realpath(tempfile.mkdtemp())}\n"
        "pathlib.Path(out, 'facts.json').write_text(json.dumps(facts))"
    )
    grid = square_grid(tmp_path / "work", body=body)
    book = nbformat.read(grid.with_name("one.ipynb"), 4)
    book.metadata["kernelspec"] = {"name": "my-env", "display_name": "my-env"}
    nbformat.write(book, grid.with_name("one.ipynb"))
    code, said = command(
        *("run", grid, "--out", tmp_path / "out", "--no-collect"),
        JUPYTER_PATH=str(site.parent),
        TMPDIR=str(long),
    )
    assert code == 0, said
    [folder] = (p.parent for p in (tmp_path / "out").glob("*/facts.json"))
    facts = json.loads((folder / "facts.json").read_text())
    state = json.loads((folder / "status.json").read_text())
    assert facts["who"] == state["interpreter"] == sys.executable
    assert facts["where"].startswith(str(long))  # where the site wants temporary files
    assert state["versions"]["numpy"] == np.__version__


@pytest.mark.parametrize(
    "kernel",
    [
        {"name": "ir", "language": "R"},
        {"name": "julia-1.10"},
        {"name": "bash", "language": "bash"},
        {"name": "site-kernel", "language": "scala"},
    ],
)
def test_notebooks_of_other_languages_are_refused(kernel, tmp_path):
    grid = square_grid(tmp_path)
    book = nbformat.read(tmp_path / "one.ipynb", 4)
    book.metadata = {"kernelspec": {"display_name": "a kernel", **kernel}}
    nbformat.write(book, tmp_path / "one.ipynb")
    with pytest.raises(GridError, match=f"one.ipynb.*kernel '{kernel['name']}'"):
        Grid.load(grid)


def test_notebook_without_kernel_is_python(tmp_path):
    grid = square_grid(tmp_path)
    book = nbformat.read(tmp_path / "one.ipynb", 4)
    book.metadata = {}
    nbformat.write(book, tmp_path / "one.ipynb")
    assert len(Grid.load(grid).runs) == 1


# ---- temporary folders

SOCKETS = """
import os, sys, tempfile, warnings
from multiprocessing.connection import Listener
from spotnet.processes import call
print(call(os.path.basename, "a/b"), os.path.realpath(tempfile.gettempdir()))
with Listener(family="AF_UNIX"):
    print(len(os.environ["TMPDIR"]))
"""


@pytest.mark.parametrize("kind", ["long", "missing", "a file", "relative"])
def test_temporary_folders(kind, tmp_path):
    places = {
        "long": tmp_path / "é" / ("j" * 100),
        "missing": tmp_path / "missing",
        "a file": tmp_path / "file",
        "relative": Path("tmp"),
    }
    place = places[kind]
    if kind == "a file":
        place.write_text("")
    elif kind != "missing":
        (tmp_path / place).mkdir(parents=True)
    environment = {**os.environ, "TMPDIR": str(place), "PYTHONPATH": str(HERE)}
    run = subprocess.run(
        [sys.executable, "-c", SOCKETS],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    answer, length = run.stdout.splitlines()
    usable = kind in ("long", "relative")
    assert answer.startswith("b ") and int(length) <= MOST_BYTES
    assert (answer == f"b {os.path.realpath(tmp_path / place)}") == usable
    assert ("TMPDIR is" in run.stderr) != usable
    left = [p for p in Path("/tmp").glob("spotnet-*/t") if os.readlink(p) == str(tmp_path / place)]
    assert not left


# ---- YAML

TYPES = "a = None\ntext = ''\nnumber = 1.0\ncount = 1\nflag = True\nsome = []\nout = ''"


@pytest.mark.parametrize(
    "axis, right",
    [
        # a value as it was written, or words of the refusal
        ("a: [2024-05-01, 2024-05-02]", ["2024-05-01", "2024-05-02"]),
        (
            "a: [2024-05-01 12:30:00, 2024-05-01T12:30:00Z]",
            ["2024-05-01 12:30:00", "2024-05-01T12:30:00Z"],
        ),
        ("text: [12:30:00, 1:30, 07:15]", ["12:30:00", "1:30", "07:15"]),
        ("a: [1:30.5, 2020-13-40]", ["1:30.5", "2020-13-40"]),
        ("count: [1:30]", "count is '1:30'"),
        ("text: [no, yes, on, Off]", ["no", "yes", "on", "Off"]),
        ("flag: [no, yes]", [False, True]),
        ("a: [no]", "'no' in quotes"),
        ("a: [true, False]", [True, False]),
        ("text: [010, 007, 0x1f, 2024_05_01]", ["010", "007", "0x1f", "2024_05_01"]),
        ("a: [2024_05_01]", "'2024_05_01' in quotes"),
        ("count: [010]", "to base 8, as 8"),
        ("count: [0x1f, 1_000]", [31, 1000]),
        ("number: [1e3, 1E-4, .5e1, 1.0e-5]", [1000.0, 1e-4, 5.0, 1e-5]),
        ("text: [1e3, 12e5]", ["1e3", "12e5"]),
        ("a: [1e3]", "1000.0 for the number"),
        ("count: [1e3]", "1000.0 for the number"),
        ("number: [1e999]", "too large"),
        ("number: [.inf, -.inf]", [float("inf"), -float("inf")]),
        ("number: [.nan]", "NaN"),
        ("a: [null, ~, 1]", "occurs twice"),
        ("a: [null, 1]", [None, 1]),
        ("text: [null]", "text is None"),
        ("some: [[1, [2, null]], [a, 2024-05-01]]", [[1, [2, None]], ["a", "2024-05-01"]]),
        ("some: [[1, off]]", "'off' in quotes"),
        ("a: [{x: 2024-05-01}]", [{"x": "2024-05-01"}]),
        ("a: [{x: 1, x: 2}]", "'x' is there twice"),
        ("a: [{0: car, 1: van}]", "the key 0 is no text"),
        ("a: [!!set {x, y}]", "kind set"),
        ("a: [!!binary aGVsbG8=]", "kind binary"),
        ("a: [!!omap [x: 1]]", "kind omap"),
        ("text: [2024]", "in quotes"),
        ("a: ['no', \"010\", '1e3']", ["no", "010", "1e3"]),
    ],
)
def test_values_of_grids(axis, right, tmp_path):
    grid = square_grid(tmp_path, f", axes: {{{axis}}}", TYPES)
    name = axis.split(":")[0]
    if isinstance(right, str):
        with pytest.raises((GridError, DataError)) as refused:
            Grid.load(grid)
        assert right in str(refused.value) and "grid.yaml" in str(refused.value)
        return
    values = [r.parameters[name] for r in Grid.load(grid).runs]
    assert values == right and [type(v) for v in values] == [type(v) for v in right]
    assert [r.id for r in Grid.load(grid).runs] == [r.id for r in Grid.load(grid).runs]


@pytest.mark.parametrize(
    "text, right",
    [
        ("a=2024-05-01", "2024-05-01"),
        ("text=no", "no"),
        ("flag=off", False),
        ("number=1e-4", 1e-4),
        ("text=1:30", "1:30"),
        ("a=", None),
        ("a=010", "'010' in quotes"),
        ("text=run #3", "a comment"),
        ("a=!!set {x}", "kind set"),
    ],
)
def test_values_of_the_command_line(text, right, tmp_path):
    grid = square_grid(tmp_path, "", TYPES)
    try:
        [run] = Grid.load(grid, **read_assignments([text], settled=False)).runs
    except ValueError as refused:
        assert right in str(refused) and text.split("=")[0] in str(refused)
    else:
        value = run.parameters[text.split("=")[0]]
        assert value == right and type(value) is type(right)


def test_values_of_python_callers(tmp_path):
    grid = square_grid(tmp_path, "", TYPES)
    [run] = Grid.load(grid, text=tmp_path, some=(1, 2)).runs
    assert run.parameters == {"text": str(tmp_path), "some": [1, 2]}
    for value in (np.int64(3), {1: 2}, float("nan"), b"x", {1, 2}, [object()]):
        with pytest.raises(DataError, match="a"):
            Grid.load(grid, a=value)


def test_run_ids_stay(tmp_path):
    "Folders of runs that were made before are found again."
    [run] = Grid.load(square_grid(tmp_path, ", axes: {a: [1]}", "a = None\nout = ''")).runs
    assert run.id == "9ada6a29b1"
    ids = set()
    for written in ("1.0e-4", "1e-4", "0.0001"):
        grid = square_grid(tmp_path, f", axes: {{number: [{written}]}}", TYPES)
        ids |= {r.id for r in Grid.load(grid).runs}
    assert len(ids) == 1


@pytest.mark.parametrize(
    "text, right",
    [
        ("experiment: 2024-05-01", "2024-05-01"),
        ("experiment: no", "no"),
        ("experiment: 007", "007"),
    ],
)
def test_names_of_experiments(text, right, tmp_path):
    grid = square_grid(tmp_path)
    grid.write_text(f"{text}\n{grid.read_text()}")
    assert Grid.load(grid).experiment == right


# ---- SLURM


def slurm_word(line: str) -> str:
    "The one word of an #SBATCH line, read as sbatch reads it: see `_get_argument` of its source."
    word, quote, escaped = "", "", False
    for c in line.removeprefix("#SBATCH ").strip():
        if escaped:
            word, escaped = word + c, False
        elif c == "\\":
            escaped = True
        elif c == quote:
            quote = ""
        elif not quote and c in "'\"":
            quote = c
        elif not quote and c.isspace():
            raise AssertionError(f"several words: {line}")
        else:
            word += c
    assert not quote and not escaped
    return word


@pytest.mark.parametrize(
    "name",
    [
        "my results",
        'it\'s "quoted"',
        "50 % done",
        "Straße über Kreuz",
        "a; touch out & $(touch out) `touch out` #1",
        "-options",
        "tab\u3000wide",
        "[a]*{b,c}?~!",
    ],
)
def test_submit_script_keeps_words_together(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Path(name)  # relative, as users write it
    grid = square_grid(place, ", axes: {a: [1, 2]}")
    recorder = tmp_path / "spot net"
    recorder.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > "$RECORD"\n')
    submit = tmp_path / "bin" / "sbatch"
    submit.parent.mkdir()
    submit.write_text(
        '#!/bin/bash\ncat > "$JOBS/$RANDOM$RANDOM"\n'
        'for a; do case "$a" in --output=*) echo "$a" > "$JOBS/log";; esac; done\necho 17\n'
    )
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    for program in (recorder, submit):
        program.chmod(0o755)
    out = place / "out"
    script = sbatch_script(
        Grid.load(grid), out, command=str(recorder), arguments=["--set", f"a={name}"]
    )
    around = {**os.environ, "PATH": f"{submit.parent}:{os.environ['PATH']}", "JOBS": str(jobs)}
    subprocess.run(["bash", "-c", script], check=True, env=around, stdin=subprocess.DEVNULL)
    assert (out / "slurm").is_dir()
    logs = str(out / "slurm").replace("%", "%%")
    assert (jobs / "log").read_text().strip() == f"--output={logs}/collect.log"
    [job] = [p for p in jobs.iterdir() if "#SBATCH" in p.read_text()]
    words = [slurm_word(x) for x in job.read_text().splitlines() if x.startswith("#SBATCH")]
    assert f"--output={logs}/%x-%a.log" in words
    record = tmp_path / "record"
    around |= {"SLURM_ARRAY_TASK_ID": "1", "RECORD": str(record)}
    subprocess.run(["bash", job], check=True, env=around)
    said = record.read_text().splitlines()
    assert Path(said[1]) == grid and Path(said[3]) == out and said[5] == f"a={name}"
    assert said[-1] == Grid.load(grid).runs[1].id
    assert not (tmp_path / "out").exists()


def test_submit_script_calls_its_own_environment(tmp_path):
    script = sbatch_script(Grid.load(square_grid(tmp_path)), tmp_path / "out")
    [line] = [x for x in script.splitlines() if x.startswith("exec ")]
    program = shlex.split(line)[1]
    assert Path(program).parent == Path(sys.executable).parent


@pytest.mark.parametrize("name", ["a\\b", "two\nlines", "half \udce9"])
def test_submit_script_refuses_what_slurm_cannot_name(name, tmp_path):
    with pytest.raises(GridError):
        sbatch_script(Grid.load(square_grid(tmp_path)), tmp_path / name)


# ---- the masks that a training used


def test_the_method_of_masks_is_the_one_that_made_them(tmp_path):
    training = select_sequences("scenes", "", ["train-fixed-sunny", "train-drone-sunny"], "1-24")
    fixed, drone = training
    write_masks([fixed], tmp_path / "masks", "median")
    write_masks([drone], tmp_path / "masks", "flow")
    assert set(used_methods(tmp_path / "masks", training).values()) == {"median", "flow"}
    [test] = select_sequences("scenes", "", ["test-drone-cloudy"], "1-24")
    for index in (0, 12, 23):  # also at the ends, where frames are missing on one side
        label = label_as_in_training(test, index, training, tmp_path / "masks")
        boxes = box_mask(test.objects[index], test.size)
        assert label.shape == test.size and 0 < label.sum() < 0.99 * boxes.sum()
    (tmp_path / "masks" / drone.name / "masks.json").unlink()  # drawn by hand elsewhere
    assert used_methods(tmp_path / "masks", [drone]) == {drone.name: "unknown"}
    assert label_as_in_training(test, 0, training, tmp_path / "masks") is None


def test_the_explorer_finds_the_masks_of_the_training(tmp_path):
    for method in ("boxes", "flow", "median"):
        (tmp_path / "aaa" / "masks" / method / "street").mkdir(parents=True)
    assert find_masks(tmp_path, "street").endswith("masks/flow")  # boxes only where nothing else is
    given = str(tmp_path / "aaa" / "masks" / "median")
    write_json(tmp_path / "aaa" / "params.json", {"given": {"masks": given}})
    assert find_masks(tmp_path, "street") == given
    shutil.rmtree(tmp_path / "aaa" / "masks" / "median")
    assert find_masks(tmp_path, "street").endswith("masks/flow")
