//! What a client reads of an answer, and whether that is what the core said.

use std::time::Duration;

use berth_core::io::request::{Effect, RequestError, Response};
use berth_core::io::view::{DisplayStatus, NodeView, WorkloadView};
use berth_core::model::workload::DesiredState;
use berth_core::wire::rest::Problem;
use berth_core::wire::status::{Again, Code, Status};
use berth_proto::control::v1 as control;
use berth_proto::metadata::{REVISION, STALE};
use berth_proto::time::timestamp_from_unix_ms_u64;
use prost::Message;

use super::{ClientAnswer, INTERNAL, Reply};

/// Whether what can be read agrees with what was said.
pub(in crate::world) type Heard = Result<(), String>;

impl ClientAnswer {
    /// What a client knows of it; and whether that agrees with what the core said.
    pub(in crate::world) fn heard(self) -> (Result<Response, RequestError>, Heard) {
        match self.read() {
            Ok(Some(read)) => (Ok(read), Ok(())),
            Ok(None) => (self.value, Ok(())),
            Err(problem) => (self.value, Err(problem)),
        }
    }

    /// Reads the reply: a record, if it tells all of one.
    fn read(&self) -> Result<Option<Response>, String> {
        let value = &self.value;
        match &self.reply {
            Reply::Applied(bytes) => applied(bytes, value)?,
            Reply::Deleted(bytes) => {
                let message = decode::<control::DeleteWorkloadResponse>(bytes)?;
                outcome(message.success, Some(&message.error_message), value)?;
            }
            Reply::Retried(bytes) => {
                let message = decode::<control::RetryWorkloadResponse>(bytes)?;
                outcome(message.accepted, None, value)?;
            }
            Reply::Got(bytes, metadata) => got(bytes, metadata, value)?,
            Reply::Status {
                code,
                message,
                again,
            } => refused(*code, message, *again, value)?,
            Reply::Http(code, body, again) => return http(*code, body, *again, value),
            Reply::Plain => {}
        }
        Ok(None)
    }
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    M::decode(bytes).map_err(|error| format!("an answer that cannot be read: {error}"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, read: T, said: T) -> Heard {
    if read == said {
        return Ok(());
    }
    Err(format!("{what}: {read:?} can be read, {said:?} was said"))
}

fn applied(bytes: &[u8], value: &Result<Response, RequestError>) -> Heard {
    let message = decode::<control::ApplyWorkloadResponse>(bytes)?;
    outcome(message.success, Some(&message.error_message), value)?;
    let reason = match value {
        Ok(_) => control::FailureReason::Unspecified,
        Err(RequestError::Invalid { .. }) => control::FailureReason::InvalidSpec,
        Err(_) => control::FailureReason::RuntimeError,
    };
    same("the reason", message.failure_reason(), reason)
}

/// What became of a mutation, in band: who does not lead says so by a status.
fn outcome(success: bool, text: Option<&str>, value: &Result<Response, RequestError>) -> Heard {
    if let Err(RequestError::Unavailable { .. }) = value {
        return Err("a client is not told to try again".to_owned());
    }
    same("success", success, value.is_ok())?;
    let Some(text) = text else {
        return Ok(());
    };
    let said = value.as_ref().err().map(ToString::to_string);
    same("the text", text, &said.unwrap_or_default())
}

fn refused(
    code: i32,
    message: &str,
    again: Again,
    value: &Result<Response, RequestError>,
) -> Heard {
    let Err(error) = value else {
        return Err(format!("status {code}, {message}, for what was granted"));
    };
    if code == INTERNAL {
        // The bytes were no message: gRPC's library says so, not the core.
        return Ok(());
    }
    let wanted = comes_again(error);
    same("when to come back", again, wanted)?;
    let not_now = wanted != Again::Unsaid;
    same("try again", code == Code::Unavailable as i32, not_now)?;
    let status = Status::from(error);
    same("the code", code, status.code as i32)?;
    same("the text", message, &status.message)
}

/// When a client may ask again.
fn comes_again(error: &RequestError) -> Again {
    match error {
        RequestError::Unavailable {
            effect: Effect::Unknown,
            ..
        } => Again::Never,
        RequestError::Unavailable { retry_after, .. } => Again::After(*retry_after),
        RequestError::Busy(_) => Again::After(Duration::from_secs(1)),
        RequestError::Invalid { .. }
        | RequestError::NoSuchWorkload(_)
        | RequestError::NoSuchNode(_)
        | RequestError::RegisterAgain(_)
        | RequestError::Stale { .. }
        | RequestError::Refused(_)
        | RequestError::StoreRefused(_) => Again::Unsaid,
    }
}

fn got(
    bytes: &[u8],
    metadata: &[(&'static str, String)],
    value: &Result<Response, RequestError>,
) -> Heard {
    let Ok(Response::Workload(view)) = value else {
        return Err("a workload for another answer".to_owned());
    };
    let message = decode::<control::GetWorkloadResponse>(bytes)?;
    let read = message.workload.ok_or("an answer without a workload")?;
    shown(&read, view)?;
    let of = |key| metadata.iter().find(|(name, _)| *name == key);
    let revision = of(REVISION).and_then(|(_, text)| text.parse().ok());
    same("the revision", revision, Some(view.freshness.revision.0))?;
    let stale = of(STALE).is_some_and(|(_, text)| text == "true");
    same("stale", stale, view.freshness.stale)
}

/// Field by field, in a client's own terms.
fn shown(read: &control::WorkloadView, view: &WorkloadView) -> Heard {
    let record = &view.record;
    let at = |time: berth_core::Timestamp| timestamp_from_unix_ms_u64(time.as_millis());
    same("the id", &*read.workload_id, record.id.as_str())?;
    same("the type", &*read.r#type, record.workload_type().name())?;
    let desired = match &*read.desired_state {
        "Running" => Some(DesiredState::Running),
        "Stopped" => Some(DesiredState::Stopped),
        "Deleted" => Some(DesiredState::Deleted),
        _ => None,
    };
    same("the desired state", desired, Some(record.desired_state))?;
    let mut words = DisplayStatus::ALL.into_iter();
    let status = words.find(|status| status.name() == read.status);
    same("the status", status, Some(view.display_status))?;
    let node = Some(&*read.assigned_node_id).filter(|id| !id.is_empty());
    let home = record.assigned_node.as_ref().map(|node| node.as_str());
    same("the node", node, home)?;
    same("the label", &*read.revision_id, record.revision_id.as_str())?;
    let attempts = (read.retry_attempts, read.retry_max_attempts);
    let (made, most) = (record.retry.attempts, record.retry.max_attempts);
    let narrow = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    same("the attempts", attempts, (narrow(made), narrow(most)))?;
    let next = record.retry.next_retry_at.map(at);
    same("the next try", read.retry_next_at, next)?;
    let updated = Some(at(record.status.last_updated));
    same("the last change", read.last_updated, updated)?;
    let why = &*record.status.failure_reason;
    same("the reason", &*read.failure_reason, why)
}

fn http(
    code: u16,
    body: &[u8],
    again: Option<Duration>,
    value: &Result<Response, RequestError>,
) -> Result<Option<Response>, String> {
    same("success", (200..300).contains(&code), value.is_ok())?;
    match value {
        Ok(Response::Workload(said)) => {
            let view: WorkloadView = from_json(body)?;
            same("the workload", &view, said)?;
            Ok(Some(Response::Workload(Box::new(view))))
        }
        Ok(Response::Node(said)) => {
            let view: NodeView = from_json(body)?;
            same("the node", &view, said)?;
            Ok(Some(Response::Node(Box::new(view))))
        }
        Ok(_) => Ok(None),
        Err(error) => {
            let problem: Problem = from_json(body)?;
            same("the document's code", problem.status, code)?;
            let not_now = matches!(error, RequestError::Unavailable { .. });
            same("try again", code == 503, not_now)?;
            let again = again.map(Again::After);
            let unknown = problem.kind.ends_with(":outcome-unknown");
            let read = if unknown { Some(Again::Never) } else { again };
            let wanted = comes_again(error);
            same("when to come back", read.unwrap_or(Again::Unsaid), wanted)?;
            let said = Problem::from(error.clone());
            same("the text", problem.detail, said.detail)?;
            Ok(None)
        }
    }
}

fn from_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("an answer that cannot be read: {error}"))
}
