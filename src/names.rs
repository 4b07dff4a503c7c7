//! Things by their names: what the table of topics and that of rooms have in common.
//!
//! A `papaya` map: lookups take no lock and write only lines of their own thread; making or dropping an element touches
//! one bucket; growth is incremental. A name is hashed once, and the hash is kept beside the element: growth reads
//! neither the elements nor their names, which are far away when there are many.

use crate::sync::Arc;
use papaya::{Equivalent, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

/// An element, as the map's key.
struct ByName<T> {
    hash: u64,
    element: Arc<T>,
}

impl<T> Hash for ByName<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: AsRef<str>> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (*self.element).as_ref() == (*other.element).as_ref()
    }
}

impl<T: AsRef<str>> Eq for ByName<T> {}

/// A name that is looked up.
struct Sought<'a> {
    hash: u64,
    name: &'a str,
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: AsRef<str>> Equivalent<ByName<T>> for Sought<'_> {
    fn equivalent(&self, key: &ByName<T>) -> bool {
        self.hash == key.hash && self.name == (*key.element).as_ref()
    }
}

/// The hash of what is a hash already.
#[derive(Debug, Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Elements of a type that gives its name, which never changes, as a text. See the module's text.
///
/// Hashed with a seed of this process: names may come from an attacker.
pub(crate) struct Names<T> {
    all: HashMap<ByName<T>, (), BuildHasherDefault<Ready>>,
    seed: crate::hash::Quality,
}

impl<T: AsRef<str>> Names<T> {
    /// None.
    pub(crate) fn new() -> Self {
        Names { all: HashMap::default(), seed: crate::hash::Quality::default() }
    }

    fn sought<'a>(&self, name: &'a str) -> Sought<'a> {
        Sought { hash: self.seed.hash_one(name), name }
    }

    /// Calls `f` with the element of that name, if there is one.
    #[inline]
    pub(crate) fn look_up<R>(&self, name: &str, f: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
        let guard = self.all.guard();
        f(self.all.get_key_value(&self.sought(name), &guard).map(|(found, ())| &found.element))
    }

    /// Calls `found` with the element of that name. One that gives `None` has ended: it is taken out. If there is none,
    /// what `make` makes is put in its place and found, unless somebody else was first.
    pub(crate) fn find_or_make<R>(
        &self,
        name: &str,
        mut found: impl FnMut(&Arc<T>) -> Option<R>,
        make: impl Fn() -> Arc<T>,
    ) -> R {
        let (guard, sought) = (self.all.guard(), self.sought(name));
        loop {
            if let Some((key, ())) = self.all.get_key_value(&sought, &guard) {
                if let Some(result) = found(&key.element) {
                    return result;
                }
                // Who ended it may not have come to that yet.
                self.remove(&key.element);
                continue;
            }
            // An error means that somebody else was first.
            let _ = self.all.try_insert(ByName { hash: sought.hash, element: make() }, (), &guard);
        }
    }

    /// Takes an element out, if it is still in.
    pub(crate) fn remove(&self, element: &Arc<T>) {
        let guard = self.all.guard();
        let is_it = |key: &ByName<T>, (): &()| Arc::ptr_eq(&key.element, element);
        // An error means that the name has another one already.
        let _ = self.all.remove_if(&self.sought((**element).as_ref()), is_it, &guard);
    }

    /// Calls `f` with each of them, in no order.
    pub(crate) fn for_each(&self, mut f: impl FnMut(&T)) {
        self.all.keys(&self.all.guard()).for_each(|key| f(&key.element));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

impl<T> std::fmt::Debug for Names<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}
