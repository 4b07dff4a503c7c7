//! What the head of a loom model says of itself, and the names of the mutants that the library defines.
//!
//! A model is a file of `loom-tests/tests/`. Two kinds of comment lines in it are for this program:
//!
//! ```text
//! // loom: preemptions=3
//! // mutants: inbox.publish, inbox.sleep
//! ```
//!
//! The first is the preemption bound of its run, the second (any number of lines) names the weakenings it must catch.
//! The library names a weakening in the first argument of `ord!`, `fence!` or `mutated!`, as a string literal.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::shell::{Outcome, read, rust_files};

/// The bound of a model that states none: loom's authors found that two preemptions show nearly all faults.
const PREEMPTIONS_DEFAULT: usize = 2;

/// The macros whose first argument may name a mutant.
const MUTANT_MACROS: [&str; 3] = ["ord!", "fence!", "mutated!"];

/// One file of `loom-tests/tests/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) preemptions: usize,
    pub(crate) mutants: Vec<String>,
}

impl Model {
    /// All models below `folder`, by name.
    pub(crate) fn read_all(folder: &Path) -> Outcome<Vec<Self>> {
        rust_files(folder)?.into_iter().map(|(name, path)| Self::parse(name, &read(&path)?)).collect()
    }

    fn parse(name: String, text: &str) -> Outcome<Self> {
        let mut model = Self { name, preemptions: PREEMPTIONS_DEFAULT, mutants: Vec::new() };
        for line in text.lines() {
            let Some(comment) = line.strip_prefix("//") else { continue };
            let comment = comment.trim_start_matches(['/', '!']).trim();
            if let Some(setting) = comment.strip_prefix("loom:") {
                let bound = setting.trim().strip_prefix("preemptions=").and_then(|bound| bound.parse().ok());
                model.preemptions = bound
                    .ok_or_else(|| format!("{}: `{comment}` is not of the form `loom: preemptions=N`", model.name))?;
            }
            if let Some(list) = comment.strip_prefix("mutants:") {
                let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
                model.mutants.extend(names.map(str::to_owned));
            }
        }
        Ok(model)
    }
}

/// The names of all mutants that the files below `folder` define.
pub(crate) fn mutants_defined(folder: &Path) -> Outcome<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for (_, path) in rust_files(&folder)? {
            names.extend(mutants_in(&read(&path)?));
        }
        folders.extend(subfolders(&folder)?);
    }
    Ok(names)
}

fn subfolders(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let unreadable = |error| format!("cannot read {}: {error}", folder.display());
    let entries = folder.read_dir().map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

/// The names of the mutants in one source text; what comment lines say does not count.
fn mutants_in(text: &str) -> Vec<String> {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code = text.lines().filter(is_code).collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for name in MUTANT_MACROS {
        for (at, _) in code.match_indices(name) {
            let longer = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let argument = code[at + name.len()..].trim_start().strip_prefix(['(', '{', '[']);
            let literal = argument.and_then(|argument| argument.trim_start().strip_prefix('"'));
            if let (false, Some((literal, _))) = (longer, literal.and_then(|literal| literal.split_once('"'))) {
                names.push(literal.to_owned());
            }
        }
    }
    names
}

/// What is wrong between the mutants that the library defines and those that `models` list; empty when nothing is.
pub(crate) fn mismatches(defined: &BTreeSet<String>, models: &[Model]) -> Vec<String> {
    let listed: BTreeSet<&String> = models.iter().flat_map(|model| &model.mutants).collect();
    let unlisted = defined.iter().filter(|name| !listed.contains(name));
    let mut complaints: Vec<String> =
        unlisted.map(|name| format!("mutant `{name}` of src/ is listed by no model")).collect();
    for model in models {
        if model.mutants.is_empty() {
            complaints.push(format!("model `{}` lists no mutant: nothing shows that it can fail", model.name));
        }
        let unknown = model.mutants.iter().filter(|name| !defined.contains(*name));
        complaints
            .extend(unknown.map(|name| format!("model `{}` lists mutant `{name}`, which src/ lacks", model.name)));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, text: &str) -> Model {
        Model::parse(name.to_owned(), text).expect("the head is well-formed")
    }

    #[test]
    fn a_head_is_read() {
        let head = "//! Wakes.\n// loom: preemptions=3\n// mutants: a.b, c\n//! mutants: d\n#![cfg(fanfare_loom)]\n";
        let read = model("wake", head);
        assert_eq!(read.preemptions, 3);
        assert_eq!(read.mutants, ["a.b", "c", "d"]);
    }

    #[test]
    fn a_head_may_say_nothing() {
        let read = model("quiet", "//! Loom: a word.\nlet x = \"// mutants: no\";\n");
        assert_eq!(read, Model { name: "quiet".into(), preemptions: PREEMPTIONS_DEFAULT, mutants: vec![] });
    }

    #[test]
    fn a_bound_that_is_no_number_is_refused() {
        for line in ["// loom: preemptions=many", "// loom: 3", "// loom:"] {
            assert!(Model::parse("wrong".to_owned(), line).is_err(), "{line}");
        }
    }

    #[test]
    fn mutants_are_found_in_code_alone() {
        let text = r#"
            //! `ord!("in.docs", Release)`
            // fence!("in.comment")
            self.state.store(1, ord!("store", Release)); self.tail.load(ord!( "load",  Acquire));
            crate::sync::fence!(
                "fence",
            );
            if mutated!("skip") { record!("other.macro", 1) }
            macro_rules! ord { ($name:literal, $o:ident) => { other } }
            ord!($name, Relaxed); fence!(SeqCst);
        "#;
        let found: BTreeSet<String> = mutants_in(text).into_iter().collect();
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["fence", "load", "skip", "store"]);
    }

    #[test]
    fn listed_and_defined_mutants_must_be_the_same() {
        let defined: BTreeSet<String> = ["a", "b"].map(str::to_owned).into();
        let both = model("both", "// mutants: a, b");
        assert_eq!(mismatches(&defined, std::slice::from_ref(&both)), Vec::<String>::new());

        let complaints = |models: &[Model]| mismatches(&defined, models).join("\n");
        assert!(complaints(&[model("one", "// mutants: a")]).contains("`b` of src/ is listed by no model"));
        assert!(complaints(&[both.clone(), model("more", "// mutants: c")]).contains("lists mutant `c`"));
        assert!(complaints(&[both, model("none", "")]).contains("`none` lists no mutant"));
    }
}
