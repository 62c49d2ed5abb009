"""`python -m headstart`: the same as `headstart`."""

from headstart.cli import main

main()
