//! The rules. Each takes one file and returns what it breaks, as `line: what`.

use crate::source::Source;

/// What the library takes from `crate::sync` alone. A path that ends in `_` stands for all names that begin so.
const ONLY_THROUGH_SYNC: [&str; 11] = [
    "std::sync::atomic",
    "core::sync::atomic",
    "std::cell::UnsafeCell",
    "core::cell::UnsafeCell",
    "std::thread",
    "parking_lot",
    "arc_swap",
    "crossbeam_",
    "loom",
    "std::hint::spin_loop",
    "core::hint::spin_loop",
];

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 120;
/// How far above an `unsafe` its reason may stand.
const REASON_LINES_MAX: usize = 5;

/// Breaches of one rule in one file.
pub(crate) type Breaches = Vec<String>;

/// Primitives of concurrency that do not come through `crate::sync`.
pub(crate) fn primitives(source: &Source) -> Breaches {
    let mut breaches = Breaches::new();
    for banned in ONLY_THROUGH_SYNC {
        // A crate's name is banned as the start of a path: a field or a cfg may have the same name.
        let inline =
            if banned.contains("::") || banned.ends_with('_') { banned.to_owned() } else { format!("{banned}::") };
        for at in source.find(&inline) {
            breaches.push(format!("{}: `{banned}` outside of src/sync", source.line_of(at)));
        }
        for (at, path) in source.imports() {
            if brings_in(&path, banned) {
                breaches.push(format!("{}: `use {path}` outside of src/sync reaches `{banned}`", source.line_of(at)));
            }
        }
    }
    breaches
}

/// Whether importing `path` makes `banned` reachable: it is that item, lies in it, or is a module around it.
fn brings_in(path: &str, banned: &str) -> bool {
    let path: Vec<&str> = path.strip_suffix("::*").unwrap_or(path).split("::").collect();
    let banned: Vec<&str> = banned.split("::").collect();
    path.iter().zip(&banned).all(|(name, banned)| name == banned || banned.ends_with('_') && name.starts_with(banned))
}

/// A file that should be split.
pub(crate) fn file_length(source: &Source) -> Breaches {
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX { vec![format!("{lines}: more than {FILE_LINES_MAX} lines")] } else { Breaches::new() }
}

/// Functions that should be split, but for those that `exceptions` names.
pub(crate) fn function_length(source: &Source, exceptions: &[&str]) -> Breaches {
    let functions = source.functions();
    let long = functions.iter().filter(|function| function.lines > FUNCTION_LINES_MAX);
    long.filter(|function| !exceptions.contains(&function.name.as_str()))
        .map(|function| format!("{}: `{}` has {} lines", function.line, function.name, function.lines))
        .collect()
}

/// Lines that rustfmt leaves long, which are those of comments and strings. An address cannot be wrapped.
pub(crate) fn columns(source: &Source) -> Breaches {
    let is_long = |line: &str| line.chars().count() > COLUMNS_MAX && !line.contains("://");
    let lines = source.text.lines().enumerate().filter(|(_, line)| is_long(line));
    lines.map(|(at, _)| format!("{}: more than {COLUMNS_MAX} columns", at + 1)).collect()
}

/// Any `unsafe` at all: for files that may hold none.
pub(crate) fn no_unsafe(source: &Source) -> Breaches {
    let places = source.find("unsafe").into_iter();
    places.map(|at| format!("{}: `unsafe` in a file that may hold none", source.line_of(at))).collect()
}

/// Unsafe blocks and impls whose reason is missing.
pub(crate) fn unsafe_reasons(source: &Source) -> Breaches {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut breaches = Breaches::new();
    for at in source.find("unsafe") {
        let after = source.code[at + "unsafe".len()..].trim_start();
        if !after.starts_with('{') && !after.starts_with("impl") {
            continue;
        }
        let line = source.line_of(at);
        let above = &lines[line.saturating_sub(REASON_LINES_MAX + 1)..line];
        if !above.iter().any(|text| text.contains("SAFETY")) {
            breaches.push(format!("{line}: `unsafe` without a SAFETY comment in the {REASON_LINES_MAX} lines above"));
        }
    }
    breaches
}

/// Sleeping: a test that needs time to pass is wrong on a slow machine, and the library never waits by the clock.
pub(crate) fn sleeps(source: &Source) -> Breaches {
    let inline = source.find("thread::sleep").into_iter();
    let imported = source.imports().into_iter().filter(|(_, path)| path.ends_with("thread::sleep")).map(|(at, _)| at);
    let mut lines: Vec<usize> = inline.chain(imported).map(|at| source.line_of(at)).collect();
    lines.dedup();
    lines.into_iter().map(|line| format!("{line}: `thread::sleep`")).collect()
}

/// Work that was left undone.
pub(crate) fn leftovers(source: &Source) -> Breaches {
    let macros = ["todo!", "unimplemented!"].map(|name| source.find(name)).concat();
    let mut breaches: Breaches = macros.into_iter().map(|at| format!("{}: a stub", source.line_of(at))).collect();
    // Spelled so that this file does not contain them.
    let marks = [concat!("FIX", "ME"), concat!("XX", "X"), concat!("TO", "DO")];
    for (at, line) in source.text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if words.any(|word| marks.contains(&word)) {
            breaches.push(format!("{}: a mark of unfinished work", at + 1));
        }
    }
    breaches
}

