"""How tests share two or more cores (`pytest -n 2`): a file stays in one process, every chapter
is a piece of its own."""

import os

import pytest

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # before anything reads it: processes side by side take one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The sums of float32 depend on the processor: with AVX-512 one ReLU near zero switches in the batch
# of the parity arrays and moves a gradient by 4e-4. Every x86 processor of today has AVX2. This must
# be set before torch is loaded.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")

LAST = "test_chapters.py"  # many small pieces: behind the long files they fill what is left evenly


def pytest_collection_modifyitems(items: list) -> None:
    items.sort(key=lambda item: item.path.name == LAST)


@pytest.hookimpl(optionalhook=True)  # where pytest-xdist is not installed there is nobody to ask
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if LAST in nodeid else nodeid.split("::")[0]

    config.option.loadscopereorder = False
    return ByFile(config, log)
