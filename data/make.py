#!/usr/bin/env python3
"""Rebuilds the two tables in this folder from the scikit-learn wheel on PyPI; the bytes come out the same every time.

    python3 data/make.py            downloads the pinned wheel with pip, writes the files, checks their digests
    python3 data/make.py WHEEL      the same from a wheel that is already here
"""

import gzip
import hashlib
import io
import pathlib
import subprocess
import sys
import tempfile
import zipfile
import zlib

WHEEL = "scikit-learn==1.9.1"
HERE = pathlib.Path(__file__).resolve().parent
# Digests of the uncompressed tables: gzip's own bytes may differ between versions of zlib.
EXPECTED = {
    "digits.csv": "4faf08295f17d77e9a147ed5ea842ec501bd089cc6e61627f36ef15c1b48ea5b",
    "breast-cancer.csv": "a790c3c9690cdc89779f0ca1656e540d531d9253225a3003d78b3a28a1c58290",
}
PARTS = ["radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave_points",
         "symmetry", "fractal_dimension"]


def digits(wheel: zipfile.ZipFile) -> bytes:
    """1,797 rows of 64 integers 0 to 16 and the digit; the source has no header row."""
    rows = gzip.decompress(wheel.read("sklearn/datasets/data/digits.csv.gz")).decode().splitlines()
    header = ",".join([f"pixel_{i}" for i in range(64)] + ["label"])
    assert len(rows) == 1797 and all(row.count(",") == 64 for row in rows)
    return ("\n".join([header, *rows]) + "\n").encode()


def breast_cancer(wheel: zipfile.ZipFile) -> bytes:
    """569 rows of 30 measures and 0 = malignant, 1 = benign; the source's first row holds counts and class names."""
    rows = wheel.read("sklearn/datasets/data/breast_cancer.csv").decode().splitlines()
    assert rows[0] == "569,30,malignant,benign"
    header = ",".join([f"{kind}_{part}" for kind in ["mean", "error", "worst"] for part in PARTS] + ["label"])
    assert len(rows) == 570 and all(row.count(",") == 30 for row in rows[1:])
    return ("\n".join([header, *rows[1:]]) + "\n").encode()


def compress(table: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(table)
    return buffer.getvalue()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            path = pathlib.Path(sys.argv[1])
        else:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
            subprocess.run(command, check=True)
            (path,) = pathlib.Path(folder).glob("*.whl")
        with zipfile.ZipFile(path) as wheel:
            tables = {"digits.csv": digits(wheel), "breast-cancer.csv": breast_cancer(wheel)}
    for name, table in tables.items():
        digest = hashlib.sha256(table).hexdigest()
        if digest != EXPECTED[name]:
            sys.exit(f"{name}: digest {digest}, expected {EXPECTED[name]}")
        target = HERE / f"{name}.gz"
        packed = compress(table)
        target.write_bytes(packed)
        print(f"{target.name}: {len(packed)} bytes, sha256 {hashlib.sha256(packed).hexdigest()}, zlib {zlib.ZLIB_RUNTIME_VERSION}")


if __name__ == "__main__":
    main()
