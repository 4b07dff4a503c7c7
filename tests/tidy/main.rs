//! Holds the repository's source to the house rules that neither rustc nor clippy knows. CONTRIBUTING.md explains them.

mod comments;
mod cycles;
mod graph;
mod invariants;
mod layers;
mod paths;
mod rules;
mod shipped;
mod source;
mod tables;
mod visibility;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use comments::Paragraph;
use graph::Library;
use invariants::Stated;
use paths::Tree;
use rules::Breaches;
use source::Source;

/// Where the rules that concern all Rust code apply.
const FOLDERS: [&str; 10] =
    ["src", "cli", "benches", "tests", "fuzz", "load", "loom-tests", "perf", "xtask", "examples"];

/// Folders inside these that hold nothing written by hand.
const NOT_SOURCE: [&str; 5] = ["target", "corpus", "artifacts", "coverage", "node_modules"];

/// The files of the library that may hold `unsafe`; a name that ends in `/` stands for all files below.
const MAY_BE_UNSAFE: &[&str] = &[
    "src/sync/",
    "src/message/batch.rs",
    "src/message/body.rs",
    "src/message/references.rs",
    "src/message/slab.rs",
    "src/subscriber/reader.rs",
    "src/protocol/ready.rs",
    "src/protocol/baton.rs",
    "src/engine/worker/core.rs",
    "src/engine/worker/walk.rs",
    "src/protocol/inbox.rs",
];

/// Functions that may be longer than the rest, as (file, name). Each needs its reason in a comment beside it.
const MAY_BE_LONG: &[(&str, &str)] = &[];

/// The Rust files below `folder`, as (path from the root with `/`, source).
fn files_of(folder: &str) -> Vec<(String, Source)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths);
    paths.sort();
    let named = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.strip_prefix(root).unwrap().components().map(|part| part.as_os_str().to_string_lossy());
        (name.collect::<Vec<_>>().join("/"), Source::new(&text))
    };
    paths.into_iter().map(named).collect()
}

