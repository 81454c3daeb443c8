//! The REST client: one request, one answer or one failure that says what to do.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::exit::{Exit, Failure};

/// Where a scheduler on this machine listens.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8084";

/// Which scheduler to ask, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The scheduler's HTTP address
    #[arg(long, env = "BERTH_SERVER", default_value = DEFAULT_SERVER, value_name = "URL")]
    pub server: String,
    /// Certificates (PEM) that the server's must be signed by, instead of the system's
    #[arg(long, env = "BERTH_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// This client's certificate (PEM)
    #[arg(
        long,
        env = "BERTH_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// The key of this client's certificate (PEM)
    #[arg(
        long,
        env = "BERTH_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// How long one request may take
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub request_timeout: Duration,
}

/// A scheduler's REST interface.
#[derive(Debug, Clone)]
pub struct Api {
    base: Url,
    client: Client,
    request_timeout: Duration,
    /// Reads are answered by the leader.
    strong: bool,
}

/// An answer with a status of success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 201 for what is new.
    pub created: bool,
    /// JSON.
    pub body: String,
}

impl Reply {
    /// The body as a value.
    ///
    /// # Errors
    /// When the server speaks another version.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        decode(&self.body)
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    field: Option<String>,
}

impl Api {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// A wrong address, or certificates that cannot be read.
    pub fn new(connection: &Connection) -> Result<Self, Failure> {
        let base = address(connection)?;
        let mut client = Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            client = client.no_proxy();
        }
        if let Some(path) = &connection.tls_ca {
            let roots = reqwest::Certificate::from_pem_bundle(&read(path)?)
                .map_err(|error| no_pem("--tls-ca", path, &error))?;
            client = client.tls_certs_only(roots);
        } else if base.scheme() == "http" {
            // Nobody shows a certificate: a machine that holds no authority's may ask all the same.
            client = client.tls_certs_only([]);
        }
        if let (Some(cert), Some(key)) = (&connection.tls_cert, &connection.tls_key) {
            let mut pem = read(cert)?;
            pem.push(b'\n');
            pem.extend(read(key)?);
            let identity = reqwest::Identity::from_pem(&pem)
                .map_err(|error| no_pem("--tls-cert and --tls-key", cert, &error))?;
            client = client.identity(identity);
        }
        let client = client
            .build()
            .map_err(|error| not_set_up(connection, &error))?;
        Ok(Self {
            base,
            client,
            request_timeout: connection.request_timeout,
            strong: false,
        })
    }

    /// From now on reads reflect every write that was acknowledged before them.
    pub fn read_strongly(&mut self) {
        self.strong = true;
    }

    /// The address of `path` with `query`.
    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// Whatever keeps the answer from being one of success.
    pub async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<String>,
    ) -> Result<Reply, Failure> {
        let url = self.url(path, query);
        let mut request = self
            .client
            .request(method, url)
            .timeout(self.request_timeout)
            .header("accept", "application/json");
        if self.strong {
            request = request.header("berth-consistency", "strong");
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let answer = request.send().await.map_err(|error| self.lost(&error))?;
        let status = answer.status();
        let wait = retry_after(&answer);
        let body = answer.text().await.map_err(|error| self.lost(&error))?;
        if status.is_success() {
            let created = status == StatusCode::CREATED;
            return Ok(Reply { created, body });
        }
        Err(refusal(status, wait, &body))
    }

    /// Reads.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Reply, Failure> {
        self.send(Method::GET, path, query, None).await
    }

    /// Reads and decodes.
    ///
    /// # Errors
    /// As [`Api::send`], and an answer of another shape.
    pub async fn read<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        self.get(path, query).await?.decode()
    }

    /// Opens a stream of server-sent events.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn stream(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        last_id: Option<&str>,
    ) -> Result<reqwest::Response, Failure> {
        let mut request = self
            .client
            .get(self.url(path, query))
            .header("accept", "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let answer = request.send().await.map_err(|error| self.lost(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let wait = retry_after(&answer);
        let body = answer.text().await.map_err(|error| self.lost(&error))?;
        Err(refusal(status, wait, &body))
    }

    /// There was no answer.
    pub(crate) fn lost(&self, error: &reqwest::Error) -> Failure {
        let server = self.base.as_str().trim_end_matches('/');
        if error.is_timeout() && !error.is_connect() {
            let message = format!("{server} did not answer in time");
            return Failure::new(Exit::Unavailable, message)
                .hint("see `berth status`; --request-timeout gives it longer");
        }
        let message = format!("cannot reach {server}: {}", root_cause(error));
        let hint = if error.is_connect() {
            "is `berth dev` or `berth server` running? Name another address with --server or \
             BERTH_SERVER"
        } else {
            "does the server speak plain HTTP or HTTPS? See --server and the --tls flags"
        };
        Failure::new(Exit::Unavailable, message).hint(hint)
    }
}

/// Decodes what a server sent.
pub(crate) fn decode<T: DeserializeOwned>(body: &str) -> Result<T, Failure> {
    let mut reader = serde_json::Deserializer::from_str(body);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let message = format!("the server's answer cannot be read: {error}");
        Failure::new(Exit::Error, message)
            .hint("client and server may be of different versions; -o json shows the answer as is")
    })
}

