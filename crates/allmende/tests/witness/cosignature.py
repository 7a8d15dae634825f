"""An independent look at a witness's cosignature: only C2SP signed-note and tlog-cosignature.

usage: cosignature.py NOTE VERIFIER_KEY

The Ed25519 signature is checked where `cryptography` is installed.
"""

import base64
import hashlib
import struct
import sys


def main(note, verifier_key):
    with open(note, encoding="utf-8") as file:
        text, _, signatures = file.read().partition("\n\n")
    text += "\n"
    name, key_id, key = verifier_key.split("+", 2)
    key = base64.b64decode(key, validate=True)
    assert len(key) == 33 and key[0] == 4, "a cosignature/v1 key"
    assert hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() == key_id, "the verifier key's own id"
    lines = [line.split(" ") for line in signatures.splitlines()]
    assert all(len(line) == 3 and line[0] == "—" for line in lines), "signature lines"
    blobs = [base64.b64decode(blob, validate=True) for _, signer, blob in lines if signer == name]
    (blob,) = [blob[4:] for blob in blobs if blob[:4].hex() == key_id]
    assert len(blob) == 72, "eight bytes of time and the signature"
    (time,) = struct.unpack(">Q", blob[:8])
    message = f"cosignature/v1\ntime {time}\n{text}".encode()
    verdict = "signature not checked: no cryptography package"
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        pass
    else:
        Ed25519PublicKey.from_public_bytes(key[1:]).verify(blob[8:], message)
        verdict = "signature good"
    print(f"{text.splitlines()[1]} entries, seen at {time}: {verdict}")


if __name__ == "__main__":
    main(*sys.argv[1:])
