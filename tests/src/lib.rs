//! The harness of the black-box tests: real etcd, the real `berth` binary, real processes.
//!
//! ```text
//!  Lab ── scratch folder, logs, and the end of every process that a test started
//!   ├─ Etcd      an etcd server; can be stopped, killed, restarted on the same data
//!   │   └─ History   everything that was ever written to it, revision by revision
//!   ├─ Server    `berth server`          Rest  its REST interface
//!   ├─ Agent     `berth agent`           Dev   `berth dev`
//!   └─ FakeAgent an agent inside the test: records every call, reports what the test wants
//! ```
//!
//! Nothing here knows the scheduler's code: the wire contracts and the command line are all.

pub mod agent_book;
pub mod berth;
pub mod etcd;
pub mod fake_agent;
pub mod history;
pub mod lab;
pub mod process;
pub mod rest;
pub mod schedule;
pub mod wait;
pub mod workloads;

pub use agent_book::{AgentBook, CallKind};
pub use berth::{Agent, Dev, Server};
pub use etcd::Etcd;
pub use fake_agent::{FakeAgent, FakeAgentOptions};
pub use history::History;
pub use lab::Lab;
pub use process::Process;
pub use rest::{Answer, Rest};
pub use schedule::Schedule;
pub use wait::{secs, wait_for};
