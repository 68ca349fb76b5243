"""What somebody chose on a page stays chosen, whatever happens to the page meanwhile."""

from streamlit.testing.v1 import AppTest


def queue() -> None:
    """The filters of the review queue, and the note, unless the database is away or another page is shown."""
    import streamlit as st

    from fraudstream.dashboard import alerts

    if not st.session_state.get("elsewhere"):
        wanted = alerts._filters()
        st.text(f"{wanted.state} {wanted.order} {wanted.min_amount} {wanted.since is None}")


def leave(app: AppTest) -> None:
    """Draw the page without its fields, and with them again."""
    for elsewhere in (True, False):
        app.session_state["elsewhere"] = elsewhere
        app.run()
    assert not app.exception


def test_filters_stay_when_a_page_is_left_or_could_not_be_drawn() -> None:
    """The queue went back to its first filters without a word, and the reviewer went on with another one."""
    app = AppTest.from_function(queue).run()
    assert app.text[0].value == "waiting newest 0.0 False"
    app.selectbox(key="order").set_value("amount").run()
    app.selectbox(key="span").set_value("Any time").run()
    app.number_input(key="min_amount").set_value(500.0).run()
    leave(app)
    assert app.text[0].value == "waiting amount 500.0 True"
    app.selectbox(key="order").set_value("risk").run()
    leave(app)
    assert app.text[0].value == "waiting risk 500.0 True"


def verdict() -> None:
    """The field and the buttons of a verdict, which no database takes."""
    from types import SimpleNamespace
    from typing import Any, cast

    import streamlit as st

    from fraudstream.dashboard import alerts
    from fraudstream.dashboard.desk import desk
    from fraudstream.settings import PostgresSettings

    case = SimpleNamespace(transaction_id="t1", verdict=None, amount=1.0, currency="USD", user_id="u")
    desk().settle(["t1", "t2"])
    if not st.session_state.get("elsewhere"):
        alerts._verdict(PostgresSettings(host="127.0.0.1", port=9), cast("Any", case))


def test_a_note_whose_verdict_could_not_be_saved_is_still_there_when_the_database_is_back() -> None:
    """Streamlit forgot it with the page, which had no field while the database was away."""
    app = AppTest.from_function(verdict).run()
    app.text_input(key="note t1").set_value("card reported stolen")
    app.button(key="confirm t1").click().run()
    said = app.session_state["desk"].said
    assert not said.is_saved
    assert "127.0.0.1:9" in said.words
    leave(app)
    assert app.text_input(key="note t1").value == "card reported stolen"


def versions() -> None:
    """The choice among the versions that there are."""
    from types import SimpleNamespace
    from typing import Any, cast

    import streamlit as st

    from fraudstream.dashboard import model
    from fraudstream.store.registry import Status

    named = {"C": Status.CHAMPION, "-": Status.CANDIDATE}
    found = [
        SimpleNamespace(version=name[0], status=named[name[1]], algorithm="gbdt")
        for name in st.session_state.get("there", ["1C", "2-"])
    ]
    st.text(model._choose(cast("Any", found)).version)


def test_a_version_that_is_read_stays_when_another_is_trained_and_promoted() -> None:
    app = AppTest.from_function(versions).run()
    assert app.text[0].value == "1"
    app.selectbox(key="version").set_value("2").run()
    app.session_state["there"] = ["3C", "2-", "1-"]
    assert app.run().text[0].value == "2"
    app.session_state["there"] = ["3C", "1-"]
    assert app.run().text[0].value == "3", "a version that was deleted makes room for the champion"


def rejected() -> None:
    """The newest rejected messages."""
    from datetime import UTC, datetime
    from types import SimpleNamespace
    from typing import Any, cast

    import streamlit as st

    from fraudstream.dashboard import pipeline
    from fraudstream.store.pipeline import RejectedPreview

    refused = [
        RejectedPreview("t", 0, place, datetime(2026, 11, 29, tzinfo=UTC), None, f"reason {place}", 2, b"{}")
        for place in range(st.session_state.get("newest", 3), 0, -1)
    ]
    pipeline._message(cast("Any", SimpleNamespace(refused=refused, may_read_messages=True)))


def test_a_rejected_message_that_is_read_stays_when_a_newer_one_comes() -> None:
    """The list was by place: its line named one message, and the bytes below it were another's."""
    app = AppTest.from_function(rejected).run()
    box = app.selectbox(key="refused")
    box.set_value(next(name for name in box.options if name.endswith("offset 2"))).run()
    app.session_state["newest"] = 4
    app.run()
    assert not app.exception
    assert str(app.selectbox(key="refused").value).endswith("offset 2")
    assert "reason 2" in "".join(element.proto.body for element in app.get("html"))
    app.session_state["newest"] = 1
    app.run()
    assert not app.exception
    assert "reason 1" in "".join(element.proto.body for element in app.get("html"))
