//! Runs scripts: a panic is a result, and many run at once.

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use berth_sim::search::FAILURES_MAX;
use berth_sim::{Failure, Outcome, Script, World};

use super::out::aside;

/// What a script came to, a panic included.
pub(super) fn play(script: Script, keep: bool) -> Result<Outcome, String> {
    guarded(|| World::play(script, keep).run())
}

/// Lets a world live to its end. A panic is told beside what came of it until then.
pub(super) fn live(mut world: World) -> (Outcome, Option<String>) {
    match guarded(|| world.live()) {
        Ok(violation) => (world.outcome(violation), None),
        Err(panic) => (world.outcome(None), Some(panic)),
    }
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
    /// Failures that were told.
    told: AtomicU64,
}

/// How often somebody who reads a file is told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// And somebody at a terminal.
const SHOWN_EVERY: Duration = Duration::from_millis(500);
/// The longest message that is told on the way: a rule may quote whole records. At the end it is
/// told in full.
const MESSAGE_MAX: usize = 300;

impl Progress {
    pub(super) fn new(all: u64, what: &'static str) -> Self {
        Self {
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            all,
            what,
            started: Instant::now(),
            told: AtomicU64::new(0),
        }
    }

    /// The first failures are told as they come: who waits for hours need not.
    pub(super) fn tell(&self, what: &str, failure: &Failure) {
        let told = self.told.fetch_add(1, Ordering::Relaxed);
        if told < FAILURES_MAX as u64 {
            self.clear();
            aside(&announcement(what, failure));
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
            aside("\r\x1b[K");
        }
    }

    fn show(&self) {
        aside(&format!("\r\x1b[K{}", self.line()));
    }

    fn line(&self) -> String {
        let done = self.done.load(Ordering::Relaxed);
        let failed = self.failed.load(Ordering::Relaxed);
        let rate = done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let Self { all, what, .. } = self;
        format!("{done} of {all} {what}, {rate:.1} a second, {failed} failed")
    }

    /// Tells how far it is until all workers are done: over and over at a terminal, a line now
    /// and then elsewhere.
    fn watch(&self, working: impl Fn() -> bool) {
        let terminal = std::io::stderr().is_terminal();
        let mut told = Instant::now();
        while working() {
            if terminal {
                self.show();
                std::thread::park_timeout(SHOWN_EVERY);
            } else if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                aside(&(self.line() + "\n"));
            } else {
                std::thread::park_timeout(TOLD_EVERY.saturating_sub(told.elapsed()));
            }
        }
        self.clear();
    }
}

/// A failure in two lines.
fn announcement(what: &str, failure: &Failure) -> String {
    let mut message: String = failure.message.chars().take(MESSAGE_MAX).collect();
    if message.len() < failure.message.len() {
        message.push('…');
    }
    format!("{what}: {message}\n  {}\n", failure.reproduce)
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
    let left = AtomicUsize::new(jobs);
    let waiting = std::thread::current();
    std::thread::scope(|scope| {
        let worker = || {
            let _done = Done(&left, &waiting);
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
        for _ in 0..jobs {
            scope.spawn(worker);
        }
        progress.watch(|| left.load(Ordering::Acquire) > 0);
    });
    all.into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A worker that ends, however it does, says so to who waits.
struct Done<'a>(&'a AtomicUsize, &'a std::thread::Thread);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
        self.1.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_worked_on_once_and_nobody_waits_for_a_tick() {
        for jobs in [1, 3] {
            let progress = Progress::new(100, "numbers");
            let sum = each(
                jobs,
                &progress,
                |sum: &mut u64, number| *sum += number,
                |all, own| *all += own,
            );
            assert_eq!(sum, 99 * 100 / 2);
            assert!(progress.elapsed() < TOLD_EVERY);
        }
    }

    #[test]
    fn a_failure_on_the_way_is_short_and_has_the_line_to_paste() {
        let again = "berth sim run --seed 7".to_owned();
        let failure = Failure::crash(7, "é".repeat(5_000), again);
        let text = announcement("seed 7", &failure);
        assert!(text.starts_with("seed 7: panicked: é"));
        assert!(text.ends_with("…\n  berth sim run --seed 7\n"));
        assert!(text.chars().count() < MESSAGE_MAX + 100);
    }

    #[test]
    fn a_panic_is_told_beside_what_came_of_the_world() {
        let script = || berth_sim::scenarios::named("agent-amnesia").expect("a scenario");
        let (outcome, panic) = live(World::play(script(), false));
        assert_eq!((outcome.violation, panic), (None, None));
        let panic: Result<(), _> = guarded(|| panic!("so it goes"));
        assert_eq!(panic, Err("so it goes".to_owned()));
    }
}
