//! ROUTES: one row an address. The router, the list at `GET /api`, the help of the command and the tests all walk this table.

use crate::app::App;
use crate::error::{Dialect, Problem};
use crate::guard::{self, Refusal};
use crate::metrics::Ticket;
use crate::{extras, ollama, openai, reply};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::any;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

/// A request on its way to a row.
pub struct Call {
    /// Its headers.
    pub headers: HeaderMap,
    /// What comes after `?`.
    pub query: String,
    /// The part of the path that the row leaves open; empty where it leaves none.
    pub rest: String,
    /// Its body, unread.
    pub body: Body,
    /// Where what it costs is written down.
    pub ticket: Arc<Ticket>,
}

impl Call {
    /// Reads and parses the JSON body.
    pub async fn json<T: serde::de::DeserializeOwned>(&mut self, app: &App) -> Result<T, Problem> {
        let body = std::mem::take(&mut self.body);
        let bytes = crate::body::read(&self.headers, body, app.settings.body, app.settings.idle_time).await?;
        crate::body::parse(&bytes)
    }

    /// The same, read as two sets of fields that stand beside each other.
    pub async fn json_both<T: serde::de::DeserializeOwned, U: serde::de::DeserializeOwned>(
        &mut self,
        app: &App,
    ) -> Result<(T, U), Problem> {
        let value: serde_json::Value = self.json(app).await?;
        Ok((crate::body::read_fields(&value)?, crate::body::read_fields(&value)?))
    }
}

/// What a row's function gives.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

/// One address and what answers there.
pub struct Route {
    /// The method. GET answers HEAD too.
    pub method: Method,
    /// The path; `{*rest}` at its end takes all that is left.
    pub path: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Needs no key.
    pub open: bool,
    /// Does it.
    pub run: fn(Arc<App>, Call) -> Answer,
}

/// Makes a row; the function is an `async fn(Arc<App>, Call) -> Result<Response, Problem>`.
macro_rules! row {
    ($method:ident, $path:literal, $run:path, $about:literal) => {
        row!(@ $method, $path, $run, $about, false)
    };
    (open $method:ident, $path:literal, $run:path, $about:literal) => {
        row!(@ $method, $path, $run, $about, true)
    };
    (@ $method:ident, $path:literal, $run:path, $about:literal, $open:literal) => {
        Route { method: Method::$method, path: $path, about: $about, open: $open, run: |app, call| Box::pin($run(app, call)) }
    };
}

