//! Models side by side: the texts and the page made of a comparison, and errors of tensors.

use nibble_engine::source::Source;
use nibble_evaluate::compare_models::{
    Comparison, Entry, Estimate, KIND, SCHEMA, Speed, columns, csv, markdown, page, task_figures, tensors,
};
use nibble_evaluate::machine::Machine;
use nibble_evaluate::tasks::{Answer, Report, Wanted, plan::PartFacts, report, score::Work};
use std::path::Path;

/// A report of MMLU in two subjects and of ARC, with right answers where `right` says.
fn tasks_report(right: fn(usize) -> bool) -> Report {
    let part = |task: &str, name: &str, asked| PartFacts {
        task: task.into(),
        name: name.into(),
        file: "f".into(),
        sum: "0".into(),
        questions: asked,
        asked,
    };
    let parts = vec![part("mmlu", "mmlu_anatomy", 8), part("mmlu", "mmlu_world_religions", 4), part("arc_easy", "arc_easy", 10)];
    let answer = |part: &str, index: usize, metrics: usize| Answer {
        part: part.into(),
        index,
        line: 1,
        likelihoods: vec![],
        greedy: vec![],
        chosen: None,
        right: vec![],
        text: None,
        scores: vec![f64::from(u8::from(right(index))); metrics],
        cut: 0,
    };
    let answers: Vec<Answer> =
        parts.iter().flat_map(|p| (0..p.asked).map(|i| answer(&p.name, i, if p.task == "mmlu" { 1 } else { 3 }))).collect();
    Report {
        schema: report::SCHEMA,
        kind: report::KIND.into(),
        nibble: "0".into(),
        model: report::Model { path: "m".into(), fingerprint: "f".into(), file_bytes: 1, parameters: 1 },
        wanted: Wanted::tasks(&["mmlu", "arc_easy"]),
        context: 1,
        cache: "f16".into(),
        shard: "0/1".into(),
        figures: report::figures(&parts, &answers),
        parts,
        work: Work::default(),
        answers,
    }
}

fn comparison() -> Comparison {
    let reference = tasks_report(|i| i % 4 != 3);
    let entry = |name: &str, kind: &str, mib: u64, kl: Option<f64>, report: Option<&Report>| Entry {
        name: name.into(),
        path: format!("/models/{name}"),
        kind: kind.into(),
        file_bytes: mib << 20,
        weight_bytes: mib << 20,
        parameters: 8 << 20,
        perplexity: Some(Estimate { value: 10.0 + 4.0 / mib as f64, stderr: Some(0.1) }),
        bits_per_byte: None,
        kl: kl.map(|value| Estimate { value, stderr: Some(value / 20.0) }),
        same_top: kl.map(|_| Estimate { value: 0.97, stderr: Some(0.001) }),
        tasks: report.map_or_else(Vec::new, |report| task_figures(report, Some(&reference))),
        speed: Some(Speed {
            threads: 2,
            prompt_tokens: 512,
            prompt: Some(100.0),
            generation: Some(1000.0 / mib as f64),
            first_token: Some(0.25),
            peak_resident_bytes: Some((mib + 100) << 20),
            anonymous_bytes: None,
        }),
        tensors: vec![],
        notes: vec![],
    };
    let mut entries = vec![
        entry("base", "BF16", 16, None, Some(&reference)),
        entry("a|<b>&\"q\".gguf", "Q4_K_M", 5, Some(0.03), Some(&tasks_report(|i| i % 4 > 1))),
        entry("c\u{1b}[2J.gguf", "Q4_0", 5, Some(0.05), None),
        entry("d.gguf", "Q2_K", 3, Some(0.9), None),
    ];
    for (i, name) in ["token_embd.weight", "blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.1.ffn_down.weight"].into_iter().enumerate() {
        entries[1].tensors.push(tensors::TensorError {
            name: name.into(),
            kind: "Q4_K".into(),
            elements: 4,
            bytes: 4,
            relative: 0.01 * (i + 1) as f64,
            greatest: 0.5,
        });
    }
    entries[3].notes.push("a note with <tags>".into());
    let machine =
        Machine { cpu: "A <cpu>".into(), cores: 2, instruction_set: "avx2".into(), architecture: "x86_64".into(), system: "linux".into() };
    Comparison {
        schema: SCHEMA,
        what: KIND.into(),
        nibble: "0.1.0".into(),
        date: "2026-11-28T20:00:00Z".into(),
        machine,
        reference: 0,
        text: Some("wiki.txt, 20 chunks of 512 tokens".into()),
        entries,
    }
}

#[test]
fn every_column_says_what_it_shows() {
    let comparison = comparison();
    let columns = columns(&comparison);
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "size_mib",
            "reduction_percent",
            "bits_per_weight",
            "perplexity",
            "kl_nats",
            "same_top_percent",
            "mmlu_acc_percent",
            "mmlu_acc_difference_percent",
            "mmlu_macro_acc_percent",
            "arc_easy_acc_percent",
            "arc_easy_acc_difference_percent",
            "prompt_tokens_per_second",
            "generation_tokens_per_second",
            "first_token_seconds",
            "peak_resident_mib"
        ]
    );
    let text =
        |column: &str, entry: usize| columns.iter().find(|c| c.name == column).unwrap().text(&comparison, &comparison.entries[entry]);
    assert_eq!((text("reduction_percent", 1), text("bits_per_weight", 1)), ("68.8 %".into(), "5.00".into()));
    assert_eq!((text("kl_nats", 0), text("kl_nats", 1)), (String::new(), "0.030000 ± 0.001500".into()));
    // The reference is right at 0, 1, 2 of four, the other at 2 and 3: of twelve questions 9 and 6.
    let pooled = 100.0 * ((8.0 * 0.1875 + 4.0 * 0.1875) / 10.0 / 12.0f64).sqrt();
    assert_eq!((text("mmlu_acc_percent", 0), text("mmlu_acc_difference_percent", 0)), (format!("75.00 ± {pooled:.2} %"), String::new()));
    // Differences -1, -1, 0, 1 three times: mean -1/4, sum of squares 9 - 12/16, by 11 and by 12.
    let se = 100.0 * ((9.0 - 0.75) / 11.0 / 12.0f64).sqrt();
    assert_eq!(text("mmlu_acc_difference_percent", 1), format!("-25.00 ± {se:.2} %"));
    assert_eq!(text("mmlu_macro_acc_percent", 1).split(' ').next(), Some("50.00"));
    assert_eq!(text("arc_easy_acc_percent", 3), "");
}

