use super::*;
use crate::Options;

#[test]
fn what_a_seed_draws_is_read_as_it_is_written() {
    for seed in 0..20 {
        let script = draw(&Options::small(seed));
        let text = script.to_yaml();
        let read = Script::from_yaml(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(read, script, "{text}");
    }
}

fn error(text: &str) -> String {
    Script::from_yaml(text).expect_err(text)
}

/// `acts` and `expect` in a script that is right.
fn script(acts: &str, expect: &str) -> String {
    let ask = "- {at: 1s, do: ask, client: 0, workload: w, ask: apply, wish: {}}";
    format!("world: {{seed: 1, schedulers: 2, nodes: 2}}\nacts:\n{ask}\n{acts}\nexpect: {expect}")
}

/// Each of these texts stands in the error.
fn named(text: &str, told: &[&str]) {
    let error = error(text);
    for told in told {
        assert!(
            error.contains(told),
            "{text}\nexpected: {told}\nfound: {error}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_world_is_named() {
    let wrong: [(&str, &[&str]); 6] = [
        (
            "many",
            &[
                "world.nodes",
                "a number of nodes, or a list",
                "\"many\"",
                "line 1",
            ],
        ),
        ("-1", &["world.nodes", "a number of nodes"]),
        (
            "[{cpu: 1, memory: 1, dsk: 1, zone: a}]",
            &[
                "world.nodes[0]",
                "dsk",
                "expected one of `cpu`, `memory`, `disk`",
            ],
        ),
        ("[{cpu: 1, memory: 1, zone: a}]", &["missing field `disk`"]),
        (
            "[{cpu: much, memory: 1, disk: 1, zone: a}]",
            &["nodes[0].cpu", "\"much\""],
        ),
        ("0", &["world.nodes", "expected 1 to"]),
    ];
    for (nodes, told) in wrong {
        named(&format!("world: {{nodes: {nodes}}}\nacts: []\n"), told);
    }
    named(
        "world: {nodes: 2, chaos: soon}\nacts: []\n",
        &["world.chaos: expected a time", "`soon`"],
    );
}

#[test]
fn what_is_no_yaml_is_named_by_its_line() {
    let wrong = [
        (
            "world: {nodes: [{cpu: 1, memory: 1, disk: 1, zone: a]}\nacts: []\n",
            "line 1",
        ),
        ("world: {nodes: 2\nacts: []\n", "line 2"),
        (
            "world: {nodes: 2}\nacts:\n- {at: 1s, do: heal\n- {at: 2s}\n",
            "line 4",
        ),
    ];
    for (text, line) in wrong {
        named(text, &[line, "did not find expected"]);
    }
}

#[test]
fn what_is_wrong_with_an_act_is_named() {
    let wrong: [(&str, &[&str]); 21] = [
        (
            "{at: 1s, do: crash-agent, node: 2}",
            &["acts[1]", "node", "found 2"],
        ),
        (
            "{at: 1s, do: crash-agent, node: one}",
            &["acts[1]", "node: ", "\"one\""],
        ),
        (
            "{at: 1s, do: crash-agent}",
            &["acts[1]", "missing field `node`"],
        ),
        ("{do: crash-agent, node: 1}", &["missing field `at`"]),
        ("{at: 1s, node: 1}", &["missing field `do`"]),
        ("{at: 1s, do: crash-agent, node: 1, lasts: 1s}", &["lasts"]),
        (
            "{at: 1, do: crash-agent, node: 1}",
            &["at: ", "expected a string"],
        ),
        (
            "{at: soon, do: crash-agent, node: 1}",
            &["at: expected a time", "`soon`"],
        ),
        (
            "{at: 1s, for: 0s, do: crash-agent, node: 1}",
            &["for: expected more"],
        ),
        (
            "{at: 1s, do: lie, node: 0, answers: -1}",
            &["acts[1]: answers: ", "-1"],
        ),
        (
            "{at: 1s, do: explode, node: 1}",
            &["unknown deed `explode`; nearest: `"],
        ),
        (
            "{at: 1s, do: crash-agnet, node: 1}",
            &["nearest: `crash-agent`, "],
        ),
        (
            "{at: 1s, do: cut, from: node-1, to: rack-1}",
            &["to: ", "rack-1"],
        ),
        (
            "{at: 1s, do: ask, client: 5, workload: w, ask: delete}",
            &["client: expected less than 1"],
        ),
        (
            "{at: 1s, do: ask, client: 0, workload: w, ask: apply, wish: {cpuu: 1}}",
            &["wish: ", "cpuu"],
        ),
        (
            "{at: 1s, do: ask, client: 0, workload: w, ask: aply, wish: {}}",
            &["ask: ", "aply", "`apply`"],
        ),
        (
            "{at: 1s, do: lie, node: 0, answers: 0}",
            &["answers: expected more than nothing"],
        ),
        (
            "{at: 1s, do: read-stale, count: 0, back: 3}",
            &["count: expected more"],
        ),
        (
            "{at: 1s, do: read-stale, count: 1, back: 0}",
            &["back: expected more"],
        ),
        (
            "{at: 1s, do: slow-agent, node: 0, by: 0s}",
            &["by: expected more"],
        ),
        (
            "{at: 1s, do: drain, node: 0, deadline: 1s, parallelism: 0}",
            &["parallelism: "],
        ),
    ];
    for (act, told) in wrong {
        named(&script(&format!("- {act}"), "[]"), told);
    }
    let right = script("- {at: 1s, do: crash-agent, node: 1, for: 3s}", "[]");
    assert!(Script::from_yaml(&right).is_ok());
}

#[test]
fn what_is_wrong_with_an_expectation_is_named() {
    let wrong: [(&str, &[&str]); 19] = [
        (
            "{workload: w, state: runing}",
            &[
                "expect[0].that.state",
                "`runing`",
                "`pending`, `running`",
                "line 5",
            ],
        ),
        ("{workload: w, attemps: 1}", &["attemps", "`attempts`"]),
        (
            "{workload: w, attempts: few}",
            &["that.attempts", "\"few\""],
        ),
        (
            "{workload: w}",
            &["nothing is expected of `workload`", "`state`, `on`"],
        ),
        (
            "{node: node-1}",
            &["nothing is expected of `node`", "`status`, `running`"],
        ),
        ("{count: 1}", &["nothing is expected of `count`", "`state`"]),
        (
            "{state: running}",
            &["expected one of `workload`", "found `state`"],
        ),
        ("{}", &["expected one of `workload`", "found nothing"]),
        (
            "{workload: w, running: 1}",
            &["`running` is not said of a `workload`"],
        ),
        (
            "{node: node-1, state: running}",
            &["`state` is not said of a `node`"],
        ),
        (
            "{node: scheduler-0, running: 1}",
            &["node: expected `node-N`"],
        ),
        ("{node: node-7, running: 1}", &["there is no node-7"]),
        ("{workload: ww, state: gone}", &["nobody asks for `ww`"]),
        (
            "{workload: w, refused: {space: 1}}",
            &["that.refused", "`space`", "`memory`"],
        ),
        (
            "{reached: event NodeLots}",
            &["no mark is called", "nearest: `event NodeLost`"],
        ),
        (
            "{reached: event NodeLost, times: 0}",
            &["times: expected at least 1"],
        ),
        (
            "{leader: node-0}",
            &["that.leader", "expected `scheduler-N` or `nobody`"],
        ),
        ("{node: rack-1, running: 1}", &["that.node", "rack-1"]),
        (
            "{leader: scheduler-2}",
            &["leader: there is no scheduler-2"],
        ),
    ];
    for (that, told) in wrong {
        named(&script("", &format!("[{{that: {that}}}]")), told);
    }
    named(
        &script("", "[{at: soon, that: {leader: nobody}}]"),
        &["expect[0].at: expected a time"],
    );
    let right = [
        "{workload: w, refused: {memory: 2, anti_affinity: 1}}",
        "{state: running, count: 0}",
        "{reached: event NodeLost, times: 2}",
        "{leader: nobody}",
        "{elections: 2}",
    ];
    for that in right {
        let text = script("", &format!("[{{that: {that}}}]"));
        let read = Script::from_yaml(&text).unwrap_or_else(|e| panic!("{that}: {e}"));
        assert_eq!(Script::from_yaml(&read.to_yaml()).as_ref(), Ok(&read));
    }
}
