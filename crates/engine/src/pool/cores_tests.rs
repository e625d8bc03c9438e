//! The choice of cores on the sysfs trees of real kinds of machines. Those of [`RECORDED`] were recorded on the phones themselves. The others' capacities and clocks are those that the
//! device trees and data sheets of these chips give, rounded; what the choice depends on is their order and rough ratio.

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
    Cores::read(root.path(), "", &allowed.into_iter().collect::<Vec<_>>())
}

/// What was recorded on a phone: its processors, greatest clock in kHz, implementer and part; those that were on; and which ones to use.
struct Recorded {
    phone: &'static str,
    kinds: &'static [(std::ops::Range<usize>, u64, u32, u32)],
    online: &'static [usize],
    fast: &'static [usize],
}

/// The values in the recordings of real phones that pytorch/cpuinfo has among its tests (test/mock, at 42bff7a, 2f29c76, b589f1f and e793696). None has a `cpu_capacity`.
static RECORDED: &[Recorded] = &[
    Recorded {
        phone: "Galaxy S9, Snapdragon 845",
        kinds: &[(0..4, 1_766_400, 0x51, 0x803), (4..8, 2_803_200, 0x51, 0x802)],
        online: &[0, 1, 2, 3, 4, 5, 6, 7],
        fast: &[4, 5, 6, 7],
    },
    Recorded {
        phone: "Galaxy S9, Exynos 9810",
        kinds: &[(0..4, 1_794_000, 0x41, 0xd05), (4..8, 2_704_000, 0x53, 0x002)],
        online: &[0, 1, 2, 3, 4, 5, 6, 7],
        fast: &[4, 5, 6, 7],
    },
    Recorded {
        phone: "Mate 9, Kirin 960",
        kinds: &[(0..4, 1_844_000, 0x41, 0xd03), (4..8, 2_362_000, 0x41, 0xd09)],
        online: &[0, 1, 2, 3, 4, 5, 6, 7],
        fast: &[4, 5, 6, 7],
    },
    Recorded {
        phone: "Mate 20, Kirin 980",
        kinds: &[(0..4, 1_805_000, 0x41, 0xd05), (4..6, 1_901_000, 0x48, 0xd40), (6..8, 2_600_000, 0x48, 0xd40)],
        online: &[0, 1, 2, 3, 4, 5, 6, 7],
        fast: &[6, 7, 4, 5],
    },
    // The second big core and three of the middle ones were off.
    Recorded {
        phone: "Meizu Pro 7 Plus, Helio X30",
        kinds: &[(0..4, 1_898_000, 0x41, 0xd04), (4..8, 2_197_000, 0x41, 0xd03), (8..10, 2_600_000, 0x41, 0xd09)],
        online: &[0, 1, 2, 3, 4, 8],
        fast: &[8],
    },
];

#[test]
fn recorded_phones_use_their_big_cores() {
    for r in RECORDED {
        let root =
            tree(&r.kinds.iter().map(|(cpus, clock, ..)| Kind { capacity: None, ..kind(cpus.clone(), 0, *clock) }).collect::<Vec<_>>());
        let kind_of = |cpu: usize| r.kinds.iter().find(|(cpus, ..)| cpus.contains(&cpu)).expect("a processor of the phone");
        let block = |&cpu: &usize| {
            let (_, _, implementer, part) = kind_of(cpu);
            format!(
                "processor\t: {cpu}\nBogoMIPS\t: 38.40\nFeatures\t: fp asimd evtstrm\nCPU implementer\t: {implementer:#x}\nCPU architecture: 8\nCPU part\t: {part:#05x}\n\n"
            )
        };
        let c = Cores::read(root.path(), &r.online.iter().map(block).collect::<String>(), r.online);
        assert_eq!((c.fast.as_slice(), c.mixed), (r.fast, true), "{}", r.phone);
    }
}

/// A Galaxy J7 with Android 6: eight A53 of which the old kernel lists bare processors and tells of one core; three were off, and their files gone.
#[test]
fn an_old_phone_that_tells_of_one_core_uses_all() {
    let root = tree(&[0..3, 4..6].map(|cpus| Kind { capacity: None, ..kind(cpus, 0, 1_500_000) }));
    let mut cpuinfo: String = (0..8).map(|cpu| format!("processor\t: {cpu}\n")).collect();
    cpuinfo += "\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd03\n";
    for allowed in [vec![0, 1, 2, 4, 5], (0..8).collect()] {
        let c = Cores::read(root.path(), &cpuinfo, &allowed);
        assert_eq!((&c.fast, c.mixed), (&allowed, false));
    }
    // Were it the last one's own, it would still not be known of the others.
    let root = tree(&[Kind { capacity: None, ..kind(0..8, 0, 1_500_000) }]);
    let c = Cores::read(root.path(), &cpuinfo, &[0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((c.fast.len(), c.mixed), (8, false));
}

#[test]
fn what_proc_cpuinfo_says_wrong_is_as_good_as_nothing() {
    assert_eq!(
        kinds("processor : 1\nCPU implementer : 0x41\nCPU part : 0xd05\nprocessor : x\nCPU part : 0xd05\n"),
        BTreeMap::from([(1, (0x41, 0xd05))])
    );
    for text in [
        "",
        "processor",
        "processor : 0\nCPU part : 0xd05\n",
        "processor : 0\nCPU implementer : 41\nCPU part : 0xd05\n",
        "vendor_id : GenuineIntel\nprocessor : 0\n",
    ] {
        assert_eq!(kinds(text), BTreeMap::new(), "{text:?}");
    }
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
