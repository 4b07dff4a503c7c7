//! A query string as nested parameters, with the rules of Plug, which Phoenix applications rely on.
//!
//! - Pairs are parted by `&`, empty ones ignored; a key ends at its first `=`, and a pair without one has the value
//!   `""`. Keys and values are percent-decoded, with `+` for a space.
//! - `a[b][c]=1` is a map in a map, `a[]=1&a[]=2` a list. A key that does not end in `]` is what it is.
//! - Of two values for one key the last counts. Where a list and a map, or a value, meet under one key, the kind of the
//!   last counts and what is of another kind is dropped; but a map or list stands where its first pair stood.
//! - `a[][b]=1&a[][c]=2` is a list of one map: there is no way to say where the next begins.
//!
//! The algorithm: every prefix of a key is a level, with its entries in the order of their first mention; when all
//! pairs are in, levels become maps and lists. Depth is bounded before it is recursed into.

use super::http::{PathError, percent_decode};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt;

/// How much a query may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParamLimits {
    /// How many pairs; 1,000 by default.
    pub pairs_max: usize,
    /// How deep a key may be: `a` is 1, `a[b]` is 2; 32 by default.
    pub depth_max: usize,
}

impl Default for ParamLimits {
    fn default() -> Self {
        ParamLimits { pairs_max: 1_000, depth_max: 32 }
    }
}

/// Why a query is refused; the status is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParamsError {
    /// A `%` without two hexadecimal digits.
    Percent,
    /// A key or a value that is no UTF-8.
    Utf8,
    /// More pairs than [`ParamLimits::pairs_max`].
    TooManyPairs {
        /// The limit.
        max: usize,
    },
    /// A key deeper than [`ParamLimits::depth_max`].
    TooDeep {
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for ParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParamsError::Percent => f.write_str("a query with a percent sign without two hexadecimal digits"),
            ParamsError::Utf8 => f.write_str("a query that is no UTF-8"),
            ParamsError::TooManyPairs { max } => write!(f, "a query of more than {max} pairs"),
            ParamsError::TooDeep { max } => write!(f, "a query with a key of more than {max} levels"),
        }
    }
}

impl std::error::Error for ParamsError {}

impl From<PathError> for ParamsError {
    fn from(error: PathError) -> Self {
        if error == PathError::Percent { ParamsError::Percent } else { ParamsError::Utf8 }
    }
}

