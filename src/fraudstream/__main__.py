"""`python -m fraudstream`."""

from fraudstream.cli.main import main

main()
