//! A ref, join ref or topic as the client sent it.
//!
//! The client names its requests by whatever JSON value it likes, most often a string or null; the server compares and
//! echoes it and never looks inside.

/// A ref, join ref or topic: echoed as it came, compared strictly.
///
/// `"1"` is not `1`, and `""` is not null. Strings are compared by what they say, however they were escaped; other
/// values by their text, so that `1` is not `1.0`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// `null`, or left out.
    #[default]
    Null,
    /// A string, unescaped.
    Str(Box<str>),
    /// Any other JSON value, as its text. Written out unchecked.
    Other(Box<str>),
}

impl Scalar {
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Scalar::Str(text) => Some(text),
            Scalar::Null | Scalar::Other(_) => None,
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Scalar::Null)
    }

    /// The value of `json`, which must be the text of one JSON value without space around it.
    pub(crate) fn from_json(json: &str) -> Result<Scalar, serde_json::Error> {
        Ok(match json.as_bytes().first() {
            Some(b'"') => Scalar::Str(unescape(json)?),
            _ if json == "null" => Scalar::Null,
            _ => Scalar::Other(json.into()),
        })
    }
}

/// What the JSON string `json`, quotes included, says.
pub(crate) fn unescape(json: &str) -> Result<Box<str>, serde_json::Error> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        // As long as nothing is escaped a string says what it is. That it is whole JSON its reader has checked.
        Some(text) if !text.contains('\\') => Ok(text.into()),
        _ => serde_json::from_str::<String>(json).map(String::into_boxed_str),
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Scalar::Str(text.into())
    }
}

impl From<String> for Scalar {
    fn from(text: String) -> Self {
        Scalar::Str(text.into())
    }
}

impl<T: Into<Scalar>> From<Option<T>> for Scalar {
    fn from(value: Option<T>) -> Self {
        value.map_or(Scalar::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_compared_unescaped_and_all_else_strictly() {
        let scalar = |json| Scalar::from_json(json).unwrap();
        assert_eq!(scalar(r#""\u0061\/b""#), Scalar::from("a/b"));
        assert_ne!(scalar("\"1\""), scalar("1"));
        assert_ne!(scalar("1"), scalar("1.0"));
        assert_ne!(scalar("\"\""), scalar("null"));
        assert_ne!(scalar("\"null\""), Scalar::Null);
        assert_eq!(scalar("null"), Scalar::from(None::<&str>));
        assert_eq!(scalar("{}"), Scalar::Other("{}".into()));
    }

    #[test]
    fn half_a_surrogate_pair_is_no_string() {
        assert!(Scalar::from_json(r#""\ud800""#).is_err());
        assert_eq!(Scalar::from_json(r#""\ud83d\ude00""#).unwrap(), Scalar::from("😀"));
    }
}
