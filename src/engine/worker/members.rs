//! Who is subscribed to what, on one worker.
//!
//! A plain data structure, owned by the worker and changed under its baton only. For each topic and kind of subscriber
//! there is a *list* of places; for each subscription a *record* that says where in which list it is, linked with the
//! subscriber's other records:
//!
//! - I1. `list.records[i]` is the record of the subscriber at `list.places[i]`, and that record says `(list, i)`.
//! - I2. The records of one place form a doubly linked chain from `chains[kind][place]`.
//! - I3. A list that exists is in the chain of its topic's lists from `directory[topic number]`. It may be empty: a
//!   topic's lists are dropped when its bit for this worker is cleared, so whoever finds the bit set need not bring the
//!   topic along (`topic_lifecycle`, I3).
//!
//! Joining appends; leaving moves the list's last entry into the hole and tells its record (I1): constant time, at one
//! member and at a million. An unsubscribe finds the records by whichever is shorter, the topic's list or the
//! subscriber's chain.
//!
//! Lists change in place. A walk in progress doesn't see that: the worker holds changes of a topic back while one of
//! its walks is suspended (see [`core`](super::core)), so that no snapshot is needed; its reasons are in
//! `docs/decisions/0002-changes-wait-for-a-suspended-walk.md`.

use super::segments::Segments;
use crate::message::dispatch::Metadata;
use crate::sync::{Arc, prefetch};
use crate::topic::table::TopicEntry;

/// No list, no record.
const NONE: u32 = u32::MAX;

/// Where a subscriber lies on its worker: its kind (0: mailboxes; others: a type of handlers) and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The kind.
    pub kind: u16,
    /// The number within the kind.
    pub index: u32,
}

/// The members of one topic of one kind.
#[derive(Debug)]
pub(crate) struct List {
    topic: Arc<TopicEntry>,
    kind: u16,
    next: u32,
    /// Places and, beside them, records (I1).
    members: Segments,
    /// Parallel to `members` once a subscription with metadata has joined; empty otherwise.
    metadata: Vec<Option<Metadata>>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    list: u32,
    position: u32,
    next: u32,
    previous: u32,
}

/// Every list and record of one worker. See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Members {
    directory: Directory,
    lists: Vec<Option<List>>,
    free_lists: Vec<u32>,
    records: Vec<Record>,
    free_records: u32,
    chains: Vec<Vec<u32>>,
    subscriptions: u64,
    /// What removed subscriptions carried. It is to be dropped without the baton, since that may run code of users.
    pub removed_metadata: Vec<Metadata>,
}

impl List {
    /// The kind of its members.
    pub(crate) fn kind(&self) -> u16 {
        self.kind
    }

    /// How many members it has.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The longest run of places that starts at `position` and lies in one piece.
    #[inline]
    pub(crate) fn run(&self, position: usize) -> &[u32] {
        self.members.run(position)
    }

    /// What the subscription at `position` carries.
    pub(crate) fn metadata(&self, position: usize) -> Option<&Metadata> {
        self.metadata.get(position).and_then(Option::as_ref)
    }
}

impl Members {
    /// Nobody is subscribed to anything.
    pub(crate) fn new() -> Self {
        Members { free_records: NONE, ..Members::default() }
    }

    /// For a worker that ends: what all subscriptions carry goes. Whoever waits for that must not wait for the engine's
    /// last handle.
    pub(crate) fn give_metadata(&mut self) {
        let lists = self.lists.iter_mut().flatten();
        self.removed_metadata.extend(lists.flat_map(|list| list.metadata.iter_mut().filter_map(Option::take)));
    }

    /// Subscriptions on this worker.
    pub(crate) fn subscriptions(&self) -> u64 {
        self.subscriptions
    }

    /// The first list of the topic with that number.
    #[inline]
    pub(crate) fn first(&self, topic: u32) -> Option<u32> {
        some(self.directory.get(topic))
    }

