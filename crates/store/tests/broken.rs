//! Pulling through what goes wrong seldom: addresses that run out, servers that change their mind, and all faults at once.

mod hub;

use std::time::Duration;

use hub::bench::{Bench, FILE};
use hub::{Faults, gguf};

#[test]
fn redirects_that_go_in_a_circle_are_given_up() {
    let bench = Bench::new();
    bench.hub.put(FILE, gguf(1, 10_000));
    let home = bench.hub.endpoint();
    bench.hub.faults(|faults| faults.redirect = Some(home));
    let fault = bench.pull("org/repo").fault();
    assert!(fault.contains("m-Q4_K_M.gguf: ") && fault.contains("redirects"), "{fault}");
    assert!(bench.hub.file_requests().len() < 50, "{}", bench.hub.file_requests().len());
    bench.is_clean();
}

/// As of a large file at a slow rate: the address is good for a while, and the hub gives another.
#[test]
fn an_address_that_runs_out_on_the_way_is_asked_for_again() {
    let bench = Bench::new();
    let bytes = gguf(2, 300_000);
    bench.hub.put(FILE, bytes.clone());
    let storage = hub::Hub::start();
    storage.put(FILE, bytes.clone());
    storage.faults(|faults| faults.signature = Some(7));
    bench.hub.faults(|faults| faults.redirect = Some(storage.endpoint()));
    assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes);
    assert_eq!(storage.served(), bytes.len() as u64 + 1, "nothing is fetched twice");
    let pieces = (bytes.len() as u64).div_ceil(10_000);
    assert!(bench.hub.file_requests().len() as u64 >= pieces / 7, "{}", bench.hub.file_requests().len());
    bench.is_clean();
}

#[test]
fn a_server_that_forgets_ranges_on_the_way_is_read_all_the_same() {
    let bench = Bench::new();
    let bytes = gguf(3, 200_000);
    bench.hub.put(FILE, bytes.clone());
    bench.hub.faults(|faults| faults.forgets_ranges = Some(60_000));
    assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes);
    bench.is_clean();
}

#[test]
fn another_part_than_the_one_asked_for_is_not_taken() {
    let bench = Bench::new();
    let bytes = gguf(4, 120_000);
    bench.hub.put(FILE, bytes.clone());
    bench.hub.faults(|faults| faults.elsewhere = 5);
    assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes);
    bench.is_clean();
}

/// 416 for bytes that there are, now and then.
#[test]
fn a_range_that_is_refused_once_is_asked_for_again() {
    let bench = Bench::new();
    let bytes = gguf(5, 80_000);
    bench.hub.put(FILE, bytes.clone());
    bench.hub.faults(|faults| faults.statuses = [(416, None), (416, None)].into());
    assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes);
    bench.is_clean();
}

/// Bytes that trickle and break off, and answers of all kinds: what comes is the file, or an error after which the next pull has it.
#[test]
fn all_faults_together_give_the_file_or_an_error() {
    let mut state = 7u64;
    let mut dice = |below: u64| {
        // A linear congruential generator is random enough for which fault comes when.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut whole = 0;
    for round in 0..24 {
        let bench = Bench::new();
        let bytes = gguf(100 + round, 60_000 + dice(60_000) as usize);
        bench.hub.put(FILE, bytes.clone());
        let statuses = [429, 500, 502, 503, 416, 408].map(|status| (status, (dice(2) == 0).then(|| "0".to_string())));
        let faults = Faults {
            cut: (dice(2) == 0).then(|| (1 + dice(9_000) as usize, dice(40) as usize)),
            length_lie: (dice(2) == 0).then(|| (dice(4_000) as i64 - 2_000, dice(6) as usize)),
            total_lie: (dice(4) == 0).then(|| (1 + dice(9), dice(3) as usize)),
            no_ranges: dice(6) == 0,
            forgets_ranges: (dice(4) == 0).then(|| dice(80_000)),
            elsewhere: dice(4) as usize,
            garbage_files: dice(3) as usize,
            statuses: statuses.into_iter().filter(|_| dice(2) == 0).collect(),
            throttle: (dice(4) == 0).then(|| (3_000, Duration::from_millis(1))),
            ..Faults::default()
        };
        bench.hub.faults(|current| *current = faults);
        match bench.pull("org/repo").result {
            Ok(entry) => {
                assert_eq!(std::fs::read(entry.model).unwrap(), bytes, "round {round}");
                whole += 1;
            }
            Err(error) => {
                eprintln!("round {round}: {error}");
                bench.hub.faults(|current| *current = Faults::default());
                assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes, "round {round}");
            }
        }
        bench.is_clean();
    }
    assert!(whole >= 12, "{whole} of 24 came at the first try");
}