/// A file of the product that does not open with what it is.
pub(crate) fn opening(source: &Source) -> Breaches {
    if source.text.starts_with("//!") {
        Breaches::new()
    } else {
        vec!["1: does not open with a `//!` comment".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: impl Fn(&Source) -> Breaches, text: &str) -> Vec<usize> {
        let number = |breach: &String| breach.split(':').next().unwrap().parse().unwrap();
        let mut lines: Vec<usize> = rule(&Source::new(text)).iter().map(number).collect();
        lines.dedup();
        lines
    }

    #[test]
    fn primitives_are_caught_however_they_are_named() {
        for text in [
            "use std::sync::atomic::AtomicUsize;",
            "use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};",
            "use std::{cell::{Cell, UnsafeCell}, fmt};",
            "use std::sync;",
            "use std::sync as s;",
            "use std::cell::*;",
            "use ::core::{sync::atomic};",
            "let x = std::thread::spawn(f);",
            "use std::{thread, time};",
            "use crossbeam_utils::CachePadded;",
            "pub(crate) use parking_lot::Mutex;",
            "use loom;",
            "fn f(m: &parking_lot::Mutex<u8>) {}",
            "type S = arc_swap::ArcSwap<u8>;",
            "loom::model(|| ());",
            "use core::hint::spin_loop;",
        ] {
            assert_eq!(lines(primitives, text), [1], "{text}");
        }
    }

    #[test]
    fn what_resembles_primitives_passes() {
        for text in [
            "use crate::sync::atomic::AtomicUsize;",
            "use std::sync::{Arc, OnceLock};",
            "use std::cell::Cell;",
            "#[cfg(fanfare_loom)] mod x;",
            "//! `std::sync::atomic` and `loom::model` are named here.",
            "let text = \"std::thread\";",
            "use super::thread; thread::park();",
            "use std::hint::black_box;",
            "let my_crossbeam_name = bloom::filter();",
        ] {
            assert_eq!(lines(primitives, text), [0_usize; 0], "{text}");
        }
    }

    #[test]
    fn a_file_is_too_long_from_one_line_over() {
        assert!(file_length(&Source::new(&"x\n".repeat(FILE_LINES_MAX))).is_empty());
        assert_eq!(file_length(&Source::new(&"x\n".repeat(FILE_LINES_MAX + 1))).len(), 1);
    }

    #[test]
    fn a_function_is_too_long_from_one_line_over() {
        let function =
            |lines: usize| format!("impl A {{\n    fn long() {{\n{}    }}\n}}\n", "        x();\n".repeat(lines - 2));
        let rule = |source: &Source| function_length(source, &[]);
        assert_eq!(lines(rule, &function(FUNCTION_LINES_MAX)), [0_usize; 0]);
        assert_eq!(lines(rule, &function(FUNCTION_LINES_MAX + 1)), [2]);
        let source = Source::new(&function(FUNCTION_LINES_MAX + 1));
        assert!(function_length(&source, &["long"]).is_empty());
        assert!(!function_length(&source, &["other"]).is_empty());
    }

    #[test]
    fn a_line_is_too_long_from_one_column_over() {
        let wide = |columns: usize| format!("x\n{}\n", "é".repeat(columns));
        assert_eq!(lines(columns, &wide(COLUMNS_MAX)), [0_usize; 0]);
        assert_eq!(lines(columns, &wide(COLUMNS_MAX + 1)), [2]);
        assert_eq!(lines(columns, &format!("// https://{}", "x".repeat(COLUMNS_MAX))), [0_usize; 0]);
    }

    #[test]
    fn every_unsafe_is_seen_but_not_its_name() {
        assert_eq!(lines(no_unsafe, "a\nunsafe { b }\n"), [2]);
        assert_eq!(lines(no_unsafe, "pub unsafe fn a() {}"), [1]);
        assert_eq!(lines(no_unsafe, "#![forbid(unsafe_code)]\n// unsafe\nlet x = \"unsafe\";"), [0_usize; 0]);
    }

    #[test]
    fn an_unsafe_block_needs_its_reason_close_above() {
        let after = |blank: usize| format!("// SAFETY: it is.\n{}unsafe {{ a }}\n", "b();\n".repeat(blank));
        assert_eq!(lines(unsafe_reasons, &after(REASON_LINES_MAX - 1)), [0_usize; 0]);
        assert_eq!(lines(unsafe_reasons, &after(REASON_LINES_MAX)), [REASON_LINES_MAX + 2]);
        assert_eq!(lines(unsafe_reasons, "unsafe impl Send for A {}"), [1]);
        assert_eq!(lines(unsafe_reasons, "x\nlet a =\n    unsafe { b };"), [3]);
        assert_eq!(lines(unsafe_reasons, "unsafe fn a();"), [0_usize; 0]);
    }

    #[test]
    fn a_sleep_is_caught_however_it_is_named() {
        for text in ["std::thread::sleep(t);", "use std::thread::sleep;", "use std::{thread::{park, sleep}, time};"] {
            assert_eq!(lines(sleeps, text), [1], "{text}");
        }
        assert_eq!(lines(sleeps, "// thread::sleep\nworker.sleep(\"thread::sleep\");"), [0_usize; 0]);
    }

    #[test]
    fn unfinished_work_is_caught() {
        assert_eq!(lines(leftovers, "a\ntodo!()"), [2]);
        assert_eq!(lines(leftovers, "unimplemented!(\"b\")"), [1]);
        assert_eq!(lines(leftovers, concat!("a\n// FIX", "ME: b")), [2]);
        assert_eq!(lines(leftovers, concat!("// XX", "X b")), [1]);
        assert_eq!(lines(leftovers, "let x = \"todo!()\"; fn todo() {} // XXXL"), [0_usize; 0]);
    }

    #[test]
    fn a_file_opens_with_what_it_is() {
        assert_eq!(lines(opening, "//! A.\nuse b;"), [0_usize; 0]);
        assert_eq!(lines(opening, "use b;\n//! A."), [1]);
        assert_eq!(lines(opening, ""), [1]);
    }
}
