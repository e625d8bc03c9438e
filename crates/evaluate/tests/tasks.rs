//! Tasks from end to end on the embedded model: against lm-evaluation-harness's golden answers, against themselves in pieces, and on files that are
//! wrong.

use std::path::{Path, PathBuf};

use nibble_engine::text::{Tokenizer, Vocab};
use nibble_engine::{KvType, Model, Options};
use nibble_evaluate::tasks::log::{Head, Log};
use nibble_evaluate::tasks::question::Question;
use nibble_evaluate::tasks::score::Scorer;
use nibble_evaluate::tasks::{self, Answer, Data, Error, MergeFault, Plan, Report, Shard, TASKS, Wanted, gsm8k, run};
use serde_json::Value;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn questions(below: &str) -> PathBuf {
    here().join("tests/golden/questions").join(below)
}

/// The embedded model, with nothing rounded but its weights.
fn model(context: usize) -> Model {
    let options = Options { kv: KvType::F32, context: Some(context), ..Options::default() };
    Model::open(&here().join("../../models/tiny"), options).unwrap()
}

fn plan(below: &str, wanted: &Wanted) -> Plan {
    Plan::new(&Data::open(&questions(below)).unwrap(), wanted).unwrap()
}

fn whole(model: &Model, plan: &Plan) -> Report {
    run(model, plan, Shard::WHOLE, vec![], &mut |_, _| Ok(())).unwrap()
}

/// In the folder of the golden questions the hub's layout and the instructions lie side by side: each is opened by itself.
fn folder(task: &str) -> &'static str {
    match task {
        "mmlu" => "mmlu",
        "gsm8k" => "gsm8k",
        _ => "hub",
    }
}

#[test]
fn answers_are_lm_evaluation_harness_s() {
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(here().join("tests/golden/tasks.json")).unwrap()).unwrap();
    let model = model(1024);
    let (mut questions, mut worst) = (0, 0f64);
    for task in TASKS {
        let plan = plan(folder(task.name), &Wanted::tasks(&[task.name]));
        let report = whole(&model, &plan);
        for (_, part, _) in &plan.parts {
            let expected = golden[&part.name]["answers"].as_array().unwrap_or_else(|| panic!("no golden answers to {}", part.name));
            let given: Vec<&Answer> = report.answers.iter().filter(|a| a.part == part.name).collect();
            assert_eq!((given.len(), part.questions.len()), (expected.len(), expected.len()), "{}", part.name);
            for (answer, expected) in given.into_iter().zip(expected) {
                questions += 1;
                let name = format!("{} {}", part.name, answer.index);
                let (context, chosen) = match &part.questions[answer.index].1 {
                    Question::Choose(choose) => (choose.contexts[0].clone(), true),
                    Question::Write { prompt, .. } => (prompt.clone(), false),
                };
                assert_eq!(part.before(answer.index) + &context, expected["context"].as_str().unwrap(), "{name}");
                if chosen {
                    let theirs: Vec<f64> = expected["likelihoods"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
                    assert_eq!(answer.likelihoods.len(), theirs.len(), "{name}");
                    for (ours, theirs) in answer.likelihoods.iter().zip(&theirs) {
                        worst = worst.max((ours - theirs).abs());
                    }
                    let best = (0..theirs.len()).max_by(|&i, &j| theirs[i].total_cmp(&theirs[j])).unwrap();
                    assert_eq!(answer.chosen, Some(best), "{name}");
                    let greedy: Vec<bool> = expected["greedy"].as_array().unwrap().iter().map(|x| x.as_bool().unwrap()).collect();
                    assert_eq!(answer.greedy, greedy, "{name}");
                } else {
                    assert_eq!(answer.text.as_deref(), expected["text"].as_str(), "{name}");
                }
                for (metric, ours) in task.metrics.iter().zip(&answer.scores) {
                    // The harness's tasks do not ask for acc_bytes.
                    let Some(theirs) = expected["metrics"][metric.name].as_f64() else { continue };
                    assert!((ours - theirs).abs() < 1e-3, "{name} {}: {ours}, expected {theirs}", metric.name);
                }
            }
        }
        for figure in &report.figures {
            let Some([value, stderr]) = golden[&figure.name]["figures"][&figure.metric].as_array().map(|pair| [&pair[0], &pair[1]]) else {
                assert!(
                    figure.metric == "acc_bytes" || figure.name.starts_with("mmlu_"),
                    "{}: {} has no golden figure",
                    figure.name,
                    figure.metric
                );
                continue;
            };
            let close = |ours: f64, theirs: &Value| {
                (ours - theirs.as_f64().unwrap()).abs() < if task.name == "truthfulqa_mc2" { 1e-3 } else { 1e-12 }
            };
            assert!(close(figure.value, value), "{figure:?}: expected {value}");
            assert!(
                figure.stderr.is_none_or(|se| close(se, stderr)) && figure.stderr.is_some() == stderr.is_number(),
                "{figure:?}: expected {stderr}"
            );
        }
    }
    assert!(questions >= 37, "only {questions} questions");
    assert!(worst <= 1e-3, "log-likelihoods differ by up to {worst:.1e}");
    println!("{questions} questions, log-likelihoods within {worst:.1e}");
}

