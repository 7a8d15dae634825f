//! HMAC with SHA-256, RFC 2104: one keyed hash for every address and token that this hub signs.

use allmende_core::digest::Digest;
use zeroize::Zeroizing;

/// Bytes of SHA-256's block.
const BLOCK_BYTES: usize = 64;

/// The code of `parts`, one after the other, under `key` of any length.
#[must_use]
pub fn sha256(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut block = Zeroizing::new([0; BLOCK_BYTES]);
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Digest::of(key).0);
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner_key = Zeroizing::new(block.map(|byte| byte ^ 0x36));
    let outer_key = Zeroizing::new(block.map(|byte| byte ^ 0x5c));
    let inner = Digest::of_parts(&[&[&inner_key[..]], parts].concat());
    Digest::of_parts(&[&outer_key[..], &inner.0])
}

#[cfg(test)]
mod tests {
    use allmende_core::digest::to_hex;

    use super::sha256;

    #[test]
    fn the_codes_are_those_of_the_standard() {
        for (key, text, code) in [
            // RFC 4231, test case 1: its key of 20 bytes, and the same filled with zeros, as HMAC does.
            (vec![0x0b; 20], "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                [[0x0b; 20].as_slice(), &[0; 12]].concat(),
                "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            // Computed with Python's hmac over a key of 32 bytes 0x0b.
            (vec![0x0b; 32], "Hi There", "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7"),
            // RFC 4231, test case 6: a key longer than a block.
            (
                vec![0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(to_hex(&sha256(&key, &[text.as_bytes()]).0), code);
            let (head, tail) = text.as_bytes().split_at(3);
            assert_eq!(to_hex(&sha256(&key, &[head, b"", tail]).0), code);
        }
    }
}
