"""`score --data`: the decisions of the evaluation for a file or a pipe, with no service at all."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from environment import without_settings
from feature_world import world
from fraudstream.cli.main import run
from fraudstream.decision import FIELDS, DecisionDecoder
from fraudstream.errors import ExitCode, InputError
from fraudstream.model import artifact, folder, packing
from fraudstream.model.dataset import dataset
from fraudstream.model.decisions import check_output, to_file
from fraudstream.model.tables import read_transactions
from model_world import ensemble, exactly_at_its_threshold, packed
from samples import GOOD
from waiting import wait_until

ROWS = 1_500
SPLITS = (
    ("amount", 60.0, -2.0, 1.0),
    ("user_count_10m", 0.3, -0.5, 1.5),
    ("amount_to_user_mean", 1.7, -1.0, 1.2),
    ("user_device_share", 0.4, 0.8, -0.3),
    ("merchant_risk_30d", 0.02, -0.7, 2.1),
    ("device_freq", 0.1, 0.2, -0.1),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model over amounts, pace, habits and verdicts, as `train --output` leaves it."""
    return written(
        tmp_path_factory.mktemp("models") / "model", *packed("v1", ensemble(*SPLITS), label_delay_days=7)
    )


def written(directory: Path, manifest: dict[str, Any], archive: bytes) -> Path:
    folder.write(packing.unpack_files(archive, str(manifest["version"])), directory)
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in order of time, with truth in it."""
    path = tmp_path_factory.mktemp("data") / "transactions.parquet"
    pq.write_table(world(ROWS, 11, users=40, merchants=12).drop_columns(["labelled_at"]), path)
    return path


def decisions(arguments: list[str], capfdbinary: pytest.CaptureFixture[bytes]) -> list[dict[str, Any]]:
    """What `score` prints, as documents."""
    capfdbinary.readouterr()
    assert run(["score", *arguments]) == ExitCode.DONE
    return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]


def risks(documents: list[dict[str, Any]]) -> "dict[str, float]":
    return {document["transaction_id"]: document["risk"] for document in documents}


def judged(path: Path, directory: Path, *, truth: bool) -> "dict[str, float]":
    """The risks that `evaluate` works with."""
    rows, opened = read_transactions(path, with_truth=truth).rows, folder.read(directory)
    found = dataset(rows, 7, opened.features)
    values = opened.risk(found.columns(opened.features, np.arange(len(found))))
    return dict(zip(rows["transaction_id"].to_pylist(), values.tolist(), strict=True))


def test_a_file_has_the_risks_of_the_evaluation(
    model: Path, data: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """To the last digits, in order of time, in the documents that the live scorer writes."""
    found = decisions(["--data", str(data), "--model", str(model)], capfdbinary)
    assert len(found) == ROWS
    expected = judged(data, model, truth=False)
    assert risks(found) == pytest.approx(expected, abs=1e-12)
    assert len(set(expected.values())) > 15
    first = found[0]
    assert tuple(first) == FIELDS
    # Behind the model's own what their reasons are told with.
    own = tuple(name for name, *_ in SPLITS)
    assert tuple(first["features"])[: len(own)] == own
    assert set(first["features"]) - set(own) == {
        "user_count_7d", "user_count_30d", "user_idle", "amount_to_overall_mean", "merchant_fraud_30d"
    }  # fmt: skip
    assert (first["model_version"], first["rules"], first["sent_at"]) == ("v1", [], None)
    assert all(d["flagged"] == (d["risk"] >= 0.5) for d in found)
    instants = [datetime.fromisoformat(d["timestamp"]) for d in found]
    assert instants == sorted(instants)
    decoded = DecisionDecoder().decode([json.dumps(d).encode() for d in found])
    assert (decoded.rows.num_rows, decoded.rejects) == (ROWS, [])


def test_a_risk_exactly_at_the_threshold_is_flagged(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As the evaluation counts it, which chose the threshold among such risks, and as the live scorer decides."""
    path = tmp_path / "payments.csv"
    path.write_text("timestamp,amount,user_id\n2025-03-01T10:00:00Z,100,u\n2025-03-01T11:00:00Z,101,u\n")
    directory = written(tmp_path / "model", *exactly_at_its_threshold())
    found = decisions(["--data", str(path), "--model", str(directory)], capfdbinary)
    assert [(d["risk"] == 0.5, d["flagged"]) for d in found] == [(False, False), (True, True)]


