//! What a model's folder is called, taken apart into `general.name`, `basename`, `finetune`, `version` and `size_label` as llama.cpp's
//! converter does it, so that tools which show these fields show the same.

/// The name of a model and its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// `general.name`: the folder's name in title case, hyphens as blanks.
    pub name: String,
    /// `general.basename`: "Llama-3.2" of "Llama-3.2-1B-Instruct".
    pub basename: Option<String>,
    /// `general.finetune`: "Instruct".
    pub finetune: Option<String>,
    /// `general.version`: "v0.3".
    pub version: Option<String>,
    /// `general.size_label`: "1B"; from the count of weights where the name has none.
    pub size_label: Option<String>,
}

/// What a part of the name was recognised as; a part may stay unrecognised and become basename or finetune by its place.
#[derive(Clone, Copy, Default)]
struct Kinds {
    basename: bool,
    size: bool,
    finetune: bool,
    version: bool,
    quant: bool,
}

impl Kinds {
    fn none(self) -> bool {
        self.count() == 0
    }

    fn count(self) -> usize {
        [self.basename, self.size, self.finetune, self.version, self.quant].iter().filter(|&&k| k).count()
    }
}

impl Naming {
    /// Takes a folder's name apart; `weights` is the number of the model's weights, against which sizes in the name are checked.
    pub fn of(folder: &str, weights: u64) -> Naming {
        let mut naming =
            if folder.contains(' ') { Naming { name: folder.to_owned(), ..Naming::default() } } else { Naming::parts(folder, weights) };
        naming.name = title(&naming.name);
        naming.size_label.get_or_insert_with(|| size_label(weights));
        naming
    }

    fn parts(folder: &str, weights: u64) -> Naming {
        let mut parts: Vec<(String, Kinds)> =
            folder.split('-').filter(|p| !p.is_empty()).enumerate().map(|(i, part)| recognise(i, part, weights)).collect();
        // "large" is no size where "7B" stands beside it.
        if parts.iter().any(|(p, k)| k.size && p.contains(|c: char| c.is_ascii_digit())) {
            for (part, kinds) in &mut parts {
                kinds.size &= !part.chars().all(char::is_alphabetic);
            }
        }
        let mut at_start = true;
        for (part, kinds) in &mut parts {
            if at_start && (kinds.none() && part.starts_with(char::is_alphabetic) || kinds.version) {
                kinds.basename = true;
            } else {
                at_start = false;
                kinds.finetune |= kinds.none();
            }
        }
        // A version at the end of the basename is the model's version, not part of its name.
        for (_, kinds) in parts.iter_mut().rev() {
            if !kinds.basename || kinds.count() < 2 {
                break;
            }
            kinds.basename = false;
        }
        let join = |of: fn(Kinds) -> bool| {
            let chosen: Vec<&str> = parts.iter().filter(|(_, k)| of(*k)).map(|(p, _)| p.as_str()).collect();
            (!chosen.is_empty()).then_some(chosen)
        };
        let size_label = join(|k| k.size).map(|sizes| {
            let mut unique: Vec<&str> = Vec::new();
            sizes.into_iter().for_each(|s| {
                if !unique.contains(&s) {
                    unique.push(s)
                }
            });
            unique.join("-")
        });
        let finetune = join(|k| k.finetune).map(|p| p.join("-"));
        let version = join(|k| k.version && !k.basename).map(|p| p.join("-"));
        let ambiguous = size_label.is_none() && finetune.is_none() && version.is_none();
        let basename = join(|k| k.basename).map(|p| p.join("-")).filter(|_| !ambiguous);
        Naming { name: folder.to_owned(), basename, finetune, version, size_label }
    }
}

/// The part at place `i`, normalised, and what it is.
fn recognise(i: usize, part: &str, weights: u64) -> (String, Kinds) {
    let lower = part.to_lowercase();
    let mut kinds = Kinds::default();
    if is_version(&lower) {
        kinds.version = true;
    } else if is_quant(&lower) {
        kinds.quant = true;
        return (part.to_uppercase(), kinds);
    } else if i > 0 && is_size(&lower) {
        return size(part, weights);
    } else if i > 0 && ["chat", "instruct", "vision", "lora"].contains(&lower.as_str()) {
        kinds.finetune = true;
    }
    (part.to_owned(), kinds)
}

