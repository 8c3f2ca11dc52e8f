//! Builds a setup of a configuration: loads plugins, grants what is granted, has each generation check itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fanfare_model::name::ChannelName;
use fanfare_runtime::egress::{Grants, OriginPattern};
use fanfare_runtime::secrets::{Secret, Secrets};
use fanfare_runtime::{ChannelSpec, Limits, Plugin, Renewal, RouterSpec, Runtime, Source};

use super::{Channel, Router, Setup, SetupError, User};
use crate::config::{ChannelConfig, Config, LimitsConfig, PluginRef, RouterConfig, UserConfig};
use crate::embedded;

/// Everything of `config`, keeping of `current` what did not change; and what the kept generations take anew once the
/// setup serves.
pub(super) async fn setup(
    runtime: &Runtime,
    config: &Config,
    current: &Setup,
) -> Result<(Setup, Vec<Renewal>), Vec<SetupError>> {
    let mut errors = Vec::new();
    let mut renewals = Vec::new();
    let mut channels = BTreeMap::new();
    for (name, section) in &config.channels {
        match channel(runtime, name, section, current.channels.get(name)).await {
            Ok((channel, renewal)) => {
                renewals.extend(renewal);
                channels.insert(name.clone(), Arc::new(channel));
            }
            Err(error) => errors.push(error),
        }
    }
    let mut serving = None;
    if let Some(section) = &config.router {
        match router(runtime, section, current.router.as_ref()).await {
            Ok(router) => serving = Some(router),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        for error in &mut errors {
            error.place = config.place_of(&error.section).to_string();
        }
        return Err(errors);
    }
    let users = config.users.iter().map(|(id, section)| (id.clone(), user(section))).collect();
    Ok((Setup { channels, router: serving, users }, renewals))
}

async fn channel(
    runtime: &Runtime,
    name: &ChannelName,
    section: &ChannelConfig,
    current: Option<&Arc<Channel>>,
) -> Result<(Channel, Option<Renewal>), SetupError> {
    let here = format!("channels.{name}");
    let plugin = load(runtime, &here, &section.plugin).await?;
    let fingerprint = format!("{}\n{}", plugin.digest(), section.fingerprint);
    let kept = current.filter(|current| current.fingerprint == fingerprint);
    let (generation, renewal) = match kept {
        Some(current) => {
            // Rotated secrets and other limits reach the generation that serves.
            let renewal = current.generation.renewal(secrets(section), limits(&section.limits));
            let renewal = renewal.map_err(|error| SetupError::new(&here, error.code(), &error))?;
            (Arc::clone(&current.generation), Some(renewal))
        }
        None => {
            let number = current.map_or(1, |current| current.generation.number() + 1);
            let spec = ChannelSpec {
                name: name.clone(),
                number,
                plugin,
                settings: section.settings.clone(),
                secrets: secrets(section),
                grants: grants(&here, section)?,
                limits: limits(&section.limits),
            };
            let staged = runtime.stage_channel(spec).await;
            (staged.map_err(|error| SetupError::new(&here, error.code(), &error))?, None)
        }
    };
    let channel = Channel {
        generation,
        retry: section.retry.clone(),
        slots: section.concurrency,
        alert_channel: section.alert_channel.clone(),
        fingerprint,
    };
    Ok((channel, renewal))
}

async fn router(
    runtime: &Runtime,
    section: &RouterConfig,
    current: Option<&Router>,
) -> Result<Router, SetupError> {
    let here = format!("routers.{}", section.name);
    let plugin = load(runtime, &here, &section.plugin).await?;
    let fingerprint = format!("{}\n{}", plugin.digest(), section.fingerprint);
    let kept = current.filter(|current| current.fingerprint == fingerprint);
    let generation = match kept {
        Some(current) => Arc::clone(&current.generation),
        None => {
            let number = current.map_or(1, |current| current.generation.number() + 1);
            let spec = RouterSpec {
                name: section.name.clone(),
                number,
                plugin,
                settings: section.settings.clone(),
                limits: Limits::default(),
            };
            let staged = runtime.stage_router(spec).await;
            staged.map_err(|error| SetupError::new(&here, error.code(), &error))?
        }
    };
    Ok(Router { generation, deadline: section.deadline, fingerprint })
}

async fn load(runtime: &Runtime, here: &str, plugin: &PluginRef) -> Result<Arc<Plugin>, SetupError> {
    let source = match plugin {
        PluginRef::Embedded(name) => {
            let bytes = embedded::find(name).ok_or_else(|| {
                let names: Vec<&str> = embedded::all().map(|(name, _)| name).collect();
                let message = format!(
                    "no plugin {name:?} is built in; built in are {}; for a file give its path, such as ./{name}.wasm",
                    names.join(", ")
                );
                SetupError { place: String::new(), section: here.to_owned(), code: "plugin.unknown".to_owned(), message }
            })?;
            Source { label: name.clone(), bytes: bytes.into() }
        }
        PluginRef::File(path) => {
            Source { label: path.display().to_string(), bytes: read(here, path).await?.into() }
        }
    };
    runtime.load(source).await.map_err(|error| SetupError::new(here, error.code(), &error))
}

async fn read(here: &str, path: &Path) -> Result<Vec<u8>, SetupError> {
    tokio::fs::read(path).await.map_err(|error| SetupError {
        place: String::new(),
        section: here.to_owned(),
        code: "plugin.unreadable".to_owned(),
        message: format!("{} can't be read: {error}; give the path of a component", path.display()),
    })
}

fn grants(here: &str, section: &ChannelConfig) -> Result<Grants, SetupError> {
    let grants = &section.grants;
    Grants::parse(&grants.http, &grants.smtp, grants.allow_private)
        .map_err(|error| SetupError::new(&format!("{here}.grants"), "config.grant", &error))
}

fn secrets(section: &ChannelConfig) -> Secrets {
    let mut secrets = Secrets::default();
    for (name, text) in &section.secrets {
        secrets.insert(name.clone(), Secret::new(text.expose().to_owned()), None::<Vec<OriginPattern>>);
    }
    secrets
}

fn limits(section: &LimitsConfig) -> Limits {
    let mut limits = Limits::default();
    if let Some(mib) = section.memory_mib {
        limits.memory_bytes = mib.saturating_mul(1024 * 1024);
    }
    if let Some(cpu) = section.cpu {
        limits.cpu = cpu;
    }
    if let Some(wall) = section.wall {
        limits.wall = wall;
    }
    limits
}

fn user(section: &UserConfig) -> User {
    let contacts = section.contacts.iter().map(|contact| (contact.channel.clone(), contact.address.clone()));
    User {
        name: section.name.clone(),
        locale: section.locale.clone(),
        zone: section.zone.clone(),
        contacts: contacts.collect(),
    }
}

impl SetupError {
    fn new(section: &str, code: &str, error: &dyn std::error::Error) -> Self {
        Self {
            place: String::new(),
            section: section.to_owned(),
            code: code.to_owned(),
            message: error.to_string(),
        }
    }
}
