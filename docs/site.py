"""What the site needs beyond its pages: the notebooks of `nbs/` as pages, the API of every
module, and links between them."""

import ast
import html
import json
import re
from pathlib import Path
from textwrap import fill

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "nbs"


def _title(path: Path) -> str:
    first = next(
        c
        for c in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if c["cell_type"] == "markdown"
    )
    return "".join(first["source"]).splitlines()[0].lstrip("# ")


def _pages(folder: Path) -> list[dict]:
    return [{_title(p): p.relative_to(ROOT).as_posix()} for p in sorted(folder.glob("*.ipynb"))]


def on_config(config):
    for entry in config.nav:
        if "Chapters" in entry:
            parts = sorted(NOTEBOOKS.glob("[0-9]*/"))
            entry["Chapters"] = [{p.name.partition("_")[2].capitalize(): _pages(p)} for p in parts]
        if "Experiments" in entry:
            entry["Experiments"] = _pages(NOTEBOOKS / "experiments")
    return config


@event_priority(100)  # before the notebooks are turned into pages
def on_files(files, config):
    for path in sorted(NOTEBOOKS.rglob("*")):
        if path.suffix in (".ipynb", ".png") and ".ipynb_checkpoints" not in path.parts:
            files.append(
                File(
                    path.relative_to(ROOT).as_posix(),
                    str(ROOT),
                    config.site_dir,
                    config.use_directory_urls,
                )
            )
    return files


def _api() -> str:
    "Every part: what users import from it, and its modules in the order of their chapters."
    pieces = []
    for part in sorted(NOTEBOOKS.glob("[0-9]*/")):
        name = part.name.partition("_")[2]
        face = ROOT / "spotnet" / name / "__init__.py"
        pieces.append(f"## {name.capitalize()}")
        if face.exists() and (names := _public(face)):
            listed = fill(", ".join(names), 72, initial_indent="    ", subsequent_indent="    ")
            pieces.append(f"```python\nfrom spotnet.{name} import (\n{listed},\n)\n```")
        for chapter in sorted(part.glob("*.ipynb")):
            module = re.search(r"#\| default_exp ([\w.]+)", chapter.read_text(encoding="utf-8"))[1]
            pieces.append(f"[Chapter]({chapter.relative_to(ROOT).as_posix()})")
            pieces.append(f"::: spotnet.{module}")
    return "\n\n".join(pieces)


def _public(face: Path) -> list[str]:
    "The names in the `__all__` of a package's `__init__.py`."
    for node in ast.parse(face.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    return []


def on_page_markdown(markdown, page, config, files):
    if page.file.src_uri == "api.md":
        return f"{markdown}\n\n{_api()}"
    return markdown.replace("](../nbs/", "](nbs/")


def on_post_page(output, page, config):
    """In pages made from notebooks: links to notebooks and guides lead to pages, and a picture
    without a text alternative gets the heading that it stands under."""
    if not page.file.src_uri.endswith(".ipynb"):
        return output
    # notebooks bring a loader of diagrams from another server; there are none
    output = re.sub(
        r'<script type="module">(?:(?!</script>).)*?mermaid.*?</script>', "", output, flags=re.S
    )
    output = re.sub(r'(href="(?!https?:)[^"#]+)\.ipynb', r"\1.html", output)
    output = re.sub(r'(href="(?:\.\./)+)docs/(\w+)\.md', r"\1\2.html", output)
    pieces = re.split(r"(<h[1-4][^>]*>.*?</h[1-4]>)", output, flags=re.S)
    heading = page.title or ""
    for i, piece in enumerate(pieces):
        if i % 2:
            heading = re.sub(r"<[^>]+>|¶|&para;", "", piece).strip()
        else:
            told = f'alt="Figure: {html.escape(heading, quote=True)}"'
            pieces[i] = re.sub(
                r'alt="No description has been provided for this image"', told, piece
            )
    return "".join(pieces)
