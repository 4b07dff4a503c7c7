//! What is known of one presence: a JSON object with its ref in front.
//!
//! It is encoded once, when it is tracked, and from then on copied as bytes: into every diff, state and list. The key
//! lies in front of it, and the ref at a place that does not vary, so neither needs memory of its own.

#[cfg(not(fanfare_loom))]
use crate::message::payload::ParseError;
use crate::sync::{OnceLock, Text, unique_number};
use serde::Serialize;
#[cfg(not(fanfare_loom))]
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use smallvec::SmallVec;
use std::cell::Cell;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::{Deref, Range};

/// Letters of a ref: those of base64url.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Numbers that a thread takes at a time.
const BLOCK: u64 = 4096;
const REF_KEY: &str = "phx_ref";
const PREV_KEY: &str = "phx_ref_prev";
/// What stands in front of the ref.
const OWN_HEAD: &str = "{\"phx_ref\":\"";
/// Where the ref lies.
const REF: Range<usize> = 12..28;
/// What stands behind the ref in a meta that has a previous one, and where that lies.
const PREV_HEAD: &[u8] = b",\"phx_ref_prev\":\"";
const PREV: Range<usize> = 46..62;

/// What names one meta: 16 characters, unique in the cluster, without a meaning.
///
/// Half of it is drawn when the process starts (48 bits), half is a counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhxRef([u8; 16]);

impl PhxRef {
    /// One that was never given before, to any meta or caller.
    pub fn unique() -> PhxRef {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        thread_local! {
            /// The next number of this thread's block.
            static NEXT: Cell<u64> = const { Cell::new(0) };
        }
        let process = PROCESS.get_or_init(|| {
            if cfg!(fanfare_stepped) {
                return 0;
            }
            let seconds =
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
            // The hasher's keys are random; the rest is for a system that has no randomness yet.
            std::hash::RandomState::new().hash_one((seconds, std::process::id()))
        });
        let number = NEXT.get();
        let number = if number.is_multiple_of(BLOCK) { unique_number() * BLOCK } else { number };
        // The last of a block brings the next call to a multiple, and so to a new block; the first call of a thread
        // finds zero.
        NEXT.set(number + 1);
        let mut letters = [0; 16];
        for (half, mut bits) in [(0, *process), (8, number)] {
            for place in (half..half + 8).rev() {
                letters[place] = LETTERS[(bits & 63) as usize];
                bits >>= 6;
            }
        }
        PhxRef(letters)
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("letters are ASCII")
    }
}

impl fmt::Display for PhxRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PhxRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq<str> for PhxRef {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

/// The meta of one presence: the JSON object that was tracked, with `phx_ref` in it, and after an update
/// `phx_ref_prev`. Cheap to clone.
///
/// The key lies in front of the JSON, in one piece of memory: whoever looks a key up has its meta at hand.
#[derive(Clone)]
pub struct Meta {
    text: Text,
    /// The length of the key, and [`REMOTE`].
    key_bytes: u32,
}

/// Set in the length of a key: the presence is that of another node.
const REMOTE: u32 = 1 << 31;

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key() && self.json() == other.json()
    }
}

impl Eq for Meta {}

impl Meta {
    /// The key by which it is present.
    pub fn key(&self) -> &str {
        &self.text[..(self.key_bytes & !REMOTE) as usize]
    }

    /// As JSON.
    pub fn json(&self) -> &str {
        &self.text[(self.key_bytes & !REMOTE) as usize..]
    }

    /// Where its key begins.
    pub(crate) fn address(&self) -> usize {
        self.text.as_ptr().addr()
    }

    /// Whether the presence is that of another node.
    pub fn is_remote(&self) -> bool {
        self.key_bytes & REMOTE != 0
    }