    /// The list after `list` of the same topic.
    pub(crate) fn next(&self, list: u32) -> Option<u32> {
        some(self.list(list).next)
    }

    /// A list that exists.
    #[inline]
    pub(crate) fn list(&self, list: u32) -> &List {
        self.lists[list as usize].as_ref().expect("I3: a list in use exists")
    }

    fn list_mut(&mut self, list: u32) -> &mut List {
        self.lists[list as usize].as_mut().expect("I3: a list in use exists")
    }

    /// Members of a topic here, over all kinds.
    #[inline]
    pub(crate) fn len(&self, topic: u32) -> usize {
        let mut len = 0;
        let mut at = self.first(topic);
        while let Some(list) = at {
            len += self.list(list).len();
            at = self.next(list);
        }
        len
    }

    /// Whether the topic has members here, and all of them are mailboxes.
    #[inline]
    pub(crate) fn only_mailboxes(&self, topic: u32) -> bool {
        self.first(topic).is_some_and(|list| self.list(list).kind == 0 && self.list(list).next == NONE)
    }

    /// Adds a subscription to the topic of that number.
    ///
    /// # Panics
    ///
    /// If there is neither a list of that topic nor the topic's `entry`.
    pub(crate) fn subscribe(
        &mut self,
        topic: u32,
        entry: Option<Arc<TopicEntry>>,
        place: Place,
        metadata: Option<Metadata>,
    ) {
        let list = self.find_list(topic, place.kind).unwrap_or_else(|| {
            let entry = entry.or_else(|| self.entry(topic).cloned()).expect("I3: a topic whose bit is set has a list");
            self.make_list(entry, place.kind)
        });
        let head = chain(&mut self.chains, place);
        let next = *head;
        let position = self.list(list).len() as u32;
        let record = self.take_record(Record { list, position, next, previous: NONE });
        *chain(&mut self.chains, place) = record;
        if next != NONE {
            self.records[next as usize].previous = record;
        }
        let list = self.list_mut(list);
        if metadata.is_some() || !list.metadata.is_empty() {
            list.metadata.resize(list.members.len(), None);
            list.metadata.push(metadata);
        }
        list.members.push(place.index, record);
        self.subscriptions += 1;
    }

    /// Asks for the head of a subscriber's chain.
    pub(crate) fn prefetch_chain(&self, place: Place) {
        self.head(place).into_iter().for_each(prefetch);
    }

    /// Asks for the first record of its chain, whose head should be here by now.
    pub(crate) fn prefetch_record(&self, place: Place) {
        self.first_record(place).into_iter().for_each(prefetch);
    }

    /// Asks for where that record's list has it.
    pub(crate) fn prefetch_member(&self, place: Place) {
        if let Some(record) = self.first_record(place) {
            self.list(record.list).members.prefetch(record.position as usize);
        }
    }

    fn head(&self, place: Place) -> Option<&u32> {
        self.chains.get(place.kind as usize)?.get(place.index as usize)
    }

    fn first_record(&self, place: Place) -> Option<&Record> {
        self.records.get(*self.head(place)? as usize)
    }

    /// Removes every subscription of `place` to the topic. Returns how many there were.
    pub(crate) fn unsubscribe(&mut self, topic: u32, place: Place) -> u64 {
        let Some(list) = self.find_list(topic, place.kind) else { return 0 };
        // From both sides at once: whichever ends first was the shorter.
        let (mut removed, mut record) = (0, *chain(&mut self.chains, place));
        let mut left = self.list(list).len();
        while record != NONE && left > 0 {
            let here = self.records[record as usize];
            if here.list == list {
                self.remove(record, place);
                removed += 1;
            }
            record = here.next;
            left -= 1;
        }
        if record != NONE && self.list(list).len() > 0 {
            let found: Vec<u32> = self.list(list).members.records_of(place.index).collect();
            removed += found.len() as u64;
            for record in found {
                self.remove(record, place);
            }
        }
        removed
    }

