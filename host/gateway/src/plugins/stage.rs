//! From a recipe to a generation that has checked itself: grants and secrets are parsed and looked up here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fanfare_model::name::ChannelName;
use fanfare_runtime::egress::{Grants, OriginPattern};
use fanfare_runtime::secrets::{Secret, Secrets};
use fanfare_runtime::{ChannelGeneration, ChannelSpec, Limits, Plugin, Runtime};
use fanfare_store::plugins::{Generation, GrantLines};
use serde_json::{Map, Value};

use super::error::Refused;
use crate::config::{ChannelConfig, Environment, LimitsConfig, UserConfig, resolve_secret};
use crate::registry::User;

/// What makes a channel's generation, before anything of it is checked. Secrets are references.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recipe {
    pub(crate) settings: Map<String, Value>,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) grants: GrantLines,
}

/// What a section of the configuration says.
pub(crate) fn channel_recipe(section: &ChannelConfig) -> Recipe {
    let secret =
        |(name, secret): (&String, &crate::config::SecretText)| (name.clone(), secret.reference().to_owned());
    Recipe {
        settings: section.settings.clone(),
        secrets: section.secrets.iter().map(secret).collect(),
        grants: GrantLines {
            http: section.grants.http.clone(),
            smtp: section.grants.smtp.clone(),
            allow_private: section.grants.allow_private,
        },
    }
}

impl Recipe {
    /// What a kept generation was made of.
    pub(crate) fn of(generation: &Generation) -> Self {
        Self {
            // Written by this program as an object.
            settings: serde_json::from_str(&generation.settings).unwrap_or_default(),
            secrets: generation.secrets.clone(),
            grants: generation.grants.clone(),
        }
    }
}

/// The grants of these lines.
pub(crate) fn grants(lines: &GrantLines) -> Result<Grants, Refused> {
    Grants::parse(&lines.http, &lines.smtp, lines.allow_private).map_err(|error| Refused {
        code: "config.grant",
        message: error.to_string(),
        part: Some("grants"),
    })
}

fn secrets(recipe: &Recipe, folder: &Path, environment: &dyn Environment) -> Result<Secrets, Refused> {
    let mut secrets = Secrets::default();
    for (name, reference) in &recipe.secrets {
        let secret = resolve_secret(reference, folder, environment).map_err(|error| Refused {
            code: "config.secret",
            message: format!("the secret {name}: {error}"),
            part: Some("secrets"),
        })?;
        secrets.insert(name.clone(), Secret::new(secret.expose().to_owned()), None::<Vec<OriginPattern>>);
    }
    Ok(secrets)
}

/// Where secrets are looked up.
pub(crate) struct Lookup<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) environment: &'a dyn Environment,
}

/// Makes the generation and has it check itself.
pub(crate) async fn stage_channel(
    runtime: &Runtime,
    channel: (&ChannelName, u64),
    plugin: Arc<Plugin>,
    recipe: &Recipe,
    limits: Limits,
    lookup: Lookup<'_>,
) -> Result<Arc<ChannelGeneration>, Refused> {
    let spec = ChannelSpec {
        name: channel.0.clone(),
        number: channel.1,
        plugin,
        settings: recipe.settings.clone(),
        secrets: secrets(recipe, lookup.folder, lookup.environment)?,
        grants: grants(&recipe.grants)?,
        limits,
    };
    runtime.stage_channel(spec).await.map_err(|error| Refused {
        code: error.code(),
        message: error.to_string(),
        part: None,
    })
}

/// Takes on the present values of the secrets, and these limits.
pub(super) fn renew(
    generation: &Arc<ChannelGeneration>,
    recipe: &Recipe,
    limits: Limits,
    lookup: &Lookup<'_>,
) -> Result<(), Refused> {
    let secrets = secrets(recipe, lookup.folder, lookup.environment)?;
    let renewal = generation.renewal(secrets, limits);
    renewal.map_err(|error| Refused::new(error.code(), error.to_string()))?.apply();
    Ok(())
}

/// The limits of a section.
pub(crate) fn limits(section: &LimitsConfig) -> Limits {
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

/// A user of the directory.
pub(crate) fn user(section: &UserConfig) -> User {
    let contacts = section.contacts.iter().map(|contact| (contact.channel.clone(), contact.address.clone()));
    User {
        name: section.name.clone(),
        locale: section.locale.clone(),
        zone: section.zone.clone(),
        contacts: contacts.collect(),
    }
}
