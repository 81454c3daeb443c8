//! A package as a flat set of facts, read from a hand-written table or from its descriptor.

use std::collections::BTreeSet;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

/// One line per fact, spelled the same way from both sources:
/// `rpc /package.Service/Method Request -> Response`, `enum Name 1 VALUE`,
/// `message Name 1 field type`, and a bare `message Name` for its existence.
pub(crate) type Facts = BTreeSet<String>;

/// The facts of a table. Panics, with the line, on what does not follow the format.
pub(crate) fn from_table(package: &str, table: &str) -> Facts {
    let mut facts = Facts::new();
    let mut service = String::new();
    let mut open = String::new();
    let lines = table
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    for line in lines {
        let added = if line.starts_with(' ') {
            assert!(
                !open.is_empty(),
                "an entry outside of a message or enum: {line}"
            );
            let mut all_new = true;
            for entry in line.split(';').map(str::trim) {
                let number = entry.split(' ').next().and_then(|n| n.parse::<i32>().ok());
                assert!(
                    number.is_some(),
                    "an entry begins with its number: {entry:?}"
                );
                all_new &= facts.insert(format!("{open} {entry}"));
            }
            all_new
        } else {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["service", name] => {
                    service = format!("/{package}.{name}");
                    true
                }
                ["rpc", name, request, response] => {
                    facts.insert(format!("rpc {service}/{name} {request} -> {response}"))
                }
                ["message" | "enum", _] => {
                    open = line.to_owned();
                    facts.insert(open.clone())
                }
                _ => panic!("not understood: {line}"),
            }
        };
        assert!(added, "said twice: {line}");
    }
    facts
}

/// The facts of the file that declares `package`.
pub(crate) fn from_descriptor(file: &FileDescriptorProto) -> Facts {
    let mut facts = Facts::new();
    for service in &file.service {
        for method in &service.method {
            facts.insert(format!(
                "rpc /{}.{}/{} {}{} -> {}{}",
                file.package(),
                service.name(),
                method.name(),
                star(method.client_streaming()),
                local(file, method.input_type()),
                star(method.server_streaming()),
                local(file, method.output_type()),
            ));
        }
    }
    for declared in &file.enum_type {
        facts.insert(format!("enum {}", declared.name()));
        for value in &declared.value {
            facts.insert(format!(
                "enum {} {} {}",
                declared.name(),
                value.number(),
                value.name()
            ));
        }
    }
    for message in &file.message_type {
        facts.insert(format!("message {}", message.name()));
        for field in &message.field {
            facts.insert(format!(
                "message {} {}",
                message.name(),
                entry(file, message, field)
            ));
        }
    }
    facts
}

/// What stands in one and not in the other: `-` is missing, `+` is too much.
pub(crate) fn differences(expected: &Facts, actual: &Facts) -> Vec<String> {
    let missing = expected.difference(actual).map(|fact| format!("- {fact}"));
    let extra = actual.difference(expected).map(|fact| format!("+ {fact}"));
    missing.chain(extra).collect()
}

fn entry(
    file: &FileDescriptorProto,
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
) -> String {
    let repeated = field.label() == Label::Repeated;
    let typed = match map_of_strings(message, field) {
        Some(true) => "map".to_owned(),
        Some(false) => "map of something else".to_owned(),
        None if repeated => format!("rep {}", type_of(file, field)),
        None => type_of(file, field),
    };
    let oneof = field.oneof_index.map_or(String::new(), |index| {
        let index = usize::try_from(index).expect("an index is not negative");
        format!(" @{}", message.oneof_decl[index].name())
    });
    format!("{} {} {typed}{oneof}", field.number(), field.name())
}

/// None: no map. Some: whether both its key and its value are strings.
fn map_of_strings(message: &DescriptorProto, field: &FieldDescriptorProto) -> Option<bool> {
    let nested = message.nested_type.iter().find(|nested| {
        nested
            .options
            .as_ref()
            .is_some_and(|options| options.map_entry())
            && field
                .type_name()
                .ends_with(&format!(".{}.{}", message.name(), nested.name()))
    })?;
    Some(
        nested
            .field
            .iter()
            .all(|part| part.r#type() == Type::String),
    )
}

fn type_of(file: &FileDescriptorProto, field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::String => "string".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Double => "double".to_owned(),
        Type::Message | Type::Enum => local(file, field.type_name()),
        other => format!("unexpected {}", other.as_str_name()),
    }
}

/// The name of a type as the tables spell it: without the package when it is the file's own.
fn local(file: &FileDescriptorProto, name: &str) -> String {
    match name.strip_prefix(&format!(".{}.", file.package())) {
        Some(own) => own.to_owned(),
        None if name == ".google.protobuf.Timestamp" => "Ts".to_owned(),
        None => name.to_owned(),
    }
}

fn star(streaming: bool) -> &'static str {
    if streaming { "*" } else { "" }
}
