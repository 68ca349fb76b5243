"""`fraudstream demo`: the whole system on one machine, with a live display.

story        the sequence: services, preparation, live stream
preparation  history and a model, from wherever an earlier run stopped
crowd        the demo's customers: weeks of history, then a live stream whose time runs faster
view         the terminal
"""
