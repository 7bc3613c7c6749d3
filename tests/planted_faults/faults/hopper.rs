//! Of the forms of convolution on Hopper, `conv2d/wgmma*`: who does what when. Barriers, rings, turns and clusters.

use super::Fault;

/// Rows, and the kernels that they launch.
pub(super) type Run = (&'static [&'static str], &'static [&'static str]);

pub(super) const fn fault(name: &'static str, file: &'static str, (rows, kernels): Run) -> Fault {
    Fault::rows(name, file, rows).only(kernels)
}

/// Nine steps in a ring of six stages; half a tile at the end.
const WGMMA: Run = (&["conv2d/n5h8w8c64k128r3s1p1-e32-stats/bf16/wgmma"], &["conv2d_wgmma_128_bf16"]);
const WS: Run = (&["conv2d/n5h8w8c64k128r3s1p1-e32-stats/bf16/wgmma-ws"], &["conv2d_wgmma_ws_128_bf16"]);
/// Two or three tiles a block, nine steps each, which two warp groups take in turns.
const TURNS: Run = (
    &["conv2d/n11h8w16c96k32r3s1p1-e32-stats/bf16/wgmma-persistent"],
    &["conv2d_wgmma_persistent_64_span32_bf16"],
);
/// Two tiles a block, whose rows both warp groups share.
const TOGETHER: Run = (
    &["conv2d/n5h12w12c128k128r1s1p0-e64-stats/bf16/wgmma-persistent"],
    &["conv2d_wgmma_persistent_128_bf16"],
);
/// Tiles in turns, by two clusters.
const CLUSTER: Run =
    (&["conv2d/n11h8w16c96k32r3s1p1-e32-stats/bf16/wgmma-cluster"], &["conv2d_wgmma_cluster_64_span32_bf16"]);
const WIDE_CLUSTER: Run =
    (&["conv2d/n5h8w8c64k128r3s1p1-e32-stats/bf16/wgmma-cluster"], &["conv2d_wgmma_cluster_128_bf16"]);
const RESIDENT: Run =
    (&["conv2d/n11h8w16c96k32r3s1p1-e32-stats/bf16/wgmma-resident"], &["conv2d_wgmma_resident_64_bf16"]);
const STORE: Run =
    (&["conv2d/n11h8w16c96k32r3s1p1-e32-stats/bf16/wgmma-store"], &["conv2d_wgmma_store_halo_64_bf16"]);

pub fn faults() -> Vec<Fault> {
    [alone(), roles(), turns(), cluster(), resident(), store()].into_iter().flatten().collect()
}

/// `wgmma`, and the instructions that every form has.
fn alone() -> Vec<Fault> {
    const FILE: &str = "conv2d/wgmma.cuh";
    const TILE: &str = "conv2d/wgmma_tile.cuh";
    vec![
        fault("no wgmma.fence before a step's products", TILE, WGMMA)
            .find("    ptx::warpgroup_fence();\n")
            .put(""),
        fault("a step's products are no group", TILE, WGMMA).find("    ptx::warpgroup_commit();\n").put(""),
        fault("a stage is filled while its products are under way", FILE, WGMMA)
            .find("            ptx::warpgroup_wait<1>();\n            __syncthreads();\n")
            .put("            __syncthreads();\n"),
        fault("a stage is filled before the whole block has used it", FILE, WGMMA)
            .find("            ptx::warpgroup_wait<1>();\n            __syncthreads();\n")
            .put("            ptx::warpgroup_wait<1>();\n"),
        fault("sums go out while the last products are under way", FILE, WGMMA)
            .find("    ptx::warpgroup_wait<0>();\n")
            .put(""),
        fault("barriers that no copy has heard of", FILE, WGMMA)
            .find("        ptx::fence_barrier_init();\n")
            .put(""),
        unordered(FILE, WGMMA),
    ]
}

/// The forms wait by themselves, once they have made their barriers.
fn unordered(file: &'static str, run: Run) -> Fault {
    fault("a launch does not wait for the one before", file, run)
        .find("    ptx::wait_for_launch_before();\n")
        .put("")
}

/// `wgmma-ws`.
fn roles() -> Vec<Fault> {
    const FILE: &str = "conv2d/wgmma_ws.cuh";
    vec![
        unordered(FILE, WS),
        unordered(FILE, TURNS),
        unordered(FILE, RESIDENT),
        fault("a stage is filled before it is empty", FILE, WS)
            .find("        ptx::barrier_wait(shared.empty[place.slot], place.parity ^ 1);\n")
            .put(""),
        fault("a stage is used before it is full", FILE, WS)
            .find("        ptx::barrier_wait(shared.full[place.slot], place.parity);\n")
            .put(""),
        fault("the same parity in every round of the ring", "conv2d/wgmma_index.cuh", WS)
            .find("            slot = 0;\n            parity ^= 1;\n")
            .put("            slot = 0;\n"),
        fault("a stage is released while its products are under way", FILE, WS)
            .find(
                "            ptx::warpgroup_wait<1>();\n            release<SHARERS>(shared.empty[used]);\n",
            )
            .put(
                "            release<SHARERS>(shared.empty[used]);\n            ptx::warpgroup_wait<1>();\n",
            ),
        fault("a step does not wait for the products of the one before", FILE, WS)
            .find("            ptx::warpgroup_wait<1>();\n")
            .put(""),
        fault("a stage is empty when one warp group has used it", FILE, WS)
            .find("(p, shared, CONSUMERS * (GROUP_THREADS / WARP));")
            .put("(p, shared, GROUP_THREADS / WARP);"),
        fault("whoever copies keeps its registers", FILE, WS)
            .find("        ptx::registers_decrease<PRODUCER_REGISTERS>();\n")
            .put(""),
        fault("more registers than a block has", FILE, WS)
            .find("CONSUMER_REGISTERS = 232;\nstatic_assert(PRODUCER_REGISTERS + ")
            .put("CONSUMER_REGISTERS = 240;\nstatic_assert("),
    ]
}

