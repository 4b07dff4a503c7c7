//! The mask of a client's frame (RFC 6455, section 5.3): byte i of the payload is XORed with byte i mod 4 of the key.

/// Takes the mask off `bytes`, which begin at byte `offset` of the payload.
pub(crate) fn unmask(bytes: &mut [u8], key: [u8; 4], offset: u64) {
    let mut key = key;
    // The remainder is below 4.
    key.rotate_left((offset % 4) as usize);
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_that_of_the_rfc() {
        for length in 0..40_u8 {
            for offset in 0..9 {
                let plain: Vec<u8> = (0..length).collect();
                let key = [1, 20, 60, 255];
                let mut bytes = plain.clone();
                unmask(&mut bytes, key, offset);
                for (at, byte) in bytes.iter().enumerate() {
                    assert_eq!(*byte, plain[at] ^ key[(at + offset as usize) % 4]);
                }
            }
        }
    }

    #[test]
    fn the_rfcs_example_says_hello() {
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        unmask(&mut bytes, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&bytes, b"Hello");
    }
}
