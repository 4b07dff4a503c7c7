//! The table of topics, from names to entries.
//!
//! The table is a `papaya` map: lookups take no lock and write only lines of their own thread; creating or dropping an
//! entry touches one bucket; growth is incremental. What this module adds is the life of an entry
//! ([`state`](super::state)) and its number, dense and reused, by which each worker finds its own members of the
//! topic.
//!
//! - I1. An entry's number is its own until the entry's memory goes: whoever holds an `Arc` of it (a message on its
//!   way, a worker's list) can look its number up without meeting another topic.

use super::state::State;
use crate::sync::{Arc, Mutex};
use papaya::HashMap;
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

/// A topic. See [`state`](super::state) for who keeps it alive.
#[derive(Debug)]
pub struct Entry {
    name: Box<str>,
    /// Who uses it.
    pub state: State,
    number: u32,
    numbers: Arc<Numbers>,
}

impl Entry {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number (I1).
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.numbers.0.lock().free.push(self.number);
    }
}

/// The free numbers.
#[derive(Debug)]
struct Numbers(Mutex<FreeNumbers>);

#[derive(Debug)]
struct FreeNumbers {
    free: Vec<u32>,
    next: u32,
}

impl Numbers {
    fn take(&self) -> u32 {
        let mut numbers = self.0.lock();
        if let Some(number) = numbers.free.pop() {
            return number;
        }
        let number = numbers.next;
        // 4 billion entries of over 100 bytes each: memory is long gone.
        numbers.next = number.checked_add(1).expect("fewer than 4 billion topics are alive");
        number
    }
}

/// An entry as the table's element: equal and hashed by name.
#[derive(Debug)]
struct ByName(Arc<Entry>);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (*self.0.name).hash(state);
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}

/// The table of topics. Hashed with a seed of this process: topic names may come from an attacker.
#[derive(Debug)]
pub struct Table {
    entries: HashMap<ByName, (), foldhash::quality::RandomState>,
    numbers: Arc<Numbers>,
}

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Table {
            entries: HashMap::with_hasher(foldhash::quality::RandomState::default()),
            numbers: Arc::new(Numbers(Mutex::new(FreeNumbers { free: Vec::new(), next: 0 }))),
        }
    }

    /// Calls `f` with the entry of that name, if there is one. The entry may be retired at any moment.
    #[inline]
    pub fn look_up<R>(&self, name: &str, f: impl FnOnce(Option<&Arc<Entry>>) -> R) -> R {
        let guard = self.entries.guard();
        f(self.entries.get_key_value(name, &guard).map(|(found, ())| &found.0))
    }

    /// Calls `with` with the entry of that name, made if need be, once `begin` has begun to use it. `begin` returns
    /// `false` for a retired entry; that one is taken out, and another made.
    pub fn begin_use<R>(&self, name: &str, begin: impl Fn(&State) -> bool, with: impl FnOnce(&Arc<Entry>) -> R) -> R {
        loop {
            let guard = self.entries.guard();
            if let Some((found, ())) = self.entries.get_key_value(name, &guard) {
                if begin(&found.0.state) {
                    return with(&found.0);
                }
                // Its retirer may not have come to that yet.
                self.remove(&found.0);
                continue;
            }
            let entry = Arc::new(Entry {
                name: name.into(),
                state: State::new(),
                number: self.numbers.take(),
                numbers: self.numbers.clone(),
            });
            // Used before it is seen: nobody can retire it first.
            let begun = begin(&entry.state);
            debug_assert!(begun, "a fresh entry is not retired");
            if self.entries.try_insert(ByName(entry.clone()), (), &guard).is_ok() {
                return with(&entry);
            }
        }
    }

    /// Takes a retired entry out, if it is still in.
    pub fn remove(&self, entry: &Arc<Entry>) {
        debug_assert!(entry.state.is_retired());
        let guard = self.entries.guard();
        // An error means that the name has a new entry already.
        let _ = self.entries.remove_if(entry.name(), |found, ()| Arc::ptr_eq(&found.0, entry), &guard);
    }

    /// The names of all topics that somebody uses, in no order.
    pub fn names(&self) -> Vec<String> {
        let guard = self.entries.guard();
        let used = self.entries.keys(&guard).filter(|entry| !entry.0.state.is_retired());
        used.map(|entry| entry.0.name().to_owned()).collect()
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}
