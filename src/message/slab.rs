//! Where messages live: a slab of cells, one for the whole process, so that a 32-bit number names a message.
//!
//! Mailboxes hold such numbers, which is what makes them small. Cells are in chunks of 4,096 that are allocated when
//! first needed and never moved or freed, so a cell's address is good for ever; chunks are as many as the most messages
//! that were alive at once needed.
//!
//! Free cells are kept in chains of [`CHAIN`], linked through the cells. Each thread has up to two chains of its own
//! and hands whole ones to, and takes them from, a depot under a lock, so that publishers that only allocate and
//! readers that only free meet once in [`CHAIN`] messages.
//!
//! - I1. A cell is free (in one chain of one thread or the depot), or in use with a content and a count of references
//!   above zero, or in the hands of the one who brought the count to zero. It is written only in the first and last
//!   case, by the one who has it.
//! - I2. The depot's lock passes what a thread did with a chain's cells on to the next thread that takes the chain.
//!
//! Trusted, not modelled: the chains. The counts are modelled in `loom-tests/tests/refs.rs`.

use super::dispatch::Dispatcher;
use super::payload::{Event, Payload};
use crate::protocol::refs::Refs;
use crate::sync::{Arc, AtomicPtr, AtomicU32, Mutex, Ordering, UnsafeCell, prefetch};
use crate::topic::table::TopicEntry;
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::any::Any;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

const CHUNK_BITS: u32 = 12;
const CHUNK: u32 = 1 << CHUNK_BITS;
/// Most messages alive at once in a process: 268 million.
const CHUNKS_MAX: usize = 1 << 16;
/// Cells in a chain.
const CHAIN: u32 = 64;
/// The end of a chain.
const NONE: u32 = u32::MAX;

/// What a message is made of.
pub(crate) struct Content {
    pub(crate) topic: Arc<TopicEntry>,
    pub(crate) event: Event,
    pub(crate) payload: Payload,
    pub(crate) dispatcher: Option<Arc<dyn Dispatcher>>,
    /// What a layer above keeps with the message, such as what it is encoded to.
    pub(crate) attachment: Option<Arc<dyn Any + Send + Sync>>,
}

/// A cell: 128 bytes, two lines, so that the counts of neighbours do not meet in one.
#[repr(align(128))]
struct Cell {
    refs: Refs,
    /// Its own number. Written when the cell is first handed out.
    handle: AtomicU32,
    /// The next free cell of its chain, while it is free.
    next: AtomicU32,
    content: UnsafeCell<MaybeUninit<Content>>,
}

const _: () = assert!(size_of::<Cell>() == 128);

/// A cell in use.
#[derive(Clone, Copy)]
pub(crate) struct CellRef(NonNull<Cell>);

// SAFETY: what is reached through it is the content, which is `Send + Sync` (asserted below), and atomics.
unsafe impl Send for CellRef {}
// SAFETY: as above.
unsafe impl Sync for CellRef {}

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Content>();
};

impl CellRef {
    /// # Safety
    ///
    /// The caller must have a reference to the message of this number.
    pub(crate) unsafe fn from_handle(handle: u32) -> CellRef {
        let chunk = SLAB.chunks[(handle >> CHUNK_BITS) as usize].load(Ordering::Acquire);
        debug_assert!(!chunk.is_null());
        // SAFETY: a number in use is of an allocated chunk (the caller's promise), and the offset is within it.
        CellRef(unsafe { NonNull::new_unchecked(chunk.add((handle & (CHUNK - 1)) as usize)) })
    }

    fn cell(&self) -> &Cell {
        // SAFETY: cells are never moved or freed, and all their fields may be shared.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn refs(&self) -> &Refs {
        &self.cell().refs
    }

    #[inline]
    pub(crate) fn handle(&self) -> u32 {
        self.cell().handle.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn content(&self) -> &Content {
        self.cell().content.with(|content| {
            // SAFETY: a cell in use has a content that nobody writes (I1). It lives as long as the references do, which
            // every caller holds for as long as it holds us.
            unsafe { (*content).assume_init_ref() }
        })
    }
}

struct Slab {
    /// Each written once, under the depot's lock.
    chunks: [AtomicPtr<Cell>; CHUNKS_MAX],
    depot: Mutex<Depot>,
}

struct Depot {
    chains: Vec<Chain>,
    /// Cells from here on were never handed out.
    fresh: u32,
}

static SLAB: Slab = Slab {
    chunks: [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS_MAX],
    depot: Mutex::new(Depot { chains: Vec::new(), fresh: 0 }),
};

#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    len: u32,
}

const EMPTY: Chain = Chain { first: NONE, len: 0 };

/// The chains of a thread. `full` is a whole chain or empty.
struct Magazine {
    open: Chain,
    full: Chain,
}

