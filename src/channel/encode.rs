//! Frames that many connections share, encoded once.
//!
//! A broadcast of the endpoint carries a [`Frames`]: the first of its receivers that needs a serializer's frame makes
//! it, and all others, on whichever worker, share the bytes. If two workers need it at once, one makes it and the other
//! waits.

use super::endpoint::Inner;
use super::{Frame, guarded};
use crate::message::attachment::ForClients;
use crate::message::body::Message;
use crate::sync::{Arc, AtomicU64, Mutex, OnceLock, Ordering};
use bytes::Bytes;

/// A frame that many connections share, and what it is on their wire.
///
/// The bytes are there once. What counts the references to them is there once for each worker, so that no line is
/// written by two workers for each delivery.
#[derive(Debug)]
pub(crate) struct Encoded {
    frame: Frame,
    wire: OnceLock<Bytes>,
    handles: Box<[OnceLock<Bytes>]>,
}

impl Encoded {
    /// Of a frame, for so many workers.
    pub(crate) fn new(frame: Frame, workers: usize) -> Self {
        Encoded { frame, wire: OnceLock::new(), handles: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// The frame.
    pub(crate) fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The frame as a transport's wire has it, for a connection of that worker: made by the first that asks, shared by
    /// all. A process has one kind of wire, WebSocket's.
    pub(crate) fn wire(&self, worker: usize, make: impl FnOnce(&Frame) -> Bytes) -> Bytes {
        let wire = || self.wire.get_or_init(|| make(&self.frame)).clone();
        self.handles[worker].get_or_init(|| Bytes::from_owner(wire())).clone()
    }
}

/// What a broadcast is encoded to: a slot for each serializer of the endpoint that made it.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Whose slots these are, by where it lies. A channel that gets the broadcast was joined before it was made, so its
    /// endpoint and the one that made it were there at one time.
    endpoint: usize,
    slots: Box<[OnceLock<Option<Encoded>>]>,
    /// Those of other endpoints on the same engine, whose channels are on the topic too.
    others: Mutex<Vec<Arc<Frames>>>,
}

pub(crate) fn number_of(endpoint: &Arc<Inner>) -> usize {
    Arc::as_ptr(endpoint).addr()
}

impl Frames {
    /// For a broadcast of an endpoint.
    pub(crate) fn of(endpoint: &Arc<Inner>) -> Self {
        let slots = endpoint.serializers.iter().map(|_| OnceLock::new()).collect();
        Frames { endpoint: number_of(endpoint), slots, others: Mutex::new(Vec::new()) }
    }

    /// Those of a message that is for clients, met by a channel of `endpoint`.
    pub(crate) fn with<'a>(message: &'a Message, endpoint: &Arc<Inner>) -> Option<&'a Frames> {
        message.attachment::<Frames>().or_else(|| {
            let ForClients(frames) = message.attachment()?;
            frames.get_or_init(|| Arc::new(Frames::of(endpoint))).downcast_ref()
        })
    }

    /// Calls `with` with the frame for a channel of `endpoint`; not if the message can't be encoded for it.
    pub(crate) fn encoded(&self, slot: usize, message: &Message, endpoint: &Arc<Inner>, with: impl FnMut(&Encoded)) {
        let number = number_of(endpoint);
        if self.endpoint == number {
            return self.own(slot, message, endpoint).into_iter().for_each(with);
        }
        let frames = {
            let mut others = self.others.lock();
            let known = others.iter().find(|frames| frames.endpoint == number).cloned();
            known.unwrap_or_else(|| {
                let frames = Arc::new(Frames::of(endpoint));
                others.push(frames.clone());
                frames
            })
        };
        frames.own(slot, message, endpoint).into_iter().for_each(with);
    }

    fn own(&self, slot: usize, message: &Message, endpoint: &Inner) -> Option<&Encoded> {
        let make = || {
            let serializer = &endpoint.serializers[slot];
            // A panic must not go on: it would end the receiver that happened to come first, and then the next.
            let frame = guarded::encode(|| serializer.broadcast(message.topic(), message.event(), message.payload()));
            let counter = if frame.is_ok() { &endpoint.counters.encoded } else { &endpoint.counters.unencodable };
            counter.fetch_add(1, Ordering::Relaxed);
            frame.ok().map(|frame| Encoded::new(frame, endpoint.workers()))
        };
        self.slots.get(slot)?.get_or_init(make).as_ref()
    }
}

/// What an endpoint counts.
#[derive(Debug, Default)]
pub(crate) struct EndpointCounters {
    /// Encodings of broadcasts.
    pub(crate) encoded: AtomicU64,
    /// Broadcasts that a serializer refused.
    pub(crate) unencodable: AtomicU64,
}