#[test]
fn every_layout_asks_the_same() {
    for (name, other) in [
        ("arc_easy", "authors"),
        ("arc_easy", "instructions"),
        ("openbookqa", "instructions"),
        ("piqa", "instructions"),
        ("winogrande", "instructions"),
        ("social_iqa", "instructions"),
    ] {
        let asked = |below: &str| {
            let plan = plan(below, &Wanted::tasks(&[name]));
            plan.parts[0].1.questions.iter().map(|(_, question)| question.clone()).collect::<Vec<_>>()
        };
        assert_eq!(asked("hub"), asked(other), "{name} in {other}");
    }
    // A file by its own name, and authors' truths by their letters.
    let data = Data::open(&questions("authors/boolq_dev.jsonl")).unwrap();
    let boolq = Plan::new(&data, &Wanted::tasks(&["boolq"])).unwrap();
    assert_eq!(boolq.parts[0].1.sum, plan("hub", &Wanted::tasks(&["boolq"])).parts[0].1.sum);
    let truths = plan("authors", &Wanted::tasks(&["truthfulqa_mc1", "truthfulqa_mc2"]));
    assert_eq!(truths.total(), 4);
    let closed = plan("instructions", &Wanted::tasks(&["boolq"]));
    let Question::Choose(choose) = &closed.parts[0].1.questions[0].1 else { panic!() };
    assert_eq!(choose.request(1), ("Question: can a dog swim?\nAnswer:", " yes"));
}

#[test]
fn what_repeats_is_computed_once_and_changes_no_bit() {
    let model = model(1024);
    let tokenizer = || Tokenizer::new(Vocab::of(model.source()).unwrap());
    let (mut asked, mut computed) = (0, 0);
    for (below, name) in [("mmlu", "mmlu"), ("hub", "hellaswag"), ("hub", "winogrande"), ("hub", "truthfulqa_mc2")] {
        let plan = plan(below, &Wanted::tasks(&[name]));
        let mut keeping = Scorer::new(model.session().unwrap(), tokenizer());
        let mut forgetful = Scorer::forgetful(model.session().unwrap(), tokenizer());
        for (p, q) in plan.of(Shard::WHOLE) {
            let (task, part, _) = &plan.parts[p];
            let (kept, fresh) = (run::answer(&mut keeping, task, part, q).unwrap(), run::answer(&mut forgetful, task, part, q).unwrap());
            assert_eq!(kept, fresh);
            let bits = |a: &Answer| a.likelihoods.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&kept), bits(&fresh), "{} {q}", part.name);
        }
        assert_eq!(keeping.work.asked, forgetful.work.asked);
        assert_eq!(forgetful.work.computed, forgetful.work.asked);
        if name == "mmlu" {
            // Three heads of about 200 tokens each once, and not forty times.
            assert!(keeping.work.computed * 8 < keeping.work.asked, "{:?}", keeping.work);
        }
        asked += keeping.work.asked;
        computed += keeping.work.computed;
    }
    assert!(computed * 3 < asked, "{computed} of {asked}");
}