/// `wgmma-persistent`.
fn turns() -> Vec<Fault> {
    const FILE: &str = "conv2d/wgmma_persistent.cuh";
    vec![
        fault("no warp group waits for its turn", FILE, TURNS)
            .find("ptx::named_barrier_sync(TURN_BARRIER + team, CONSUMERS * GROUP_THREADS);")
            .put(""),
        fault("the turn passes before a tile's stages have come", FILE, TURNS)
            .find("place, sums, pass_turn);")
            .put("place, (pass_turn(), sums), [] {});"),
        fault("the stages of the other's tile are not passed over", FILE, TURNS)
            .find("                place.skip(work.steps);\n")
            .put(""),
        fault("passed stages leave the parity", "conv2d/wgmma_index.cuh", TURNS)
            .find("        parity ^= at / STAGES % 2;\n")
            .put(""),
        fault("a tile is left out", FILE, TURNS)
            .find("step = gridDim.x / SHARERS;")
            .put("step = gridDim.x / SHARERS + 1;"),
        fault("a tile's last stage is not released", "conv2d/wgmma_ws.cuh", TURNS)
            .find("    if (steps > 0) {\n        release<SHARERS>(shared.empty[used]);\n    }\n")
            .put(""),
        fault("a tile goes out over the one before", "conv2d/wgmma_forward.cuh", TOGETHER)
            .find("last tile is waited for.\n    place.sync();\n")
            .put("last tile is waited for.\n"),
    ]
}

/// `wgmma-cluster`.
fn cluster() -> Vec<Fault> {
    const FILE: &str = "conv2d/wgmma_cluster.cuh";
    const OF_DATA_GRAD: Run = (
        &["conv2d_data_grad/n4h6w6c64k64r3s1p1/bf16/wgmma-cluster"],
        &["conv2d_data_grad_wgmma_cluster_64_bf16"],
    );
    const OF_WEIGHT_GRAD: Run = (
        &["conv2d_weight_grad/n5h12w12c128k128r1s1p0/bf16/wgmma-cluster"],
        &["conv2d_weight_grad_wgmma_cluster_128_bf16"],
    );
    vec![
        unordered(FILE, CLUSTER),
        fault("a stage is released to the own block alone", "conv2d/wgmma_ws.cuh", CLUSTER)
            .find("ptx::barrier_arrive_at(empty, lane);")
            .put("ptx::barrier_arrive(empty);"),
        fault("a stage is empty when its own block has used it", FILE, CLUSTER)
            .find("(p, shared, CLUSTER * Product")
            .put("(p, shared, Product"),
        fault("a block begins before the other's barriers are made", FILE, CLUSTER)
            .find(
                "    ptx::cluster_arrive();\n    ptx::cluster_wait();\n    ptx::wait_for_launch_before();\n",
            )
            .put("    __syncthreads();\n    ptx::wait_for_launch_before();\n"),
        fault("a block ends before the other has written to it", FILE, CLUSTER)
            .find("    __syncwarp();\n    ptx::cluster_arrive();\n    ptx::cluster_wait();\n}")
            .put("}"),
        fault("filters come to one block of two", "conv2d/wgmma_forward.cuh", CLUSTER)
            .find("(1 << SHARERS) - 1 : 0;")
            .put("1 << (SHARERS - 1) : 0;"),
        fault("both blocks copy the same filters", "conv2d/wgmma_forward.cuh", WIDE_CLUSTER)
            .find("int32_t(work.first_column + sharer * LINES)")
            .put("int32_t(work.first_column)"),
        fault(
            "both blocks copy the same filters of the data gradient",
            "conv2d/wgmma_data_grad.cuh",
            OF_DATA_GRAD,
        )
        .find("int32_t(at.channel + sharer * LINES)")
        .put("int32_t(at.channel)"),
        fault(
            "both blocks copy the same half of a stage's pixels",
            "conv2d/wgmma_weight_grad.cuh",
            OF_WEIGHT_GRAD,
        )
        .find("int32_t(at.m + sharer * LINES)")
        .put("int32_t(at.m)"),
    ]
}

