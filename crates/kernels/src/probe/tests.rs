//! The probes do the work that they say.

use super::*;

fn all() -> Vec<Probe> {
    Isa::ALL.iter().filter_map(|&isa| Probe::with(isa)).flat_map(|p| [Core::Other, Core::Zen].map(|core| p.tuned_for(core))).collect()
}

#[test]
fn every_instruction_set_reads_every_byte_once() {
    let bytes: Vec<u8> = (0..3 * STREAMS * STEP + 77).map(|i| (i * 37 + i / 251) as u8).collect();
    for probe in all() {
        // Nothing; less than a word; less than a step; whole steps; a rest of each kind, at odd addresses.
        for (from, to) in [(0, 0), (1, 6), (3, 1000), (0, STREAMS * STEP), (1, 1 + 2 * STREAMS * STEP), (5, bytes.len())] {
            assert_eq!(probe.read(&bytes[from..to]), portable::words(&bytes[from..to]), "{probe:?} {from}..{to}");
        }
    }
}

#[test]
fn every_instruction_set_multiplies_as_often_in_each_round() {
    for probe in all() {
        let one = probe.multiply_add(1);
        // Sixteen lanes at least in each of the sums, and more rounds are more work: nothing was folded away.
        assert!(one >= 16 * SUMS as u64 && one.is_multiple_of(16 * SUMS as u64), "{probe:?}: {one}");
        assert_eq!(probe.multiply_add(0), 0, "{probe:?}");
        assert_eq!(probe.multiply_add(1000), 1000 * one, "{probe:?}");
    }
}

#[test]
fn the_best_probe_is_the_first_that_runs() {
    assert_eq!(Probe::best().isa(), all()[0].isa());
    assert!(all().iter().any(|p| p.isa() == Isa::Scalar));
}