#[test]
fn a_prompt_that_is_too_long_is_cut_as_the_harness_cuts_it_and_that_is_said() {
    let long = model(1024);
    let short = model(96);
    let plan = plan("mmlu", &Wanted { limit: Some(1), ..Wanted::tasks(&["mmlu"]) });
    let (whole, cut) = (whole(&long, &plan), whole(&short, &plan));
    assert_eq!((whole.cut(), cut.cut()), (0, 3));
    // The last 96 tokens by themselves give the same likelihoods.
    let (_, part, _) = &plan.parts[0];
    let Question::Choose(choose) = &part.questions[0].1 else { panic!() };
    let context = part.before(0) + &choose.contexts[0];
    let scorer = Scorer::new(long.session().unwrap(), Tokenizer::new(Vocab::of(long.source()).unwrap()));
    let (ids, letter) = scorer.pair(&context, " A").unwrap();
    assert_eq!((letter.len(), ids.len() - 96), (1, cut.answers[0].cut));
    let mut session = long.session().unwrap();
    let logits: Vec<f64> = session.feed(&ids[ids.len() - 96..]).unwrap().iter().map(|&x| f64::from(x)).collect();
    let log = logits[letter[0] as usize] - logits.iter().map(|x| x.exp()).sum::<f64>().ln();
    assert!((log - cut.answers[0].likelihoods[0]).abs() < 1e-6, "{log}, {:?}", cut.answers[0].likelihoods);
    let tiny = model(16);
    let sums = self::plan("gsm8k", &Wanted::tasks(&["gsm8k"]));
    let error = run(&tiny, &sums, Shard::WHOLE, vec![], &mut |_, _| Ok(())).unwrap_err();
    assert!(matches!(error, Error::TooLong { index: 0, .. }), "{error}");
}

#[test]
fn shards_put_together_are_one_run() {
    let model = model(1024);
    let wanted = Wanted { limit: Some(3), ..Wanted::tasks(&["mmlu"]) };
    let plan = plan("mmlu", &wanted);
    let one = whole(&model, &plan);
    // Through JSON, as from other machines.
    let through = |report: &Report| Report::parse(&serde_json::to_string(report).unwrap()).unwrap();
    assert_eq!(through(&one), one);
    let shard = |index, count| through(&run(&model, &plan, Shard { index, count }, vec![], &mut |_, _| Ok(())).unwrap());
    for count in [1, 3, 11] {
        let mut shards: Vec<Report> = (0..count).map(|index| shard(index, count)).collect();
        shards.reverse();
        let merged = tasks::merge(shards).unwrap();
        assert_eq!((&merged.answers, &merged.figures, merged.shard.as_str()), (&one.answers, &one.figures, "0/1"), "{count} shards");
    }
    assert_eq!(tasks::merge(vec![]), Err(MergeFault::Nothing));
    assert_eq!(
        tasks::merge(vec![shard(1, 3), shard(2, 3)]).unwrap_err().to_string(),
        "2 of 8 questions have no answer, in mmlu_astronomy first: is a shard missing?"
    );
    assert!(matches!(tasks::merge(vec![shard(0, 3), shard(0, 3), shard(2, 3)]), Err(MergeFault::Twice { .. })));
    let mut other = shard(1, 2);
    other.wanted.seed += 1;
    assert!(matches!(tasks::merge(vec![shard(0, 2), other]), Err(MergeFault::Unlike { what: "list of wishes", .. })));
    assert!(Report::parse("{\"schema\": 1, \"kind\": \"perplexity\"}").unwrap_err().contains("its schema is perplexity 1"));
}

