//! Clients: they create, change, stop, start, retry and delete workloads, and remember what they
//! were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_core::io::request::{ApplyWorkload, NewSpec, Request, RequestError, Response};
use berth_core::model::spec::{Constraints, ContainerSpec, Spec};
use berth_core::model::units::Resources;
use berth_core::model::workload::{ActualState, DesiredState};
use berth_core::{StoreRevision, WorkloadId};

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
    /// What it was told last of each workload's version.
    versions: BTreeMap<WorkloadId, StoreRevision>,
    /// A workload that it will create again as soon as its deletion was answered.
    recreate: Option<WorkloadId>,
    /// Rates of the unusual, per million; each run switches some off.
    doubles: u64,
    stale: u64,
    recreates: u64,
}

impl Client {
    pub(super) fn new(at: usize, options: &Options, streams: &Streams) -> Self {
        let ids = (0..options.workloads)
            .filter_map(|n| format!("w-{n}").parse().ok())
            .collect();
        let mut swarm = streams.fork(&format!("client {at} rates"));
        let mut rate = |most: u64| {
            if swarm.chance(600_000) {
                swarm.below(most)
            } else {
                0
            }
        };
        Self {
            versions: BTreeMap::new(),
            recreate: None,
            doubles: rate(200_000),
            stale: rate(200_000),
            recreates: rate(300_000),
            stream: streams.fork(&format!("client {at}")),
            workloads: Arc::new(ids),
            outstanding: BTreeMap::new(),
            next_call: 0,
            scheduler: 0,
        }
    }

    fn next_request(&mut self) -> Option<Request> {
        if let Some(workload) = self.recreate.take() {
            return Some(Request::Apply(self.apply(workload)));
        }
        let mut request = self.any_request()?;
        if self.stream.chance(self.stale) {
            let version = |of: &WorkloadId| self.versions.get(of).copied();
            match &mut request {
                Request::Apply(apply) => apply.if_match = version(&apply.workload),
                Request::Delete { workload, if_match } => *if_match = version(workload),
                _ => {}
            }
        }
        if let Request::Delete { workload, .. } = &request
            && self.stream.chance(self.recreates)
        {
            self.recreate = Some(workload.clone());
        }
        Some(request)
    }

    fn any_request(&mut self) -> Option<Request> {
        let workload = self.stream.pick(&self.workloads)?.clone();
        Some(match self.stream.below(100) {
            0..=49 => Request::Apply(self.apply(workload)),
            50..=61 => Request::Apply(Self::change(workload, DesiredState::Stopped)),
            62..=73 => Request::Apply(Self::change(workload, DesiredState::Running)),
            74..=79 => Request::Retry { workload },
            _ => Request::Delete {
                workload,
                if_match: None,
            },
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
        labels.insert(
            "fake/start-ms".to_owned(),
            self.stream.below(3_000).to_string(),
        );
        if self.stream.chance(100_000) {
            labels.insert(
                "fake/fail-starts".to_owned(),
                self.stream.between(1, 7).to_string(),
            );
        }
        if self.stream.chance(50_000) {
            let ms = self.stream.between(1_000, 100_000);
            labels.insert("fake/exit-after-ms".to_owned(), ms.to_string());
            labels.insert(
                "fake/exit-code".to_owned(),
                self.stream.below(2).to_string(),
            );
        }
        let mut constraints = Constraints::default();
        match self.stream.below(10) {
            0 => {
                let zone = ["a", "b"][usize::try_from(self.stream.below(2)).unwrap_or(0)];
                constraints
                    .labels
                    .insert("zone".to_owned(), zone.to_owned());
            }
            1 => constraints.spread_by = Some("zone".to_owned()),
            2 => constraints.anti_affinity = Some("apart".to_owned()),
            _ => {}
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
            constraints,
            tenant: None,
            priority: 0,
            max_attempts: None,
            labels,
        };
        let label = self
            .stream
            .chance(500_000)
            .then(|| "rev-1".parse().ok())
            .flatten();
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
        if self.adversary.healed {
            return;
        }
        let client = &mut self.clients[at];
        let pause = match client.recreate {
            Some(_) => client.stream.between(1, 300),
            None => client.stream.between(50, 8_000),
        };
        let twice = client.stream.chance(client.doubles);
        let recreates = client.recreate.is_some();
        if let Some(request) = client.next_request() {
            if recreates {
                self.mark(Mark::ClientRecreated);
            }
            if twice {
                self.mark(Mark::ClientDoubled);
                self.client_asks(at, request.clone());
            }
            self.client_asks(at, request);
        }
        self.wake(Process::Client(at), self.now + Duration::from_millis(pause));
    }

    fn client_asks(&mut self, at: usize, request: Request) {
        let client = &mut self.clients[at];
        let call = client.next_call;
        client.next_call += 1;
        client.outstanding.insert(call, request.clone());
        let to = Process::Replica(client.scheduler);
        self.mark_request(&request);
        self.oracle.client_asks(&request);
        let body = Body::ClientCall {
            call,
            request: Box::new(request),
        };
        self.send(Process::Client(at), to, body);
    }

    fn mark_request(&mut self, request: &Request) {
        let workload = match request {
            Request::Apply(apply) => &apply.workload,
            Request::Delete { workload, .. } => workload,
            _ => return,
        };
        let record = self
            .oracle
            .image
            .workloads
            .get(workload)
            .map(|held| &held.record);
        let starting = record.is_some_and(|record| {
            record.assigned_node.is_some() && record.status.actual_state == ActualState::Pending
        });
        match request {
            Request::Apply(_) if starting => self.mark(Mark::UpdatedWhileStarting),
            Request::Delete { .. } if starting => self.mark(Mark::DeletedWhileStarting),
            _ => {}
        }
    }

    pub(super) fn client_receive(&mut self, at: usize, body: Body) {
        if at == self.clients.len() {
            self.operator_receive(body);
            return;
        }
        let (call, answer) = match body {
            Body::ClientAnswered { call, answer } => (call, *answer),
            Body::Refused {
                call: RefusedCall::Client(call),
            } => {
                let replicas = self.replicas.len().max(1);
                self.clients[at].scheduler = (self.clients[at].scheduler + 1) % replicas;
                self.clients[at].outstanding.remove(&call);
                return;
            }
            _ => return,
        };
        let Some(request) = self.clients[at].outstanding.remove(&call) else {
            return;
        };
        match &answer {
            Ok(response) => {
                self.mark(Mark::ClientAnswered);
                if let Response::Workload(view) = response {
                    let id = view.record.id.clone();
                    self.clients[at].versions.insert(id, view.resource_version);
                }
                self.oracle.client_told(&request, response);
            }
            Err(RequestError::Unavailable { .. }) => {
                self.mark(Mark::ClientToldToTryAgain);
                let replicas = self.replicas.len().max(1);
                self.clients[at].scheduler = (self.clients[at].scheduler + 1) % replicas;
            }
            Err(RequestError::Stale { .. }) => self.mark(Mark::ClientStale),
            Err(_) => self.mark(Mark::ClientRefused),
        }
    }
}
