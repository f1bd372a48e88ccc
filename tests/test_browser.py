"""The explorer in JupyterLab, as somebody with a browser meets it: a real server on loopback, real Chromium, no display."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

from spotnet.scenes import SceneConfig, render_scenes

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"
)
BIN = Path(sys.executable).parent
# where pictures of what the test saw are left for somebody to look at
PICTURES = os.environ.get("SPOTNET_SCREENSHOTS")

# in a picture for the README, detectors should know what they do; the tests do not need that
STEPS = os.environ.get("SPOTNET_STEPS", "60")
CELLS = [
    """from spotnet.explore.explorer import Explorer
from spotnet.network.detector import Detector
from spotnet.data.readers import load_sequences
from spotnet.training.loop import train
from spotnet.training.recipes import TrainConfig
from spotnet.masks import write_masks
[scene] = load_sequences("scenes", "scenes", names=["street"])
write_masks([scene], "masks")
small = {"recipe": "quick", "size": "tiny", "steps": STEPS, "input_size": (128, 224), "augment": {"scale": (0.9, 1.1)}}
configs = {v: TrainConfig.from_dict({"variant": v, **small}) for v in ("centernet", "spotnet")}
detectors = {v: Detector(train(c, [scene[:30]], v, "masks", progress=False).model)
             for v, c in configs.items()}""".replace("STEPS", STEPS),
    """explorer = Explorer(scene, detectors, "masks", score=0.25)
