"""The `spotnet` command."""
from .application import BROKEN, app, main
from . import doctor  # noqa: F401  works where everything else is broken

try:
    # each adds its verbs to `app`
    from . import data, training, detection, batch, weights  # noqa: F401
except Exception as error:  # a broken package may raise anything; `main` says what it was
    BROKEN.append(error)

__all__ = ["app", "main"]
