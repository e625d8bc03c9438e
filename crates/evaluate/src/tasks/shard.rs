//! The part of one machine of several.

/// One of several machines, or of several runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 0.
    pub index: usize,
    /// Of how many.
    pub count: usize,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Its part of so many questions.
    pub fn range(self, total: usize) -> std::ops::Range<usize> {
        let at = |i: usize| (i as u128 * total as u128 / self.count as u128) as usize;
        at(self.index)..at(self.index + 1)
    }
}

impl std::str::FromStr for Shard {
    type Err = String;
    /// `i/n`, i from 0.
    fn from_str(text: &str) -> Result<Shard, String> {
        let parse = || {
            let (i, n) = text.split_once('/')?;
            Some(Shard { index: i.trim().parse().ok()?, count: n.trim().parse().ok()? })
        };
        match parse() {
            Some(shard) if shard.index < shard.count => Ok(shard),
            Some(shard) if shard.count > 0 => Err(format!("shards count from 0: 0/{0} to {1}/{0}", shard.count, shard.count - 1)),
            _ => Err("not a shard such as 0/8, the first of eight".to_string()),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}
