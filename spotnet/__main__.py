"""`python -m spotnet` is the `spotnet` command."""
from spotnet.cli import main

main()
