//! The way to the scheduler: registration, heartbeats, the lease.
//!
//! ```text
//!            answer accepted                       interval, or something changed
//! Waiting ──────────────────► Registered ◄───────────────────────────────────────┐
//!    ▲   Registering                │ heartbeat ──────────────── answer ─────────┘
//!    └──── refused, no answer ◄─────┴── no answer, lease over
//! ```
//!
//! After a failure the first try comes after 200 ms, then after 1, 2, 4, 8 … s, never later than a
//! heartbeat would: a node that works would else miss the window that a new leader gives to every
//! node. Only a heartbeat that was answered ends the series: a scheduler that takes registrations
//! and answers no heartbeat is not called in a tight loop.

use std::time::Duration;

use berth_core::Timestamp;
use berth_proto::control::v1 as control;
use berth_proto::time::unix_ms_u64;

use crate::io::{AgentConfig, ControlAnswer, ControlCallId};

/// What the scheduler's answer of 0 or less means.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What to say to the scheduler now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    Register,
    Heartbeat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not registered; registers at this instant.
    Waiting { until: Timestamp },
    /// A registration is under way.
    Registering {
        call: ControlCallId,
        deadline: Timestamp,
    },
    /// Registered; the next heartbeat is due at this instant, or one is under way.
    Registered {
        next: Timestamp,
        call: Option<(ControlCallId, Timestamp)>,
    },
}

/// The machine of registration and heartbeats.
#[derive(Debug)]
pub(crate) struct Control {
    state: State,
    failures: u32,
    interval: Duration,
    lease: Option<Timestamp>,
    last_heartbeat: Option<Timestamp>,
    /// A workload's state changed since the last heartbeat left.
    changed: bool,
    /// The scheduler says that the node is being drained.
    pub(crate) draining: bool,
    calls: u64,
}

