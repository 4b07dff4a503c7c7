//! A Rust source text as the rules of the tidy test see it: code apart from comments and literals, `use` trees spelled
//! out, functions with their lengths.

/// A source text; its code, which is the same text with every comment and the inside of every literal turned to blanks;
/// and its comments, with everything else turned to blanks. Lines and columns (in bytes) of the three are the same.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) text: String,
    pub(crate) code: String,
    pub(crate) comments: String,
}

/// One name that a `use` brings in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// The place of the `use`.
    pub(crate) at: usize,
    pub(crate) path: String,
    /// What the path is called here; `*` for a glob.
    pub(crate) name: String,
    /// Other modules may take it from here.
    pub(crate) is_public: bool,
}

/// A function: its name, the line of its `fn` (from 1), and how many lines it has from there to its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let (code, comments) = code_and_comments(text);
        Self { text: text.to_owned(), code, comments }
    }

    /// The number of the line, from 1, that holds the byte at `at`.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.code.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    /// Where the identifier or path `word` stands in the code, not as part of a longer identifier. The end of a `word`
    /// that ends in `_` or in punctuation may be followed by anything.
    pub(crate) fn find(&self, word: &str) -> Vec<usize> {
        let open_end = word.ends_with('_') || !word.ends_with(is_identifier);
        let stands_alone = |&at: &usize| {
            let begins = !self.code[..at].ends_with(is_identifier);
            begins && (open_end || !self.code[at + word.len()..].starts_with(is_identifier))
        };
        self.code.match_indices(word).map(|(at, _)| at).filter(stands_alone).collect()
    }

    /// Every path that a `use` brings in, as (place of its `use`, path): `use a::{b, c::d as e};` gives `a::b`,
    /// `a::c::d`.
    pub(crate) fn imports(&self) -> Vec<(usize, String)> {
        self.uses().into_iter().map(|import| (import.at, import.path)).collect()
    }

    /// Every name that a `use` brings in.
    pub(crate) fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for at in self.find("use") {
            let Some((tree, _)) = self.code[at + "use".len()..].split_once(';') else { continue };
            // `use<'a>` of a return type is no import.
            if !tree.starts_with(char::is_whitespace) {
                continue;
            }
            let before = self.code[..at].trim_end();
            let is_public = before.ends_with("pub") || before.ends_with(')');
            let mut paths = Vec::new();
            expand("", tree, &mut paths);
            uses.extend(paths.into_iter().map(|(path, name)| Use { at, path, name, is_public }));
        }
        uses
    }

    /// Every function with a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        self.find("fn").into_iter().filter_map(|at| self.function_at(at)).collect()
    }

    fn function_at(&self, at: usize) -> Option<Function> {
        let rest = self.code[at + "fn".len()..].trim_start();
        let name: String = rest.chars().take_while(|&c| is_identifier(c)).collect();
        // `fn(u8)` is a type.
        if name.is_empty() {
            return None;
        }
        let mut brackets = 0_usize;
        let mut braces = 0_usize;
        for (offset, byte) in self.code.bytes().enumerate().skip(at) {
            match byte {
                b'(' | b'[' => brackets += 1,
                b')' | b']' => brackets = brackets.saturating_sub(1),
                b';' if braces == 0 && brackets == 0 => return None,
                b'{' => braces += 1,
                b'}' => {
                    braces = braces.saturating_sub(1);
                    if braces == 0 && brackets == 0 {
                        let line = self.line_of(at);
                        return Some(Function { name, line, lines: self.line_of(offset) - line + 1 });
                    }
                }
                _ => {}
            }
        }
        None
    }
}

pub(crate) fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Adds the paths of the `use` tree `tree` below `prefix` to `paths`, as (path, name).
fn expand(prefix: &str, tree: &str, paths: &mut Vec<(String, String)>) {
    let tree = tree.trim();
    let Some((path, group)) = tree.split_once('{') else {
        let mut words = tree.split_whitespace();
        let path = format!("{prefix}{}", words.next().unwrap_or_default().trim_start_matches("::"));
        let path = path.strip_suffix("::self").unwrap_or(&path);
        if !tree.is_empty() {
            let last = path.rsplit("::").next().unwrap_or(path);
            paths.push((path.to_owned(), words.nth(1).unwrap_or(last).to_owned()));
        }
        return;
    };
    let prefix = format!("{prefix}{}", path.trim().trim_start_matches("::"));
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let mut depth = 0_usize;
    let at_top = |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    for part in group.split(at_top) {
        expand(&prefix, part, paths);
    }
}

/// The text with comments and the insides of literals blanked out, and the text with all but the comments blanked out.
fn code_and_comments(text: &str) -> (String, String) {
    let mut code = String::with_capacity(text.len());
    let mut comments = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_comment = rest.starts_with("//") || rest.starts_with("/*");
        let (kept, blanked) = match token(rest, code.ends_with(is_identifier)) {
            (0, 0) => (first.len_utf8(), 0),
            lengths => lengths,
        };
        let (seen, hidden) = rest[..kept + blanked].split_at(kept);
        code.push_str(seen);
        blank(hidden, &mut code);
        if is_comment {
            comments.push_str(hidden);
        } else {
            blank(&rest[..kept + blanked], &mut comments);
        }
        rest = &rest[kept + blanked..];
    }
    (code, comments)
}