    /// One of another node, as it came. `None`: it is none.
    #[cfg(not(fanfare_loom))]
    pub(crate) fn remote(key: &str, json: &str) -> Option<Self> {
        let is_ref =
            |text: &[u8]| text.iter().take(16).all(|letter| LETTERS.contains(letter)) && text.get(16) == Some(&b'"');
        let own = json.strip_prefix(OWN_HEAD)?.as_bytes();
        let prev = own.get(17..).and_then(|rest| rest.strip_prefix(PREV_HEAD));
        let is_sound = is_ref(own) && prev.is_none_or(is_ref) && json.ends_with('}');
        let key_bytes = u32::try_from(key.len()).ok().filter(|bytes| bytes & REMOTE == 0)?;
        (is_sound && serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok()).then(|| {
            let text = [key, json].concat();
            Meta { text: text.into(), key_bytes: key_bytes | REMOTE }
        })
    }

    /// Its ref.
    pub fn phx_ref(&self) -> PhxRef {
        self.ref_at(REF)
    }

    /// The ref that it took the place of: the last one that was told to anybody, or that was never told if none was.
    pub fn phx_ref_prev(&self) -> Option<PhxRef> {
        let has_prev = self.json().as_bytes().get(PREV.start - PREV_HEAD.len()..PREV.start) == Some(PREV_HEAD);
        has_prev.then(|| self.ref_at(PREV))
    }

    fn ref_at(&self, place: Range<usize>) -> PhxRef {
        PhxRef(self.json().as_bytes()[place].try_into().expect("16 bytes"))
    }

    /// As a value.
    ///
    /// # Errors
    ///
    /// [`ParseError::Mismatch`]: it is not such a value.
    #[cfg(not(fanfare_loom))]
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ParseError> {
        serde_json::from_str(self.json()).map_err(|error| ParseError::Mismatch(error.to_string().into()))
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.key(), self.json())
    }
}

/// Metas of one key. One of them, as most keys have, takes no memory of its own.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Metas(SmallVec<[Meta; 1]>);

impl Metas {
    /// One more.
    pub(crate) fn push(&mut self, meta: Meta) {
        self.0.push(meta);
    }
}

impl Deref for Metas {
    type Target = [Meta];
    fn deref(&self) -> &[Meta] {
        &self.0
    }
}

impl From<Meta> for Metas {
    fn from(meta: Meta) -> Self {
        Metas(SmallVec::from_buf([meta]))
    }
}

impl<'a> IntoIterator for &'a Metas {
    type Item = &'a Meta;
    type IntoIter = std::slice::Iter<'a, Meta>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Debug for Metas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// Why something can't be a meta.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetaError {
    /// It is no JSON object.
    NotAnObject,
    /// It can't be encoded; what its `Serialize` said.
    Encode(Text),
    /// It is longer than [`meta_bytes_max`](crate::presence::Builder::meta_bytes_max).
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
}

impl fmt::Display for MetaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetaError::NotAnObject => f.write_str("a meta must be a JSON object"),
            MetaError::Encode(why) => write!(f, "the meta cannot be encoded: {why}"),
            MetaError::TooLong { bytes, max } => write!(f, "the meta has {bytes} bytes; {max} are allowed"),
        }
    }
}

impl std::error::Error for MetaError {}

