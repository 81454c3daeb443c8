//! Bad input: a clear error that names the field, the status codes of the design, nothing written.

use berth_proto::control::v1 as wire;
use berth_proto::control::v1::agent_control_client::AgentControlClient;
use berth_tests::berth::{berth, text_of};
use berth_tests::workloads::container;
use berth_tests::{FakeAgentOptions, Lab};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::Code;

use crate::Scheduler;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_by_name_and_writes_nothing() {
    let lab = Lab::new("input");
    let scheduler = Scheduler::start(&lab, &[]).await;
    let _agents = scheduler
        .fake_agents(vec![FakeAgentOptions::new("node-1", 4000, 4096)])
        .await;
    let before = scheduler.etcd.revision().await;
    over_rest(&scheduler).await;
    a_body_of_100_mb(&scheduler).await;
    over_grpc(&scheduler).await;
    over_the_command_line(&lab, &scheduler);
    let after = scheduler.history.until_now(&scheduler.etcd).await;
    let written: Vec<_> = after.iter().filter(|c| c.revision > before).collect();
    assert!(written.is_empty(), "{written:?}");
}

/// A good manifest with one change.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut manifest = container("w-1", &["sleep", "1"], 0.5, 64);
    change(&mut manifest);
    manifest.to_string().into_bytes()
}

async fn over_rest(scheduler: &Scheduler) {
    let rest = scheduler.server.rest();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("no JSON", b"{\"id\": \"w-1\",".to_vec(), 400, "body"),
        ("nothing", Vec::new(), 400, "body"),
        ("a list", b"[]".to_vec(), 422, "body"),
        (
            "no id",
            changed(|m| drop(m.as_object_mut().map(|m| m.remove("id")))),
            422,
            "id",
        ),
        (
            "no type",
            changed(|m| drop(m.as_object_mut().map(|m| m.remove("type")))),
            422,
            "type",
        ),
        (
            "a type that is none",
            changed(|m| m["type"] = json!("pod")),
            422,
            "type",
        ),
        (
            "an unknown field",
            changed(|m| m["replicas"] = json!(3)),
            422,
            "replicas",
        ),
        (
            "an unknown field inside",
            changed(|m| m["spec"]["imagee"] = json!("x")),
            422,
            "spec.imagee",
        ),
        (
            "negative CPU",
            changed(|m| m["resources"]["cpu"] = json!(-1)),
            422,
            "resources.cpu",
        ),
        (
            "absurd CPU",
            changed(|m| m["resources"]["cpu"] = json!(1e9)),
            422,
            "resources.cpu",
        ),
        (
            "negative memory",
            changed(|m| m["resources"]["memory_mb"] = json!(-5)),
            422,
            "resources.memory_mb",
        ),
        (
            "absurd memory",
            changed(|m| m["resources"]["memory_mb"] = json!(u64::MAX)),
            422,
            "resources.memory_mb",
        ),
        (
            "memory as text",
            changed(|m| m["resources"]["memory_mb"] = json!("64")),
            422,
            "resources.memory_mb",
        ),
        (
            "absurd disk",
            changed(|m| m["resources"]["disk_gb"] = json!(1u64 << 60)),
            422,
            "resources.disk_gb",
        ),
        (
            "capitals in the id",
            changed(|m| m["id"] = json!("Web")),
            422,
            "id",
        ),
        (
            "a path as id",
            changed(|m| m["id"] = json!("../../etc/passwd")),
            422,
            "id",
        ),
        (
            "a long id",
            changed(|m| m["id"] = json!("x".repeat(129))),
            422,
            "id",
        ),
        (
            "an id of another type",
            changed(|m| m["id"] = json!(7)),
            422,
            "id",
        ),
        (
            "no image",
            changed(|m| m["spec"] = json!({})),
            422,
            "spec.image",
        ),
        (
            "a command as text",
            changed(|m| m["spec"]["command"] = json!("sleep 1")),
            422,
            "spec.command",
        ),
        (
            "a port beyond",
            changed(|m| m["spec"]["ports"] = json!([{"container_port": 70_000}])),
            422,
            "spec.ports[0].container_port",
        ),
        (
            "attempts beyond",
            changed(|m| m["max_attempts"] = json!(100_000)),
            422,
            "max_attempts",
        ),
        (
            "a state that is none",
            changed(|m| m["desired_state"] = json!("Paused")),
            422,
            "desired_state",
        ),
        (
            "a bad revision",
            changed(|m| m["revision_id"] = json!("a b")),
            422,
            "revision_id",
        ),
    ];
    for (name, body, status, field) in cases {
        let answer = rest
            .send(Method::POST, "/workloads", Some(body))
            .await
            .expect("an answer");
        let seen = format!("{name}: {} {}", answer.status, answer.text);
        assert_eq!(answer.status, status, "{seen}");
        assert_eq!(answer.body["field"], field, "{seen}");
        assert_eq!(answer.body["status"], status, "{seen}");
        assert!(
            answer.body["detail"].as_str().is_some_and(|d| d.len() > 5),
            "{seen}"
        );
        assert!(
            answer.content_type.starts_with("application/problem+json"),
            "{seen}"
        );
    }
    for (method, path, status) in [
        (Method::GET, "/workloads/nobody", 404),
        (Method::DELETE, "/workloads/nobody", 404),
        (Method::GET, "/nodes/nobody", 404),
        (Method::GET, "/nowhere", 404),
        (Method::PATCH, "/workloads", 405),
        (Method::GET, "/workloads?limit=many", 422),
        (Method::GET, "/workloads?colour=red", 422),
        (Method::GET, "/workloads/UPPER", 422),
    ] {
        let answer = rest
            .send(method.clone(), path, None)
            .await
            .expect("an answer");
        let fits = answer.status == status || (status == 422 && answer.status == 400);
        assert!(fits, "{method} {path}: {} {}", answer.status, answer.text);
        assert!(
            answer.content_type.starts_with("application/problem+json"),
            "{path}: {answer:?}"
        );
    }
}