/// Adds a blank for each byte of `text` to `to`, and its line ends.
pub(crate) fn blank(text: &str, to: &mut String) {
    to.extend(text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
}

/// How many bytes at the start of `rest` stay, and how many after them are comment or literal; (0, 0) for plain code.
/// `inside` tells that the text before `rest` ends in an identifier, so that `rest` cannot begin a literal's prefix.
fn token(rest: &str, inside: bool) -> (usize, usize) {
    if rest.starts_with("//") {
        return (0, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (0, block_comment(rest));
    }
    if rest.starts_with('"') {
        return (0, quoted(rest));
    }
    if !inside && let Some(length) = raw_string(rest) {
        return (0, length);
    }
    if rest.starts_with('\'') {
        return character(rest).map_or((1, 0), |length| (0, length));
    }
    (0, 0)
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let bytes = &rest.as_bytes()[at..];
        if bytes.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of the string literal that `rest` begins with.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of the raw string that `rest` begins with, its prefix included, if it does.
fn raw_string(rest: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"]
        .into_iter()
        .find(|prefix| rest.strip_prefix(prefix).is_some_and(|after| after.trim_start_matches('#').starts_with('"')))?;
    let hashes = rest[prefix.len()..].bytes().take_while(|&byte| byte == b'#').count();
    let body = prefix.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()))
}

/// The length of the character literal that `rest` begins with; none if the quote begins a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut inside = rest[1..].chars();
    let first = inside.next()?;
    if first != '\\' {
        return inside.as_str().starts_with('\'').then(|| 1 + first.len_utf8() + 1);
    }
    let escaped = inside.next()?.len_utf8();
    rest[2 + escaped..].find('\'').map(|at| 2 + escaped + at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(text: &str) -> String {
        code_and_comments(text).0
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let text =
            "a // x\nb /* x /* x */ \n x */ c \"x \\\" x\" 'x' '\\'' '\\u{78}' 'd e r\"x\" br#\"x\"x\"# b\"x\" /// x";
        let code = code_of(text);
        assert_eq!(code.len(), text.len());
        assert_eq!(code.matches('\n').count(), 2);
        assert!(!code.contains('x') && !code.contains('"'), "{code}");
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "'d", "e", "b"]);
    }

    #[test]
    fn code_after_each_literal_remains() {
        assert!(code_of("f('\"'); unsafe {}").contains("unsafe"));
        assert!(code_of("f(\"\\\\\"); unsafe {}").contains("unsafe"));
        assert!(code_of("f(r\"\\\"); unsafe {}").contains("unsafe"));
        assert!(code_of("f::<'a>(b'\\\\'); unsafe {}").contains("unsafe"));
        assert!(code_of("for (r, br) in x { /**/ unsafe {} }").contains("unsafe"));
        assert!(code_of("let é = 'é'; unsafe {}").contains("unsafe"));
    }

    #[test]
    fn a_word_is_found_whole() {
        let source = Source::new("unsafe_code unsafe{} my_unsafe\n// unsafe\nunsafe");
        assert_eq!(source.find("unsafe"), [12, 41]);
        assert_eq!(source.line_of(41), 3);
        assert_eq!(Source::new("a crossbeam_utils").find("crossbeam_"), [2]);
    }

    #[test]
    fn imports_are_spelled_out() {
        let text = "use a::b;\npub use ::c::{d, e::{self, f as g}, h::*};\nfn i() -> impl J + use<'_> { use k; }";
        let paths: Vec<String> = Source::new(text).imports().into_iter().map(|(_, path)| path).collect();
        assert_eq!(paths, ["a::b", "c::d", "c::e", "c::e::f", "c::h::*", "k"]);
    }

    #[test]
    fn imports_have_names_and_a_reach() {
        let text = "pub(crate) use a::{self, b as c};\n#[cfg(x)]\nuse d::*;\npub use e as _;";
        let uses: Vec<_> =
            Source::new(text).uses().into_iter().map(|one| (one.path, one.name, one.is_public)).collect();
        let expected = [("a", "a", true), ("a::b", "c", true), ("d::*", "*", false), ("e", "_", true)];
        assert_eq!(uses, expected.map(|(path, name, is_public)| (path.to_owned(), name.to_owned(), is_public)));
    }

    #[test]
    fn comments_are_kept_apart() {
        let source = Source::new("a // b\nlet c = \"// d\"; /* e\n f */ g é // h");
        assert_eq!(source.comments.len(), source.text.len());
        assert_eq!(
            source.comments.split_whitespace().collect::<Vec<_>>(),
            ["//", "b", "/*", "e", "f", "*/", "//", "h"]
        );
    }

    #[test]
    fn functions_are_measured() {
        let text = concat!(
            "trait T {\n    fn none(&self, a: [u8; 2]);\n}\npub fn one() {}\n",
            "const fn three(f: fn(u8)) -> u8\n{\n}\n",
            "fn four() {\n    if x { y(\"}\") }\n    // }\n}\n",
        );
        let lines = |function: &Function| (function.name.clone(), function.line, function.lines);
        let measured: Vec<_> = Source::new(text).functions().iter().map(lines).collect();
        assert_eq!(measured, [("one".into(), 4, 1), ("three".into(), 5, 3), ("four".into(), 8, 4)]);
    }
}
