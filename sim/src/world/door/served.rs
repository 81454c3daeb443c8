//! What a scheduler reads of a client's message, and how it puts its answer: by the functions of the
//! server.

use std::time::Duration;

use berth_core::StoreRevision;
use berth_core::admission::parse_manifest;
use berth_core::io::request::{ApplyWorkload, Query, Request, RequestError, Response};
use berth_core::model::workload::DesiredState;
use berth_core::wire::bound::BODY_BYTES_MAX;
use berth_core::wire::rest::{self, DrainFields, Problem};
use berth_core::wire::status::{self, Again, Status};
use berth_core::wire::{WireError, control_in, control_out};
use berth_proto::control::v1 as control;
use berth_proto::metadata::{REVISION, STALE};
use prost::Message;

use super::{ClientAnswer, ClientMessage, Form, INTERNAL, Reply, RestCall};

impl ClientMessage {
    /// The request, or how it is refused at the door.
    pub(in crate::world) fn read(&self) -> Result<(Form, Request), Box<ClientAnswer>> {
        let (form, request) = match self {
            Self::Apply(bytes) => (Form::Apply, message(bytes, control_in::apply_request)),
            Self::Delete(bytes) => (
                Form::Delete,
                message(bytes, |m| control_in::delete_request(&m)),
            ),
            Self::Retry(bytes) => (
                Form::Retry,
                message(bytes, |m| control_in::retry_request(&m)),
            ),
            Self::Get(bytes) => (Form::Get, message(bytes, get_request)),
            Self::Rest(call) => {
                return call
                    .read()
                    .map_err(|problem| Box::new(problem_answer(&problem)));
            }
            Self::Plain(request) => {
                if let Request::Apply(apply) = &**request {
                    let checked = berth_core::admission::check_apply(apply);
                    checked
                        .map_err(|error| Box::new(ClientAnswer::say(Form::Plain, Err(error))))?;
                }
                (Form::Plain, Ok((**request).clone()))
            }
        };
        match request {
            Ok(request) => Ok((form, request)),
            Err(refused) => Err(Box::new(refused.answer(form))),
        }
    }
}

/// Why a message of the contract is no request.
enum Refused {
    /// What gRPC's library says of bytes that are no such message.
    Undecodable(prost::DecodeError),
    TooLarge(RequestError),
    Wire(WireError),
}

impl Refused {
    fn answer(self, form: Form) -> ClientAnswer {
        let error = match self {
            Self::Undecodable(error) => {
                let message = error.to_string();
                let value = Err(RequestError::invalid("request", &message));
                let code = INTERNAL;
                return ClientAnswer {
                    reply: Reply::Status {
                        code,
                        message,
                        again: Again::Unsaid,
                    },
                    value,
                };
            }
            Self::Wire(WireError::InvalidSpec(error)) if form == Form::Apply => {
                return ClientAnswer::say(form, Err(error));
            }
            Self::TooLarge(error) => error,
            Self::Wire(error) => error.request_error().clone(),
        };
        ClientAnswer {
            reply: Status::from(&error).into(),
            value: Err(error),
        }
    }
}

fn message<M: Message + Default>(
    bytes: &[u8],
    read: impl FnOnce(M) -> Result<Request, WireError>,
) -> Result<Request, Refused> {
    let message = M::decode(bytes).map_err(Refused::Undecodable)?;
    status::bounded(&message).map_err(Refused::TooLarge)?;
    read(message).map_err(Refused::Wire)
}

fn get_request(message: control::GetWorkloadRequest) -> Result<Request, WireError> {
    let workload = control_in::workload_id("workload_id", &message.workload_id)?;
    Ok(Request::Read(Query::Workload(workload)))
}

impl RestCall {
    fn read(&self) -> Result<(Form, Request), Problem> {
        if self.body.len() > BODY_BYTES_MAX {
            return Err(Problem::too_large(BODY_BYTES_MAX));
        }
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let dry_run = query == "dry_run=true";
        let if_match = self.if_match.as_deref().map(rest::if_match).transpose()?;
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (self.method, &parts[..]) {
            ("POST", ["workloads"]) => {
                let mut apply = parse_manifest(&self.body)?.into_apply()?;
                (apply.if_match, apply.dry_run) = (if_match, dry_run);
                Ok((Form::Rest(200), Request::Apply(apply)))
            }
            ("POST", ["workloads", id, "start"]) => {
                desire(id, DesiredState::Running, if_match, dry_run)
            }
            ("POST", ["workloads", id, "stop"]) => {
                desire(id, DesiredState::Stopped, if_match, dry_run)
            }
            ("POST", ["workloads", id, "retry"]) => {
                let workload = parsed("workload", id)?;
                Ok((Form::Rest(200), Request::Retry { workload }))
            }
            ("DELETE", ["workloads", id]) => {
                let workload = parsed("workload", id)?;
                Ok((Form::Rest(202), Request::Delete { workload, if_match }))
            }
            ("GET", ["workloads", id]) => {
                let query = Query::Workload(parsed("workload", id)?);
                Ok((Form::Rest(200), Request::Read(query)))
            }
            ("POST", ["nodes", id, "cordon"]) => {
                let (node, schedulable) = (parsed("node", id)?, false);
                Ok((
                    Form::Rest(200),
                    Request::SetSchedulable { node, schedulable },
                ))
            }
            ("POST", ["nodes", id, "drain"]) => self.drain(id),
            ("POST", ["nodes", id, "fence"]) => {
                let node = parsed("node", id)?;
                Ok((Form::Rest(200), Request::Fence { node }))
            }
            ("DELETE", ["nodes", id]) => {
                let node = parsed("node", id)?;
                Ok((Form::Rest(204), Request::Purge { node }))
            }
            _ => {
                let detail = format!("there is no {} {path}", self.method);
                Err(Problem::new(404, "not-found", "Not found", detail))
            }
        }
    }

