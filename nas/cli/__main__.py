"""`python -m nas.cli` is `nas`."""

from nas.cli import main

main()
