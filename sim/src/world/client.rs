//! Clients: they create, change, stop, start, retry and delete workloads, and remember what they
//! were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_core::WorkloadId;
use berth_core::io::request::{ApplyWorkload, NewSpec, Request, RequestError};
use berth_core::model::spec::{Constraints, ContainerSpec, Spec};
use berth_core::model::units::Resources;
use berth_core::model::workload::DesiredState;

use crate::marks::Mark;
use crate::options::Options;
use crate::rng::{Stream, Streams};

use super::World;
use super::message::{Body, Process, RefusedCall};

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    stream: Stream,
    workloads: Arc<Vec<WorkloadId>>,
    outstanding: BTreeMap<u64, Request>,
    next_call: u64,
    /// The scheduler that it speaks to.
    scheduler: usize,
}

impl Client {
    pub(super) fn new(at: usize, options: &Options, streams: &Streams) -> Self {
        let ids = (0..options.workloads).filter_map(|n| format!("w-{n}").parse().ok()).collect();
        Self {
            stream: streams.fork(&format!("client {at}")),
            workloads: Arc::new(ids),
            outstanding: BTreeMap::new(),
            next_call: 0,
            scheduler: 0,
        }
    }

    fn next_request(&mut self) -> Option<Request> {
        let workload = self.stream.pick(&self.workloads)?.clone();
        Some(match self.stream.below(100) {
            0..=49 => Request::Apply(self.apply(workload)),
            50..=61 => Request::Apply(Self::change(workload, DesiredState::Stopped)),
            62..=73 => Request::Apply(Self::change(workload, DesiredState::Running)),
            74..=79 => Request::Retry { workload },
            _ => Request::Delete { workload, if_match: None },
        })
    }

    fn change(workload: WorkloadId, desired: DesiredState) -> ApplyWorkload {
        ApplyWorkload {
            workload,
            spec: None,
            revision: None,
            desired_state: Some(desired),
            if_match: None,
            dry_run: false,
        }
    }

    fn apply(&mut self, workload: WorkloadId) -> ApplyWorkload {
        let version = self.stream.below(3);
        let mut labels = BTreeMap::new();
        labels.insert("fake/start-ms".to_owned(), self.stream.below(3_000).to_string());
        if self.stream.chance(100_000) {
            labels.insert("fake/fail-starts".to_owned(), self.stream.between(1, 7).to_string());
        }
        if self.stream.chance(50_000) {
            let ms = self.stream.between(1_000, 100_000);
            labels.insert("fake/exit-after-ms".to_owned(), ms.to_string());
            labels.insert("fake/exit-code".to_owned(), self.stream.below(2).to_string());
        }
        let spec = NewSpec {
            spec: Spec::Container(ContainerSpec {
                image: format!("example:{version}"),
                ..ContainerSpec::default()
            }),
            resources: Resources::new(
                100 * self.stream.between(1, 10),
                128 * self.stream.between(1, 8),
                self.stream.below(5),
            ),
            constraints: Constraints::default(),
            tenant: None,
            priority: 0,
            max_attempts: None,
            labels,
        };
        let label = self.stream.chance(500_000).then(|| "rev-1".parse().ok()).flatten();
        ApplyWorkload {
            workload,
            spec: Some(spec),
            revision: label,
            desired_state: None,
            if_match: None,
            dry_run: false,
        }
    }
}

impl World {
    pub(super) fn client_wake(&mut self, at: usize) {
        let chaos_over = self.adversary.healed;
        if !chaos_over {
            let client = &mut self.clients[at];
            let pause = Duration::from_millis(client.stream.between(50, 8_000));
            if let Some(request) = client.next_request() {
                let call = client.next_call;
                client.next_call += 1;
                client.outstanding.insert(call, request.clone());
                let to = Process::Replica(client.scheduler);
                self.oracle.client_asks(&request);
                let body = Body::ClientCall { call, request: Box::new(request) };
                self.send(Process::Client(at), to, body);
            }
            self.wake(Process::Client(at), self.now + pause);
        }
    }

    pub(super) fn client_receive(&mut self, at: usize, body: Body) {
        let (call, answer) = match body {
            Body::ClientAnswered { call, answer } => (call, *answer),
            Body::Refused { call: RefusedCall::Client(call) } => {
                let replicas = self.replicas.len().max(1);
                self.clients[at].scheduler = (self.clients[at].scheduler + 1) % replicas;
                self.clients[at].outstanding.remove(&call);
                return;
            }
            _ => return,
        };
        let Some(request) = self.clients[at].outstanding.remove(&call) else { return };
        match &answer {
            Ok(response) => {
                self.mark(Mark::ClientAnswered);
                self.oracle.client_told(&request, response);
            }
            Err(RequestError::Unavailable { .. }) => {
                self.mark(Mark::ClientToldToTryAgain);
                let replicas = self.replicas.len().max(1);
                self.clients[at].scheduler = (self.clients[at].scheduler + 1) % replicas;
            }
            Err(_) => self.mark(Mark::ClientRefused),
        }
    }
}
