//! A conversation as templates see it, whichever interface it came by: turns, calls of functions, and whether to think.

use crate::error::Problem;
use nibble_constrain::kind;
use nibble_engine::text::{Value as TemplateValue, thinking_variables};
use serde_json::{Map, Value, json};

/// One turn of a conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Turn {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    pub content: String,
    /// What the model thought.
    pub thinking: Option<String>,
    /// The functions that the model called.
    pub calls: Vec<Called>,
    /// The function whose result this is.
    pub tool_name: Option<String>,
    /// The call whose result this is.
    pub tool_call_id: Option<String>,
}

impl Turn {
    /// Somebody says something.
    pub fn new(role: &str, content: String) -> Turn {
        Turn { role: role.to_string(), content, ..Turn::default() }
    }

    /// As a template sees it; the fields have the names that published templates look for.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("role".into(), json!(self.role));
        fields.insert("content".into(), json!(self.content));
        if let Some(thinking) = &self.thinking {
            fields.insert("reasoning_content".into(), json!(thinking));
            fields.insert("thinking".into(), json!(thinking));
        }
        if !self.calls.is_empty() {
            let call = |c: &Called| json!({"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}});
            fields.insert("tool_calls".into(), self.calls.iter().map(call).collect());
        }
        if let Some(name) = &self.tool_name {
            fields.insert("name".into(), json!(name));
        }
        if let Some(id) = &self.tool_call_id {
            fields.insert("tool_call_id".into(), json!(id));
        }
        Value::Object(fields)
    }
}

/// The turns as a template's `messages`.
pub fn messages(turns: &[Turn]) -> TemplateValue {
    turns.iter().map(|turn| to_template(&turn.to_json())).collect()
}

/// JSON as a template sees it.
fn to_template(value: &Value) -> TemplateValue {
    match value {
        Value::Null => TemplateValue::from(()),
        Value::Bool(b) => TemplateValue::from(*b),
        Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(n), ..) => TemplateValue::from(n),
            (_, Some(n), _) => TemplateValue::from(n),
            (.., x) => TemplateValue::from(x.unwrap_or(0.0)),
        },
        Value::String(text) => TemplateValue::from(text.as_str()),
        Value::Array(items) => items.iter().map(to_template).collect(),
        Value::Object(fields) => TemplateValue::from_pairs(fields.iter().map(|(name, value)| (name.as_str(), to_template(value)))),
    }
}

/// A function that a model called.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    /// Tells calls apart, and by it the result finds its call.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments, an object.
    pub arguments: Value,
}

impl Called {
    /// Of a message that a client sends back: OpenAI's with arguments as text, Ollama's with arguments as an object. `at` names the message in errors.
    pub fn read(value: &Value, at: &str) -> Result<Called, Problem> {
        let refuse = |what: String| Problem::bad(format!("{at}.tool_calls: {what}")).param(format!("{at}.tool_calls"));
        let function = &value["function"];
        let name = function["name"].as_str().filter(|n| !n.is_empty()).ok_or_else(|| refuse("a call has no function.name".into()))?;
        let arguments = match &function["arguments"] {
            object @ Value::Object(_) => object.clone(),
            Value::Null => json!({}),
            Value::String(text) if text.trim().is_empty() => json!({}),
            Value::String(text) => match serde_json::from_str(text) {
                Ok(object @ Value::Object(_)) => object,
                _ => return Err(refuse(format!("the arguments of {name} are no JSON object"))),
            },
            other => return Err(refuse(format!("the arguments of {name} are {}, expected an object", kind(other)))),
        };
        let id = value["id"].as_str().map_or_else(new_id, str::to_string);
        Ok(Called { id, name: name.to_string(), arguments })
    }
}

/// A new id of a call.
pub fn new_id() -> String {
    format!("call_{:08x}{:08x}", nibble_engine::sampler::random_seed(), nibble_engine::sampler::random_seed())
}

/// Whether functions are to be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// As the model likes.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// The functions that a model may call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools {
    /// Their schemas, as templates see them: `{"type": "function", "function": {"name", "description", "parameters"}}`.
    pub schemas: Vec<Value>,
    /// Whether to call.
    pub choice: Choice,
    /// One call at most.
    pub single: bool,
}

impl Tools {
    /// No functions.
    pub fn none() -> Tools {
        Tools::default()
    }

