"""How the parts of the package hang together: imports run downwards, every public name has one
home."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "spotnet"
FLOORS = [  # a part may import from its own modules and from the floors before its own
    {"files", "environment"},
    {"values", "processes"},
    {"engines"},
    {"data"},
    {"scenes", "evaluation"},
    {"network"},
    {"masks"},
    {"training"},
    {"explore", "batch"},
    {"annotation"},
    {"cli"},
    {"__main__"},
]
FLOOR = {part: i for i, parts in enumerate(FLOORS) for part in parts}
MODULES = {
    ".".join(p.relative_to(PACKAGE).with_suffix("").parts): p
    for p in PACKAGE.rglob("*.py")
    if p.name not in ("__init__.py", "_modidx.py")
}


def imports(module: str) -> set[str]:
    "Modules of the package that a module imports, also inside functions."
    found = set()
    home = ["spotnet", *module.split(".")[:-1]]
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = home[: len(home) + 1 - node.level] if node.level else []
        path = [*base, *(node.module or "").split(".")]
        if path[0] != "spotnet":
            continue
        target = ".".join(filter(None, path[1:]))
        inside = [".".join(filter(None, (target, alias.name))) for alias in node.names]
        found |= {name for name in (target, *inside) if name in MODULES or name in FLOOR}
    return found - {module}


def test_every_module_has_a_floor():
    assert {module.split(".")[0] for module in MODULES} == set(FLOOR)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_downwards(module):
    part = module.split(".")[0]
    for other in imports(module):
        above = other.split(".")[0]
        assert above == part or FLOOR[above] < FLOOR[part], f"{module} imports {other}"


def test_no_circles():
    rest = {module: {m for m in imports(module) if m in MODULES} for module in MODULES}
    while free := [module for module, needs in rest.items() if not needs & rest.keys()]:
        for module in free:
            del rest[module]
    assert not rest, f"in a circle: {sorted(rest)}"


def public_names(path: Path) -> list[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    return []


def test_public_names_have_one_meaning():
    homes = defaultdict(set)
    for module, path in MODULES.items():
        if not module.startswith("cli"):  # verbs are named after the functions that they call
            for name in public_names(path):
                homes[name].add(module)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_parts_list_what_their_modules_define():
    listed = defaultdict(list)
    for face in PACKAGE.glob("*/__init__.py"):
        part = face.parent.name
        for name in public_names(face):
            listed[name].append(part)
            homes = [m for m, p in MODULES.items() if name in public_names(p)]
            assert homes, f"spotnet.{part} lists {name}, which no module defines"
    assert {name: parts for name, parts in listed.items() if len(parts) > 1} == {}


@pytest.mark.parametrize("part", ["data", "masks", "evaluation", "cli"])
def test_imports_without_torch(part):
    code = f"import sys, spotnet.{part}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0, (
        f"spotnet.{part} imports torch"
    )
