"""What the site needs beyond its pages: the notebooks of `nbs/` as pages, the API of every module, and links between them."""
import html
import json
import re
from pathlib import Path

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "nbs"


def _title(path: Path) -> str:
    first = next(c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "markdown")
    return "".join(first["source"]).splitlines()[0].lstrip("# ")


def on_config(config):
    for entry in config.nav:
        for name, folder in (("Chapters", NOTEBOOKS), ("Experiments", NOTEBOOKS / "experiments")):
            if name in entry:
                chapters = [p for p in sorted(folder.glob("*.ipynb")) if p.stem != "tour"]
                entry[name] = [{_title(p): p.relative_to(ROOT).as_posix()} for p in chapters]
    return config


@event_priority(100)  # before the notebooks are turned into pages
def on_files(files, config):
    for path in sorted(NOTEBOOKS.rglob("*")):
        if path.suffix in (".ipynb", ".png") and ".ipynb_checkpoints" not in path.parts:
            files.append(File(path.relative_to(ROOT).as_posix(), str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown, page, config, files):
    if page.file.src_uri == "api.md":
        chapters = sorted(NOTEBOOKS.glob("[0-9]*/*.ipynb"))
        modules = [re.search(r"#\| default_exp ([\w.]+)", p.read_text(encoding="utf-8"))[1] for p in chapters]
        return markdown + "\n\n" + "\n\n".join(
            f"[Chapter]({chapter.relative_to(ROOT).as_posix()})\n\n::: spotnet.{module}"
            for chapter, module in zip(chapters, modules)
        )
    return markdown.replace("](../nbs/", "](nbs/")


def on_post_page(output, page, config):
    """In pages made from notebooks: links to notebooks lead to their pages, and a picture without a text alternative gets
    the heading that it stands under."""
    if not page.file.src_uri.endswith(".ipynb"):
        return output
    # notebooks bring a loader of diagrams from another server; there are none
    output = re.sub(r'<script type="module">(?:(?!</script>).)*?mermaid.*?</script>', "", output, flags=re.S)
    output = re.sub(r'(href="(?!https?:)[^"#]+)\.ipynb', r"\1.html", output)
    pieces = re.split(r"(<h[1-4][^>]*>.*?</h[1-4]>)", output, flags=re.S)
    heading = page.title or ""
    for i, piece in enumerate(pieces):
        if i % 2:
            heading = re.sub(r"<[^>]+>|¶|&para;", "", piece).strip()
        else:
            told = f'alt="Figure: {html.escape(heading, quote=True)}"'
            pieces[i] = re.sub(r'alt="No description has been provided for this image"', told, piece)
    return "".join(pieces)
