"""The `spotnet` command."""
from .application import app, main
from . import data, training, detection, batch, weights  # noqa: F401  each adds its verbs to `app`

__all__ = ["app", "main"]
