"""The `spotnet` command."""
from .application import app, main
from . import doctor, data, annotation, training, detection, batch, weights  # noqa: F401  add verbs

__all__ = ["app", "main"]
