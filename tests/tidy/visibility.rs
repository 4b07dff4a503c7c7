//! The rule of the visibilities. There are three, by reach: private, `pub(crate)`, and `pub` for what users of the
//! crate can reach. rustc's lint `unreachable_pub` holds the last; this file holds the rest, and the exemptions from
//! the lint.

use crate::graph::module_of;
use crate::source::{Source, is_identifier};

const LINT: &str = "unreachable_pub";

/// Visibilities of another reach. A module that is private narrows what lies in it as well.
pub(crate) fn other_reaches(source: &Source) -> Vec<String> {
    let mut places: Vec<usize> = ["pub(super)", "pub(in", "pub(self)"].map(|other| source.find(other)).concat();
    places.sort_unstable();
    places.into_iter().map(|at| format!("{}: not private, `pub(crate)` or `pub`", source.line_of(at))).collect()
}

/// The modules of the file `name` that are exempt from the lint, with their line, as `a::b`; exemptions of anything
/// else, and such as give no reason.
pub(crate) fn exempt(name: &str, source: &Source) -> (Vec<(usize, String)>, Vec<String>) {
    let mut modules = Vec::new();
    let mut breaches = Vec::new();
    for at in source.find(LINT) {
        let line = source.line_of(at);
        let code = &source.code;
        let is_inner = code[..at].rfind("#![") > code[..at].rfind("#[");
        let end = at + code[at..].find(']').unwrap_or(0);
        match module_behind(&code[end..]).filter(|_| !is_inner) {
            Some(module) => {
                let path = module_of(name).into_iter().chain([module]).collect::<Vec<_>>();
                modules.push((line, path.join("::")));
            }
            None => breaches.push(format!("{line}: only a `mod` line may be exempt from `{LINT}`")),
        }
        if !code[at..end].contains("reason") {
            breaches.push(format!("{line}: an exemption from `{LINT}` without a reason"));
        }
    }
    (modules, breaches)
}

/// The module that is declared behind the attribute whose last bracket `code` begins with.
fn module_behind(code: &str) -> Option<String> {
    let mut code = code.strip_prefix(']')?.trim_start();
    while code.starts_with("#[") {
        code = code.split_once(']')?.1.trim_start();
    }
    let head = code.split_once(';')?.0;
    let (visibility, name) = head.split_once("mod ")?;
    let is_name = name.chars().all(is_identifier) && (visibility.is_empty() || visibility.starts_with("pub"));
    is_name.then(|| name.to_owned())
}

/// Whether the lints of the workspace, in its manifest, have the lint.
pub(crate) fn is_held_by_rustc(manifest: &str) -> bool {
    let lints = manifest.split("\n[").find(|table| table.starts_with("workspace.lints.rust]")).unwrap_or_default();
    let level = lints.lines().find_map(|line| line.strip_prefix(LINT)?.trim_start().strip_prefix('='));
    level.is_some_and(|level| ["\"warn\"", "\"deny\"", "\"forbid\""].contains(&level.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_three_visibilities() {
        let of = |text| other_reaches(&Source::new(text));
        assert_eq!(of("pub fn a() {} pub(crate) fn b() {} fn c(super_pub: u8) {} // pub(super)"), [""; 0]);
        let expected = [1, 2, 3].map(|line| format!("{line}: not private, `pub(crate)` or `pub`"));
        assert_eq!(of("pub(super) fn a() {}\npub(in crate::b) c: u8\npub(self) mod d;"), expected);
    }

    #[test]
    fn a_module_may_be_exempt_with_a_reason() {
        let of = |text| exempt("src/a/mod.rs", &Source::new(text));
        let module = (vec![(1, "a::b".to_owned())], vec![]);
        assert_eq!(of("#[allow(unreachable_pub, reason = \"x\")] pub mod b;"), module);
        assert_eq!(of("#[allow(unreachable_pub, reason = \"x\")]\n#[cfg(c)]\nmod b;"), module);
        assert_eq!(of("#[allow(unreachable_pub)] pub(crate) mod b;").1.len(), 1);
        for text in [
            "#![allow(unreachable_pub, reason = \"x\")] mod b;",
            "#[allow(unreachable_pub, reason = \"x\")] pub fn b() {}",
            "#[allow(unreachable_pub, reason = \"x\")] pub mod b { mod c; }",
            "#[expect(unreachable_pub, reason = \"x\")] pub struct B; mod c;",
        ] {
            assert_eq!(
                of(text),
                (vec![], vec!["1: only a `mod` line may be exempt from `unreachable_pub`".to_owned()])
            );
        }
    }

    #[test]
    fn the_manifest_has_the_lint() {
        assert!(is_held_by_rustc("[a]\n\n[workspace.lints.rust]\nb = 1\nunreachable_pub = \"warn\"\n\n[c]\n"));
        assert!(!is_held_by_rustc("[workspace.lints.rust]\nunreachable_pub = \"allow\"\n"));
        assert!(!is_held_by_rustc("[workspace.lints.rust]\n[workspace.lints.clippy]\nunreachable_pub = \"warn\"\n"));
    }
}
