//! What a client of a room sees: as phoenix.js' `Presence` has it, and stricter.
//!
//! A scanning reader of just the frames that the rooms of `fanfare serve` send: two thousand views of two thousand are
//! four million presences, on the processors that the server is measured on.

use crate::wire::Wrong;

pub(crate) const ROOM_JOINED: &[u8] = br#"["1","1","room:lobby","phx_reply",{"status":"ok","response":{}}]"#;
const STATE: &[u8] = br#"["1",null,"room:lobby","presence_state","#;
const DIFF: &[u8] = br#"[null,null,"room:lobby","presence_diff",{"joins":"#;
const LEAVES: &[u8] = br#","leaves":"#;
const KEY: &[u8] = br#""user"#;
const META: &[u8] = br#"":{"metas":[{"phx_ref":""#;

/// The join of a user.
pub(crate) fn join(user: usize) -> Vec<u8> {
    format!(r#"["1","1","room:lobby","phx_join",{{"user":"user{user}"}}]"#).into_bytes()
}

/// An opaque name of a meta.
type Ref = [u8; 16];

/// Who is there. Each user has one meta.
#[derive(Debug)]
pub(crate) struct View {
    /// By the number of the user.
    refs: Vec<Option<Ref>>,
    present: usize,
    is_synced: bool,
    /// Diffs that came before the state.
    held: Vec<Vec<u8>>,
    pub(crate) diffs: usize,
    pub(crate) bytes: u64,
}

impl View {
    /// Of so many users.
    pub(crate) fn new(users: usize) -> Self {
        Self { refs: vec![None; users], present: 0, is_synced: false, held: Vec::new(), diffs: 0, bytes: 0 }
    }

    /// How many it sees, once it has had its state.
    pub(crate) fn present(&self) -> usize {
        if self.is_synced { self.present } else { 0 }
    }

    /// Whether it sees just what another sees.
    pub(crate) fn sees_as(&self, other: &Self) -> bool {
        self.refs == other.refs
    }

    /// Takes a text that has come.
    pub(crate) fn text(&mut self, text: &[u8]) -> Result<(), Wrong> {
        self.bytes += text.len() as u64;
        if let Some(state) = text.strip_prefix(STATE) {
            if self.is_synced {
                return Err(Wrong::text("a second state", text));
            }
            let rest = presences(state, |user, phx_ref| self.join(user, phx_ref))?;
            expect(rest, b"]")?;
            self.is_synced = true;
            let held = std::mem::take(&mut self.held);
            held.iter().try_for_each(|diff| self.diff(diff, false))
        } else if let Some(diff) = text.strip_prefix(DIFF) {
            self.diffs += 1;
            if self.is_synced {
                return self.diff(diff, true);
            }
            self.held.push(diff.to_vec());
            Ok(())
        } else {
            Err(Wrong::text("unexpected", text))
        }
    }

    /// What is behind [`DIFF`]. One that came before the state may tell of leaves that the state knows already.
    fn diff(&mut self, diff: &[u8], is_strict: bool) -> Result<(), Wrong> {
        let rest = presences(diff, |user, phx_ref| self.join(user, phx_ref))?;
        let rest = presences(expect(rest, LEAVES)?, |user, phx_ref| {
            let known = self.refs.get_mut(user).filter(|known| **known == Some(phx_ref));
            match known {
                Some(known) => {
                    *known = None;
                    self.present -= 1;
                    Ok(())
                }
                None if is_strict => Err(Wrong::Protocol(format!("user{user} leaves, who is not there"))),
                None => Ok(()),
            }
        })?;
        expect(rest, b"}]").map(|_| ())
    }

    fn join(&mut self, user: usize, phx_ref: Ref) -> Result<(), Wrong> {
        match self.refs.get_mut(user) {
            Some(free @ None) => {
                *free = Some(phx_ref);
                self.present += 1;
                Ok(())
            }
            // Told by the state, and by a diff that came before it.
            Some(Some(known)) if *known == phx_ref => Ok(()),
            Some(Some(_)) => Err(Wrong::Protocol(format!("user{user} joins by a second ref"))),
            None => Err(Wrong::Protocol(format!("user{user} joins, whom nobody knows"))),
        }
    }
}

fn expect<'a>(text: &'a [u8], what: &[u8]) -> Result<&'a [u8], Wrong> {
    text.strip_prefix(what).ok_or_else(|| Wrong::text(&format!("not {}", String::from_utf8_lossy(what)), text))
}

