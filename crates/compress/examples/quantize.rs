//! The library without the program around it: `quantize IN TYPE` prints the plan, a tensor a line; `quantize IN TYPE OUT [THREADS]` carries it out.
//! bench/peers/plan_check.py and bench/peers/quantize_compare.py run it.

use nibble_compress::recipe::Recipe;
use nibble_compress::{Control, Options, plan, run};
use nibble_engine::source::Source;
use std::error::Error;
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [input, kind, rest @ ..] = &words[..] else { return Err("usage: quantize IN TYPE [OUT [THREADS]]".into()) };
    let source = Source::open(Path::new(input))?;
    for kind in kind.split(',') {
        let recipe = Recipe::by_name(kind).ok_or_else(|| format!("no recipe {kind}"))?;
        let plan = plan(&source, recipe, Options::default())?;
        match rest {
            [] => {
                plan.steps.iter().for_each(|s| println!("{}\t{}\t{}", recipe.name, s.name, s.to.name));
                println!("{}\ttotal\t{}", recipe.name, plan.bytes_out());
            }
            [out, threads @ ..] => {
                let threads = threads.first().map_or(Ok(2), |n| n.parse())?;
                let control = Control { threads, progress: &mut |_| {}, cancel: &AtomicBool::new(false) };
                println!("{:?}", run(&source, &plan, Path::new(out), control)?);
            }
        }
    }
    Ok(())
}
