//! What all requests share.

use crate::metrics::Metrics;
use crate::models::Models;
use crate::openai::Kept;
use crate::server::{Phase, ServeError};
use crate::settings::Settings;
use std::sync::Arc;
use tokio::sync::watch;

/// Settings, models, counters.
pub struct App {
    /// What the server was started with.
    pub settings: Settings,
    /// The models on this device and in memory.
    pub models: Arc<Models>,
    /// What has happened so far.
    pub metrics: Arc<Metrics>,
    /// Answers of `/v1/responses` to go on from.
    pub kept: Kept,
    /// Where the server is in its life.
    phase: watch::Receiver<Phase>,
}

impl App {
    pub(crate) fn new(settings: Settings, phase: watch::Receiver<Phase>) -> Result<Arc<App>, ServeError> {
        let metrics = Arc::new(Metrics::default());
        let models = Models::new(&settings, metrics.clone())?;
        let kept = Kept::new(settings.responses, settings.response_bytes);
        Ok(Arc::new(App { settings, models, metrics, kept, phase }))
    }

    /// Ends when answers may go on no longer.
    pub async fn over(&self) {
        // An error means that the server is gone, which is as much an end.
        let _ = self.phase.clone().wait_for(|phase| *phase == Phase::Over).await;
    }

    /// Whether the server takes requests.
    pub fn is_running(&self) -> bool {
        *self.phase.borrow() == Phase::Running
    }
}
