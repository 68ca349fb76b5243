"""fraudstream: catch fraud in a stream of card transactions."""

__version__ = "0.1.0"