thread_local! {
    static MAGAZINE: RefCell<Magazine> = const { RefCell::new(Magazine { open: EMPTY, full: EMPTY }) };
}

impl Chain {
    fn push(&mut self, cell: CellRef) {
        cell.cell().next.store(self.first, Ordering::Relaxed);
        self.first = cell.handle();
        self.len += 1;
    }

    fn pop(&mut self) -> Option<CellRef> {
        if self.len == 0 {
            return None;
        }
        // SAFETY: the cell is in our chain, hence of an allocated chunk; nobody else has it (I1).
        let cell = unsafe { CellRef::from_handle(self.first) };
        self.first = cell.cell().next.load(Ordering::Relaxed);
        self.len -= 1;
        if self.len > 0 {
            // The next one to be handed out was last written by the reader that freed it, on another processor.
            // SAFETY: as above.
            prefetch(unsafe { CellRef::from_handle(self.first) }.cell());
        }
        Some(cell)
    }
}

impl Magazine {
    fn alloc(&mut self) -> CellRef {
        if self.open.len == 0 {
            self.open = if self.full.len > 0 { std::mem::replace(&mut self.full, EMPTY) } else { take_chain() };
        }
        self.open.pop().expect("a chain that was taken is not empty")
    }

    fn free(&mut self, cell: CellRef) {
        if self.open.len == CHAIN {
            give_chain(std::mem::replace(&mut self.full, self.open));
            self.open = EMPTY;
        }
        self.open.push(cell);
    }
}

impl Drop for Magazine {
    fn drop(&mut self) {
        give_chain(self.open);
        give_chain(self.full);
    }
}

fn give_chain(chain: Chain) {
    if chain.len > 0 {
        SLAB.depot.lock().chains.push(chain);
    }
}

/// A chain from the depot, or one of cells that were never used.
///
/// # Panics
///
/// If as many messages as cells can exist are alive; memory is long gone by then.
fn take_chain() -> Chain {
    let mut depot = SLAB.depot.lock();
    if let Some(chain) = depot.chains.pop() {
        return chain;
    }
    let fresh = depot.fresh;
    let slot = SLAB.chunks.get((fresh >> CHUNK_BITS) as usize).expect("more than 268 million messages are alive");
    let mut chunk = slot.load(Ordering::Relaxed);
    if chunk.is_null() {
        let layout = Layout::array::<Cell>(CHUNK as usize).expect("a chunk is far smaller than the address space");
        // SAFETY: the layout's size is not zero.
        chunk = unsafe { alloc_zeroed(layout) }.cast();
        if chunk.is_null() {
            handle_alloc_error(layout);
        }
        // Pairs with the load in `from_handle`; zero bytes are valid for every field of a free cell.
        slot.store(chunk, Ordering::Release);
    }
    depot.fresh += CHAIN;
    drop(depot);
    let mut chain = EMPTY;
    for handle in (fresh..fresh + CHAIN).rev() {
        // SAFETY: the cell is of the chunk allocated above (chains do not cross chunks: CHAIN divides CHUNK), and was
        // given to nobody else, since `fresh` moved under the lock.
        let cell = unsafe { CellRef::from_handle(handle) };
        cell.cell().handle.store(handle, Ordering::Relaxed);
        chain.push(cell);
    }
    chain
}

const _: () = assert!(CHUNK.is_multiple_of(CHAIN));

/// A cell with `content` and `refs` references.
pub(crate) fn alloc(content: Content, refs: u64) -> CellRef {
    // While a thread ends its magazine is gone: such a late message takes and gives single chains.
    let cell = MAGAZINE.try_with(|magazine| magazine.borrow_mut().alloc()).unwrap_or_else(|_| {
        let mut chain = take_chain();
        let cell = chain.pop().expect("a chain that was taken is not empty");
        give_chain(chain);
        cell
    });
    cell.cell().content.with_mut(|slot| {
        // SAFETY: the cell is free and ours (I1).
        unsafe { (*slot).write(content) };
    });
    cell.cell().refs.set(refs);
    cell
}

/// Drops the content and frees the cell.
///
/// # Safety
///
/// The caller must be the one who brought the count of references to zero.
pub(crate) unsafe fn free(cell: CellRef) {
    let content = cell.cell().content.with(|slot| {
        // SAFETY: the content is there and nobody else has it (I1, the caller's promise); it is read out once.
        unsafe { (*slot).assume_init_read() }
    });
    // The cell goes back first: dropping the content runs code of users, which may send messages or panic.
    if MAGAZINE.try_with(|magazine| magazine.borrow_mut().free(cell)).is_err() {
        let mut chain = EMPTY;
        chain.push(cell);
        give_chain(chain);
    }
    drop(content);
}
