"""The documentation site: it builds, it is complete, and it asks nobody."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    run = subprocess.run(
        [Path(sys.executable).parent / "mkdocs", "build", "--strict", "--site-dir", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return out


def test_every_chapter_and_module_is_there(site):
    for chapter in (ROOT / "nbs").rglob("*.ipynb"):
        assert (site / chapter.relative_to(ROOT)).with_suffix(".html").exists(), chapter
    text = (site / "api.html").read_text()
    for module in (ROOT / "spotnet").rglob("[!_]*.py"):
        name = ".".join(module.relative_to(ROOT).with_suffix("").parts)
        assert f'id="{name}"' in text, module
    for name in (
        "data.readers.load_sequences",
        "masks.methods.foreground_masks",
        "network.model.SpotNet",
        "evaluation.scores.evaluate",
        "explore.explorer.Explorer",
    ):
        assert f'id="spotnet.{name}"' in text, name


def test_links_lead_somewhere_and_pictures_have_words(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        for link in re.findall(r'<a [^>]*href="([^"#?]+)', text):
            if not re.match(r"(https?|mailto|data|javascript):", link) and page.name != "404.html":
                assert (page.parent / link).exists(), f"{page.relative_to(site)} links to {link}"
        assert not re.search(r'<img(?![^>]*\balt="[^"]+")[^>]*>', text), (
            f"{page.name} has a picture without words"
        )
        assert not re.search(r"""(src|import\()\s*=?\s*["']https?://""", text), (
            f"{page.name} loads something from elsewhere"
        )


@pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"
)
def test_reads_from_a_folder_in_a_browser(site):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = p.chromium.launch(executable_path=CHROMIUM, args=options)
        page, complaints, strangers = browser.new_page(), [], []
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on(
            "request",
            lambda r: (
                None if r.url.startswith(("file:", "data:", "blob:")) else strangers.append(r.url)
            ),
        )
        for name in ("index.html", "nbs/tour.html", "api.html"):
            page.goto(f"file://{site}/{name}")
            page.wait_for_timeout(500)
        page.goto(f"file://{site}/index.html")
        assert page.evaluate("document.querySelector('article img').naturalWidth") > 300
        if folder := os.environ.get("SPOTNET_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/site.png")
        page.click("input.md-search__input")
        page.keyboard.type("counterfactual", delay=30)
        page.wait_for_selector(".md-search-result__item", timeout=20_000)
        assert complaints == [] and strangers == []
        browser.close()
