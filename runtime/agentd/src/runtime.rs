//! The runtime that a host drives: one of two, chosen once.

use berth_agent::{FakeRuntime, RuntimeCommand, RuntimeEvent};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::exec::ExecRuntime;

/// Where commands go. What comes of them arrives on the channel that the runtime was made with.
#[derive(Debug)]
pub(crate) enum Runtime {
    Exec(ExecRuntime),
    Fake(mpsc::UnboundedSender<RuntimeCommand>),
}

impl Runtime {
    /// The runtime in memory, on a task of its own.
    pub(crate) fn fake(
        clock: Clock,
        events: mpsc::UnboundedSender<RuntimeEvent>,
        ended: CancellationToken,
    ) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        tokio::spawn(run_fake(clock, receiver, events, ended));
        Self::Fake(commands)
    }

    pub(crate) fn execute(&self, command: RuntimeCommand) {
        match self {
            Self::Exec(runtime) => runtime.execute(command),
            // Nobody receives any more only when the agent ends.
            Self::Fake(commands) => drop(commands.send(command)),
        }
    }
}

async fn run_fake(
    clock: Clock,
    mut commands: mpsc::UnboundedReceiver<RuntimeCommand>,
    events: mpsc::UnboundedSender<RuntimeEvent>,
    ended: CancellationToken,
) {
    let mut runtime = FakeRuntime::new();
    loop {
        let wake = clock.sleep_until(runtime.poll_deadline());
        tokio::select! {
            () = ended.cancelled() => return,
            command = commands.recv() => match command {
                Some(command) => runtime.handle(clock.now(), command),
                None => return,
            },
            () = wake => runtime.advance(clock.now()),
        }
        while let Some(event) = runtime.poll_event() {
            if events.send(event).is_err() {
                return;
            }
        }
    }
}
