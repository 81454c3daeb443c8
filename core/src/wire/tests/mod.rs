//! Messages in, messages out.

mod agent_out;
mod apply;
mod control_out;
mod node;
mod suggestion;

use super::WireError;
use crate::io::RequestError;

/// The kind of an error and the field that it names.
fn told(error: &WireError) -> (&'static str, &str) {
    let kind = match error {
        WireError::Malformed(_) => "malformed",
        WireError::InvalidSpec(_) => "spec",
        WireError::NotAccepted(_) => "not accepted",
    };
    match error.request_error() {
        RequestError::Invalid { field, problem } => {
            assert!(!problem.is_empty());
            (kind, field)
        }
        other => panic!("{other:?}"),
    }
}
