//! The rule of the paths: a path of the repository that a comment or a document names is there.

use crate::comments::Paragraph;
use crate::tables::{ELSEWHERE, NOT_PUBLISHED, TOP_FOLDERS};
use std::collections::BTreeSet;

const EXTENSIONS: [&str; 5] = [".rs", ".md", ".mjs", ".toml", ".json"];
/// Bare words with other endings are seldom paths: `.json` is a method too.
const BARE_EXTENSIONS: [&str; 3] = [".rs", ".md", ".mjs"];

/// Every file and folder of the repository, by its path from the root with `/`.
#[derive(Debug)]
pub(crate) struct Tree {
    paths: BTreeSet<String>,
}

/// Where a path that a text names leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// To this, from the root.
    At(String),
    Nowhere,
    /// It is the end of several paths.
    Several(Vec<String>),
}

impl Tree {
    pub(crate) fn new(paths: impl IntoIterator<Item = String>) -> Self {
        Self { paths: paths.into_iter().collect() }
    }

    /// The files and folders below `folder`, which ends in `/`.
    pub(crate) fn below(&self, folder: &str) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str).filter(move |path| path.starts_with(folder))
    }

    /// Whether the repository has `path`. A published package has less: what it leaves out is taken to be there.
    fn has(&self, path: &str) -> bool {
        let top = path.split('/').next().unwrap_or(path);
        self.paths.contains(path) || NOT_PUBLISHED.contains(&top) && !self.paths.contains(top)
    }

    /// Where `named` leads: from a folder around the file `from`, from `src/`, from one of the folders `beside`, or as
    /// the end of one path in `src/` if `by_end`.
    pub(crate) fn find(&self, named: &str, from: &str, beside: &[String], by_end: bool) -> Place {
        let named = named.trim_start_matches("./").trim_end_matches('/');
        let around = from.match_indices('/').rev().map(|(end, _)| from[..end].to_owned());
        let folders = beside.iter().rev().cloned().chain(around).chain([String::new(), "src".to_owned()]);
        let mut places = folders.filter_map(|folder| join(&folder, named));
        if let Some(place) = places.find(|place| self.has(place)) {
            return Place::At(place);
        }
        let end = format!("/{named}");
        let mut ends: Vec<String> =
            self.below("src/").filter(|path| by_end && path.ends_with(&end)).map(str::to_owned).collect();
        match ends.len() {
            0 => Place::Nowhere,
            1 => Place::At(ends.remove(0)),
            _ => Place::Several(ends),
        }
    }
}

/// The path of `named` from `folder`, if it stays in the repository.
fn join(folder: &str, named: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in named.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether `word` is a path of the repository or looks like one.
pub(crate) fn is_path(word: &str, in_backticks: bool) -> bool {
    let is_of_path = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let mut parts = word.trim_end_matches('/').split('/');
    // `PROJECT` stands for what it may be; `mod.rs` alone for a kind of file.
    let is_placeholder = |part: &str| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase());
    if !word.chars().all(is_of_path) || word.starts_with('/') || word == "mod.rs" || parts.any(is_placeholder) {
        return false;
    }
    if word.split('/').any(|part| ELSEWHERE.contains(&part)) {
        return false;
    }
    let ends = |extensions: &[&str]| {
        let stem = extensions.iter().find_map(|extension| word.strip_suffix(extension));
        stem.is_some_and(|stem| stem.ends_with(|c: char| c.is_ascii_alphanumeric()))
    };
    let (top, below) = word.split_once('/').unwrap_or_default();
    match in_backticks {
        true => {
            ends(&EXTENSIONS)
                || TOP_FOLDERS.contains(&top)
                || below.is_empty() && word.ends_with('/')
                || word.ends_with('/') && word.starts_with(|c: char| c.is_ascii_lowercase())
        }
        false => ends(&BARE_EXTENSIONS) || ends(&EXTENSIONS) && TOP_FOLDERS.contains(&top),
    }
}

/// Paths that the paragraphs of the file `from` name and that lead nowhere, or to more than one place.
pub(crate) fn lost(tree: &Tree, from: &str, paragraphs: &[Paragraph]) -> Vec<String> {
    let mut breaches = Vec::new();
    for paragraph in paragraphs {
        // A model stands beside the one before it, and nowhere else.
        let by_end = !["Model:", "Models:"].iter().any(|head| paragraph.text().starts_with(head));
        for_each_path(tree, from, paragraph, by_end, |line, named, place| match place {
            Place::At(_) => {}
            Place::Nowhere => breaches.push(format!("{line}: `{named}` leads nowhere")),
            Place::Several(places) => {
                breaches.push(format!("{line}: `{named}` may be any of {}: name it at length", places.join(", ")));
            }
        });
    }
    breaches
}

