//! Kept answers of `/v1/responses`, asked for again.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/responses/{id}` | the response object |
//! | `GET /v1/responses/{id}/input_items` | the conversation that it answers, in pages |
//! | `DELETE /v1/responses/{id}` | it is forgotten |
//! | `POST /v1/responses/{id}/cancel` | an error: what is kept has ended |

use super::kept::Answer;
use crate::app::App;
use crate::error::Problem;
use crate::reply;
use crate::routes::Call;
use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The most items of a page.
const MOST_ITEMS: usize = 100;

/// Said where an answer is not here, so that nobody looks for the reason in vain.
pub fn why_gone(app: &App) -> String {
    match app.settings.responses {
        0 => " This server keeps no responses.".into(),
        most => format!(" This server keeps the last {most} at most, until it ends, and none with \"store\": false."),
    }
}

fn find(app: &App, id: &str) -> Result<Arc<Answer>, Problem> {
    app.kept.get(id).ok_or_else(|| gone(app, id))
}

fn gone(app: &App, id: &str) -> Problem {
    Problem::not_found(format!("Response with id '{id}' not found.{}", why_gone(app))).code("response_not_found")
}

fn nothing(rest: &str) -> Problem {
    Problem::not_found(format!("/v1/responses/{rest} is no address: behind an id stands nothing, /input_items (GET) or /cancel (POST)"))
}

/// `GET /v1/responses/...`.
pub async fn recall(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    match call.rest.split_once('/') {
        None => {
            let wanted: Again = query(&call)?;
            let answer = find(&app, &call.rest)?;
            if wanted.stream.is_some_and(|stream| stream == "true") {
                return Err(Problem::bad("only answers that are made in the background can be streamed again").param("stream"));
            }
            Ok(reply::typed(StatusCode::OK, "application/json; charset=utf-8", answer.json.to_string()))
        }
        Some((id, "input_items")) => {
            let page: Page = query(&call)?;
            page.of(&*find(&app, id)?).map(|page| reply::json(&page))
        }
        _ => Err(nothing(&call.rest)),
    }
}

/// `DELETE /v1/responses/{id}`.
pub async fn forget(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    match app.kept.forget(&call.rest) {
        true => Ok(reply::json(&json!({"id": call.rest, "object": "response", "deleted": true}))),
        false => Err(gone(&app, &call.rest)),
    }
}

/// `POST /v1/responses/{id}/cancel`.
pub async fn cancel(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let Some((id, "cancel")) = call.rest.split_once('/') else { return Err(nothing(&call.rest)) };
    find(&app, id)?;
    Err(Problem::bad("only answers that are made in the background can be cancelled; this one has ended").param("response_id"))
}

/// What `GET /v1/responses/{id}` may have behind `?`.
#[derive(Debug, Default, Deserialize)]
struct Again {
    stream: Option<String>,
}

/// What `input_items` may have behind `?`.
#[derive(Debug, Default, Deserialize)]
struct Page {
    /// The last item of the page before.
    after: Option<String>,
    limit: Option<String>,
    order: Option<String>,
}

fn query<T: serde::de::DeserializeOwned>(call: &Call) -> Result<T, Problem> {
    let wrong = |what: String| Problem::bad(format!("what comes after ? cannot be read: {what}"));
    let uri: Uri = format!("/?{}", call.query).parse().map_err(|e| wrong(format!("{e}")))?;
    Query::try_from_uri(&uri).map(|Query(query)| query).map_err(|e| wrong(e.body_text()))
}

impl Page {
    fn of(&self, answer: &Answer) -> Result<Value, Problem> {
        let refuse = |name: &str, value: &str, what: &str| Err(Problem::bad(format!("{name} is {value:?}; expected {what}")).param(name));
        let limit = match self.limit.as_deref() {
            None => 20,
            Some(text) => match text.parse() {
                Ok(n) if (1..=MOST_ITEMS).contains(&n) => n,
                _ => return refuse("limit", text, &format!("1 to {MOST_ITEMS}")),
            },
        };
        let mut items: Vec<_> = answer.items[..answer.input].iter().collect();
        match self.order.as_deref() {
            None | Some("desc") => items.reverse(),
            Some("asc") => {}
            Some(other) => return refuse("order", other, "asc or desc"),
        }
        let from = match self.after.as_deref() {
            None => 0,
            Some(id) => match items.iter().position(|item| item.id() == id) {
                Some(at) => at + 1,
                None => return refuse("after", id, "the id of one of the items"),
            },
        };
        let page = &items[from..(from + limit).min(items.len())];
        Ok(json!({
            "object": "list",
            "data": page.iter().map(|item| item.value()).collect::<Vec<_>>(),
            "first_id": page.first().map(|item| item.id()),
            "last_id": page.last().map(|item| item.id()),
            "has_more": from + page.len() < items.len(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::kept::Item;
    use super::*;

    #[test]
    fn items_come_in_pages_from_either_end() {
        let items = (0..5).map(|i| Item::new(&json!({"id": format!("i{i}")}))).collect();
        let answer = Answer { id: "r".into(), json: "{}".into(), items, input: 4 };
        let page = |after: Option<&str>, limit: Option<&str>, order: Option<&str>| {
            Page { after: after.map(Into::into), limit: limit.map(Into::into), order: order.map(Into::into) }.of(&answer)
        };
        let ids = |page: Value| -> (Vec<String>, bool) {
            let ids = page["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_string());
            (ids.collect(), page["has_more"].as_bool().unwrap())
        };
        let all = page(None, None, None).unwrap();
        assert_eq!((&all["first_id"], &all["last_id"]), (&json!("i3"), &json!("i0")), "the newest first, and not the answer");
        assert_eq!(ids(page(None, Some("3"), Some("asc")).unwrap()), (vec!["i0".into(), "i1".into(), "i2".into()], true));
        assert_eq!(ids(page(Some("i2"), Some("3"), Some("asc")).unwrap()), (vec!["i3".into()], false));
        assert_eq!(ids(page(Some("i0"), None, None).unwrap()), (vec![], false));
        for (page, param) in [
            (page(Some("x"), None, None), "after"),
            (page(None, Some("0"), None), "limit"),
            (page(None, Some("101"), None), "limit"),
            (page(None, Some("x"), None), "limit"),
            (page(None, None, Some("up")), "order"),
        ] {
            assert_eq!(page.unwrap_err().param.as_deref(), Some(param));
        }
    }
}