/// Every address, by interface.
pub static ROUTES: &[Route] = &[
    row!(open GET, "/", extras::root, "the page for browsers, a line of text for programs"),
    row!(GET, "/compare/{*rest}", extras::compare, "the comparison of a model that the server was given"),
    // Ollama
    row!(GET, "/api", extras::list, "this list"),
    row!(GET, "/api/version", ollama::version, "the version"),
    row!(POST, "/api/generate", ollama::generate, "continue a text or answer a prompt"),
    row!(POST, "/api/chat", ollama::chat, "answer a conversation"),
    row!(POST, "/api/embed", ollama::embed, "vectors of texts, of length 1"),
    row!(POST, "/api/embeddings", ollama::embeddings, "the vector of one text (the older form)"),
    row!(GET, "/api/tags", ollama::tags, "the models on this device"),
    row!(GET, "/api/ps", ollama::ps, "the models in memory"),
    row!(POST, "/api/show", ollama::show, "all about a model"),
    row!(POST, "/api/create", ollama::create, "make a model of another, or of files"),
    row!(POST, "/api/copy", ollama::copy, "give a model a second name"),
    row!(DELETE, "/api/delete", ollama::delete, "remove a model"),
    row!(POST, "/api/pull", ollama::pull, "download a model"),
    row!(POST, "/api/push", ollama::push, "publish a model at a registry, which its name begins with"),
    row!(GET, "/api/blobs/{*rest}", ollama::has_blob, "HEAD: whether a file is there already"),
    row!(POST, "/api/blobs/{*rest}", ollama::put_blob, "upload a file for /api/create"),
    // OpenAI
    row!(POST, "/v1/chat/completions", openai::chat, "answer a conversation"),
    row!(POST, "/v1/completions", openai::completions, "continue a text"),
    row!(POST, "/v1/embeddings", openai::embeddings, "vectors of texts"),
    row!(GET, "/v1/models", openai::models, "the models on this device"),
    row!(GET, "/v1/models/{*rest}", openai::model, "one of them"),
    row!(POST, "/v1/responses", openai::responses, "answer, in the newer form"),
    row!(POST, "/v1/responses/input_tokens", openai::input_tokens, "how long the prompt of such a request is"),
    row!(GET, "/v1/responses/{*rest}", openai::recall, "a kept answer; with /input_items, what it answers"),
    row!(DELETE, "/v1/responses/{*rest}", openai::forget, "forget one"),
    row!(POST, "/v1/responses/{*rest}", openai::cancel, "with /cancel: an error, since what is kept has ended"),
    // llama-server
    row!(open GET, "/health", extras::health, "whether the server is well"),
    row!(GET, "/metrics", extras::metrics, "counters for Prometheus"),
    row!(GET, "/props", extras::props, "settings, and a model's template"),
    row!(GET, "/slots", extras::slots, "what the models are doing"),
    row!(POST, "/tokenize", extras::tokenize, "a text as tokens"),
    row!(POST, "/detokenize", extras::detokenize, "tokens as a text"),
    row!(POST, "/apply-template", extras::apply_template, "a conversation as the text that the model reads"),
];

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The router of the table.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    let mut done: Vec<&str> = vec![];
    for row in ROUTES {
        if done.contains(&row.path) {
            continue;
        }
        done.push(row.path);
        let rows: Vec<&'static Route> = ROUTES.iter().filter(|r| r.path == row.path).collect();
        let rows: Arc<[&'static Route]> = rows.into();
        let handler = move |State(app): State<Arc<App>>, rest: Option<Path<String>>, request: Request| {
            let rest = rest.map_or(String::new(), |Path(rest)| rest);
            dispatch(app, rows.clone(), rest, request)
        };
        router = router.route(row.path, any(handler));
    }
    let router = router.fallback(elsewhere).layer(from_fn_with_state(app.clone(), admit)).with_state(app);
    // Around the router, since a layer sees a request when its row is chosen.
    Router::new().fallback_service(tower::ServiceExt::<Request>::map_request(router, plain))
}