impl Control {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            state: State::Waiting { until: now },
            failures: 0,
            interval: INTERVAL_DEFAULT,
            lease: None,
            last_heartbeat: None,
            changed: false,
            draining: false,
            calls: 0,
        }
    }

    /// Whether the last word between the two was good.
    pub(crate) fn is_registered(&self) -> bool {
        matches!(self.state, State::Registered { .. })
    }

    /// A workload's state changed: the scheduler should hear of it soon.
    pub(crate) fn note_change(&mut self) {
        self.changed = true;
    }

    /// When [`Self::poll`] has something to do next.
    pub(crate) fn deadline(&self, config: &AgentConfig) -> Timestamp {
        match self.state {
            State::Waiting { until } => until,
            State::Registering { deadline, .. } => deadline,
            State::Registered { next, call } => {
                let due = call.map_or(self.due(next, config), |(_, deadline)| deadline);
                self.lease.map_or(due, |lease| due.min(lease))
            }
        }
    }

    fn due(&self, next: Timestamp, config: &AgentConfig) -> Timestamp {
        match (self.changed, self.last_heartbeat) {
            (false, _) => next,
            (true, None) => Timestamp::ZERO,
            (true, Some(last)) => next.min(last + config.heartbeat_gap_min),
        }
    }

    /// What to say now, if anything, and the call's name.
    pub(crate) fn poll(
        &mut self,
        now: Timestamp,
        config: &AgentConfig,
    ) -> Option<(ControlCallId, Say)> {
        match self.state {
            State::Registering { deadline, .. } if now >= deadline => self.failed(now),
            State::Registered {
                call: Some((_, deadline)),
                ..
            } if now >= deadline => {
                self.failed(now);
            }
            State::Registered { .. } if self.lease.is_some_and(|lease| now >= lease) => {
                self.lease = None;
                self.state = State::Waiting { until: now };
            }
            State::Registered { .. } | State::Waiting { .. } | State::Registering { .. } => {}
        }
        let deadline = now + config.control_timeout;
        let call = ControlCallId(self.calls);
        let say = match self.state {
            State::Waiting { until } if now >= until => {
                self.state = State::Registering { call, deadline };
                Say::Register
            }
            State::Registered { next, call: None } if now >= self.due(next, config) => {
                self.changed = false;
                self.last_heartbeat = Some(now);
                let next = now + self.interval;
                self.state = State::Registered {
                    next,
                    call: Some((call, deadline)),
                };
                Say::Heartbeat
            }
            State::Waiting { .. } | State::Registering { .. } | State::Registered { .. } => {
                return None;
            }
        };
        self.calls += 1;
        Some((call, say))
    }

    /// A call came to its end. One that was given up before changes nothing.
    pub(crate) fn answered(
        &mut self,
        now: Timestamp,
        config: &AgentConfig,
        id: ControlCallId,
        result: Result<ControlAnswer, String>,
    ) {
        match (self.state, result) {
            (State::Registering { call, .. }, Ok(ControlAnswer::Registered(answer)))
                if call == id && answer.accepted =>
            {
                self.registered(now, config, &answer);
            }
            (
                State::Registered {
                    next,
                    call: Some((call, _)),
                },
                Ok(ControlAnswer::Heartbeat(answer)),
            ) if call == id => {
                self.failures = 0;
                self.draining = answer.drain_node;
                if let Some(lease) = answer.lease_expires_at {
                    self.take_lease(now, unix_ms_u64(&lease));
                }
                self.state = State::Registered { next, call: None };
            }
            (State::Registering { call, .. }, _) if call == id => self.failed(now),
            (
                State::Registered {
                    call: Some((call, _)),
                    ..
                },
                _,
            ) if call == id => self.failed(now),
            (State::Waiting { .. } | State::Registering { .. } | State::Registered { .. }, _) => {}
        }
    }

    fn registered(
        &mut self,
        now: Timestamp,
        config: &AgentConfig,
        answer: &control::RegisterNodeResponse,
    ) {
        let told = u64::try_from(answer.heartbeat_interval_seconds)
            .ok()
            .filter(|told| *told > 0);
        let told = told.map_or(INTERVAL_DEFAULT, Duration::from_secs);
        self.interval = config.heartbeat_interval.unwrap_or(told);
        self.lease = None;
        if let Some(lease) = &answer.lease_expires_at {
            self.take_lease(now, unix_ms_u64(lease));
        }
        self.state = State::Registered {
            next: now,
            call: None,
        };
    }

    /// Takes the lease over. One that is over already, by this node's clock, tells of two clocks
    /// that differ, not of a lease: then three intervals count, or the agent would do nothing but
    /// register.
    fn take_lease(&mut self, now: Timestamp, lease_ms: u64) {
        let lease = Timestamp::from_millis(lease_ms);
        let least = now + self.interval;
        self.lease = Some(if lease > least {
            lease
        } else {
            now + self.interval * 3
        });
    }

    fn failed(&mut self, now: Timestamp) {
        // Not more often than it would be heard anyway, and not less: nobody else knows that a
        // node works again whose scheduler was away, or whose agent was restarted meanwhile.
        let longest = self.interval.min(BACKOFF_MAX);
        let delay = match self.failures {
            0 => BACKOFF_FIRST,
            n => Duration::from_secs(1 << (n - 1).min(5)).min(longest),
        };
        self.failures = self.failures.saturating_add(1);
        self.lease = None;
        self.state = State::Waiting { until: now + delay };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }
    fn config() -> AgentConfig {
        AgentConfig::new("n".parse().unwrap(), "127.0.0.1:1")
    }
    fn accepted(lease_ms: Option<u64>) -> Result<ControlAnswer, String> {
        Ok(ControlAnswer::Registered(control::RegisterNodeResponse {
            accepted: true,
            heartbeat_interval_seconds: 2,
            lease_expires_at: lease_ms.map(berth_proto::time::timestamp_from_unix_ms_u64),
            ..Default::default()
        }))
    }
    fn beat() -> Result<ControlAnswer, String> {
        Ok(ControlAnswer::Heartbeat(control::HeartbeatResponse {
            acknowledged: true,
            ..Default::default()
        }))
    }

    #[test]
    fn tries_come_after_200_ms_then_1_2_4_to_an_interval() {
        let config = config();
        let mut control = Control::new(at(0));
        let mut now = at(0);
        let mut gaps = Vec::new();
        for _ in 0..9 {
            let (call, say) = control.poll(now, &config).unwrap();
            assert_eq!(say, Say::Register);
            control.answered(now, &config, call, Err("no".to_owned()));
            let next = control.deadline(&config);
            gaps.push(u64::try_from(next.since(now).as_millis()).unwrap());
            assert_eq!(control.poll(next - Duration::from_millis(1), &config), None);
            now = next;
        }
        assert_eq!(
            gaps,
            [200, 1000, 2000, 4000, 8000, 10000, 10000, 10000, 10000]
        );
    }

    #[test]
    fn a_registration_without_heartbeats_keeps_backing_off() {
        let config = config();
        let mut control = Control::new(at(0));
        let mut now = at(0);
        let mut gaps = Vec::new();
        for _ in 0..4 {
            let (call, _) = control.poll(now, &config).unwrap();
            control.answered(now, &config, call, accepted(None));
            let (call, say) = control.poll(now, &config).unwrap();
            assert_eq!(say, Say::Heartbeat);
            control.answered(now, &config, call, Err("not found".to_owned()));
            let next = control.deadline(&config);
            gaps.push(next.since(now).as_millis());
            now = next;
        }
        assert_eq!(gaps, [200, 1000, 2000, 2000], "no longer than the interval");
    }

    #[test]
    fn changes_are_told_at_once_and_together() {
        let config = config();
        let mut control = Control::new(at(0));
        let (call, _) = control.poll(at(0), &config).unwrap();
        control.answered(at(0), &config, call, accepted(None));
        let (call, _) = control.poll(at(0), &config).unwrap();
        control.answered(at(1), &config, call, beat());
        assert_eq!(control.deadline(&config), at(2_000));
        control.note_change();
        assert_eq!(control.deadline(&config), at(100));
        assert_eq!(control.poll(at(99), &config), None);
        let (call, say) = control.poll(at(100), &config).unwrap();
        assert_eq!(say, Say::Heartbeat);
        control.note_change();
        assert_eq!(control.poll(at(1_000), &config), None, "one call at a time");
        control.answered(at(1_000), &config, call, beat());
        assert!(control.poll(at(1_000), &config).is_some());
    }

    #[test]
    fn a_lease_that_is_over_registers_again_but_two_clocks_do_not() {
        let config = config();
        let mut control = Control::new(at(100_000));
        let (call, _) = control.poll(at(100_000), &config).unwrap();
        control.answered(at(100_000), &config, call, accepted(Some(1)));
        let (call, _) = control.poll(at(100_000), &config).unwrap();
        control.answered(at(100_000), &config, call, beat());
        let mut registrations = 0;
        let mut now = at(100_000);
        while now < at(105_999) {
            now = control.deadline(&config);
            if let Some((call, say)) = control.poll(now, &config) {
                registrations += u32::from(say == Say::Register && now < at(105_999));
                let answer = if say == Say::Register {
                    accepted(Some(1))
                } else {
                    beat()
                };
                control.answered(now, &config, call, answer);
            }
        }
        assert_eq!(
            registrations, 0,
            "a clock that differs is no reason to register all the time"
        );
        assert_eq!(now, at(106_000), "the lease of three intervals is over");
    }

    #[test]
    fn no_answer_is_a_failure() {
        let config = config();
        let mut control = Control::new(at(0));
        let (call, _) = control.poll(at(0), &config).unwrap();
        assert_eq!(control.deadline(&config), at(10_000));
        assert_eq!(control.poll(at(10_000), &config), None);
        control.answered(at(10_001), &config, call, accepted(None));
        assert!(!control.is_registered(), "the answer came too late");
        assert_eq!(control.deadline(&config), at(10_200));
    }
}