/// Adds the Rust files below `folder` to `paths`; a missing folder has none (a published package lacks some).
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = folder.read_dir() else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !NOT_SOURCE.contains(&name.as_str()) {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// Fails with everything in `files` that breaks `rule`.
fn hold(files: Vec<(String, Source)>, rule: impl Fn(&str, &Source) -> Breaches) {
    assert!(!files.is_empty(), "no files to look at");
    let broken = |(name, source): &(String, Source)| {
        rule(name, source).into_iter().map(|breach| format!("{name}:{breach}")).collect::<Vec<_>>()
    };
    pass(&files.iter().flat_map(broken).collect::<Vec<String>>());
}

/// Fails with the breaches, if there are any.
fn pass(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

fn files_of_all() -> Vec<(String, Source)> {
    FOLDERS.into_iter().flat_map(files_of).collect()
}

/// What users get: the library and the program.
fn files_of_product() -> Vec<(String, Source)> {
    ["src", "cli/src"].into_iter().flat_map(files_of).collect()
}

/// Whether `allowed` covers the file `name`.
fn is_covered(name: &str, allowed: &[&str]) -> bool {
    allowed.iter().any(|entry| if entry.ends_with('/') { name.starts_with(entry) } else { name == *entry })
}

#[test]
fn primitives_come_through_the_gate() {
    hold(files_of("src"), |name, source| {
        if is_covered(name, &["src/sync/", "src/sync.rs"]) { Breaches::new() } else { rules::primitives(source) }
    });
}

#[test]
fn unsafe_stays_where_it_may_be() {
    hold(
        files_of_product(),
        |name, source| {
            if is_covered(name, MAY_BE_UNSAFE) { Breaches::new() } else { rules::no_unsafe(source) }
        },
    );
}

#[test]
fn every_place_that_may_be_unsafe_is_unsafe() {
    let unsafe_files: Vec<String> = files_of("src")
        .into_iter()
        .filter(|(_, source)| !rules::no_unsafe(source).is_empty())
        .map(|(name, _)| name)
        .collect();
    for entry in MAY_BE_UNSAFE {
        assert!(unsafe_files.iter().any(|name| is_covered(name, &[entry])), "{entry} needs no leave to hold `unsafe`");
    }
}

#[test]
fn every_unsafe_block_has_its_reason() {
    hold(files_of_all(), |_, source| rules::unsafe_reasons(source));
}

#[test]
fn files_are_short() {
    hold(files_of_all(), |_, source| rules::file_length(source));
}

#[test]
fn functions_are_short() {
    hold(files_of_product(), |name, source| {
        let exceptions: Vec<&str> =
            MAY_BE_LONG.iter().filter(|(file, _)| *file == name).map(|(_, function)| *function).collect();
        rules::function_length(source, &exceptions)
    });
}

#[test]
fn lines_are_short() {
    hold(files_of_all(), |_, source| rules::columns(source));
}

#[test]
fn nothing_sleeps() {
    let files = ["src", "cli", "tests", "loom-tests"].into_iter().flat_map(files_of).collect();
    hold(files, |_, source| rules::sleeps(source));
}

#[test]
fn nothing_is_left_undone() {
    hold(files_of_all(), |_, source| rules::leftovers(source));
}

#[test]
fn every_file_of_the_product_says_what_it_is() {
    hold(files_of_product(), |_, source| rules::opening(source));
}

#[test]
fn layers_are_used_from_above() {
    let library = Library::new(&files_of("src"));
    pass(&layers::reaching_up(&library, tables::LAYERS, tables::MAY_REACH_UP));
}

#[test]
fn cycles_are_listed() {
    pass(&cycles::unlisted(&Library::new(&files_of("src")), tables::CYCLES));
}

#[test]
fn visibilities_are_three() {
    hold(files_of_all(), |_, source| visibility::other_reaches(source));
}

#[test]
fn rustc_holds_what_is_public() {
    let manifest = read_file("Cargo.toml");
    assert!(visibility::is_held_by_rustc(&manifest), "Cargo.toml: no `unreachable_pub` in the lints of the workspace");
}

#[test]
fn only_what_models_reach_is_exempt() {
    hold(files_of_all(), |name, source| {
        let (modules, mut breaches) = visibility::exempt(name, source);
        let unlisted = modules.iter().filter(|(_, module)| !tables::REACHED_BY_MODELS.contains(&module.as_str()));
        breaches.extend(unlisted.map(|(line, module)| format!("{line}: `{module}` is not in REACHED_BY_MODELS")));
        breaches
    });
    let modules = |(name, source): &(String, Source)| visibility::exempt(name, source).0;
    let exempt: BTreeSet<String> = files_of("src").iter().flat_map(modules).map(|(_, module)| module).collect();
    let idle = tables::REACHED_BY_MODELS.iter().filter(|module| !exempt.contains(**module));
    let breach = |module: &&str| format!("{module}: no exemption on its `mod` line: take it off REACHED_BY_MODELS");
    pass(&idle.map(breach).collect::<Vec<String>>());
}

/// Every text that names paths: (path from the root, its paragraphs).
fn texts(tree: &Tree) -> Vec<(String, Vec<Paragraph>)> {
    let rust = files_of_all().into_iter().map(|(name, source)| (name, comments::of_rust(&source)));
    let others = tree.below("").filter_map(|name| {
        let read: fn(&str) -> Vec<Paragraph> = match name.rsplit_once('.')?.1 {
            "md" => comments::of_markdown,
            "toml" => |text| comments::of_lines(text, "#"),
            "mjs" => |text| comments::of_lines(text, "//"),
            _ => return None,
        };
        Some((name.to_owned(), read(&read_file(name))))
    });
    rust.chain(others).collect()
}

fn read_file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Everything in the repository but what commands make.
fn tree() -> Tree {
    let mut paths = Vec::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut paths);
    Tree::new(paths)
}

/// Adds what lies below `folder` to `paths`, each with `prefix` before its name.
fn walk(folder: &Path, prefix: &str, paths: &mut Vec<String>) {
    for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == ".git" || NOT_SOURCE.contains(&name.as_str()) {
            continue;
        }
        let full = format!("{prefix}{name}");
        if path.is_dir() {
            walk(&path, &format!("{full}/"), paths);
        }
        paths.push(full);
    }
}

