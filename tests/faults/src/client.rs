//! Clients that write all the time, to any scheduler, and remember what was acknowledged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use berth_tests::{Rest, Schedule};
use reqwest::Method;

use crate::cluster::manifest;

/// How long a write may go unacknowledged once the faults are over.
const PATIENCE: Duration = Duration::from_secs(90);
/// After this long no copy of a request is under way any more: no process sleeps that long.
const LATE: Duration = Duration::from_secs(20);
/// Millicores of the workloads; the smallest nodes hold one of each.
const SIZES: [u32; 4] = [100, 200, 300, 400];

/// A workload as a client wants it: what was acknowledged last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Of its spec.
    pub generation: u32,
    /// What it asks for.
    pub millicores: u32,
}

/// What a client knows at its end.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The workloads that must exist.
    pub wanted: BTreeMap<String, Wanted>,
    /// Every spec that was acknowledged: workload and generation.
    pub specs: Vec<(String, u32)>,
    /// Every workload whose deletion was acknowledged.
    pub deleted: Vec<String>,
    /// Answers that no client should get.
    pub complaints: Vec<String>,
    /// The longest time from a write to its acknowledgement.
    pub slowest: Duration,
}

impl Ledger {
    /// How many writes were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.specs.len() + self.deleted.len()
    }

    /// Adds another client's.
    pub fn add(&mut self, other: Self) {
        self.wanted.extend(other.wanted);
        self.specs.extend(other.specs);
        self.deleted.extend(other.deleted);
        self.complaints.extend(other.complaints);
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// What a client is given.
#[derive(Debug)]
pub struct Orders {
    /// Tells clients apart.
    pub number: usize,
    /// Every scheduler's interface.
    pub servers: Vec<Rest>,
    /// Where workloads say that they started.
    pub starts: PathBuf,
    /// Millicores that it may ask for while it writes, and at its end.
    pub bounds: (u32, u32),
    /// Between two writes.
    pub pause: Duration,
    /// Told when it is enough.
    pub stop: Arc<AtomicBool>,
}

/// Creates, changes and deletes workloads until it is told to stop, each write until it is
/// acknowledged; then deletes until what is left fits anywhere.
///
/// A write that got no clear answer at once may still arrive later, out of the mouth of a process
/// that slept: it is repeated until it is acknowledged, and nothing else is asked of that workload
/// while the late copy may live ([`LATE`]), so that it changes nothing.
pub async fn write_all_the_time(orders: Orders, mut schedule: Schedule) -> Ledger {
    let mut client = Client {
        at: orders.number % orders.servers.len(),
        orders,
        ledger: Ledger::default(),
        open: Vec::new(),
        late: Vec::new(),
        created: 0,
    };
    while !client.orders.stop.load(Ordering::Relaxed) {
        client.write(&mut schedule).await;
        tokio::time::sleep(client.orders.pause).await;
    }
    while client.millicores() > client.orders.bounds.1 && client.ledger.complaints.is_empty() {
        client.reopen();
        match client.open.last().cloned() {
            Some(id) => client.delete(&id).await,
            None => tokio::time::sleep(client.orders.pause).await,
        }
    }
    client.ledger
}

struct Client {
    orders: Orders,
    at: usize,
    ledger: Ledger,
    /// Workloads that may be written to again.
    open: Vec<String>,
    /// Those of which a copy of a request may be under way, and since when.
    late: Vec<(Instant, String)>,
    created: usize,
}

impl Client {
    fn millicores(&self) -> u32 {
        self.ledger.wanted.values().map(|w| w.millicores).sum()
    }

    /// Those whose late copies are gone may be written to again.
    fn reopen(&mut self) {
        let (ripe, late): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(since, _)| since.elapsed() > LATE);
        self.late = late;
        self.open.extend(ripe.into_iter().map(|(_, id)| id));
    }

    async fn write(&mut self, schedule: &mut Schedule) {
        self.reopen();
        let dice = schedule.below(10);
        let size = SIZES[usize::try_from(schedule.below(SIZES.len() as u64)).unwrap_or(0)];
        let full = self.millicores() + size > self.orders.bounds.0;
        let count = self.open.len() as u64;
        let one = usize::try_from(schedule.below(count)).unwrap_or(0);
        match (dice, full, self.open.is_empty()) {
            (0..=4, false, _) | (_, false, true) => self.create(size).await,
            (5..=7, false, false) => {
                let id = self.open[one].clone();
                self.change(&id, size).await;
            }
            // Full, and nothing that may be touched.
            (_, true, true) => {}
            (_, _, false) => {
                let id = self.open[one].clone();
                self.delete(&id).await;
            }
        }
    }

    async fn create(&mut self, millicores: u32) {
        let id = format!("c{}-{:05}", self.orders.number, self.created);
        self.created += 1;
        self.put(&id, 0, millicores, Method::POST, "/workloads")
            .await;
    }

    async fn change(&mut self, id: &str, millicores: u32) {
        let generation = self.ledger.wanted[id].generation + 1;
        let path = format!("/workloads/{id}");
        self.put(id, generation, millicores, Method::PUT, &path)
            .await;
    }

    async fn put(
        &mut self,
        id: &str,
        generation: u32,
        millicores: u32,
        method: Method,
        path: &str,
    ) {
        let cpu = f64::from(millicores) / 1000.0;
        let body = manifest(&self.orders.starts, id, generation, cpu);
        let body = body.to_string().into_bytes();
        self.open.retain(|open| open != id);
        let clear = self
            .acknowledged(method, path, Some(body), &[200, 201, 202])
            .await;
        let Some(clear) = clear else { return };
        let wanted = Wanted {
            generation,
            millicores,
        };
        self.ledger.wanted.insert(id.to_owned(), wanted);
        self.ledger.specs.push((id.to_owned(), generation));
        if clear {
            self.open.push(id.to_owned());
        } else {
            self.late.push((Instant::now(), id.to_owned()));
        }
    }

    async fn delete(&mut self, id: &str) {
        self.open.retain(|open| open != id);
        let path = format!("/workloads/{id}");
        let good = [200, 202, 204, 404];
        if self
            .acknowledged(Method::DELETE, &path, None, &good)
            .await
            .is_some()
        {
            self.ledger.wanted.remove(id);
            self.ledger.deleted.push(id.to_owned());
        }
    }

    /// Repeats a write, at one scheduler after the other, until it is acknowledged: whether the
    /// first answer was that. `None`: it never was, or something else is wrong.
    async fn acknowledged(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        good: &[u16],
    ) -> Option<bool> {
        let began = Instant::now();
        let mut stopped: Option<Instant> = None;
        let mut tries = 0;
        loop {
            let server = &self.orders.servers[self.at];
            let mut said = String::new();
            match server.send(method.clone(), path, body.clone()).await {
                Ok(answer) if good.contains(&answer.status) => {
                    self.ledger.slowest = self.ledger.slowest.max(began.elapsed());
                    return Some(tries == 0);
                }
                // No leader, too busy, no answer in time.
                Ok(answer) if [429, 503, 504, 507].contains(&answer.status) => said = answer.text,
                Ok(answer) => {
                    let text = format!("{method} {path}: {} {}", answer.status, answer.text);
                    self.ledger.complaints.push(text);
                    return None;
                }
                Err(_) => {}
            }
            tries += 1;
            self.at = (self.at + 1) % self.orders.servers.len();
            if self.orders.stop.load(Ordering::Relaxed) {
                let since = *stopped.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    let text = format!("{method} {path}: never acknowledged; last: {said}");
                    self.ledger.complaints.push(text);
                    return None;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
