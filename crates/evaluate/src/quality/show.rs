//! Runs and comparisons as text for people.

use super::figures::{Divergence, Estimate, Perplexity};
use super::pair::{Interval, Paired};
use super::record::Run;

/// The figures of a complete run, or of a shard.
pub fn text(run: &Run) -> String {
    let mut out = format!("{}: {}\n", run.model.path, scope(run));
    if let Some(reference) = &run.reference {
        out.push_str(&format!("beside {}\n", reference.path));
    }
    out.push('\n');
    if let Some(perplexity) = &run.perplexity {
        out.push_str(&table(&perplexity_rows(perplexity)));
    }
    if let Some(divergence) = &run.divergence {
        out.push('\n');
        out.push_str(&table(&divergence_rows(divergence)));
        out.push_str("\nat a percentile of the positions\n");
        let delta = |name: &str| divergence.delta_p_percentiles.iter().find(|(n, _)| n == name).map(|(_, x)| percent(*x));
        let kl = |name: &str| divergence.kl_percentiles.iter().find(|(n, _)| n == name).map(|(_, x)| format!("{x:.6}"));
        let rows: Vec<[String; 3]> = divergence
            .delta_p_percentiles
            .iter()
            .map(|(name, _)| [name.clone(), kl(name).unwrap_or_default(), delta(name).unwrap_or_default()])
            .collect();
        out.push_str(&columns(&["", "KL", "delta p"], &rows));
    }
    out
}

fn scope(run: &Run) -> String {
    let scored: usize = run.chunks.iter().map(|c| c.nll.0.len()).sum();
    let how = match run.cut.stride {
        None => format!("chunks of {}, their second halves scored", run.cut.context),
        Some(stride) => format!("windows of {} at {stride}", run.cut.context),
    };
    let shard = if run.shard == "0/1" { String::new() } else { format!(", shard {}", run.shard) };
    format!("{} {how}{shard}: {scored} tokens of {}", run.chunks.len(), run.text.path)
}

fn perplexity_rows(p: &Perplexity) -> Vec<[String; 2]> {
    let mut rows = vec![
        ["perplexity".into(), plus_minus(p.perplexity, 4)],
        ["nats a token".into(), format!("{}, by chunk ± {:.5}", plus_minus(p.nll, 5), p.nll_error_by_chunk)],
    ];
    if let Some(bits) = p.bits_per_byte {
        rows.push(["bits per byte".into(), format!("{}, of {} bytes", plus_minus(bits, 5), p.bytes)]);
    }
    rows
}

fn divergence_rows(d: &Divergence) -> Vec<[String; 2]> {
    let mut rows = vec![
        ["KL".into(), format!("{}, by chunk ± {:.6}", plus_minus(d.kl, 6), d.kl_error_by_chunk)],
        ["same top token".into(), in_percent(d.same_top)],
        ["RMS delta p".into(), in_percent(d.delta_p_rms)],
        ["mean delta p".into(), in_percent(d.delta_p)],
        ["perplexity of the reference".into(), plus_minus(d.perplexity_base, 4)],
        ["perplexity / reference's".into(), plus_minus(d.ratio, 6)],
        ["ln of that".into(), plus_minus(d.ln_ratio, 6)],
        ["perplexity - reference's".into(), plus_minus(d.difference, 6)],
        ["correlation of ln p".into(), percent(d.correlation)],
    ];
    if let Some(error) = d.kl_base_error {
        rows.insert(1, ["KL: error of the compact base".into(), format!("± {:.6}, in 19 of 20 cases", 2.0 * error)]);
    }
    rows
}

/// A comparison.
pub fn paired(p: &Paired) -> String {
    let interval = |i: Interval, decimals: usize| {
        format!("{:.decimals$}, {} % interval {:.decimals$} .. {:.decimals$}", i.value, 100.0 * p.settings.level, i.low, i.high)
    };
    let verdict = match (p.ratio.excludes(1.0), p.ratio.value < 1.0) {
        (true, true) => "the first is closer to the reference",
        (true, false) => "the second is closer to the reference",
        (false, _) => "this text does not tell which is closer",
    };
    let rows = [
        ["KL of the first".to_string(), format!("{:.6}  {}", p.kl_a, p.a)],
        ["KL of the second".to_string(), format!("{:.6}  {}", p.kl_b, p.b)],
        ["first / second".to_string(), interval(p.ratio, 4)],
        ["first - second".to_string(), interval(p.difference, 6)],
        [
            "the first is closer in".to_string(),
            format!("{} of {} blocks, {} of {} positions", p.blocks_closer, p.blocks, p.positions_closer, p.positions),
        ],
        ["drawn".to_string(), format!("{} times, blocks of {} chunks, seed {}", p.settings.samples, p.settings.block, p.settings.seed)],
    ];
    let few = if p.blocks < 30 { "\nThere are few blocks: the interval is rough.\n" } else { "" };
    format!("{}\n{verdict}\n{few}", table(&rows))
}

fn plus_minus(e: Estimate, decimals: usize) -> String {
    format!("{:.decimals$} ± {:.*}", e.value, decimals + 1, e.error)
}

fn percent(x: f64) -> String {
    format!("{:.3} %", 100.0 * x)
}

fn in_percent(e: Estimate) -> String {
    format!("{:.3} ± {:.3} %", 100.0 * e.value, 100.0 * e.error)
}

fn table(rows: &[[String; 2]]) -> String {
    let width = rows.iter().map(|r| r[0].chars().count()).max().unwrap_or(0);
    rows.iter().map(|[name, value]| format!("{name:<width$}  {value}\n")).collect()
}

fn columns<const N: usize>(header: &[&str; N], rows: &[[String; N]]) -> String {
    let mut all = vec![header.map(str::to_string)];
    all.extend(rows.iter().cloned());
    let width = |c: usize| all.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(c, cell)| match c {
            0 => format!("{cell:<0$}", width(0)),
            _ => format!("  {cell:>0$}", width(c)),
        });
        cells.collect::<String>().trim_end().to_string() + "\n"
    };
    all.iter().map(line).collect()
}
