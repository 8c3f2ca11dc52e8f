//! What a configuration means, what is refused, and the words that say so.

mod default;
mod refusals;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use super::{Config, ConfigErrors};

type Variables = BTreeMap<String, String>;

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// As if the text stood in `conf/fanfare.toml`.
fn read(text: &str) -> Config {
    read_with(text, &Variables::new()).unwrap()
}

fn read_with(text: &str, variables: &Variables) -> Result<Config, ConfigErrors> {
    Config::read(Some(Path::new("conf/fanfare.toml")), text, variables)
}

/// What a person reads.
fn told(text: &str) -> String {
    read_with(text, &Variables::new()).unwrap_err().to_string()
}
