//! A client of the schedulers' gRPC: asks one after the other until one answers.

use std::time::Duration;

use berth_proto::control::v1 as control;
use berth_proto::control::v1::agent_control_client::AgentControlClient;
use berth_proto::metadata::STALE;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::hosts::{GRPC_PORT, names};
use crate::{net, trace};

/// Deadline of one try.
const TRY: Duration = Duration::from_secs(8);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(300);

/// A client.
#[derive(Debug)]
pub struct Api {
    schedulers: usize,
    at: usize,
    client: Option<AgentControlClient<Channel>>,
}

impl Api {
    /// A client of so many schedulers.
    #[must_use]
    pub const fn new(schedulers: usize) -> Self {
        Self {
            schedulers,
            at: 0,
            client: None,
        }
    }

    fn client(&mut self) -> AgentControlClient<Channel> {
        let scheduler = names::scheduler(self.at + 1);
        self.client
            .get_or_insert_with(|| client_of(&scheduler, TRY))
            .clone()
    }

    /// That one did not answer: the next one is asked, over a new connection.
    fn next(&mut self) {
        self.client = None;
        self.at = (self.at + 1) % self.schedulers;
    }

    /// Asks this scheduler before the others.
    pub fn turn_to(&mut self, scheduler: &str) {
        let is_it = |at: &usize| names::scheduler(at + 1) == scheduler;
        self.client = None;
        self.at = (0..self.schedulers).find(is_it).unwrap_or(self.at);
    }

    /// Asks this scheduler to apply a workload, once, over a connection of its own.
    ///
    /// # Errors
    /// It did not acknowledge it within so many seconds.
    pub async fn apply_once(
        &self,
        scheduler: &str,
        id: &str,
        revision: &str,
        seconds: u64,
    ) -> Result<(), String> {
        let mut client = client_of(scheduler, Duration::from_secs(seconds));
        let answer = client.apply_workload(apply_request(id, revision)).await;
        let answer = answer.map_err(|status| status.to_string())?.into_inner();
        trace::note(&format!("apply {id} {revision} once: {answer:?}"));
        match answer.success {
            true => Ok(()),
            false => Err(answer.error_message),
        }
    }

    /// Asks until there is an answer that is more than "not now".
    async fn ask<T>(
        &mut self,
        what: &str,
        call: impl AsyncFn(AgentControlClient<Channel>) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, Status> {
        loop {
            let client = self.client();
            match call(client).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if is_final(status.code()) => return Err(status),
                Err(status) => {
                    trace::note(&format!("{what}: {:?}", status.code()));
                    self.next();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Applies a workload, and returns when that is acknowledged.
    pub async fn apply(&mut self, id: &str, revision: &str) {
        let what = format!("apply {id} {revision}");
        let request = apply_request(id, revision);
        self.insist(&what, async |mut client| {
            let answer = client.apply_workload(request.clone()).await?.into_inner();
            Ok((answer.success, answer.error_message))
        })
        .await;
    }

    /// Deletes a workload, and returns when that is acknowledged, or when there is none.
    pub async fn delete(&mut self, id: &str) {
        let what = format!("delete {id}");
        let request = control::DeleteWorkloadRequest {
            workload_id: id.to_owned(),
        };
        self.insist(&what, async |mut client| {
            let answer = client.delete_workload(request.clone()).await?.into_inner();
            // An earlier try may have been carried out without an answer.
            let gone = answer.error_message.ends_with("does not exist");
            Ok((answer.success || gone, answer.error_message))
        })
        .await;
    }

    /// Asks until it is done. What is refused in band is asked again: the present may be in its way.
    async fn insist(
        &mut self,
        what: &str,
        call: impl AsyncFn(AgentControlClient<Channel>) -> Result<(bool, String), Status>,
    ) {
        loop {
            let answer = self.ask(what, async |client| {
                call(client).await.map(tonic::Response::new)
            });
            match answer.await {
                Ok((true, text)) => return trace::note(&format!("{what}: acknowledged {text}")),
                Ok((false, text)) => trace::note(&format!("{what}: refused: {text}")),
                Err(status) => trace::note(&format!("{what}: {status}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The workload as the leader knows it; `None`: there is none.
    ///
    /// # Panics
    /// When the answer is another error.
    pub async fn get(&mut self, id: &str) -> Option<control::WorkloadView> {
        let request = control::GetWorkloadRequest {
            workload_id: id.to_owned(),
        };
        let answer = self
            .ask("get", async |mut client| {
                let answer = client.get_workload(request.clone()).await?;
                // A replica that does not lead says what it knew once.
                match answer.metadata().contains_key(STALE) {
                    true => Err(Status::unavailable("stale")),
                    false => Ok(answer),
                }
            })
            .await;
        match answer {
            Ok(answer) => answer.workload,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => panic!("get {id}: {status}"),
        }
    }
}

fn client_of(scheduler: &str, deadline: Duration) -> AgentControlClient<Channel> {
    let url = format!("http://{scheduler}:{GRPC_PORT}");
    let endpoint = Endpoint::from_shared(url).expect("names of hosts are addresses");
    let endpoint = endpoint
        .connect_timeout(Duration::from_secs(2))
        .timeout(deadline);
    AgentControlClient::new(net::dial(&endpoint))
}

/// Codes that another try would get again.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented
    )
}

fn apply_request(id: &str, revision: &str) -> control::ApplyWorkloadRequest {
    let container = control::ContainerSpec {
        image: format!("image:{revision}"),
        ..Default::default()
    };
    let spec = control::WorkloadSpec {
        r#type: "container".to_owned(),
        resources: Some(control::ResourceRequirements {
            cpu_millicores: 250,
            memory_mb: 64,
            disk_gb: 1,
        }),
        workload: Some(control::workload_spec::Workload::Container(container)),
        metadata: [("fake/start-ms".to_owned(), "400".to_owned())].into(),
    };
    control::ApplyWorkloadRequest {
        workload_id: id.to_owned(),
        spec: Some(spec),
        revision_id: revision.to_owned(),
        desired_state: "Running".to_owned(),
    }
}
