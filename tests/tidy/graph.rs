//! The files of the library, and which of them name items of which. Paths are followed through re-exports to the file
//! that defines the item.

use crate::shipped::shipped;
use crate::source::{Source, Use, blank, is_identifier};
use std::collections::{HashMap, HashSet};

/// Re-exports of re-exports that a path is followed through. More means that two of them point at each other.
const REEXPORTS_MAX: usize = 8;

/// Words that begin the definition of an item.
const DEFINE: [&str; 10] = ["struct", "enum", "union", "trait", "fn", "const", "static", "type", "mod", "macro_rules"];

/// The library.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) files: Vec<File>,
    modules: HashMap<Vec<String>, usize>,
}

/// A file of it.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    module: Vec<String>,
    source: Source,
    /// The code without its `use` declarations.
    bare: Source,
    uses: Vec<Use>,
    /// Names of the modules that it declares and that have a file.
    children: Vec<String>,
    defined: HashSet<String>,
}

/// That a file names an item of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) line: usize,
    /// The path from the root of the crate, as it stands there.
    pub(crate) path: Vec<String>,
    /// The file that defines what it leads to.
    pub(crate) to: usize,
    /// It only passes on an item of a module below.
    pub(crate) is_face: bool,
}

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    file: usize,
    /// To the file's module, not to an item in it.
    is_module: bool,
}

impl Library {
    /// The files, given as (path from the root, source), that the first one of name `src/lib.rs` leads to by its `mod`
    /// declarations. So a file that only tests declare is none of them.
    pub(crate) fn new(sources: &[(String, Source)]) -> Self {
        let all: HashMap<Vec<String>, &(String, Source)> =
            sources.iter().map(|source| (module_of(&source.0), source)).collect();
        let mut library = Self { files: Vec::new(), modules: HashMap::new() };
        let mut waiting = vec![Vec::new()];
        while let Some(module) = waiting.pop() {
            let Some((name, source)) = all.get(&module) else { continue };
            let file = File::new(name, module.clone(), source);
            waiting.extend(file.children.iter().map(|child| below(&module, child)));
            library.files.push(file);
        }
        library.files.sort_by(|a, b| a.name.cmp(&b.name));
        let modules = library.files.iter().enumerate().map(|(number, file)| (file.module.clone(), number));
        library.modules = modules.collect();
        for number in 0..library.files.len() {
            let module = library.files[number].module.clone();
            let has_file = |child: &String| library.modules.contains_key(&below(&module, child));
            let children = library.files[number].children.iter().filter(|child| has_file(child)).cloned().collect();
            library.files[number].children = children;
        }
        library
    }

    /// Everything of other files that the file of that number names, in the order of lines.
    pub(crate) fn references(&self, number: usize) -> Vec<Reference> {
        let file = &self.files[number];
        let mut found = Vec::new();
        for import in &file.uses {
            self.follow_use(file, import, &mut found);
        }
        for keyword in ["crate", "self", "super"].into_iter().chain(file.children.iter().map(String::as_str)) {
            for (at, path) in file.inline_paths(keyword) {
                let path = self.absolute(file, at, &path);
                self.add(file, at, path, &mut found);
            }
        }
        found.retain(|reference| reference.to != number);
        found.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
        found.dedup();
        found
    }

    fn add(&self, file: &File, at: usize, path: Option<Vec<String>>, found: &mut Vec<Reference>) {
        let Some(path) = path else { return };
        if let Some(target) = self.resolve(&path, 0) {
            found.push(Reference { line: file.source.line_of(at), path, to: target.file, is_face: false });
        }
    }

    fn follow_use(&self, file: &File, import: &Use, found: &mut Vec<Reference>) {
        let segments = split(import.path.trim_end_matches("::*"));
        let Some(path) = self.absolute(file, import.at, &segments) else { return };
        let Some(target) = self.resolve(&path, 0) else { return };
        let line = file.source.line_of(import.at);
        let to = &self.files[target.file];
        let is_below = to.module.starts_with(&file.module) && to.module != file.module;
        let is_face = import.is_public && is_below && !file.uses_name_of(import, to);
        // A module that is imported to name what lies in it: the items count, not the module.
        let before = found.len();
        if target.is_module && import.name != "*" {
            for (at, tail) in file.inline_paths(&import.name) {
                let path = path.iter().cloned().chain(tail.into_iter().skip(1)).collect();
                self.add(file, at, Some(path), found);
            }
        }
        if found.len() == before {
            found.push(Reference { line, path, to: target.file, is_face });
        }
    }

