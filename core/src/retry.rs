//! The retry law (S7): 5 s, 10 s, 20 s, 40 s … capped, one attempt per failure, an end.

use std::time::Duration;

use crate::Config;
use crate::model::time::Timestamp;
use crate::model::workload::{FailureClass, RetryState};
use crate::planted::{Bug, planted};

impl RetryState {
    /// No failure yet; `attempts_max` of them are allowed.
    #[must_use]
    pub const fn fresh(attempts_max: u32) -> Self {
        Self {
            attempts: 0,
            max_attempts: attempts_max,
            next_retry_at: None,
            exhausted: false,
        }
    }

    /// The state after a failure at `now`. A failure of the infrastructure postpones the next try
    /// and costs no attempt; one that cannot heal ends the tries.
    #[must_use]
    pub fn after_failure(self, class: FailureClass, now: Timestamp, config: &Config) -> Self {
        match class {
            FailureClass::Infrastructure => Self {
                attempts: self.attempts + u32::from(planted(Bug::InfrastructureCounts)),
                next_retry_at: Some(now + config.retry_backoff_min),
                exhausted: false,
                ..self
            },
            FailureClass::Permanent => Self {
                attempts: self.attempts.saturating_add(1).min(self.max_attempts),
                next_retry_at: None,
                exhausted: true,
                ..self
            },
            FailureClass::Workload => {
                let attempts = self.attempts.saturating_add(1).min(self.max_attempts);
                let last = self.max_attempts + u32::from(planted(Bug::OneTryTooMany));
                let exhausted = attempts >= last;
                let next = now + backoff(attempts, config);
                Self {
                    attempts,
                    next_retry_at: (!exhausted).then_some(next),
                    exhausted,
                    ..self
                }
            }
        }
    }
}

/// The wait after the `attempts`-th failure: doubles from the minimum, never above the maximum.
#[must_use]
pub fn backoff(attempts: u32, config: &Config) -> Duration {
    let done = u32::from(!planted(Bug::BackoffTooLong));
    let doublings = attempts.saturating_sub(done).min(31);
    let factor = 1_u32 << doublings;
    config
        .retry_backoff_min
        .checked_mul(factor)
        .unwrap_or(config.retry_backoff_max)
        .min(config.retry_backoff_max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class() -> impl Strategy<Value = FailureClass> {
        prop_oneof![
            6 => Just(FailureClass::Workload),
            3 => Just(FailureClass::Infrastructure),
            1 => Just(FailureClass::Permanent),
        ]
    }

    #[test]
    fn the_schedule_of_the_design() {
        let config = Config {
            retry_attempts_max: 9,
            ..Config::default()
        };
        let (mut state, now) = (RetryState::fresh(9), Timestamp::from_millis(0));
        let mut waits = Vec::new();
        while !state.exhausted {
            state = state.after_failure(FailureClass::Workload, now, &config);
            waits.extend(state.next_retry_at.map(|at| at.since(now).as_secs()));
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 120, 120, 120]);
        assert_eq!(state.attempts, 9);
    }

    proptest! {
        #[test]
        fn the_law_holds(max in 1_u32..20, failures in prop::collection::vec((class(), 0_u64..300_000), 0..40)) {
            let config = Config::default();
            let mut state = RetryState::fresh(max);
            let (mut now, mut counted) = (Timestamp::ZERO, 0);
            for (class, pause) in failures {
                if state.exhausted {
                    break;
                }
                now = now + Duration::from_millis(pause);
                let before = state;
                state = state.after_failure(class, now, &config);
                counted += u32::from(class != FailureClass::Infrastructure);
                prop_assert_eq!(state.attempts, counted);
                prop_assert!(state.attempts <= max);
                prop_assert_eq!(state.max_attempts, before.max_attempts);
                let ends = counted == max && class != FailureClass::Infrastructure
                    || class == FailureClass::Permanent;
                prop_assert_eq!(state.exhausted, ends);
                match state.next_retry_at {
                    Some(at) => {
                        let wait = at.since(now);
                        prop_assert!(wait >= config.retry_backoff_min);
                        prop_assert!(wait <= config.retry_backoff_max);
                    }
                    None => prop_assert!(state.exhausted),
                }
            }
        }
    }
}
