//! What clients, operators and agents ask.

use std::collections::BTreeMap;

use berth_core::io::request::{
    ApplyWorkload, Heartbeat, NewSpec, Registration, Request, RequestError,
};
use berth_core::model::node::NodeUsage;
use berth_core::model::spec::{Constraints, ContainerSpec, Spec, WorkloadType};
use berth_core::model::units::Resources;
use berth_core::model::workload::DesiredState;
use berth_core::{Input, NodeId, RequestId};

use super::{System, node, workload, zone};

impl System {
    pub(super) fn all_heartbeat(&mut self) {
        let up = self.agents.iter().filter(|(_, agent)| agent.up);
        let up: Vec<NodeId> = up.map(|(id, _)| id.clone()).collect();
        for node in up {
            if self.refused.contains(&node) {
                self.register(&node);
                continue;
            }
            let mut statuses = self.agents[&node].statuses();
            for status in &mut statuses {
                status.revision = None;
            }
            let heartbeat = Heartbeat {
                node: node.clone(),
                usage: NodeUsage::default(),
                statuses: statuses.into(),
            };
            let id = self.ask(Request::Heartbeat(heartbeat));
            let unknown = self.answers.iter().any(|(request, error)| {
                *request == id
                    && matches!(
                        error,
                        Some(RequestError::NoSuchNode(_) | RequestError::RegisterAgain(_))
                    )
            });
            if unknown {
                self.register(&node);
            }
        }
    }

    pub(super) fn ask(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.requests);
        self.requests += 1;
        if let Request::Register(registration) = &request {
            self.registering.insert(id, registration.node.clone());
        }
        self.feed(Input::Request { id, request });
        id
    }

    pub(super) fn register(&mut self, id: &NodeId) -> RequestId {
        let number: usize = id.as_str()[2..].parse().expect("n and a number");
        let size = Resources::new(self.sizes[id], 64_000, 1_000);
        self.ask(Request::Register(Registration {
            node: id.clone(),
            endpoint: format!("{id}:50051"),
            cpu_total: size.cpu,
            memory_total: size.memory_mb,
            disk_total: Some(size.disk_gb),
            supported_workload_types: WorkloadType::ALL.into(),
            supported_storage_drivers: ["local".to_owned()].into(),
            labels: BTreeMap::from([("zone".to_owned(), zone(number).to_owned())]),
            agent_version: String::new(),
            boot_id: String::new(),
            incarnation: String::new(),
        }))
    }
}

/// The image of a version of a spec.
pub(crate) fn image(version: u8) -> String {
    format!("example:{version}")
}

pub(super) fn apply(w: usize, version: u8, cpu: u64, at: Option<usize>) -> Request {
    let labels = at.map(|at| ("zone".to_owned(), zone(at).to_owned()));
    Request::Apply(ApplyWorkload {
        workload: workload(w),
        spec: Some(NewSpec {
            spec: Spec::Container(ContainerSpec {
                image: image(version),
                ..ContainerSpec::default()
            }),
            resources: Resources::new(cpu, 64, 1),
            constraints: Constraints {
                labels: labels.into_iter().collect(),
                ..Constraints::default()
            },
            tenant: None,
            priority: 0,
            max_attempts: None,
            labels: BTreeMap::new(),
        }),
        revision: None,
        desired_state: None,
        if_match: None,
        dry_run: false,
    })
}

pub(super) fn schedulable(n: usize, schedulable: bool) -> Request {
    let node = node(n);
    Request::SetSchedulable { node, schedulable }
}

pub(super) fn set(w: usize, desired: DesiredState) -> Request {
    Request::Apply(ApplyWorkload {
        workload: workload(w),
        spec: None,
        revision: None,
        desired_state: Some(desired),
        if_match: None,
        dry_run: false,
    })
}