#[test]
fn an_interrupted_run_goes_on_from_its_log() {
    let model = model(512);
    let plan = plan("hub", &Wanted::tasks(&["arc_easy", "truthfulqa_mc2"]));
    let one = whole(&model, &plan);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    let head = Head::new(&run::facts(&model), &plan, model.context(), "f32", Shard::WHOLE);
    let mut log = Log::create(&path, &head).unwrap();
    assert!(Log::create(&path, &head).is_err(), "a log is never overwritten");
    // It stops after three answers.
    let mut given = 0;
    let stopped = run(&model, &plan, Shard::WHOLE, vec![], &mut |step, answer| {
        if let Some(answer) = answer {
            given += 1;
            assert_eq!((step.done, step.total), (given, 7));
            log.add(answer)?;
        } else if given == 3 {
            return Err(Error::Log { path: path.clone(), what: "stop".into() });
        }
        Ok(())
    });
    assert!(stopped.is_err());
    drop(log);
    // And in the middle of a line.
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"part\": \"arc_ea");
    std::fs::write(&path, &text).unwrap();
    let (mut log, known) = Log::resume(&path, &head).unwrap();
    assert_eq!(known, one.answers[..3]);
    let mut more = 0;
    let report = run(&model, &plan, Shard::WHOLE, known, &mut |_, answer| {
        more += usize::from(answer.is_some());
        answer.map_or(Ok(()), |answer| log.add(answer))
    })
    .unwrap();
    assert_eq!((more, &report.answers, &report.figures), (4, &one.answers, &one.figures));
    drop(log);
    let (_, known) = Log::resume(&path, &head).unwrap();
    assert_eq!(known, one.answers);
    // Another run's log is refused, and so is what is none.
    let other = Head { shard: "1/2".into(), model: "0".into(), ..head.clone() };
    let Err(error) = Log::resume(&path, &other) else { panic!() };
    assert!(error.to_string().ends_with("the log is of another run: another model, another shard"), "{error}");
    std::fs::write(&path, "").unwrap();
    assert!(Log::resume(&path, &head).is_err());
    std::fs::write(&path, "hello\n").unwrap();
    assert!(Log::resume(&path, &head).is_err_and(|error| error.to_string().contains("not a log")));
}

#[test]
fn examples_can_be_chosen() {
    let part = |wanted: Wanted| plan(folder(&wanted.tasks[0]), &wanted).parts.remove(0).1;
    let sums = |examples, shots| part(Wanted { examples, shots, ..Wanted::tasks(&["gsm8k"]) });
    assert_eq!(sums(gsm8k::Shots::Drawn, Some(0)).before(0), "");
    let first = sums(gsm8k::Shots::First, Some(2));
    assert!(first.before(0).starts_with("Question: Sue has 2 cats") && first.before(0) == first.before(2));
    let drawn = sums(gsm8k::Shots::Drawn, None);
    assert!(drawn.before(0) != drawn.before(1) && drawn.before(0).matches("Question:").count() == 5);
    let bare = part(Wanted { shots: Some(0), ..Wanted::tasks(&["mmlu"]) });
    assert_eq!(bare.before(0), "The following are multiple choice questions (with answers) about astronomy.\n\n");
    // A drawn part of the questions is the same for a seed, and another for another.
    let drawn = |seed| plan("hub", &Wanted { limit: Some(2), draw: true, seed, ..Wanted::tasks(&["arc_easy"]) }).of(Shard::WHOLE);
    assert_eq!(drawn(1), drawn(1));
    assert!((2..9).any(|seed| drawn(seed) != drawn(1)));
}

