//! Which files of a repository are the model that was asked for.

/// A part of a split GGUF model, by its name: `STEM-00001-of-00003.gguf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) stem: &'a str,
    /// From 1.
    pub(crate) no: u64,
    pub(crate) count: u64,
}

/// What a file's name says of its part.
pub(crate) fn part(name: &str) -> Option<Part<'_>> {
    let rest = name.strip_suffix(".gguf")?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, no) = rest.rsplit_once('-')?;
    let number = |text: &str| (text.len() == 5).then(|| text.parse::<u64>().ok()).flatten();
    let (no, count) = (number(no)?, number(count)?);
    (1 <= no && no <= count).then_some(Part { stem, no, count })
}
