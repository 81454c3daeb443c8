//! The runtime that a host drives: one of two, chosen once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_agent::{CommandId, FakeRuntime, RuntimeCommand, RuntimeNews};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::exec::ExecRuntime;

/// Where commands go. What comes of them arrives on the channel that the runtime was made with.
#[derive(Debug)]
pub(crate) enum Runtime {
    Exec(ExecRuntime),
    Fake(mpsc::UnboundedSender<(CommandId, RuntimeCommand)>),
}

/// A runtime in memory that outlives its agents; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SharedFake(Arc<Mutex<FakeRuntime>>);

impl SharedFake {
    /// The runtime, to look at or to do something to.
    pub fn lock(&self) -> MutexGuard<'_, FakeRuntime> {
        // Nothing panics while it holds the lock; were it so, the runtime would still be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime {
    /// The runtime in memory, on a task of its own.
    pub(crate) fn fake(
        runtime: SharedFake,
        clock: Clock,
        news: mpsc::UnboundedSender<RuntimeNews>,
        ended: CancellationToken,
    ) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        // What the agent before this one did not hear, nobody hears.
        runtime.lock().lose_news();
        tokio::spawn(run_fake(runtime, clock, receiver, news, ended));
        Self::Fake(commands)
    }

    pub(crate) fn execute(&self, id: CommandId, command: RuntimeCommand) {
        match self {
            Self::Exec(runtime) => runtime.execute(id, command),
            // Nobody receives any more only when the agent ends.
            Self::Fake(commands) => drop(commands.send((id, command))),
        }
    }
}

async fn run_fake(
    runtime: SharedFake,
    clock: Clock,
    mut commands: mpsc::UnboundedReceiver<(CommandId, RuntimeCommand)>,
    news: mpsc::UnboundedSender<RuntimeNews>,
    ended: CancellationToken,
) {
    loop {
        let wake = clock.sleep_until(runtime.lock().poll_deadline());
        // Biased: the same arrivals come in the same order, in a simulated world too.
        tokio::select! {
            biased;
            () = ended.cancelled() => return,
            command = commands.recv() => match command {
                Some((id, command)) => runtime.lock().handle(clock.now(), id, command),
                None => return,
            },
            () = wake => runtime.lock().advance(clock.now()),
        }
        loop {
            let Some(said) = runtime.lock().poll_news() else {
                break;
            };
            if news.send(said).is_err() {
                return;
            }
        }
    }
}
