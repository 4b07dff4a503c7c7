//! The table of topics, from names to entries.
//!
//! What this module adds to [`Names`] is the life of an entry ([`topic_lifecycle`](crate::protocol::topic_lifecycle))
//! and its number, dense and reused, by which each worker finds its own members of the topic.
//!
//! - I1. An entry's number is its own until the entry's memory goes: whoever holds an `Arc` of it (a message on its
//!   way, a worker's list) can look its number up without meeting another topic.

use crate::names::Names;
use crate::protocol::topic_lifecycle::TopicLifecycle;
use crate::sync::{Arc, Mutex};

/// A topic. See [`topic_lifecycle`](crate::protocol::topic_lifecycle) for who keeps it alive.
pub(crate) struct TopicEntry {
    name: Box<str>,
    /// Who uses it.
    pub lifecycle: TopicLifecycle,
    number: u32,
    numbers: Arc<Numbers>,
}

impl TopicEntry {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its number (I1).
    pub(crate) fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for TopicEntry {
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

impl AsRef<str> for TopicEntry {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

/// The table of topics.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Names<TopicEntry>,
    numbers: Arc<Numbers>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new() -> Self {
        let numbers = Arc::new(Numbers(Mutex::new(FreeNumbers { free: Vec::new(), next: 0 })));
        Table { entries: Names::new(), numbers }
    }

    /// Calls `f` with the entry of that name, if there is one. The entry may be retired at any moment.
    #[inline]
    pub(crate) fn look_up<R>(&self, name: &str, f: impl FnOnce(Option<&Arc<TopicEntry>>) -> R) -> R {
        self.entries.look_up(name, f)
    }

    /// Calls `with` with the entry of that name, made if need be, once `begin` has begun to use it. `begin` returns
    /// `false` for a retired entry; that one is taken out, and another made.
    pub(crate) fn begin_use<R>(
        &self,
        name: &str,
        begin: impl Fn(&TopicLifecycle) -> bool,
        with: impl FnOnce(&Arc<TopicEntry>) -> R,
    ) -> R {
        let mut with = Some(with);
        let found =
            |entry: &Arc<TopicEntry>| begin(&entry.lifecycle).then(|| with.take().expect("it began once")(entry));
        let make = || {
            let (lifecycle, number, numbers) = (TopicLifecycle::new(), self.numbers.take(), self.numbers.clone());
            Arc::new(TopicEntry { name: name.into(), lifecycle, number, numbers })
        };
        self.entries.find_or_make(name, found, make)
    }

    /// Takes a retired entry out, if it is still in.
    pub(crate) fn remove(&self, entry: &Arc<TopicEntry>) {
        debug_assert!(entry.lifecycle.is_retired());
        self.entries.remove(entry);
    }

    /// The names of all topics that somebody uses, in no order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.entries.for_each(|entry| {
            if !entry.lifecycle.is_retired() {
                names.push(entry.name().to_owned());
            }
        });
        names
    }

    /// How many topics there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

impl std::fmt::Debug for TopicEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicEntry").field("name", &self.name).field("number", &self.number).finish_non_exhaustive()
    }
}