    /// The path `segments` that stands at `at` in `file`, from the root of the crate; none if it leads elsewhere.
    fn absolute(&self, file: &File, at: usize, segments: &[String]) -> Option<Vec<String>> {
        let mut base = file.module.clone();
        base.extend(file.inline_modules(at));
        let mut segments = segments;
        match segments.first()?.as_str() {
            "crate" => {
                base.clear();
                segments = &segments[1..];
            }
            "self" => segments = &segments[1..],
            "super" => {}
            first => {
                let is_child = self.modules.contains_key(&below(&base, first));
                return is_child.then(|| base.into_iter().chain(segments.iter().cloned()).collect());
            }
        }
        while segments.first().is_some_and(|segment| segment == "super") {
            base.pop()?;
            segments = &segments[1..];
        }
        base.extend(segments.iter().cloned());
        Some(base)
    }

    /// Where `path`, from the root of the crate, leads.
    fn resolve(&self, path: &[String], followed: usize) -> Option<Target> {
        let mut file = *self.modules.get(&[][..])?;
        for (length, name) in path.iter().enumerate() {
            if let Some(&child) = self.modules.get(&path[..=length]) {
                file = child;
                continue;
            }
            let item = Target { file, is_module: false };
            let here = &self.files[file];
            if here.defined.contains(name) || followed == REEXPORTS_MAX {
                return Some(item);
            }
            let passed_on = here.uses.iter().filter(|import| import.name == *name || import.name == "*");
            for import in passed_on {
                let segments = split(import.path.trim_end_matches("::*"));
                let Some(mut onward) = self.absolute(here, import.at, &segments) else { continue };
                if import.name == "*" {
                    let module = self.resolve(&onward, followed + 1)?;
                    if module.file == file || !self.files[module.file].has(name) {
                        continue;
                    }
                    onward.push(name.clone());
                }
                onward.extend_from_slice(&path[length + 1..]);
                if onward != path {
                    return self.resolve(&onward, followed + 1);
                }
            }
            return Some(item);
        }
        Some(Target { file, is_module: true })
    }
}

impl File {
    fn new(name: &str, module: Vec<String>, source: &Source) -> Self {
        let source = shipped(source);
        let uses = source.uses();
        let bare = without_uses(&source, &uses);
        let words = || bare.code.split(|c: char| !is_identifier(c)).filter(|word| !word.is_empty());
        let pairs = || words().zip(words().skip(1));
        let defined = pairs().filter(|(word, _)| DEFINE.contains(word)).map(|(_, name)| name.to_owned());
        let children = source.find("mod").into_iter().filter_map(|at| declared(&source.code[at + "mod".len()..]));
        // A module with a file of its own is not defined here.
        let children: Vec<String> = children.collect();
        let defined = defined.filter(|name| !children.contains(name)).collect();
        Self { name: name.to_owned(), module, bare, uses, children, defined, source }
    }

    /// Whether other modules find `name` here.
    fn has(&self, name: &str) -> bool {
        self.defined.contains(name) || self.uses.iter().any(|import| import.is_public && import.name == name)
    }

    /// Whether the code itself, beyond passing it on, uses what `import` brings in from the file `to`.
    fn uses_name_of(&self, import: &Use, to: &File) -> bool {
        if import.name != "*" {
            return !self.bare.find(&import.name).is_empty();
        }
        to.defined.iter().any(|name| !self.defined.contains(name) && !self.bare.find(name).is_empty())
    }