thread_local! {
    /// Memory to encode in, kept from one call to the next.
    static SCRATCH: Cell<[Vec<u8>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// What a user tracks, encoded: all that is missing is the key and the refs.
#[derive(Debug)]
pub struct Fields([Vec<u8>; 2]);

impl Fields {
    /// Of a value, which must be an object of at most `max` bytes.
    pub fn of(value: &impl Serialize, max: usize) -> Result<Self, MetaError> {
        let mut fields = Fields(SCRATCH.take());
        let json = &mut fields.0[0];
        json.clear();
        let encode = |error: serde_json::Error| MetaError::Encode(error.to_string().into());
        serde_json::to_writer(&mut *json, value).map_err(encode)?;
        if json.first() != Some(&b'{') {
            return Err(MetaError::NotAnObject);
        }
        // Whatever it says of refs is not so: they are ours.
        if json.windows(REF_KEY.len() + 1).any(|window| window == b"\"phx_ref") {
            let mut map: Map<String, Value> = serde_json::from_slice(json).map_err(encode)?;
            map.remove(REF_KEY);
            map.remove(PREV_KEY);
            json.clear();
            serde_json::to_writer(&mut *json, &map).map_err(encode)?;
        }
        if json.len() > max {
            return Err(MetaError::TooLong { bytes: json.len(), max });
        }
        Ok(fields)
    }

    /// By a key, with a ref, and the one that it takes the place of.
    pub fn with(&mut self, key: &str, own: PhxRef, prev: Option<PhxRef>) -> Meta {
        let [fields, text] = &mut self.0;
        text.clear();
        text.extend_from_slice(key.as_bytes());
        text.extend_from_slice(OWN_HEAD.as_bytes());
        text.extend_from_slice(&own.0);
        text.push(b'"');
        if let Some(prev) = prev {
            text.extend_from_slice(PREV_HEAD);
            text.extend_from_slice(&prev.0);
            text.push(b'"');
        }
        if fields.len() > 2 {
            text.push(b',');
        }
        text.extend_from_slice(&fields[1..]);
        let text = std::str::from_utf8(text).expect("JSON is UTF-8");
        Meta { text: text.into(), key_bytes: key.len() as u32 }
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        /// Bytes that are kept.
        const KEPT: usize = 4096;
        if self.0.iter().all(|scratch| scratch.capacity() <= KEPT) {
            SCRATCH.set(std::mem::take(&mut self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta(value: &Value, prev: Option<PhxRef>) -> Meta {
        Fields::of(value, 1000).unwrap().with("key", PhxRef::unique(), prev)
    }

    #[test]
    fn a_meta_has_its_ref_and_its_fields() {
        let (own, prev) = (PhxRef::unique(), PhxRef::unique());
        for (value, fields) in [(json!({}), ""), (json!({ "a": 1, "b": [2] }), r#","a":1,"b":[2]"#)] {
            let meta = Fields::of(&value, 1000).unwrap().with("key", own, None);
            assert_eq!(meta.json(), format!(r#"{{"phx_ref":"{own}"{fields}}}"#));
            assert_eq!((meta.key(), meta.phx_ref(), meta.phx_ref_prev()), ("key", own, None));
            let meta = Fields::of(&value, 1000).unwrap().with("key", own, Some(prev));
            assert_eq!(meta.json(), format!(r#"{{"phx_ref":"{own}","phx_ref_prev":"{prev}"{fields}}}"#));
            assert_eq!((meta.phx_ref(), meta.phx_ref_prev()), (own, Some(prev)));
        }
    }

    #[test]
    fn refs_that_the_user_gives_are_replaced() {
        let given = json!({ "phx_ref": "mine", "phx_ref_prev": "too", "x": "\"phx_ref" });
        let value: Value = meta(&given, None).parse().unwrap();
        assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["phx_ref", "x"]);
        assert_ne!(value["phx_ref"], "mine");
        // Fields of an update that are those of the old meta.
        let old = meta(&json!({ "a": 1 }), Some(PhxRef::unique()));
        let new = meta(&old.parse().unwrap(), Some(old.phx_ref()));
        assert_eq!(new.phx_ref_prev(), Some(old.phx_ref()));
    }

    #[test]
    fn only_objects_within_the_limit_are_metas() {
        assert!(matches!(Fields::of(&json!([1]), 100), Err(MetaError::NotAnObject)));
        assert!(matches!(Fields::of(&"x", 100), Err(MetaError::NotAnObject)));
        assert!(matches!(Fields::of(&json!({ "a": "xxxx" }), 11), Err(MetaError::TooLong { bytes: 12, max: 11 })));
        assert!(Fields::of(&json!({ "a": "xxxx" }), 12).is_ok());
    }

    #[test]
    fn refs_are_never_given_twice() {
        let count = 3 * BLOCK as usize;
        let refs = |count| (0..count).map(|_| PhxRef::unique()).collect::<Vec<PhxRef>>();
        let spawn = |()| crate::sync::thread::Builder::new().spawn(move || refs(count)).unwrap();
        let threads = [(); 4].map(spawn);
        let mut all: Vec<PhxRef> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4 * count);
        assert!(all.iter().all(|one| one.as_str()[..8] == all[0].as_str()[..8]));
    }
}
