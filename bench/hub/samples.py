"""Files to send, made on the spot: the same for the same seed."""

import json
import struct
from pathlib import Path

import numpy

PIECE_BYTES = 16 << 20


def random(path: Path, size: int, seed: int) -> None:
    """Bytes that neither pack nor repeat."""
    generator = numpy.random.default_rng(seed)
    with open(path, "wb") as out:
        for at in range(0, size, PIECE_BYTES):
            out.write(generator.bytes(min(PIECE_BYTES, size - at)))


def structured(path: Path, size: int, seed: int) -> None:
    """A safetensors file as models have it, of about `size` bytes.

    Of every eight layers four are BF16, two are F32 that was widened from BF16, so that half of its bytes are zeros, one
    is all zeros, and one is the same as the first, as tied embeddings are.
    """
    generator = numpy.random.default_rng(seed)
    layer = size // 32
    names, tensors, at = [], {}, 0
    for i in range(32):
        kind = ("BF16", "BF16", "BF16", "BF16", "F32", "F32", "zeros", "first")[i % 8]
        dtype = "F32" if kind in ("F32", "zeros") else "BF16"
        count = layer // (4 if dtype == "F32" else 2)
        length = count * (4 if dtype == "F32" else 2)
        name = f"model.layers.{i:02}.weight"
        tensors[name] = {"dtype": dtype, "shape": [count], "data_offsets": [at, at + length]}
        names.append((kind, count))
        at += length
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    first = b""
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(header)) + header)
        for kind, count in names:
            if kind == "zeros":
                data = bytes(4 * count)
            elif kind == "first":
                data = first
            else:
                bits = (generator.standard_normal(count, dtype=numpy.float32) * numpy.float32(0.02)).view(numpy.uint32)
                rounded = bits >> 16
                data = (rounded << 16).tobytes() if kind == "F32" else rounded.astype(numpy.uint16).tobytes()
                first = first or data
            out.write(data)


def inserted(source: Path, path: Path, size: int, seed: int) -> None:
    """The same file with `size` other bytes in its middle."""
    middle = source.stat().st_size // 2
    with open(source, "rb") as whole, open(path, "wb") as out:
        left = middle
        while left:
            piece = whole.read(min(PIECE_BYTES, left))
            out.write(piece)
            left -= len(piece)
        out.write(numpy.random.default_rng(seed).bytes(size))
        while piece := whole.read(PIECE_BYTES):
            out.write(piece)


def small(folder: Path, count: int, seed: int) -> None:
    """Texts of 200 to 2,000 bytes, a hundred in a folder."""
    generator = numpy.random.default_rng(seed)
    for n in range(count):
        place = folder / f"part-{n // 100:04}"
        place.mkdir(parents=True, exist_ok=True)
        words = generator.integers(0, 1 << 32, size=int(generator.integers(20, 200)))
        text = json.dumps({"id": n, "text": " ".join(f"{word:08x}" for word in words)})
        (place / f"{n:06}.json").write_text(text + "\n")
