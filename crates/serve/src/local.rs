//! A server without a listener: for programs that have requests in hand, and for tests that make more of them than a socket could carry.

use crate::app::App;
use crate::routes;
use crate::server::{self, Phase, ServeError};
use crate::settings::Settings;
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Answers requests of this process. Who may ask what is as the settings' guard has it, and limits of size and time are the settings' too.
pub struct Local {
    runtime: Runtime,
    app: Arc<App>,
    router: Router,
    phase: watch::Sender<Phase>,
}

impl Local {
    /// Makes ready what a [`crate::Server`] would answer with.
    ///
    /// # Errors
    /// When the models' directory cannot be used, or the system gives no threads.
    pub fn new(settings: Settings) -> Result<Local, ServeError> {
        let (phase, watched) = watch::channel(Phase::Running);
        let app = App::new(settings, watched)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("serve").enable_all().build()?;
        runtime.spawn(crate::models::janitor(app.models.clone()));
        let router = routes::router(app.clone());
        Ok(Local { runtime, app, router, phase })
    }

    /// What a client gets that says `bytes` over one connection and nothing more: answers in HTTP/1.1, one after the other.
    pub fn connection(&self, bytes: &[u8]) -> Vec<u8> {
        let (client, server) = tokio::io::duplex(64 << 10);
        let (app, router, phase) = (self.app.clone(), self.router.clone(), self.phase.subscribe());
        let peer = SocketAddr::from(([127, 0, 0, 1], 0));
        let (mut from, mut to) = tokio::io::split(client);
        self.runtime.block_on(async {
            let say = async {
                // A server that has heard enough hangs up.
                let _ = to.write_all(bytes).await;
                let _ = to.shutdown().await;
            };
            let hear = async {
                let mut heard = Vec::new();
                let _ = from.read_to_end(&mut heard).await;
                heard
            };
            tokio::join!(server::connection(server, peer, router, &app.settings, true, phase), say, hear).2
        })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Over);
        self.app.models.unload_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_answered_to_its_end() {
        let local = Local::new(Settings { models: vec![], ..Settings::default() }).unwrap();
        let head = "GET /api/version HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let heard = String::from_utf8(local.connection(format!("{head}{head}").as_bytes())).unwrap();
        assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 2, "{heard}");
        assert!(String::from_utf8(local.connection(b"nonsense\r\n\r\n")).unwrap().starts_with("HTTP/1.1 400"));
        assert!(local.connection(b"").is_empty());
        assert!(local.connection(b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{").starts_with(b"HTTP/1.1 400"));
    }
}