#[test]
fn texts_have_a_row_a_model_and_names_cannot_break_them() {
    let comparison = comparison();
    let text = markdown(&comparison);
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
    assert_eq!(table.len(), 6, "{text}");
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    assert!(table.iter().all(|line| bars(line) == bars(table[0])), "{text}");
    assert!(text.contains("a\\|<b>&\"q\".gguf") && text.contains("c\u{fffd}[2J.gguf") && !text.contains('\u{1b}'));
    assert!(text.contains("d.gguf: a note with <tags>.") && text.contains("Text: wiki.txt, 20 chunks of 512 tokens."));
    let text = csv(&comparison);
    let lines: Vec<&str> = text.lines().collect();
    let commas = |line: &str| line.split('"').step_by(2).map(|part| part.matches(',').count()).sum::<usize>();
    assert!(lines.len() == 5 && lines.iter().all(|line| commas(line) == commas(lines[0])), "{text}");
    assert!(lines[0].starts_with("model,path,type,file_bytes,size_mib,") && lines[0].contains(",kl_nats,kl_nats_stderr,"));
    assert!(lines[2].contains(",0.03,0.0015,"), "{}", lines[2]);
    let json = serde_json::to_string(&comparison).unwrap();
    assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap(), comparison);
}

/// Every element is closed in its turn, as XML has it but for HTML's void elements.
fn check_markup(page: &str) {
    let mut open: Vec<&str> = vec![];
    for part in page.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("not closed: <{part}"));
        assert!(!text.contains('"') || open.last() == Some(&"style"), "a bare quote in {text}");
        let name = tag.split([' ', '/', '\n']).find(|n| !n.is_empty()).unwrap_or_default();
        match tag.as_bytes()[0] {
            b'!' => {}
            b'/' => assert_eq!(open.pop(), Some(name), "</{name}>"),
            _ if tag.ends_with('/') || name == "meta" => {}
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}

#[test]
fn the_page_stands_alone_and_can_be_read_without_seeing_it() {
    let page = page::html(&comparison());
    check_markup(&page);
    for word in ["http:", "https:", "src=", "url(", "<script", "@import", "<link", "<img"] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("width=device-width") && page.contains("prefers-color-scheme: dark") && page.contains("default-src 'none'"));
    // Names are no markup.
    assert!(!page.contains("<b>&") && page.contains("a|&lt;b&gt;&amp;&quot;q&quot;.gguf") && page.contains("a note with &lt;tags&gt;"));
    // Plots: perplexity, KL, two of MMLU, ARC; tasks; subjects; tensors. Each has a title and a description, and numbers after it.
    let plots: Vec<&str> = page.split("<svg viewBox=\"0 0 360").skip(1).collect();
    assert_eq!(plots.len(), 8);
    for plot in &plots {
        assert!(plot.contains("role=\"img\"") && plot.contains("<title id=") && plot.contains("<desc id="), "{plot}");
        let after = plot.split_once("</svg>").unwrap().1;
        let (numbers, next) = (after.find("<table>"), after.find("<svg viewBox=\"0 0 360").unwrap_or(usize::MAX));
        assert!(numbers.is_some_and(|at| at < next), "no table after {}", &plot[..200]);
    }
    let mut ids: Vec<&str> = page.split(" id=\"").skip(1).map(|part| part.split('"').next().unwrap()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "ids are unique");
    // Of KL the small and the good one are on the frontier, and the one that another beats at the same size is not.
    let kl = plots.iter().find(|plot| plot.contains(">KL against size</title>")).unwrap();
    let description = kl.split("<desc").nth(1).unwrap().split("</desc>").next().unwrap();
    assert!(
        description.contains("d.gguf")
            && description.contains("Q4_K_M") | description.contains("a|&lt;b")
            && !description.contains("c\u{fffd}"),
        "{description}"
    );
    assert_eq!(kl.matches(" off\"").count(), 1);
    // With one model and nothing measured there is still a page.
    let mut least = comparison();
    least.entries.truncate(1);
    least.entries[0] = Entry { perplexity: None, tasks: vec![], speed: None, ..least.entries[0].clone() };
    let page = page::html(&least);
    check_markup(&page);
    assert!(!page.contains("<svg viewBox=\"0 0 360"));
}

#[test]
fn a_tensor_s_error_is_that_of_its_definition() {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny");
    let source = Source::open(&tiny).unwrap();
    let mut heard = vec![];
    let same = tensors::errors(&source, &source, 2, &mut |i, n, name| {
        heard.push((i, n, name.to_string()));
        true
    });
    assert!(same.len() > 10 && same.iter().all(|t| t.relative == 0.0 && t.greatest == 0.0 && t.elements > 0));
    assert_eq!((heard.len(), heard[0].1), (same.len(), same.len()));
    assert!(same.iter().all(|t| !t.name.contains("norm")), "vectors are not quantized");
    assert_eq!(tensors::errors(&source, &source, 1, &mut |i, _, _| i < 2).len(), 2);
}
