//! What an agent stands on besides its configuration. Simulated worlds have their own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use berth_proto::control::v1::NodeUsage;
use tonic::transport::Endpoint;

use crate::clock::Clock;
use crate::host;
use crate::runtime::SharedFake;
use crate::scheduler::Dial;

/// Time, network, host. [`Surroundings::real`] are those of this machine.
#[derive(Clone)]
pub struct Surroundings {
    /// The time.
    pub clock: Clock,
    /// The way to schedulers.
    pub dial: Dial,
    /// The host's identity until it is started anew.
    pub boot_id: String,
    /// What is used of the host; `None`: measured.
    pub usage: Option<NodeUsage>,
    /// The runtime of [`crate::RuntimeKind::Fake`].
    pub fake: SharedFake,
    /// How long a write of the agent's state takes, in tokio's time; `None`: as long as it takes,
    /// on a thread of its own.
    pub write_pace: Option<Duration>,
}

impl Surroundings {
    /// This machine. To be called inside a tokio runtime.
    #[must_use]
    pub fn real() -> Self {
        Self {
            clock: Clock::start(),
            dial: Arc::new(Endpoint::connect_lazy),
            boot_id: host::boot_id(),
            usage: None,
            fake: SharedFake::default(),
            write_pace: None,
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("clock", &self.clock)
            .field("boot_id", &self.boot_id)
            .field("usage", &self.usage)
            .field("write_pace", &self.write_pace)
            .finish_non_exhaustive()
    }
}
