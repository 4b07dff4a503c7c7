//! Which channel a topic belongs to.
//!
//! Routes are tried in the order in which they were declared. A pattern is a topic, or a prefix of topics that ends in
//! `*`; the first that matches wins.

use super::actor::Body;
use super::api::Channel;
use super::typed::Typed;
use crate::sync::Arc;
use std::any::Any;
use std::fmt;

/// What a route carries for its channels.
pub(crate) type RouteAssigns = Option<Arc<dyn Any + Send + Sync>>;

/// The routes of a socket: from topics to channels.
///
/// ```
/// # use fanfare::channel::{Channel, Joining, JoinResult, Router};
/// # use fanfare::Payload;
/// # struct Room;
/// # impl Channel for Room {
/// #     type Assigns = ();
/// #     fn join(_: &str, _: &Payload, _: &mut Joining<'_, ()>) -> JoinResult<Self> { Ok(Room.into()) }
/// # }
/// let router = Router::new().channel::<Room>("room:*")?.channel::<Room>("lobby")?;
/// # Ok::<(), fanfare::channel::PatternError>(())
/// ```
#[derive(Debug)]
pub struct Router<A> {
    routes: Vec<Route>,
    assigns: std::marker::PhantomData<fn(A)>,
}

pub(crate) struct Route {
    pattern: Box<str>,
    is_prefix: bool,
    pub(crate) inline: bool,
    pub(crate) intercepts: &'static [&'static str],
    pub(crate) assigns: RouteAssigns,
    pub(crate) body: fn() -> Box<dyn Body>,
}

/// A pattern that is none: a `*` stands elsewhere than at its end, or it is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError(pub String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no pattern of topics: it must be a topic, or a prefix followed by one `*`", self.0)
    }
}

impl std::error::Error for PatternError {}

impl<A: Send + Sync + 'static> Router<A> {
    /// Without routes.
    pub fn new() -> Self {
        Router { routes: Vec::new(), assigns: std::marker::PhantomData }
    }

    /// Topics that match `pattern` are channels of type `C`, unless an earlier route matches.
    ///
    /// # Errors
    ///
    /// [`PatternError`].
    pub fn channel<C: Channel<Assigns = A>>(self, pattern: &str) -> Result<Self, PatternError> {
        self.add::<C>(pattern, None)
    }

    /// As [`channel`](Self::channel), with something for the channels of this route to see:
    /// [`ChannelSocket::route_assigns`](super::ChannelSocket::route_assigns).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn channel_with<C: Channel<Assigns = A>, R: Any + Send + Sync>(
        self,
        pattern: &str,
        assigns: R,
    ) -> Result<Self, PatternError> {
        self.add::<C>(pattern, Some(Arc::new(assigns)))
    }

    fn add<C: Channel<Assigns = A>>(mut self, pattern: &str, assigns: RouteAssigns) -> Result<Self, PatternError> {
        let prefix = pattern.strip_suffix('*');
        let text = prefix.unwrap_or(pattern);
        if text.contains('*') || pattern.is_empty() {
            return Err(PatternError(pattern.to_owned()));
        }
        self.routes.push(Route {
            pattern: text.into(),
            is_prefix: prefix.is_some(),
            inline: C::INLINE,
            intercepts: C::INTERCEPT,
            assigns,
            body: || Box::new(Typed::<C>::new()),
        });
        Ok(self)
    }

    pub(crate) fn into_routes(self) -> Vec<Arc<Route>> {
        self.routes.into_iter().map(Arc::new).collect()
    }
}

impl<A: Send + Sync + 'static> Default for Router<A> {
    fn default() -> Self {
        Router::new()
    }
}

impl Route {
    pub(crate) fn matches(&self, topic: &str) -> bool {
        if self.is_prefix { topic.starts_with(&*self.pattern) } else { topic == &*self.pattern }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("pattern", &self.pattern)
            .field("is_prefix", &self.is_prefix)
            .finish_non_exhaustive()
    }
}
