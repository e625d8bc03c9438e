//! The models on this device and those in memory.
//!
//! A model is loaded by the first request that names it, on a thread of its own; requests that come meanwhile wait for the same load. It stays until its
//! `keep_alive` is over, or until another needs its memory and nobody is using it. A load that fails is an error to those who waited, and is tried again only
//! when somebody asks again: nothing loads in circles.

mod catalog;
mod loaded;
mod origin;

use crate::error::Problem;
use crate::keep_alive::KeepAlive;
use crate::metrics::{Gauge, Metrics};
use crate::server::ServeError;
use crate::settings::Settings;
use axum::http::StatusCode;
use nibble_store::Store;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, watch};

pub use catalog::Listed;
pub use loaded::{Lease, Loaded, grammar_problem};
pub use origin::{Origin, of_store, parse_name};

/// A model in memory.
#[derive(Debug, Clone)]
pub struct Running {
    /// Where it comes from.
    pub origin: Origin,
    /// Bytes that it takes.
    pub bytes: u64,
    /// When it will go, if nobody asks before.
    pub expires: SystemTime,
    /// Tokens of context.
    pub context: usize,
}

/// What a load ends with.
type Outcome = Result<Arc<Loaded>, Problem>;

/// A model in memory, or on the way there.
enum Slot {
    /// The load that is under way, by its number, and how it will end.
    Loading(u64, watch::Receiver<Option<Outcome>>),
    Ready(Arc<Loaded>),
}

impl Slot {
    fn ready(&self) -> Option<&Arc<Loaded>> {
        match self {
            Slot::Ready(loaded) => Some(loaded),
            Slot::Loading(..) => None,
        }
    }
}

/// The models of a server.
pub struct Models {
    store: Option<Store>,
    fixed: Vec<Origin>,
    engine: nibble_engine::Options,
    keep_alive: KeepAlive,
    most: usize,
    limits: loaded::Limits,
    slots: Mutex<HashMap<String, Slot>>,
    /// One load at a time: each is told what the ones before have left of the memory.
    loading: Arc<tokio::sync::Mutex<u64>>,
    /// What was read of files that were not loaded, by digest.
    known: Mutex<HashMap<String, catalog::Known>>,
    metrics: Arc<Metrics>,
    /// Something may have to go.
    wake: Arc<Notify>,
}

impl Models {
    pub(crate) fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<Arc<Models>, ServeError> {
        let store = settings.store.as_ref().map(Store::open).transpose().map_err(|error| ServeError::Models(error.to_string()))?;
        let mut fixed: Vec<Origin> = vec![];
        for path in &settings.models {
            let origin =
                Origin::of_path(path, &settings.adapters).map_err(|error| ServeError::Models(format!("{}: {error}", path.display())))?;
            if let Some(other) = fixed.iter().find(|other| other.is_called(&origin.name)) {
                let (one, two) = (other.path.display(), origin.path.display());
                return Err(ServeError::Models(format!("{one} and {two} would both be called {}", origin.name)));
            }
            fixed.push(origin);
        }
        Ok(Arc::new(Models {
            store,
            fixed,
            engine: settings.engine.clone(),
            keep_alive: settings.keep_alive,
            most: settings.most_models.max(1),
            limits: loaded::Limits { parallel: settings.parallel.max(1), queue: settings.queue, speculate: settings.speculate },
            slots: Mutex::default(),
            loading: Arc::default(),
            known: Mutex::default(),
            metrics,
            wake: Arc::new(Notify::new()),
        }))
    }

    /// A model in memory, loaded if it is not there yet, with room for `context` tokens or as much of that as it was made for.
    pub async fn lease(self: &Arc<Self>, name: &str, context: Option<usize>, keep: Option<KeepAlive>) -> Result<Lease, Problem> {
        let origin = self.resolve(name).await?;
        let context = context.or(origin.options.context()?);
        let began = Instant::now();
        loop {
            let mut outcome = match self.enter(&origin, context) {
                Entered::Ready(loaded) => return Ok(Lease::new(loaded, keep, began.elapsed())),
                Entered::Wait(outcome) => outcome,
            };
            // The load goes on whether or not who asked for it is still there.
            let ended = outcome.wait_for(Option::is_some).await.map(|ended| ended.clone());
            match ended {
                Ok(Some(Err(problem))) => return Err(problem),
                // Entered anew: the model may be another one than this request needs.
                Ok(_) => continue,
                Err(_) => return Err(Problem::internal("the load was given up")),
            }
        }
    }

