"""`fraudstream demo`: the whole road on one machine, and somebody watching it.

story     what happens in which order: services, history, model, live stream
crowd     the demo's customers: weeks of history, then a live stream whose time runs faster
glance    what the view shows: figures and alerts, read from PostgreSQL
view      the terminal
"""
