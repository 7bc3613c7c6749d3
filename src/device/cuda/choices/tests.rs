use super::*;
use crate::graph::Precision;
use crate::ops::{Conv2d, Conv2dWeightGrad};

const HOPPER: Choices = Choices::new(Kernels::Auto, Generation::Hopper);

fn conv() -> (Op, [Shape; 2]) {
    let conv = Conv2d { identity: 96, ..Conv2d::same(3, 1) };
    (conv.into(), [Shape::from([4, 16, 16, 192]), Shape::from([192, 3, 3, 192])])
}

fn weight_grad() -> (Op, [Shape; 2]) {
    let (x, filter) = (Shape::from([64, 16, 16, 192]), Shape::from([192, 3, 3, 192]));
    (Conv2dWeightGrad { conv: Conv2d::same(3, 1), filter }.into(), [x.clone(), x])
}

#[test]
fn a_key_has_all_that_a_kernel_is_chosen_by() {
    let (op, [x, w]) = conv();
    let text = key(&op, &[&x, &w], DType::Bf16);
    assert_eq!(text, "conv2d([4 16 16 192], [192 3 3 192]) bf16 {stride 1, pad 1, identity 96}");
    let (grad, [x, dz]) = weight_grad();
    let of_grad = key(&grad, &[&x, &dz], DType::Bf16);
    assert!(
        of_grad.starts_with("conv2d_weight_grad([64 16 16 192], ")
            && of_grad.contains("filter [192 3 3 192]")
    );
    assert_ne!(text, key(&op, &[&x, &w], DType::F32));
}

#[test]
fn a_table_goes_before_what_the_shape_suggests_but_not_before_what_is_asked() {
    let (op, [x, w]) = conv();
    let inputs = [&x, &w];
    let tiled = Choice { columns: Some(32), ..Choice::of(Kernels::Tiled) };
    let table = Table::from([(key(&op, &inputs, DType::Bf16), tiled)]);
    let with = Choices { table, ..HOPPER };
    assert_eq!(with.of(&op, &inputs, DType::Bf16), tiled);
    assert_eq!(with.of(&op, &inputs, DType::F32), HOPPER.of(&op, &inputs, DType::F32));
    let asked = Choices { kernels: Kernels::Naive, ..with };
    assert_eq!(asked.of(&op, &inputs, DType::Bf16), Choice::of(Kernels::Naive));
}

#[test]
fn candidates_begin_with_what_is_chosen_and_have_no_two_alike() {
    for (op, [a, b]) in [conv(), weight_grad()] {
        let inputs = [&a, &b];
        for dtype in [DType::Bf16, DType::F32] {
            let candidates = HOPPER.candidates(&op, &inputs, dtype);
            let first = HOPPER.of(&op, &inputs, dtype);
            assert_eq!(candidates[0], first);
            let resolved = |choice: &Choice| {
                let (width, splits) =
                    (tiling::width(&op, &inputs, *choice), tiling::splits(&op, &inputs, *choice));
                (choice.kernels, width, splits)
            };
            let mut distinct: Vec<_> = candidates.iter().map(resolved).collect();
            let all = distinct.len();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), all, "{candidates:?}");
            assert!(all >= 3 && distinct.iter().all(|(form, ..)| *form >= first.kernels), "{candidates:?}");
            let most = tiling::most_splits(&op, &inputs, dtype);
            assert!(distinct.iter().all(|(_, _, splits)| splits.is_none_or(|n| (1..=most).contains(&n))));
            let parts: Vec<u32> = distinct.iter().filter_map(|(_, _, splits)| *splits).collect();
            assert_eq!(parts.is_empty(), matches!(op, Op::Conv2d(_)), "{candidates:?}");
        }
    }
}

#[test]
fn what_no_kernel_does_is_named() {
    let mut graph = Graph::new();
    let (op, [x, dz]) = weight_grad();
    let role = crate::graph::Role::Activation;
    let inputs = [("x", x.clone()), ("dz", dz.clone())].map(|(name, shape)| graph.input(name, shape, role));
    graph.push(op.clone(), &inputs).unwrap();
    let graph = crate::graph::lower(&graph, Precision::Bf16).unwrap();
    let check = |generation, choice| {
        let table = Table::from([(key(&op, &[&x, &dz], DType::Bf16), choice)]);
        Choices { table, ..Choices::new(Kernels::Auto, generation) }.check(&graph)
    };
    let usual = Choice::of(Kernels::Mma);
    check(Generation::Ampere, Choice { columns: Some(96), splits: Some(2), ..usual }).unwrap();
    for (wrong, what) in [
        (Choice { columns: Some(77), ..usual }, "tiles of 77 columns"),
        (Choice { splits: Some(0), ..usual }, "0 parts"),
        (Choice { splits: Some(9999), ..usual }, "9999 parts"),
        (Choice::of(Kernels::WgmmaHalo), "no form wgmma-halo"),
    ] {
        let said = check(Generation::Ampere, wrong).unwrap_err().to_string();
        assert!(
            said.contains(what) && said.contains("conv2d_weight_grad(") && said.contains("bench tune"),
            "{said}"
        );
    }
    let of_graph = HOPPER.of_graph(&graph);
    assert_eq!(of_graph.values().collect::<Vec<_>>(), [&usual]);
}
