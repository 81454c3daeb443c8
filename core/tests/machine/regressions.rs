//! Histories that once led astray.

use crate::play;
use crate::transition::CallFate::*;
use crate::transition::CommitFate::*;
use crate::transition::Transition::*;

/// The transaction that created it was given up, it was created again, deleted and removed; and
/// then nothing stood against that transaction any more.
#[test]
fn a_deleted_workload_is_not_created_again_by_a_late_transaction() {
    play(&[
        Join { n: 0, cpu: 1000 },
        NextCommit { fate: UnknownLate },
        Apply {
            w: 3,
            version: 1,
            cpu: 1500,
            zone: None,
        },
        Delete { w: 3 },
        Apply {
            w: 0,
            version: 1,
            cpu: 200,
            zone: None,
        },
    ]);
}

/// Its new revision was refused for good while the former one ran on: that was taken for a success.
#[test]
fn a_former_revision_that_runs_confirms_no_other() {
    play(&[
        Join { n: 0, cpu: 1000 },
        Join { n: 1, cpu: 2000 },
        Apply {
            w: 3,
            version: 1,
            cpu: 200,
            zone: None,
        },
        Apply {
            w: 3,
            version: 1,
            cpu: 500,
            zone: None,
        },
        NextCall {
            n: 0,
            fate: RefusedForGood,
        },
        Lead {
            anew: false,
            written: false,
        },
    ]);
}

/// Its tries were over when a change of its constraints made it leave its node for no other: it was
/// called pending, as if room could help.
#[test]
fn what_failed_for_good_is_not_pending_without_a_home() {
    play(&[
        Join { n: 1, cpu: 1000 },
        Break {
            w: 1,
            starts: 1,
            for_good: true,
        },
        Apply {
            w: 1,
            version: 3,
            cpu: 200,
            zone: None,
        },
        Drain {
            n: 1,
            parallelism: 1,
        },
        Apply {
            w: 1,
            version: 3,
            cpu: 200,
            zone: Some(0),
        },
    ]);
}

/// Its tries were over, its node was lost and nothing else fitted: its state became unknown, and
/// stayed so when the node was back.
#[test]
fn what_failed_for_good_stays_failed_on_a_lost_node() {
    play(&[
        Join { n: 3, cpu: 2000 },
        Break {
            w: 1,
            starts: 1,
            for_good: true,
        },
        Apply {
            w: 1,
            version: 1,
            cpu: 200,
            zone: None,
        },
        Lose {
            n: 3,
            reboot: false,
        },
        Settle,
    ]);
}

/// Its registration with another size was told to be of unknown outcome, and was not there: its
/// agent asks again, as every agent does, until it is known as it is.
#[test]
fn a_registration_that_failed_is_asked_for_again() {
    play(&[
        Join { n: 1, cpu: 1000 },
        NextCommit { fate: Late },
        Join { n: 1, cpu: 4000 },
        Lead {
            anew: false,
            written: false,
        },
        Apply {
            w: 0,
            version: 1,
            cpu: 1500,
            zone: None,
        },
    ]);
}

/// The store had no use for a transaction that was given up long ago, and a change of leaders gave it
/// none: what was deleted meanwhile does not come back.
#[test]
fn a_transaction_that_is_too_old_is_not_written_at_a_change_of_leaders() {
    play(&[
        Join { n: 0, cpu: 1000 },
        NextCommit { fate: UnknownLate },
        Apply {
            w: 0,
            version: 1,
            cpu: 200,
            zone: None,
        },
        Delete { w: 0 },
        Pass { s: 40 },
        Lead {
            anew: false,
            written: true,
        },
    ]);
}
