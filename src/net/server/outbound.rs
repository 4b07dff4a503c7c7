//! What waits to be written to one connection.
//!
//! Frames are references to bytes that other connections may share. A flush writes all that waits with one call where
//! the system takes it, so a lone frame is one write and a burst is one write of several frames. An empty queue always
//! takes a frame, whatever its size; otherwise the bytes that wait are bounded. Nothing is allocated while nothing
//! waits.

use bytes::Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

/// Frames in one write.
const SLICES: usize = 64;
/// Frames of up to so many bytes together are copied into one piece, which costs less than the system's own gathering
/// of small pieces.
const JOINED: usize = 16 << 10;

thread_local! {
    /// Where they are copied to.
    static JOIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The queue of a connection.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    frames: VecDeque<Bytes>,
    /// Bytes of the first frame that have been written.
    written: usize,
    bytes: usize,
    /// Frames that were refused since the last that was taken.
    refused: u64,
    /// Whether the connection is in the reactor's list of those to be flushed.
    pub(crate) is_dirty: bool,
    /// The system takes no more now.
    pub(crate) is_blocked: bool,
    /// Nothing is taken any more: the connection ends when the queue is empty.
    pub(crate) is_ending: bool,
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Taken,
    /// The queue is full.
    Refused,
    /// The connection ends.
    Ending,
}

/// What a flush came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    All,
    /// The system takes no more now.
    Blocked,
    /// The peer has gone.
    Gone,
}

impl Outbound {
    /// Takes a frame, unless that would make more than `max` bytes wait.
    pub(crate) fn push(&mut self, frame: Bytes, max: usize) -> Pushed {
        if self.is_ending {
            return Pushed::Ending;
        }
        if !self.frames.is_empty() && self.bytes.saturating_add(frame.len()) > max {
            self.refused += 1;
            return Pushed::Refused;
        }
        self.push_always(frame);
        Pushed::Taken
    }

    /// Takes a frame whatever waits: for the few that must go, such as a close.
    pub(crate) fn push_always(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Forgets what waits, but for a frame that has been written in part.
    pub(crate) fn drop_unwritten(&mut self) {
        self.frames.truncate(usize::from(self.written > 0));
        self.bytes = self.frames.front().map_or(0, |first| first.len() - self.written);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether less than half of `max` waits, and there is room for a notice.
    pub(crate) fn is_low(&self, max: usize) -> bool {
        const NOTICE: usize = 256;
        self.frames.is_empty() || self.bytes <= max / 2 && self.bytes.saturating_add(NOTICE) <= max
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many frames were refused since this was last asked.
    pub(crate) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self, mut to: impl Write) -> Flushed {
        self.is_blocked = false;
        while let Some(first) = self.frames.front() {
            let result = if self.frames.len() == 1 {
                to.write(&first[self.written..])
            } else if self.bytes <= JOINED {
                JOIN.with_borrow_mut(|joined| {
                    joined.clear();
                    joined.extend_from_slice(&first[self.written..]);
                    self.frames.iter().skip(1).for_each(|frame| joined.extend_from_slice(frame));
                    to.write(joined)
                })
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = self.frames.len().min(SLICES);
                for (slice, frame) in slices.iter_mut().zip(&self.frames) {
                    *slice = IoSlice::new(frame);
                }
                slices[0] = IoSlice::new(&first[self.written..]);
                to.write_vectored(&slices[..count])
            };
            match result {
                Ok(0) => return Flushed::Gone,
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return Flushed::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flushed::Gone,
            }
        }
        // The memory of a burst goes with it.
        self.frames = VecDeque::new();
        Flushed::All
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while count > 0 {
            let Some(first) = self.frames.front() else { return };
            let left = first.len() - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that takes so many bytes at each call, and then no more.
    struct Slow {
        takes: Vec<usize>,
        got: Vec<u8>,
        calls: usize,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.calls += 1;
            let Some(take) = self.takes.pop() else { return Err(io::ErrorKind::WouldBlock.into()) };
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let count = take.min(all.len());
            self.got.extend(&all[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn several_frames_are_one_write() {
        let mut outbound = Outbound::default();
        let frames = [&b"one"[..], b"two", b"three"];
        frames.iter().for_each(|frame| assert_eq!(outbound.push(Bytes::from_static(frame), 100), Pushed::Taken));
        let mut peer = Slow { takes: vec![100], got: Vec::new(), calls: 0 };
        assert_eq!(outbound.flush(&mut peer), Flushed::All);
        assert_eq!((peer.calls, &*peer.got, outbound.bytes()), (1, &b"onetwothree"[..], 0));
    }

    #[test]
    fn a_write_in_part_goes_on_where_it_ended() {
        for first in 1..11 {
            let mut outbound = Outbound::default();
            [&b"one"[..], b"two", b"three"].iter().for_each(|frame| outbound.push_always(Bytes::from_static(frame)));
            let mut peer = Slow { takes: vec![first], got: Vec::new(), calls: 0 };
            assert_eq!(outbound.flush(&mut peer), Flushed::Blocked);
            assert_eq!(outbound.bytes(), 11 - first);
            peer.takes = vec![100, 100];
            assert_eq!(outbound.flush(&mut peer), Flushed::All);
            assert_eq!(peer.got, b"onetwothree");
        }
    }

    #[test]
    fn an_empty_queue_takes_a_frame_of_any_size_and_a_full_one_counts_what_it_refuses() {
        let mut outbound = Outbound::default();
        assert_eq!(outbound.push(Bytes::from(vec![0; 50]), 10), Pushed::Taken);
        assert_eq!(outbound.push(Bytes::from_static(b"x"), 10), Pushed::Refused);
        assert_eq!(outbound.take_refused(), 1);
        assert_eq!(outbound.take_refused(), 0);
        outbound.drop_unwritten();
        assert!(outbound.is_empty());
        assert_eq!(outbound.push(Bytes::from_static(b"x"), 10), Pushed::Taken);
        assert_eq!(outbound.push(Bytes::from(vec![0; 9]), 10), Pushed::Taken);
        assert_eq!(outbound.push(Bytes::from_static(b"x"), 10), Pushed::Refused);
    }
}