    fn drain(&self, id: &str) -> Result<(Form, Request), Problem> {
        let fields: DrainFields = serde_json::from_slice(&self.body)
            .map_err(|error| Problem::invalid("body", error.to_string()))?;
        let missing = |field| Problem::invalid(field, "is not left to the server here");
        let deadline = fields.deadline_seconds;
        let deadline = deadline.ok_or_else(|| missing("deadline_seconds"))?;
        let parallelism = fields.parallelism.ok_or_else(|| missing("parallelism"))?;
        let request = Request::Drain {
            node: parsed("node", id)?,
            deadline: Duration::from_secs(deadline.into()),
            parallelism,
        };
        Ok((Form::Rest(200), request))
    }
}

fn desire(
    id: &str,
    desired: DesiredState,
    if_match: Option<StoreRevision>,
    dry_run: bool,
) -> Result<(Form, Request), Problem> {
    let apply = ApplyWorkload {
        workload: parsed("workload", id)?,
        spec: None,
        revision: None,
        desired_state: Some(desired),
        if_match,
        dry_run,
    };
    Ok((Form::Rest(200), Request::Apply(apply)))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &str,
    text: &str,
) -> Result<T, Problem> {
    text.parse()
        .map_err(|error| Problem::invalid("id", format!("the {what}'s id {error}")))
}

fn problem_answer(problem: &Problem) -> ClientAnswer {
    let field = problem.field.as_deref().unwrap_or("request");
    ClientAnswer {
        value: Err(RequestError::invalid(field, &problem.detail)),
        reply: document(problem),
    }
}

fn document(problem: &Problem) -> Reply {
    Reply::Http(problem.status, json(problem), problem.retry_after)
}

/// As the server has it: a record of ours is always JSON.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

impl From<Status> for Reply {
    fn from(status: Status) -> Self {
        Self::Status {
            code: status.code as i32,
            message: status.message,
            again: status.again,
        }
    }
}

impl ClientAnswer {
    /// Puts the core's answer into words.
    pub(in crate::world) fn say(form: Form, value: Result<Response, RequestError>) -> Self {
        let reply = match form {
            Form::Apply => in_band(&value, |refused| {
                Reply::Applied(control_out::apply_response(refused).encode_to_vec())
            }),
            Form::Delete => in_band(&value, |refused| {
                Reply::Deleted(control_out::delete_response(refused).encode_to_vec())
            }),
            Form::Retry => in_band(&value, |refused| {
                Reply::Retried(control_out::retry_response(refused).encode_to_vec())
            }),
            Form::Get => got(&value),
            Form::Rest(code) => match &value {
                Ok(Response::Workload(view)) => Reply::Http(code, json(view), None),
                Ok(Response::Node(view)) => Reply::Http(code, json(view), None),
                Ok(Response::Purged) => Reply::Http(code, Vec::new(), None),
                Ok(_) => document(&Problem::new(500, "internal", "Internal error", WRONG_KIND)),
                Err(error) => document(&Problem::from(error.clone())),
            },
            Form::Plain => Reply::Plain,
        };
        Self { reply, value }
    }
}

const WRONG_KIND: &str = "the scheduler gave an answer of the wrong kind";

fn in_band(
    value: &Result<Response, RequestError>,
    say: impl FnOnce(Option<&RequestError>) -> Reply,
) -> Reply {
    let outcome = value.as_ref().map(drop).map_err(Clone::clone);
    match status::mutated(outcome) {
        Ok(told) => say(told.as_ref().err()),
        Err(status) => status.into(),
    }
}

fn got(value: &Result<Response, RequestError>) -> Reply {
    match value {
        Ok(Response::Workload(view)) => {
            let workload = Some(control_out::workload_view(view));
            let message = control::GetWorkloadResponse { workload };
            let mut metadata = vec![(REVISION, view.freshness.revision.to_string())];
            if view.freshness.stale {
                metadata.push((STALE, "true".to_owned()));
            }
            Reply::Got(message.encode_to_vec(), metadata)
        }
        Ok(_) => Reply::Status {
            code: INTERNAL,
            message: WRONG_KIND.to_owned(),
            again: Again::Unsaid,
        },
        Err(error) => Status::from(error).into(),
    }
}