async fn a_body_of_100_mb(scheduler: &Scheduler) {
    let rest = scheduler.server.rest();
    let body = changed(|m| m["labels"] = json!({"blob": "x".repeat(100 << 20)}));
    let answer = rest
        .send(Method::POST, "/workloads", Some(body))
        .await
        .expect("an answer");
    assert_eq!(answer.status, 413, "{}", answer.text);
    let ready = rest.get("/readyz").await.expect("an answer");
    assert_eq!(ready.status, 200, "the scheduler goes on: {}", ready.text);
}

async fn over_grpc(scheduler: &Scheduler) {
    let url = format!("http://{}", scheduler.server.grpc());
    let mut client = AgentControlClient::connect(url)
        .await
        .expect("the scheduler serves");
    let spec = |cpu_millicores| wire::WorkloadSpec {
        r#type: "container".to_owned(),
        resources: Some(wire::ResourceRequirements {
            cpu_millicores,
            memory_mb: 64,
            disk_gb: 0,
        }),
        workload: Some(wire::workload_spec::Workload::Container(
            wire::ContainerSpec {
                image: "busybox:1".to_owned(),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    let apply = |id: &str, spec| wire::ApplyWorkloadRequest {
        workload_id: id.to_owned(),
        spec,
        ..Default::default()
    };

    // Malformed: a code that names the field.
    let refused = client
        .apply_workload(apply("", Some(spec(500))))
        .await
        .expect_err("blank id");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains("workload_id"), "{refused:?}");

    // Well formed and wrong: in band, with the field.
    for (name, request, field) in [
        ("negative CPU", apply("w-1", Some(spec(-5))), "cpu"),
        ("absurd CPU", apply("w-1", Some(spec(i64::MAX))), "cpu"),
        (
            "a type that is none",
            apply(
                "w-1",
                Some(wire::WorkloadSpec {
                    r#type: "pod".into(),
                    ..spec(5)
                }),
            ),
            "type",
        ),
        (
            "no arm",
            apply(
                "w-1",
                Some(wire::WorkloadSpec {
                    workload: None,
                    ..spec(5)
                }),
            ),
            "container",
        ),
    ] {
        let answer = client.apply_workload(request).await;
        let answer = answer
            .unwrap_or_else(|status| panic!("{name}: {status:?}"))
            .into_inner();
        assert!(!answer.success, "{name}: {answer:?}");
        assert_eq!(
            answer.failure_reason,
            wire::FailureReason::InvalidSpec as i32,
            "{name}: {answer:?}"
        );
        assert!(answer.error_message.contains(field), "{name}: {answer:?}");
    }

    let suggestion = wire::AutomationSuggestion {
        target_workload: "w-1".to_owned(),
        action_type: 99,
        ..Default::default()
    };
    let request = wire::SubmitAutomationSuggestionRequest {
        suggestion: Some(suggestion),
    };
    let said = match client.submit_automation_suggestion(request).await {
        Ok(answer) => {
            assert!(!answer.get_ref().accepted, "{answer:?}");
            answer.into_inner().reason
        }
        Err(status) => {
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
            status.message().to_owned()
        }
    };
    assert!(
        said.contains("action_type"),
        "an unknown enum value: {said:?}"
    );

    let request = wire::GetWorkloadRequest {
        workload_id: "nobody".to_owned(),
    };
    let missing = client
        .get_workload(request)
        .await
        .expect_err("it does not exist");
    assert_eq!(missing.code(), Code::NotFound, "{missing:?}");
    let request = wire::RegisterNodeRequest {
        node_id: "node-9".to_owned(),
        ..Default::default()
    };
    let refused = client
        .register_node(request)
        .await
        .expect_err("no endpoint");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let request = wire::HeartbeatRequest {
        node_id: "nobody".to_owned(),
        ..Default::default()
    };
    let unknown = client
        .heartbeat(request)
        .await
        .expect_err("it never registered");
    assert_eq!(unknown.code(), Code::NotFound, "{unknown:?}");
}

fn over_the_command_line(lab: &Lab, scheduler: &Scheduler) {
    let server = scheduler.server.http();
    let cases = [
        ("malformed YAML", "id: [", 4, ""),
        (
            "an unknown field",
            "id: w-1\ntype: container\nspec: {image: a}\nreplicas: 3\n",
            4,
            "replicas",
        ),
        (
            "an unknown field inside",
            "id: w-1\ntype: container\nspec: {imagee: a}\n",
            4,
            "imagee",
        ),
        (
            "negative memory",
            "id: w-1\ntype: container\nspec: {image: a}\nresources: {memory_mb: -1}\n",
            4,
            "memory_mb",
        ),
        (
            "a bad id",
            "id: Web/1\ntype: container\nspec: {image: a}\n",
            4,
            "id",
        ),
    ];
    for (name, text, code, field) in cases {
        let file = lab.path("bad.yaml");
        std::fs::write(&file, text).expect("a file in the scratch folder");
        let output = berth(lab, server, &["apply", "-f", &file.display().to_string()]);
        let said = text_of(&output);
        assert_eq!(output.status.code(), Some(code), "{name}: {said}");
        assert!(
            said.contains(field) && said.contains("bad.yaml"),
            "{name}: {said}"
        );
    }
    let output = berth(lab, server, &["apply", "-f", "no-such-file.yaml"]);
    assert!(!output.status.success() && text_of(&output).contains("no-such-file.yaml"));
    let output = berth(lab, server, &["get", "workloads", "--no-such-flag"]);
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    let output = berth(lab, server, &["describe", "workload", "nobody"]);
    assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
}
