"""One column of a file in the type of our field: the values, which rows are bad, and why. Nothing is raised."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraudstream import cells
from fraudstream.features.profiles import INSTANT
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

if TYPE_CHECKING:
    from numpy.typing import NDArray

IDENTIFIERS = ("transaction_id", "user_id", "merchant_id")
RISK = "risk"
"""Of a file of scores, beside the fields of the schema."""
ZONE = r"(Z|z|[+-]\d{2}(:?\d{2})?)$"
PLAIN_INSTANT = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}(:?\d{2})?)?$"
"""What Arrow reads in bulk; other forms of ISO 8601 go one by one through `parse_instant`."""
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
TRUTHS = {text: bool(truth) for text, truth in cells.TRUTHS.items()} | {"0.0": False, "1.0": True}
"""The usual spellings, and what a column of numbers with gaps becomes."""


def converted(ours: str, values: pa.ChunkedArray) -> tuple[Any, "NDArray[np.bool_]", str]:
    """Values in our type, where they are bad, and why they are."""
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
    """As text. Floats that are whole numbers lose their `.0`, which pandas gives to integers beside a null; NaN is one."""
    if pa.types.is_floating(values.type):
        doubles = values.cast(pa.float64())
        values = pc.if_else(pc.is_nan(doubles), pa.scalar(None, values.type), values)
        numbers = doubles.to_numpy()
        whole = np.isfinite(numbers) & (numbers == np.trunc(numbers)) & (np.abs(numbers) < 2**53)
        if (whole | np.isnan(numbers)).all():
            values = pa.chunked_array([pa.array(np.where(whole, numbers, 0).astype(np.int64), mask=~whole)])
    try:
        return values.cast(pa.string())
    except pa.ArrowException:
        return pa.chunked_array([[None if v is None else str(v) for v in values.to_pylist()]], pa.string())


def _numbers(values: pa.ChunkedArray) -> "NDArray[np.float64]":
    """As doubles, NaN where there is no number."""
    if (
        pa.types.is_floating(values.type)
        or pa.types.is_integer(values.type)
        or pa.types.is_decimal(values.type)
    ):
        return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    text = pc.utf8_trim_whitespace(_strings(values))
    # Arrow's parser gives the nearest double; that of pandas misses it for a third of numbers with 16 digits.
    number = pc.fill_null(pc.match_substring_regex(text, NUMBER), fill_value=False)
    parsed = pc.if_else(number, text, pa.scalar(None, pa.string())).cast(pa.float64())
    return np.asarray(parsed.to_numpy(), dtype=np.float64)


def _amounts(values: pa.ChunkedArray) -> tuple[Any, "NDArray[np.bool_]", str]:
    numbers = _numbers(values)
    bad = ~(np.isfinite(numbers) & (numbers > 0))
    return pa.array(np.where(bad, 1.0, numbers)), bad, "not a number above 0"


def _truths(values: pa.ChunkedArray) -> tuple[Any, "NDArray[np.bool_]", str]:
    text = pc.utf8_lower(pc.utf8_trim_whitespace(_strings(values))).to_pandas()
    known = text.map(TRUTHS)
    bad = (known.isna() & text.notna() & (text != "")).to_numpy(np.bool_)
    truths = pa.array([None if v is None or v != v else bool(v) for v in known], pa.bool_())  # noqa: PLR0124 - NaN
    return truths, bad, "not 0 or 1, true or false, yes or no"


def _texts(ours: str, values: pa.ChunkedArray) -> tuple[Any, "NDArray[np.bool_]", str]:
    text = _strings(values)
    length, most = pc.fill_null(pc.utf8_length(text), 0), ID_LENGTH if ours in IDENTIFIERS else TEXT_LENGTH
    bad = pc.or_(pc.greater(length, most), pc.fill_null(pc.match_substring(text, "\0"), fill_value=False))
    why = f"longer than {most} characters, or with a NUL"
    if pa.types.is_floating(values.type):
        infinite = pc.fill_null(pc.is_inf(values.cast(pa.float64())), fill_value=False)
        bad, why = pc.or_(bad, infinite), f"infinite, {why}"
    if ours in ("transaction_id", "user_id"):
        bad, why = pc.or_(bad, pc.equal(length, 0)), f"empty, {why}"
    elif ours == "fraud_scenario":
        pass  # null where there is none
    elif ours == "merchant_id":
        text = pc.if_else(pc.equal(length, 0), None, text)
    else:
        text = pc.fill_null(text, "")  # required in a message; here one more value, "not known"
    return text, bad.to_numpy(), why


def _instants(values: pa.ChunkedArray) -> tuple[Any, "NDArray[np.bool_]", str]:
    """Instants in UTC, whatever zone each row has; in bulk where Arrow can, else one by one."""
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
    # A date alone ends in what looks like a zone (2024-05-01): only plain instants are taken in bulk.
    for part, target in ((plain & zoned, INSTANT), (plain & ~zoned, pa.timestamp("us"))):
        try:
            out[part] = text.filter(pa.array(part)).cast(target).cast(pa.int64()).to_numpy().view("M8[us]")
        except pa.ArrowException:
            plain = plain & ~part  # one of them has a thirteenth month: find it
    for i in np.flatnonzero(~plain):
        out[i] = _instant(text[i].as_py())
    return pa.array(out).cast(INSTANT), np.isnat(out), why


def _label_times(values: pa.ChunkedArray) -> tuple[Any, "NDArray[np.bool_]", str]:
    """Instants up to now, null where there is none."""
    instants, bad, why = _instants(values)
    absent = pc.equal(pc.utf8_trim_whitespace(_strings(values)), "").fill_null(True)
    ahead = pc.greater(instants, pa.scalar(datetime.now(UTC) + SKEW, instants.type)).fill_null(False)
    bad = (bad & ~_flags(absent)) | _flags(ahead)
    return instants, bad, f"{why}, or in the future"


def _flags(column: "pa.Array | pa.ChunkedArray") -> "NDArray[np.bool_]":
    return np.asarray(column, dtype=np.bool_)


def _within_years(instants: pa.ChunkedArray) -> pa.ChunkedArray:
    """Null where an instant lies outside the years 1 to 9999 of UTC: Arrow holds those, and wraps around where it converts them."""
    if instants.type.unit == "ns":
        return instants  # 64 bits of them reach from 1677 to 2262
    unit = {"s": 1, "ms": 1_000, "us": 1_000_000}[instants.type.unit]
    first, last = (int(year.timestamp()) * unit for year in (FIRST_INSTANT, LAST_INSTANT))
    ticks = instants.cast(pa.int64())
    known = pc.and_(pc.greater_equal(ticks, first), pc.less_equal(ticks, last))
    return pc.if_else(known, instants, pa.scalar(None, instants.type))


def _instant(text: str | None) -> np.datetime64:
    try:
        return np.datetime64(parse_instant(text).replace(tzinfo=None), "us")
    except ValueError:
        return np.datetime64("NaT", "us")
