"""Grids of notebooks: run, watched, collected."""
from .grids import Grid
from .notebooks import GridError
from .runs import status
from .progress import RunsView
from .tables import compare, runs_table
from .report import collect
from .runner import run_grid
from .slurm import sbatch_script

__all__ = [
    "Grid", "GridError", "RunsView", "collect", "compare", "run_grid", "runs_table",
    "sbatch_script", "status",
]
