//! A subscription is put into an entry that the table holds and keeps, however it meets the retirement of the entry
//! that was there before; and an entry is retired by one, once.
//!
//! One ends the last subscription of an entry, another begins and ends a use by a handle, a third subscribes. The table
//! is a place for one entry behind a lock, used as `Names` uses its map: looked up, inserted into and removed
//! from in separate steps.
//!
//! All schedules of up to four preemptions: about 4 s.
// loom: preemptions=4
// mutants: topic_lifecycle.ignore_retired, topic_lifecycle.retire_without_claim
#![cfg(fanfare_loom)]

use fanfare::internals::topic_lifecycle::TopicLifecycle;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use std::sync::Arc;

struct Table {
    entry: Mutex<Option<Arc<TopicLifecycle>>>,
    /// The entry that was there at first, and how many found that they had retired it.
    first: Arc<TopicLifecycle>,
    retirers: AtomicU32,
}

impl Table {
    fn look_up(&self) -> Option<Arc<TopicLifecycle>> {
        self.entry.lock().unwrap().clone()
    }

    fn begin_use(&self, begin: impl Fn(&TopicLifecycle) -> bool) -> Arc<TopicLifecycle> {
        loop {
            if let Some(found) = self.look_up() {
                if begin(&found) {
                    return found;
                }
                self.remove(&found);
                continue;
            }
            // Not used yet: somebody else may begin first, and retire it.
            self.entry.lock().unwrap().get_or_insert_with(|| Arc::new(TopicLifecycle::new()));
        }
    }

    fn end_use(&self, entry: &Arc<TopicLifecycle>, retired: bool) {
        if retired {
            self.retirers.fetch_add(u32::from(Arc::ptr_eq(entry, &self.first)), Ordering::Relaxed);
            self.remove(entry);
        }
    }

    fn remove(&self, entry: &Arc<TopicLifecycle>) {
        assert!(entry.is_retired());
        let mut place = self.entry.lock().unwrap();
        if place.as_ref().is_some_and(|found| Arc::ptr_eq(found, entry)) {
            *place = None;
        }
    }
}

#[test]
fn a_subscription_is_in_an_entry_that_the_table_keeps() {
    fanfare_loom::model(|| {
        let first = Arc::new(TopicLifecycle::new());
        assert!(first.add_subscription());
        let entry = Mutex::new(Some(first.clone()));
        let table = Arc::new(Table { entry, first: first.clone(), retirers: AtomicU32::new(0) });
        let unsubscribes = {
            let (table, first) = (table.clone(), first.clone());
            thread::spawn(move || table.end_use(&first, first.drop_subscriptions(1)))
        };
        let has_handle = {
            let table = table.clone();
            thread::spawn(move || {
                let entry = table.begin_use(TopicLifecycle::add_handle);
                table.end_use(&entry, entry.drop_handle());
            })
        };
        let entry = table.begin_use(TopicLifecycle::add_subscription);
        unsubscribes.join().unwrap();
        has_handle.join().unwrap();
        assert!(!entry.is_retired());
        assert_eq!(entry.subscriptions(), 1);
        let found = table.look_up();
        assert!(found.is_some_and(|found| Arc::ptr_eq(&found, &entry)), "the subscription is where nobody finds it");
        let replaced = !Arc::ptr_eq(&first, &entry);
        assert_eq!(table.retirers.load(Ordering::Relaxed), u32::from(replaced));
    });
}
