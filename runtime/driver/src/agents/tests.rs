//! Calls over loopback: what arrives, and what every failure is told as.

use std::time::Duration;

use berth_core::io::{AgentOp, AgentState};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::Code;

use super::*;

#[path = "../../tests/driver/fake_agent.rs"]
mod fake_agent;

use fake_agent::{Called, FakeAgent, Mood};

struct Caller {
    client: AgentClient,
    results: mpsc::Receiver<FromAgent>,
    metrics: Arc<DriverMetrics>,
    lease: LeaseGuard,
    cancel: CancellationToken,
}

/// Long enough for any machine, where an answer is expected.
const PATIENCE: Duration = Duration::from_secs(30);

impl Caller {
    fn new() -> Self {
        let (sent, results) = mpsc::channel(8);
        let metrics = Arc::<DriverMetrics>::default();
        let connect = Arc::new(DirectConnect::default());
        Self {
            client: AgentClient::new(connect, Arc::clone(&metrics), sent),
            results,
            metrics,
            lease: LeaseGuard::until(Instant::now() + Duration::from_secs(3_600)),
            cancel: CancellationToken::new(),
        }
    }

    fn start(&self, endpoint: &str, timeout: Duration, op: AgentOp) {
        let call = AgentCall {
            id: CallId(7),
            node: "node-1".parse().unwrap(),
            endpoint: endpoint.to_owned(),
            epoch: Epoch(42),
            timeout,
            op,
        };
        self.client
            .call(call, self.lease.clone(), self.cancel.clone());
    }

    async fn call(
        &mut self,
        endpoint: &str,
        timeout: Duration,
        op: AgentOp,
    ) -> Result<AgentReply, AgentError> {
        self.start(endpoint, timeout, op);
        let result = self.results.recv().await.unwrap();
        assert_eq!((result.call, result.epoch), (CallId(7), Epoch(42)));
        result.result
    }
}

fn status() -> AgentOp {
    AgentOp::Status {
        workload: "w-1".parse().unwrap(),
    }
}

fn delete() -> AgentOp {
    AgentOp::Delete {
        workload: "w-1".parse().unwrap(),
    }
}

#[tokio::test]
async fn a_call_carries_the_epoch_and_the_answer_comes_back() {
    let (agent, mut caller) = (FakeAgent::start().await, Caller::new());
    let endpoint = agent.endpoint();
    assert_eq!(
        caller.call(&endpoint, PATIENCE, status()).await,
        Ok(AgentReply::Missing)
    );
    let spec = serde_json::from_value(serde_json::json!({"image": "a:1"})).unwrap();
    let apply = AgentOp::Apply {
        workload: "w-1".parse().unwrap(),
        revision: "rev-1".parse().unwrap(),
        running: true,
        spec: Arc::new(berth_core::model::spec::Spec::Container(spec)),
        resources: Default::default(),
        labels: Default::default(),
    };
    assert_eq!(
        caller.call(&endpoint, PATIENCE, apply).await,
        Ok(AgentReply::Applied)
    );
    let Ok(AgentReply::Status(told)) = caller.call(&endpoint, PATIENCE, status()).await else {
        panic!("no status");
    };
    assert_eq!(told.state, AgentState::Running);
    assert_eq!(told.revision.unwrap().as_str(), "rev-1");
    let Ok(AgentReply::Listing(all)) = caller.call(&endpoint, PATIENCE, AgentOp::List).await else {
        panic!("no listing");
    };
    assert_eq!(all.len(), 1);
    assert_eq!(
        caller.call(&endpoint, PATIENCE, delete()).await,
        Ok(AgentReply::Deleting)
    );
    let calls = agent.wait_for(|calls| calls.len() == 5).await;
    let expected = [
        "status w-1",
        "apply w-1",
        "status w-1",
        "list",
        "delete w-1",
    ];
    let expected = expected.map(|what| Called {
        what: what.to_owned(),
        epoch: Some(42),
    });
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut caller = Caller::new();
    let error = caller
        .call(&endpoint, PATIENCE, delete())
        .await
        .unwrap_err();
    let AgentError::Unreachable(text) = error else {
        panic!("{error:?}");
    };
    assert!(text.to_lowercase().contains("refused"), "says why: {text}");
    let calls = caller.metrics.agent_calls();
    assert_eq!(
        (calls[0].0.name(), calls[0].1),
        ("DeleteWorkload", "Unavailable")
    );
    let error = caller
        .call("not an address", PATIENCE, delete())
        .await
        .unwrap_err();
    assert!(matches!(error, AgentError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_silent_port_and_a_silent_agent_are_timeouts() {
    // Connections are made by the kernel, and nobody ever reads from them.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let (agent, mut caller) = (FakeAgent::start().await, Caller::new());
    agent.set_mood(Mood::Silent);
    let soon = Duration::from_millis(50);
    assert_eq!(
        caller.call(&endpoint, soon, delete()).await,
        Err(AgentError::Timeout)
    );
    let error = caller.call(&agent.endpoint(), soon, delete()).await;
    assert_eq!(error, Err(AgentError::Timeout));
    let calls = caller.metrics.agent_calls();
    assert_eq!((calls[0].1, calls[0].2.count()), ("DeadlineExceeded", 2));
}

#[tokio::test]
async fn errors_of_the_agent_are_told_apart() {
    let (agent, mut caller) = (FakeAgent::start().await, Caller::new());
    for (code, message, expected) in [
        (Code::Unknown, "status not found", Ok(AgentReply::Missing)),
        (
            Code::FailedPrecondition,
            "stale epoch 42, the leader's is 43",
            Err(AgentError::StaleEpoch),
        ),
        (
            Code::Unavailable,
            "not now",
            Err(AgentError::Failed("gRPC code 14: not now".to_owned())),
        ),
    ] {
        agent.set_mood(Mood::Refusing(code, message));
        assert_eq!(
            caller.call(&agent.endpoint(), PATIENCE, status()).await,
            expected
        );
    }
}

#[tokio::test]
async fn without_a_lease_nothing_is_sent() {
    let (agent, mut caller) = (FakeAgent::start().await, Caller::new());
    caller.lease = LeaseGuard::until(Instant::now());
    let error = caller
        .call(&agent.endpoint(), PATIENCE, delete())
        .await
        .unwrap_err();
    assert!(matches!(error, AgentError::Unreachable(_)), "{error:?}");
    // The agent works, and sees the next call only.
    caller.lease = LeaseGuard::until(Instant::now() + PATIENCE);
    caller
        .call(&agent.endpoint(), PATIENCE, status())
        .await
        .unwrap();
    let calls = agent.wait_for(|calls| !calls.is_empty()).await;
    assert_eq!(calls[0].what, "status w-1");
}

#[tokio::test]
async fn a_call_that_is_cancelled_ends_without_an_answer() {
    let (agent, mut caller) = (FakeAgent::start().await, Caller::new());
    agent.set_mood(Mood::Silent);
    caller.start(&agent.endpoint(), PATIENCE, delete());
    agent.wait_for(|calls| !calls.is_empty()).await;
    caller.cancel.cancel();
    agent.set_mood(Mood::Good);
    caller.cancel = CancellationToken::new();
    let answer = caller
        .call(&agent.endpoint(), PATIENCE, AgentOp::List)
        .await;
    assert_eq!(
        answer,
        Ok(AgentReply::Listing([].into())),
        "the only answer"
    );
}
