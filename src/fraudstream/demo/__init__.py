"""`fraudstream demo`: the whole road on one machine, and somebody watching it.

story        what happens in which order: services, preparation, live stream
preparation  history and a model, from wherever an earlier run stopped
crowd        the demo's customers: weeks of history, then a live stream whose time runs faster
view         the terminal
"""