    /// Removes the subscriptions of `place`, but for those to topics that `keep` says. Calls `removed` for each removed
    /// one.
    pub(crate) fn remove_all(
        &mut self,
        place: Place,
        keep: impl Fn(u32) -> bool,
        mut removed: impl FnMut(&Arc<TopicEntry>),
    ) {
        let mut record = *chain(&mut self.chains, place);
        while record != NONE {
            let here = self.records[record as usize];
            let topic = &self.list(here.list).topic;
            if !keep(topic.number()) {
                removed(topic);
                self.remove(record, place);
            }
            record = here.next;
        }
    }

    fn remove(&mut self, record: u32, place: Place) {
        let Record { list: number, position, next, previous } = self.records[record as usize];
        match previous {
            NONE => *chain(&mut self.chains, place) = next,
            _ => self.records[previous as usize].next = next,
        }
        if next != NONE {
            self.records[next as usize].previous = previous;
        }
        let list = self.list_mut(number);
        let metadata = if list.metadata.is_empty() { None } else { list.metadata.swap_remove(position as usize) };
        let moved = list.members.swap_remove(position as usize);
        self.removed_metadata.extend(metadata);
        if let Some(moved) = moved {
            self.records[moved as usize].position = position;
        }
        self.records[record as usize].next = self.free_records;
        self.free_records = record;
        self.subscriptions -= 1;
    }

    /// The topic of that number, if it has a list here.
    pub(crate) fn entry(&self, topic: u32) -> Option<&Arc<TopicEntry>> {
        self.first(topic).map(|list| &self.list(list).topic)
    }

    /// Drops the lists of a topic, all of them empty.
    pub(crate) fn drop_lists(&mut self, topic: u32) {
        debug_assert_eq!(self.len(topic), 0, "the members' records would say nothing");
        while let Some(number) = self.first(topic) {
            let list = self.lists[number as usize].take().expect("I3: a list in use exists");
            self.free_lists.push(number);
            self.directory.set(topic, list.next);
        }
    }

    fn take_record(&mut self, record: Record) -> u32 {
        match self.free_records {
            NONE => {
                self.records.push(record);
                self.records.len() as u32 - 1
            }
            free => {
                self.free_records = std::mem::replace(&mut self.records[free as usize], record).next;
                free
            }
        }
    }

    #[inline]
    fn find_list(&self, topic: u32, kind: u16) -> Option<u32> {
        let mut at = self.first(topic);
        while let Some(list) = at {
            if self.list(list).kind == kind {
                return at;
            }
            at = self.next(list);
        }
        None
    }

    fn make_list(&mut self, topic: Arc<TopicEntry>, kind: u16) -> u32 {
        let index = topic.number();
        let next = self.directory.get(index);
        let list = List { topic, kind, next, members: Segments::new(), metadata: Vec::new() };
        let number = match self.free_lists.pop() {
            Some(free) => {
                self.lists[free as usize] = Some(list);
                free
            }
            None => {
                self.lists.push(Some(list));
                self.lists.len() as u32 - 1
            }
        };
        self.directory.set(index, number);
        number
    }
}

fn some(number: u32) -> Option<u32> {
    if number == NONE { None } else { Some(number) }
}

fn chain(chains: &mut Vec<Vec<u32>>, place: Place) -> &mut u32 {
    let kind = place.kind as usize;
    if chains.len() <= kind {
        chains.resize_with(kind + 1, Vec::new);
    }
    let chain = &mut chains[kind];
    if chain.len() <= place.index as usize {
        chain.resize(place.index as usize + 1, NONE);
    }
    &mut chain[place.index as usize]
}

/// From a topic's number to its first list: chunks, allocated where used, so that growing moves nothing.
#[derive(Debug, Default)]
struct Directory(Vec<Option<Box<[u32; DIRECTORY_CHUNK]>>>);

const DIRECTORY_CHUNK: usize = 1024;

