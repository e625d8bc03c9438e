//! The choice of cores on the sysfs trees of real kinds of machines. Capacities and clocks are those that the device trees and data sheets of these
//! chips give, rounded; what the choice depends on is their order and rough ratio.

use super::*;
use tempfile::TempDir;

/// Processors of one kind: their numbers, capacity, greatest clock in kHz, and hardware threads of a core (siblings are neighbours).
struct Kind {
    cpus: std::ops::Range<usize>,
    capacity: Option<u64>,
    clock: Option<u64>,
    threads: usize,
}

fn kind(cpus: std::ops::Range<usize>, capacity: u64, clock: u64) -> Kind {
    Kind { cpus, capacity: Some(capacity), clock: Some(clock), threads: 1 }
}

fn tree(kinds: &[Kind]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for kind in kinds {
        for cpu in kind.cpus.clone() {
            let file = |name: &str, text: String| put(&root, &format!("system/cpu/cpu{cpu}/{name}"), &text);
            kind.capacity.iter().for_each(|c| file("cpu_capacity", format!("{c}\n")));
            kind.clock.iter().for_each(|c| file("cpufreq/cpuinfo_max_freq", format!("{c}\n")));
            let first = kind.cpus.start + (cpu - kind.cpus.start) / kind.threads * kind.threads;
            let last = first + kind.threads - 1;
            file("topology/thread_siblings_list", if first == last { format!("{cpu}\n") } else { format!("{first}-{last}\n") });
        }
    }
    root
}

