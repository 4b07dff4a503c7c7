//! Which serializer speaks the version that a client asks for.
//!
//! A version is that of Semantic Versioning 2.0.0: three numbers, maybe with a pre-release and a build. An entry of the
//! table stands for one MAJOR.MINOR from its first release on, which pre-releases of MAJOR.MINOR.0 come before.

use super::{Serializer, V1, V2, VersionError};
use crate::sync::Arc;

/// The version of a client that names none.
const UNNAMED: &str = "1.0.0";

/// A table of serializers by version. The default has [`V1`] for 1.0.x and [`V2`] for 2.0.x.
#[derive(Debug, Clone)]
pub struct Versions(Vec<VersionEntry>);

#[derive(Debug, Clone)]
struct VersionEntry {
    major: u64,
    minor: u64,
    serializer: Arc<dyn Serializer>,
}

impl Default for Versions {
    fn default() -> Self {
        Versions::empty().with(2, 0, V2).with(1, 0, V1)
    }
}

impl Versions {
    /// A table without entries.
    pub fn empty() -> Versions {
        Versions(Vec::new())
    }

    /// Puts a serializer in front of the others: it speaks all versions `major.minor.x`.
    #[must_use]
    pub fn with(mut self, major: u64, minor: u64, serializer: impl Serializer) -> Versions {
        self.0.insert(0, VersionEntry { major, minor, serializer: Arc::new(serializer) });
        self
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The serializers, in the order of the table.
    pub(crate) fn serializers(&self) -> impl Iterator<Item = &Arc<dyn Serializer>> {
        self.0.iter().map(|entry| &entry.serializer)
    }

    /// The first entry that speaks `vsn`, as its place in the table and its serializer. A client that names no version
    /// means 1.0.0.
    ///
    /// The place is below [`len`](Self::len), and what a serializer made can be kept under it.
    ///
    /// # Errors
    ///
    /// [`VersionError`] if `vsn` is not a version of three numbers, or nothing speaks it.
    pub fn select(&self, vsn: Option<&str>) -> Result<(usize, Arc<dyn Serializer>), VersionError> {
        let vsn = vsn.unwrap_or(UNNAMED);
        let version = Version::parse(vsn).ok_or_else(|| VersionError::Malformed(vsn.into()))?;
        let mut entries = self.0.iter().enumerate();
        let found = entries.find(|(_, entry)| version.is_of(entry.major, entry.minor));
        let (at, entry) = found.ok_or_else(|| VersionError::Unsupported(vsn.into()))?;
        Ok((at, Arc::clone(&entry.serializer)))
    }
}

/// What matters of a version.
struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    is_pre: bool,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let (text, build) = split(text, '+');
        let (numbers, pre) = split(text, '-');
        let is_build = build.is_none_or(|build| build.split('.').all(is_identifier));
        let is_pre = |part: &str| is_identifier(part) && (!is_digits(part) || !has_leading_zero(part));
        if !is_build || !pre.is_none_or(|pre| pre.split('.').all(is_pre)) {
            return None;
        }
        let mut parts = numbers.split('.').map(number);
        let version =
            Version { major: parts.next()??, minor: parts.next()??, patch: parts.next()??, is_pre: pre.is_some() };
        parts.next().is_none().then_some(version)
    }

    /// Whether it is `major.minor.0` or a later `major.minor.x`.
    fn is_of(&self, major: u64, minor: u64) -> bool {
        (self.major, self.minor) == (major, minor) && !(self.patch == 0 && self.is_pre)
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, behind)| (before, Some(behind)))
}

fn is_identifier(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_digits(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

fn has_leading_zero(part: &str) -> bool {
    part.len() > 1 && part.starts_with('0')
}

fn number(part: &str) -> Option<u64> {
    if is_digits(part) && !has_leading_zero(part) { part.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_semantic_version() {
        for good in ["1.0.0", "0.10.200", "1.0.0-rc.1", "1.0.0-0a.x-y+01.b", "1.0.0+b-c", "18446744073709551615.0.0"] {
            assert!(Version::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "1..0",
            "a.0.0",
            "1.0.x",
            "01.0.0",
            "1.00.0",
            "1.0.0-",
            "1.0.0+",
            "1.0.0-01",
            "1.0.0-a..b",
            "1.0.0-ä",
            "1.0.0+a+b",
            " 1.0.0",
            "1.0.0 ",
            "+1.0.0",
            "1.+0.0",
            "-1.0.0",
            "1.0.0-a b",
            "18446744073709551616.0.0",
            "1.0.0\n",
            "１.0.0",
        ] {
            assert!(Version::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_pre_release_comes_before_its_release() {
        let is_of = |text: &str| Version::parse(text).unwrap().is_of(2, 0);
        assert!(is_of("2.0.0") && is_of("2.0.0+b") && is_of("2.0.7") && is_of("2.0.1-rc.1"));
        assert!(!is_of("2.0.0-rc.1") && !is_of("2.1.0") && !is_of("2.1.0-rc.1") && !is_of("1.0.0"));
    }
}
