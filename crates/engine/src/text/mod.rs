//! Text to tokens and back: vocabularies, tokenizers, chat templates, and the stream that prints what a model says.
//!
//! A [`Vocab`] is plain data, read from any of the files in which models carry their vocabulary, and written as GGUF metadata. A [`Tokenizer`]
//! is a vocabulary with the indices that make it quick. A [`Template`] turns a conversation into a [`Prompt`], which remembers what a person
//! typed, so that typing `<|eot_id|>` does not end a turn. A [`Stream`] gives a model's bytes as whole characters.
//!
//! | file | what it does |
//! |---|---|
//! | `vocab.rs` | the vocabulary as data, special tokens, tokens that end a generation |
//! | `read_*.rs`, `write_gguf.rs` | vocabulary from tokenizer.json, tokenizer.model, vocab.json + merges.txt, GGUF; and to GGUF |
//! | `pretokenize.rs` | `PRE_TOKENIZERS`, the table of ways in which text is cut into words |
//! | `bpe.rs` | the merge loops |
//! | `special.rs` | special tokens in text |
//! | `tokenizer.rs` | encoding and decoding |
//! | `template.rs` | chat templates |
//! | `stream.rs` | whole characters and stop strings |
//! | `turns.rs` | which turns go when a conversation does not fit |
//! | `calls.rs` | `TOOL_STYLES`, the table of ways in which models call tools, and the parser of calls |
//! | `thinking.rs` | what stands between `<think>` and `</think>` |

mod bpe;
mod calls;
mod directory;
mod error;
mod nfc;
mod pieces;
mod pretokenize;
mod prompt;
mod read_gguf;
mod read_json;
mod read_slow;
mod read_spm;
mod special;
mod stream;
mod template;
mod thinking;
mod tokenizer;
mod turns;
mod unicode;
mod vocab;
mod write_gguf;

pub use calls::{Said, TOOL_STYLES, ToolCall, ToolParser, ToolStyle, Writing};
pub use error::TextError;
pub use minijinja::Value;
pub use pretokenize::{Cut, PRE_TOKENIZERS, PreTokenizer, Step};
pub use prompt::Prompt;
pub use stream::{Chunk, Stream};
pub use template::{Clock, Render, Template};
pub use thinking::{Parted, ThoughtSplitter, opens_thought, template_thinks, thinking_variables};
pub use tokenizer::Tokenizer;
pub use turns::leave_out;
pub use vocab::{Added, Algorithm, Merge, Prefix, SpecialIds, TokenType, Vocab};
