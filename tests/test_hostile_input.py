"""Files made with ill will, names that lead elsewhere, and bad days of a disk: nothing is executed, nothing is written outside
the output folder, nothing is lost. (Input that is merely broken: test_bad_input.py.)"""

import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from material import picture, street, write_clip
from PIL import Image
from safetensors.torch import save_file

from spotnet.files import DataError
from spotnet.batch.grids import Grid
from spotnet.batch.notebooks import _example_notebook
from spotnet.masks import write_masks
from spotnet.network.weights import load_checkpoint, read_weights
from spotnet.batch.report import collect
from spotnet.data.detections import Detections
from spotnet.data.result_files import FORMATS, read_detections, write_detections
from spotnet.batch.runs import execute
from spotnet.data.images import read_image
from spotnet.data.video import VideoFrames
from spotnet.batch.slurm import sbatch_script
from spotnet.data.readers import load_sequences
from spotnet.training.recipes import TrainConfig


def png_that_says(width: int, height: int) -> bytes:
    "A PNG of a few bytes whose header speaks of any size."

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(width + 1)))
        + chunk(b"IEND", b"")
    )


# ---- annotation


def xml_that_reads_other_files(p):
    (p / "secret").write_text("secret")
    (p / "MVI_1.xml").write_text(
        f'<!DOCTYPE x [<!ENTITY a SYSTEM "file://{p}/secret">]><sequence name="s">&a;</sequence>'
    )
    load_sequences("uadetrac", p)


def xml_of_many_laughs(p):
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "ha"}">' for i in range(10))
    (p / "MVI_1.xml").write_text(f'<!DOCTYPE x [{entities}]><sequence name="&a9;"/>')
    load_sequences("uadetrac", p)


def xml_named_elsewhere(p):
    (p / "MVI_1.xml").write_text('<sequence name="../../elsewhere"/>')
    load_sequences("uadetrac", p)


def xml_of_a_trillion_frames(p):
    (p / "MVI_1.xml").write_text(
        '<sequence name="s"><frame num="999999999999"><target_list/></frame></sequence>'
    )
    load_sequences("uadetrac", p)


def uavdt_of_a_trillion_frames(p):
    (p / "M0101_gt_whole.txt").write_text("999999999999,1,5,5,9,9,1,1,1\n")
    load_sequences("uavdt", p)


def uavdt_box_beyond_measure(p):
    (p / "M0101_gt_whole.txt").write_text("1,1,5,5,9,9,1,1,1\n2,1,1e300,5,9,9,1,1,1\n")
    load_sequences("uavdt", p)


def uavdt_identity_beyond_measure(p):
    (p / "M0101_gt_whole.txt").write_text("1,1e30,5,5,9,9,1,1,1\n")
    load_sequences("uavdt", p)


def coco(p, **changes):
    entry = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [],
    }
    picture(p / "a.jpg")
    (p / "a.json").write_text(json.dumps({**entry, **changes}))
    return load_sequences("coco", p)


def coco_video_named_elsewhere(p):
    coco(
        p,
        images=[{"id": 1, "file_name": "a.jpg", "video_id": 1}],
        videos=[{"id": 1, "name": "../../elsewhere"}],
    )


def coco_frame_from_elsewhere(p):
    coco(p, images=[{"id": 1, "file_name": "../../etc/passwd.jpg"}])


def coco_frame_from_the_root(p):
    coco(p, images=[{"id": 1, "file_name": "/etc/passwd.jpg"}])


def coco_sequence_of_two_lines(p):
    coco(p, images=[{"id": 1, "file_name": "two\nlines/a.jpg"}])


def coco_with_frames_of_one_name(p):
    coco(p, images=[{"id": k, "file_name": f"a.{end}"} for k, end in enumerate(("jpg", "png"))])


def coco_with_the_same_image_twice(p):
    coco(p, images=[{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}])


def coco_box_of_words(p):
    coco(p, annotations=[{"id": 5, "image_id": 1, "category_id": 1, "bbox": ["1", [], 3, 4]}])


def coco_of_brackets(p):
    (p / "a.json").write_text("[" * 200_000)
    load_sequences("coco", p)


