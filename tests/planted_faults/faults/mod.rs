//! The faults, as data.

mod convolution;
mod elementwise;
mod hopper;
mod hopper_tiles;
mod normalise;
mod tensor_cores;
mod training;

/// A change of the kernels that some test must catch.
pub struct Fault {
    pub name: &'static str,
    /// The changed file, below `kernels/`.
    pub file: &'static str,
    /// What is replaced: it is there exactly once.
    pub find: &'static str,
    /// What takes its place.
    pub put: &'static str,
    /// The families that are compiled again, for time's sake: all that the check runs of those that include the file.
    /// None: all of them.
    pub families: &'static [&'static str],
    /// Those of their kernels that are compiled again, and that alone the check may launch. None: all of them.
    pub kernels: &'static [&'static str],
    pub check: Check,
}

/// What must catch a fault.
pub enum Check {
    /// One of these rows of the table, by their names.
    Rows(&'static [&'static str]),
    /// A test, by its name.
    Test(&'static str, fn()),
}

impl Fault {
    const fn new(name: &'static str, file: &'static str, check: Check) -> Self {
        Self { name, file, find: "", put: "", families: &[], kernels: &[], check }
    }
    /// A fault that rows catch.
    const fn rows(name: &'static str, file: &'static str, rows: &'static [&'static str]) -> Self {
        Self::new(name, file, Check::Rows(rows))
    }
    /// A fault that a test catches, given with its name.
    const fn test(name: &'static str, file: &'static str, (test, body): (&'static str, fn())) -> Self {
        Self::new(name, file, Check::Test(test, body))
    }
    const fn find(self, find: &'static str) -> Self {
        Self { find, ..self }
    }
    const fn put(self, put: &'static str) -> Self {
        Self { put, ..self }
    }
    const fn of(self, families: &'static [&'static str]) -> Self {
        Self { families, ..self }
    }
    const fn only(self, kernels: &'static [&'static str]) -> Self {
        Self { kernels, ..self }
    }
}

/// A fault that a test of one of the modules catches.
macro_rules! test_fault {
    ($name:literal, $file:expr, $($test:ident)::+) => {
        Fault::test($name, $file, (stringify!($($test)::+), crate::$($test)::+))
    };
}
use test_fault;

pub fn all() -> Vec<Fault> {
    let lists = [
        convolution::faults(),
        tensor_cores::faults(),
        hopper::faults(),
        hopper_tiles::faults(),
        elementwise::faults(),
        normalise::faults(),
        training::faults(),
    ];
    lists.into_iter().flatten().collect()
}
