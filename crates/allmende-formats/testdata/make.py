"""Writes the parquet files of this folder with pyarrow, and their rows as lines of JSON. Run it here."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq

rows = []
for i in range(200):
    rows.append(
        {
            "i": i * 1_000_000_007 if i % 7 else None,
            "u8": i % 256,
            "f": i / 4,
            "b": i % 3 == 0,
            "text": None if i % 11 == 0 else f"row {i % 5} ä",
            "tags": None if i % 13 == 0 else [f"t{j}" if j != 1 else None for j in range(i % 4)],
            "s": {"a": i, "b": None if i % 2 else "x"},
            "deep": [[j] * (j % 3) for j in range(i % 3)],
            "many": [{"k": j, "v": [j]} for j in range(i % 3)],
            "when": datetime.datetime(2026, 11, 22, 19, 0, i % 60, 1000 * (i % 2)),
            "day": datetime.date(1969, 12, 31) + datetime.timedelta(days=i),
            "money": decimal.Decimal(i - 100) / 100,
        }
    )
schema = pa.schema(
    [
        ("i", pa.int64()),
        ("u8", pa.uint8()),
        ("f", pa.float64()),
        ("b", pa.bool_()),
        ("text", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("s", pa.struct([("a", pa.int32()), ("b", pa.string())])),
        ("deep", pa.list_(pa.list_(pa.int64()))),
        ("many", pa.list_(pa.struct([("k", pa.int64()), ("v", pa.list_(pa.int64()))]))),
        ("when", pa.timestamp("us")),
        ("day", pa.date32()),
        ("money", pa.decimal128(9, 2)),
    ]
)
table = pa.Table.from_pylist(rows, schema=schema)
more = {"row_group_size": 60, "data_page_size": 256, "write_batch_size": 16}
pq.write_table(table, "plain.parquet", compression="none", use_dictionary=False, **more)
pq.write_table(table, "snappy.parquet", compression="snappy", **more)
pq.write_table(table, "gzip_v2.parquet", compression="gzip", data_page_version="2.0", **more)
delta = {"i": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY", "f": "BYTE_STREAM_SPLIT", "b": "RLE"}
delta["s.b"] = "DELTA_LENGTH_BYTE_ARRAY"
pq.write_table(
    table, "lz4_delta.parquet", compression="lz4", use_dictionary=False, column_encoding=delta, data_page_version="2.0", **more
)
pq.write_table(table.slice(0, 10), "zstd.parquet", compression="zstd")


def shown(value):
    if isinstance(value, datetime.datetime):
        text = value.strftime("%Y-%m-%dT%H:%M:%S")
        return text + (f".{value.microsecond:06}" if value.microsecond else "")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return f"{value:.2f}"
    if isinstance(value, dict):
        return {k: shown(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shown(v) for v in value]
    return value


with open("rows.jsonl", "w") as out:
    for row in rows:
        out.write(json.dumps(shown(row), ensure_ascii=False) + "\n")
