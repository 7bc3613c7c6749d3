//! Proof that the tests can fail: each of many faults, planted in the kernels one at a time, is caught by a few rows of
//! the table of cases or by a test of training on the emulator.
//!
//! A fault is a change of text in one file below `kernels/`. The families that include the file are compiled again, as
//! the build compiles them, and linked with the rest of the emulator into a shared library, on which the fault's check
//! must fail. The tests of [`fed`] and [`passes`] run here as well, on a library of unchanged kernels: they are the
//! control of themselves.
#![cfg(rir_emu)]

#[path = "../common/mod.rs"]
mod common;
mod faults;
#[path = "../emulator/fed.rs"]
mod fed;
mod library;
#[path = "../emulator/passes.rs"]
mod passes;

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use faults::{Check, Fault};
use rir::check::{Case, Rows, run_case, table};
use rir::device::cuda::emulator::EmulatorDriver;
use rir::device::cuda::{CudaDevice, Generation, Options};
use rir::graph::{Precision, StateLayout};

thread_local! {
    /// The kernels of the fault that this thread is at.
    static LIBRARY: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// This thread's kernels.
fn driver(seed: u64) -> EmulatorDriver {
    let library = LIBRARY.with_borrow(Clone::clone).unwrap_or_else(|| control().to_owned());
    EmulatorDriver::from_library(&library, seed).unwrap()
}

/// An emulated card with this thread's kernels.
fn open(layout: &StateLayout, precision: Precision, seed: u64, options: Options) -> rir::Result<CudaDevice> {
    CudaDevice::new(Box::new(driver(seed)), layout, precision, options)
}

/// The library of unchanged kernels.
fn control() -> &'static Path {
    static CONTROL: OnceLock<PathBuf> = OnceLock::new();
    CONTROL.get_or_init(|| library::build(&scratch().join("control"), None).unwrap())
}

/// A folder for what this process compiles; the next process to run this test empties it.
fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted-faults");
        // There is none the first time.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// The table's rows by name.
fn row(name: &str) -> &'static Case {
    static ROWS: OnceLock<HashMap<String, Case>> = OnceLock::new();
    let rows = ROWS.get_or_init(|| {
        table(Rows::Kernels(Generation::Hopper), None).map(|case| (case.name(), case)).collect()
    });
    rows.get(name).unwrap_or_else(|| panic!("a fault names the row {name}, which the table does not have"))
}

/// What first fails on this thread's kernels, in words; `None` where nothing does.
fn failure(check: &Check) -> Option<String> {
    match check {
        Check::Rows(rows) => rows.iter().find_map(|name| row_failure(name)),
        Check::Test(name, test) => {
            let panicked = catch_unwind(AssertUnwindSafe(test)).err()?;
            Some(format!("{}: {}", name.replace(' ', ""), words(&*panicked)))
        }
    }
}

fn row_failure(name: &str) -> Option<String> {
    let result = run_case(row(name), &|layout, precision, kernels| {
        let options = Options { kernels, ..Options::default() };
        Ok(Box::new(open(layout, precision, 3, options)?))
    });
    let beyond = || format!("error {:.0e} beyond {:.0e}", result.error, result.limit);
    (!result.passed).then(|| format!("{name}: {}", result.failure.clone().unwrap_or_else(beyond)))
}

/// The first line of what a panic said.
fn words(panicked: &(dyn Any + Send)) -> &str {
    let said = panicked.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or("no words");
    said.lines().next().unwrap_or("")
}

struct Outcome {
    /// What caught the fault, or `None`; an error where it could not be planted.
    caught: Result<Option<String>, String>,
    took: Duration,
}

fn plant(number: usize, fault: &Fault) -> Outcome {
    let begun = Instant::now();
    let folder = scratch().join(number.to_string());
    let caught = library::build(&folder, Some(fault)).map(|library| {
        // A thread of its own: with it go the library's emulator and its threads' stacks, of which all faults together
        // would have more than a process may map.
        let check = || {
            LIBRARY.set(Some(library));
            failure(&fault.check)
        };
        std::thread::scope(|scope| scope.spawn(check).join().expect("a panic is caught within"))
    });
    // Before the disk has written what nobody reads again; what is left, the next process removes.
    let _ = std::fs::remove_dir_all(&folder);
    // That would catch any fault.
    let caught = caught.and_then(|caught| match caught {
        Some(said) if said.contains("no kernel of this name was compiled in") => Err(said),
        caught => Ok(caught),
    });
    Outcome { caught, took: begun.elapsed() }
}

/// `f` of every item, on all cores. Not by rayon, whose threads take up another item while they wait within one.
fn in_parallel<T: Sync, R: Send>(items: &[T], f: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { return done };
            done.push((number, f(number, item)));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a panic is caught within")).collect()
    });
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[test]
#[cfg_attr(rir_emu_sanitized, ignore = "the shared libraries are not built with sanitizers")]
fn every_planted_fault_is_caught() {
    // A test that catches a fault panics; that is told in one line, by the table.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panicked| {
        if LIBRARY.with_borrow(Option::is_none) {
            hook(panicked);
        }
    }));
    let faults = faults::all();
    let outcomes = in_parallel(&faults, plant);
    let mut table = String::new();
    let mut missed = 0;
    for (fault, Outcome { caught, took }) in faults.iter().zip(&outcomes) {
        let said = match caught {
            Ok(Some(failure)) => failure.clone(),
            Ok(None) => "NOT CAUGHT".into(),
            Err(reason) => format!("NOT PLANTED: {reason}"),
        };
        missed += usize::from(!matches!(caught, Ok(Some(_))));
        writeln!(table, "{} ({}, {:.1} s)\n    {said}", fault.name, fault.file, took.as_secs_f64()).unwrap();
    }
    println!("{table}");
    assert_eq!(missed, 0, "of {} faults, these many are not caught:\n{table}", faults.len());
}

/// A fault whose text a kernel no longer has, or has twice, is no fault: it must not rot unseen.
#[test]
fn a_fault_that_does_not_fit_its_kernel_is_told() {
    for (find, count) in [("no such text", 0), ("#include \"", 3)] {
        let (file, check) = ("conv2d/epilogue.cuh", Check::Rows(&[]));
        let fault = Fault { name: "", file, find, put: "", families: &[], kernels: &[], check };
        let said = library::build(&scratch().join(format!("found-{count}-times")), Some(&fault)).unwrap_err();
        let expected = format!("its text is {count} times in kernels/{file}, and must be there once");
        assert!(said.starts_with(&expected), "{said}");
    }
}

/// The control: on unchanged kernels, compiled and loaded in the same way, every row that has to catch a fault passes.
#[test]
#[cfg_attr(rir_emu_sanitized, ignore = "the shared libraries are not built with sanitizers")]
fn the_rows_pass_without_a_fault() {
    let mut names: Vec<&str> = Vec::new();
    for fault in faults::all() {
        if let Check::Rows(rows) = fault.check {
            names.extend(rows);
        }
    }
    names.sort_unstable();
    names.dedup();
    for name in names {
        assert_eq!(row_failure(name), None);
    }
}
