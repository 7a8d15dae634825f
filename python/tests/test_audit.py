"""The golden log, and copies of it with something wrong, through the independent check."""

import base64
import hashlib
import json
import pathlib
import tempfile
import unittest

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import audit

GOLDEN = pathlib.Path(__file__).parents[2] / "crates/allmende-core/tests/golden"


def leaves():
    return (GOLDEN / "log-v1.jsonl").read_bytes().splitlines()


class GoldenLog(unittest.TestCase):
    def test_another_implementation_finds_the_same_root(self):
        computed, hub_key = audit.check_entries(leaves())
        self.assertEqual("sha256:" + computed.hex(), (GOLDEN / "log-v1.root").read_text().strip())
        self.assertEqual(len(hub_key), 32)

    def test_one_flipped_bit_anywhere_is_found(self):
        good = leaves()
        for index, leaf in enumerate(good):
            # Every byte would take minutes here; the program's own tests flip each.
            for place in range(index % 7, len(leaf), 97):
                bad = bytearray(leaf)
                bad[place] ^= 1
                changed = [*good[:index], bytes(bad), *good[index + 1 :]]
                try:
                    computed, _ = audit.check_entries(changed)
                except audit.Wrong:
                    continue
                # The hub's arrival time is not under the signer's signature: the root finds it.
                self.assertNotEqual("sha256:" + computed.hex(), (GOLDEN / "log-v1.root").read_text().strip())

    def test_a_dropped_or_swapped_statement_is_found(self):
        good = leaves()
        for changed in [good[1:], good[:5] + good[6:], [good[0], *reversed(good[1:])], [*good, good[-1]]]:
            try:
                computed, _ = audit.check_entries(changed)
            except audit.Wrong:
                continue
            # The last statement of a signer's chain can go unnoticed by the others: the root finds it.
            self.assertNotEqual("sha256:" + computed.hex(), (GOLDEN / "log-v1.root").read_text().strip())


class Folder(unittest.TestCase):
    """A folder of tiles whose log is signed with a key made here."""

    def setUp(self):
        self.key = Ed25519PrivateKey.generate()
        self.public = self.key.public_key().public_bytes_raw()
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        payload = audit.canonical(
            {"body": {"hub_key": f"ed25519:{self.public.hex()}"}, "kind": "log.opened", "previous": None, "seq": 0}
        ).encode()
        kind = "application/vnd.allmende.log.opened.v1+json"
        signature = self.key.sign(audit.pre_authentication_encoding(kind, payload))
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind,
            "signatures": [
                {"keyid": f"ed25519:{self.public.hex()}", "sig": base64.b64encode(signature).decode()}
            ],
        }
        self.leaf = audit.canonical({"arrived_at": 1, "envelope": envelope}).encode()
        self.write(self.leaf, audit.leaf_hash(self.leaf))

    def write(self, leaf, root):
        path = pathlib.Path(self.folder.name) / audit.tile_path(0, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(len(leaf).to_bytes(2, "big") + leaf)
        text = f"hub.example/x\n1\n{base64.b64encode(root).decode()}\n"
        key_id = hashlib.sha256(b"hub.example/x\n\x01" + self.public).digest()[:4]
        blob = base64.b64encode(key_id + self.key.sign(text.encode())).decode()
        note = f"{text}\n— hub.example/x {blob}\n"
        (pathlib.Path(self.folder.name) / "checkpoint").write_text(note)

    def test_a_good_folder_passes(self):
        self.assertEqual(audit.audit(self.folder.name, f"ed25519:{self.public.hex()}"), ("hub.example/x", 1))

    def test_another_hub_is_found(self):
        with self.assertRaisesRegex(audit.Wrong, "another key"):
            audit.audit(self.folder.name, "ed25519:" + "00" * 32)

    def test_another_root_is_found(self):
        self.write(self.leaf, bytes(32))
        with self.assertRaisesRegex(audit.Wrong, "root"):
            audit.audit(self.folder.name)

    def test_paths_of_bundles(self):
        self.assertEqual(audit.tile_path(0, 256), "tile/entries/000")
        self.assertEqual(audit.tile_path(1234067, 3), "tile/entries/x001/x234/067.p/3")


class Strict(unittest.TestCase):
    def test_only_the_canonical_spelling_is_read(self):
        self.assertEqual(audit.read_strict(b'{"a":1,"b":[true,"x"]}'), {"a": 1, "b": [True, "x"]})
        for bad in [b'{"b":1,"a":2}', b'{"a":1,"a":1}', b"1.0", b"9007199254740992", b"NaN", b"{} ", b'"\\u0041"', b"["]:
            with self.assertRaises(audit.Wrong, msg=bad):
                audit.read_strict(bad)

    def test_the_order_of_keys_is_that_of_utf16(self):
        # From RFC 8785: U+1F600 sorts before U+FB33.
        value = json.loads('{"\\ufb33":1,"\\ud83d\\ude00":2,"1":3}')
        self.assertEqual(audit.canonical(value), '{"1":3,"\U0001f600":2,"\ufb33":1}')


if __name__ == "__main__":
    unittest.main()
