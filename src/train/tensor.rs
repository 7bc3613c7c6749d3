//! Tensors as files hold them: named, f32, weights of convolutions O I H W.

use crate::error::{Error, Result};

/// A named tensor in the order of files.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Such as `stem.conv.weight`.
    pub name: String,
    /// Extents, outermost first: O I H W of a convolution's weights, K C of a linear layer's, C of the rest.
    pub shape: Vec<usize>,
    /// The elements, the last extent running fastest.
    pub data: Vec<f32>,
}

impl Tensor {
    /// # Errors
    /// If an element is NaN or infinite: names the tensor and the place.
    pub fn check_finite(&self) -> Result<()> {
        match self.data.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(at) => Err(Error::model(format!(
                "tensor {} is damaged: element {at} of {} is {}",
                self.name,
                self.data.len(),
                self.data[at]
            ))),
        }
    }
}

/// The extents in files of a tensor that is K R S C in memory; other ranks are the same in both.
pub(crate) fn file_shape(memory: &[usize]) -> Vec<usize> {
    match *memory {
        [k, r, s, c] => vec![k, c, r, s],
        _ => memory.to_vec(),
    }
}

/// A tensor from its values in memory order.
pub(super) fn to_file_order(name: String, memory: &[usize], values: &[f64]) -> Tensor {
    let data = match *memory {
        [k, r, s, c] => reordered(values, [k, r * s, c]).into_iter().map(|x| x as f32).collect(),
        _ => values.iter().map(|&x| x as f32).collect(),
    };
    Tensor { name, shape: file_shape(memory), data }
}

/// The values of a tensor in memory order.
pub(super) fn from_file_order(tensor: &Tensor) -> Vec<f64> {
    let values: Vec<f64> = tensor.data.iter().map(|&x| f64::from(x)).collect();
    match *tensor.shape {
        [o, i, h, w] => reordered(&values, [o, i, h * w]),
        _ => values,
    }
}

/// [A B C] as [A C B]: between K RS C and O I HW in either direction.
fn reordered(values: &[f64], [a, b, c]: [usize; 3]) -> Vec<f64> {
    let mut out = Vec::with_capacity(values.len());
    for matrix in 0..a {
        for column in 0..c {
            out.extend((0..b).map(|row| values[(matrix * b + row) * c + column]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_change_their_order_and_come_back() {
        // K = 2, R = 2, S = 3, C = 4: the value tells its own indices.
        let memory: Vec<f64> = (0..48).map(f64::from).collect();
        let tensor = to_file_order("w".into(), &[2, 2, 3, 4], &memory);
        assert_eq!(tensor.shape, [2, 4, 2, 3]);
        for (k, r, s, c) in [(0, 0, 0, 1), (1, 1, 2, 3), (0, 1, 0, 2)] {
            let file = tensor.data[((k * 4 + c) * 2 + r) * 3 + s];
            assert_eq!(f64::from(file), memory[((k * 2 + r) * 3 + s) * 4 + c]);
        }
        assert_eq!(from_file_order(&tensor), memory);
        let linear = to_file_order("l".into(), &[6, 8], &memory);
        assert_eq!((linear.shape.as_slice(), from_file_order(&linear)), (&[6, 8][..], memory));
    }
}
