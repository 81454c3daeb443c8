//! The REST interface, as a client that knows JSON only.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, seconds.
    pub retry_after: Option<String>,
    /// `Content-Type`.
    pub content_type: String,
    /// The body as text.
    pub text: String,
    /// The body as JSON; null when it is none.
    pub body: Value,
}

impl Answer {
    /// The answer, if it is a success.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn ok(self) -> Self {
        assert!(
            (200..300).contains(&self.status),
            "{}: {}",
            self.status,
            self.text
        );
        self
    }
}

/// One scheduler's REST interface.
#[derive(Debug, Clone)]
pub struct Rest {
    base: String,
    client: reqwest::Client,
}

impl Rest {
    /// The interface at `host:port`.
    ///
    /// # Panics
    /// When no HTTP client can be made.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self::patient(address, Duration::from_secs(20))
    }

    /// The same, with answers waited for this long.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn patient(address: &str, patience: Duration) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(patience)
            .build();
        Self {
            base: format!("http://{address}"),
            client: client.expect("a plain HTTP client"),
        }
    }

    /// A request with a raw body.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, String> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|v| v.to_str().ok());
            value.map(ToOwned::to_owned)
        };
        let (retry_after, content_type) = (header("retry-after"), header("content-type"));
        let status = response.status().as_u16();
        let text = response
            .text()
            .await
            .map_err(|error| format!("{error:?}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let content_type = content_type.unwrap_or_default();
        Ok(Answer {
            status,
            retry_after,
            content_type,
            text,
            body,
        })
    }

    /// GET.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer, String> {
        self.send(Method::GET, path, None).await
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, String> {
        self.send(Method::POST, path, Some(body.to_string().into_bytes()))
            .await
    }

    /// DELETE.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn delete(&self, path: &str) -> Result<Answer, String> {
        self.send(Method::DELETE, path, None).await
    }

    /// All workloads, page by page.
    ///
    /// # Errors
    /// When there is no answer, or it is not a success.
    pub async fn workloads(&self) -> Result<Vec<Value>, String> {
        self.list("/workloads").await
    }

    /// All nodes.
    ///
    /// # Errors
    /// When there is no answer, or it is not a success.
    pub async fn nodes(&self) -> Result<Vec<Value>, String> {
        self.list("/nodes").await
    }

    async fn list(&self, path: &str) -> Result<Vec<Value>, String> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.get(&format!("{path}?limit=500{after}")).await?;
            if page.status != 200 {
                return Err(format!("{}: {}", page.status, page.text));
            }
            items.extend(page.body["items"].as_array().cloned().unwrap_or_default());
            if page.body["more"] != json!(true) {
                return Ok(items);
            }
            after = format!("&after={}", page.body["next"].as_str().unwrap_or_default());
        }
    }

    /// Whether `count` workloads exist and all are confirmed running; else what is instead.
    ///
    /// # Errors
    /// What is instead.
    pub async fn all_running(&self, count: usize) -> Result<Vec<Value>, String> {
        let workloads = self.workloads().await?;
        let mut waiting = Vec::new();
        for workload in &workloads {
            if workload["display_status"] != "Running" {
                waiting.push(format!(
                    "{} is {} on {} ({}{})",
                    workload["id"],
                    workload["display_status"],
                    workload["assigned_node"],
                    workload["status"]["failure_reason"],
                    workload["metadata"]["last_error"],
                ));
            }
        }
        if workloads.len() == count && waiting.is_empty() {
            return Ok(workloads);
        }
        let shown = waiting
            .iter()
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ");
        Err(format!(
            "{} of {count} exist, {} not running: {shown}",
            workloads.len(),
            waiting.len()
        ))
    }

    /// Whether `count` nodes are ready.
    ///
    /// # Errors
    /// What is instead.
    pub async fn nodes_ready(&self, count: usize) -> Result<(), String> {
        let nodes = self.nodes().await?;
        let ready = nodes.iter().filter(|n| n["status"] == "Ready").count();
        if ready == count {
            Ok(())
        } else {
            Err(format!("{ready} of {count} nodes ready"))
        }
    }
}
