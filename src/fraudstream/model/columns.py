"""Converts a column of a file to the type of our field: the values, which rows are bad, and why. Never raises."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraudstream import cells
from fraudstream.arrays import Floats, Truths
from fraudstream.features.events import INSTANT
from fraudstream.schema import (
    FIRST_INSTANT,
    ID_LENGTH,
    KINDS,
    LABELLED_AT,
    LAST_INSTANT,
    SKEW,
    TEXT_LENGTH,
    parse_instant,
)

IDENTIFIERS = ("transaction_id", "user_id", "merchant_id")
RISK = "risk"
"""A column in files of scores, in addition to the fields of the schema."""
ZONE = r"(Z|z|[+-]\d{2}(:?\d{2})?)$"
PLAIN_INSTANT = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}(:?\d{2})?)?$"
"""What Arrow parses in bulk; other forms of ISO 8601 are parsed one by one with `parse_instant`."""
SPAN = tuple(np.datetime64(limit.replace(tzinfo=None), "us") for limit in (FIRST_INSTANT, LAST_INSTANT))
"""The first and last timestamps that Python can represent; Arrow also has others."""
TRUTHS = {text: bool(truth) for text, truth in cells.TRUTHS.items()}


def converted(ours: str, values: pa.ChunkedArray) -> tuple[Any, Truths, str]:
    """Values in our type, which ones are bad, and why."""
    if ours == RISK:
        risk = _numbers(values)
        return pa.array(np.nan_to_num(risk)), ~((risk >= 0) & (risk <= 1)), "not a number from 0 to 1"
    if ours == LABELLED_AT:
        return _label_times(values)
    match KINDS[ours]:
        case "float":
            return _amounts(values)
        case "instant":
            return _instants(values)
        case "truth":
            return _truths(values)
        case "text":
            return _texts(ours, values)


def _strings(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values as strings. Whole floats lose the `.0` that pandas adds to integers in a column with nulls; NaN is null."""
    if pa.types.is_floating(values.type):
        return pa.chunked_array([_digits(values.cast(pa.float64()).to_numpy())])
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_decimal(kind):
        texts = [None if v is None else cells.to_text(v) for v in values.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    try:
        return values.cast(pa.string())
    except pa.ArrowException:
        return pa.chunked_array([[None if v is None else str(v) for v in values.to_pylist()]], pa.string())


def _digits(numbers: Floats) -> pa.Array:
    """Floats as `cells.to_text` has them, each whatever the others are: Arrow writes 1e+15 and 0.00001."""
    absent = np.isnan(numbers)
    whole = (np.abs(numbers) < cells.EXACT) & (numbers == np.trunc(numbers))
    text = pa.array(np.where(whole, numbers, 0).astype(np.int64), mask=absent).cast(pa.string())
    others = ~(whole | absent)
    return pc.replace_with_mask(text, others, pa.array(map(repr, numbers[others].tolist()), pa.string()))


def _numbers(values: pa.ChunkedArray) -> Floats:
    """The values as doubles, NaN if there is no number."""
    if (
        pa.types.is_floating(values.type)
        or pa.types.is_integer(values.type)
        or pa.types.is_decimal(values.type)
    ):
        return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    text = pc.utf8_trim_whitespace(_strings(values))
    # Arrow's parser returns the nearest double; that of pandas misses it for a third of numbers with 16 digits.
    number = pc.fill_null(pc.match_substring_regex(text, f"^{cells.NUMBER}$"), fill_value=False)
    parsed = pc.if_else(number, text, pa.scalar(None, pa.string())).cast(pa.float64())
    return np.asarray(parsed.to_numpy(), dtype=np.float64)


def _amounts(values: pa.ChunkedArray) -> tuple[Any, Truths, str]:
    numbers = _numbers(values)
    bad = ~(np.isfinite(numbers) & (numbers > 0))
    return pa.array(np.where(bad, 1.0, numbers)), bad, "not a number above 0"


def _truths(values: pa.ChunkedArray) -> tuple[Any, Truths, str]:
    text = pc.utf8_lower(pc.utf8_trim_whitespace(_strings(values))).to_pandas()
    known = text.map(TRUTHS)
    bad = (known.isna() & text.notna() & (text != "")).to_numpy(np.bool_)
    truths = pa.array([None if v is None or v != v else bool(v) for v in known], pa.bool_())  # noqa: PLR0124 - NaN
    return truths, bad, "not 0 or 1, true or false, yes or no"


def _texts(ours: str, values: pa.ChunkedArray) -> tuple[Any, Truths, str]:
    text = _strings(values)
    length, most = pc.fill_null(pc.utf8_length(text), 0), ID_LENGTH if ours in IDENTIFIERS else TEXT_LENGTH
    bad = pc.or_(pc.greater(length, most), pc.fill_null(pc.match_substring(text, "\0"), fill_value=False))
    why = f"longer than {most} characters, or with a NUL"
    other = ""
    if pa.types.is_floating(values.type):
        inexact = pc.greater_equal(pc.abs(values.cast(pa.float64())), cells.EXACT)
        bad = pc.or_(bad, pc.fill_null(inexact, fill_value=False))
        why = f"infinite, {why}, or {cells.INEXACT}"
    elif other := _other(values):
        bad, why = values.is_valid(), other
    if ours in ("transaction_id", "user_id"):
        bad, why = pc.or_(bad, pc.equal(length, 0)), other or f"empty, {why}"
    elif ours == "fraud_scenario":
        pass  # null if there is none
    elif ours == "merchant_id":
        text = pc.if_else(pc.equal(length, 0), None, text)
    else:
        text = pc.fill_null(text, "")  # required in a message; here it is one more value, "unknown"
    return text, bad.to_numpy(), why


def _other(values: pa.ChunkedArray) -> str:
    """Why the values of this column are no strings, in the words of `produce`; empty if they are, or there are none."""
    try:
        for value in values.drop_null()[:1]:
            cells.to_text(value.as_py())
    except (ValueError, OverflowError) as error:  # a date beyond the year 9999 overflows
        return str(error)
    return ""


def _instants(values: pa.ChunkedArray) -> tuple[Any, Truths, str]:
    """Timestamps in UTC, whatever zone each row has; in bulk if Arrow can, else one by one."""
    why = "not an ISO 8601 date and time"
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        if pa.types.is_date(values.type):
            values = values.cast(pa.timestamp("s" if pa.types.is_date32(values.type) else "ms"))
        instants = _within_years(values).cast(pa.timestamp("us", values.type.tz), safe=False).cast(INSTANT)
        return instants, instants.is_null().to_numpy(), why
    text = pc.utf8_trim_whitespace(_strings(values)).combine_chunks()
    out = np.full(len(text), np.datetime64("NaT", "us"))
    plain = pc.fill_null(pc.match_substring_regex(text, PLAIN_INSTANT), fill_value=False).to_numpy(
        zero_copy_only=False
    )
    zoned = pc.fill_null(pc.match_substring_regex(text, ZONE), fill_value=False).to_numpy(
        zero_copy_only=False
    )
    # A date alone ends in what looks like a zone (2024-05-01), so only plain timestamps are parsed in bulk.
    for part, target in ((plain & zoned, INSTANT), (plain & ~zoned, pa.timestamp("us"))):
        try:
            out[part] = text.filter(pa.array(part)).cast(target).cast(pa.int64()).to_numpy().view("M8[us]")
        except pa.ArrowException:
            plain = plain & ~part  # one of them is invalid, such as month 13: find it
    # The year 0, or 10000 because of the zone.
    out[(out < SPAN[0]) | (out > SPAN[1])] = np.datetime64("NaT", "us")
    for i in np.flatnonzero(~plain):
        out[i] = _instant(text[i].as_py())
    return pa.array(out).cast(INSTANT), np.isnat(out), why


def _label_times(values: pa.ChunkedArray) -> tuple[Any, Truths, str]:
    """Timestamps up to now, null if there is none."""
    instants, bad, why = _instants(values)
    absent = pc.equal(pc.utf8_trim_whitespace(_strings(values)), "").fill_null(True)
    ahead = pc.greater(instants, pa.scalar(datetime.now(UTC) + SKEW, instants.type)).fill_null(False)
    bad = (bad & ~_flags(absent)) | _flags(ahead)
    return instants, bad, f"{why}, or in the future"


def _flags(column: "pa.Array | pa.ChunkedArray") -> Truths:
    return np.asarray(column, dtype=np.bool_)


def _within_years(instants: pa.ChunkedArray) -> pa.ChunkedArray:
    """Replace timestamps outside the years 1 to 9999 in UTC with null: Arrow accepts them, but wraps around in conversions."""
    if instants.type.unit == "ns":
        return instants  # 64 bits of nanoseconds range from 1677 to 2262
    # `datetime.timestamp` would round the last microsecond up to the year 10000.
    first, last = (limit.astype(f"M8[{instants.type.unit}]").astype(np.int64).item() for limit in SPAN)
    ticks = instants.cast(pa.int64())
    known = pc.and_(pc.greater_equal(ticks, first), pc.less_equal(ticks, last))
    return pc.if_else(known, instants, pa.scalar(None, instants.type))


def _instant(text: str | None) -> np.datetime64:
    try:
        return np.datetime64(parse_instant(text).replace(tzinfo=None), "us")
    except ValueError:
        return np.datetime64("NaT", "us")