    /// The model if it is there, else the load that is under way or begins now.
    fn enter(self: &Arc<Self>, origin: &Origin, context: Option<usize>) -> Entered {
        let mut slots = lock(&self.slots);
        match slots.get(&origin.key) {
            Some(Slot::Loading(_, outcome)) => return Entered::Wait(outcome.clone()),
            Some(Slot::Ready(loaded)) if loaded.serves(origin, context) => {
                loaded.enter();
                return Entered::Ready(loaded.clone());
            }
            // Another version, or too short a context: its requests go on with it, new ones get a new one.
            _ => {}
        }
        let (to, outcome) = watch::channel(None);
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        slots.insert(origin.key.clone(), Slot::Loading(number, outcome.clone()));
        let (models, origin) = (self.clone(), origin.clone());
        tokio::spawn(async move {
            let ended = models.load(&origin, context).await;
            origin::count_load(&models.metrics, ended.is_ok());
            {
                let mut slots = lock(&models.slots);
                // Somebody may have unloaded it meanwhile.
                if matches!(slots.get(&origin.key), Some(Slot::Loading(n, _)) if *n == number) {
                    match &ended {
                        Ok(loaded) => slots.insert(origin.key.clone(), Slot::Ready(loaded.clone())),
                        Err(_) => slots.remove(&origin.key),
                    };
                }
            }
            models.wake.notify_one();
            to.send_replace(Some(ended));
        });
        Entered::Wait(outcome)
    }

    /// Loads a model, and makes room for it first where that is needed and possible.
    async fn load(self: &Arc<Self>, origin: &Origin, context: Option<usize>) -> Outcome {
        let _alone = self.loading.lock().await;
        while lock(&self.slots).values().filter(|slot| matches!(slot, Slot::Ready(_))).count() >= self.most {
            if !self.evict().await {
                return Err(self.in_the_way(&format!("{} models may be in memory at once, and all of them are in use", self.most)));
            }
        }
        loop {
            let (own, taken) = (origin.clone(), self.taken());
            let mut options = self.engine.clone();
            options.memory = match options.memory {
                Some(limit) => Some(limit.saturating_sub(taken.all)),
                // What is free now: what the others have mapped counts as free to the system, but not to them.
                None => nibble_engine::memory::available().map(|free| free.saturating_sub(taken.weights)),
            };
            let (limits, wake, keep) = (self.limits, self.wake.clone(), self.keep_alive);
            let ended = blocking(move || Ok(Loaded::open(own, options, context, limits, keep, wake))).await?;
            match ended {
                Ok(loaded) => return Ok(Arc::new(loaded)),
                Err(nibble_engine::Error::Memory { .. }) if self.evict().await => {}
                Err(error @ nibble_engine::Error::Memory { .. }) if taken.all > 0 => {
                    return Err(self.in_the_way(&format!("{} does not fit beside the models in use: {error}", origin.name)));
                }
                Err(error @ nibble_engine::Error::ContextRange { .. }) => return Err(Problem::bad(error.to_string()).param("num_ctx")),
                Err(error) => return Err(Problem::internal(format!("{} cannot be loaded: {error}", origin.name)).code("model_load_failed")),
            }
        }
    }

    /// Takes the idle model out of memory that was used the longest ago. False when none is idle.
    async fn evict(&self) -> bool {
        let gone = {
            let mut slots = lock(&self.slots);
            let idle = slots.iter().filter_map(|(key, slot)| match slot {
                Slot::Ready(loaded) if loaded.is_idle() => Some((loaded.last_used(), key.clone())),
                _ => None,
            });
            let oldest = idle.min().map(|(_, key)| key);
            oldest.and_then(|key| slots.remove(&key))
        };
        match gone {
            Some(slot) => discard(slot).await,
            None => false,
        }
    }

    /// An error that says which models hold the memory.
    fn in_the_way(&self, what: &str) -> Problem {
        let slots = lock(&self.slots);
        let busy: Vec<String> = slots
            .values()
            .filter_map(|slot| match slot {
                Slot::Ready(loaded) => {
                    Some(format!("{} ({} requests, {} MiB)", loaded.origin().name, loaded.active(), loaded.bytes() >> 20))
                }
                Slot::Loading(..) => None,
            })
            .collect();
        let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{what}. In memory: {}", busy.join(", ")));
        problem.retry_after = Some(5);
        problem.code("models_in_use")
    }