def test_verdicts_of_the_file_count_when_they_are_asked_for_and_known(
    model: Path, data: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As `evaluate` has it with the label delay of the model; and they matter."""
    arguments = ["--data", str(data), "--model", str(model)]
    expected = judged(data, model, truth=True)
    assert risks(decisions([*arguments, "--with-verdicts"], capfdbinary)) == pytest.approx(
        expected, abs=1e-12
    )
    assert risks(decisions(arguments, capfdbinary)) != pytest.approx(expected, abs=1e-6)


def test_the_truth_in_a_file_changes_no_decision(
    model: Path, data: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Turned round, nonsense, or not there at all."""
    rows = pq.read_table(data)
    place = rows.column_names.index("is_fraud")
    turned = [None if truth is None else not truth for truth in rows["is_fraud"].to_pylist()]
    variants = {
        "turned": rows.set_column(place, "is_fraud", pa.array(turned)).append_column(
            "fraud_scenario", pa.array(["x"] * ROWS)
        ),
        "nonsense": rows.set_column(place, "is_fraud", pa.array(["maybe"] * ROWS)),
        "none": rows.drop_columns(["is_fraud"]),
    }
    expected = without_clock(decisions(["--data", str(data), "--model", str(model)], capfdbinary))
    for name, table in variants.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
        found = decisions(["--data", str(tmp_path / f"{name}.parquet"), "--model", str(model)], capfdbinary)
        assert without_clock(found) == expected, name


def without_clock(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in document.items() if k != "scored_at"} for document in documents]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".ndjson"])
def test_an_output_file_holds_the_same_decisions(
    suffix: str, model: Path, data: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """With the features as columns of their own; a file that was there is replaced; `evaluate` can read it."""
    expected = decisions(["--data", str(data), "--model", str(model)], capfdbinary)
    output = tmp_path / f"scored{suffix}"
    output.write_text("what was there")
    assert (
        run(["score", "--data", str(data), "--model", str(model), "--output", str(output), "--json"])
        == ExitCode.DONE
    )
    summary = json.loads(capfdbinary.readouterr().out)
    assert (summary["decisions"], summary["refused"], summary["model_version"]) == (ROWS, 0, "v1")
    assert summary["flagged"] == sum(d["flagged"] for d in expected)
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    if suffix == ".ndjson":
        assert without_clock([json.loads(line) for line in output.read_text().splitlines()]) == without_clock(
            expected
        )
    else:
        table = pacsv.read_csv(output) if suffix == ".csv" else pq.read_table(output)
        assert table["risk"].to_pylist() == [d["risk"] for d in expected]
        assert table["features.user_count_10m"].to_pylist() == [
            d["features"]["user_count_10m"] for d in expected
        ]
    again = read_transactions(output, with_risk=True).rows
    assert again["risk"].to_pylist() == [d["risk"] for d in expected]


def test_rows_that_are_no_transactions_get_an_answer_too(
    model: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A NaN amount and no time: refused with the number of the row; the neighbours are scored."""
    path = tmp_path / "some.csv"
    header = "transaction_id,user_id,timestamp,amount,device,merchant_id\n"
    good = "".join(f"t{i},u1,2024-05-01T12:00:0{i}Z,10,ios,m1\n" for i in range(4))
    path.write_text(header + "x,u1,2024-05-01T12:00:00Z,nan,ios,m1\n" + good + "y,u1,later,1,ios,m1\n")
    found = decisions(["--data", str(path), "--model", str(model)], capfdbinary)
    assert [(d["line"], d["rejected"]) for d in found if "rejected" in d] == [
        (1, "amount: not a number above 0"), (6, "timestamp: not an ISO 8601 date and time"),
    ]  # fmt: skip
    assert [d["transaction_id"] for d in found if "risk" in d] == ["t0", "t1", "t2", "t3"]


def test_an_estimator_of_your_own_scores_too(
    data: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """One without trees is unpickled, once its bytes were checked; altered ones are not opened."""
    own = written(
        tmp_path / "own",
        *packed("own", None, ("amount", "hour"), versions={"scikit-learn": version("scikit-learn")}),
    )
    found = decisions(["--data", str(data), "--model", str(own)], capfdbinary)
    assert set(risks(found).values()) == {0.0}
    (own / artifact.ESTIMATOR).write_bytes(b"cos\nsystem\n(S'touch unpickled'\ntR.")
    assert run(["score", "--data", str(data), "--model", str(own)]) == ExitCode.FAILED
    assert b"was altered" in capfdbinary.readouterr().err


def test_what_cannot_be_scored_is_refused_in_a_sentence(
    model: Path, data: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Exit code 1, nothing on stdout, no output file."""
    empty, short = tmp_path / "empty.csv", tmp_path / "short.csv"
    empty.write_text("")
    short.write_text("user_id,timestamp,amount\nu,2024-05-01,1\n")
    other = tmp_path / "theirs.csv"
    other.write_text("card,when,amt\nu,2024-05-01,1\n")
    nothing = tmp_path / "nothing.csv"
    nothing.write_text("user_id,timestamp,amount\n")
    out = tmp_path / "out.csv"
    cases: list[tuple[list[str], str]] = [
        (["--data", str(empty)], "is empty"),
        (["--data", str(nothing)], "has no rows"),
        (["--data", str(tmp_path / "none.csv")], "There is no file"),
        (["--data", str(other)], "has no column user_id and no timestamp and no amount"),
        (["--data", str(short)], "uses user_device_share, merchant_risk_30d, device_freq, but"),
        (["--data", str(data), "--output", str(tmp_path / "out.txt")], "a suffix that is not supported"),
        (["--data", str(data), "--output", str(tmp_path / "no" / "out.csv")], "its directory does not exist"),
    ]
    wrong: list[tuple[list[str], str]] = [
        (["--data", str(data), "--with-verdicts", "--profiles"], "starts from empty profiles"),
        (["--data", "-", "--with-verdicts"], "is for a file"),
        (["--data", str(data), "--rules", "rules.yaml"], "--rules is for the stream, not for --data"),
        (["--data", str(data), "--mode", "microbatch"], "--mode is for the stream"),
        (["--output", str(out)], "--model is for --data"),
    ]
    for arguments, message in [*cases, *wrong]:
        expected = ExitCode.USAGE if (arguments, message) in wrong else ExitCode.FAILED
        assert run(["score", *arguments, "--model", str(model)]) == expected, arguments
        captured = capfdbinary.readouterr()
        assert captured.out == b""
        assert message in captured.err.decode(), arguments
        assert b"Next: " in captured.err
    for directory, message in (
        (tmp_path / "no" / "model", "There is no model at"),
        (tmp_path, "is not a model"),
    ):
        assert (
            run(["score", "--data", str(data), "--model", str(directory), "--output", str(out)])
            == ExitCode.FAILED
        )
        assert message in capfdbinary.readouterr().err.decode()
    assert not out.exists()


@contextmanager
def pipe(model: Path, *arguments: str) -> "Iterator[Pipe]":
    """The real program at the end of a pipe; killed where a test fails before its end."""
    command = [sys.executable, "-m", "fraudstream", "score", "--data", "-", "--model", str(model), *arguments]
    kinds = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=without_settings(), **kinds) as process:  # type: ignore[call-overload]
        try:
            yield Pipe(process)
        finally:
            process.kill()


@dataclass
class Pipe:
    """What a test does with it."""

    process: "subprocess.Popen[bytes]"

    def answer(self, line: bytes) -> dict[str, Any]:
        """Write a line, and wait for its answer before there is another one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()
        document: dict[str, Any] = json.loads(self.process.stdout.readline())
        return document

    def end(self, rest: bytes | None = None) -> tuple[int, list[dict[str, Any]], str]:
        """Write the rest and close: exit code, the answers to the rest, and what was said."""
        out, err = self.process.communicate(rest, timeout=300)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


def test_lines_from_a_pipe_are_answered_as_they_come(
    model: Path, data: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """An answer before the next line is written; the risks of the file; every bad line has its number."""
    expected = risks(decisions(["--data", str(data), "--model", str(model)], capfdbinary))
    rows = pq.read_table(data).drop_columns(["is_fraud"]).to_pylist()
    # In a message of the topic a device that is not known is an empty text; a null is refused there.
    texts = [row | {"timestamp": row["timestamp"].isoformat(), "device": row["device"] or ""} for row in rows]
    lines = [json.dumps(text).encode() + b"\n" for text in texts]
    bad = [b"hello\n", b'{"user_id": 7}\n', b"x" * 1_500_000 + b"\n"]
    rest = [b"\n", bad[0], lines[1], *bad[1:], *lines[2:-1], lines[-1].rstrip()]
    with pipe(model) as process:
        first = process.answer(lines[0])
        code, others, said = process.end(b"".join(rest))
    found = [first, *others]
    assert code == 0
    assert risks([d for d in found if "risk" in d]) == pytest.approx(expected, abs=1e-9)
    refused = {d["line"]: d["rejected"] for d in found if "rejected" in d}
    assert sorted(refused) == [3, 5, 6]
    assert refused[3].startswith("not JSON")
    assert "user_id" in refused[5]
    assert refused[6] == "a line of more than 1,048,576 bytes"
    assert [d.get("line") for d in found[1:5]] == [3, None, 5, 6]
    assert "1,500 decisions" in said
    assert "3 could not be read" in said


def test_a_line_may_lack_what_the_model_does_not_look_at(tmp_path: Path) -> None:
    """Other names with --map; no device, no place, no id; nonsense where the truth stands."""
    model = written(tmp_path / "plain", *packed("plain", ensemble(("amount", 60.0, -2.0, 1.0))))
    line = {"card": "u1", "when": "2024-05-01T12:00:00Z", "amount": 80, "is_fraud": "maybe", "first_name": 7}
    with pipe(model, "--map", "card=user_id", "--map", "when=timestamp") as process:
        code, (scored, refused), _ = process.end((json.dumps(line) + "\n{}\n").encode())
    assert code == 0
    assert (scored["transaction_id"], scored["user_id"], scored["flagged"]) == ("line-1", "u1", True)
    assert refused["line"] == 2
    assert "user_id" in refused["rejected"]


def test_a_signal_ends_the_wait_with_whole_answers(model: Path) -> None:
    """SIGTERM while it waits: exit code 130, what was answered stands, and what it did is said."""
    with pipe(model) as process:
        assert process.answer(json.dumps(GOOD | {"merchant_id": "m"}).encode() + b"\n")["user_id"] == "u-1"
        process.process.send_signal(signal.SIGTERM)
        code, rest, said = process.end()
    assert (code, rest) == (ExitCode.INTERRUPTED, [])
    assert "1 decisions" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_wait_for_lines_leaves_a_whole_file_of_the_answers(
    model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """As Ctrl-C ends both sides of `producer | fraudstream score --data - --output out.ndjson`; half a line is none."""
    output, line = tmp_path / "out.ndjson", json.dumps(GOOD | {"merchant_id": "m"}).encode() + b"\n"
    with pipe(model, "--output", str(output), "--json") as process:
        wrote = process.process.stdin
        assert wrote is not None
        wrote.write(line + line[:9])
        wrote.flush()
        wait_until(lambda: any(file.stat().st_size for file in tmp_path.glob(".out*")), "an answer")
        process.process.send_signal(number)
        out, said = process.process.communicate(timeout=300)
    found = [json.loads(row) for row in output.read_bytes().splitlines()]
    assert process.process.returncode == ExitCode.INTERRUPTED
    assert [decision["user_id"] for decision in found] == ["u-1"]
    report = json.loads(out)
    assert (report["decisions"], report["refused"]) == (1, 0)
    assert b"1 decisions" in said
    assert [path.name for path in tmp_path.iterdir()] == ["out.ndjson"]


def test_an_empty_pipe_is_no_error(model: Path) -> None:
    with pipe(model) as process:
        code, found, said = process.end(b"")
    assert (code, found) == (0, [])
    assert "0 decisions" in said


def test_a_file_that_is_replaced_keeps_who_may_read_it_and_a_link_stays_a_link(tmp_path: Path) -> None:
    """A nightly run made the names of customers readable to all, and its link to the newest file a file of its own."""
    private, link = tmp_path / "private.csv", tmp_path / "newest.csv"
    private.write_text("what was there")
    private.chmod(0o600)
    link.symlink_to(private)
    with to_file(link, ()) as write:
        write([])
    assert link.readlink() == private
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.read_text().startswith('"transaction_id"')
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newest.csv", "private.csv"]


@pytest.mark.parametrize("output", [(), ("--output", "out.csv")])
def test_a_pipe_that_cannot_be_read_is_told_as_such(
    model: Path, tmp_path: Path, output: tuple[str, ...]
) -> None:
    """Opened for writing only: the sentence used to blame the output file, and without one the program itself."""
    done = score_in(tmp_path, "-", model, *output, before="exec 0> /dev/null")
    assert done.returncode == ExitCode.FAILED
    assert done.stderr.splitlines()[-2:] == [
        "Error: Standard input cannot be read: Bad file descriptor.",
        "  Next: Pipe NDJSON into the command, or name the file with --data.",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.ndjson"])
def test_an_output_that_finds_no_room_is_named_and_leaves_nothing(
    model: Path, data: Path, tmp_path: Path, name: str
) -> None:
    """A limit of 1 KB on files, which is met in the middle or at the end of the table."""
    done = score_in(tmp_path, str(data), model, "--output", name, before="ulimit -f 1")
    assert done.returncode == ExitCode.FAILED
    assert f"Error: {name} cannot be written: [Errno 27]" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    """A directory that you may not access, or a name that is too long, passed for a bug of the program."""
    with pytest.raises(InputError, match=r"answers\.csv cannot be written: "):
        check_output(tmp_path / ("x" * 300) / "answers.csv")


def test_what_fails_beside_the_output_does_not_blame_the_output(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(FileNotFoundError), to_file(out, ("amount",)):
        Path(tmp_path / "elsewhere").read_bytes()
    assert list(tmp_path.iterdir()) == []


def score_in(
    folder: Path, data: str, model: Path, *arguments: str, before: str
) -> "subprocess.CompletedProcess[str]":
    """The real program in `folder`, in a shell that did something `before`."""
    command = [
        sys.executable,
        "-m",
        "fraudstream",
        "score",
        "--data",
        data,
        "--model",
        str(model),
        *arguments,
    ]
    return subprocess.run(
        ["bash", "-c", f"{before}; {shlex.join(command)}"],
        cwd=folder, env=without_settings() | {"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_file_needs_no_spark_no_kafka_no_database_and_no_scikit_learn(model: Path, data: Path) -> None:
    """For pipelines: a model of trees is walked by numpy alone."""
    heavy = ("pyspark", "confluent_kafka", "psycopg", "sqlalchemy", "sklearn")
    probe = (
        "import sys, fraudstream.cli.main as m\n"
        f"code = m.run(['score', '--data', {str(data)!r}, '--model', {str(model)!r}])\n"
        f"sys.exit(str([name for name in {heavy!r} if name in sys.modules] or int(code)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.stderr.splitlines()[-1] == "0", result.stderr[-500:]
    assert len(result.stdout.splitlines()) == ROWS