impl Directory {
    #[inline]
    fn get(&self, topic: u32) -> u32 {
        let chunk = self.0.get(topic as usize / DIRECTORY_CHUNK).and_then(Option::as_ref);
        chunk.map_or(NONE, |chunk| chunk[topic as usize % DIRECTORY_CHUNK])
    }

    fn set(&mut self, topic: u32, list: u32) {
        let chunk = topic as usize / DIRECTORY_CHUNK;
        if self.0.len() <= chunk {
            self.0.resize_with(chunk + 1, || None);
        }
        let chunk = self.0[chunk].get_or_insert_with(|| Box::new([NONE; DIRECTORY_CHUNK]));
        chunk[topic as usize % DIRECTORY_CHUNK] = list;
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::worker::members::*;
    use crate::protocol::topic_lifecycle::TopicLifecycle;
    use crate::topic::table::Table;
    use std::collections::HashMap;

    /// Random joins and leaves against a plain map of counts, with every invariant checked on the way.
    #[test]
    fn agrees_with_a_plain_map() {
        let table = Table::new();
        let topics: Vec<_> =
            (0..5).map(|i| table.begin_use(&format!("t{i}"), TopicLifecycle::add_handle, Arc::clone)).collect();
        let mut members = Members::new();
        let mut model: HashMap<(usize, Place), u64> = HashMap::new();
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for step in 0..60_000 {
            let topic = random(5) as usize;
            // Few places on topic 0, thousands on the others, so that both sides of the search are used.
            let place = Place { kind: random(3) as u16, index: random(if topic == 0 { 3 } else { 3_000 }) as u32 };
            match random(10) {
                0..6 => {
                    let metadata = (random(2) == 0).then(|| Arc::new(place) as Metadata);
                    let entry = members.entry(topics[topic].number()).is_none().then(|| topics[topic].clone());
                    members.subscribe(topics[topic].number(), entry, place, metadata);
                    *model.entry((topic, place)).or_default() += 1;
                }
                6..9 => {
                    let expected = model.remove(&(topic, place)).unwrap_or(0);
                    assert_eq!(members.unsubscribe(topics[topic].number(), place), expected);
                }
                _ => {
                    let keep = topics[topic].number();
                    let mut gone = 0;
                    members.remove_all(place, |number| number == keep, |_| gone += 1);
                    let mut expected = 0;
                    model.retain(|key, count| {
                        let goes = key.1 == place && key.0 != topic;
                        expected += if goes { *count } else { 0 };
                        !goes
                    });
                    assert_eq!(gone, expected);
                }
            }
            if members.len(topics[topic].number()) == 0 && random(2) == 0 {
                members.drop_lists(topics[topic].number());
            }
            if step % 1_000 == 0 {
                check(&members, &topics, &model);
            }
        }
        check(&members, &topics, &model);
    }

    fn check(members: &Members, topics: &[Arc<TopicEntry>], model: &HashMap<(usize, Place), u64>) {
        let mut found: HashMap<(usize, Place), u64> = HashMap::new();
        for (t, topic) in topics.iter().enumerate() {
            let mut at = members.first(topic.number());
            while let Some(number) = at {
                let list = members.list(number);
                let mut position = 0;
                while position < list.len() {
                    for (i, &index) in list.run(position).iter().enumerate() {
                        let place = Place { kind: list.kind(), index };
                        *found.entry((t, place)).or_default() += 1;
                        let record = members.records[list.members.record(position + i) as usize];
                        assert_eq!((record.list, record.position as usize), (number, position + i), "I1");
                        if let Some(metadata) = list.metadata(position + i) {
                            assert_eq!(
                                metadata.downcast_ref::<Place>(),
                                Some(&place),
                                "metadata moves with its member"
                            );
                        }
                    }
                    position += list.run(position).len();
                }
                at = members.next(number);
            }
        }
        assert_eq!(&found, model);
        assert_eq!(members.subscriptions(), model.values().sum::<u64>());
    }
}
