//! S7: attempts grow by one for each failure, never pass the maximum and are never lost; no action
//! starts before `next_retry_at`; failures of the infrastructure do not count.

use std::time::Duration;

use berth_core::io::Op;
use berth_core::model::workload::{
    Action, ActualState, FailureClass, FailureKind, IntentOutcome, RetryRecord, WorkloadRecord,
};
use berth_core::{Config, EventType, Key, Timestamp};

use super::image::{Commit, Image, Pair, Writer};
use super::rule::{Check, Finding};
use super::view::{Flight, View, events};

pub(crate) fn committed(commit: &Commit, image: &Image, config: &Config) -> Check {
    if commit.writer == Writer::Stranger {
        return Ok(());
    }
    for (id, pair) in &commit.retries {
        let workload = commit.workloads.get(id);
        let outcome = match (&pair.before, &pair.after) {
            (before, Some(after)) => failed(before.as_deref(), after, config),
            // Somebody else removed its canonical record: what was left of it goes.
            (Some(_), None) if workload.is_none() && !image.workloads.contains_key(id) => Ok(()),
            (Some(before), None) => reset(before, workload, commit, config),
            (None, None) => Ok(()),
        };
        outcome.map_err(|finding| finding.of(id))?;
    }
    for (id, pair) in &commit.intents {
        let Some(after) = &pair.after else { continue };
        let begins = after.outcome == IntentOutcome::Open
            && pair
                .before
                .as_ref()
                .is_none_or(|before| before.decided_at != after.decided_at)
            && matches!(after.action, Action::Apply | Action::Recreate);
        let Some(retry) = image.retries.get(id).filter(|_| begins) else {
            continue;
        };
        let due = retry.record.state.next_retry_at;
        if due.is_some_and(|due| after.decided_at < due) {
            let expected = format!("no action before {due:?}");
            let seen = format!("{:?} decided at {}", after.action, after.decided_at);
            return Err(Finding::new(expected, seen).of(id));
        }
    }
    Ok(())
}

/// A scheduler asks for a commit: attempts are forgotten for running well only after it ran for
/// long by the clock that judges it. `clock`: its own.
pub(crate) fn asked(view: &View, flight: &Flight, clock: Timestamp, config: &Config) -> Check {
    for op in &flight.txn.ops {
        let Op::Delete {
            key: Key::Retry(id),
        } = op
        else {
            continue;
        };
        let (was, is) = (view.workloads.get(id), flight.workloads.get(id));
        let (Some(was), Some(is)) = (was, is.or(was)) else {
            continue;
        };
        let by_client = was.metadata.generation != is.metadata.generation
            || events(&flight.txn).any(|event| {
                event.event_type == EventType::RetryTriggered
                    && event.workload_id.as_ref() == Some(id)
            });
        let Some(since) = is.status.running_since.filter(|_| !by_client) else {
            continue;
        };
        if clock < since + config.stable_after {
            let expected = format!("attempts to be kept for {:?}", config.stable_after);
            let seen = format!("forgotten at {clock}, running since {since}");
            return Err(Finding::new(expected, seen).of(id));
        }
    }
    Ok(())
}

fn failed(before: Option<&RetryRecord>, after: &RetryRecord, config: &Config) -> Check {
    let (now, was) = (
        &after.state,
        before.map_or(0, |before| before.state.attempts),
    );
    let again = before.is_none_or(|before| before.last_failure_at != after.last_failure_at);
    let counted = match class(after.last_failure) {
        FailureClass::Infrastructure => 0,
        FailureClass::Workload | FailureClass::Permanent => 1,
    };
    let expected = if again {
        (was + counted).min(now.max_attempts)
    } else {
        was
    };
    if now.attempts != expected.min(now.max_attempts) {
        let expected = format!("{expected} attempts after {:?}", after.last_failure);
        return Err(Finding::new(
            expected,
            format!("{before:?} became {after:?}"),
        ));
    }
    if let (Some(before), false) = (before, again) {
        // Written again for another reason: it is due when it was, and as over as it was.
        let same = before.state.next_retry_at == now.next_retry_at
            && before.state.exhausted == now.exhausted;
        if !same && before.state.max_attempts == now.max_attempts {
            let seen = format!("{before:?} became {after:?}");
            return Err(Finding::new("a failure to be told as it was", seen));
        }
    }
    let over = now.attempts >= now.max_attempts && counted == 1
        || class(after.last_failure) == FailureClass::Permanent;
    if again && now.exhausted != over {
        let expected = format!("the tries to be over: {over}");
        return Err(Finding::new(expected, format!("{after:?}")));
    }
    // What is nobody's fault is tried again ever later, too, whatever the attempts are.
    let waits = match class(after.last_failure) {
        FailureClass::Infrastructure => config.retry_backoff_min..=config.retry_backoff_max,
        FailureClass::Workload | FailureClass::Permanent => {
            let wait = law(now.attempts, config);
            wait..=wait
        }
    };
    let due = now
        .next_retry_at
        .map(|due| due.since(after.last_failure_at));
    let lawful = match due {
        Some(due) => !now.exhausted && waits.contains(&due),
        None => now.exhausted,
    };
    if again && !lawful {
        let expected = format!("the next try after {waits:?}, unless they are over");
        return Err(Finding::new(expected, format!("{after:?}")));
    }
    Ok(())
}

/// How a failure counts: written down a second time on purpose.
const fn class(failure: FailureKind) -> FailureClass {
    match failure {
        FailureKind::ImageNotFound | FailureKind::InvalidSpec => FailureClass::Permanent,
        FailureKind::NodeUnreachable | FailureKind::RuntimeUnavailable => {
            FailureClass::Infrastructure
        }
        FailureKind::ImagePullFailed
        | FailureKind::InsufficientResources
        | FailureKind::RuntimeError
        | FailureKind::NetworkError
        | FailureKind::StorageError
        | FailureKind::VmBootFailed
        | FailureKind::StartTimeout => FailureClass::Workload,
    }
}

/// 5, 10, 20, 40 … seconds, capped: written down a second time on purpose.
fn law(attempts: u32, config: &Config) -> Duration {
    let mut wait = config.retry_backoff_min;
    for _ in 1..attempts {
        wait = (wait * 2).min(config.retry_backoff_max);
    }
    wait.min(config.retry_backoff_max)
}

/// Attempts are forgotten at a client's word, after stable running, or with the workload.
fn reset(
    before: &RetryRecord,
    workload: Option<&Pair<WorkloadRecord>>,
    commit: &Commit,
    config: &Config,
) -> Check {
    let excused = match workload.map(|pair| (&pair.before, &pair.after)) {
        Some((_, None)) => true,
        Some((Some(was), Some(is))) => {
            let asked = was.metadata.generation != is.metadata.generation;
            let stable = is.status.actual_state == ActualState::Running
                && is.status.running_since.is_some_and(|since| {
                    let events = commit.events.iter().map(|event| event.timestamp);
                    let now = events.max().unwrap_or(is.status.last_updated);
                    now >= since && config.stable_after > Duration::ZERO
                });
            asked || stable
        }
        Some((None, Some(_))) | None => false,
    };
    let by_client = commit.events.iter().any(|event| {
        event.workload_id.as_ref() == Some(&before.workload_id)
            && event.event_type == berth_core::EventType::RetryTriggered
    });
    if excused || by_client {
        return Ok(());
    }
    Err(Finding::new(
        "attempts to be kept",
        format!("{before:?} was removed"),
    ))
}
