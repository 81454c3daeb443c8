use super::*;
use berth_core::model::workload::DesiredState;

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

fn errors(name: &str, text: &str) -> String {
    load(&[source(name, text)]).expect_err("refused").message
}

const TWO: &str = "\
# The first.
id: web-1
type: container
spec:
  image: nginx
  command: [sleep, '100']
resources: {cpu: 0.5, memory_mb: 64}
---
---
id: web-2
type: compose
desired_state: Stopped
spec:
  inline_yaml: |
    services: {}
";

#[test]
fn several_documents_become_several_bodies() {
    let found = load(&[source("a.yaml", TWO)]).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].wanted.id.as_str(), "web-1");
    assert_eq!(found[0].wanted.desired, DesiredState::Running);
    assert_eq!(
        found[0].body,
        r#"{"id":"web-1","type":"container","spec":{"image":"nginx","command":["sleep","100"]},"resources":{"cpu":0.5,"memory_mb":64}}"#
    );
    assert_eq!(found[1].wanted.desired, DesiredState::Stopped);
    assert_eq!(found[1].origin.to_string(), "a.yaml, document 3");
}

#[test]
fn json_documents_may_follow_each_other() {
    let one = r#"{"id":"a","type":"container","spec":{"image":"x"}}"#;
    let text = format!("{one}\n{}", one.replace("\"a\"", "\"b\""));
    let found = load(&[source("-", &text)]).unwrap();
    let ids: Vec<&str> = found.iter().map(|m| m.wanted.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
}

#[test]
fn a_wrong_field_is_named_with_its_line() {
    let text = "id: a\ntype: container\nspec:\n  image: x\n  prots: []\n";
    let said = errors("a.yaml", text);
    assert!(
        said.starts_with("a.yaml, document 1, line 5, spec.prots: unknown field `prots`"),
        "{said}"
    );
}

#[test]
fn a_wrong_type_in_a_later_document_is_named_with_its_line_in_the_file() {
    let text = format!("{TWO}---\nid: c\ntype: container\nspec: {{image: x}}\npriority: high\n");
    let said = errors("a.yaml", &text);
    assert!(
        said.starts_with(
            "a.yaml, document 4, line 20, priority: the text \"high\" is not a whole number"
        ),
        "{said}"
    );
}

#[test]
fn json_errors_are_named_the_same_way() {
    let text = "{\"id\":\"a\",\n\"type\":\"container\",\n\"spec\":{\"image\":7}}";
    let said = errors("a.json", text);
    assert!(
        said.starts_with("a.json, document 1, line 3, spec.image: the number 7 is not a text"),
        "{said}"
    );
    let said = errors("a.json", "{\"id\": ");
    assert_eq!(
        said,
        "a.json, document 1, line 1: EOF while parsing a value"
    );
}

#[test]
fn broken_yaml_ends_the_file_and_is_said_once() {
    let said = errors("a.yaml", "id: a\ntype: [\n---\nid: b\n");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("a.yaml, document 1, line "), "{said}");
}

#[test]
fn ids_states_and_amounts_are_checked() {
    let of = |line: &str| {
        let text = format!("type: container\nspec: {{image: x}}\n{line}\n");
        errors("-", &text)
    };
    assert!(
        of("id: Web").contains("line 3, id: has 'W' at byte 0"),
        "{}",
        of("id: Web")
    );
    assert!(of("").contains("line 1, id: is missing"));
    assert!(
        of("id: a\ndesired_state: Deleted")
            .contains("desired_state: \"Deleted\" is not known; expected")
    );
    assert!(of("id: a\nresources: {cpu: -1}").contains("resources.cpu: -1 is not an amount"));
    assert!(of("id: a\nresources: {gpu: 1}").contains("resources.gpu: unknown field"));
    assert!(of("id: a\nlabels: {a: 1}").contains("labels.a: the number 1 is not a text"));
}

#[test]
fn what_admission_refuses_is_refused_before_anything_is_sent() {
    let text = format!("{TWO}---\nid: c\ntype: container\nspec:\n  image: ''\n");
    assert_eq!(
        errors("a.yaml", &text),
        "a.yaml, document 4, line 20, spec.image: is empty; expected an image's reference"
    );
}

#[test]
fn the_type_must_be_known() {
    let said = errors("-", "id: a\nspec: {}\n");
    assert_eq!(
        said,
        "standard input, document 1, type: is missing; expected container, compose or vm"
    );
    assert!(
        errors("-", "id: a\ntype: pod\nspec: {}\n")
            .ends_with("line 2, type: expected container, compose or vm")
    );
    assert!(errors("-", "- a\n").ends_with("expected a mapping with id, type and spec"));
}

#[test]
fn every_error_of_a_batch_is_said_and_twins_are_refused() {
    let bad = "id: A\ntype: container\nspec: {image: x}\n---\nid: b\ntype: pod\n";
    assert_eq!(errors("-", bad).lines().count(), 2);
    let twin = "id: a\ntype: container\nspec: {image: x}\n";
    let said = errors("-", &format!("{twin}---\n{twin}"));
    assert_eq!(
        said,
        "standard input, document 2, id: a stands already in standard input, document 1"
    );
}

#[test]
fn nothing_to_apply_is_an_error() {
    assert_eq!(
        errors("empty.yaml", "# nothing\n"),
        "no manifest in empty.yaml"
    );
}

#[test]
fn folders_are_read_in_the_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.yaml", "a.yml", "c.json", "notes.txt"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let found = sources(&[dir.path().to_string_lossy().into_owned()]).unwrap();
    let ends: Vec<&str> = found
        .iter()
        .map(|s| s.name.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(ends, ["a.yml", "b.yaml", "c.json"]);
}
