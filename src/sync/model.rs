//! The primitives under the model checker: loom's, in the shape of the ones in production.

#![allow(dead_code, reason = "the modules under the model checker use a part of what production uses")]

pub use loom::cell::UnsafeCell;
pub use loom::sync::Arc;
pub use loom::sync::atomic::{Ordering, fence};
pub use std::sync::OnceLock;

/// Whether `FANFARE_MUTANT` names this ordering, fence or step. Read once: one process tests one mutant.
pub fn mutant(name: &str) -> bool {
    static MUTANT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    MUTANT.get_or_init(|| std::env::var("FANFARE_MUTANT").ok()).as_deref() == Some(name)
}

/// Defines an atomic on loom's own of that name.
///
/// Each operation is preceded by a touch: a relaxed read-modify-write of a word beside it, which orders nothing in
/// memory (fences could pair through it, but the `SeqCst` ones are ordered anyway, and the acquire fence of `refs`
/// meets no other). It makes all operations on one atomic depend on each other in the eyes of loom's search. Loom
/// remembers only the last access to an atomic, so where a thread loads a word and then stores it, loom forgets that
/// another had loaded it before, and never tries the store ahead of that load.
macro_rules! atomic {
    ($name:ident $(<$param:ident>)?, $value:ty, $($extra:ident($($operand:ident),*)),*) => {
        #[doc = concat!("Loom's `", stringify!($name), "`, with every operation in loom's sight.")]
        #[derive(Debug)]
        pub struct $name $(<$param>)? {
            value: loom::sync::atomic::$name $(<$param>)?,
            touched: loom::sync::atomic::AtomicBool,
        }

        impl $(<$param>)? $name $(<$param>)? {
            /// As std's.
            pub fn new(value: $value) -> Self {
                let value = loom::sync::atomic::$name::new(value);
                $name { value, touched: loom::sync::atomic::AtomicBool::new(false) }
            }

            fn touch(&self) {
                self.touched.swap(true, Ordering::Relaxed);
            }

            /// As std's.
            pub fn load(&self, ordering: Ordering) -> $value {
                self.touch();
                self.value.load(ordering)
            }

            /// As std's.
            pub fn store(&self, value: $value, ordering: Ordering) {
                self.touch();
                self.value.store(value, ordering);
            }

            /// As std's.
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.touch();
                self.value.compare_exchange(current, new, success, failure)
            }

            /// As std's, but never without cause.
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            /// As std's.
            pub fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                self.touch();
                self.value.fetch_update(success, failure, update)
            }

            $(
                /// As std's.
                pub fn $extra(&self, $($operand: $value,)* ordering: Ordering) -> $value {
                    self.touch();
                    self.value.$extra($($operand,)* ordering)
                }
            )*
        }
    };
}

atomic!(AtomicBool, bool, swap(value));
atomic!(AtomicU32, u32, swap(value), fetch_add(value), fetch_sub(value), fetch_and(value), fetch_or(value));
atomic!(AtomicU64, u64, swap(value), fetch_add(value), fetch_sub(value), fetch_and(value), fetch_or(value));
atomic!(AtomicPtr<T>, *mut T, swap(value));

/// Threads, and the parking of them.
///
/// Parking goes through loom's `Notify`, not through loom's own `park`: that one hands the unparking thread's view of
/// memory over at once, even to a thread that runs, and would hide what a handshake lacks. A `Notify` keeps one wake,
/// as a park token does, hands the view over when the wake is taken, and wakes its thread once for no reason.
pub mod thread {
    pub use loom::thread::yield_now;

    loom::thread_local! {
        static CURRENT: Thread = Thread(std::sync::Arc::new(loom::sync::Notify::new()));
    }

    /// A thread that can be woken.
    #[derive(Debug, Clone)]
    pub struct Thread(std::sync::Arc<loom::sync::Notify>);

    impl Thread {
        /// Wakes it: the sleep in progress, or else the next one.
        pub fn unpark(&self) {
            self.0.notify();
        }
    }

    /// The calling thread.
    pub fn current() -> Thread {
        CURRENT.with(Clone::clone)
    }

    /// Sleeps until woken.
    pub fn park() {
        let Thread(notify) = current();
        notify.wait();
    }

    /// Time does not pass in a model, so a bounded sleep may last for ever: no model relies on the bound.
    pub fn park_timeout(_: std::time::Duration) {
        park();
    }
}

/// In a model a spin is a yield: another thread has to move.
pub fn spin_loop() {
    loom::thread::yield_now();
}

/// Nothing to ask of a cache in a model.
pub fn prefetch<T>(_: &T) {}

/// Nor this.
pub fn prefetch_line(_: usize) {}

/// Padding means nothing in a model.
#[derive(Debug, Default)]
pub struct CachePadded<T>(T);

impl<T> CachePadded<T> {
    /// The value, not padded.
    pub fn new(value: T) -> Self {
        CachePadded(value)
    }
}

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Loom's mutex, without poisoning.
#[derive(Debug)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// The guard of [`Mutex`].
pub type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    /// A mutex holding `value`.
    pub fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("a model that panics is over")
    }
}

/// A number that was never given before in this process.
pub fn unique_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
