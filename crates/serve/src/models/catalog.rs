//! Which models there are: those of the command line and those of the store, and what each of them is. Nothing here loads weights.

use super::{Models, Origin, blocking, lock, of_store, origin, parse_name};
use crate::error::Problem;
use nibble_store::{Details, Name, Store};
use serde_json::{Map, Value};
use std::time::SystemTime;

/// A model in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Who has published it.
    pub owner: String,
    /// Tells versions apart.
    pub digest: String,
    /// Bytes on the disk.
    pub size: u64,
    /// When it was made.
    pub modified: SystemTime,
    /// Architecture, size and type.
    pub details: Details,
    /// What it can do.
    pub capabilities: Vec<&'static str>,
}

/// All about a model, for `show`.
#[derive(Debug, Clone)]
pub struct About {
    /// Its template.
    pub template: String,
    /// Its metadata.
    pub info: Map<String, Value>,
}

/// Details and capabilities of a version of a model.
pub(super) type Known = (Details, Vec<&'static str>);

impl Models {
    /// The names of all models; those of the store as far as it can be read.
    pub fn names(&self) -> Vec<String> {
        let stored = self.store.as_ref().and_then(|store| store.names().ok()).unwrap_or_default();
        self.fixed.iter().map(|origin| origin.name.clone()).chain(stored.iter().map(|name| name.to_string())).collect()
    }

    /// Whether there is a store.
    pub fn check_store(&self) -> Result<&Store, Problem> {
        let problem = || Problem::cannot("this server has no store of models; it serves those that it was started with");
        self.store.as_ref().ok_or_else(problem)
    }

    /// Does something with the store, off the server's own threads.
    pub async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> nibble_store::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let store = self.check_store()?.clone();
        blocking(move || {
            work(&store).map_err(|error| match error {
                nibble_store::Error::NotFound { name } => no_model(&name.to_string(), store.names().unwrap_or_default().iter()),
                error => of_store(&error),
            })
        })
        .await
    }

    /// The model that a client means.
    pub async fn resolve(&self, name: &str) -> Result<Origin, Problem> {
        if let Some(origin) = self.fixed.iter().find(|origin| origin.is_called(name)) {
            return Ok(origin.clone());
        }
        let fixed: Vec<String> = self.fixed.iter().map(|origin| origin.name.clone()).collect();
        let Some(store) = self.store.clone() else { return Err(no_model(name, fixed.iter())) };
        let asked = name.to_string();
        blocking(move || {
            let name = parse_name(&asked)?;
            let entry = store.resolve(&name).map_err(|error| match error {
                nibble_store::Error::NotFound { .. } => {
                    let stored = store.names().unwrap_or_default();
                    no_model(&asked, fixed.into_iter().chain(stored.iter().map(Name::to_string)))
                }
                error => of_store(&error),
            })?;
            Origin::of_entry(entry)
        })
        .await
    }

    /// Every model, those of the command line first.
    pub async fn list(&self) -> Result<Vec<Listed>, Problem> {
        let mut listed = vec![];
        for origin in &self.fixed {
            listed.push(self.describe(origin).await?);
        }
        let Some(store) = self.store.clone() else { return Ok(listed) };
        let found = blocking(move || store.list().map_err(|error| of_store(&error))).await?;
        for summary in found.models {
            // Listing must not fail, nor take long, because of one model that is damaged.
            let known = match self.resolve(&summary.name.full()).await {
                Ok(origin) => self.known(&origin).await.unwrap_or_else(|_| (summary.details.clone(), vec!["completion"])),
                Err(_) => (summary.details.clone(), vec![]),
            };
            listed.push(Listed {
                owner: summary.name.namespace().to_string(),
                name: summary.name.to_string(),
                digest: summary.digest.hex(),
                size: summary.size,
                modified: summary.modified,
                details: known.0,
                capabilities: known.1,
            });
        }
        Ok(listed)
    }

    /// One model as a list has it.
    pub async fn find(&self, name: &str) -> Result<Listed, Problem> {
        self.describe(&self.resolve(name).await?).await
    }

    /// A model as a list has it.
    pub async fn describe(&self, origin: &Origin) -> Result<Listed, Problem> {
        let known = self.known(origin).await.unwrap_or_else(|_| (origin.details.clone().unwrap_or_default(), vec!["completion"]));
        Ok(Listed {
            name: origin.name.clone(),
            owner: "library".into(),
            digest: origin.digest.clone(),
            size: origin.size,
            modified: origin.modified,
            details: known.0,
            capabilities: known.1,
        })
    }

    async fn known(&self, origin: &Origin) -> Result<Known, Problem> {
        if let Some(known) = lock(&self.known).get(&origin.digest) {
            return Ok(known.clone());
        }
        let own = origin.clone();
        let facts = blocking(move || origin::facts(&own, false).map_err(|error| Problem::internal(error.to_string()))).await?;
        let known = (facts.details, facts.capabilities);
        lock(&self.known).insert(origin.digest.clone(), known.clone());
        Ok(known)
    }

    /// All about a model.
    pub async fn about(&self, origin: &Origin, verbose: bool) -> Result<About, Problem> {
        let own = origin.clone();
        let facts = blocking(move || origin::facts(&own, verbose).map_err(|error| Problem::internal(error.to_string()))).await?;
        Ok(About { template: facts.template, info: facts.info })
    }
}

/// There is no such model, but perhaps one whose name is near.
fn no_model(asked: &str, names: impl Iterator<Item = impl ToString>) -> Problem {
    let mut problem = Problem::no_model(asked);
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    let wanted = asked.parse::<Name>().ok();
    if let Some(near) = wanted.and_then(|wanted| wanted.near(names.iter().map(String::as_str))) {
        problem.message.push_str(&format!("; did you mean {near}?"));
    }
    problem
}