#[test]
fn a_wrong_file_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let fault = |name: &str, text: &str, task: &str| {
        std::fs::write(at(name), text).unwrap();
        let error = Data::open(&at(name)).and_then(|data| Plan::new(&data, &Wanted::tasks(&[task])).map(|_| ()));
        let error = error.unwrap_err().to_string();
        std::fs::remove_file(at(name)).unwrap();
        error
    };
    for (name, text, task, place, words) in [
        ("arc.jsonl", "", "arc_easy", "arc.jsonl:0: ", "no question"),
        ("arc.jsonl", "[]", "arc_easy", "arc.jsonl:0: ", "no question"),
        ("arc.jsonl", "{\"a\": 1}\n", "arc_easy", "arc.jsonl:1: ", "no field \"question\"; there are: a"),
        ("arc.jsonl", "\n\n{\"question\": \n", "arc_easy", "arc.jsonl:3: ", "not valid JSON"),
        (
            "piqa.json",
            "[\n{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 0},\n{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 7}]",
            "piqa",
            "piqa.json:3: ",
            "7, expected 0 to 1",
        ),
        ("boolq.json", "[{\"instruction\": \"Sing!\", \"answer\": \"true\"}]", "boolq", "boolq.json:1: ", "does not begin"),
        ("gsm8k.jsonl", "{\"question\": \"q\", \"answer\": \"5\"}\n", "gsm8k", "gsm8k.jsonl:1: ", "no \"#### \""),
        ("all.jsonl", "{\"subject\": \"cooking\"}\n", "mmlu", "all.jsonl:1: ", "no subject of MMLU"),
        ("anatomy_test.csv", "q,1,2,3,4,A\nq,1,2,3,4,E\n", "mmlu", "anatomy_dev.csv", "no file of the task mmlu"),
        ("anatomy_test.csv", "q,1,2,3,4,A\n", "chess", "", "no task \"chess\"; there are: mmlu, "),
    ] {
        let error = fault(name, text, task);
        assert!(error.contains(place) && error.contains(words), "{error}");
    }
    std::fs::write(at("anatomy_dev.csv"), "q,1,2,3,4,A\nq,1,2\n").unwrap();
    assert!(fault("anatomy_test.csv", "q,1,2,3,4,A\n", "mmlu").contains("anatomy_dev.csv:2: 3 columns, expected 6"));
    std::fs::write(at("anatomy_dev.csv"), "q,1,2,3,4,A\nq,1,2,3,4,B\n").unwrap();
    assert!(fault("anatomy_test.csv", "q,1,2,3,4,A\n", "mmlu").contains("2 examples of anatomy, expected 5"));
    std::fs::write(at("anatomy_dev.csv"), "q,1,2,3,4,A\n".repeat(5)).unwrap();
    assert!(
        fault("anatomy_test.csv", "q,1,2,3,4,A\nq,1,2,3,4,E\n", "mmlu").contains("anatomy_test.csv:2: the answer in \"answer\" is \"E\"")
    );
    std::fs::write(at("x.jsonl"), b"{}\n\xff\n").unwrap();
    let error = Plan::new(&Data::open(&at("x.jsonl")).unwrap(), &Wanted::tasks(&["piqa"])).err().unwrap();
    assert!(error.to_string().ends_with("x.jsonl:2: this line is not UTF-8"), "{error}");
    // Nothing there, and two that could be meant.
    assert!(Data::open(&at("none")).is_err());
    let missing = Plan::new(&Data::open(dir.path()).unwrap(), &Wanted::tasks(&["hellaswag"])).err().unwrap().to_string();
    assert!(missing.contains("hellaswag_val.jsonl"), "{missing}");
    for below in ["a", "b"] {
        std::fs::create_dir(at(below)).unwrap();
        std::fs::write(at(below).join("piqa.jsonl"), "{}").unwrap();
    }
    let twice = Plan::new(&Data::open(dir.path()).unwrap(), &Wanted::tasks(&["piqa"])).err().unwrap().to_string();
    assert!(twice.contains("could both be meant"), "{twice}");
}

/// splitmix64 (Steele, Lea and Flood 2014).
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 33) as usize
}