explorer.range.value = 30, 39
explorer""",
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "The address of a notebook in a running JupyterLab."
    root = tmp_path_factory.mktemp("lab")
    render_scenes(
        root / "scenes",
        [SceneConfig("street", frames=40, weather="cloudy", density=1.2)],
        progress=False,
    )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), root / "look.ipynb"
    )
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    token = secrets.token_hex(16)
    folders = {
        f"JUPYTER_{n}_DIR": str(root / f".{n.lower()}") for n in ("CONFIG", "DATA", "RUNTIME")
    }
    with (root / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [
                BIN / "jupyter-lab",
                "--no-browser",
                "--ip=127.0.0.1",
                f"--port={port}",
                f"--IdentityProvider.token={token}",
                "--ServerApp.port_retries=0",
                "--ServerApp.allow_root=True",
                "--LabApp.news_url=",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            cwd=root,
            env={
                **os.environ,
                **folders,
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "TQDM_DISABLE": "1",
            },
            stdout=log,
            stderr=log,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(240):
                if server.poll() is not None:
                    raise RuntimeError((root / "lab.log").read_text()[-3000:])
                try:
                    urllib.request.urlopen(f"{address}/api?token={token}", timeout=2).read()
                    break
                except OSError:
                    time.sleep(0.5)
            yield f"{address}/lab/tree/look.ipynb?token={token}"
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="module")
def page(lab):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = p.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport={"width": 1400, "height": 1500})
        page.complaints, page.strangers = [], []
        page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.complaints.append(str(e)))
        own = lab.split("/lab")[0]
        page.on(
            "request",
            lambda r: (
                page.strangers.append(r.url)
                if not r.url.startswith((own, own.replace("http", "ws"), "blob:", "data:"))
                else None
            ),
        )
        page.goto(lab)
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
        page.wait_for_function(
            "document.querySelector('.jp-Notebook')?.textContent.includes('Explorer(scene')",
            timeout=60_000,
        )
        page.wait_for_timeout(1500)
        page.click("text=Run >> nth=0")
        page.click("text=Run All Cells >> nth=0")
        page.wait_for_selector(".spotnet-canvas img[src^='blob:']", timeout=400_000)
        page.wait_for_timeout(1000)
        yield page
        browser.close()


def seen(page, which: int = 1) -> dict:
    "The shown picture (a number that follows its pixels), its words, and the list beside it."
    return page.evaluate(
        """async (which) => {
        const frame = [...document.querySelectorAll('.spotnet-canvas')].filter(c => c.offsetParent !== null)[which];
        const image = frame.querySelector('img');
        for (let tries = 0; ; tries++) {  // a picture that is replaced while it is decoded is no fault
            try { await image.decode(); break; } catch (error) { if (tries > 20) throw error; }
        }
        const canvas = document.createElement('canvas');
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0);
        const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
        let sum = 0;
        for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + 7 * data[i + 1] + 13 * data[i + 2]) % 2147483647;
        const list = frame.closest('.widget-vbox').querySelector('.widget-html').innerText;
        return {pixels: sum, alt: image.alt, list, width: canvas.width};
    }""",
        which,
    )


def until(page, ready, which: int = 1, seconds: float = 30) -> dict:
    "What is seen when it is as expected; the last look if that never comes."
    end = time.monotonic() + seconds
    while not ready(now := seen(page, which)) and time.monotonic() < end:
        page.wait_for_timeout(100)
    return now


def keep(page, name: str) -> None:
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        page.locator(".jp-OutputArea-output:has(.spotnet-canvas)").first.screenshot(
            path=f"{PICTURES}/{name}.png"
        )


def test_slider_moves_to_another_frame(page):
    before = seen(page)
    assert before["width"] == 480 and "frame 1:" in before["alt"]
    handle = page.locator(".widget-slider .noUi-handle").first
    handle.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    after = until(page, lambda now: "frame 4:" in now["alt"] and "frame 4:" in now["list"])
    assert (
        "frame 4:" in after["alt"]
        and after["pixels"] != before["pixels"]
        and "frame 4:" in after["list"]
    )
    page.locator(".spotnet-canvas").nth(1).focus()  # and by the picture's own keys
    page.keyboard.press("End")
    assert "frame 40:" in until(page, lambda now: "frame 40:" in now["alt"])["alt"]
    keep(page, "explorer")


def test_counterfactual_changes_picture_and_lists(page):
    before = seen(page)
    assert "gained" not in before["list"]
    page.click("button:text-is('off')")
    after = until(page, lambda now: "Gate off" in now["alt"] and "lost:" in now["list"])
    assert (
        after["pixels"] != before["pixels"]
        and "gained:" in after["list"]
        and "lost:" in after["list"]
    )
    assert int(re.search(r"(\d+) gained, (\d+) lost", after["alt"])[2]) == int(
        re.search(r"lost: (\d+)", after["list"])[1]
    )
    assert (
        "no attention to change" in seen(page, 0)["alt"]
    )  # the detector beside it has none, and says so
    keep(page, "counterfactual")
    page.click("button:text-is('own')")
    assert until(page, lambda now: "Gate" not in now["alt"])["pixels"] == before["pixels"]


def test_drawn_box_shuts_the_gate(page):
    before = seen(page)
    box = page.locator(".spotnet-canvas img").nth(1).bounding_box()
    x, y = box["x"], box["y"]
    page.mouse.move(x + 0.05 * box["width"], y + 0.05 * box["height"])
    page.mouse.down()
    page.mouse.move(x + 0.5 * box["width"], y + 0.5 * box["height"], steps=5)
    assert page.locator(".spotnet-band:visible").count() == 1  # the rubber band
    page.mouse.move(x + 0.95 * box["width"], y + 0.95 * box["height"], steps=5)
    page.mouse.up()
    after = until(page, lambda now: "1 painted" in now["alt"] and "lost:" in now["list"])
    assert "1 painted" in after["alt"] and after["pixels"] != before["pixels"]
    assert int(re.search(r"lost: (\d+)", after["list"])[1]) > 0  # all but the border is shut
    corners = [
        int(page.get_by_label(name, exact=True).input_value()) for name in ("x0", "y0", "x1", "y1")
    ]
    assert corners == pytest.approx([24, 13, 456, 257], abs=2)
    keep(page, "painted")
    page.locator(".spotnet-canvas").nth(1).focus()
    page.keyboard.press("Escape")
    assert until(page, lambda now: "painted" not in now["alt"])["pixels"] == before["pixels"]


def test_click_probes_and_curves_lead_to_a_frame(page):
    page.locator(".spotnet-canvas").nth(1).focus()
    page.keyboard.press("End")
    until(page, lambda now: "frame 40:" in now["alt"])
    page.locator(".spotnet-canvas img").nth(1).click(position={"x": 200, "y": 150})
    page.wait_for_selector("text=Pixel 200, 150", timeout=10_000)
    keep(page, "probe")
    page.click("text=Over time")
    page.click("button:text-is('analyse')")
    page.wait_for_selector("text=20 analysed", timeout=120_000)  # ten frames, two detectors
    strip = page.locator(".spotnet-canvas img[alt*='with gate own']")
    strip.wait_for(timeout=30_000)
    keep(page, "over_time")
    assert "over 10 frames" in until(page, lambda now: "over 10 frames" in now["list"])["list"]
    box = strip.bounding_box()
    page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 20)
    assert re.search(
        r"frame 3[4-7]:", until(page, lambda now: "frame 40:" not in now["alt"])["alt"]
    )


def test_nothing_complained_and_nobody_else_was_asked(page):
    assert page.strangers == []
    assert page.complaints == [], json.dumps(page.complaints, indent=1)[:3000]


def test_controls_have_names(page):
    nameless = page.evaluate("""() => {
        const out = document.querySelector('.spotnet-canvas').closest('.jp-OutputArea');
        const named = (e) => e.getAttribute('aria-label') || e.title || e.textContent.trim() || e.labels?.length
            || e.closest('.jupyter-widgets')?.querySelector('label')?.textContent;
        const controls = [...out.querySelectorAll('button, input, select, [tabindex="0"]')];
        return controls.filter(e => !named(e)).map(e => e.outerHTML.slice(0, 200));
    }""")
    assert nameless == []
    assert page.evaluate(
        "[...document.querySelectorAll('.spotnet-canvas img[src]')].every(i => i.alt.length > 10)"
    )
