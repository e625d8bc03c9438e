//! Answers of `/v1/responses` that are kept: asked for again, gone on from, forgotten, and never more of them than there is room for.

use crate::client::{Running, settings, start, usual};
use nibble_serve::Settings;
use serde_json::{Value, json};

fn body(more: Value) -> Value {
    let mut body = json!({"model": "tiny", "input": "Tell me a story.", "max_output_tokens": 6, "temperature": 0});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[track_caller]
fn answer(server: &Running, more: Value) -> Value {
    server.post("/v1/responses", body(more)).is(200).json()
}

fn id(answer: &Value) -> &str {
    answer["id"].as_str().unwrap()
}

#[test]
fn a_kept_answer_is_had_again_until_it_is_deleted() {
    let server = usual();
    let first = answer(&server, json!({"metadata": {"a": "b"}}));
    assert_eq!((&first["store"], &first["previous_response_id"]), (&json!(true), &Value::Null));
    let path = format!("/v1/responses/{}", id(&first));
    assert_eq!(server.get(&path).is(200).json(), first);
    assert_eq!(server.get(&format!("{path}?include[]=message.output_text.logprobs")).is(200).json(), first);
    server.get(&format!("{path}?stream=true")).is(400);
    server.get(&format!("{path}/nothing")).is(404);
    assert_eq!(server.post(&format!("{path}/cancel"), json!({})).is(400).json()["error"]["type"], "invalid_request_error");
    assert_eq!(server.metric("nibble_responses_kept "), 1.0);
    let gone = server.open("DELETE", &path, &[], b"").is(200).json();
    assert_eq!(gone, json!({"id": first["id"], "object": "response", "deleted": true}));
    for answer in [server.get(&path), server.get(&format!("{path}/input_items")), server.open("DELETE", &path, &[], b"")] {
        let error = answer.is(404).json()["error"].clone();
        assert!(error["message"].as_str().unwrap().contains(&format!("'{}' not found", id(&first))), "{error}");
        assert_eq!((&error["type"], &error["code"]), (&json!("not_found_error"), &json!("response_not_found")));
    }
    let error = server.post("/v1/responses", body(json!({"previous_response_id": first["id"]}))).is(400).json()["error"].clone();
    assert_eq!((&error["code"], &error["param"]), (&json!("previous_response_not_found"), &json!("previous_response_id")), "{error}");
    assert_eq!(server.metric("nibble_responses_kept_bytes"), 0.0);
}

/// The same answer as to a request with the whole conversation, from as many tokens.
#[test]
fn an_answer_is_gone_on_from_as_if_all_had_been_sent() {
    let server = usual();
    let first = answer(&server, json!({"instructions": "Be short."}));
    let said = |answer: &Value| answer["output"][0]["content"][0]["text"].as_str().unwrap().to_string();
    let second = answer(&server, json!({"input": "Go on.", "previous_response_id": first["id"], "instructions": "Be long."}));
    assert_eq!(second["previous_response_id"], first["id"]);
    let all = json!([
        {"role": "user", "content": "Tell me a story."},
        {"role": "assistant", "content": said(&first)},
        {"role": "user", "content": "Go on."},
    ]);
    let same = answer(&server, json!({"input": all, "instructions": "Be long."}));
    assert_eq!((said(&second), &second["usage"]["input_tokens"]), (said(&same), &same["usage"]["input_tokens"]));

    // In events, and kept by the time that the last is there.
    let more = json!({"input": "And then?", "previous_response_id": second["id"], "stream": true});
    let (events, _) = server.post("/v1/responses", body(more)).is(200).events();
    let third = events.last().unwrap()["response"].clone();
    assert_eq!(events[0]["response"]["id"], third["id"]);
    assert_eq!(server.get(&format!("/v1/responses/{}", id(&third))).is(200).json(), third);

    let path = format!("/v1/responses/{}/input_items", id(&third));
    let page = server.get(&format!("{path}?order=asc&limit=4")).is(200).json();
    let texts: Vec<&str> = page["data"].as_array().unwrap().iter().map(|item| item["content"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["Tell me a story.", &said(&first), "Go on.", &said(&second)]);
    assert_eq!(page["has_more"], true);
    let rest = server.get(&format!("{path}?order=asc&after={}", page["last_id"].as_str().unwrap())).is(200).json();
    assert_eq!((&rest["data"][0]["content"][0]["text"], &rest["has_more"]), (&json!("And then?"), &json!(false)));
    let newest = server.get(&path).is(200).json();
    assert_eq!(newest["data"][0], rest["data"][0]);
    server.get(&format!("{path}?limit=0")).is(400);

    // An item that was an answer's can be referred to.
    let reference = json!([{"type": "item_reference", "id": third["output"][0]["id"]}, {"role": "user", "content": "Hm?"}]);
    let referred = answer(&server, json!({"input": reference}));
    let spelt = answer(&server, json!({"input": [{"role": "assistant", "content": said(&third)}, {"role": "user", "content": "Hm?"}]}));
    assert_eq!(said(&referred), said(&spelt));
    let unknown = server.post("/v1/responses", body(json!({"input": [{"type": "item_reference", "id": "msg_0"}]}))).is(404).json();
    assert_eq!(unknown["error"]["param"], "input[0]");

    // Both forms of the request have prompts of one length.
    let count = |more: Value| server.post("/v1/responses/input_tokens", body(more)).is(200).json();
    let counted = count(json!({"input": "Go on.", "previous_response_id": first["id"], "instructions": "Be long."}));
    assert_eq!(counted, json!({"object": "response.input_tokens", "input_tokens": second["usage"]["input_tokens"]}));
    let long = count(json!({"input": "word ".repeat(6000)}))["input_tokens"].as_u64().unwrap();
    assert!(long > 6000, "more than the context holds: {long}");
}

#[test]
fn what_is_not_to_be_kept_is_not() {
    let server = usual();
    let private = answer(&server, json!({"store": false}));
    assert_eq!(private["store"], false);
    server.get(&format!("/v1/responses/{}", id(&private))).is(404);
    assert_eq!(server.metric("nibble_responses_kept "), 0.0);
    for (more, param) in [(json!({"background": true}), "background"), (json!({"conversation": "conv_1"}), "conversation")] {
        assert_eq!(server.post("/v1/responses", body(more)).is(400).json()["error"]["param"], param);
    }
    let none = start(Settings { responses: 0, ..settings() });
    let forgotten = answer(&none, json!({}));
    assert_eq!(forgotten["store"], false);
    let error = none.get(&format!("/v1/responses/{}", id(&forgotten))).is(404).json();
    assert!(error["error"]["message"].as_str().unwrap().contains("keeps no responses"), "{error}");
}

#[test]
fn the_oldest_answers_leave_and_conversations_outlive_them() {
    let server = start(Settings { responses: 2, response_bytes: 20_000, ..settings() });
    let first = answer(&server, json!({}));
    let second = answer(&server, json!({"input": "Go on.", "previous_response_id": first["id"]}));
    let third = answer(&server, json!({"input": "Go on.", "previous_response_id": second["id"]}));
    server.get(&format!("/v1/responses/{}", id(&first))).is(404);
    let items = server.get(&format!("/v1/responses/{}/input_items?order=asc", id(&third))).is(200).json();
    assert_eq!((items["data"].as_array().unwrap().len(), &items["data"][0]["content"][0]["text"]), (5, &json!("Tell me a story.")));
    // One that is larger than all the room says that it is not kept, and nothing goes for it.
    let huge = answer(&server, json!({"metadata": {"x": "y".repeat(20_000)}}));
    assert_eq!(huge["store"], false);
    server.get(&format!("/v1/responses/{}", id(&huge))).is(404);
    server.get(&format!("/v1/responses/{}", id(&third))).is(200);
    for _ in 0..4 {
        answer(&server, json!({"metadata": {"x": "y".repeat(8_000)}}));
        assert!(server.metric("nibble_responses_kept_bytes") <= 20_000.0);
    }
}