/// A request with its path as the table writes it: some clients end every path with a slash, some join a base address that ends with one to a path that
/// begins with one.
fn plain(mut request: Request) -> Request {
    let path = request.uri().path();
    if path == "/" || !(path.ends_with('/') || path.contains("//")) {
        return request;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let query = request.uri().query().map_or(String::new(), |query| format!("?{query}"));
    let mut uri = request.uri().clone().into_parts();
    uri.path_and_query = format!("/{}{query}", parts.join("/")).parse().ok();
    // An address without what was too much is an address still; the other case leaves the request as it came.
    if let Ok(uri) = Uri::from_parts(uri) {
        *request.uri_mut() = uri;
    }
    request
}

/// Runs the row of the request's method.
async fn dispatch(app: Arc<App>, rows: Arc<[&'static Route]>, rest: String, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let dialect = Dialect::of(parts.uri.path());
    let wanted = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
    let Some(row) = rows.iter().find(|row| row.method == *wanted) else {
        let allowed: Vec<&str> = rows.iter().map(|row| row.method.as_str()).collect();
        let allowed = allowed.join(", ");
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} takes {allowed}, not {}", parts.uri.path(), parts.method));
        let mut response = problem.to_response(dialect);
        if let Ok(value) = HeaderValue::from_str(&allowed) {
            response.headers_mut().insert(header::ALLOW, value);
        }
        return response;
    };
    let Some(ticket) = parts.extensions.get::<Arc<Ticket>>().cloned() else {
        return Problem::internal("the request has no ticket").to_response(dialect);
    };
    ticket.route(row.path);
    let checked = if row.open { Ok(()) } else { app.settings.guard.check_key(&parts.headers) };
    if let Err(refusal) = checked {
        return refused(&refusal).to_response(dialect);
    }
    let call = Call { headers: parts.headers, query: parts.uri.query().unwrap_or_default().to_string(), rest, body, ticket };
    match (row.run)(app, call).await {
        Ok(response) => response,
        Err(problem) => problem.to_response(dialect),
    }
}

/// The page's files, and what there is not.
async fn elsewhere(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path();
    if matches!(*request.method(), Method::GET | Method::HEAD)
        && let Some(response) = extras::file(path, request.headers())
    {
        if let Some(ticket) = request.extensions().get::<Arc<Ticket>>() {
            ticket.route("page");
        }
        return response;
    }
    // Who has no key learns nothing of what there is.
    if let Err(refusal) = app.settings.guard.check_key(request.headers()) {
        return refused(&refusal).to_response(Dialect::of(path));
    }
    Problem::not_found(format!("there is nothing at {path}; GET /api lists what there is")).to_response(Dialect::of(path))
}

/// What every request goes through: its ticket, the guard, and what browsers need to be told.
async fn admit(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let guard = &app.settings.guard;
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let peer = request.extensions().get::<Peer>().map_or(String::new(), |peer| peer.0.to_string());
    let ticket = Ticket::new(app.metrics.clone(), app.settings.log.clone(), method.to_string(), path.clone(), peer);
    let dialect = Dialect::of(&path);
    let checked = guard.check_host(request.headers(), request.uri().host()).and_then(|()| guard.check_origin(request.headers()));
    let origin = match checked {
        Ok(origin) => origin,
        Err(refusal) => return ticket.watch(refused(&refusal).to_response(dialect)),
    };
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    request.extensions_mut().insert(ticket.clone());
    let mut response = match method == Method::OPTIONS {
        true => reply::typed(StatusCode::NO_CONTENT, "text/plain", Body::empty()),
        false => next.run(request).await,
    };
    if let Some(origin) = origin {
        guard::allow_page(origin, &method, asked.as_ref(), response.headers_mut());
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    ticket.watch(response)
}

fn refused(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::Host(_) => Problem::new(StatusCode::FORBIDDEN, refusal.to_string()).code("host_not_allowed"),
        Refusal::Origin(_) => Problem::new(StatusCode::FORBIDDEN, refusal.to_string()).code("origin_not_allowed"),
        Refusal::NoKey => Problem::new(StatusCode::UNAUTHORIZED, refusal.to_string()).code("missing_api_key"),
        Refusal::WrongKey => Problem::new(StatusCode::UNAUTHORIZED, refusal.to_string()).code("invalid_api_key"),
    }
}

/// The table as text, for `nibble help serve` and `GET /api`.
pub fn documentation() -> String {
    let width = ROUTES.iter().map(|row| row.path.len()).max().unwrap_or(0);
    let line = |row: &Route| format!("{:<6} {:<width$}  {}\n", row.method.as_str(), row.path.replace("{*rest}", "…"), row.about);
    ROUTES.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_too_many_are_left_out() {
        let plain = |uri: &str| plain(Request::builder().uri(uri).body(Body::empty()).unwrap()).uri().to_string();
        for (given, meant) in [
            ("/", "/"),
            ("//", "/"),
            ("/v1/models/", "/v1/models"),
            ("//v1//models/a/b//?x=/y/", "/v1/models/a/b?x=/y/"),
            ("http://localhost:1//api/tags/", "http://localhost:1/api/tags"),
            ("/v1/models/a%2F%2Fb", "/v1/models/a%2F%2Fb"),
        ] {
            assert_eq!(plain(given), meant, "{given}");
        }
    }

    #[test]
    fn rows_are_told_apart_and_say_what_they_do() {
        for (i, row) in ROUTES.iter().enumerate() {
            assert!(!row.about.is_empty() && !row.about.ends_with('.'), "{}", row.path);
            assert!(ROUTES[..i].iter().all(|r| r.path != row.path || r.method != row.method), "{} stands twice", row.path);
            assert!(documentation().contains(row.about));
        }
        // Nothing else goes without a key.
        let open: Vec<&str> = ROUTES.iter().filter(|row| row.open).map(|row| row.path).collect();
        assert_eq!(open, ["/", "/health"]);
    }
}