fn address(connection: &Connection) -> Result<Url, Failure> {
    let text = connection.server.trim().trim_end_matches('/');
    let with_tls = connection.tls_ca.is_some() || connection.tls_cert.is_some();
    let full = match text.contains("://") {
        true => text.to_owned(),
        false if with_tls => format!("https://{text}"),
        false => format!("http://{text}"),
    };
    let wrong = |why: &str| {
        let message = format!("--server {text}: {why}; expected http://HOST:PORT or https://…");
        Failure::new(Exit::Usage, message)
    };
    let url = Url::parse(&full).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("not an HTTP address"));
    }
    if with_tls && url.scheme() == "http" {
        return Err(wrong("plain HTTP makes no use of the --tls flags"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Failure::new(Exit::Error, message)
    })
}

fn no_pem(flag: &str, path: &std::path::Path, error: &reqwest::Error) -> Failure {
    let message = format!("{flag} {}: not PEM: {}", path.display(), root_cause(error));
    Failure::new(Exit::Error, message)
}

/// There is no way to speak to anybody, before anything was asked.
fn not_set_up(connection: &Connection, error: &reqwest::Error) -> Failure {
    let message = format!("cannot set up HTTPS: {}", root_cause(error));
    let failure = Failure::new(Exit::Error, message);
    if connection.tls_ca.is_some() {
        return failure;
    }
    failure.hint(
        "--tls-ca FILE (or BERTH_TLS_CA) names the authority of the server's certificate; without \
         it, the system's are looked for: those of the package ca-certificates, or where \
         SSL_CERT_FILE and SSL_CERT_DIR say",
    )
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn retry_after(answer: &reqwest::Response) -> Option<String> {
    let value = answer.headers().get("retry-after")?.to_str().ok()?;
    Some(value.to_owned())
}

/// What a status and a body other than of success mean.
fn refusal(status: StatusCode, wait: Option<String>, body: &str) -> Failure {
    let problem: Problem = serde_json::from_str(body).unwrap_or_default();
    let mut message = match (problem.detail.is_empty(), problem.title.is_empty()) {
        (false, _) => problem.detail,
        (true, false) => problem.title,
        (true, true) => crate::output::text::short(body.trim(), 300),
    };
    if let Some(field) = problem.field.filter(|field| !message.starts_with(field)) {
        message = format!("{field}: {message}");
    }
    if message.is_empty() {
        message = format!("the server answered {status}");
    }
    let exit = Exit::from_http(status.as_u16());
    let failure = Failure::new(exit, message);
    match exit {
        Exit::Unavailable => {
            let wait = wait.map_or_else(String::new, |seconds| format!(" in {seconds} s"));
            failure.hint(format!(
                "try again{wait}; `berth status` tells the state of the store"
            ))
        }
        Exit::NotFound => failure.hint("`berth get workloads` and `berth get nodes` list what is"),
        Exit::Done | Exit::Error | Exit::Usage | Exit::Refused | Exit::Timeout => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(server: &str) -> Connection {
        Connection {
            server: server.to_owned(),
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            request_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn addresses() {
        let of = |text| address(&connection(text)).map(String::from);
        assert_eq!(of("127.0.0.1:8084").unwrap(), "http://127.0.0.1:8084/");
        assert_eq!(of("https://a:1/berth/").unwrap(), "https://a:1/berth");
        for bad in ["ftp://a", "http://:1", "http://a b"] {
            assert_eq!(of(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
        let mut tls = connection("a:1");
        tls.tls_ca = Some("ca.pem".into());
        assert_eq!(address(&tls).unwrap().as_str(), "https://a:1/");
        tls.server = "http://a:1".to_owned();
        assert!(address(&tls).is_err());
    }

    #[test]
    fn paths_and_queries_are_escaped() {
        let api = Api::new(&connection("http://a:1/x/")).unwrap();
        let url = api.url(&["workloads", "a/b"], &[("status", "a b&c".to_owned())]);
        assert_eq!(url.as_str(), "http://a:1/x/workloads/a%2Fb?status=a+b%26c");
    }

    #[test]
    fn problems_are_told_with_their_field() {
        let body =
            r#"{"title":"Invalid","status":422,"detail":"is too long","field":"spec.image"}"#;
        let failure = refusal(StatusCode::UNPROCESSABLE_ENTITY, None, body);
        assert_eq!(
            failure,
            Failure::new(Exit::Refused, "spec.image: is too long")
        );
        let busy = refusal(StatusCode::SERVICE_UNAVAILABLE, Some("2".into()), "");
        assert_eq!(busy.exit, Exit::Unavailable);
        assert!(busy.hint.unwrap().starts_with("try again in 2 s"));
        assert_eq!(busy.message, "the server answered 503 Service Unavailable");
    }

    #[test]
    fn loopback_addresses_use_no_proxy() {
        let of = |text| is_loopback(&Url::parse(text).unwrap());
        assert!(of("http://127.0.0.1:1") && of("http://localhost") && of("http://[::1]:8"));
        assert!(!of("http://10.0.0.1"));
    }
}
