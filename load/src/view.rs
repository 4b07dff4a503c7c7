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
    /// A diff behind the state has told something new. The one of the state's own epoch may come behind it too, and
    /// tells nothing new; all later ones must.
    is_settled: bool,
    /// Diffs that came before the state.
    held: Vec<Vec<u8>>,
    pub(crate) messages: usize,
    pub(crate) diffs: usize,
    pub(crate) bytes: u64,
}

impl View {
    /// Of so many users.
    pub(crate) fn new(users: usize) -> Self {
        Self {
            refs: vec![None; users],
            present: 0,
            is_synced: false,
            is_settled: false,
            held: Vec::new(),
            messages: 0,
            diffs: 0,
            bytes: 0,
        }
    }

    /// How many it sees, once it has had its state.
    pub(crate) fn present(&self) -> usize {
        if self.is_synced { self.present } else { 0 }
    }

    /// Whether it sees just what another sees.
    pub(crate) fn sees_as(&self, other: &Self) -> bool {
        self.refs == other.refs
    }

    /// The first user who is there and not seen, or seen and not there.
    pub(crate) fn wrong_of(&self, mut is_there: impl FnMut(usize) -> bool) -> Option<usize> {
        self.refs.iter().enumerate().position(|(user, seen)| seen.is_some() != is_there(user))
    }

    /// Takes a text that has come.
    pub(crate) fn text(&mut self, text: &[u8]) -> Result<(), Wrong> {
        self.messages += 1;
        self.bytes += text.len() as u64;
        if let Some(state) = text.strip_prefix(STATE) {
            if self.is_synced {
                return Err(Wrong::text("a second state", text));
            }
            let rest = presences(state, |user, phx_ref| self.join(user, phx_ref, false))?;
            expect(rest, b"]")?;
            self.is_synced = true;
            let held = std::mem::take(&mut self.held);
            held.iter().try_for_each(|diff| self.diff(diff, true).map(|_| ()))
        } else if let Some(diff) = text.strip_prefix(DIFF) {
            self.diffs += 1;
            if self.is_synced {
                self.is_settled |= self.diff(diff, !self.is_settled)?;
                return Ok(());
            }
            self.held.push(diff.to_vec());
            Ok(())
        } else {
            Err(Wrong::text("unexpected", text))
        }
    }

    /// Takes what is behind [`DIFF`]. If it may be `old`, it may tell what the state knows already. Returns whether it
    /// told something new.
    fn diff(&mut self, diff: &[u8], old: bool) -> Result<bool, Wrong> {
        let before = self.present;
        let rest = presences(diff, |user, phx_ref| self.join(user, phx_ref, old))?;
        let mut is_new = self.present > before;
        let rest = presences(expect(rest, LEAVES)?, |user, phx_ref| {
            let known = self.refs.get_mut(user).filter(|known| **known == Some(phx_ref));
            match known {
                Some(known) => {
                    *known = None;
                    self.present -= 1;
                    is_new = true;
                    Ok(())
                }
                None if !old => Err(Wrong::Protocol(format!("user{user} leaves, who is not there"))),
                None => Ok(()),
            }
        })?;
        expect(rest, b"}]").map(|_| is_new)
    }

    fn join(&mut self, user: usize, phx_ref: Ref, old: bool) -> Result<(), Wrong> {
        match self.refs.get_mut(user) {
            Some(free @ None) => {
                *free = Some(phx_ref);
                self.present += 1;
                Ok(())
            }
            Some(Some(known)) if *known == phx_ref && old => Ok(()),
            Some(Some(known)) if *known == phx_ref => Err(Wrong::Protocol(format!("user{user} joins twice"))),
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
        assert_eq!((seen.present(), seen.diffs, seen.messages), (1, 2, 3));
        assert_eq!(seen.wrong_of(|user| user == 2), None);
        assert_eq!(seen.wrong_of(|user| user == 1 || user == 2), Some(1));
        assert_eq!(seen.wrong_of(|_| false), Some(2));
        let same = view(&[state(&[]), diff(&[(2, 'b')], &[])]).unwrap();
        assert!(seen.sees_as(&same));
        assert!(!seen.sees_as(&view(&[state(&[(2, 'c')])]).unwrap()));
        assert_eq!(view(&[diff(&[(1, 'a')], &[])]).unwrap().present(), 0);
    }

    #[test]
    fn the_diff_of_the_states_own_epoch_may_come_behind_it() {
        let own = diff(&[(1, 'a')], &[(3, 'c')]);
        let seen = view(&[state(&[(1, 'a')]), own.clone(), diff(&[(2, 'b')], &[])]).unwrap();
        assert_eq!(seen.present(), 2);
        let late = view(&[state(&[(1, 'a')]), diff(&[(2, 'b')], &[]), own]).unwrap_err();
        assert!(late.contains("user1 joins twice"), "{late}");
    }

    #[test]
    fn what_no_server_may_tell_is_refused() {
        let wrong = [
            (vec![state(&[(1, 'a')]), diff(&[(1, 'b')], &[])], "second ref"),
            (vec![state(&[(1, 'a')]), diff(&[(2, 'b')], &[]), diff(&[], &[(1, 'b')])], "who is not there"),
            (vec![state(&[(1, 'a')]), diff(&[(2, 'b'), (1, 'a')], &[]), diff(&[(2, 'b')], &[])], "user2 joins twice"),
            (vec![state(&[(1, 'a'), (1, 'a')])], "user1 joins twice"),
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
