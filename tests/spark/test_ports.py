"""What Spark's ports give to another user of the machine."""

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RPC_REQUEST, RPC_RESPONSE = 3, 4
OPEN_BLOCKS = 0


def _text(value: str) -> bytes:
    return len(value).to_bytes(4, "big") + value.encode()


def _asks_for(block: str, port: int) -> int:
    """The type of the frame that answers one who asks for a block without a secret; 0 where the door is shut."""
    wanted = bytes([OPEN_BLOCKS]) + _text("app") + _text("mallory") + (1).to_bytes(4, "big") + _text(block)
    body = bytes([RPC_REQUEST]) + (7).to_bytes(8, "big") + len(wanted).to_bytes(4, "big") + wanted
    with socket.create_connection(("127.0.0.1", port), 10) as stranger:
        stranger.sendall((8 + len(body)).to_bytes(8, "big") + body)
        answer = stranger.recv(9)  # eight bytes of length, then the type
    return answer[8] if len(answer) == 9 else 0


def test_who_does_not_know_the_sessions_secret_gets_no_broadcast(spark: "SparkSession") -> None:
    """Broadcasts hold profiles with customers' ids; what a task is made of holds the database's password."""
    context = spark.sparkContext
    assert context._jvm is not None
    broadcast = context.broadcast(["ann"])
    try:
        block = f"broadcast_{broadcast._jbroadcast.id()}_piece0"
        manager = context._jsc.sc().env().blockManager()
        assert manager.master().contains(context._jvm.org.apache.spark.storage.BlockId.apply(block))
        assert _asks_for(block, manager.blockManagerId().port()) != RPC_RESPONSE
    finally:
        broadcast.destroy()