/// Fails with what `rule` finds in the paragraphs of any text.
fn hold_texts(tree: &Tree, rule: impl Fn(&str, &[Paragraph]) -> Breaches) {
    let texts = texts(tree);
    let broken = |(name, paragraphs): &(String, Vec<Paragraph>)| {
        rule(name, paragraphs).into_iter().map(|breach| format!("{name}:{breach}")).collect::<Vec<_>>()
    };
    pass(&texts.iter().flat_map(broken).collect::<Vec<String>>());
}

#[test]
fn paths_in_comments_and_documents_lead_somewhere() {
    let tree = tree();
    hold_texts(&tree, |name, paragraphs| paths::lost(&tree, name, paragraphs));
}

#[test]
fn models_in_documents_are_there() {
    let tree = tree();
    let documents = tree.below("").filter(|name| name.ends_with(".md"));
    let broken = documents.flat_map(|name| {
        paths::lost_models(&tree, &read_file(name)).into_iter().map(move |breach| format!("{name}:{breach}"))
    });
    pass(&broken.collect::<Vec<String>>());
}

#[test]
fn invariants_are_stated_where_they_are_cited_from() {
    let tree = tree();
    let files = files_of("src");
    let stated = Stated::new(files.iter().map(|(name, source)| (name.as_str(), source.text.as_str())));
    hold_texts(&tree, |name, paragraphs| stated.unstated(&tree, name, paragraphs));
}

/// The names of the Rust files of `folder`, without the ending.
fn stems(folder: &str) -> Vec<String> {
    let names = files_of(folder).into_iter().filter_map(|(name, _)| {
        let file = name.strip_prefix(folder)?.strip_prefix('/')?;
        file.strip_suffix(".rs").map(str::to_owned)
    });
    names.filter(|name| name != "mod").collect()
}

/// The protocol that a model is of: it has its name, or one that begins with it and `_`.
fn is_model_of(model: &str, protocol: &str) -> bool {
    model.strip_prefix(protocol).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

#[test]
fn models_are_named_after_their_protocols() {
    let (protocols, models) = (stems("src/protocol"), stems("loom-tests/tests"));
    for protocol in &protocols {
        let has_model = models.iter().any(|model| is_model_of(model, protocol));
        assert!(has_model, "src/protocol/{protocol}.rs has no model in loom-tests/tests/");
    }
    for model in &models {
        let is_of_one = is_model_of(model, "presence") || protocols.iter().any(|protocol| is_model_of(model, protocol));
        assert!(is_of_one, "loom-tests/tests/{model}.rs is named after no file of src/protocol/, nor after presence");
    }
}

#[test]
fn a_model_is_of_the_protocol_that_its_name_begins_with() {
    assert!(is_model_of("queue", "queue") && is_model_of("queue_idle", "queue"));
    assert!(!is_model_of("queued", "queue") && !is_model_of("idle_queue", "queue"));
}

#[test]
#[should_panic(expected = "src/a.rs:1: does not open")]
fn a_breach_fails_with_its_place() {
    hold(vec![("src/a.rs".to_owned(), Source::new("mod b;"))], |_, source| rules::opening(source));
}

#[test]
#[should_panic(expected = "no files to look at")]
fn a_folder_without_files_fails() {
    hold(files_of("no-such-folder"), |_, source| rules::opening(source));
}

#[test]
fn an_entry_covers_its_file_or_its_folder() {
    assert!(is_covered("src/sync/cell.rs", &["src/sync/"]));
    assert!(is_covered("src/protocol/inbox.rs", &["src/protocol/inbox.rs"]));
    assert!(!is_covered("src/protocol/inbox.rs.rs", &["src/protocol/inbox.rs"]));
    assert!(!is_covered("src/synchrony.rs", &["src/sync/"]));
}

#[test]
fn the_walk_finds_this_file() {
    assert!(files_of("tests").iter().any(|(name, _)| name == "tests/tidy/main.rs"));
}
