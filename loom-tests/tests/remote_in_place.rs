//! A broadcast in place, which applies the log for the worker, does not let one that was published before meet a
//! subscriber who came after: it is refused while that one is in the inbox.
//!
//! One publishes by the inbox and then subscribes; another publishes in place. The worker comes last: what it does in
//! between is `baton.rs`.
//!
//! All schedules of up to four preemptions: less than 1 s.
// loom: preemptions=4
// mutants: baton.no_second_look, remote.position_last, control_log.position, control_log.append
#![cfg(fanfare_loom)]

use fanfare::internals::control_log::ControlLogReader;
use fanfare::internals::inbox::Inbox;
use fanfare::internals::remote::{Remote, take_if_idle};
use loom::thread;
use std::sync::Arc;

/// A broadcast and its position.
type Item = (u32, u64);
type ToyRemote = Remote<Item, u32, (), Core>;

struct Core {
    /// Who comes.
    control_log: ControlLogReader<u32>,
    members: usize,
    /// Broadcasts, and how many members each met.
    got: Vec<(u32, usize)>,
}

impl Core {
    fn deliver(&mut self, remote: &ToyRemote, (number, position): Item) {
        while self.control_log.next(&remote.control_log, position).is_some() {
            self.members += 1;
        }
        self.got.push((number, self.members));
    }
}

fn push(remote: &ToyRemote, number: u32) {
    remote.inbox.push((number, remote.control_log.position()), 0).expect("there is room for all");
}

#[test]
fn a_broadcast_in_place_runs_ahead_of_no_other() {
    fanfare_loom::model(|| {
        let core = Core { control_log: ControlLogReader::new(), members: 0, got: Vec::new() };
        let remote: Arc<ToyRemote> = Arc::new(Remote::new(Inbox::new(4, 0), (), core));
        let first = {
            let remote = remote.clone();
            thread::spawn(move || {
                push(&remote, 1);
                remote.control_log.lock().append(7);
            })
        };
        match take_if_idle(|_| &*remote, 1) {
            Some(mut taken) => {
                let position = taken[0].position;
                taken[0].baton.with(|core| core.deliver(&remote, (2, position)));
            }
            None => push(&remote, 2),
        }
        first.join().unwrap();
        let mut got = remote.take_baton().with(|core| {
            // SAFETY: under the baton.
            while let Some(item) = unsafe { remote.inbox.pop() } {
                core.deliver(&remote, item);
            }
            core.got.clone()
        });
        got.sort_unstable();
        assert_eq!(got.len(), 2);
        assert_eq!(got[0], (1, 0), "it met one who subscribed after it had been published");
    });
}
