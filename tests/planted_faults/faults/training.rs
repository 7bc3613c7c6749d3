//! Of what changes the State, and of what goes around a step.

use super::{Fault, test_fault};

pub fn faults() -> Vec<Fault> {
    [optimiser(), step()].into_iter().flatten().collect()
}

fn optimiser() -> Vec<Fault> {
    const FILE: &str = "optimise.cu";
    vec![
        Fault::rows("momentum is applied twice", FILE, &["sgd/momentum/f32"])
            .find("v.at[k] = p.keep * v.at[k] + g;")
            .put("v.at[k] = p.keep * p.keep * v.at[k] + g;"),
        Fault::rows("the scales decay to 0", FILE, &["sgd/momentum-decay/f32"])
            .find("tensor.decay * (w.at[k] - tensor.center)")
            .put("tensor.decay * w.at[k]"),
        Fault::rows("all decays alike", FILE, &["sgd/nesterov-decay-not-scale/f32"])
            .find("const SgdTensor tensor = p.tensors[blockIdx.y];")
            .put(
                "SgdTensor tensor = p.tensors[blockIdx.y];
    tensor.decay = p.tensors[0].decay;",
            ),
        Fault::rows("nesterov does not look ahead", FILE, &["sgd/nesterov/f32"])
            .find("p.nesterov ? g + p.keep * v.at[k] : v.at[k]")
            .put("v.at[k]"),
        Fault::rows("an element past a parameter's last one", FILE, &["sgd/plain/f32"])
            .find("each_vector(tensor.elements,")
            .put("each_vector(tensor.elements + 1,"),
        test_fault!("the learning rate is frozen", FILE, fed::the_learning_rate_changes_between_replays)
            .find("const float rate = p.step->learning_rate * tensor.rate;")
            .put("const float rate = 0.1f;"),
        Fault::rows("shifts learn at the rate of weights", FILE, &["sgd/momentum-shift-rate/f32"])
            .find("p.step->learning_rate * tensor.rate;")
            .put("p.step->learning_rate;"),
        Fault::rows(
            "the fast weights do not go on from the slow ones",
            FILE,
            &["sgd/momentum-lookahead/f32"],
        )
        .find("            w = slow;\n")
        .put(""),
        Fault::rows("the slow weights forget where they were", FILE, &["sgd/momentum-lookahead/f32"])
            .find("slow.at[k] += share * (w.at[k] - slow.at[k]);")
            .put("slow.at[k] = share * w.at[k];"),
        test_fault!("slow weights follow in every step", FILE, fed::slow_weights_follow_where_a_step_says_so)
            .find("if (share > 0.0f) {")
            .put("if (p.lookahead) {"),
        test_fault!(
            "parameters change although the step is halted",
            FILE,
            fed::no_exploded_loss_reaches_the_state
        )
        .find("    if (p.state->halted) {\n        return;\n    }\n    const SgdTensor")
        .put("    const SgdTensor"),
        test_fault!(
            "running statistics change although the step is halted",
            FILE,
            fed::no_exploded_loss_reaches_the_state
        )
        .find("    if (p.state->halted) {\n        return;\n    }\n    const Running")
        .put("    const Running"),
        Fault::rows("the running mean's weights are swapped", FILE, &["update_running/c10m2/f32"])
            .find("p.keep * running.mean[c] + p.weight * running.stats[c];")
            .put("p.weight * running.mean[c] + p.keep * running.stats[c];"),
        Fault::rows("the running variance is biased", FILE, &["update_running/c10m2/f32"])
            .find("running.stats[channels + c] * running.unbiased")
            .put("running.stats[channels + c]"),
    ]
}

fn step() -> Vec<Fault> {
    const FILE: &str = "step.cu";
    vec![
        test_fault!("the flip before the crop", FILE, fed::the_device_draws_the_same_pixels_as_the_host)
            .find("const int32_t x = source(column, dx, int32_t(p.width), p.reflect);")
            .put(
                "const int32_t from = source(int32_t(at.column), dx, int32_t(p.width), p.reflect);
        const int32_t x = mirrored && from != OUTSIDE ? int32_t(p.width) - 1 - from : from;",
            ),
        test_fault!(
            "rows are moved as far as columns",
            FILE,
            fed::the_device_draws_the_same_pixels_as_the_host
        )
        .find("int32_t(words.word[0] % offsets)")
        .put("int32_t(words.word[1] % offsets)"),
        test_fault!("the same crops in every epoch", FILE, fed::the_device_draws_the_same_pixels_as_the_host)
            .find("p.step->epoch, p.purpose")
            .put("0, p.purpose"),
        test_fault!(
            "the mean of the place where a pixel is shown",
            FILE,
            fed::the_device_draws_the_same_pixels_as_the_host
        )
        .find("p.mean_is_per_pixel ? pixel : at.channel")
        .put("p.mean_is_per_pixel ? i % image : at.channel"),
        test_fault!(
            "the border is reflected with its last pixel",
            FILE,
            fed::the_device_draws_the_same_pixels_as_the_host
        )
        .find("from < 0 ? -from : from;")
        .put("from < 0 ? -from - 1 : from;"),
        test_fault!("flips alternate nowhere", FILE, fed::the_device_draws_the_same_pixels_as_the_host)
            .find("p.purpose}}, p.step->seed).word[2] ^ p.step->epoch;")
            .put("p.purpose}}, p.step->seed).word[2];"),
        test_fault!(
            "the square is cut as high as wide is",
            FILE,
            fed::the_device_draws_the_same_pixels_as_the_host
        )
        .find("covers(p.cutout, place & 0xFFFF, p.height, at.row)")
        .put("covers(p.cutout, place >> 16, p.height, at.row)"),
        test_fault!(
            "the square is cut before the flip",
            FILE,
            fed::the_device_draws_the_same_pixels_as_the_host
        )
        .find("covers(p.cutout, place >> 16, p.width, at.column)")
        .put("covers(p.cutout, place >> 16, p.width, mirrored ? p.width - 1 - at.column : at.column)"),
        test_fault!("the label of another sample", FILE, fed::the_device_draws_the_same_pixels_as_the_host)
            .find("p.classes[sample];")
            .put("p.classes[at.image];"),
        test_fault!("a loss that is no number halts nothing", FILE, fed::no_exploded_loss_reaches_the_state)
            .find("if (!(loss <= p.exploded)) {")
            .put("if (loss > p.exploded) {"),
    ]
}
