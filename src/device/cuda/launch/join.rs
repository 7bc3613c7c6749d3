//! Small neighbours in one launch: the running statistics of all batch norms, and the casts of all shadow weights, are
//! too little work for a launch each.

use std::ops::Range;

use super::{Launch, Site, Touched, elementwise, optimise};
use crate::graph::DType;
use crate::ops::Op;

/// What nodes must have in common to share a launch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cast([DType; 2]),
    Running,
}

impl Kind {
    fn of(site: &Site<'_>) -> Option<Self> {
        match &site.node().op {
            Op::Cast(_) => Some(Self::Cast([site.input_dtype(0), site.output_dtype(0)])),
            Op::UpdateRunning(_) => Some(Self::Running),
            _ => None,
        }
    }
    /// Nodes that one launch takes.
    fn most(self) -> usize {
        match self {
            Self::Cast(_) => elementwise::MOST_CASTS,
            Self::Running => optimise::MOST_RUNNING,
        }
    }
    fn launch(self, sites: &[Site<'_>]) -> Launch {
        match self {
            Self::Cast(_) => elementwise::cast(sites),
            Self::Running => optimise::update_running(sites),
        }
    }
}

/// Whether one of two tensors is written and they share memory. Values of different lifetimes may share theirs.
fn clash(a: &Touched, b: &Touched) -> bool {
    let end = |t: &Touched| t.view.address.0 + t.view.bytes as u64;
    (a.writable || b.writable) && a.view.address.0 < end(b) && b.view.address.0 < end(a)
}

/// Whether two launches may run in any order, or at the same time.
fn independent(a: &Launch, b: &Launch) -> bool {
    !a.tensors.iter().any(|a| b.tensors.iter().any(|b| clash(a, b)))
}

/// The run of nodes from `first` on that may share one launch.
fn run(sites: &[Site<'_>], launches: &[Vec<Launch>], first: usize, kind: Kind) -> Range<usize> {
    let segment = sites[first].node().segment;
    let joins = |n: usize| {
        Kind::of(&sites[n]) == Some(kind)
            && sites[n].node().segment == segment
            && (first..n).all(|m| independent(&launches[m][0], &launches[n][0]))
    };
    let most = sites.len().min(first + kind.most());
    first..(first + 1..most).find(|&n| !joins(n)).unwrap_or(most)
}

/// Of neighbouring nodes that can share a launch, the first gets it and the others none. `launches` are those of every
/// node by itself, in the plan's order.
pub fn join(sites: &[Site<'_>], launches: &mut [Vec<Launch>]) {
    let mut first = 0;
    while first < sites.len() {
        let Some(kind) = Kind::of(&sites[first]) else {
            first += 1;
            continue;
        };
        let run = run(sites, launches, first, kind);
        if run.len() > 1 {
            let mut joint = kind.launch(&sites[run.clone()]);
            joint.node = format!("{} and {} more", sites[first].describe(), run.len() - 1);
            launches[run.clone()].iter_mut().for_each(Vec::clear);
            launches[first].push(joint);
        }
        first = run.end;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Address, View};
    use super::*;

    #[test]
    fn what_shares_written_memory_shares_no_launch() {
        let launch = |reads: u64, writes: u64| {
            let mut launch = Launch::new("");
            launch.reads(View { address: Address(reads), bytes: 256 });
            launch.writes(View { address: Address(writes), bytes: 256 });
            launch
        };
        let first = launch(0, 1024);
        assert!(independent(&first, &launch(0, 512)));
        assert!(!independent(&first, &launch(512, 128)), "it writes what the first reads");
        assert!(!independent(&first, &launch(1279, 512)), "it reads what the first writes");
        assert!(!independent(&first, &launch(512, 1024)), "both write the same");
        assert!(independent(&first, &launch(1280, 768)));
    }
}