fn put(root: &TempDir, name: &str, text: &str) {
    let path = root.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn cores(root: &TempDir, allowed: impl IntoIterator<Item = usize>) -> Cores {
    Cores::read(root.path(), &allowed.into_iter().collect::<Vec<_>>())
}

#[test]
fn a_snapdragon_750g_uses_its_two_big_cores() {
    // Six A55 at 1.8 GHz, two A77 at 2.2 GHz.
    let c = cores(&tree(&[kind(0..6, 452, 1_804_800), kind(6..8, 1024, 2_208_000)]), 0..8);
    assert_eq!((c.fast.as_slice(), c.mixed), ([6, 7].as_slice(), true));
    assert_eq!(c.for_threads(2), [6, 7]);
    // One thread may move to the other big core; eight have to run somewhere.
    assert_eq!(c.for_threads(1), [6, 7]);
    assert!(c.for_threads(8).is_empty());
}

#[test]
fn a_snapdragon_8_gen_2_uses_prime_and_gold() {
    // Three A510, two A715 and two A710, one X3.
    let kinds = [kind(0..3, 325, 2_016_000), kind(3..5, 811, 2_803_200), kind(5..7, 780, 2_803_200), kind(7..8, 1024, 3_187_200)];
    let c = cores(&tree(&kinds), 0..8);
    assert_eq!((c.fast.as_slice(), c.mixed), ([7, 3, 4, 5, 6].as_slice(), true));
    assert_eq!(c.for_threads(5), [7, 3, 4, 5, 6]);
}

#[test]
fn a_tensor_uses_its_middle_cores_too_and_one_thread_gets_a_big_one() {
    // Four A55, two A76, two X1.
    let c = cores(&tree(&[kind(0..4, 160, 1_803_000), kind(4..6, 498, 2_253_000), kind(6..8, 1024, 2_802_000)]), 0..8);
    assert_eq!((c.fast.as_slice(), c.mixed), ([6, 7, 4, 5].as_slice(), true));
    assert_eq!((c.for_threads(1), c.for_threads(2), c.for_threads(3)), ([6, 7].as_slice(), [6, 7].as_slice(), [6, 7, 4, 5].as_slice()));
    // An app in the background may use the little ones only.
    let c = cores(&tree(&[kind(0..4, 160, 1_803_000), kind(4..6, 498, 2_253_000), kind(6..8, 1024, 2_802_000)]), 0..4);
    assert_eq!((c.fast.as_slice(), c.mixed), ([0, 1, 2, 3].as_slice(), false));
}

#[test]
fn phones_without_capacities_are_told_by_their_clocks() {
    let without = |cpus, clock| Kind { capacity: None, ..kind(cpus, 0, clock) };
    let c = cores(&tree(&[without(0..4, 1_400_000), without(4..8, 2_600_000)]), 0..8);
    assert_eq!((c.fast.as_slice(), c.mixed), ([4, 5, 6, 7].as_slice(), true));
}

#[test]
fn a_hybrid_laptop_uses_each_p_core_once() {
    // Two P-cores of two threads at 4.4 GHz, eight E-cores at 3.3 GHz: 75 % by the clock.
    let p = Kind { cpus: 0..4, capacity: None, clock: Some(4_400_000), threads: 2 };
    let e = Kind { cpus: 4..12, capacity: None, clock: Some(3_300_000), threads: 1 };
    let root = tree(&[p, e]);
    put(&root, "cpu_core/cpus", "0-3\n");
    put(&root, "cpu_atom/cpus", "4-11\n");
    let c = cores(&root, 0..12);
    assert_eq!((c.fast.as_slice(), c.mixed), ([0, 2].as_slice(), true));
    // Kept to E-cores by its mask, the process uses those.
    let c = cores(&root, 4..12);
    assert_eq!((c.fast.len(), c.mixed), (8, false));
}

#[test]
fn a_server_uses_each_core_once_and_is_not_pinned() {
    // Siblings far apart in number, clocks that differ by a little.
    let root = tempfile::tempdir().unwrap();
    for cpu in 0..16 {
        put(&root, &format!("system/cpu/cpu{cpu}/topology/thread_siblings_list"), &format!("{},{}\n", cpu % 8, cpu % 8 + 8));
        put(&root, &format!("system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"), if cpu % 8 == 3 { "5200000" } else { "5000000" });
    }
    let c = cores(&root, 0..16);
    assert_eq!((c.fast.as_slice(), c.mixed), ([3, 0, 1, 2, 4, 5, 6, 7].as_slice(), false));
    assert!(c.for_threads(1).is_empty() && c.for_threads(8).is_empty());
    // A container whose mask has both threads of one core, one of another, and a processor of which nothing is known.
    let c = cores(&root, [1, 9, 12, 40]);
    assert_eq!((c.fast.len(), c.mixed), (3, false));
    assert!([1, 12, 40].iter().all(|cpu| c.fast.contains(cpu)), "{:?}", c.fast);
}

#[test]
fn files_that_are_missing_or_wrong_do_no_harm() {
    // No files at all.
    let root = tempfile::tempdir().unwrap();
    let c = cores(&root, 0..4);
    assert_eq!((c.fast.as_slice(), c.mixed), ([0, 1, 2, 3].as_slice(), false));
    assert_eq!(cores(&root, []).fast, [0]);
    // A capacity that only some have, and one that is no number: the clocks decide.
    let root = tree(&[kind(0..2, 300, 1_000_000), kind(2..4, 1024, 2_000_000)]);
    fs::remove_file(root.path().join("system/cpu/cpu0/cpu_capacity")).unwrap();
    put(&root, "system/cpu/cpu3/cpu_capacity", "much\n");
    assert_eq!(cores(&root, 0..4).fast, [2, 3]);
    // No siblings known, a core switched off, a list of P-cores that is none.
    fs::remove_dir_all(root.path().join("system/cpu/cpu2/topology")).unwrap();
    put(&root, "system/cpu/cpu3/online", "0\n");
    put(&root, "cpu_core/cpus", "\n");
    assert_eq!(cores(&root, 0..4).fast, [2]);
}

#[test]
fn this_machine_has_a_core() {
    let c = Cores::detect();
    assert!(!c.fast.is_empty() && c.fast.iter().all(|cpu| allowed().contains(cpu)), "{c:?}");
}

#[test]
fn lists_are_read_as_linux_writes_them() {
    assert_eq!(parse_list("4-7,0"), Some(vec![4, 5, 6, 7, 0]));
    assert_eq!(parse_list("3"), Some(vec![3]));
    assert_eq!(parse_list("1-2,2-3, 1"), Some(vec![1, 2, 3]));
    for wrong in ["", ",", "a", "1-", "-1", "3-1", "1,,2", "0-99999999999", "1 2"] {
        assert_eq!(parse_list(wrong), None, "{wrong:?}");
    }
}
