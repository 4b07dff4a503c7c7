//! What a layer above keeps with a message.

use crate::sync::{Arc, OnceLock};
use std::any::Any;

/// What a layer above keeps with a message.
pub(crate) type Attachment = Arc<dyn Any + Send + Sync>;

/// Attached to a broadcast of a layer that knows nothing of clients, so that it goes to them as the endpoint's own do:
/// the first of the layer above that meets it puts in what it keeps with a message.
#[derive(Default)]
pub(crate) struct ForClients(pub(crate) OnceLock<Attachment>);
