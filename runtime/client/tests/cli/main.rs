//! Commands from their arguments to their output and exit code, against a scripted server.

mod reads;
mod server;

use berth_client::{ClientCommand, Console, Exit};
use clap::Parser;
use serde_json::json;
use server::{Answer, Captured, Server, problem, workload};

#[derive(Parser)]
#[command(name = "berth")]
struct Line {
    #[command(subcommand)]
    command: ClientCommand,
}

/// What a command said and how it ended.
struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

async fn berth(server: &str, line: &str) -> Ran {
    let words = ["berth"].into_iter().chain(line.split_whitespace());
    let words = words.chain(["--server", server]);
    let command = Line::try_parse_from(words).expect("a command").command;
    let (out, err) = (Captured::default(), Captured::default());
    let console = Console::plain(Box::new(out.clone()), Box::new(err.clone()));
    let exit = berth_client::run(command, console).await;
    Ran {
        exit,
        out: out.text(),
        err: err.text(),
    }
}

fn manifest_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new()
        .suffix(".yaml")
        .tempfile()
        .expect("a temporary file");
    std::fs::write(file.path(), text).expect("it can be written");
    file
}

const TWO: &str = "id: a\ntype: container\nspec: {image: x}\n---\n\
    id: b\ntype: container\nspec: {image: x}\n";

#[tokio::test]
async fn apply_creates_and_waits_until_all_run() {
    let server = Server::start().await;
    for id in ["a", "b"] {
        server.on(
            "POST",
            "/workloads",
            Answer::json(201, workload(id, "Pending")),
        );
        server.on(
            "GET",
            &format!("/workloads/{id}"),
            Answer::json(200, workload(id, "Pending")),
        );
        server.always(
            "GET",
            &format!("/workloads/{id}"),
            Answer::json(200, workload(id, "Running")),
        );
    }
    let file = manifest_file(TWO);
    let line = format!("apply -f {} --wait", file.path().display());
    let ran = berth(server.url(), &line).await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let expected = "workload/a created, revision rev-1\nworkload/b created, revision rev-1\n\
        workload/a Running on node-1\nworkload/b Running on node-1\n";
    assert_eq!(ran.out, expected);
    assert_eq!(ran.err, "workload/a Pending\nworkload/b Pending\n");
    let seen = server.seen();
    let body = r#"{"id":"a","type":"container","spec":{"image":"x"}}"#;
    assert_eq!(seen[0], format!("POST /workloads {body}"));
}

