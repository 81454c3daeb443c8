//! `docs/configuration.md`, made from the list of settings.

use super::settings::{Group, settings};

const HEAD: &str = "\
# Configuration of `berth server`

Made from the code by `BERTH_WRITE_DOCS=1 cargo test -p berth-server config`; a test compares them.

Each setting is a flag, a variable of the environment, and a key of the TOML file that `--config`
(or `BERTH_CONFIG`) names. A flag wins over the environment, the environment over the file, the
file over the default. A value that cannot be read, and a key that does not exist, stop the start
with a message that says where it was given and what was expected.

```toml
etcd = [\"http://10.0.0.1:2379\", \"http://10.0.0.2:2379\"]
tls-ca = \"/etc/berth/ca.pem\"
tls-cert = \"/etc/berth/server.pem\"
tls-key = \"/etc/berth/server.key\"
heartbeat-interval = \"10s\"
```

";

/// The document.
#[must_use]
pub fn table() -> String {
    let mut out = HEAD.to_owned();
    let parts: [(&[Group], &str); 2] = [
        (&[Group::Store, Group::Server], "The server"),
        (&[Group::Core], "The scheduler (also flags of `berth dev`)"),
    ];
    for (groups, title) in parts {
        out.push_str(&format!("## {title}\n\n"));
        out.push_str("| setting | variable | value | default | meaning |\n|---|---|---|---|---|\n");
        for setting in settings().iter().filter(|s| groups.contains(&s.group)) {
            let default = match setting.default() {
                text if text.is_empty() => "none".to_owned(),
                text => format!("`{text}`"),
            };
            out.push_str(&format!(
                "| `--{}` | `{}` | {} | {default} | {} |\n",
                setting.name,
                setting.variable(),
                setting.value,
                setting.help,
            ));
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}
