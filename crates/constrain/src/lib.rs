//! Answers that must follow a grammar: JSON, a JSON schema, a Lark grammar.
