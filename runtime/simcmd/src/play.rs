//! Runs scripts: a panic is a result, and many run at once.

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use berth_sim::cluster_trace::Replay;
use berth_sim::{Outcome, Script, World};

/// What a script came to, a panic included.
pub(super) fn play(script: Script, keep: bool) -> Result<Outcome, String> {
    guarded(|| World::play(script, keep).run())
}

/// What a replayed trace came to, a panic included.
pub(super) fn play_replay(replay: Replay, keep: bool) -> Result<Outcome, String> {
    guarded(|| World::play(replay.script, keep).measured(replay.plan).run())
}

/// Does something; a panic is a result.
pub(super) fn guarded<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "something that is no text".to_owned())
    })
}

/// While it lives, a panic is not told as it happens: it is a result here, told with its seed.
pub(super) struct Quiet(());

impl Quiet {
    pub(super) fn new() -> Self {
        std::panic::set_hook(Box::new(|_| {}));
        Self(())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        drop(std::panic::take_hook());
    }
}

/// How far it is, for people who wait.
#[derive(Debug)]
pub(super) struct Progress {
    done: AtomicU64,
    failed: AtomicU64,
    all: u64,
    what: &'static str,
    started: Instant,
}

impl Progress {
    pub(super) fn new(all: u64, what: &'static str) -> Self {
        Self {
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            all,
            what,
            started: Instant::now(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// One more is done.
    pub(super) fn step(&self, failed: bool) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    /// For work on one thread: every so many steps.
    pub(super) fn show_sometimes(&self) {
        let often = self.done.load(Ordering::Relaxed).is_multiple_of(20);
        if often && std::io::stderr().is_terminal() {
            self.show();
        }
    }

    pub(super) fn clear(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }

    fn show(&self) {
        let done = self.done.load(Ordering::Relaxed);
        let failed = self.failed.load(Ordering::Relaxed);
        let rate = done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let Self { all, what, .. } = self;
        eprint!("\r\x1b[K{done} of {all} {what}, {rate:.1} a second, {failed} failed");
    }
}

/// How many threads, if nothing is said.
pub(super) fn threads(jobs: Option<u16>) -> usize {
    jobs.map_or_else(
        || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        usize::from,
    )
}

/// Does `work` for each of `0..progress.all` on so many threads, and sums up what each thread
/// gathered.
pub(super) fn each<T: Default + Send>(
    jobs: usize,
    progress: &Progress,
    work: impl Fn(&mut T, u64) + Sync,
    merge: impl Fn(&mut T, T) + Sync,
) -> T {
    let _quiet = Quiet::new();
    let next = AtomicU64::new(0);
    let all = Mutex::new(T::default());
    std::thread::scope(|scope| {
        let worker = || {
            let mut own = T::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= progress.all {
                    break;
                }
                work(&mut own, number);
            }
            let mut all = all
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            merge(&mut all, own);
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        if std::io::stderr().is_terminal() {
            while workers.iter().any(|worker| !worker.is_finished()) {
                progress.show();
                std::thread::park_timeout(Duration::from_millis(500));
            }
            eprint!("\r\x1b[K");
        }
    });
    all.into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