#[test]
fn a_damaged_file_gives_questions_or_a_fault_and_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = 7;
    let (mut read, mut refused) = (0, 0);
    let marks = b"\"',[]{}:\n\\_#0A \xff";
    for (below, task) in [
        ("hub/hellaswag.jsonl", "hellaswag"),
        ("hub/winogrande.jsonl", "winogrande"),
        ("hub/truthfulqa.jsonl", "truthfulqa_mc2"),
        ("authors/ARC-Easy-Test.jsonl", "arc_easy"),
        ("authors/mc_task.json", "truthfulqa_mc1"),
        ("instructions/social_i_qa.test.json", "social_iqa"),
        ("instructions/boolq.test.json", "boolq"),
        ("mmlu/astronomy_test.csv", "mmlu"),
        ("gsm8k/test.jsonl", "gsm8k"),
    ] {
        let whole = std::fs::read(questions(below)).unwrap();
        let path = dir.path().join(Path::new(below).file_name().unwrap());
        for _ in 0..200 {
            let mut bytes = whole.clone();
            match random(&mut state) % 3 {
                0 => bytes.truncate(random(&mut state) % whole.len()),
                1 => {
                    let at = random(&mut state) % whole.len();
                    bytes[at] = marks[random(&mut state) % marks.len()];
                }
                _ => {
                    let (at, len) = (random(&mut state) % whole.len(), random(&mut state) % 40);
                    bytes.drain(at..(at + len).min(whole.len()));
                }
            }
            std::fs::write(&path, bytes).unwrap();
            let wanted = Wanted { shots: Some(0), ..Wanted::tasks(&[task]) };
            match Data::open(&path).and_then(|data| Plan::new(&data, &wanted)) {
                Ok(plan) => read += usize::from(plan.total() > 0),
                Err(Error::Data(fault)) => {
                    refused += 1;
                    assert!(fault.path.ends_with(path.file_name().unwrap()) && !fault.what.is_empty(), "{fault}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    // Both happen, or the test tests nothing.
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
    for _ in 0..5000 {
        let letters = ["-", "#### ", "7", ",", ".", "$", "\u{e9}", " ", "\n", "12"];
        let text: String = (0..random(&mut state) % 12).map(|_| letters[random(&mut state) % letters.len()]).collect();
        let (strict, flexible) = (gsm8k::strict(&text), gsm8k::flexible(&text));
        assert!([strict, flexible].iter().all(|found| *found == "[invalid]" || text.contains(found)), "{text}");
        assert!(gsm8k::matches(strict, strict) && gsm8k::matches(flexible, flexible));
    }
}

#[test]
fn real_files_are_read_whole() {
    let shared = std::env::var_os("NIBBLE_SHARED").map_or_else(|| here().join("../../../shared"), PathBuf::from);
    let bench = shared.join("data/bench");
    if !bench.is_dir() {
        println!("skipped: no {} (set NIBBLE_SHARED)", bench.display());
        return;
    }
    let data = Data::open(&bench).unwrap();
    let total =
        |name: &str, shots| Plan::new(&data, &Wanted { shots, ..Wanted::tasks(&[name]) }).map(|plan| (plan.parts.len(), plan.total()));
    let known = [
        ("mmlu", (57, 14_042)),
        ("arc_challenge", (1, 1172)),
        ("arc_easy", (1, 2376)),
        ("piqa", (1, 1838)),
        ("winogrande", (1, 1267)),
        ("openbookqa", (1, 500)),
        ("boolq", (1, 3270)),
        ("social_iqa", (1, 1954)),
    ];
    for (name, expected) in known {
        assert_eq!(total(name, None).unwrap(), expected, "{name}");
    }
    assert_eq!(total("gsm8k", Some(0)).unwrap(), (1, 1319));
    // Its training file is not there.
    assert!(total("gsm8k", None).unwrap_err().to_string().contains("gsm8k/train.jsonl"));
}
