//! What can be wrong with a grammar, and while it is followed.

/// Why a grammar cannot be used, or an answer cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A keyword of a JSON schema that cannot be enforced, or whose value is none that it may have.
    #[error("the JSON schema's {keyword:?} at {at} {problem}")]
    Keyword {
        /// The keyword, such as `uniqueItems`.
        keyword: String,
        /// The schema that holds it, as a JSON pointer: `#/properties/tags`.
        at: String,
        /// What is wrong with it, to be read after the keyword.
        problem: String,
    },
    /// Something in a JSON schema that should be a schema is none.
    #[error("the JSON schema at {at} {problem}")]
    Schema {
        /// Its place, as a JSON pointer.
        at: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No value satisfies the schema.
    #[error("nothing satisfies the JSON schema: {reason}")]
    Unsatisfiable {
        /// Which of its demands contradict each other.
        reason: String,
    },
    /// The grammar cannot be compiled.
    #[error("the {kind} cannot be used: {reason}")]
    Grammar {
        /// What it is: `JSON schema`, `Lark grammar`, `regular expression`.
        kind: &'static str,
        /// The first fault.
        reason: String,
    },
    /// The model's vocabulary cannot spell answers.
    #[error("the model's vocabulary allows no constrained answers: {reason}")]
    Vocabulary {
        /// Why.
        reason: String,
    },
    /// A token was accepted that the grammar does not allow. The constraint is of no more use.
    #[error("token {token} does not follow the grammar")]
    Token {
        /// Its id.
        token: u32,
    },
    /// The grammar became too costly to follow, or contradicts itself after what was said already. The constraint is of no more use.
    #[error("the grammar cannot be followed any further: {reason}")]
    Stuck {
        /// Why.
        reason: String,
    },
}
