//! The rule of the invariants: one that a comment or a document cites stands in the head of the file it is cited from.

use crate::comments::{Paragraph, Word};
use crate::graph::module_of;
use crate::paths::{Place, Tree, is_path};
use std::collections::{BTreeMap, BTreeSet};
use std::slice;

/// The numbers of the invariants that the heads of files state, by file.
#[derive(Debug)]
pub(crate) struct Stated(BTreeMap<String, BTreeSet<u32>>);

impl Stated {
    /// Of these files, as (path from the root, text).
    pub(crate) fn new<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        Self(files.map(|(name, text)| (name.to_owned(), stated(text))).collect())
    }

    /// Citations in the paragraphs of the file `from` of what nothing states. In a file of the library, a number that
    /// stands alone is its own invariant or, if it has none, that of the nearest `mod.rs`.
    pub(crate) fn unstated(&self, tree: &Tree, from: &str, paragraphs: &[Paragraph]) -> Vec<String> {
        let mut breaches = Vec::new();
        for word in paragraphs.iter().flat_map(Paragraph::words) {
            let cited = if word.in_backticks { cited_behind(word.after, is_path(word.text, true)) } else { Vec::new() };
            if !cited.is_empty()
                && let Some(sources) = self.sources(tree, from, &word)
            {
                breaches.extend(self.missing(word.line, &format!("`{}`", word.text), &cited, &sources));
            }
        }
        if from.starts_with("src/") && from.ends_with(".rs") {
            for paragraph in paragraphs {
                breaches.extend(self.own(from, paragraph));
            }
        }
        breaches
    }

    /// The files that `word` may mean; none if it is neither a path nor like a module's.
    fn sources(&self, tree: &Tree, from: &str, word: &Word<'_>) -> Option<Vec<String>> {
        if is_path(word.text, true) {
            return match tree.find(word.text, from, &[], true) {
                Place::At(path) => Some(vec![path]),
                Place::Nowhere => Some(Vec::new()),
                Place::Several(paths) => Some(paths),
            };
        }
        let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let path: Vec<String> = word.text.split("::").map(str::to_owned).collect();
        let is_meant = |name: &&String| module_of(name).ends_with(&path);
        path.iter().all(|part| is_name(part)).then(|| self.0.keys().filter(is_meant).cloned().collect())
    }

    /// What is wrong with citing the numbers `cited` from the only one of `sources`, called `name`.
    fn missing(&self, line: usize, name: &str, cited: &[u32], sources: &[String]) -> Vec<String> {
        let [source] = sources else {
            let found =
                if sources.is_empty() { "no file".to_owned() } else { format!("any of {}", sources.join(", ")) };
            return vec![format!("{line}: {name}, whose invariants are cited, is {found}")];
        };
        let lacks = |number: &&u32| !self.0.get(source).is_some_and(|stated| stated.contains(number));
        cited.iter().filter(lacks).map(|number| format!("{line}: the head of {source} states no I{number}")).collect()
    }

    /// What is wrong with the numbers that stand alone in `paragraph`.
    fn own(&self, from: &str, paragraph: &Paragraph) -> Vec<String> {
        let has_any = |name: &String| self.0.get(name).is_some_and(|stated| !stated.is_empty());
        let faces = from.match_indices('/').rev().map(|(end, _)| format!("{}/mod.rs", &from[..end]));
        let source = [from.to_owned()].into_iter().chain(faces).find(has_any);
        let mut breaches = Vec::new();
        let mut of_another = 0;
        for word in paragraph.words() {
            if word.in_backticks {
                of_another = cited_behind(word.after, is_path(word.text, true)).len();
            } else if let Some(number) = number_of(word.text) {
                if of_another > 0 {
                    of_another -= 1;
                    continue;
                }
                match &source {
                    Some(source) => breaches.extend(self.missing(word.line, "", &[number], slice::from_ref(source))),
                    None => breaches.push(format!("{}: no head states I{number}: `//! - I{number}. ..`", word.line)),
                }
            }
        }
        breaches
    }
}

