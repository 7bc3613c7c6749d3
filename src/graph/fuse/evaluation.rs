//! The rewrite of evaluation: everything after a convolution moves into its epilogue.

use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::ops::{Conv2d, Epilogue, Op};

/// `scale_shift(conv2d)`, then `add(that, outer)`, then `relu(that)`, each to one convolution.
pub(super) fn epilogue(graph: &mut Graph, i: usize, readers: &[usize]) -> Result<()> {
    let node = &graph.nodes[i];
    let conv2d = |v| match graph.sole(v, readers) {
        Some(Node { op: Op::Conv2d(conv), inputs, .. }) => Some((*conv, inputs.clone())),
        _ => None,
    };
    let plain = Epilogue::ScaleShift { outer: false, relu: false };
    let fused = match &node.op {
        Op::ScaleShift(_) => conv2d(node.inputs[0])
            .filter(|(conv, _)| conv.epilogue == Epilogue::None)
            .map(|(conv, inputs)| (conv, plain, [inputs, vec![node.inputs[1]]].concat())),
        Op::Add(_) if node.inputs.len() == 2 => {
            // Of two convolutions, a block's last layer and its projection, the later takes the earlier as its outer
            // shortcut.
            let (first, last) = (node.inputs[0].min(node.inputs[1]), node.inputs[0].max(node.inputs[1]));
            let scaled = |v| conv2d(v).filter(|(conv, _)| conv.epilogue == plain);
            let found = scaled(last).map(|c| (c, first)).or_else(|| scaled(first).map(|c| (c, last)));
            found.map(|((conv, inputs), outer)| {
                (conv, Epilogue::ScaleShift { outer: true, relu: false }, [inputs, vec![outer]].concat())
            })
        }
        Op::Relu(_) => conv2d(node.inputs[0]).and_then(|(conv, inputs)| match conv.epilogue {
            Epilogue::ScaleShift { outer, relu: false } => {
                Some((conv, Epilogue::ScaleShift { outer, relu: true }, inputs))
            }
            _ => None,
        }),
        _ => None,
    };
    match fused {
        Some((conv, epilogue, inputs)) => graph.replace(i, Conv2d { epilogue, ..conv }, inputs),
        None => Ok(()),
    }
}
