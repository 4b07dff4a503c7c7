//! What comments and documents name: their paragraphs, and in these the words in backticks and the bare ones.

use crate::source::Source;

/// Lines that belong together: a comment or a document up to a line that is empty.
#[derive(Debug)]
pub(crate) struct Paragraph {
    /// The number of its first line.
    line: usize,
    text: String,
}

/// A word of a paragraph.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    pub(crate) line: usize,
    pub(crate) text: &'a str,
    pub(crate) in_backticks: bool,
    /// The text of the paragraph behind it.
    pub(crate) after: &'a str,
}

/// The paragraphs of the comments of a Rust text, without its code examples.
pub(crate) fn of_rust(source: &Source) -> Vec<Paragraph> {
    let mut lines = Vec::new();
    for (comment, code) in source.comments.lines().zip(source.code.lines()) {
        let comment = comment.trim();
        let marker = ["//!", "///", "//", "/*"].into_iter().find_map(|marker| comment.strip_prefix(marker));
        // A comment beside code is a paragraph of its own.
        let stands_alone = code.trim().is_empty();
        lines.push((marker.unwrap_or(comment).trim(), stands_alone));
    }
    paragraphs(lines.into_iter())
}

/// The paragraphs of a Markdown text, without its code examples.
pub(crate) fn of_markdown(text: &str) -> Vec<Paragraph> {
    paragraphs(text.lines().map(|line| (line.trim(), true)))
}

/// The paragraphs of comments that begin with `marker` and have lines of their own, in any other text.
pub(crate) fn of_lines(text: &str, marker: &str) -> Vec<Paragraph> {
    paragraphs(text.lines().map(|line| (line.trim().strip_prefix(marker).unwrap_or_default().trim(), true)))
}

/// Gathers lines, given as (text, whether it may be joined to its neighbours).
fn paragraphs<'a>(lines: impl Iterator<Item = (&'a str, bool)>) -> Vec<Paragraph> {
    let mut paragraphs: Vec<Paragraph> = Vec::new();
    let mut is_open = false;
    let mut is_example = false;
    for (number, (line, joins)) in lines.enumerate() {
        let is_fence = line.starts_with("```");
        is_example ^= is_fence;
        if is_fence || is_example || line.is_empty() {
            is_open = false;
            continue;
        }
        match paragraphs.last_mut().filter(|_| is_open && joins) {
            Some(last) => last.text.extend(["\n", line]),
            None => paragraphs.push(Paragraph { line: number + 1, text: line.to_owned() }),
        }
        is_open = joins;
    }
    paragraphs
}

impl Paragraph {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Its words in their order: what stands in a pair of backticks is one.
    pub(crate) fn words(&self) -> Vec<Word<'_>> {
        let mut words = Vec::new();
        let mut at = 0;
        for (number, piece) in self.text.split('`').enumerate() {
            let in_backticks = number % 2 == 1;
            if in_backticks {
                words.push(self.word(at, piece, true));
            } else {
                let bounds = |c: char| c.is_whitespace() || "()[]|\"',;".contains(c);
                let mut start = at;
                for bare in piece.split_inclusive(bounds) {
                    let text = bare.trim_end_matches(bounds).trim_end_matches(['.', ':', '!', '?']);
                    if !text.is_empty() {
                        words.push(self.word(start, text, false));
                    }
                    start += bare.len();
                }
            }
            at += piece.len() + 1;
        }
        words
    }

    fn word<'a>(&'a self, at: usize, text: &'a str, in_backticks: bool) -> Word<'a> {
        let line = self.line + self.text[..at].matches('\n').count();
        let end = (at + text.len() + usize::from(in_backticks)).min(self.text.len());
        Word { line, text, in_backticks, after: &self.text[end..] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(paragraphs: &[Paragraph]) -> Vec<(usize, &str)> {
        paragraphs.iter().map(|paragraph| (paragraph.line, paragraph.text())).collect()
    }

    #[test]
    fn comments_are_cut_at_empty_lines_and_code() {
        let text = "//! a\n//! b\n//!\n//! c\nlet d = \"// e\"; // f\n// g\n\n/// h\n///```\n/// i\n/// ```\n";
        assert_eq!(texts(&of_rust(&Source::new(text))), [(1, "a\nb"), (4, "c"), (5, "f"), (6, "g"), (8, "h")]);
    }

    #[test]
    fn documents_are_cut_at_empty_lines() {
        assert_eq!(texts(&of_markdown("a\nb\n\n```\nc\n```\n| d |\n")), [(1, "a\nb"), (7, "| d |")]);
        assert_eq!(texts(&of_lines("# a\nb = 1 # c\n# d", "#")), [(1, "a"), (3, "d")]);
    }

    #[test]
    fn words_know_their_line_and_what_follows() {
        let paragraphs = of_markdown("a `b c`, I1\n[d](e/f.md). `g`");
        let words: Vec<_> =
            paragraphs[0].words().into_iter().map(|word| (word.line, word.text, word.in_backticks)).collect();
        let expected = [
            (1, "a", false),
            (1, "b c", true),
            (1, "I1", false),
            (2, "d", false),
            (2, "e/f.md", false),
            (2, "g", true),
        ];
        assert_eq!(words, expected);
        assert_eq!(paragraphs[0].words()[1].after.lines().next(), Some(", I1"));
    }
}
