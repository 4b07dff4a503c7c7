//! What of a source text is built into the library: without items for tests, for documentation or for its tests.

use crate::source::{Source, blank, is_identifier};

/// How the attributes begin whose items are not shipped.
const NOT_SHIPPED: [&str; 6] =
    ["#[cfg(test)]", "#[cfg(all(test,", "#[cfg(doc)]", "#[cfg(all(doc,", "#[cfg(doctest)]", "#[cfg(all(doctest,"];

/// Items that end with a semicolon, whatever braces they have before.
const END_AT_SEMICOLON: [&str; 6] = ["use", "const", "static", "type", "let", "extern"];

/// The same text, with the items that are not shipped turned to blanks in its code.
pub(crate) fn shipped(source: &Source) -> Source {
    let mut code = String::with_capacity(source.code.len());
    let mut rest = 0;
    let starts = NOT_SHIPPED.iter().flat_map(|attribute| source.code.match_indices(attribute).map(|(at, _)| at));
    let mut starts: Vec<usize> = starts.collect();
    starts.sort_unstable();
    for start in starts.into_iter().filter(|start| !source.code[..*start].ends_with('!')) {
        if start < rest {
            continue;
        }
        let end = start + item_length(&source.code[start..]);
        code.push_str(&source.code[rest..start]);
        blank(&source.code[start..end], &mut code);
        rest = end;
    }
    code.push_str(&source.code[rest..]);
    Source { text: source.text.clone(), code, comments: source.comments.clone() }
}

/// How long the item is that `code` begins with, its attributes included.
fn item_length(code: &str) -> usize {
    let item = after_attributes(code);
    let mut words = code[item..].split(|c: char| !is_identifier(c)).filter(|word| !word.is_empty());
    let is_keyword = |word: &&str| !["pub", "crate", "super", "in", "self"].contains(word);
    let first = words.find(is_keyword).unwrap_or_default();
    // A `const fn` ends as a function does.
    let to_semicolon = END_AT_SEMICOLON.contains(&first) && words.next() != Some("fn");
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(item) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => return at,
            b')' | b']' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth == 0 && !to_semicolon {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Where `code`, which begins with an attribute, has no more of them.
fn after_attributes(code: &str) -> usize {
    let mut at = 0;
    loop {
        at += code[at..].len() - code[at..].trim_start().len();
        if !code[at..].starts_with("#[") {
            return at;
        }
        let mut depth = 0_usize;
        let closes = |byte: u8| {
            match byte {
                b'[' => depth += 1,
                b']' => depth -= 1,
                _ => {}
            }
            byte == b']' && depth == 0
        };
        at += code[at..].bytes().position(closes).map_or(code.len() - at, |end| end + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shipped_is_gone() {
        for text in [
            "a #[cfg(test)] mod tests { use x; fn f() { } } b",
            "a #[cfg(test)] mod x; b",
            "a #[cfg(doc)]\nuse x::{y, z}; b",
            "a #[cfg(test)] #[allow(x[1])] pub(crate) fn x(x: [u8; 2]) -> u8 { {} } b",
            "a #[cfg(test)] const fn x() {} b",
            "a #[cfg(test)] const X: [u8; 1] = { [1; 1] }; b",
            "a #[cfg(all(doctest, feature = \"x\"))] struct X; b",
            "a #[cfg(test)] mod x; #[cfg(test)] mod x; b",
        ] {
            let source = shipped(&Source::new(text));
            assert_eq!(source.code.len(), text.len());
            assert_eq!(source.code.split_whitespace().collect::<Vec<_>>(), ["a", "b"], "{text}");
        }
    }

    #[test]
    fn all_else_is_shipped() {
        for text in ["#[cfg(any(x, test))] mod a {}", "#![cfg(test)] mod a;", "#[cfg(not(test))] mod a;"] {
            assert_eq!(shipped(&Source::new(text)).code, text);
        }
    }
}