/// The numbers of the invariants that the head of a file states, as `- I1. ..` or `I1. ..`.
fn stated(text: &str) -> BTreeSet<u32> {
    let head = text.lines().map_while(|line| line.strip_prefix("//!"));
    let items = head.map(|line| line.trim().trim_start_matches("- "));
    items.filter_map(|item| number_of(item.split_once('.')?.0)).collect()
}

/// The number of the invariant `I1`.
fn number_of(word: &str) -> Option<u32> {
    let digits = word.strip_prefix('I')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The invariants cited behind a name: `, I1`, `, I1, I2`, `, I1 and I2`; behind a path without the comma too.
fn cited_behind(after: &str, is_path: bool) -> Vec<u32> {
    let mut rest = match after.strip_prefix(", ") {
        Some(rest) => rest,
        None if is_path && after.starts_with(' ') => &after[1..],
        None => return Vec::new(),
    };
    let mut cited = Vec::new();
    loop {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let Some(number) = number_of(&rest[..end]) else { return cited };
        cited.push(number);
        let Some(next) = [", ", " and ", " to "].into_iter().find_map(|link| rest[end..].strip_prefix(link)) else {
            return cited;
        };
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comments::of_rust;
    use crate::source::Source;

    fn unstated(from: &str, text: &str) -> Vec<String> {
        let files = [
            ("src/worker/core.rs", "//! A.\n//!\n//! - I1. B.\n//! - I2. C.\nuse x; //! - I9. D."),
            ("src/worker/gate.rs", "//! I1. B."),
            ("src/topic/state.rs", "//! - I3. B."),
            ("src/map/state.rs", "//! - I4. B."),
            ("src/map/mod.rs", "//! - I5. B."),
            ("src/map/plain.rs", "//! A."),
            ("src/bare.rs", "//! A."),
        ];
        let tree = Tree::new(files.map(|(name, _)| name.to_owned()));
        Stated::new(files.into_iter()).unstated(&tree, from, &of_rust(&Source::new(text)))
    }

    #[test]
    fn what_is_stated_may_be_cited() {
        for (from, text) in [
            ("src/bare.rs", "// (`core`, I1), (`worker::core`, I1, I2), (`topic::state`, I3), (`map`, I5)"),
            ("docs/a.md", "// `gate.rs` I1, `worker/core.rs` I1 and I2; I7 is nothing here"),
            ("src/worker/gate.rs", "/// See I1."),
            ("src/worker/core.rs", "let a; // Pairs (I1, I2), and not in vain (`gate`, I1) behind I2"),
            ("src/map/plain.rs", "// (I5)"),
            ("src/worker/gate.rs", "// `Gate`, IO, `A`, I1"),
        ] {
            assert_eq!(unstated(from, text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_is_not_stated_is_named_with_its_line() {
        let of_bare = |text: &str| unstated("src/bare.rs", text);
        assert_eq!(of_bare("//\n// (`core`, I1, I3)"), ["2: the head of src/worker/core.rs states no I3"]);
        assert_eq!(of_bare("// (`core`, I9)"), ["1: the head of src/worker/core.rs states no I9"]);
        assert_eq!(of_bare("// `gate.rs` I2"), ["1: the head of src/worker/gate.rs states no I2"]);
        assert_eq!(of_bare("// (`gone`, I2)"), ["1: `gone`, whose invariants are cited, is no file"]);
        let several = "1: `state`, whose invariants are cited, is any of src/map/state.rs, src/topic/state.rs";
        assert_eq!(of_bare("// (`state`, I3)"), [several]);
    }

    #[test]
    fn a_file_states_what_it_cites_as_its_own() {
        assert_eq!(unstated("src/worker/gate.rs", "// (I2)"), ["1: the head of src/worker/gate.rs states no I2"]);
        assert_eq!(unstated("src/bare.rs", "// (I1)"), ["1: no head states I1: `//! - I1. ..`"]);
    }
}