/// The parameters of `query`, which is what follows the `?`.
///
/// # Errors
///
/// See [`ParamsError`].
pub fn parse(query: &str, limits: &ParamLimits) -> Result<Map<String, Value>, ParamsError> {
    let mut levels = Levels(vec![Level::default()]);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    for (number, pair) in pairs.enumerate() {
        if number == limits.pairs_max {
            return Err(ParamsError::TooManyPairs { max: limits.pairs_max });
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (percent_decode(key, true)?, percent_decode(value, true)?);
        let (first, inner) = split_key(&key);
        if inner.map_or(1, |inner| inner.split("][").count() + 1) > limits.depth_max {
            return Err(ParamsError::TooDeep { max: limits.depth_max });
        }
        levels.insert(first, inner, value.into_owned());
    }
    Ok(levels.map(0))
}

/// The first part of a key, and what stands between its first `[` and the `]` at its end.
fn split_key(key: &str) -> (&str, Option<&str>) {
    match key.strip_suffix(']').and_then(|key| key.split_once('[')) {
        Some((first, inner)) => (first, Some(inner)),
        None => (key, None),
    }
}

/// A part of a key; `None` for `[]`, which adds to a list.
type Part = Option<String>;

#[derive(Debug)]
enum ParamNode {
    Value(String),
    Level(usize),
}

/// What stands under one prefix.
#[derive(Debug, Default)]
struct Level {
    entries: Vec<(Part, ParamNode)>,
    /// Which entries are levels.
    below: HashMap<Part, usize>,
}

/// All levels; the first is the root.
#[derive(Debug)]
struct Levels(Vec<Level>);

impl Levels {
    fn insert(&mut self, first: &str, inner: Option<&str>, value: String) {
        let mut at = 0;
        let mut part = Some(first.to_owned());
        for next in inner.into_iter().flat_map(|inner| inner.split("][")) {
            at = self.below(at, part);
            part = (!next.is_empty()).then(|| next.to_owned());
        }
        self.0[at].entries.push((part, ParamNode::Value(value)));
    }

    /// The level `part` below that at `at`; made if there is none.
    fn below(&mut self, at: usize, part: Part) -> usize {
        if let Some(&below) = self.0[at].below.get(&part) {
            return below;
        }
        let below = self.0.len();
        self.0.push(Level::default());
        self.0[at].below.insert(part.clone(), below);
        self.0[at].entries.push((part, ParamNode::Level(below)));
        below
    }

    fn map(&mut self, at: usize) -> Map<String, Value> {
        let entries = std::mem::take(&mut self.0[at].entries);
        let named = entries.into_iter().filter_map(|(part, entry)| Some((part?, self.value(entry))));
        named.collect()
    }

    fn value(&mut self, entry: ParamNode) -> Value {
        let at = match entry {
            ParamNode::Value(value) => return Value::String(value),
            ParamNode::Level(at) => at,
        };
        let is_list = self.0[at].entries.last().is_some_and(|(part, _)| part.is_none());
        if !is_list {
            return Value::Object(self.map(at));
        }
        let entries = std::mem::take(&mut self.0[at].entries);
        let unnamed = entries.into_iter().filter(|(part, _)| part.is_none());
        Value::Array(unnamed.map(|(_, entry)| self.value(entry)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn assert_params(query: &str, expected: Value) {
        let params = parse(query, &ParamLimits::default()).map(Value::Object);
        assert_eq!(params, Ok(expected), "{query}");
    }

    fn refusal(query: &str) -> ParamsError {
        parse(query, &ParamLimits::default()).unwrap_err()
    }

    #[test]
    fn pairs_are_decoded() {
        assert_params("", json!({}));
        assert_params("a=1&vsn=2.0.0", json!({"a": "1", "vsn": "2.0.0"}));
        assert_params("a%20b=c+d%2B%26%3D&&", json!({"a b": "c d+&="}));
        assert_params("a=b=c&d&=e&f=", json!({"a": "b=c", "d": "", "": "e", "f": ""}));
        assert_params("%c3%a9=%F0%9D%84%9E", json!({"é": "𝄞"}));
    }

    #[test]
    fn of_two_values_the_last_counts() {
        assert_params("a=1&a=2", json!({"a": "2"}));
        assert_params("a[b]=1&a[b]=2", json!({"a": {"b": "2"}}));
    }

    #[test]
    fn brackets_nest() {
        assert_params("a[b]=c", json!({"a": {"b": "c"}}));
        assert_params("a[b][c]=1&a[b][d]=2&a[e]=3", json!({"a": {"b": {"c": "1", "d": "2"}, "e": "3"}}));
        assert_params("a%5Bb%5D=c", json!({"a": {"b": "c"}}));
        assert_params("[a]=1&b[c[d]=2", json!({"": {"a": "1"}, "b": {"c[d": "2"}}));
    }

    #[test]
    fn empty_brackets_make_lists() {
        assert_params("a[]=1&a[]=2", json!({"a": ["1", "2"]}));
        assert_params("a[b][]=1&a[b][]=2", json!({"a": {"b": ["1", "2"]}}));
        assert_params("a[][b]=1&a[][c]=2", json!({"a": [{"b": "1", "c": "2"}]}));
        assert_params("a[][]=1&a[][]=2", json!({"a": [["1", "2"]]}));
        assert_params("vsn[]=1", json!({"vsn": ["1"]}));
    }

    #[test]
    fn brackets_that_do_not_close_at_the_end_are_text() {
        assert_params("a[b=1&a]=2&a[b]c=3&a[=4", json!({"a[b": "1", "a]": "2", "a[b]c": "3", "a[": "4"}));
    }

    #[test]
    fn of_two_kinds_the_last_counts() {
        assert_params("a[]=1&a[b]=2", json!({"a": {"b": "2"}}));
        assert_params("a[b]=2&a[]=1", json!({"a": ["1"]}));
        assert_params("a=1&a[b]=2", json!({"a": {"b": "2"}}));
        assert_params("a[b]=2&a=1", json!({"a": "1"}));
        assert_params("a[b]=2&a=1&a[c]=3", json!({"a": "1"}));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(refusal("a=%"), ParamsError::Percent);
        assert_eq!(refusal("%zz=1"), ParamsError::Percent);
        assert_eq!(refusal("a=%ff"), ParamsError::Utf8);
        assert_eq!(refusal("%c3=1"), ParamsError::Utf8);
    }

    #[test]
    fn pairs_and_depth_are_limited() {
        let limits = ParamLimits { pairs_max: 2, depth_max: 3 };
        assert!(parse("a=1&&b=2&", &limits).is_ok());
        assert_eq!(parse("a=1&b=2&c=3", &limits), Err(ParamsError::TooManyPairs { max: 2 }));
        assert!(parse("a[b][c]=1", &limits).is_ok());
        assert_eq!(parse("a[b][c][]=1", &limits), Err(ParamsError::TooDeep { max: 3 }));
        let deep = format!("a{}=1", "[b]".repeat(100_000));
        assert_eq!(refusal(&deep), ParamsError::TooDeep { max: 32 });
    }
}