/// Calls `each` with every path that `paragraph` names: its line, what stands there, and where it leads. A path may
/// begin in the folder of one before it in the paragraph.
fn for_each_path(
    tree: &Tree,
    from: &str,
    paragraph: &Paragraph,
    by_end: bool,
    mut each: impl FnMut(usize, &str, Place),
) {
    let mut beside = Vec::new();
    for word in paragraph.words() {
        let named = word.text.split('#').next().unwrap_or_default();
        if !is_path(named, word.in_backticks) {
            continue;
        }
        let place = tree.find(named, from, &beside, by_end);
        if let Place::At(path) = &place {
            let folder =
                if named.ends_with('/') { path } else { path.rsplit_once('/').map_or("", |(folder, _)| folder) };
            beside.push(folder.to_owned());
        }
        each(word.line, named, place);
    }
}

/// Models that the tables of a document name, in a column of that name, and that are not in `loom-tests/tests/`.
pub(crate) fn lost_models(tree: &Tree, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut column = None;
    for (number, line) in text.lines().enumerate() {
        if !line.starts_with('|') {
            column = None;
            continue;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(column) = column else {
            column = Some(cells.iter().position(|cell| *cell == "models").unwrap_or(cells.len()));
            continue;
        };
        let models = cells.get(column).unwrap_or(&"").split('`').skip(1).step_by(2);
        let lost = models.filter(|model| !tree.has(&format!("loom-tests/tests/{model}.rs")));
        breaches.extend(lost.map(|model| format!("{}: there is no model `{model}`", number + 1)));
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comments::of_markdown;

    fn tree() -> Tree {
        let paths = [
            "README.md",
            "docs",
            "docs/a.md",
            "src",
            "src/lib.rs",
            "src/worker",
            "src/worker/baton.rs",
            "src/worker/lane.rs",
            "src/worker/room.rs",
            "src/map",
            "src/map/room.rs",
            "loom-tests",
            "loom-tests/tests",
            "loom-tests/tests/a_b.rs",
            "loom-tests/tests/lane.rs",
            "tests",
            "tests/c",
            "tests/c/d.mjs",
        ];
        Tree::new(paths.map(str::to_owned))
    }

    fn lost_in(text: &str) -> Vec<String> {
        lost(&tree(), "docs/a.md", &of_markdown(text))
    }

    #[test]
    fn paths_that_are_there_pass() {
        for text in [
            "`src/worker/lane.rs`, `worker/lane.rs`, (`a.md`), [it](../README.md#some-part), src/lib.rs.",
            "`worker/baton.rs`, `lane.rs`",
            "`src/map/`, `room.rs`",
            "`baton.rs`",
            "`map/room.rs` and `worker/room.rs`",
            "`tests/c/d.mjs`, in `tests/c/`, `map/`",
            "Model: `loom-tests/tests/lane.rs`,\n`a_b.rs`",
        ] {
            assert_eq!(lost_in(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_is_no_path_passes() {
        for text in [
            "`message.json()`, message.json() and `x.y`, `a::b`, `/a/b/`, `*.rs`, `.rs`, and/or, e.g. a/b",
            "`src/<target>.rs`, `src/{a,b}.rs`, `tests/PROJECT/run.mjs`, `target/x.rs`, `fuzz/corpus/x`",
            "https://example.com/src/x.rs and `https://example.com/x.rs`",
            "```\n// src/x.rs\n```",
        ] {
            assert_eq!(lost_in(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_is_named_with_its_line() {
        for named in ["src/x.rs", "worker/x.rs", "x.rs", "docs/x.md", "src/worker/core", "worker/x/", "tests/d.mjs"] {
            assert_eq!(lost_in(&format!("a\n`{named}`")), [format!("2: `{named}` leads nowhere")]);
        }
        assert_eq!(lost_in("see worker/x.rs."), ["1: `worker/x.rs` leads nowhere"]);
        assert_eq!(lost_in("[it](x.md)"), ["1: `x.md` leads nowhere"]);
        assert_eq!(lost_in("`worker/lane.rs`\n\n`room.rs`").len(), 1);
        assert_eq!(lost_in("Models: `loom-tests/tests/lane.rs`, `baton.rs`"), ["1: `baton.rs` leads nowhere"]);
    }

    #[test]
    fn what_may_be_several_files_is_named_at_length() {
        let expected = "1: `room.rs` may be any of src/map/room.rs, src/worker/room.rs: name it at length";
        assert_eq!(lost_in("`room.rs`"), [expected]);
    }

    #[test]
    fn what_a_package_leaves_out_is_taken_to_be_there() {
        let tree = Tree::new(["src".to_owned(), "src/lib.rs".to_owned()]);
        assert!(lost(&tree, "src/lib.rs", &of_markdown("`loom-tests/tests/a.rs`, `b.rs`")).is_empty());
        assert!(!lost(&tree, "src/lib.rs", &of_markdown("`tests/a.rs`")).is_empty());
    }

    #[test]
    fn models_in_tables_are_there() {
        let text = "| what | models |\n|---|---|\n| `x` | `lane`, `gone` |\n\n| a | b |\n|---|---|\n| `x` | `y` |\n";
        assert_eq!(lost_models(&tree(), text), ["3: there is no model `gone`"]);
    }
}
