//! The runtime that a host drives: one of two, chosen once.

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

impl Runtime {
    /// The runtime in memory, on a task of its own.
    pub(crate) fn fake(
        clock: Clock,
        news: mpsc::UnboundedSender<RuntimeNews>,
        ended: CancellationToken,
    ) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        tokio::spawn(run_fake(clock, receiver, news, ended));
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
    clock: Clock,
    mut commands: mpsc::UnboundedReceiver<(CommandId, RuntimeCommand)>,
    news: mpsc::UnboundedSender<RuntimeNews>,
    ended: CancellationToken,
) {
    let mut runtime = FakeRuntime::new();
    loop {
        let wake = clock.sleep_until(runtime.poll_deadline());
        tokio::select! {
            () = ended.cancelled() => return,
            command = commands.recv() => match command {
                Some((id, command)) => runtime.handle(clock.now(), id, command),
                None => return,
            },
            () = wake => runtime.advance(clock.now()),
        }
        while let Some(said) = runtime.poll_news() {
            if news.send(said).is_err() {
                return;
            }
        }
    }
}