/// A size in its usual spelling ("7b1" is 7.1B), or a context length ("128k") where it is far from the model's size.
fn size(part: &str, weights: u64) -> (String, Kinds) {
    let mut text: Vec<char> = part.replace('_', ".").chars().collect();
    if let [.., unit, digit] = text[..]
        && digit.is_ascii_digit()
    {
        text.truncate(text.len() - 2);
        text.extend(['.', digit, unit]);
    }
    if let [.., digit, unit] = &mut text[..]
        && digit.is_ascii_digit()
    {
        unit.make_ascii_uppercase();
    }
    let mut text: String = text.into_iter().collect();
    let mut kinds = Kinds { size: true, ..Kinds::default() };
    let number = text[..text.len() - 1].parse::<f64>().ok();
    let power = text.chars().last().and_then(|unit| " KMBT".find(unit));
    if let (true, Some(number), Some(power)) = (weights > 0, number, power) {
        let (label, weights) = (number * 1000f64.powi(power as i32), weights as f64);
        if (label - weights).abs() > (7.0 * weights / 8.0).floor() {
            kinds = Kinds { finetune: true, ..Kinds::default() };
            let unit = text.pop().unwrap_or_default();
            text.push(unit.to_ascii_lowercase());
        }
    }
    (text, kinds)
}

/// `(v|iter)?1(.2)*`
fn is_version(s: &str) -> bool {
    let s = s.strip_prefix("iter").or_else(|| s.strip_prefix('v')).unwrap_or(s);
    s.split('.').all(is_digits)
}

fn is_digits(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())
}

/// `i?q4(_k)*`, or `b?fp?16`
fn is_quant(s: &str) -> bool {
    let float = s.strip_prefix('b').unwrap_or(s).strip_prefix('f').map(|r| r.strip_prefix('p').unwrap_or(r));
    if matches!(float, Some("16" | "32")) {
        return true;
    }
    let Some(rest) = s.strip_prefix('i').unwrap_or(s).strip_prefix('q') else { return false };
    let mut chars = rest.chars();
    chars.next().is_some_and(|c| c.is_ascii_digit())
        && chars.as_str().chars().collect::<Vec<_>>().chunks(2).all(|c| matches!(c, ['_', w] if w.is_alphanumeric() || *w == '_'))
}

/// `(a|8x)?7(.5)?[kmbt]1?`, or a word.
fn is_size(s: &str) -> bool {
    if ["small", "mini", "medium", "large", "xl", "xxl"].contains(&s) {
        return true;
    }
    let s = s.strip_suffix(|c: char| c.is_ascii_digit()).unwrap_or(s);
    let Some(s) = s.strip_suffix(['k', 'm', 'b', 't']) else { return false };
    let number = |s: &str| s.split_once(['.', '_']).map_or(is_digits(s), |(a, b)| is_digits(a) && is_digits(b));
    let experts = s.split_once('x').filter(|(n, _)| is_digits(n)).map(|(_, rest)| rest);
    number(s) || s.strip_prefix('a').is_some_and(number) || experts.is_some_and(number)
}

/// Each lower-case word capitalised, versions and numbers left alone.
fn title(s: &str) -> String {
    s.replace('-', " ").split_whitespace().map(title_word).collect::<Vec<_>>().join(" ")
}

fn title_word(word: &str) -> String {
    let lower = word.chars().any(char::is_lowercase) && !word.chars().any(char::is_uppercase);
    let version = word.starts_with(|c: char| c.is_ascii_digit()) || word.strip_prefix('v').is_some_and(|v| v.split('.').all(is_digits));
    if !lower || version {
        return word.to_owned();
    }
    let mut start = true;
    let capitalise = |c: char| {
        let c = if start { c.to_ascii_uppercase() } else { c };
        start = !c.is_alphabetic();
        c
    };
    word.chars().map(capitalise).collect()
}

/// A count of weights in at least two digits and a unit: "5.8M", "1.2B", "134M".
fn size_label(weights: u64) -> String {
    let n = weights as f64;
    let (scaled, unit) = match n {
        n if n > 1e12 => (n * 1e-12, 'T'),
        n if n > 1e9 => (n * 1e-9, 'B'),
        n if n > 1e6 => (n * 1e-6, 'M'),
        n => (n * 1e-3, 'K'),
    };
    let digits = format!("{}", scaled.round_ties_even()).trim_start_matches('0').len();
    format!("{scaled:.0$}{unit}", 2usize.saturating_sub(digits))
}