def mot_frames_from_elsewhere(p):
    picture(p / "elsewhere" / "000001.jpg")
    (p / "s").mkdir()
    (p / "s" / "seqinfo.ini").write_text("[Sequence]\nname=s\nimDir=../elsewhere\n")
    load_sequences("mot", p)


def scene_named_elsewhere(p):
    (p / "s").mkdir()
    (p / "s" / "scene.json").write_text(
        json.dumps({"name": "../up", "frames": 0, "attributes": {}, "ignored": []})
    )
    load_sequences("scenes", p)


def folder_of_two_lines(p):
    picture(p / "two\nlines" / "000001.jpg")
    load_sequences("images", p)


def clip_of_a_trillion_frames(p):
    write_clip(p / "a_frames_1_999999999999.mp4", 3)
    (p / "gt.txt").write_text("1,1,5,5,9,9\n")
    load_sequences("uadetrac", p)


# ---- pictures and videos


def image_bomb(p):
    (p / "000001.png").write_bytes(png_that_says(9000, 9000))
    list(load_sequences("images", p)[0].frames)


def image_bomb_beyond_all_measure(p):
    (p / "000001.png").write_bytes(png_that_says(2_000_000_000, 2_000_000_000))
    list(load_sequences("images", p)[0].frames)


def video_cut_short(p):
    data = write_clip(p / "a.mp4").read_bytes()
    (p / "a.mp4").write_bytes(data[: len(data) // 2])
    list(VideoFrames(p / "a.mp4"))


def video_cut_short_behind_its_index(p):
    data = write_clip(p / "a.avi", code="MJPG").read_bytes()
    (p / "a.avi").write_bytes(data[: len(data) // 2])
    list(VideoFrames(p / "a.avi", np.arange(1, 61)))


def playlist_that_calls_itself_video(p):
    write_clip(p / "real.mp4")
    (p / "a.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{p}/real.mp4\n#EXT-X-ENDLIST\n")
    list(VideoFrames(p / "a.mp4"))


# ---- weights


def weights_that_are_compressed(p):
    torch.save({"state_dict": {"a": torch.zeros(10)}}, p / "plain.pth")
    with (
        zipfile.ZipFile(p / "plain.pth") as plain,
        zipfile.ZipFile(p / "a.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in plain.namelist():
            packed.writestr(entry, plain.read(entry))
    read_weights(p / "a.pth")


def checkpoint(p, config: dict, **tensors):
    header = {"format": "spotnet", "config": json.dumps(config), "facts": "{}"}
    save_file(
        {k: torch.zeros(v) for k, v in tensors.items()} or {"a": torch.zeros(1)},
        p / "a.safetensors",
        header,
    )
    load_checkpoint(p / "a.safetensors")


def checkpoint_of_terabytes(p):
    checkpoint(p, {"depth": 1, "dims": [4_000_000, 4_000_000], "modules": [1, 1]})


def checkpoint_without_bottom(p):
    checkpoint(p, {"depth": 10**9, "dims": [1] * 9, "modules": [1] * 9})


def checkpoint_with_words(p):
    checkpoint(p, {"depth": "deep"})


def checkpoint_with_a_list_for_a_header(p):
    save_file(
        {"a": torch.zeros(1)},
        p / "a.safetensors",
        {"format": "spotnet", "config": "[1, 2]", "facts": "{}"},
    )
    load_checkpoint(p / "a.safetensors")


def checkpoint_with_other_shapes(p):
    checkpoint(p, {"depth": 3, "dims": [8] * 4, "modules": [1] * 4, "stacks": 1}, a=(3, 3))


def safetensors_with_absurd_shapes(p):
    header = json.dumps(
        {"a": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 4]}}
    ).encode()
    (p / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    load_checkpoint(p / "a.safetensors")


def safetensors_with_an_absurd_header(p):
    (p / "a.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    load_checkpoint(p / "a.safetensors")


# ---- grids and configuration


def grid(p, text: str):
    _example_notebook(p / "n.ipynb", "a = 1\nout = ''", "pass")
    (p / "grid.yaml").write_text(text)
    return Grid.load(p / "grid.yaml")


def yaml_of_many_laughs(p):
    lines = ["a0: &a0 [ha]"] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)
    ]
    grid(p, "\n".join(lines))


def yaml_of_brackets(p):
    grid(p, "[" * 10_000)


def experiment_elsewhere(p):
    grid(p, "experiment: ../../elsewhere\nstages: [{name: s, notebook: n.ipynb}]")


def stage_of_two_lines(p):
    grid(p, 'stages: [{name: "s\\nrm -rf /", notebook: n.ipynb}]')


def parameter_that_is_code(p):
    grid(
        p,
        "stages: [{name: s, notebook: n.ipynb, parameters: {\"a = __import__('os').mkdir('out') #\": 1}}]",
    )


def training_steps_in_words(p):
    TrainConfig.from_dict({"steps": "many"})


def argument_of_three_lines(p):
    sbatch_script(
        grid(p, "stages: [{name: s, notebook: n.ipynb}]"),
        p / "runs",
        arguments=["--set", "a=1\nEND\ntouch out"],
    )


# ---- result files


def results_named_elsewhere(p):
    (p / "detections.csv").write_text(
        "sequence,frame,x0,y0,x1,y1,score\n../../elsewhere,1,0,0,5,5,.5\n"
    )
    write_detections(p / "out", read_detections(p, "csv"), "uadetrac")


def results_beyond_measure(p):
    (p / "MVI_1_Det_a.txt").write_text("1,1,5,5,10,10,.5\n1,2,5,1e200,10,10,.5\n")
    read_detections(p, "uadetrac")


def coco_results_beyond_measure(p):
    (p / "detections.json").write_text(
        '[{"image_id": 1, "category_id": 1, "bbox": [0, 1e400, 5, 5], "score": 0.5}]'
    )
    read_detections(p, "coco", [street()])


def coco_results_that_are_no_numbers(p):
    (p / "detections.json").write_text(
        '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, NaN, 5], "score": 0.5}]'
    )
    read_detections(p, "coco", [street()])


def coco_results_of_brackets(p):
    (p / "detections.json").write_text("[" * 200_000)
    read_detections(p, "coco", [street()])


def coco_results_with_a_tail(p):
    (p / "detections.json").write_text(
        '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}] []'
    )
    read_detections(p, "coco", [street()])


def coco_results_without_commas(p):
    entry = '{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}'
    (p / "detections.json").write_text(f"[{entry} {entry}]")
    read_detections(p, "coco", [street()])


CASES = [  # what was made with ill will, and words that the refusal must hold
    (xml_that_reads_other_files, ["MVI_1.xml", "not sound XML"]),
    (xml_of_many_laughs, ["MVI_1.xml", "not sound XML"]),
    (xml_named_elsewhere, ["MVI_1.xml", "'../../elsewhere'", "leads elsewhere"]),
    (xml_of_a_trillion_frames, ["999999999999", "at most 2,000,000"]),
    (uavdt_of_a_trillion_frames, ["999999999999", "at most 2,000,000"]),
    (uavdt_box_beyond_measure, ["M0101_gt_whole.txt:2", "1e300", "out of range"]),
    (uavdt_identity_beyond_measure, ["M0101_gt_whole.txt:1", "1e30"]),
    (coco_video_named_elsewhere, ["a.json", "'../../elsewhere'"]),
    (coco_frame_from_elsewhere, ["a.json", "passwd.jpg", "relative"]),
    (coco_frame_from_the_root, ["a.json", "passwd.jpg", "relative"]),
    (coco_sequence_of_two_lines, ["a.json", "does not print"]),
    (coco_with_frames_of_one_name, ["second frame of the name 'a'"]),
    (coco_with_the_same_image_twice, ["a.json", "same id"]),
    (coco_box_of_words, ["a.json", "no COCO annotation"]),
    (coco_of_brackets, ["a.json", "recursion"]),
    (mot_frames_from_elsewhere, ["seqinfo.ini", "imDir", "'../elsewhere'"]),
    (scene_named_elsewhere, ["scene.json", "'../up'"]),
    (folder_of_two_lines, ["two\\nlines", "does not print", "Rename"]),
    (clip_of_a_trillion_frames, ["999999999999", "Rename"]),
    (image_bomb, ["000001.png", "9000x9000", "Scale it down"]),
    (image_bomb_beyond_all_measure, ["000001.png", "Scale it down"]),
    (video_cut_short, ["a.mp4"]),
    (video_cut_short_behind_its_index, ["a.avi", "cut short"]),
    (playlist_that_calls_itself_video, ["a.mp4", "no video decoder"]),
    (weights_that_are_compressed, ["a.pth", "compressed"]),
    (checkpoint_of_terabytes, ["a.safetensors", "dims", "4096"]),
    (checkpoint_without_bottom, ["a.safetensors", "depth", "8"]),
    (checkpoint_with_words, ["a.safetensors", "'deep'"]),
    (checkpoint_with_a_list_for_a_header, ["a.safetensors", "not describe a network"]),
    (checkpoint_with_other_shapes, ["a.safetensors", "disagree"]),
    (safetensors_with_absurd_shapes, ["a.safetensors", "no readable checkpoint"]),
    (safetensors_with_an_absurd_header, ["a.safetensors", "no readable checkpoint"]),
    (yaml_of_many_laughs, ["grid.yaml", "more than 100,000 values"]),
    (yaml_of_brackets, ["grid.yaml", "recursion"]),
    (experiment_elsewhere, ["grid.yaml", "experiment", "'../../elsewhere'"]),
    (stage_of_two_lines, ["grid.yaml", "stage", "does not print"]),
    (parameter_that_is_code, ["grid.yaml", "declares no parameter"]),
    (argument_of_three_lines, ["END", "without line ends"]),
    (training_steps_in_words, ["steps", "'many'"]),
    (results_named_elsewhere, ["'../../elsewhere'", "leads elsewhere"]),
    (results_beyond_measure, ["MVI_1_Det_a.txt:2", "out of range"]),
    (coco_results_beyond_measure, ["detections.json, entry 0", "out of range"]),
    (coco_results_that_are_no_numbers, ["detections.json, entry 0", "nan"]),
    (coco_results_of_brackets, ["detections.json"]),
    (coco_results_with_a_tail, ["detections.json", "after the list"]),
    (coco_results_without_commas, ["detections.json", "no comma"]),
]


def listing(folder: Path) -> set:
    return {p.relative_to(folder) for p in folder.rglob("*")}


@pytest.mark.parametrize(("hostile", "words"), CASES, ids=lambda c: getattr(c, "__name__", None))
def test_refused_in_one_line_and_nothing_happens_outside(hostile, words, tmp_path, monkeypatch):
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    with pytest.raises(ValueError) as error:
        hostile(place)
    said = str(error.value)
    assert all(w in said for w in words), said
    assert "\n" not in said and len(said) < 2000
    assert listing(tmp_path) - {Path("a"), Path("a/b")} == {
        Path("a/b") / p for p in listing(place)
    }, "written elsewhere"
    assert not (place / "out").exists() and "secret" not in said.replace(str(place), "").replace(
        "/secret", ""
    )


# ---- what is unusual and sound


@pytest.mark.parametrize(
    "kind", ["grey", "grey 16 bit", "colour 16 bit", "palette", "transparent", "cmyk", "one pixel"]
)
def test_unusual_pictures_become_rgb(kind, tmp_path):
    colour = np.array([[200, 100, 50], [20, 90, 250]], np.uint8).repeat(24, 0)[None].repeat(32, 0)
    path = tmp_path / ("a.jpg" if kind == "cmyk" else "a.png")
    image = Image.fromarray(colour)
    expected = np.asarray(image.convert("L"))[..., None].repeat(3, 2) if kind == "grey" else colour
    if kind == "grey 16 bit":
        cv2.imwrite(str(path), colour[..., 0].astype(np.uint16) * 257)
        expected = colour[..., :1].repeat(3, 2)
    elif kind == "colour 16 bit":
        cv2.imwrite(str(path), colour[..., ::-1].astype(np.uint16) * 257)
    elif kind == "one pixel":
        image.crop((0, 0, 1, 1)).save(path)
        expected = colour[:1, :1]
    else:
        mode = {"grey": "L", "palette": "P", "transparent": "RGBA", "cmyk": "CMYK"}[kind]
        image.convert(mode, **({"palette": Image.Palette.ADAPTIVE} if mode == "P" else {})).save(
            path, quality=95
        )
    read = read_image(path)
    assert read.dtype == np.uint8 and read.shape == expected.shape
    assert np.abs(read.astype(int) - expected).mean() < (4 if kind == "cmyk" else 1)


NAMES = [
    "street 3",
    "перекрёсток",
    "交差点",
    "a'b\"c",
    "100%d",
    "--out",
    "a;touch x",
    "$(touch x)",
    "café",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_with_spaces_letters_and_signs(name, tmp_path):
    for k in range(3):
        picture(tmp_path / "data" / name / f"{name} {k + 1}.png")
    write_clip(
        tmp_path / "videos" / f"{name}.mp4" if (tmp_path / "videos").mkdir() is None else None, 4
    )
    [s], [v] = (
        load_sequences("images", tmp_path / "data"),
        load_sequences("video", tmp_path / "videos"),
    )
    assert s.name == v.name == name and len(list(v.frames)) == 4 and s.numbers.tolist() == [1, 2, 3]
    write_masks([s], tmp_path / "masks", "knn", within_boxes=False)
    assert {p.name for p in (tmp_path / "masks" / name).glob("*.png")} == {
        f"{name} {k}.png" for k in (1, 2, 3)
    }
    found = [Detections(name, [1, 3], [[1, 2, 9, 8], [4, 4, 8, 8]], [0.5, 0.25])]
    for kind in FORMATS:
        write_detections(tmp_path / kind, found, kind, sequences=[s])
        [back] = read_detections(tmp_path / kind, kind, sequences=[s])
        assert back.name == name and np.allclose(back.boxes, found[0].boxes, atol=1e-3), kind
    assert {p.name for p in tmp_path.iterdir()} == {"data", "videos", "masks", *FORMATS}


def test_links_in_circles_end(tmp_path):
    picture(tmp_path / "M0101" / "img000001.jpg")
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(tmp_path)
    (tmp_path / "M0101_gt_whole.txt").write_text("1,1,5,5,9,9,1,1,1\n")
    [s] = load_sequences("uavdt", tmp_path)
    assert s.frames.available and len(s) == 1


@pytest.mark.parametrize("kind", ["uadetrac", "uavdt", "csv"])
def test_frames_and_rows_beyond_a_million(kind, tmp_path):
    """What counts frames and rows is no place in a picture: a day of video has two million frames."""
    write_detections(
        tmp_path, [Detections("s", [1, 1_900_000], [[1, 2, 9, 8], [4, 4, 8, 8]], [0.5, 0.25])], kind
    )
    if kind == "uadetrac":
        path = next(tmp_path.glob("*.txt"))
        path.write_text(path.read_text().replace("1900000,2,", "1900000,3000000,"))
    assert read_detections(tmp_path, kind)[0].frames.tolist() == [1, 1_900_000]


HOSTILE_TEXT = "'''\"\"\"; import os; os.mkdir('out')\n#\\\n{out} $HOME %s \\x41 \u2028 </script><script>alert(1)</script>"


def test_parameters_stay_what_they_are(tmp_path, monkeypatch):
    """Text full of quotes, line ends and markup arrives in the notebook as it is, is not executed, and in the report is text."""
    monkeypatch.chdir(tmp_path)
    _example_notebook(
        tmp_path / "n.ipynb",
        "a = ''\nb = {}\nout = ''",
        "import json, pathlib\n"
        "pathlib.Path(out, 'metrics.json').write_text(json.dumps({'a': a, 'b': b, 'AP50': 1.0}))",
    )
    stage = {
        "name": "<b>s</b>",
        "notebook": "n.ipynb",
        "parameters": {"b": {HOSTILE_TEXT: [HOSTILE_TEXT]}},
        "axes": {"a": [HOSTILE_TEXT, "plain"]},
    }
    (tmp_path / "grid.yaml").write_text(json.dumps({"experiment": "<i>e</i>", "stages": [stage]}))
    loaded = Grid.load(tmp_path / "grid.yaml")
    for run in loaded.runs:
        assert execute(run, tmp_path / "runs", {})["state"] == "done"
        told = json.loads((tmp_path / "runs" / run.id / "metrics.json").read_text())
        assert told["a"] == run.parameters["a"] and told["b"] == run.parameters["b"]
    (tmp_path / "runs" / "grid.json").write_text(
        json.dumps(
            {
                "experiment": "<i>e</i>",
                "runs": [{"id": r.id, "stage": r.stage, "name": r.name} for r in loaded.runs],
            }
        )
    )
    collect(tmp_path / "runs")
    report = (tmp_path / "runs" / "report.html").read_text()
    assert "<script>alert" not in report and "<b>s</b>" not in report and "<i>e</i>" not in report
    assert "&lt;b&gt;s" in report and not (tmp_path / "out").exists()


def test_submit_script_does_not_run_names(tmp_path):
    loaded = grid(
        tmp_path,
        "experiment: 'e; touch out; $(touch out)'\nstages: [{name: 's `touch out`', notebook: n.ipynb}]",
    )
    script = sbatch_script(
        loaded, tmp_path / "runs $(touch out)", arguments=["--set", "a=$(touch out); touch out"]
    )
    (tmp_path / "sbatch").write_text("#!/bin/sh\ncat > /dev/null; echo 17\n")
    (tmp_path / "sbatch").chmod(0o755)
    subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert not (tmp_path / "out").exists()


# ---- bad days


def test_frame_that_vanishes_midway(tmp_path):
    for k in range(6):
        picture(tmp_path / "data" / "s" / f"{k + 1}.png")
    sequences = load_sequences("images", tmp_path / "data")
    lost = (tmp_path / "data" / "s" / "4.png").rename(tmp_path / "4.png")
    with pytest.raises(DataError, match=r"4\.png: found no readable file"):
        write_masks(sequences, tmp_path / "out", "knn", within_boxes=False)
    assert sorted(p.name for p in (tmp_path / "out" / "s").glob("*.png")) == [
        "1.png",
        "2.png",
        "3.png",
    ]
    lost.rename(tmp_path / "data" / "s" / "4.png")
    write_masks(sequences, tmp_path / "out", "knn", within_boxes=False)
    write_masks(sequences, tmp_path / "whole", "knn", within_boxes=False)
    assert all(
        (tmp_path / "out" / "s" / f"{k}.png").read_bytes()
        == (tmp_path / "whole" / "s" / f"{k}.png").read_bytes()
        for k in range(1, 7)
    )


WRITERS = {  # what is written by a child process, into `place`
    "masks": "write_masks([street('s', 40)], place, 'boxes')",
    "results": "write_detections(place, [Detections('s', [1] * 9000, [[1, 2, 30, 40]] * 9000, [1] * 9000)], 'uadetrac')",
    "checkpoint": "save_checkpoint(place / 'a.safetensors', SpotNet(model_config('tiny')))",
    "video": "write_video(place / 'a.webm', np.random.default_rng(0).integers(0, 255, (90, 240, 320, 3), np.uint8))",
    "json": "write_json(place / 'a.json', list(range(50_000)))",
}
CHILD = """
import os, resource, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {tests!r})
from material import street
from spotnet.files import write_json
from spotnet.masks import write_masks
from spotnet.network.model import SpotNet, model_config
from spotnet.network.weights import save_checkpoint
from spotnet.explore.pictures import write_video
from spotnet.data.detections import Detections
from spotnet.data.result_files import write_detections
place = Path({place!r})
{before}
try:
    {work}
except (OSError, ValueError, RuntimeError) as error:
    print(type(error).__name__, error)
    raise SystemExit(3)
except Exception as error:
    print(type(error).__name__, error)
    raise SystemExit(4)
"""


def in_a_child(work: str, place: Path, before: str = "") -> subprocess.CompletedProcess:
    code = CHILD.format(
        tests=str(Path(__file__).parent), place=str(place), before=before, work=work
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("what", WRITERS)
def test_full_disk(what, tmp_path):
    """Files may not grow beyond a few bytes, as on a full disk: an error, no half file, what was there before is as it was."""
    assert in_a_child(WRITERS[what], tmp_path / "good").returncode == 0
    before = {p: p.read_bytes() for p in (tmp_path / "good").rglob("*") if p.is_file()}
    small = 60 if what == "masks" else 20_000
    limit = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({small}, {small}))"
    again = in_a_child(WRITERS[what].replace("'boxes'", "'boxes', False"), tmp_path / "good", limit)
    assert again.returncode == 3 and again.stdout.strip(), again.stdout + again.stderr
    for path, data in before.items():
        if what != "masks" or path.exists():  # masks of another setting go before new ones come
            assert path.read_bytes() == data
    fresh = in_a_child(WRITERS[what], tmp_path / "fresh", limit)
    assert fresh.returncode == 3, fresh.stdout + fresh.stderr
    assert not [p for p in (tmp_path / "fresh").rglob("*") if p.is_file()], "half a file"
    assert in_a_child(WRITERS[what], tmp_path / "fresh").returncode == 0, (
        "and when there is space again, it goes on"
    )
    assert {
        p.relative_to(tmp_path / "fresh"): p.read_bytes()
        for p in (tmp_path / "fresh").rglob("*")
        if p.is_file()
    }.keys() == {p.relative_to(tmp_path / "good") for p in before}


@pytest.mark.parametrize("what", WRITERS)
def test_read_only_folder(what):
    """A folder without the right to write: an error that names it, and nothing of it is changed. Also as root, who may all."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "out").mkdir()
        os.chmod(place / "out", 0o555)
        os.chmod(place, 0o755)
        run = in_a_child(
            WRITERS[what], place / "out", "os.seteuid(65534) if os.geteuid() == 0 else None"
        )
        assert run.returncode == 3 and str(place / "out") in run.stdout, run.stdout + run.stderr
        assert not list((place / "out").iterdir())


def test_no_server_is_open_to_others():
    """Nothing in the project switches authentication off or listens to other machines; `make lab` says where it listens."""
    root = Path(__file__).parent.parent
    files = [
        p
        for pattern in (
            "Makefile",
            ".ci/run",
            ".github/**/*.yml",
            "*.md",
            "docs/**/*.md",
            "spotnet/*.py",
            "tests/*.py",
            "nbs/**/*.ipynb",
        )
        for p in root.glob(pattern)
        if p.name != Path(__file__).name
    ]
    assert len(files) > 80
    wrong = re.compile(
        r"""(token|password)['"]?\s*[=:]\s*\\?(''|"")|disable_check_xsrf|allow_origin|allow_unauthenticated|"""
        r"""0\.0\.0\.0|--ip[ =]['"]?\*"""
    )
    found = [
        f"{p.relative_to(root)}: {m[0]}"
        for p in files
        for m in [wrong.search(p.read_text(encoding="utf-8"))]
        if m
    ]
    assert not found
    assert "jupyter lab --ip 127.0.0.1" in (root / "Makefile").read_text()


def test_results_of_gigabytes_are_streamed(tmp_path):
    """A file far larger than what may be held of it: read in memory that goes with the boxes, not with the text."""
    n = 600_000
    entry = '{"image_id": 1, "category_id": 1, "bbox": [1.25, 2.5, 30.125, 40.0625], "score": 0.5, "area": 1206.9, "note": "%s"}'
    with (tmp_path / "detections.json").open("w") as file:
        file.write("[" + ",".join([entry % ("x" * 60)] * n) + "]")
    code = (
        f"import resource, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from material import street\nfrom spotnet.data.result_files import read_detections\ns = street()\n"
        "top = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\nbefore = top()\n"
        f"[d] = read_detections({str(tmp_path)!r}, 'coco', [s])\nprint(len(d), top() - before)"
    )
    count, grown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(count) == n and float(grown) < 160, (
        f"{grown} MB for {n} boxes of {56 * n / 1e6:.0f} MB"
    )
