//! The rule of the layers: a file names items of its own layer and of those below it.

use crate::graph::{Library, module_of};
use std::collections::BTreeSet;

/// The layer that a file of the library belongs to: its folder or, beside `lib.rs`, its own name.
fn layer_of(name: &str) -> Option<String> {
    module_of(name).into_iter().next()
}

/// Files that name something of a layer above their own, but for those that `may_reach_up` lists as (file, layer);
/// entries of that list that no file needs; layers that `layers`, from bottom to top, lacks.
pub(crate) fn reaching_up(library: &Library, layers: &[&str], may_reach_up: &[(&str, &str)]) -> Vec<String> {
    let height = |layer: &str| layers.iter().position(|name| *name == layer);
    let mut breaches = Vec::new();
    let mut missing = BTreeSet::new();
    let mut reaches = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for (number, file) in library.files.iter().enumerate() {
        // The root of the crate belongs to no layer: it stands above all.
        let Some(own) = layer_of(&file.name) else { continue };
        let Some(own_height) = height(&own) else {
            unknown.insert(own);
            continue;
        };
        for reference in library.references(number) {
            // What is named at the root counts as the layer of its definition.
            let named = reference.path.first().filter(|first| height(first).is_some()).cloned();
            let Some(layer) = named.or_else(|| layer_of(&library.files[reference.to].name)) else { continue };
            if height(&layer).is_none_or(|height| height <= own_height) {
                continue;
            }
            let entry = (file.name.clone(), layer.clone());
            if !may_reach_up.iter().any(|(file, layer)| *file == entry.0 && *layer == entry.1) {
                let path = reference.path.join("::");
                breaches.push(format!("{}:{}: `{own}` reaches up to `{layer}`: {path}", file.name, reference.line));
                missing.insert(format!("    ({:?}, {:?}),", entry.0, entry.1));
            }
            reaches.insert(entry);
        }
    }
    breaches.extend(unknown.into_iter().map(|layer| format!("`{layer}` has no place in LAYERS")));
    let idle =
        may_reach_up.iter().filter(|(file, layer)| !reaches.contains(&((*file).to_owned(), (*layer).to_owned())));
    breaches
        .extend(idle.map(|(file, layer)| format!("{file} reaches up to `{layer}` no more: take it off MAY_REACH_UP")));
    if !missing.is_empty() {
        breaches.push("where there is no other way yet, MAY_REACH_UP takes:".to_owned());
        breaches.extend(missing);
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn breaches(of_low: &str, may_reach_up: &[(&str, &str)]) -> Vec<String> {
        let sources = [
            ("src/lib.rs", "mod low; mod middle; mod high; pub use high::High;"),
            ("src/low.rs", of_low),
            ("src/middle/mod.rs", "use crate::low::Low;"),
            ("src/high.rs", "pub struct High; use crate::{middle, low::Low};"),
        ];
        let library = Library::new(&sources.map(|(name, text)| (name.to_owned(), Source::new(text))));
        reaching_up(&library, &["low", "middle", "high"], may_reach_up)
    }

    #[test]
    fn down_is_the_way() {
        assert_eq!(breaches("pub struct Low; use self::Low as L; // crate::high::High", &[]), [""; 0]);
        assert_eq!(breaches("pub struct Low; #[cfg(test)] mod tests { use crate::high::High; }", &[]), [""; 0]);
    }

    #[test]
    fn up_is_a_breach_with_its_place_and_its_entry() {
        for text in ["\nuse crate::high::High;", "\nuse crate::High;", "\nfn f() { super::high::High; }"] {
            let breaches = breaches(text, &[]);
            assert!(breaches[0].starts_with("src/low.rs:2: `low` reaches up to `high`: "), "{breaches:?}");
            assert_eq!(breaches.last().unwrap(), "    (\"src/low.rs\", \"high\"),");
        }
    }

    #[test]
    fn an_entry_allows_its_layer_while_it_is_needed() {
        assert_eq!(breaches("use crate::high::High;", &[("src/low.rs", "high")]), [""; 0]);
        assert!(!breaches("use crate::high::High;", &[("src/low.rs", "middle")]).is_empty());
        let idle = breaches("", &[("src/low.rs", "high")]);
        assert_eq!(idle, ["src/low.rs reaches up to `high` no more: take it off MAY_REACH_UP"]);
    }

    #[test]
    fn a_layer_has_a_place() {
        let sources = [("src/lib.rs", "mod new;"), ("src/new.rs", "")];
        let library = Library::new(&sources.map(|(name, text)| (name.to_owned(), Source::new(text))));
        assert_eq!(reaching_up(&library, &[], &[]), ["`new` has no place in LAYERS"]);
    }
}