    /// Checks what a client offers. `/v1/responses` has the function's fields one level up.
    pub fn new(offered: Vec<Value>) -> Result<Tools, Problem> {
        let schema = |(i, tool): (usize, Value)| {
            let refuse = |what: String| Problem::bad(format!("tools[{i}] {what}")).param(format!("tools[{i}]"));
            let what = tool["type"].as_str().unwrap_or("function");
            if what != "function" {
                return Err(refuse(format!("is of the type {what:?}; only functions are supported")));
            }
            let mut function = match (&tool["function"], tool.as_object()) {
                (Value::Object(function), _) => function.clone(),
                (Value::Null, Some(flat)) => {
                    flat.iter().filter(|(name, _)| *name != "type" && *name != "strict").map(|(n, v)| (n.clone(), v.clone())).collect()
                }
                _ => return Err(refuse("has no function".into())),
            };
            if function.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
                return Err(refuse("has no function.name".into()));
            }
            // Clients leave out what a function without arguments has none of; templates do not look whether it is there.
            if function.get("parameters").is_none_or(Value::is_null) {
                function.insert("parameters".into(), json!({"type": "object", "properties": {}}));
            }
            if function.get("description").is_none_or(Value::is_null) {
                function.insert("description".into(), json!(""));
            }
            Ok(json!({"type": "function", "function": function}))
        };
        let schemas = offered.into_iter().enumerate().map(schema).collect::<Result<_, _>>()?;
        Ok(Tools { schemas, ..Tools::default() })
    }

    /// The same with a choice.
    pub fn choose(mut self, choice: Choice) -> Result<Tools, Problem> {
        let refuse = |what: String| Err(Problem::bad(what).param("tool_choice"));
        match &choice {
            Choice::Required | Choice::Named(_) if self.schemas.is_empty() => {
                return refuse("tool_choice needs tools, and there are none".into());
            }
            Choice::Named(name) if !self.names().any(|known| known == name) => {
                return refuse(format!("tool_choice names {name:?}, which is none of the tools"));
            }
            // One function, and as OpenAI does it, one call.
            Choice::Named(name) => {
                self.schemas.retain(|schema| schema["function"]["name"] == name.as_str());
                self.single = true;
            }
            // The model does not hear of what it must not call.
            Choice::None => self.schemas.clear(),
            _ => {}
        }
        self.choice = choice;
        Ok(self)
    }

    /// Only these of them. The model does not hear of the others.
    pub fn only(mut self, allowed: &[String]) -> Result<Tools, Problem> {
        if let Some(stranger) = allowed.iter().find(|allowed| !self.names().any(|known| known == *allowed)) {
            return Err(Problem::bad(format!("tool_choice allows {stranger:?}, which is none of the tools")).param("tool_choice"));
        }
        self.schemas.retain(|schema| schema["function"]["name"].as_str().is_some_and(|name| allowed.iter().any(|a| a == name)));
        Ok(self)
    }

    /// The same with one call at most, where `parallel` is false.
    pub fn parallel(mut self, parallel: Option<bool>) -> Tools {
        self.single |= parallel == Some(false);
        self
    }

    /// Whether the answer must be a call.
    pub fn must(&self) -> bool {
        matches!(self.choice, Choice::Required | Choice::Named(_))
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.schemas.iter().filter_map(|schema| schema["function"]["name"].as_str())
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.schemas.is_empty()
    }

    /// As a template's `tools`.
    pub fn to_value(&self) -> TemplateValue {
        match self.schemas.is_empty() {
            true => TemplateValue::UNDEFINED,
            false => self.schemas.iter().map(to_template).collect(),
        }
    }
}

/// Whether a model is to think before it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Think {
    /// As its template does by itself.
    #[default]
    AsTheModelDoes,
    /// It is not.
    No,
    /// It is, perhaps so much; an error for a model that cannot.
    Yes(Option<String>),
    /// It is if it can.
    IfItCan(Option<String>),
}

impl Think {
    /// The variables that published templates look at.
    pub fn variables(&self) -> Vec<(String, TemplateValue)> {
        match self {
            Think::AsTheModelDoes => vec![],
            Think::No => thinking_variables(false, None),
            Think::Yes(level) | Think::IfItCan(level) => thinking_variables(true, level.as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_from_both_interfaces() {
        let open = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}});
        let own = json!({"function": {"name": "f", "arguments": {"x": 1}}});
        assert_eq!(Called::read(&open, "m").unwrap(), Called { id: "c1".into(), name: "f".into(), arguments: json!({"x": 1}) });
        assert_eq!(Called::read(&own, "m").unwrap().arguments, json!({"x": 1}));
        assert!(Called::read(&own, "m").unwrap().id.starts_with("call_"));
        for bad in
            [json!({}), json!({"function": {"name": "f", "arguments": "x"}}), json!({"function": {"name": "", "arguments": {}}}), json!(5)]
        {
            assert!(Called::read(&bad, "m").is_err(), "{bad}");
        }
    }

    #[test]
    fn tools_are_checked_and_filled_up() {
        let tools = Tools::new(vec![
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"type": "function", "name": "g", "strict": true}),
        ])
        .unwrap();
        assert_eq!(tools.names().collect::<Vec<_>>(), ["f", "g"]);
        assert_eq!(
            tools.schemas[1],
            json!({"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}, "description": ""}})
        );
        assert_eq!(tools.clone().choose(Choice::Named("g".into())).unwrap().names().collect::<Vec<_>>(), ["g"]);
        assert!(tools.clone().choose(Choice::None).unwrap().is_empty());
        assert_eq!(tools.clone().only(&["g".into()]).unwrap().names().collect::<Vec<_>>(), ["g"]);
        assert!(tools.clone().only(&["h".into()]).is_err());
        assert!(tools.choose(Choice::Named("h".into())).is_err());
        assert!(Tools::none().choose(Choice::Required).is_err());
        for bad in [json!({}), json!({"type": "web_search"}), json!({"type": "function", "function": 5}), json!(5)] {
            assert!(Tools::new(vec![bad.clone()]).is_err(), "{bad}");
        }
    }
}
