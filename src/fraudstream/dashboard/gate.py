"""The password: asked for once per session, compared in constant time, and slow to guess."""

import hmac
import math
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import streamlit as st

from fraudstream.dashboard import launch
from fraudstream.settings import DashboardSettings

T = TypeVar("T")

FREE = 3
"""Wrong passwords that cause no wait: people mistype."""
LONGEST_WAIT = 60.0
"""Longest wait in seconds for an address's own mistakes: an attacker gets 1,440 attempts a day from each."""
PASSED = "passed"
"""Session key: a digest of the password that opened the session, which another password closes."""
_KEY = secrets.token_bytes(32)
"""Of this process alone: a digest that got out would be of no use for trying passwords."""
BURST, EVERY = 20, 5.0
"""Wrong passwords from all addresses together before a wait, and the seconds after which another one is allowed. This limits
attackers with many addresses, such as anybody with IPv6. They can use it up for as long as they like, and who comes from
a new address competes with them for the next check. So it does not apply to addresses from which the right password came."""
REMEMBERED = 10_000
"""Maximum number of addresses whose failures, or whose success, are kept: an attacker with more must not fill the memory."""


@dataclass
class Throttle:
    """Wrong passwords by address; each one beyond FREE doubles the wait before the next is checked.

    In addition, all addresses from which the right one never came have BURST of them together, and one more EVERY few
    seconds.
    """

    clock: Callable[[], float] = time.monotonic
    _failures: "OrderedDict[str, tuple[int, float]]" = field(default_factory=OrderedDict)
    _known: "OrderedDict[str, None]" = field(default_factory=OrderedDict)
    """Addresses from which the right password came, the latest one last."""
    _all: tuple[float, float] = (0.0, 0.0)
    """How many of BURST are used up, and when that was counted."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def attempt(self, address: str, given: str, password: str) -> float | None:
        """None if the password is right, else the seconds until the next check. Within the wait none is checked."""
        with self._lock:
            now, is_known = self.clock(), address in self._known
            count, last = self._failures.get(address, (0, 0.0))
            taken = max(self._all[0] - (now - self._all[1]) / EVERY, 0.0)
            own = last + wait(count) - now if count > FREE else 0.0
            waits = max(own, 0.0 if is_known else (taken + 1 - BURST) * EVERY)
            if waits > 0:
                return waits
            if hmac.compare_digest(given.encode(), password.encode()):
                self._failures.pop(address, None)
                _remember(self._known, address, None)
                return None
            if not is_known:
                self._all = taken + 1, now
            _remember(self._failures, address, (count + 1, now))
            return wait(count + 1)


def _remember(found: "OrderedDict[str, T]", address: str, value: T) -> None:
    """As the latest of REMEMBERED addresses."""
    found[address] = value
    found.move_to_end(address)
    if len(found) > REMEMBERED:
        found.popitem(last=False)


def wait(failures: int) -> float:
    """Seconds to wait after this many consecutive wrong passwords."""
    return min(2.0 ** (failures - FREE), LONGEST_WAIT) if failures > FREE else 0.0


def refusal(waits: float) -> str:
    """What is said after a password that did not open the pages."""
    if waits > 0:
        return f"Wrong password, or too many attempts. Try again in {math.ceil(waits)} s."
    return "Wrong password."


@st.cache_resource
def _throttle() -> Throttle:
    return Throttle()


def is_open(settings: DashboardSettings) -> bool:
    """Whether this session may see the pages.

    Raises SettingsError if the server, not started with `fraudstream dashboard`, is open to everybody.
    """
    address = st.get_option("server.address") or "0.0.0.0"  # noqa: S104 - Streamlit's own default
    launch.check_closed(settings.model_copy(update={"host": address}))
    return passed(settings)


def passed(settings: DashboardSettings) -> bool:
    """Whether the password now in force is the one that opened this session; true if there is none.

    For what runs without the page around it: parts that renew themselves, and clicks, which are handled before it.
    """
    secret = settings.secret()
    return secret is None or hmac.compare_digest(
        st.session_state.get(PASSED, b""), digest(secret.get_secret_value())
    )


def digest(password: str) -> bytes:
    """What a session remembers of the password that opened it."""
    return hmac.digest(_KEY, password.encode(), "sha256")


def ask(settings: DashboardSettings) -> None:
    """Show the password form instead of the page; the right password shows the requested page."""
    secret = settings.secret()
    assert secret is not None, "called only if there is one"  # noqa: S101 - narrows the type
    with st.container(horizontal_alignment="center"), st.form("password", width=380):
        st.subheader("fraudstream", anchor=False)
        given = st.text_input("Password", type="password", autocomplete="current-password")
        if st.form_submit_button("Open", type="primary", width="stretch") and given:
            address = st.context.ip_address or "this machine"
            waits = _throttle().attempt(address, given, secret.get_secret_value())
            if waits is None:
                st.session_state[PASSED] = digest(secret.get_secret_value())
                st.rerun()
            st.error(refusal(waits))