#[tokio::test]
async fn a_batch_that_partly_fails_says_which_were_accepted() {
    let server = Server::start().await;
    server.on(
        "POST",
        "/workloads",
        Answer::json(200, workload("a", "Running")),
    );
    server.on("POST", "/workloads", problem(409, "b is being deleted"));
    let file = manifest_file(TWO);
    let ran = berth(server.url(), &format!("apply -f {}", file.path().display())).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert_eq!(ran.out, "workload/a accepted, revision rev-1\n");
    assert!(
        ran.err.contains("workload/b refused: b is being deleted"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("document 2"), "{}", ran.err);
    assert!(
        ran.err.contains("1 of 2 manifests were accepted"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn a_wrong_manifest_sends_nothing() {
    let server = Server::start().await;
    let file = manifest_file(&format!(
        "{TWO}---\nid: c\ntype: container\nspec: {{imag: x}}\n"
    ));
    let ran = berth(server.url(), &format!("apply -f {}", file.path().display())).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(
        ran.err
            .contains("document 3, line 11, spec.imag: unknown field"),
        "{}",
        ran.err
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_failure_for_good_ends_the_wait_at_once() {
    let server = Server::start().await;
    let mut failed = workload("a", "Failed");
    failed["status"]["failure_reason"] = json!("exit code 7");
    server.always(
        "POST",
        "/workloads",
        Answer::json(201, workload("a", "Pending")),
    );
    server.always("GET", "/workloads/a", Answer::json(200, failed));
    let file = manifest_file("id: a\ntype: container\nspec: {image: x}\n");
    let line = format!("apply -f {} --wait --timeout 1h", file.path().display());
    let ran = berth(server.url(), &line).await;
    assert_eq!(ran.exit, Exit::Error);
    assert!(
        ran.err.contains("workload/a Failed: exit code 7"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn a_wait_that_takes_too_long_names_what_is_left() {
    let server = Server::start().await;
    server.always(
        "POST",
        "/workloads",
        Answer::json(201, workload("a", "Pending")),
    );
    server.always(
        "GET",
        "/workloads/a",
        Answer::json(200, workload("a", "Pending")),
    );
    let file = manifest_file("id: a\ntype: container\nspec: {image: x}\n");
    let line = format!("apply -f {} --wait --timeout 300ms", file.path().display());
    let ran = berth(server.url(), &line).await;
    assert_eq!(ran.exit, Exit::Timeout);
    assert!(
        ran.err.contains("1 not as wanted after 300ms"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("`berth explain a`"), "{}", ran.err);
}

#[tokio::test]
async fn a_dry_run_says_so_and_asks_so() {
    let server = Server::start().await;
    server.always(
        "POST",
        "/workloads?dry_run=true",
        Answer::json(200, workload("a", "Pending")),
    );
    let file = manifest_file("id: a\ntype: container\nspec: {image: x}\n");
    let ran = berth(
        server.url(),
        &format!("apply --dry-run -f {}", file.path().display()),
    )
    .await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    assert_eq!(
        ran.out,
        "workload/a would be accepted, revision rev-1, on node-1 (dry run)\n"
    );
}

#[tokio::test]
async fn explain_begins_with_what_it_is() {
    let server = Server::start().await;
    let mut stopped = workload("a", "Stopped");
    stopped["assigned_node"] = json!(null);
    server.always("GET", "/workloads/a", Answer::json(200, stopped));
    let explanation = json!({
        "workload": "a", "assigned_node": null, "summary": "no suitable node: 0 of 1 nodes fit",
        "decision": {
            "node": null, "nodes": 1, "examined": 1, "candidates": 0, "refused": {"cpu": 1},
            "requested": {"cpu": 6, "memory_mb": 64, "disk_gb": 0},
            "at_revision": 7, "decided_at": "2026-02-17T00:00:00Z"
        },
        "nearest": [], "would_help": [], "freshness": {"revision": 7, "stale": false}
    });
    server.always(
        "GET",
        "/workloads/a/explain",
        Answer::json(200, explanation),
    );
    let ran = berth(server.url(), "explain a").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let begin = "a is Stopped\nWere it started now:\nno suitable node: 0 of 1 nodes fit\n";
    assert!(ran.out.starts_with(begin), "{}", ran.out);
}

#[tokio::test]
async fn what_get_prints_can_be_applied() {
    let server = Server::start().await;
    let mut view = workload("a", "Running");
    view["desired_state"] = json!("Stopped");
    server.always("GET", "/workloads/a", Answer::json(200, view.clone()));
    server.always("POST", "/workloads", Answer::json(200, view));
    for format in ["yaml", "json"] {
        let got = berth(server.url(), &format!("get workload a -o {format}")).await;
        assert_eq!(got.exit, Exit::Done, "{}", got.err);
        let file = manifest_file(&got.out);
        let ran = berth(server.url(), &format!("apply -f {}", file.path().display())).await;
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        let sent = server.seen().pop().expect("a request");
        let body = sent.strip_prefix("POST /workloads ").expect("an apply");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["desired_state"], "Stopped");
        assert_eq!(body["spec"], workload("a", "Running")["spec"]);
        assert!(body.get("display_status").is_none(), "{body}");
        assert!(body.get("assigned_node").is_none(), "{body}");
    }
}

#[tokio::test]
async fn lists_follow_their_pages() {
    let server = Server::start().await;
    let page = |ids: &[&str], next: Option<&str>| {
        let items: Vec<_> = ids.iter().map(|id| workload(id, "Running")).collect();
        let mut page =
            json!({"items": items, "more": next.is_some(), "revision": 9, "stale": false});
        if let Some(next) = next {
            page["next"] = json!(next);
        }
        Answer::json(200, page)
    };
    server.always("GET", "/workloads", page(&["a", "b"], Some("b")));
    server.always("GET", "/workloads?after=b", page(&["c"], None));
    let ran = berth(server.url(), "get workloads").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let ids: Vec<&str> = ran
        .out
        .lines()
        .map(|l| l.split(' ').next().unwrap())
        .collect();
    assert_eq!(ids, ["ID", "a", "b", "c"]);
    let ran = berth(server.url(), "get wl -o json").await;
    let whole: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(whole["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(whole["more"], false);
}

#[tokio::test]
async fn json_is_the_servers_own_in_its_order() {
    let server = Server::start().await;
    let body = "{\n  \"zebra\": 1,\n  \"apple\": [\n    0.25,\n    null\n  ]\n}";
    server.always("GET", "/workloads/a", Answer::text(200, body));
    let ran = berth(server.url(), "get workload a -o json").await;
    assert_eq!(ran.out, format!("{body}\n"));
    let ran = berth(server.url(), "describe workload a -o yaml").await;
    assert_eq!(ran.out, "zebra: 1\napple:\n- 0.25\n- null\n");
}

#[tokio::test]
async fn what_does_not_exist_is_told_apart() {
    let server = Server::start().await;
    server.always(
        "GET",
        "/workloads/a",
        problem(404, "workload a does not exist"),
    );
    server.always(
        "DELETE",
        "/workloads/a",
        problem(404, "workload a does not exist"),
    );
    for line in ["get workload a", "describe workload a", "delete workload a"] {
        let ran = berth(server.url(), line).await;
        assert_eq!(ran.exit, Exit::NotFound, "{line}");
        assert!(
            ran.err.starts_with("error: workload a does not exist\n"),
            "{}",
            ran.err
        );
    }
    let ran = berth(server.url(), "delete a --ignore-not-found").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
}

#[tokio::test]
async fn delete_waits_until_it_is_gone() {
    let server = Server::start().await;
    server.always(
        "DELETE",
        "/workloads/a",
        Answer::json(202, workload("a", "Deleting")),
    );
    server.on(
        "GET",
        "/workloads/a",
        Answer::json(200, workload("a", "Deleting")),
    );
    server.on("GET", "/workloads/a", problem(503, "no leader"));
    server.always(
        "GET",
        "/workloads/a",
        problem(404, "workload a does not exist"),
    );
    let ran = berth(server.url(), "delete workload a --wait").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    assert_eq!(ran.out, "workload/a deleting\nworkload/a deleted\n");
}

#[tokio::test]
async fn nobody_there_says_what_to_start() {
    let server = Server::start().await;
    let url = server.url().to_owned();
    server.stop().await;
    let ran = berth(&url, "status").await;
    assert_eq!(ran.exit, Exit::Unavailable);
    assert!(
        ran.err
            .contains("is `berth dev` or `berth server` running?"),
        "{}",
        ran.err
    );
    let file = manifest_file(TWO);
    let ran = berth(&url, &format!("apply -f {}", file.path().display())).await;
    assert_eq!(ran.exit, Exit::Unavailable);
    assert_eq!(
        ran.err.matches("cannot reach").count(),
        1,
        "said once: {}",
        ran.err
    );
}

#[tokio::test]
async fn not_now_says_when_to_try_again() {
    let server = Server::start().await;
    let busy = problem(503, "the store is out of reach").header("retry-after", "3");
    server.always("POST", "/workloads/a/retry", busy);
    let ran = berth(server.url(), "retry a").await;
    assert_eq!(ran.exit, Exit::Unavailable);
    assert!(ran.err.contains("hint: try again in 3 s"), "{}", ran.err);
}

#[tokio::test]
async fn nodes_are_drained_with_what_was_asked_and_fenced_only_when_sure() {
    let server = Server::start().await;
    server.always("POST", "/nodes/node-1/drain", Answer::json(200, json!({})));
    let ran = berth(server.url(), "drain node-1 --deadline 2m --parallelism 3").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let body = r#"{"deadline_seconds":120,"parallelism":3}"#;
    assert_eq!(server.seen(), [format!("POST /nodes/node-1/drain {body}")]);
    let ran = berth(server.url(), "drain node-1").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let next = "hint: its workloads move elsewhere, few at a time; `berth describe node node-1`";
    assert!(ran.err.starts_with(next), "{}", ran.err);
    // What was not given is the server's to choose.
    assert_eq!(server.seen()[1], "POST /nodes/node-1/drain {}");
    let ran = berth(server.url(), "fence node-1").await;
    assert_eq!(ran.exit, Exit::Usage);
    assert_eq!(server.seen().len(), 2, "nothing was sent");
    server.always("POST", "/nodes/node-1/fence", Answer::json(200, json!({})));
    server.always("DELETE", "/nodes/node-1", Answer::text(204, ""));
    server.always("POST", "/nodes/node-1/cordon", Answer::json(200, json!({})));
    server.always(
        "POST",
        "/nodes/node-1/uncordon",
        Answer::json(200, json!({})),
    );
    for (line, done, shows) in [
        (
            "fence node-1 --yes",
            "fenced",
            "`berth get workloads --node node-1`",
        ),
        ("purge node-1", "purged", "`berth get nodes`"),
        ("cordon node-1", "cordoned", "`berth get nodes`"),
        ("uncordon node-1", "uncordoned", "`berth get nodes`"),
    ] {
        let ran = berth(server.url(), line).await;
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        assert_eq!(ran.out, format!("node/node-1 {done}\n"));
        assert!(ran.err.starts_with("hint: "), "{line}: {}", ran.err);
        assert!(
            ran.err.contains(shows) && ran.err.lines().count() == 1,
            "{line}: {}",
            ran.err
        );
    }
}

#[tokio::test]
async fn restart_stops_waits_and_starts() {
    let server = Server::start().await;
    server.always(
        "POST",
        "/workloads/a/stop",
        Answer::json(200, workload("a", "Running")),
    );
    server.on(
        "GET",
        "/workloads/a",
        Answer::json(200, workload("a", "Running")),
    );
    server.on(
        "GET",
        "/workloads/a",
        Answer::json(200, workload("a", "Stopped")),
    );
    server.always(
        "POST",
        "/workloads/a/start",
        Answer::json(200, workload("a", "Pending")),
    );
    server.always(
        "GET",
        "/workloads/a",
        Answer::json(200, workload("a", "Running")),
    );
    let ran = berth(server.url(), "restart a --wait").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let expected = "workload/a stopping\nworkload/a Stopped\nworkload/a starting\n\
        workload/a Running on node-1\n";
    assert_eq!(ran.out, expected);
}

#[tokio::test]
async fn events_are_followed_across_a_lost_connection() {
    let server = Server::start().await;
    let event = |id: &str, reason: &str| {
        json!({"id": id, "type": "NodeReady", "node_id": "node-1", "reason": reason,
            "timestamp": "2026-02-17T00:00:00Z"})
    };
    let page = json!({"items": [event("1", "first")], "more": false, "next": "1", "gap": false});
    server.always("GET", "/events?limit=50", Answer::json(200, page));
    let piece = |id: &str, reason: &str| {
        format!(
            "id: {id}\nevent: NodeReady\ndata: {}\n\n",
            event(id, reason)
        )
    };
    server.on("GET", "/events", Answer::stream(&piece("2", "second")));
    server.on("GET", "/events", Answer::stream(&piece("3", "third")));
    server.always("GET", "/events", problem(403, "enough"));
    let ran = berth(server.url(), "events --follow").await;
    // Only a refusal ends it.
    assert_eq!(ran.exit, Exit::Refused, "{}", ran.err);
    let reasons: Vec<&str> = ran
        .out
        .lines()
        .map(|l| l.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(reasons, ["first", "second", "third"]);
    let resumed: Vec<String> = server.resumed();
    assert_eq!(resumed, ["1", "2", "3"]);
}
