"""How the tests share the cores of this machine."""
import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: numerical libraries that all want every core are slow
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    "The tests of a file share what is dear to begin with, and run in one process; chapters, which share nothing, fill the gaps."
    for item in items:
        if item.path.name != "test_chapters.py":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    first = ("test_running.py", "test_training.py")
    items.sort(key=lambda item: (item.path.name == "test_chapters.py", item.path.name not in first))
