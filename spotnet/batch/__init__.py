"""Grids of notebooks: run, watched, collected."""
from .grids import Grid, GridError
from .progress import RunsView
from .runs import status
from .report import collect, compare, runs_table
from .runner import run_grid
from .slurm import sbatch_script

__all__ = [
    "Grid", "GridError", "RunsView", "collect", "compare", "run_grid", "runs_table",
    "sbatch_script", "status",
]