    /// The paths outside of `use` declarations that begin with the word `first`, as (place, path).
    fn inline_paths(&self, first: &str) -> Vec<(usize, Vec<String>)> {
        let code = &self.bare.code;
        let begins = |at: &usize| {
            let before = code[..*at].trim_end();
            let is_visibility = before.ends_with("in") && code[..*at].ends_with(' ') && before.contains("pub(");
            let is_whole = !before.ends_with("::") && !before.ends_with('.');
            // `pub(in crate::a)` names nothing.
            is_whole && !(is_visibility && before.trim_end_matches("in").trim_end().ends_with("pub("))
        };
        let path = |at: usize| {
            let end = code[at..].find(|c: char| !is_identifier(c) && c != ':').unwrap_or(code.len() - at);
            let path = code[at..at + end].trim_end_matches(':');
            (path.contains("::") && !path.contains(":::")).then(|| (at, split(path)))
        };
        self.bare.find(first).into_iter().filter(begins).filter_map(path).collect()
    }

    /// The modules with a body that stand around the place `at`, from the outermost.
    fn inline_modules(&self, at: usize) -> Vec<String> {
        let mut around = Vec::new();
        for start in self.source.find("mod").into_iter().filter(|start| *start < at) {
            let (head, _) = self.source.code[start..].split_once(['{', ';']).unwrap_or_default();
            let open = start + head.len();
            if self.source.code[open..].starts_with('{') && closing(&self.source.code, open) > at {
                around.push(head["mod".len()..].trim().to_owned());
            }
        }
        around
    }
}

/// The place of the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// The name of the module that ` name;` declares.
fn declared(rest: &str) -> Option<String> {
    let (name, _) = rest.split_once(';')?;
    let name = name.trim();
    (!name.is_empty() && name.chars().all(is_identifier)).then(|| name.to_owned())
}

/// The same text with its `use` declarations turned to blanks in its code.
fn without_uses(source: &Source, uses: &[Use]) -> Source {
    let mut code = String::with_capacity(source.code.len());
    let mut rest = 0;
    for at in uses.iter().map(|import| import.at) {
        // A group has one place.
        if at < rest {
            continue;
        }
        let end = at + source.code[at..].find(';').unwrap_or(0);
        code.push_str(&source.code[rest..at]);
        blank(&source.code[at..end], &mut code);
        rest = end;
    }
    code.push_str(&source.code[rest..]);
    Source { text: String::new(), code, comments: String::new() }
}

