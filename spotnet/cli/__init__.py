"""The `spotnet` command."""
from .application import app, main
from . import doctor, data, training, detection, batch, weights  # noqa: F401  add verbs to `app`

__all__ = ["app", "main"]
