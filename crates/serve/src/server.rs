//! The listener: connections within limits of number and time, and an end that lets answers finish.

use crate::app::App;
use crate::routes;
use crate::settings::Settings;
use axum::extract::Request;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Others could reach it, and nothing asks who they are.
    #[error("{host} can be reached from other machines, and the server has no API key")]
    Exposed {
        /// The address.
        host: IpAddr,
    },
    /// An API key that no client could send.
    #[error("the API key must be printable ASCII without blanks, and not empty")]
    Key,
    /// Somebody listens there already.
    #[error("{address} is in use by another program")]
    InUse {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The system does not let us listen.
    #[error("{address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The models' directory.
    #[error("{0}")]
    Models(String),
    /// The system gives no threads or no events.
    #[error("the server cannot run: {0}")]
    Runtime(#[from] io::Error),
}

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It answers.
    Running,
    /// It takes no new connections, and lets answers finish.
    Ending,
    /// The time for that is over: streams are to say so and end.
    Over,
}

/// Asks a server to stop, from any thread.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<Phase>);

impl Stopper {
    /// Asks; answers that are under way have the time of grace to finish.
    pub fn stop(&self) {
        self.0.send_if_modified(|phase| {
            let running = *phase == Phase::Running;
            if running {
                *phase = Phase::Ending;
            }
            running
        });
    }
}

/// A server that listens already and will answer once it is run.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    phase: watch::Sender<Phase>,
}

impl Server {
    /// Checks the settings and listens. Connections wait until [`Server::run`].
    pub fn bind(settings: Settings) -> Result<Server, ServeError> {
        if !settings.host.is_loopback() && settings.guard.api_key.is_none() && !settings.insecure {
            return Err(ServeError::Exposed { host: settings.host });
        }
        if settings.guard.api_key.as_ref().is_some_and(|key| key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(ServeError::Key);
        }
        let address = SocketAddr::new(settings.host, settings.port);
        let listener = TcpListener::bind(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::InUse { address, source },
            _ => ServeError::Bind { address, source },
        })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (phase, watched) = watch::channel(Phase::Running);
        let app = App::new(settings, watched)?;
        Ok(Server { listener, address, app, phase })
    }

    /// Where it listens; with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names of the models that it would answer with.
    pub fn models(&self) -> Vec<String> {
        self.app.models.names()
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.phase.clone())
    }

    /// Answers until it is stopped. Returns whether every answer was finished in the time of grace.
    pub fn run(self) -> Result<bool, ServeError> {
        // The work is done by the models' own threads; these two only move bytes.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("serve").enable_all().build()?;
        let finished = runtime.block_on(self.serve())?;
        // A load that is under way is not waited for.
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(finished)
    }

    /// As [`Server::run`], inside a runtime that there is already.
    pub async fn serve(self) -> Result<bool, ServeError> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let settings = &self.app.settings;
        let router = routes::router(self.app.clone());
        let janitor = tokio::spawn(crate::models::janitor(self.app.models.clone()));
        let places = Arc::new(Semaphore::new(settings.connections));
        let mut phase = self.phase.subscribe();
        let mut open = JoinSet::new();
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(_) => {
                        // Too many files are open, or the client is gone already. The pause keeps the first from taking a core.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                },
                // An error means that whoever could ask is gone.
                _ = phase.wait_for(|phase| *phase != Phase::Running) => break,
            };
            while open.try_join_next().is_some() {}
            let Ok(place) = places.clone().try_acquire_owned() else {
                tokio::spawn(refuse(stream));
                continue;
            };
            let (app, router, phase) = (self.app.clone(), router.clone(), self.phase.subscribe());
            open.spawn(async move {
                app.metrics.connections.fetch_add(1, Relaxed);
                // An event is a small packet that should leave at once.
                let _ = stream.set_nodelay(true);
                connection(stream, peer, router, &app.settings, false, phase).await;
                app.metrics.connections.fetch_sub(1, Relaxed);
                drop(place);
            });
        }
        drop(listener);
        let all = async |open: &mut JoinSet<()>| while open.join_next().await.is_some() {};
        let finished = tokio::time::timeout(settings.grace, all(&mut open)).await.is_ok();
        if !finished {
            self.phase.send_replace(Phase::Over);
            // Streams say that they are cut short; that takes no longer than their clients take to read it.
            let _ = tokio::time::timeout(Duration::from_secs(1), all(&mut open)).await;
            open.shutdown().await;
        }
        janitor.abort();
        self.app.models.unload_all();
        Ok(finished)
    }
}

/// Serves the requests of one connection. Whoever says no more has hung up, unless `half_close`.
pub(crate) async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    router: axum::Router,
    settings: &Settings,
    half_close: bool,
    mut phase: watch::Receiver<Phase>,
) {
    let service = tower::ServiceExt::<Request>::map_request(router, move |request: Request<hyper::body::Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(routes::Peer(peer));
        request
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.half_close(half_close).timer(TokioTimer::new()).header_read_timeout(settings.head_time).max_buf_size(64 << 10);
    let io = TokioIo::new(Patient { stream, idle: settings.idle_time, stuck: None });
    let mut served = pin!(http.serve_connection(io, TowerToHyperService::new(service)));
    tokio::select! {
        _ = served.as_mut() => return,
        _ = phase.wait_for(|phase| *phase != Phase::Running) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = served.await;
}

/// Tells a client that there are too many already.
async fn refuse(mut stream: TcpStream) {
    let body = "{\"error\":\"too many connections\"}";
    let text = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(text.as_bytes())).await;
}

/// A stream whose writes fail when its client reads nothing for too long.
struct Patient<S> {
    stream: S,
    idle: Duration,
    /// Runs while a write waits.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Passes a finished write on, and counts the time of one that waits.
    fn timed<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stuck = None;
            return polled;
        }
        let idle = self.idle;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        match stuck.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.timed(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.timed(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
