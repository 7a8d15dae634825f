"""An independent judge of a log's files: only the specifications and Python's standard library.

usage: judge.py FOLDER VERIFIER_KEY RECEIPT

Recomputes every hash tile and the root (RFC 6962, C2SP tlog-tiles), reads the checkpoint (C2SP signed-note,
tlog-checkpoint) and the receipt (C2SP tlog-proof). The Ed25519 signature is checked where `cryptography` is installed.
"""

import base64
import hashlib
import os
import struct
import sys


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf_hash(data):
    return sha256(b"\0", data)


def tree(hashes):
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return sha256(b"\1", tree(hashes[:split]), tree(hashes[split:]))


def tile_path(level, number, width):
    digits = f"{number % 1000:03}"
    number //= 1000
    while number:
        digits = f"x{number % 1000:03}/" + digits
        number //= 1000
    return f"tile/{level}/{digits}" + ("" if width == 256 else f".p/{width}")


def parse_note(note):
    text, _, signatures = note.partition("\n\n")
    origin, size, root = text.split("\n")
    lines = [line.split(" ") for line in signatures.splitlines()]
    assert all(len(line) == 3 and line[0] == "—" for line in lines), "signature lines"
    return text + "\n", origin, int(size), base64.b64decode(root), [(l[1], base64.b64decode(l[2])) for l in lines]


def check_signature(text, lines, verifier_key):
    name, key_id, key = verifier_key.split("+", 2)
    key = base64.b64decode(key)
    assert sha256(name.encode(), b"\n", key)[:4].hex() == key_id, "the verifier key's own id"
    signature = next(blob for n, blob in lines if n == name and blob[:4].hex() == key_id)[4:]
    assert key[0] == 1 and len(signature) == 64
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return "signature not checked: no cryptography package"
    Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature, text.encode())
    return "signature good"


def root_from_path(leaf, index, size, path):
    """RFC 9162, 2.1.3.2."""
    fn, sn, hash_ = index, size - 1, leaf
    for sibling in path:
        assert sn, "path too long"
        if fn & 1 or fn == sn:
            hash_ = sha256(b"\1", sibling, hash_)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            hash_ = sha256(b"\1", hash_, sibling)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0, "path too short"
    return hash_


def main(folder, verifier_key, receipt):
    def read(path):
        with open(os.path.join(folder, path), "rb") as file:
            return file.read()

    text, origin, size, root, lines = parse_note(read("checkpoint").decode())
    verdict = check_signature(text, lines, verifier_key)
    entries = []
    for first in range(0, size, 256):
        width = min(256, size - first)
        bundle = read(tile_path("entries", first // 256, width))
        count = 0
        while bundle:
            (length,) = struct.unpack(">H", bundle[:2])
            entries.append(bundle[2 : 2 + length])
            bundle, count = bundle[2 + length :], count + 1
        assert count == width, "entries in a bundle"
    hashes = [leaf_hash(entry) for entry in entries]
    assert tree(hashes) == root, "the root"
    level, row = 0, hashes
    while row:
        for first in range(0, len(row), 256):
            tile = row[first : first + 256]
            assert read(tile_path(level, first // 256, len(tile))) == b"".join(tile), f"tile {level} {first // 256}"
        row = [tree(row[i : i + 256]) for i in range(0, len(row) - 255, 256)]
        level += 1

    with open(receipt, encoding="utf-8") as file:
        head, _, note = file.read().partition("\n\n")
    kind, extra, index, *path = head.split("\n")
    assert kind == "c2sp.org/tlog-proof@v1" and extra.startswith("extra ") and index.startswith("index ")
    entry, index = base64.b64decode(extra[6:]), int(index[6:])
    _, proof_origin, proof_size, proof_root, _ = parse_note(note)
    assert (proof_origin, entry) == (origin, entries[index]), "the receipt's entry"
    path = [base64.b64decode(line) for line in path]
    assert root_from_path(leaf_hash(entry), index, proof_size, path) == proof_root == root, "the receipt's path"
    print(f"{origin}: {size} entries, {verdict}, receipt of entry {index} good")


if __name__ == "__main__":
    main(*sys.argv[1:])
