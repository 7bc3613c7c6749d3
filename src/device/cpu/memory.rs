//! Memory: aligned buffers, and disjoint views of the tensors that one node touches.

use bytemuck::{Pod, Zeroable};

/// A cache line, and the widest vector: what buffers are aligned to.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Zeroed memory, aligned to 64 bytes; the system gives each page when it is first touched.
#[derive(Debug, Default)]
pub struct Buffer(Vec<Line>);

impl Buffer {
    /// At least `bytes` bytes; `None` if the machine does not have them.
    pub fn new(bytes: usize) -> Option<Self> {
        bytemuck::allocation::try_zeroed_vec(bytes.div_ceil(size_of::<Line>())).ok().map(Self)
    }

    /// All of it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }

    /// The first `count` elements, after growing to hold them: scratch that threads keep.
    pub fn first<T: Pod>(&mut self, count: usize) -> &mut [T] {
        let lines = (count * size_of::<T>()).div_ceil(size_of::<Line>());
        if self.0.len() < lines {
            self.0.resize(lines, Line::zeroed());
        }
        &mut bytemuck::cast_slice_mut(&mut self.0)[..count]
    }
}

/// Cuts `ranges` (offset, length) out of `memory` as disjoint slices, in the order given. Equal ranges are given once,
/// at their first place, and are empty at the others.
///
/// # Panics
/// If two different ranges overlap: the planner keeps values that are alive at the same time apart.
pub fn disjoint<'a>(memory: &'a mut [u8], ranges: &[(usize, usize)]) -> Vec<&'a mut [u8]> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&i| (ranges[i], i));
    let mut views: Vec<&mut [u8]> = ranges.iter().map(|_| <&mut [u8]>::default()).collect();
    let (mut rest, mut start) = (memory, 0);
    let mut last = None;
    for i in order {
        let (offset, length) = ranges[i];
        if length == 0 || last == Some(ranges[i]) {
            continue;
        }
        assert!(offset >= start, "overlapping tensors at byte {offset}");
        let (view, tail) = rest.split_at_mut(offset - start).1.split_at_mut(length);
        views[i] = view;
        (rest, start, last) = (tail, offset + length, Some(ranges[i]));
    }
    views
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_come_in_the_order_asked_for() {
        let mut memory: Vec<u8> = (0..10).collect();
        let views = disjoint(&mut memory, &[(6, 2), (0, 3), (6, 2)]);
        assert_eq!(views, [&[6, 7][..], &[0, 1, 2], &[]]);
    }

    #[test]
    #[should_panic(expected = "overlapping tensors at byte 2")]
    fn overlap_is_refused() {
        disjoint(&mut [0; 10], &[(0, 3), (2, 2)]);
    }
}
