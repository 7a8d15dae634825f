"""Writes key-v1.txt with other implementations than the program's: argon2-cffi, PyNaCl's libsodium, cryptography."""
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as encrypt

seed, salt, nonce = bytes([42]) * 32, bytes([7]) * 16, bytes([9]) * 24
public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
head = (
    f"allmende-key v1\nclass: governance\npublic: ed25519:{public.hex()}\n"
    f"kdf: argon2id m=64 t=1 p=1\nsalt: {salt.hex()}\ncipher: xchacha20poly1305\nnonce: {nonce.hex()}\n"
)
key = hash_secret_raw(b"correct horse", salt, time_cost=1, memory_cost=64, parallelism=1, hash_len=32, type=Type.ID)
sealed = encrypt(seed, head.encode(), nonce, key)
print(f"{head}sealed: {sealed.hex()}")