/// The module whose text the file of that path holds.
pub(crate) fn module_of(name: &str) -> Vec<String> {
    let name = name.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = name.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

fn below(module: &[String], child: &str) -> Vec<String> {
    module.iter().cloned().chain([child.to_owned()]).collect()
}

fn split(path: &str) -> Vec<String> {
    path.split("::").map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file with the text `text` depends on, beside a few others, as (line, path, file).
    fn dependencies(text: &str) -> Vec<(usize, String, String)> {
        dependencies_of("src/a.rs", &[("src/a.rs", text)])
    }

    fn dependencies_of(name: &str, texts: &[(&str, &str)]) -> Vec<(usize, String, String)> {
        let others = [
            ("src/lib.rs", "mod a; mod b; pub use b::{Shown, c::Deep as Renamed};"),
            ("src/b/mod.rs", "mod c; mod d; #[cfg(test)] mod e; pub use c::*; pub struct Shown; pub(crate) use d::D;"),
            ("src/b/c.rs", "pub struct Deep; pub fn deep() {} pub mod inner { pub struct Inner; }"),
            ("src/b/d.rs", "pub struct D;"),
            ("src/b/e.rs", "use crate::a::A;"),
        ];
        let others = others.iter().filter(|other| !texts.iter().any(|text| text.0 == other.0));
        let sources: Vec<_> =
            texts.iter().chain(others).map(|(name, text)| ((*name).to_owned(), Source::new(text))).collect();
        let library = Library::new(&sources);
        let number = library.files.iter().position(|file| file.name == name).unwrap();
        let references = library.references(number).into_iter().filter(|reference| !reference.is_face);
        references.map(|one| (one.line, one.path.join("::"), library.files[one.to].name.clone())).collect()
    }

    #[test]
    fn a_path_leads_to_the_file_that_defines_its_item() {
        for (text, path, file) in [
            ("use crate::b::Shown;", "b::Shown", "src/b/mod.rs"),
            ("use crate::Shown;", "Shown", "src/b/mod.rs"),
            ("use crate::Renamed as R;", "Renamed", "src/b/c.rs"),
            ("use crate::b::Deep;", "b::Deep", "src/b/c.rs"),
            ("use super::b::{D};", "b::D", "src/b/d.rs"),
            ("use crate::{b::{c::{inner::Inner}}};", "b::c::inner::Inner", "src/b/c.rs"),
            ("use crate::b::c::*;", "b::c", "src/b/c.rs"),
            ("fn f() -> crate::b::c::Deep { x }", "b::c::Deep", "src/b/c.rs"),
            ("fn f() { super::b::c::deep() }", "b::c::deep", "src/b/c.rs"),
            ("fn f(x: &mut crate::b::D) {}", "b::D", "src/b/d.rs"),
            ("mod m { use super::super::b::D; }", "b::D", "src/b/d.rs"),
            ("macro_rules! m { () => { $crate::b::D } }", "b::D", "src/b/d.rs"),
            ("use crate::b; fn f() { b::deep() }", "b::deep", "src/b/c.rs"),
            ("use crate::b::{self as x}; fn f() { x::c::deep() }", "b::c::deep", "src/b/c.rs"),
            ("use crate::b;", "b", "src/b/mod.rs"),
            ("\npub use crate::b::D;", "b::D", "src/b/d.rs"),
        ] {
            let line = if text.starts_with('\n') { 2 } else { 1 };
            assert_eq!(dependencies(text), [(line, path.to_owned(), file.to_owned())], "{text}");
        }
    }

    #[test]
    fn what_names_no_other_file_is_no_dependency() {
        for text in [
            "use std::b::D; use b::D; fn f() { b::D }",
            "// crate::b::D\nconst X: &str = \"crate::b::D\";",
            "#[cfg(test)] mod tests { use crate::b::D; fn f() { crate::b::D } }",
            "#[cfg(doc)] use crate::b::D;",
            "mod m { use super::A; } struct A; fn f() { self::A; crate::a::A }",
            "pub(in crate::b) struct A;",
            "pub(super) struct A; pub(crate) struct B;",
        ] {
            assert_eq!(dependencies(text), [], "{text}");
        }
    }

    #[test]
    fn a_face_that_only_passes_on_depends_on_nothing() {
        let of_b = |text| dependencies_of("src/b/mod.rs", &[("src/a.rs", ""), ("src/b/mod.rs", text)]);
        assert_eq!(of_b("mod c; mod d; pub use self::c::Deep; pub(crate) use d::*;"), []);
        let to_d = [(1, "b::d::D".to_owned(), "src/b/d.rs".to_owned())];
        assert_eq!(of_b("mod d; pub use d::D; struct X(D);"), to_d);
        assert_eq!(of_b("mod d; use d::D;"), to_d);
        assert_eq!(of_b("mod d; fn f() { d::D; }"), to_d);
        assert_eq!(of_b("mod d; pub use d::*; fn f() { D }"), [(1, "b::d".to_owned(), "src/b/d.rs".to_owned())]);
    }

    #[test]
    fn what_only_tests_declare_is_not_in_the_library() {
        let sources =
            [("src/lib.rs", "#[cfg(test)] mod a; mod b;"), ("src/a.rs", ""), ("src/b.rs", ""), ("src/c.rs", "")];
        let library = Library::new(&sources.map(|(name, text)| (name.to_owned(), Source::new(text))));
        assert_eq!(library.files.iter().map(|file| &file.name).collect::<Vec<_>>(), ["src/b.rs", "src/lib.rs"]);
    }

    #[test]
    fn reexports_that_point_at_each_other_end() {
        let texts =
            [("src/a.rs", "pub use crate::b::Never; pub use crate::b::*;"), ("src/b/mod.rs", "pub use crate::a::*;")];
        assert!(!dependencies_of("src/a.rs", &texts).is_empty());
    }
}