    fn taken(&self) -> Taken {
        let slots = lock(&self.slots);
        let ready = slots.values().filter_map(Slot::ready);
        ready.fold(Taken { all: 0, weights: 0 }, |sum, loaded| Taken {
            all: sum.all.saturating_add(loaded.bytes()),
            weights: sum.weights.saturating_add(loaded.weights()),
        })
    }

    /// Takes a model out of memory as soon as nobody uses it.
    pub async fn unload(&self, name: &str) -> Result<(), Problem> {
        let origin = self.resolve(name).await?;
        if let Some(Slot::Ready(loaded)) = lock(&self.slots).get(&origin.key) {
            loaded.leave_soon();
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Takes a model that is no longer there out of memory: no request finds it any more, and those under way keep theirs to their end.
    pub async fn forget(&self, key: &str) {
        let gone = lock(&self.slots).remove(key);
        if gone.is_some() {
            discard(gone).await;
        }
    }

    /// Takes all models out of memory; requests that are under way keep theirs.
    pub fn unload_all(&self) {
        lock(&self.slots).clear();
    }

    /// The model of that name, or without one the model used last, or the only one that there is.
    pub async fn lease_or_newest(self: &Arc<Self>, name: Option<&str>) -> Result<Lease, Problem> {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            return self.lease(name, None, None).await;
        }
        if let Some(lease) = self.newest() {
            return Ok(lease);
        }
        match &self.names()[..] {
            [only] => self.lease(only, None, None).await,
            _ => Err(Problem::bad("model is required: no model is in memory").param("model")),
        }
    }

    /// The model in memory that was used last.
    pub fn newest(&self) -> Option<Lease> {
        let slots = lock(&self.slots);
        let ready = slots.values().filter_map(Slot::ready);
        let newest = ready.max_by_key(|loaded| loaded.last_used())?.clone();
        newest.enter();
        Some(Lease::new(newest, None, Duration::ZERO))
    }

    /// The models in memory.
    pub fn running(&self) -> Vec<Running> {
        let slots = lock(&self.slots);
        let ready = slots.values().filter_map(Slot::ready);
        let mut running: Vec<Running> = ready
            .map(|loaded| Running {
                origin: loaded.origin().clone(),
                bytes: loaded.bytes(),
                expires: loaded.expires(),
                context: loaded.context(),
            })
            .collect();
        running.sort_by(|a, b| a.origin.name.cmp(&b.origin.name));
        running
    }

    /// What the models are doing.
    pub fn gauges(&self) -> Vec<Gauge> {
        let slots = lock(&self.slots);
        let mut gauges: Vec<Gauge> = slots.values().filter_map(Slot::ready).map(|loaded| loaded.gauge()).collect();
        gauges.sort_by(|a, b| a.model.cmp(&b.model));
        gauges
    }

    /// Takes what has expired out of memory, and tells when to look again.
    fn sweep(&self) -> (Vec<Slot>, Option<Instant>) {
        let mut slots = lock(&self.slots);
        let now = Instant::now();
        let due = |slot: &Slot| match slot {
            Slot::Ready(loaded) if loaded.is_idle() => loaded.due(),
            _ => None,
        };
        let expired: Vec<String> =
            slots.iter().filter(|(_, slot)| due(slot).is_some_and(|at| at <= now)).map(|(key, _)| key.clone()).collect();
        let gone = expired.iter().filter_map(|key| slots.remove(key)).collect();
        let next = slots.values().filter_map(due).min();
        (gone, next)
    }
}

/// What a request finds.
enum Entered {
    Ready(Arc<Loaded>),
    Wait(watch::Receiver<Option<Outcome>>),
}

/// Bytes of the models in memory.
struct Taken {
    all: u64,
    weights: u64,
}

/// Takes models out of memory when their time is over; runs as long as the server.
pub async fn janitor(models: Arc<Models>) {
    loop {
        let (gone, next) = models.sweep();
        if !gone.is_empty() {
            discard(gone).await;
        }
        let nap = next.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
        tokio::select! {
            () = models.wake.notified() => {}
            () = tokio::time::sleep(nap) => {}
        }
    }
}

/// Lets go of models, which waits for their threads. Whether it was done.
async fn discard<T: Send + 'static>(gone: T) -> bool {
    let work = move || {
        drop(gone);
        Ok(())
    };
    blocking(work).await.is_ok()
}

/// Runs what takes long or waits for the disk, off the server's own threads.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(ended) => ended,
        Err(error) if error.is_panic() => Err(Problem::internal("a bug in nibble: the work panicked; the server's stderr says where")),
        Err(_) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
