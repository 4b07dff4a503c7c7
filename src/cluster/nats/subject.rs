//! The subjects on which nodes speak.
//!
//! Below the prefix, `b.<partition>` is for all and `n.<node>` for one node; `s` has no subscriber and is asked so that
//! the server says so, and `i` is where it answers. All that a node needs is leave to publish and to subscribe
//! `<prefix>.>`.
//!
//! A node's name is one token: letters, digits, `-` and `_` stand for themselves, and every other byte of its UTF-8 is
//! `=` with two hexadecimal digits, in upper case. `a.b c` is `a=2Eb=20c`. Different names have different tokens.

use crate::cluster::PARTITIONS;
use async_nats::Subject;

/// Longest prefix, in bytes. With the longest name of a node, a subject stays far below what a server takes as one line
/// (4,096 bytes).
const PREFIX_BYTES_MAX: usize = 255;

/// The subjects below one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Subjects {
    prefix: String,
    partitions: Vec<Subject>,
}

impl Subjects {
    /// Those below `prefix`, which must be [valid](is_prefix).
    pub(crate) fn new(prefix: &str) -> Subjects {
        let partitions = (0..PARTITIONS).map(|partition| Subject::from(format!("{prefix}.b.{partition}"))).collect();
        Subjects { prefix: prefix.to_owned(), partitions }
    }

    pub(crate) fn partition(&self, partition: u16) -> Subject {
        self.partitions[usize::from(partition)].clone()
    }

    /// All partitions.
    pub(crate) fn partitions(&self) -> String {
        format!("{}.b.*", self.prefix)
    }

    /// The partition of a subject that [`partitions`](Self::partitions) has matched, if there is one of that number.
    pub(crate) fn partition_of(&self, subject: &str) -> Option<u16> {
        let number = subject.strip_prefix(&self.prefix)?.strip_prefix(".b.")?;
        number.parse().ok().filter(|partition| *partition < PARTITIONS)
    }

    pub(crate) fn node(&self, name: &str) -> String {
        use std::fmt::Write;
        let mut subject = format!("{}.n.", self.prefix);
        for byte in name.bytes() {
            if is_plain(byte) {
                subject.push(byte.into());
            } else {
                write!(subject, "={byte:02X}").expect("a string takes everything");
            }
        }
        subject
    }

    /// Nobody's: the server answers at once that nobody listens.
    pub(crate) fn nobody(&self) -> String {
        format!("{}.s", self.prefix)
    }

    pub(crate) fn inboxes(&self) -> String {
        format!("{}.i", self.prefix)
    }
}

/// Whether subjects can begin so: tokens of letters, digits, `-` and `_` between dots.
pub(crate) fn is_prefix(prefix: &str) -> bool {
    let is_token = |token: &str| !token.is_empty() && token.bytes().all(is_plain);
    prefix.len() <= PREFIX_BYTES_MAX && prefix.split('.').all(is_token)
}

/// What stands for itself in a token.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_found_again_and_nothing_else_is_one() {
        let subjects = Subjects::new("a.b");
        for partition in 0..PARTITIONS {
            assert_eq!(subjects.partition_of(&subjects.partition(partition)), Some(partition));
        }
        for subject in ["a.b.b.64", "a.b.b.", "a.b.b.x", "a.b.b.-1", "a.b.n.1", "a.c.b.1", "a.b", "", "a.b.b.99999"] {
            assert_eq!(subjects.partition_of(subject), None, "{subject}");
        }
    }

    #[test]
    fn every_name_is_one_legal_token() {
        let subjects = Subjects::new("p");
        assert_eq!(subjects.node("web-1_A"), "p.n.web-1_A");
        assert_eq!(subjects.node("a.b c"), "p.n.a=2Eb=20c");
        assert_eq!(subjects.node("=2E"), "p.n.=3D2E");
        for name in ["*", ">", "é", "\u{0}", "\r\n", "a@b"] {
            let subject = subjects.node(name);
            let token = subject.strip_prefix("p.n.").unwrap();
            assert!(!token.is_empty() && token.bytes().all(|b| b == b'=' || b.is_ascii_alphanumeric()), "{subject}");
        }
    }

    #[test]
    fn a_prefix_has_no_empty_token_and_no_wildcard() {
        for prefix in ["fanfare", "a.b-c.d_1"] {
            assert!(is_prefix(prefix), "{prefix}");
        }
        for prefix in ["", ".", "a.", ".a", "a..b", "a.*", ">", "a b", "é", "a=b", &"a".repeat(256)] {
            assert!(!is_prefix(prefix), "{prefix}");
        }
    }
}
