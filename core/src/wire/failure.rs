//! Failures: the codes of agents, the kinds of the core, the reasons of the control protocol.

use berth_proto::control::v1::FailureReason;

use crate::model::workload::FailureKind;

/// What stands in an agent's text when it lacks the runtime for a kind of workload. Existing
/// agents have no code for it.
const RUNTIME_MISSING: &str = "runtime not available for type:";

/// The kind that a code of an agent stands for. Exact codes only: nothing is guessed from a part
/// of a text. `None`: not a code.
#[must_use]
pub fn kind_of_code(code: &str) -> Option<FailureKind> {
    Some(match code.trim() {
        "IMAGE_PULL_FAILED" | "IMAGE_PULL_TIMEOUT" | "IMAGE_PULL_AUTH_FAILED" => {
            FailureKind::ImagePullFailed
        }
        "IMAGE_NOT_FOUND" | "INVALID_IMAGE" => FailureKind::ImageNotFound,
        "INSUFFICIENT_RESOURCES" | "RESOURCE_QUOTA_EXCEEDED" => FailureKind::InsufficientResources,
        "INVALID_SPEC"
        | "INVALID_SPECIFICATION"
        | "INVALID_CONFIGURATION"
        | "CLOUD_INIT_INVALID" => FailureKind::InvalidSpec,
        "RUNTIME_ERROR" | "RUNTIME_UNHEALTHY" | "RUNTIME_RESOURCE_MISSING" | "UNKNOWN_ERROR" => {
            FailureKind::RuntimeError
        }
        "RUNTIME_UNAVAILABLE" => FailureKind::RuntimeUnavailable,
        "NETWORK_ERROR"
        | "NETWORK_TIMEOUT"
        | "NETWORK_UNREACHABLE"
        | "DNS_RESOLUTION_FAILED"
        | "PORT_BIND_CONFLICT" => FailureKind::NetworkError,
        "STORAGE_ERROR" | "STORAGE_FULL" | "STORAGE_PROVISION_FAILED" | "STORAGE_ATTACH_FAILED" => {
            FailureKind::StorageError
        }
        "VM_BOOT_FAILED" => FailureKind::VmBootFailed,
        "START_TIMEOUT" => FailureKind::StartTimeout,
        "NODE_UNREACHABLE" => FailureKind::NodeUnreachable,
        _ => return None,
    })
}

/// The code by which a kind is shown to clients; [`kind_of_code`] reads it back.
#[must_use]
pub const fn code_of_kind(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::ImagePullFailed => "IMAGE_PULL_FAILED",
        FailureKind::ImageNotFound => "IMAGE_NOT_FOUND",
        FailureKind::InsufficientResources => "INSUFFICIENT_RESOURCES",
        FailureKind::InvalidSpec => "INVALID_SPEC",
        FailureKind::RuntimeError => "RUNTIME_ERROR",
        FailureKind::RuntimeUnavailable => "RUNTIME_UNAVAILABLE",
        FailureKind::NetworkError => "NETWORK_ERROR",
        FailureKind::StorageError => "STORAGE_ERROR",
        FailureKind::VmBootFailed => "VM_BOOT_FAILED",
        FailureKind::NodeUnreachable => "NODE_UNREACHABLE",
        FailureKind::StartTimeout => "START_TIMEOUT",
    }
}

/// The kind of a failure that an agent tells by a code, a text or both. The text counts where it
/// says that the runtime is missing, begins with `invalid request`, or begins with a code and a
/// colon. Neither: a runtime error.
#[must_use]
pub fn classify(code: Option<&str>, text: &str) -> FailureKind {
    if text.contains(RUNTIME_MISSING) {
        return FailureKind::RuntimeUnavailable;
    }
    if let Some(kind) = code.and_then(kind_of_code) {
        return kind;
    }
    if text.starts_with("invalid request") {
        return FailureKind::InvalidSpec;
    }
    let head = text.split_once(':').map_or(text, |(head, _)| head);
    kind_of_code(head).unwrap_or(FailureKind::RuntimeError)
}

/// The reason of the control protocol, which knows fewer kinds.
#[must_use]
pub const fn reason_of_kind(kind: FailureKind) -> FailureReason {
    match kind {
        FailureKind::ImagePullFailed => FailureReason::ImagePullFailed,
        FailureKind::ImageNotFound => FailureReason::ImageNotFound,
        FailureKind::InsufficientResources => FailureReason::InsufficientResources,
        FailureKind::InvalidSpec => FailureReason::InvalidSpec,
        FailureKind::NetworkError => FailureReason::NetworkError,
        FailureKind::StorageError => FailureReason::StorageError,
        FailureKind::VmBootFailed => FailureReason::VmBootFailed,
        FailureKind::RuntimeError
        | FailureKind::RuntimeUnavailable
        | FailureKind::NodeUnreachable
        | FailureKind::StartTimeout => FailureReason::RuntimeError,
    }
}

