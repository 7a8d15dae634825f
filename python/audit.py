"""An independent check of a log's form: written apart from the program, from the public formats alone.

    python audit.py FOLDER [--key ed25519:HEX]     a log exported as C2SP tlog-tiles

It checks, for every entry: strict canonical JSON, the DSSE signature, the signer's own chain of sequence numbers and
predecessors; and over all of them the RFC 6962 root and the log's signature on the checkpoint. It does not judge what
the statements mean: `allmende ledger verify` replays the rules too.
"""

import argparse
import base64
import hashlib
import json
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_SAFE_INTEGER = 2**53 - 1
TILE_WIDTH = 256
# Statements about a party's own keys are signed once and copied: they have a chain of their own.
KEY_KINDS = {"party.registered", "key.delegated", "key.rotated", "key.revoked"}


class Wrong(Exception):
    """The first thing that is wrong."""


def unique(pairs):
    """Refuses an object that has a key twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Wrong("a key appears twice")
    return result


def no_float(text):
    raise Wrong(f"{text} is not an integer")


def canonical(value):
    """RFC 8785 for the values that are allowed: no floats, integers that every reader keeps exact."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise Wrong(f"{value} is beyond 2^53 - 1")
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ",".join(canonical(v) for v in value) + "]"
    keys = sorted(value, key=lambda k: k.encode("utf-16-be"))
    return "{" + ",".join(f"{canonical(k)}:{canonical(value[k])}" for k in keys) + "}"


def read_strict(data):
    """The value of bytes that must be their own canonical form."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=unique, parse_float=no_float, parse_constant=no_float)
    except ValueError as error:
        raise Wrong(f"not JSON: {error}") from None
    if canonical(value).encode() != data:
        raise Wrong("not in canonical form")
    return value


def public_key(text):
    kind, _, digits = text.partition(":")
    if kind != "ed25519":
        raise Wrong(f"{text} is not an Ed25519 key")
    return bytes.fromhex(digits)


def verify_signature(key, signature, message, what):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Wrong(f"{what}: the signature is false") from None


def pre_authentication_encoding(payload_type, payload):
    """What a DSSE signature is over."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def check_entry(leaf, chains):
    """Checks one entry and returns its statement."""
    record = read_strict(leaf)
    envelope = record["envelope"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    if len(envelope["signatures"]) != 1:
        raise Wrong("not exactly one signature")
    signature = envelope["signatures"][0]
    key = public_key(signature["keyid"])
    message = pre_authentication_encoding(envelope["payloadType"], payload)
    verify_signature(key, base64.b64decode(signature["sig"], validate=True), message, "the statement")
    statement = read_strict(payload)
    if envelope["payloadType"] != f"application/vnd.allmende.{statement['kind']}.v1+json":
        raise Wrong("the payload type belongs to another kind")
    chain = (key, statement["kind"] in KEY_KINDS)
    expected = chains.get(chain, (0, None))
    if (statement["seq"], statement["previous"]) != expected:
        raise Wrong("it does not follow its signer's previous statement")
    chains[chain] = (statement["seq"] + 1, "sha256:" + hashlib.sha256(payload).hexdigest())
    return record, statement


def leaf_hash(leaf):
    return hashlib.sha256(b"\x00" + leaf).digest()


def root(hashes):
    """RFC 6962's tree hash, by its recursive definition."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root(hashes[:split]) + root(hashes[split:])).digest()


def check_entries(leaves):
    """Checks all entries in order; returns the root and the hub's key, which the first entry names."""
    chains, hub_key, last = {}, None, 0
    for index, leaf in enumerate(leaves):
        try:
            record, statement = check_entry(leaf, chains)
            if record["arrived_at"] < last:
                raise Wrong("it arrived before the entry in front of it")
            last = record["arrived_at"]
            if index == 0:
                if statement["kind"] != "log.opened":
                    raise Wrong("a log begins with log.opened")
                hub_key = public_key(statement["body"]["hub_key"])
        except (Wrong, KeyError, TypeError, ValueError) as error:
            raise Wrong(f"entry {index}: {error}") from None
    return root([leaf_hash(leaf) for leaf in leaves]), hub_key


def tile_path(index, width):
    """The path of an entry bundle, as C2SP tlog-tiles writes it."""
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    name = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
    return f"tile/entries/{name}" + (f".p/{width}" if width < TILE_WIDTH else "")


def read_bundles(folder, size):
    """The entries of a folder of tiles."""
    leaves = []
    while len(leaves) < size:
        width = min(TILE_WIDTH, size - len(leaves))
        path = tile_path(len(leaves) // TILE_WIDTH, width)
        data = (folder / path).read_bytes()
        for _ in range(width):
            length = int.from_bytes(data[:2], "big")
            if len(data) < 2 + length:
                raise Wrong(f"{path} is too short")
            leaves.append(data[2 : 2 + length])
            data = data[2 + length :]
        if data:
            raise Wrong(f"{path} is too long")
    return leaves


def check_checkpoint(note, key):
    """Checks the log's signature on a signed note; returns origin, size and root."""
    text, _, signatures = note.partition("\n\n")
    text += "\n"
    origin, size, stated = text.split("\n")[:3]
    # The key's id in a signed note: the first bytes of a digest over name, algorithm and key.
    key_id = hashlib.sha256(origin.encode() + b"\n\x01" + key).digest()[:4]
    for line in signatures.splitlines():
        _, name, blob = line.split(" ")
        blob = base64.b64decode(blob, validate=True)
        if name == origin and blob[:4] == key_id:
            verify_signature(key, blob[4:], text.encode(), "the checkpoint")
            return origin, int(size), base64.b64decode(stated, validate=True)
    raise Wrong("the checkpoint is not signed by the hub's key")


def audit(folder, key=None):
    """Checks an exported log; returns its origin and size."""
    folder = pathlib.Path(folder)
    note = (folder / "checkpoint").read_text()
    leaves = read_bundles(folder, int(note.split("\n")[1]))
    computed, hub_key = check_entries(leaves)
    if key is not None and public_key(key) != hub_key:
        raise Wrong("the log was opened by another key than the one given")
    origin, size, stated = check_checkpoint(note, hub_key)
    if computed != stated:
        raise Wrong("the entries do not give the checkpoint's root")
    return origin, size


def main():
    parser = argparse.ArgumentParser(description="Checks an exported log from its bytes alone.")
    parser.add_argument("folder")
    parser.add_argument("--key", help="the hub's key as it stands in the signed terms, ed25519:…")
    arguments = parser.parse_args()
    try:
        origin, size = audit(arguments.folder, arguments.key)
    except (Wrong, OSError, ValueError) as error:
        print(f"wrong: {error}", file=sys.stderr)
        return 1
    print(f"{origin}: {size} entries, every signature, chain and hash holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
