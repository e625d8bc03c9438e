//! Answers that must follow a grammar: JSON, a JSON schema, a Lark grammar, a regular expression.
//!
//! Before each token a [`Constraint`] says which tokens the grammar allows; the sampler forgets the others and goes on as ever. So an answer that the
//! model ends follows the grammar whatever the model is. An answer that is cut, by a limit or the context, may be half a value: whoever asked has to be
//! told so, and [`Constraint::is_complete`] knows.
//!
//! The grammars are [llguidance](https://docs.rs/llguidance)'s: an Earley parser over lexemes matched by derivatives of regular expressions, walked
//! along a trie of the vocabulary's tokens as bytes. Here is what it does not do: make that trie from this program's vocabularies, refuse what it would
//! pass over, name the keyword of a schema that is at fault, and end a value where nothing but blanks could follow.
//!
//! ```no_run
//! # fn example(tokenizer: std::sync::Arc<nibble_engine::text::Tokenizer>) -> Result<(), nibble_constrain::Error> {
//! use nibble_constrain::{Grammar, Vocabulary};
//!
//! let vocabulary = Vocabulary::new(&tokenizer)?; // once a model
//! let grammar = Grammar::json_schema(&serde_json::json!({"type": "object", "properties": {"age": {"type": "integer"}}}))?;
//! let compiled = vocabulary.compile(&grammar)?; // once a grammar
//! let mut constraint = compiled.clone(); // once an answer
//! while !constraint.is_finished() {
//!     let allowed: &[u32] = constraint.allowed()?; // bit i % 32 of word i / 32 is token i
//!     let token = 0; // sampled among them
//!     constraint.accept(token)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `grammar.rs` | what an answer must follow |
//! | `calls.rs` | answers that must be calls of functions |
//! | `schema.rs` | reads a JSON schema: refuses what cannot be held, drops what only describes |
//! | `closed.rs` | objects have the properties that are listed, and no others |
//! | `vocabulary.rs` | the trie of a model's tokens |
//! | `constraint.rs` | one answer's place in the grammar |
//! | `error.rs` | what can be wrong |

mod calls;
mod closed;
mod constraint;
mod error;
mod grammar;
mod schema;
mod vocabulary;

pub use calls::Function;
pub use constraint::Constraint;
pub use error::Error;
pub use grammar::{Grammar, Thought};
pub use schema::kind;
pub use vocabulary::Vocabulary;
