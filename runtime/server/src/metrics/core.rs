//! The core's figures and health.

use berth_core::Stats;

use super::text::{Kind, Text};
use crate::health::{HealthReport, Mode};

/// Health as gauges; every mode is always there.
pub(super) fn write_health(text: &mut Text, health: &HealthReport) {
    let gauge = Kind::Gauge;
    let flag = u64::from;
    text.single(
        "berth_leading",
        gauge,
        "1 while this replica leads.",
        flag(health.leading),
    );
    let epoch = u64::try_from(health.epoch).unwrap_or(0);
    text.single(
        "berth_epoch",
        gauge,
        "The epoch of this replica; 0 before it led.",
        epoch,
    );
    let up = flag(health.store.available);
    text.single(
        "berth_store_available",
        gauge,
        "1 while the store answers.",
        up,
    );
    text.family("berth_mode", gauge, "1 for the mode that the server is in.");
    for mode in Mode::ALL {
        text.sample(&[("mode", mode.name())], flag(mode == health.mode));
    }
    let waiting = u64::try_from(health.inputs_waiting).unwrap_or(u64::MAX);
    text.single(
        "berth_core_inputs_waiting",
        gauge,
        "Inputs that wait for the core.",
        waiting,
    );
}

/// What the core counted.
pub(super) fn write_stats(_text: &mut Text, _stats: &Stats) {}