/// `wgmma-resident`.
fn resident() -> Vec<Fault> {
    const FILE: &str = "conv2d/wgmma_resident.cuh";
    const OF_DATA_GRAD: Run = (
        &["conv2d_data_grad/n2h8w8c96k96r3s1p1/bf16/wgmma-resident"],
        &["conv2d_data_grad_wgmma_resident_96_bf16"],
    );
    vec![
        fault("filters that stay are not waited for", FILE, RESIDENT)
            .find("            ptx::barrier_wait(come[step], 0);\n")
            .put(""),
        fault("filters that stay are those of the first step", FILE, RESIDENT)
            .find("return resident[step];")
            .put("return resident[0];"),
        fault("filters that stay come with every tile", "conv2d/wgmma_persistent.cuh", RESIDENT)
            .find("place, tile == first, sharer")
            .put("place, true, sharer"),
        fault("more bytes of filters are expected than come", FILE, RESIDENT)
            .find("(come[step], Tile::Columns::BYTES)")
            .put("(come[step], Tile::Columns::BYTES + 16)"),
        fault("all spans of the depth are the first", "conv2d/wgmma_halo.cuh", OF_DATA_GRAD)
            .find("            at.channel += HALO_SPAN;\n")
            .put(""),
        fault("a part of a tile goes out over the one before", "conv2d/wgmma_epilogue.cuh", RESIDENT)
            .find("    if (Out::PLACES == 1 && at > 0) {\n        place.sync();\n    }\n")
            .put(""),
    ]
}

/// `wgmma-store`.
fn store() -> Vec<Fault> {
    const FILE: &str = "conv2d/wgmma_store.cuh";
    /// The stride tells pixels of E from those of the tile.
    const STRIDED: Run =
        (&["conv2d/n4h15w17c64k96r3s2p1-e32-stats/bf16/wgmma-store"], &["conv2d_wgmma_store_96_bf16"]);
    /// E has half of a tile's columns.
    const NARROW_E: Run =
        (&["conv2d/n5h8w8c64k128r3s1p1-e32-stats/bf16/wgmma-store"], &["conv2d_wgmma_store_halo_128_bf16"]);
    /// E goes on where the second tile's columns begin.
    const WIDE_E: Run = (
        &["conv2d/n1h8w8c288k256r1s1p0-e144-stats/bf16/wgmma-store"],
        &["conv2d_wgmma_store_128_span32_bf16"],
    );
    const DATA_GRAD: Run = (
        &["conv2d_data_grad/n11h8w16c96k32r3s1p1-e32/bf16/wgmma-store"],
        &["conv2d_data_grad_wgmma_store_halo_96_bf16"],
    );
    let store = |name| fault(name, FILE, STORE);
    vec![
        store("a tile goes out before the copies have heard of it")
            .find("    ptx::fence_async_shared();\n")
            .put(""),
        store("one lane speaks before its warp has put its part")
            .find("    ptx::fence_async_shared();\n    __syncwarp();\n")
            .put("    ptx::fence_async_shared();\n"),
        store("a lane puts its part while others still read E")
            .find("        __syncwarp();\n#pragma unroll\n")
            .put("#pragma unroll\n"),
        store("E comes while the last tile goes out").find("        ptx::store_wait_read<0>();\n").put(""),
        store("a tile's stores are no group").find("        ptx::store_commit();\n").put(""),
        store("a tile is put where the last one goes out")
            .find("    ptx::barrier_wait(out.ready, parity);\n")
            .put(""),
        store("a place is ready once").find("    parity ^= 1;\n").put(""),
        store("a tile goes out when one warp has put its part")
            .find("ptx::barrier_init(out.filled, GROUP_THREADS / WARP);")
            .put("ptx::barrier_init(out.filled, 1);"),
        store("a place is made ready for the other warp group's tile")
            .find("make_ready(tile + TEAMS * step, turn.slot);")
            .put("make_ready(tile + step, turn.slot);"),
        fault("E's bytes are expected where none come", FILE, NARROW_E)
            .find("ptx::barrier_arrive_and_expect(out.ready, boxes * Operand::BOX_BYTES);")
            .put("ptx::barrier_arrive_and_expect(out.ready, Operand::BYTES);"),
        store("a tile is put without its swizzle")
            .find("out.numbers + Operand::place(row, part * 16 + matrix_column(place.thread));")
            .put("out.numbers + row * 128 + (part * 16 + matrix_column(place.thread)) * 2;"),
        fault("E of the pixels of a tile without a stride", FILE, STRIDED)
            .find("int32_t(first.x * e.stride),")
            .put("int32_t(first.x),"),
        fault("E of the first tile's columns", FILE, WIDE_E)
            .find("int32_t(work.first_column + box * Operand::SPAN), int32_t(first.x")
            .put("int32_t(box * Operand::SPAN), int32_t(first.x"),
        fault("E is forgotten where tiles go out by copies", FILE, DATA_GRAD)
            .find("const bool added = column + pair / 2 * 8 < identity;")
            .put("const bool added = false;"),
        fault("the second warp group's place is not made ready", FILE, DATA_GRAD)
            .find("for (uint32_t team = 0; team < TEAMS; ++team) {")
            .put("for (uint32_t team = 0; team < 1; ++team) {"),
    ]
}
