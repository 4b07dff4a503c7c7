//! Topics: their names, their table, and who uses them.

/// A number by which topics are spread: the same on every node, whatever its version (FNV-1a, folded).
pub(crate) fn spread(topic: &str) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = topic.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step);
    hash ^ hash >> 32
}

pub(crate) mod table;
