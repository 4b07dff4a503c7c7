//! The rule of the cycles: files that import each other in a circle are listed, so that no circle grows and none comes.

use crate::graph::Library;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Circles of files that `listed` does not cover, and what `listed` has too much.
pub(crate) fn unlisted(library: &Library, listed: &[&[&str]]) -> Vec<String> {
    let found = cycles(library);
    let name = |file: &usize| library.files[*file].name.as_str();
    let mut breaches = Vec::new();
    for cycle in &found {
        let is_in = |list: &[&str]| cycle.iter().all(|file| list.contains(&name(file)));
        if !listed.iter().any(|list| is_in(list)) {
            breaches.extend(links(library, cycle));
        }
    }
    for list in listed {
        let left: Vec<&BTreeSet<usize>> =
            found.iter().filter(|cycle| cycle.iter().all(|file| list.contains(&name(file)))).collect();
        let is_in = |file: &str| left.iter().any(|cycle| cycle.iter().any(|other| name(other) == file));
        let out = list.iter().filter(|file| !is_in(file) && breaches.is_empty());
        let gone: Vec<String> = out.map(|file| format!("{file} is out of its cycle: take it off CYCLES")).collect();
        if gone.is_empty() && left.len() > 1 {
            breaches.push(format!("the cycle of {} is {} cycles now: list them apart", list.join(", "), left.len()));
        }
        breaches.extend(gone);
    }
    if !breaches.is_empty() {
        breaches.push("CYCLES as they are:".to_owned());
        breaches.extend(found.iter().map(|cycle| entry(cycle.iter().map(name))));
    }
    breaches
}

/// An entry of the table, with these files.
fn entry<'a>(files: impl Iterator<Item = &'a str>) -> String {
    let mut entry = String::from("    &[");
    for file in files {
        let _ = write!(entry, "\n        {file:?},");
    }
    entry + "\n    ],"
}

/// Every import within `cycle`, one for each pair of files.
fn links(library: &Library, cycle: &BTreeSet<usize>) -> Vec<String> {
    let mut links = vec![format!("a cycle of {} files that is not listed, by these imports:", cycle.len())];
    for &file in cycle {
        let mut seen = BTreeSet::new();
        for reference in library.references(file).into_iter().filter(|one| !one.is_face && cycle.contains(&one.to)) {
            if seen.insert(reference.to) {
                let (from, to) = (&library.files[file].name, &library.files[reference.to].name);
                links.push(format!("{from}:{}: {} is in {to}", reference.line, reference.path.join("::")));
            }
        }
    }
    links
}

/// The sets of files each of which depends, by way of others, on all of its set.
fn cycles(library: &Library) -> Vec<BTreeSet<usize>> {
    let count = library.files.len();
    let onward: Vec<BTreeSet<usize>> = (0..count)
        .map(|file| library.references(file).into_iter().filter(|one| !one.is_face).map(|one| one.to).collect())
        .collect();
    let reached: Vec<BTreeSet<usize>> = (0..count).map(|file| reach(&onward, file)).collect();
    let mut cycles = BTreeSet::new();
    for file in 0..count {
        let cycle: BTreeSet<usize> =
            reached[file].iter().copied().filter(|other| reached[*other].contains(&file)).collect();
        if cycle.len() > 1 {
            cycles.insert(cycle);
        }
    }
    cycles.into_iter().collect()
}

/// What `from` depends on, by way of others too.
fn reach(onward: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![from];
    while let Some(file) = waiting.pop() {
        waiting.extend(onward[file].iter().copied().filter(|next| reached.insert(*next)));
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    const THREE: &[&str] = &["src/a.rs", "src/b.rs", "src/c.rs"];

    /// The breaches of a library of four files, each of which imports from those named.
    fn breaches(imports: [&str; 4], listed: &[&[&str]]) -> Vec<String> {
        let mut sources = vec![("src/lib.rs".to_owned(), Source::new("mod a; mod b; mod c; mod d;"))];
        for (name, imports) in ["a", "b", "c", "d"].into_iter().zip(imports) {
            let uses: String = imports.chars().map(|from| format!("use crate::{from}::X;\n")).collect();
            sources.push((format!("src/{name}.rs"), Source::new(&format!("struct X;\n{uses}"))));
        }
        unlisted(&Library::new(&sources), listed)
    }

    #[test]
    fn imports_in_one_direction_pass() {
        assert_eq!(breaches(["bcd", "cd", "d", ""], &[]), [""; 0]);
    }

    #[test]
    fn a_cycle_is_named_with_its_imports_and_its_entry() {
        let breaches = breaches(["b", "c", "da", ""], &[]);
        assert_eq!(
            breaches,
            [
                "a cycle of 3 files that is not listed, by these imports:",
                "src/a.rs:2: b::X is in src/b.rs",
                "src/b.rs:2: c::X is in src/c.rs",
                "src/c.rs:3: a::X is in src/a.rs",
                "CYCLES as they are:",
                "    &[\n        \"src/a.rs\",\n        \"src/b.rs\",\n        \"src/c.rs\",\n    ],",
            ]
        );
    }

    #[test]
    fn a_listed_cycle_passes_and_may_not_grow() {
        assert_eq!(breaches(["b", "c", "a", ""], &[THREE]), [""; 0]);
        assert!(breaches(["b", "c", "ad", "a"], &[THREE])[0].contains("a cycle of 4 files"));
    }

    #[test]
    fn a_list_shrinks_with_its_cycle() {
        assert_eq!(breaches(["b", "a", "", ""], &[THREE])[0], "src/c.rs is out of its cycle: take it off CYCLES");
        assert_eq!(breaches(["", "", "", ""], &[THREE]).len(), 4);
        let four: &[&str] = &["src/a.rs", "src/b.rs", "src/c.rs", "src/d.rs"];
        assert!(breaches(["b", "a", "d", "c"], &[four])[0].ends_with("is 2 cycles now: list them apart"));
    }
}
