"""Ports for services of a test's own."""

from fraudstream.local.home import Home
from fraudstream.local.processes import choose_port


def give_ports(home: Home) -> Home:
    """Make a home where nothing is yet but ports that it prefers.

    With the ports that every new home prefers, a test that runs at the same time, or the developer's own services, could
    take one while the service that had it starts again, which would have to move.
    """
    port = choose_port()
    home.prepare()
    home.remember("kafka", port=port, controller_port=choose_port(avoid=port))
    home.remember("postgres", port=choose_port())
    return home
