//! The handle: [`Presence`].

use super::builder::Builder;
use super::diff::{Presences, Present, present};
use super::error::{FlushError, TrackError, UpdateError};
use super::rooms::aligned::{Aligned, Cursor};
use super::rooms::meta::{Fields, Meta, Metas, PhxRef};
use super::rooms::owner::{Added, Gone, Owned};
use super::rooms::room::{self, Room, Waiter, hash_of};
use super::sealer;
use super::shared::{Handle, PresenceShared, Stats};
use crate::engine::error::{SubscribeError, TopicError};
use crate::subscriber::control::Control;
use crate::sync::Arc;
use serde::Serialize;
use std::fmt;

/// Somebody who can be present: on any number of topics, on each with any number of keys.
///
/// Dropped, or [ended](Self::end), it leaves all of them. Each channel has one of its own.
///
/// ```
/// # use fanfare::{PubSub, presence::{Owner, Presence}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let presence = Presence::builder().start(&PubSub::new()?)?;
/// let bot = Owner::new();
/// presence.track((&bot, "room:lobby"), "bot", serde_json::json!({ "mood": "fine" }))?;
/// assert_eq!(presence.count("room:lobby"), 1);
/// drop(bot);
/// assert_eq!(presence.count("room:lobby"), 0);
/// # Ok(())
/// # }
/// ```
pub struct Owner(Owned);

impl Owner {
    /// One that is nowhere yet.
    #[expect(clippy::new_without_default, reason = "an owner is somebody: making one is an act")]
    pub fn new() -> Self {
        Owner(Owned::new())
    }

    /// One that ends with a subscriber: when that is dropped, or closed for whatever reason, or its engine ends. It
    /// takes the subscriber one subscription, to a topic that nobody else uses.
    ///
    /// # Errors
    ///
    /// As [`Control::subscribe`].
    pub fn of_subscriber(control: &Control) -> Result<Arc<Self>, SubscribeError> {
        let owner = Arc::new(Owner::new());
        control.subscribe_watched(OWNERS, EndsWith(owner.clone()))?;
        Ok(owner)
    }

    /// Ends it: it leaves everything, and can't come back. Without effect the second time.
    pub fn end(&self) {
        self.0.end();
    }
}

/// The topic whose subscriptions hold the owners that end with their subscribers.
const OWNERS: &str = "fanfare:owners";

/// What such a subscription holds: it is dropped with it.
struct EndsWith(Arc<Owner>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owner(..)")
    }
}

/// Where somebody is present, and who: an owner and a topic, or a channel's socket.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    owner: &'a Owner,
    topic: &'a str,
}

impl<'a> From<(&'a Owner, &'a str)> for Place<'a> {
    fn from((owner, topic): (&'a Owner, &'a str)) -> Self {
        Place { owner, topic }
    }
}

/// How much of a state somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Scope {
    /// All of it. Above [`state_metas_max`](Builder::state_metas_max), the first page.
    #[default]
    Full,
    /// How many there are, and nobody in particular.
    Count,
    /// The page at which another one ended.
    From(Cursor),
}

/// Some of those who are present, and where to read on.
#[derive(Debug, Clone)]
pub struct Page {
    /// The keys, each with those of its metas that are on this page.
    pub present: Vec<Present>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// Who is online where. Cheap to clone; see the [module's text](super).
///
/// It keeps its engine running. When the last handle is dropped, what was not told yet is told, and its thread ends.
#[derive(Debug, Clone)]
pub struct Presence(pub(crate) Arc<Handle>);

impl Presence {
    /// Decides how a presence is made.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn shared(&self) -> &Arc<PresenceShared> {
        &self.0.shared
    }

