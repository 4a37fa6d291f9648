"""`python -m cli` is `msgxc`."""

from cli.main import main

main()
