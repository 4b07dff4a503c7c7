//! Places of subscribers: who lives where on a worker, as it is known outside.

use super::members::Place;
use crate::engine::contract::CloseReason;
use crate::sync::prefetch;
use std::any::TypeId;
use std::collections::HashMap;

/// Who is subscribed, as it is known outside: a place of one worker, for one of its tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriberId {
    pub(crate) place: Place,
    pub(crate) generation: u32,
    pub(crate) worker: u16,
}

/// Places of subscribers, beside the log.
#[derive(Debug, Default)]
pub(crate) struct Places {
    kinds: Vec<KindPlaces>,
    handlers: HashMap<TypeId, u16, crate::hash::Std>,
    /// The worker is ending: no one subscribes any more.
    pub closed: bool,
    /// The worker has ended: it looks at nothing any more.
    pub ended: bool,
}

/// Subscribers of one kind.
#[derive(Debug, Default)]
struct KindPlaces {
    tenants: Vec<Tenant>,
    free: Vec<u32>,
}

/// Who lives at a place. The generation is odd while somebody does.
#[derive(Debug, Clone, Copy)]
struct Tenant {
    generation: u32,
    subscriptions: u32,
    /// Why the tenant, or the last one, was closed.
    reason: Option<CloseReason>,
    /// Somebody waits for its end: the worker must not sleep over it.
    is_watched: bool,
}

impl Places {
    /// Gives a place of `kind` to a new subscriber: its number and generation.
    pub(crate) fn take(&mut self, kind: u16) -> (u32, u32) {
        while self.kinds.len() <= kind as usize {
            self.kinds.push(KindPlaces::default());
        }
        let kind = &mut self.kinds[kind as usize];
        let index = kind.free.pop().unwrap_or_else(|| {
            kind.tenants.push(Tenant { generation: 0, subscriptions: 0, reason: None, is_watched: false });
            kind.tenants.len() as u32 - 1
        });
        let tenant = &mut kind.tenants[index as usize];
        tenant.generation = tenant.generation.wrapping_add(1);
        tenant.subscriptions = 0;
        tenant.reason = None;
        tenant.is_watched = false;
        debug_assert!(tenant.generation % 2 == 1);
        (index, tenant.generation)
    }

    /// The number of the kind of a handler type.
    pub(crate) fn handler_kind(&mut self, type_id: TypeId) -> Option<u16> {
        let next = u16::try_from(self.handlers.len() + 1).ok()?;
        Some(*self.handlers.entry(type_id).or_insert(next))
    }

    fn tenant(&mut self, place: Place) -> &mut Tenant {
        &mut self.kinds[place.kind as usize].tenants[place.index as usize]
    }

    /// Counts a subscription, unless there are `max`.
    pub(crate) fn add_subscription(&mut self, place: Place, max: u32) -> bool {
        let tenant = self.tenant(place);
        let below = tenant.subscriptions < max;
        tenant.subscriptions += u32::from(below);
        below
    }

    /// Asks for what is known of a subscriber.
    pub(crate) fn prefetch(&self, place: Place) {
        prefetch(&self.kinds[place.kind as usize].tenants[place.index as usize]);
    }

    /// Counts subscriptions that ended.
    pub(crate) fn drop_subscriptions(&mut self, place: Place, count: u64) {
        let tenant = self.tenant(place);
        tenant.subscriptions = tenant.subscriptions.saturating_sub(count as u32);
    }

    /// The subscriber is closed, but keeps its place. `false` if it was before.
    pub(crate) fn close(&mut self, place: Place, generation: u32, reason: CloseReason) -> bool {
        let open = self.close_reason(place, generation).is_none();
        if open {
            self.tenant(place).reason = Some(reason);
        }
        open
    }

    /// The subscriber is gone. `false` if it was before.
    pub(crate) fn leave(&mut self, place: Place, generation: u32, reason: CloseReason) -> bool {
        let tenant = self.tenant(place);
        let lives = tenant.generation == generation;
        if lives {
            tenant.generation = tenant.generation.wrapping_add(1);
            tenant.reason.get_or_insert(reason);
        }
        lives
    }

    /// Somebody waits for the tenant's end.
    pub(crate) fn watch(&mut self, place: Place) {
        self.tenant(place).is_watched = true;
    }

    /// Whether somebody waits for the end of the tenant, or of the last one.
    pub(crate) fn is_watched(&mut self, place: Place) -> bool {
        self.tenant(place).is_watched
    }

    /// Why a subscriber is closed, or `None` if it is not. Once its place has another tenant, that is forgotten.
    pub(crate) fn close_reason(&mut self, place: Place, generation: u32) -> Option<CloseReason> {
        let tenant = self.tenant(place);
        match tenant.generation.wrapping_sub(generation) {
            0 | 1 => tenant.reason,
            _ => Some(CloseReason::Dropped),
        }
    }

    /// The generation of who lives at a place.
    pub(crate) fn generation(&mut self, place: Place) -> u32 {
        self.tenant(place).generation
    }

    /// Places that nobody refers to any more.
    pub(crate) fn recycle(&mut self, places: impl IntoIterator<Item = Place>) {
        for place in places {
            self.kinds[place.kind as usize].free.push(place.index);
        }
    }

    /// How many places of mailboxes there are, free ones included.
    pub(crate) fn mailboxes(&self) -> u32 {
        self.kinds.first().map_or(0, |kind| kind.tenants.len() as u32)
    }
}