/// The kind that a reason of the control protocol stands for; `None` for the unspecified one.
#[must_use]
pub const fn kind_of_reason(reason: FailureReason) -> Option<FailureKind> {
    Some(match reason {
        FailureReason::Unspecified => return None,
        FailureReason::ImagePullFailed => FailureKind::ImagePullFailed,
        FailureReason::ImageNotFound => FailureKind::ImageNotFound,
        FailureReason::InsufficientResources => FailureKind::InsufficientResources,
        FailureReason::InvalidSpec => FailureKind::InvalidSpec,
        FailureReason::RuntimeError => FailureKind::RuntimeError,
        FailureReason::NetworkError => FailureKind::NetworkError,
        FailureReason::StorageError => FailureKind::StorageError,
        FailureReason::VmBootFailed => FailureKind::VmBootFailed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [FailureKind; 11] = [
        FailureKind::ImagePullFailed,
        FailureKind::ImageNotFound,
        FailureKind::InsufficientResources,
        FailureKind::InvalidSpec,
        FailureKind::RuntimeError,
        FailureKind::RuntimeUnavailable,
        FailureKind::NetworkError,
        FailureKind::StorageError,
        FailureKind::VmBootFailed,
        FailureKind::NodeUnreachable,
        FailureKind::StartTimeout,
    ];

    #[test]
    fn our_own_codes_are_read_back() {
        for kind in KINDS {
            assert_eq!(kind_of_code(code_of_kind(kind)), Some(kind));
            assert_ne!(reason_of_kind(kind), FailureReason::Unspecified);
        }
    }

    #[test]
    fn reasons_of_the_wire_go_both_ways() {
        for number in 0..=8 {
            let reason = FailureReason::try_from(number).unwrap();
            assert_eq!(
                kind_of_reason(reason).map(reason_of_kind),
                (number > 0).then_some(reason)
            );
            assert_eq!(kind_of_reason(reason), kind_of_code(reason.as_str_name()));
        }
    }

    #[test]
    fn every_code_of_the_existing_agent() {
        use FailureKind::*;
        let table = [
            ("IMAGE_PULL_TIMEOUT", ImagePullFailed),
            ("IMAGE_PULL_AUTH_FAILED", ImagePullFailed),
            ("INVALID_IMAGE", ImageNotFound),
            ("NETWORK_TIMEOUT", NetworkError),
            ("NETWORK_UNREACHABLE", NetworkError),
            ("DNS_RESOLUTION_FAILED", NetworkError),
            ("INSUFFICIENT_RESOURCES", InsufficientResources),
            ("STORAGE_FULL", StorageError),
            ("RESOURCE_QUOTA_EXCEEDED", InsufficientResources),
            ("INVALID_SPECIFICATION", InvalidSpec),
            ("INVALID_CONFIGURATION", InvalidSpec),
            ("PORT_BIND_CONFLICT", NetworkError),
            ("RUNTIME_ERROR", RuntimeError),
            ("RUNTIME_UNHEALTHY", RuntimeError),
            ("UNKNOWN_ERROR", RuntimeError),
            ("RUNTIME_RESOURCE_MISSING", RuntimeError),
            ("STORAGE_PROVISION_FAILED", StorageError),
            ("STORAGE_ATTACH_FAILED", StorageError),
            ("CLOUD_INIT_INVALID", InvalidSpec),
        ];
        for (code, kind) in table {
            assert_eq!(kind_of_code(code), Some(kind), "{code}");
        }
    }

    #[test]
    fn texts_count_only_in_the_forms_that_are_known() {
        use FailureKind::*;
        let table = [
            (None, "invalid request: no spec", InvalidSpec),
            (
                None,
                "RESOURCE_QUOTA_EXCEEDED: memory above 80 %",
                InsufficientResources,
            ),
            (
                None,
                "runtime not available for type: vm",
                RuntimeUnavailable,
            ),
            (
                Some("RUNTIME_ERROR"),
                "apply: runtime not available for type: vm",
                RuntimeUnavailable,
            ),
            (Some("STORAGE_FULL"), "invalid request", StorageError),
            (None, "image not found", RuntimeError),
            (None, "this was an invalid request", RuntimeError),
            (None, "the host has no memory limit", RuntimeError),
            (Some("nonsense"), "", RuntimeError),
            (None, "", RuntimeError),
        ];
        for (code, text, kind) in table {
            assert_eq!(classify(code, text), kind, "{code:?} {text}");
        }
    }
}
