//! Agents: silent, started anew, heard in one direction only.

use berth_turmoil::{Hands, names};

use super::play;

/// Six workloads, more than one for each agent.
const MANY: [(&str, Option<&str>); 6] = [
    ("w-1", Some("r-1")),
    ("w-2", Some("r-1")),
    ("w-3", Some("r-1")),
    ("w-4", Some("r-1")),
    ("w-5", Some("r-1")),
    ("w-6", Some("r-1")),
];

async fn apply_many(hands: &mut Hands) {
    for (id, _) in MANY {
        hands.api.apply(id, "r-1").await;
    }
}

/// Waits until every agent is known.
async fn warm_up(hands: &mut Hands) {
    hands.api.apply("first", "r-1").await;
    hands.runs("first", "r-1").await;
    hands.api.delete("first").await;
    hands.sleep(6.0).await;
}

fn running(hands: &Hands) -> usize {
    MANY.iter()
        .filter(|(id, _)| !hands.live(id).is_empty())
        .count()
}

#[test]
fn a_call_that_hangs_ends_at_its_deadline_and_delays_no_other_agent() {
    play(21, async |mut hands| {
        warm_up(&mut hands).await;
        let (leader, _) = hands.leader().await;
        hands.hold(&leader, "agent-1").await;
        apply_many(&mut hands).await;
        hands
            .until("those of the others run", 4, |hands| running(hands) == 4)
            .await;
        // The deadline of an apply.
        hands.sleep(6.0).await;
        assert_eq!(running(&hands), 4);
        let metrics = hands.metrics(&leader).await;
        let given_up = metrics.lines().find(|line| {
            line.contains("agent_rpc_requests_total")
                && line.contains("Apply")
                && line.contains("DeadlineExceeded")
        });
        assert!(
            given_up.is_some_and(|line| line.ends_with(" 2")),
            "{metrics}"
        );
        // The calls that hung arrive now, after their deadline.
        hands.heal(&leader, "agent-1").await;
        hands.all_is_well(&with_first(&MANY)).await;
        for (id, _) in MANY {
            assert_eq!(hands.artifacts(id), 1, "{id}");
        }
    });
}

#[test]
fn an_agent_that_crashes_finds_what_it_started() {
    play(22, async |mut hands| {
        warm_up(&mut hands).await;
        apply_many(&mut hands).await;
        // Some have started, some are about to.
        hands.crash("agent-1").await;
        hands.crash("agent-2").await;
        hands.sleep(1.0).await;
        hands.start("agent-1").await;
        hands.start("agent-2").await;
        hands.all_is_well(&with_first(&MANY)).await;
        for (id, _) in MANY {
            assert_eq!(hands.artifacts(id), 1, "{id}");
        }
    });
}

#[test]
fn an_agent_without_power_loses_its_workloads_to_the_others() {
    play(23, async |mut hands| {
        warm_up(&mut hands).await;
        apply_many(&mut hands).await;
        hands
            .until("all run", 10, |hands| running(hands) == MANY.len())
            .await;
        hands.cut_power("agent-1").await;
        hands
            .until("all run again", 60, |hands| running(hands) == MANY.len())
            .await;
        hands.start("agent-1").await;
        hands.all_is_well(&with_first(&MANY)).await;
    });
}

#[test]
fn an_agent_that_is_not_heard_is_replaced_and_cleaned_up() {
    play(24, async |mut hands| {
        warm_up(&mut hands).await;
        apply_many(&mut hands).await;
        for scheduler in (1..=3).map(names::scheduler) {
            hands.cut_one_way("agent-1", &scheduler).await;
        }
        let elsewhere = |hands: &Hands| {
            MANY.iter()
                .all(|(id, _)| hands.live(id).iter().any(|(agent, _)| agent != "agent-1"))
        };
        hands.until("all run elsewhere", 60, elsewhere).await;
        for scheduler in (1..=3).map(names::scheduler) {
            hands.heal("agent-1", &scheduler).await;
        }
        hands.all_is_well(&with_first(&MANY)).await;
    });
}

/// With the workload of the warming up, which is gone.
fn with_first<'a>(expected: &[(&'a str, Option<&'a str>)]) -> Vec<(&'a str, Option<&'a str>)> {
    let mut expected = expected.to_vec();
    expected.push(("first", None));
    expected
}