/// Reads `{KEY:{"metas":[META]},..}`, calls `each` with the user and the ref, and returns what is behind it.
fn presences(text: &[u8], mut each: impl FnMut(usize, Ref) -> Result<(), Wrong>) -> Result<&[u8], Wrong> {
    let mut text = expect(text, b"{")?;
    if let Some(rest) = text.strip_prefix(b"}") {
        return Ok(rest);
    }
    loop {
        text = expect(text, KEY)?;
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let user = text[..digits].iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
        text = expect(&text[digits..], META)?;
        let (phx_ref, rest) = text.split_first_chunk().ok_or_else(|| Wrong::text("no ref", text))?;
        let end = rest.iter().position(|byte| *byte == b']').unwrap_or(rest.len());
        if rest[..end].contains(&b'{') {
            return Err(Wrong::Protocol(format!("user{user} has two metas")));
        }
        each(user, *phx_ref)?;
        text = expect(&rest[end..], b"]}")?;
        match text.split_first() {
            Some((b',', rest)) => text = rest,
            Some((b'}', rest)) => return Ok(rest),
            _ => return Err(Wrong::text("no end", text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metas(users: &[(usize, char)]) -> String {
        let meta = |(user, id): &(usize, char)| {
            let phx_ref = id.to_string().repeat(16);
            format!(r#""user{user}":{{"metas":[{{"phx_ref":"{phx_ref}","online_at":1,"status":"online"}}]}}"#)
        };
        format!("{{{}}}", users.iter().map(meta).collect::<Vec<_>>().join(","))
    }

    fn state(users: &[(usize, char)]) -> String {
        format!(r#"["1",null,"room:lobby","presence_state",{}]"#, metas(users))
    }

    fn diff(joins: &[(usize, char)], leaves: &[(usize, char)]) -> String {
        let (joins, leaves) = (metas(joins), metas(leaves));
        format!(r#"[null,null,"room:lobby","presence_diff",{{"joins":{joins},"leaves":{leaves}}}]"#)
    }

    fn view(texts: &[String]) -> Result<View, String> {
        let mut view = View::new(4);
        for text in texts {
            match view.text(text.as_bytes()) {
                Ok(()) => {}
                Err(Wrong::Protocol(what)) => return Err(what),
                Err(_) => unreachable!("nothing is read"),
            }
        }
        Ok(view)
    }

    #[test]
    fn diffs_before_the_state_wait_for_it() {
        let seen = view(&[diff(&[(1, 'a'), (2, 'b')], &[]), diff(&[], &[(1, 'a')]), state(&[(2, 'b')])]).unwrap();
        assert_eq!((seen.present(), seen.diffs), (1, 2));
        let same = view(&[state(&[]), diff(&[(2, 'b')], &[])]).unwrap();
        assert!(seen.sees_as(&same));
        assert!(!seen.sees_as(&view(&[state(&[(2, 'c')])]).unwrap()));
        assert_eq!(view(&[diff(&[(1, 'a')], &[])]).unwrap().present(), 0);
    }

    #[test]
    fn what_no_server_may_tell_is_refused() {
        let wrong = [
            (vec![state(&[(1, 'a')]), diff(&[(1, 'b')], &[])], "second ref"),
            (vec![state(&[(1, 'a')]), diff(&[], &[(1, 'b')])], "who is not there"),
            (vec![state(&[(1, 'a')]), diff(&[], &[(1, 'a')]), diff(&[], &[(1, 'a')])], "who is not there"),
            (vec![state(&[(7, 'a')])], "whom nobody knows"),
            (vec![state(&[]), state(&[])], "a second state"),
            (vec![state(&[(1, 'a')]).replace("}]}", r#"},{"phx_ref":"b"}]}"#)], "two metas"),
            (vec![state(&[(1, 'a')]).replace("}}]", "}]")], "no end"),
            (vec!["[]".to_owned()], "unexpected"),
        ];
        for (texts, says) in wrong {
            let what = view(&texts).unwrap_err();
            assert!(what.contains(says), "{what}");
        }
    }
}