    /// Somebody comes: the owner is present on the topic by this key, with this meta, which must be a JSON object.
    /// Returns the meta's ref. It does not wait for the diff.
    ///
    /// # Errors
    ///
    /// [`TrackError`].
    pub fn track<'a>(
        &self,
        place: impl Into<Place<'a>>,
        key: &str,
        meta: impl Serialize,
    ) -> Result<PhxRef, TrackError> {
        let Place { owner, topic } = place.into();
        let shared = self.shared();
        let options = &shared.options;
        shared.check_topic(topic).map_err(TrackError::Topic)?;
        if key.len() > options.key_bytes_max {
            return Err(TrackError::KeyTooLong { bytes: key.len(), max: options.key_bytes_max });
        }
        let phx_ref = PhxRef::unique();
        let meta = Fields::of(&meta, options.meta_bytes_max)?.with(key, phx_ref, None);
        let (hash, max) = (hash_of(key), options.topic_metas_max);
        shared.table.with_live(topic, |room| {
            let join = |state: &mut room::RoomState| state.join(hash, meta.clone());
            match owner.0.add(room, (key, hash), max, join) {
                Ok(Added::Yes) => Some(Ok(phx_ref)),
                Ok(Added::Already) => Some(Err(TrackError::AlreadyTracked)),
                Ok(Added::Full) => Some(Err(TrackError::TopicFull { max })),
                Ok(Added::Retired) => None,
                Err(Gone) => Some(Err(TrackError::OwnerGone)),
            }
        })
    }

    /// Another meta takes the place of the one that is there. Returns its ref; `phx_ref_prev` in it is the ref that it
    /// takes the place of, for those who were told of the old one. One diff has both, and the key is never without a
    /// meta.
    ///
    /// # Errors
    ///
    /// [`UpdateError`].
    pub fn update<'a>(
        &self,
        place: impl Into<Place<'a>>,
        key: &str,
        meta: impl Serialize,
    ) -> Result<PhxRef, UpdateError> {
        let mut fields = Fields::of(&meta, self.shared().options.meta_bytes_max)?;
        // None can be overtaken that expects nothing.
        self.replace(place.into(), key, &mut fields, None)?.ok_or(UpdateError::NotTracked)
    }

    /// As [`update`](Self::update), with what a function makes of the old meta. It runs without any lock; should
    /// another update come between, it is called again with what that one left.
    ///
    /// # Errors
    ///
    /// [`UpdateError`].
    pub fn update_with<'a, M: Serialize>(
        &self,
        place: impl Into<Place<'a>>,
        key: &str,
        mut change: impl FnMut(&Meta) -> M,
    ) -> Result<PhxRef, UpdateError> {
        let place = place.into();
        loop {
            let old = self.with_presence(place, key, |room, id| room.look(|state| state.meta(id).clone()))?;
            let mut fields = Fields::of(&change(&old), self.shared().options.meta_bytes_max)?;
            if let Some(phx_ref) = self.replace(place, key, &mut fields, Some(old.phx_ref()))? {
                return Ok(phx_ref);
            }
        }
    }

    /// Replaces a meta. `None`: it is not the `expected` one any more.
    fn replace(
        &self,
        place: Place<'_>,
        key: &str,
        fields: &mut Fields,
        expected: Option<PhxRef>,
    ) -> Result<Option<PhxRef>, UpdateError> {
        self.with_presence(place, key, |room, id| {
            Room::change(room, |state| {
                if expected.is_some_and(|expected| state.meta(id).phx_ref() != expected) {
                    return None;
                }
                let phx_ref = PhxRef::unique();
                let (prev, told) = state.prev_ref(id);
                state.update(id, fields.with(key, phx_ref, Some(prev)), told);
                Some(phx_ref)
            })
            .flatten()
        })
    }

    fn with_presence<R>(
        &self,
        Place { owner, topic }: Place<'_>,
        key: &str,
        f: impl FnOnce(&Arc<Room>, u32) -> R,
    ) -> Result<R, UpdateError> {
        let Some(room) = self.shared().table.room(topic) else {
            return Err(if owner.0.is_gone() { UpdateError::OwnerGone } else { UpdateError::NotTracked });
        };
        let found = owner.0.with(&room, (key, hash_of(key)), |id| id.map(|id| f(&room, id)));
        found.map_err(|Gone| UpdateError::OwnerGone)?.ok_or(UpdateError::NotTracked)
    }

    /// The owner is no longer present on the topic by this key. Returns whether it was.
    pub fn untrack<'a>(&self, place: impl Into<Place<'a>>, key: &str) -> bool {
        let Place { owner, topic } = place.into();
        let room = self.shared().table.room(topic);
        room.is_some_and(|room| owner.0.remove(&room, (key, hash_of(key))))
    }

    /// The owner is no longer present anywhere. Returns how many presences that were.
    pub fn untrack_all(&self, owner: &Owner) -> usize {
        let signal = &self.shared().signal;
        owner.0.remove_where(|room| Arc::ptr_eq(room.shard().signal(), signal))
    }

    /// Who is present on a topic at this moment, with everything that the caller has done. Waits for no more than one
    /// change to this topic or one seal of it, and costs a 256th of what it shows.
    ///
    /// Not for seeding a consumer of diffs: see [the module's text](super#two-ways-to-look).
    pub fn list(&self, topic: &str) -> Presences {
        let look = |state: &room::RoomState| Presences { snapshot: state.snapshot(), keys: state.keys() };
        self.shared().table.with(topic, |room| room.look(look)).unwrap_or_default()
    }

    /// As [`list`](Self::list), with what [`fetch`](Builder::fetch) adds, which is called for all of them at once, on
    /// this thread.
    pub fn list_fetched(&self, topic: &str) -> Vec<(Present, serde_json::Map<String, serde_json::Value>)> {
        self.shared().list_fetched(topic, &self.list(topic))
    }

    /// The metas of one key on a topic, or `None` if it is not present.
    pub fn get_by_key(&self, topic: &str, key: &str) -> Option<Metas> {
        let hash = hash_of(key);
        let metas = self.shared().table.with(topic, |room| room.look(|state| state.metas_of(key, hash)))?;
        (!metas.is_empty()).then_some(metas)
    }

    /// How many keys are present on a topic.
    pub fn count(&self, topic: &str) -> usize {
        self.shared().table.with(topic, |room| room.keys()).unwrap_or(0)
    }

    /// How many metas they have.
    pub fn count_metas(&self, topic: &str) -> usize {
        self.shared().table.with(topic, |room| room.metas()).unwrap_or(0)
    }

    /// Up to `max` of those who are present at this moment, from the beginning or from where another page ended. Who is
    /// present all the while is on one of the pages, and perhaps on two; metas of one key may be on several.
    ///
    /// Not for consumers of diffs, as [`list`](Self::list): these read on with [`Scope::From`].
    pub fn page(&self, topic: &str, from: Option<Cursor>, max: usize) -> Page {
        let list = self.list(topic);
        let end = from.map_or(usize::MAX, |cursor| cursor.0 as usize).min(list.metas());
        let max = max.max(1);
        let next = end.saturating_sub(max) as u32;
        Page { present: present(list.snapshot.below(end, max)), next: (next > 0).then_some(Cursor(next)) }
    }

    /// Calls `then` with the aligned state of a topic ([the module's text](super#two-ways-to-look)), as soon as an
    /// epoch of it ends: at once if it was quiet, or else within [`diff_period`](Builder::diff_period). It is encoded
    /// once for all who wait for the same epoch. Subscribe first.
    ///
    /// `then` runs on the presence's thread, which tells diffs as well: hand on what takes time. A panic in it is
    /// caught and counted.
    ///
    /// # Errors
    ///
    /// [`TopicError`]: the name is not within the limits.
    pub fn with_state(
        &self,
        topic: &str,
        scope: Scope,
        then: impl FnOnce(&Aligned) + Send + 'static,
    ) -> Result<(), TopicError> {
        self.shared().check_topic(topic)?;
        let mut then = Some(Box::new(then) as Box<dyn FnOnce(&Aligned) + Send>);
        self.shared().table.with_live(topic, |room| {
            Room::change(room, |state| {
                if let Some(tell) = then.take() {
                    state.wait(Waiter { scope: scope.into(), tell });
                }
            })
        });
        Ok(())
    }

    /// Waits until every change that was made before has been told: each diff is published (not yet delivered), and
    /// each state that was asked for is given. It ends the epochs of all topics, so it is for tests and for the end.
    ///
    /// # Errors
    ///
    /// [`FlushError`].
    pub fn flush(&self) -> Result<(), FlushError> {
        if crate::engine::outbox::on_worker() || sealer::is_here() {
            return Err(FlushError::OnWorker);
        }
        if self.shared().signal.flush() { Ok(()) } else { Err(FlushError::Closed) }
    }

    /// Ends it, for all its handles: what was not told yet is told, and other nodes are told goodbye
    /// ([`Builder::goodbye`]). What is tracked from then on is told to nobody. Waits until that is done; on a worker's
    /// thread it only begins. The drop of the last handle does the same, without waiting.
    pub fn shutdown(&self) {
        let signal = &self.shared().signal;
        signal.stop();
        if !crate::engine::outbox::on_worker() && !sealer::is_here() {
            // It ends instead of being done.
            signal.flush();
        }
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }
}

impl From<Scope> for room::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Full => room::Scope::Full,
            Scope::Count => room::Scope::Count,
            Scope::From(Cursor(slot)) => room::Scope::Below(slot),
        }
    }
}
