//! A broadcast that meets the closing of the gate goes to all of its workers or to none: once the gate is closing and
//! quiet, no call from outside pushes any more, and what was pushed is seen.
//!
//! Two publishers, one that waits for room and one that does not, each to two workers; a third closes and waits until
//! it is quiet.
//!
//! All schedules of up to three preemptions: about 3 s.
// loom: preemptions=3
// mutants: gate.enter, gate.close, gate.quiet
#![cfg(fanfare_loom)]

use fanfare::internals::gate::{CLOSING, Gate};
use fanfare::internals::inbox::Inbox;
use fanfare::internals::remote::{Refused, Remote, publish};
use loom::thread;
use std::sync::Arc;

struct Engine {
    gate: Gate,
    remotes: [Remote<u32, (), (), ()>; 2],
}

#[test]
fn what_meets_the_closing_is_delivered_whole_or_refused() {
    fanfare_loom::model(|| {
        let remotes = [(); 2].map(|()| Remote::new(Inbox::new(2, 0), (), ()));
        let engine = Arc::new(Engine { gate: Gate::new(1), remotes });
        let publishers = [(1, true), (2, false)].map(|(number, wait)| {
            let engine = engine.clone();
            thread::spawn(move || {
                let sent = publish(&engine.gate, 0, |i| &engine.remotes[i], 0b11, 0, wait, || |_| number);
                assert!(matches!(sent, Ok(_) | Err(Refused::Closed)), "there is room for both");
                sent.is_ok()
            })
        });
        assert!(engine.gate.close());
        while !engine.gate.is_quiet() {
            thread::yield_now();
        }
        assert_eq!(engine.gate.phase(), CLOSING);
        let pop = |worker: usize| {
            // SAFETY: this thread alone pops.
            std::iter::from_fn(|| unsafe { engine.remotes[worker].inbox.pop() }).collect::<Vec<u32>>()
        };
        let mut got = [pop(0), pop(1)];
        let accepted = publishers.map(|publisher| publisher.join().unwrap());
        let expected: Vec<u32> =
            [1, 2].into_iter().zip(accepted).filter_map(|(number, yes)| yes.then_some(number)).collect();
        got.iter_mut().for_each(|got| got.sort_unstable());
        assert_eq!(got, [expected.clone(), expected], "seen once the gate was quiet");
        assert_eq!([pop(0), pop(1)], [Vec::<u32>::new(), Vec::new()], "pushed after the gate was quiet");
        assert_eq!(engine.gate.published(), accepted.iter().filter(|&&accepted| accepted).count() as u64);
    });
}
