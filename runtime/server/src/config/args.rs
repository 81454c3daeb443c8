//! The command line, made from the list of settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_core::Config;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::draft::Draft;
use super::file;
use super::settings::{Group, Setting, settings};
use super::{ConfigError, ServerConfig, StoreConfig};

/// The variable that names the file.
const CONFIG_VARIABLE: &str = "BERTH_CONFIG";

/// The flags of `berth server`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerArgs {
    file: Option<PathBuf>,
    given: BTreeMap<&'static str, String>,
}

/// The flags of the store alone, for an operator who talks to it and to no server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreArgs {
    file: Option<PathBuf>,
    given: BTreeMap<&'static str, String>,
}

/// The flags of the core alone, for `berth dev`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoreArgs {
    given: BTreeMap<&'static str, String>,
}

impl ServerArgs {
    /// The configuration: flags, then the environment, then the file, then defaults.
    ///
    /// # Errors
    /// A value that cannot be read, by the name under which it was given; a file that cannot be
    /// read; settings that do not go together.
    pub fn resolve(self) -> Result<ServerConfig, ConfigError> {
        self.resolve_with(process_variable)
    }

    /// The same, with an environment of the caller's.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn resolve_with(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<ServerConfig, ConfigError> {
        draft(self.file, &self.given, &variable, settings().into_iter())?.finish()
    }
}

impl StoreArgs {
    /// The way to the store: flags, then the environment, then the file, then defaults. A server's
    /// file may be named: what it says besides is not looked at.
    ///
    /// # Errors
    /// As [`ServerArgs::resolve`].
    pub fn resolve(self) -> Result<StoreConfig, ConfigError> {
        self.resolve_with(process_variable)
    }

    /// The same, with an environment of the caller's.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn resolve_with(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<StoreConfig, ConfigError> {
        draft(self.file, &self.given, &variable, store_settings())?.store()
    }
}

/// What flags, the environment and a file say of some settings.
fn draft(
    file: Option<PathBuf>,
    given: &BTreeMap<&'static str, String>,
    variable: &dyn Fn(&str) -> Option<String>,
    settings: impl Iterator<Item = Setting>,
) -> Result<Draft, ConfigError> {
    let path = file.or_else(|| variable(CONFIG_VARIABLE).map(PathBuf::from));
    let from_file = path.as_deref().map(file::read).transpose()?;
    let sources = Sources {
        given,
        variable,
        file: path.as_deref().unwrap_or(Path::new("")),
        from_file: &from_file.unwrap_or_default(),
    };
    let mut draft = Draft::default();
    for setting in settings {
        sources.apply(&setting, &mut draft)?;
    }
    Ok(draft)
}

impl CoreArgs {
    /// The core's configuration: flags, then the environment, then defaults.
    ///
    /// # Errors
    /// As [`ServerArgs::resolve`].
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let sources = Sources {
            given: &self.given,
            variable: &process_variable,
            file: Path::new(""),
            from_file: &BTreeMap::new(),
        };
        let mut draft = Draft::default();
        for setting in core_settings() {
            sources.apply(&setting, &mut draft)?;
        }
        draft.check_core()?;
        Ok(draft.core)
    }
}

fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn core_settings() -> impl Iterator<Item = Setting> {
    settings()
        .into_iter()
        .filter(|setting| setting.group == Group::Core)
}

fn store_settings() -> impl Iterator<Item = Setting> {
    settings()
        .into_iter()
        .filter(|setting| setting.group == Group::Store)
}

struct Sources<'a> {
    given: &'a BTreeMap<&'static str, String>,
    variable: &'a dyn Fn(&str) -> Option<String>,
    file: &'a Path,
    from_file: &'a BTreeMap<&'static str, String>,
}

impl Sources<'_> {
    /// Takes a setting from the first source that has it.
    fn apply(&self, setting: &Setting, draft: &mut Draft) -> Result<(), ConfigError> {
        let variable = setting.variable();
        let (origin, text) = if let Some(text) = self.given.get(setting.name) {
            (format!("--{}", setting.name), text.clone())
        } else if let Some(text) = (self.variable)(&variable) {
            (variable, text)
        } else if let Some(text) = self.from_file.get(setting.name) {
            (
                format!("{} in {}", setting.name, self.file.display()),
                text.clone(),
            )
        } else {
            return Ok(());
        };
        (setting.set)(draft, &text).map_err(|expected| ConfigError::Value {
            origin,
            text,
            expected,
        })
    }
}

fn argument(setting: &Setting) -> Arg {
    let (variable, default) = (setting.variable(), setting.default());
    let mut help = format!("{} [env: {variable}]", setting.help);
    if !default.is_empty() {
        help.push_str(&format!(" [default: {default}]"));
    }
    let heading = match setting.group {
        Group::Store | Group::Server => "Server",
        Group::Core => "Scheduling",
    };
    let arg = Arg::new(setting.name)
        .help_heading(heading)
        .long(setting.name)
        .value_name(setting.value)
        .help(help);
    match setting.value {
        // `--insecure` alone is enough.
        "BOOL" => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        "URLS" => arg.action(ArgAction::Append),
        _ => arg,
    }
}

fn collect(
    matches: &ArgMatches,
    settings: impl Iterator<Item = Setting>,
) -> BTreeMap<&'static str, String> {
    let mut given = BTreeMap::new();
    for setting in settings {
        let values = matches
            .get_many::<String>(setting.name)
            .into_iter()
            .flatten();
        let values: Vec<_> = values.cloned().collect();
        if !values.is_empty() {
            given.insert(setting.name, values.join(","));
        }
    }
    given
}

fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help(format!(
            "A TOML file with settings by the names of the flags [env: {CONFIG_VARIABLE}]"
        ))
}

impl clap::Args for ServerArgs {
    fn augment_args(command: Command) -> Command {
        let arguments = settings();
        command
            .arg(config_argument())
            .args(arguments.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for ServerArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            file: matches.get_one::<PathBuf>("config").cloned(),
            given: collect(matches, settings().into_iter()),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for StoreArgs {
    fn augment_args(command: Command) -> Command {
        let arguments = store_settings().map(|setting| argument(&setting).help_heading("Store"));
        command.arg(config_argument()).args(arguments)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for StoreArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            file: matches.get_one::<PathBuf>("config").cloned(),
            given: collect(matches, store_settings()),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for CoreArgs {
    fn augment_args(command: Command) -> Command {
        let arguments = core_settings().map(|setting| argument(&setting).hide_short_help(true));
        command.args(arguments)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for CoreArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            given: collect(matches, core_settings()),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
