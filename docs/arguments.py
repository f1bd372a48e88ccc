"""Tables of arguments for the API page, from the comments behind the arguments in the source."""

import ast
import io
import tokenize
from functools import cache
from pathlib import Path

import griffe


@cache
def _comments(path: Path) -> dict[int, str]:
    "Text of the comment on each line of a file that has one."
    source = path.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _table(rows: list[tuple[str, ast.expr | None, ast.expr | None, int]], path: Path) -> str:
    """A Markdown table of (name, type, default, last line); of names that share a line the last
    has the comment."""
    last = {line: name for name, _, _, line in rows}
    lines = ["| Name | Type | Default | Description |", "|---|---|---|---|"]
    for name, hint, default, line in rows:
        comment = _comments(path).get(line, "") if last[line] == name else ""
        # "|" separates cells, but not inside code
        kind = "" if hint is None else f"`{ast.unparse(hint)}`"
        value = "required" if default is None else f"`{ast.unparse(default)}`"
        lines.append(f"| `{name}` | {kind} | {value} | {comment.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def _arguments(node: ast.FunctionDef) -> list[tuple[str, ast.expr | None, ast.expr | None, int]]:
    a = node.args
    plain = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(plain) - len(a.defaults)) + a.defaults
    rows = []
    for argument, default in [*zip(plain, defaults), *zip(a.kwonlyargs, a.kw_defaults)]:
        if argument.arg not in ("self", "cls"):
            line = (default or argument).end_lineno
            rows.append((argument.arg, argument.annotation, default, line))
    return rows


def _fields(node: ast.ClassDef) -> list[tuple[str, ast.expr | None, ast.expr | None, int]]:
    annotated = [n for n in node.body if isinstance(n, ast.AnnAssign)]
    public = [n for n in annotated if not n.target.id.startswith("_")]
    return [(n.target.id, n.annotation, n.value, n.end_lineno) for n in public]


class Arguments(griffe.Extension):
    """Appends the table to the text of every function with arguments, and of every class with
    annotated fields."""

    def on_function_instance(self, *, node, func, **_):
        self._append(func, _arguments(node) if isinstance(node, ast.FunctionDef) else [])

    def on_class_instance(self, *, node, cls, **_):
        self._append(cls, _fields(node) if isinstance(node, ast.ClassDef) else [])

    def _append(self, thing, rows):
        if not rows or thing.name.startswith("_") and thing.name != "__init__":
            return
        text = thing.docstring.value if thing.docstring else ""
        table = _table(rows, Path(thing.filepath))
        thing.docstring = griffe.Docstring(f"{text}\n\n{table}".strip(), parent=thing)
