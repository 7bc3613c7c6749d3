// Each rule of Hopper's instructions broken once, and the words that the fault must say.
#include <functional>

#include "copy_test.hpp"

namespace {

using Change = std::function<void(CopyTest&)>;

// Of two tensors of lines of 32 floats: maps[0] is of x, maps[1] of y.
CopyTest lines(const std::string& kernel, uint32_t threads, uint32_t blocks) {
    CopyTest test(kernel, threads, blocks);
    test.dynamic_shared = 1024;
    test.x.assign(4 * 32, 0x3f800000);
    test.y.assign(8 * 32, 0.0f);
    for (int i = 0; i < 2; ++i) test.maps[i] = tiled(nullptr, 4, {32, 4}, {32, 1});
    test.of_y[1] = true;
    return test;
}

void expect(
    const char* kernel, uint32_t threads, std::initializer_list<const char*> words,
    const Change& change = [](CopyTest&) {}) {
    const auto make = [&] {
        CopyTest test = lines(kernel, threads, 1);
        change(test);
        return test;
    };
    expect_fault(make, words);
}
void expect_of_cluster(const char* kernel, std::initializer_list<const char*> words, bool has_site = true) {
    expect_fault([&] { return lines(kernel, 32, 2); }, words, has_site);
}
// Nobody's code is to blame: a deadlock, or an exit.
void expect_nowhere(const char* kernel, uint32_t threads, std::initializer_list<const char*> words) {
    expect_fault([&] { return lines(kernel, threads, 1); }, words, false);
}

// Where nobody reports the access, the number shows it.
void poisoned(CopyTest test) {
    test.run();
    CHECK(test.status == 0 && test.y[0] != test.y[0], "%s: %s: %g", test.kernel.c_str(), test.message, test.y[0]);
}

void waits() {
    expect_nowhere("parity_to_come", 32,
                   {"deadlock", "32 threads in mbarrier.try_wait", "ptx_hopper.cuh", "for parity 1 of the barrier",
                    "at byte 512 of dynamic shared memory", "phase 1, 1 of 1 arrivals and 0 bytes to come"});
    expect_nowhere("bytes_never_come", 32,
                   {"deadlock", "mbarrier.try_wait", "for parity 0 of the barrier at byte 512 of dynamic shared memory",
                    "phase 0, 0 of 1 arrivals and 128 bytes to come"});
    expect_nowhere("block_ends_first", 1, {"the block ends while a bulk copy to it is under way"});
    if (!SEES_ACCESSES) {
        poisoned(lines("stage_not_waited", 32, 1));
        return;
    }
    const std::initializer_list<const char*> race = {"race: reads 4 bytes", "a bulk copy wrote (code at 0x",
                                                     "nothing orders the two"};
    expect("stage_not_waited", 32, race);
    expect("block_barrier_for_copy", 32, race);
    expect("parity_of_before", 32, race);
    expect("parity_not_flipped", 32, race);
    expect("released_before_read", 64, {"race: ", "at byte 0 of dynamic|at byte 4 of dynamic", "a bulk copy"});
}

void arrivals() {
    expect("too_many_arrivals", 32, {"thread (0,0,0)", "arrives at a barrier for 1, where all have arrived"});
    expect("phase_nobody_saw", 32, {"arrives in phase 1 of a barrier", "nobody has waited"});
    expect("too_many_bytes", 32, {"expects more than 1048575 bytes"});
    expect("barrier_not_made", 32, {"mbarrier.try_wait of the barrier at byte 528 of dynamic", "no barrier was made"});
    expect("barrier_without_fence", 32, {"without fence.mbarrier_init or fence.proxy.async after it was made"});
    expect("barrier_made_twice", 32, {"mbarrier.init of a barrier that was made before"});
    expect("barrier_of_none", 1, {"mbarrier.init for 0 arrivals", "1 to 1048575"});
    const auto many = [](CopyTest& test) { test.params.items = 1 << 20; };
    expect("barrier_of_none", 1, {"mbarrier.init for 1048576 arrivals"}, many);
    // Whoever comes before it is made, or does not know that it was.
    if (SEES_ACCESSES) expect("barrier_not_known", 64, {"no barrier was made|race: updates (atomic) 8 bytes"});
}

void copies() {
    expect("misaligned_load", 32, {"a bulk copy", "not aligned to 128 bytes"});
    expect("misaligned_store", 32, {"a bulk store", "not aligned to 128 bytes"});
    expect("load_past_end", 32, {"a bulk copy that writes 16 bytes 0 bytes past the end of dynamic shared memory"},
           [](CopyTest& test) { test.params.offset = 1024; });
    expect("load_to_global", 32, {"not the block's shared memory"});
    expect("map_elsewhere", 32, {"a tensor map that is not in the kernel's parameters", "__grid_constant__"});
    expect("map_of_nothing", 32, {"a tensor map that nobody encoded"}, [](CopyTest& test) { test.maps[1].rank = 0; });
    expect("map_of_other_rank", 32, {"3 dimensions, tiled, by a tensor map of 2, tiled"});
    expect("load_column", 32, {"4 dimensions, im2col, by a tensor map of 2, tiled"});
    expect("load_first", 32, {"a tensor map of memory that the launch does not list"},
           [](CopyTest& test) { test.maps[0].dims[1] = 5; });
    expect("load_first", 32, {"a box 64 bytes wide, whose swizzle is of 128"}, [](CopyTest& test) {
        test.maps[0].box[0] = 16;
        test.maps[0].swizzle = 3;
    });
    // A bounding box of x from -1 to 7 and y from -1 to 6.
    const auto column = [](std::initializer_list<int32_t> at, Corner tap, uint32_t stride) {
        return [=](CopyTest& test) {
            test.x.resize(2 * 8 * 9 * 4);
            test.maps[0] = im2col(nullptr, 4, {4, 9, 8, 2}, {-1, -1}, {-1, -1}, 4, 8, stride);
            test.add(at, tap);
        };
    };
    for (const int32_t x : {-2, 8, 100}) {
        expect("load_column", 32, {"an im2col copy from base pixel", "of dimension 1", "-1 to 7"},
               column({0, x, 0, 0}, {0, 0}, 1));
    }
    for (const int32_t y : {-2, 7}) {
        expect("load_column", 32, {"an im2col copy from base pixel", "of dimension 2", "-1 to 6"},
               column({0, 0, y, 0}, {0, 0}, 1));
    }
    expect("load_column", 32, {"an im2col copy with an offset of 256, where there are 0 to 255"},
           column({0, 0, 0, 0}, {0, 256}, 1));
    if (!SEES_ACCESSES) return;
    expect("loads_collide", 32, {"race: a bulk copy writes 16 bytes at byte 0 of dynamic", "a bulk copy wrote"});
    expect("one_expected", 32, {"race: reads 4 bytes at byte", "a bulk copy wrote"});
    expect("source_written", 32, {"race: ", "of tensor 1", "a bulk copy reads|a bulk copy read"});
    expect("source_written_before", 32,
           {"a bulk copy that reads 16 bytes at byte", "of tensor 1", "without fence.proxy.async after it"});
}

void copies_out() {
    const auto from = [](int32_t x, int32_t y) {
        return [=](CopyTest& test) {
            test.list[0] = x;
            test.list[1] = y;
        };
    };
    expect_nowhere("exit_under_store", 32, {"exits while a bulk store still reads shared memory", "wait_group.read"});
    expect_nowhere("store_not_committed", 32, {"exits while a bulk store still reads shared memory"});
    expect("exit_under_store", 32, {"a bulk store from coordinate -1 of dimension 0"}, from(-1, 0));
    expect("exit_under_store", 32, {"a bulk store from coordinate -2 of dimension 1"}, from(0, -2));
    expect("exit_under_store", 32, {"a bulk store that writes", "of tensor 0", "which the launch only reads"},
           [](CopyTest& test) { test.of_y[1] = false; });
    expect("add_first", 32, {"a bulk addition of other numbers than f32"}, [](CopyTest& test) {
        test.maps[1] = tiled(nullptr, 2, {64, 4}, {64, 1});
    });
    if (!SEES_ACCESSES) return;
    expect("store_without_fence", 32,
           {"a bulk store that reads 16 bytes at byte", "of dynamic shared memory", "without fence.proxy.async"});
    expect("store_fenced_too_early", 32, {"which thread (3,0,0) wrote", "without fence.proxy.async after it"});
    expect("copy_out_without_barrier", 32, {"race: |which no thread of this block ever wrote", "a bulk store"});
    expect("result_read_early", 32, {"race: reads 4 bytes at byte 0 of tensor 1", "a bulk store wrote"});
    expect("source_overwritten", 32, {"race: writes 4 bytes at byte 28 of dynamic", "a bulk store read"});
    expect("waited_for_another", 32, {"race: writes 4 bytes at byte 128 of dynamic", "a bulk store read"});
    expect("stores_collide", 32, {"race: a bulk store writes", "of tensor 1", "a bulk store wrote"});
    expect("store_over_store", 32, {"race: a bulk store writes", "of tensor 1", "a bulk store wrote"});
    expect("store_over_addition", 32, {"race: a bulk store writes", "of tensor 1", "a bulk store updated (atomic)"});
}

void clusters() {
    expect_of_cluster("copy_to_ended_block", {"block (0,0,0)", "a bulk copy on the barrier in a block that has ended"});
    expect_of_cluster("copy_to_unready_block", {"no barrier was made (in another block of the cluster)"});
    expect_of_cluster("copy_beyond_cluster", {"block 2", "of a smaller cluster|of a cluster of 2"});
    expect_of_cluster("remote_arrive_at_ended_block", {"mbarrier.arrive", "in a block that has ended"});
    expect_of_cluster("remote_arrive_beyond", {"mbarrier.arrive", "in block 2 of a cluster of 2"});
    expect_of_cluster("cluster_arrives_twice", {"barrier.cluster.arrive twice"});
    for (const char* kernel : {"cluster_waits_only", "cluster_waits_again"}) {
        expect_of_cluster(kernel, {"barrier.cluster.wait without a barrier.cluster.arrive before it"});
    }
    expect_of_cluster("cluster_never_meets",
                      {"deadlock", "32 threads in barrier.cluster.wait", "such as (0,0,0) of block (0,0,0)",
                       "32 threads in mbarrier.try_wait", "such as (0,0,0) of block (1,0,0)"},
                      false);
    if (!SEES_ACCESSES) return;
    expect_of_cluster("remote_arrive_unmet", {"no barrier was made (in another|race: updates (atomic) 8 bytes"});
    expect_of_cluster("copy_over_other_block", {"race: ", "a bulk copy", "of dynamic shared memory", "block (1,0,0)"});
    expect_of_cluster("written_after_arriving", {"race: ", "of tensor 1", "block (0,0,0)", "block (1,0,0)"});
}

void named_barriers() {
    expect("mixed_counts", 96, {"comes to barrier 1 of", "threads, where others wait for"});
    expect("barrier_of_block", 64, {"a barrier of number 0", "0 is __syncthreads'"});
    expect("barrier_of_part", 64, {"barrier 2 of 48 threads", "no whole warps"});
    expect("barrier_of_absent", 64, {"barrier 2 of 96 threads", "no whole warps of this block"});
    expect("arrives_again", 64, {"comes to barrier 3 again, before it has completed"});
    expect_nowhere("halves_of_warps", 64, {"deadlock", "32 threads in bar.sync", "number 4", "in __syncthreads"});
    if (SEES_ACCESSES) expect("arrived_but_not_waited", 64, {"of dynamic shared memory", "race: reads|ever wrote"});
}

void registers() {
    expect_nowhere("registers_never_free", 384,
                   {"deadlock", "256 threads in setmaxnreg", "to 232 registers of each thread, of which 0 are free"});
    expect_nowhere("too_many_registers", 384, {"deadlock", "in setmaxnreg", "to 240 registers of each thread"});
    expect("registers_the_wrong_way", 384, {"setmaxnreg.dec to 232 registers of a thread that has 168"});
    expect_nowhere("registers_of_one_warp", 128, {"of the four warps of a group only some", "setmaxnreg"});
    expect("registers_of_three_warps", 96, {"setmaxnreg by warps that are no whole group of four"});
}

void dependent_launches() {
    const auto programmatic = [](CopyTest& test) { test.programmatic = true; };
    expect("load_too_early", 32, {"a bulk copy before griddepcontrol.wait"}, programmatic);
    expect("store_too_early", 32, {"a bulk store before griddepcontrol.wait"}, programmatic);
    if (!SEES_ACCESSES) return;
    expect("read_too_early", 32, {"reads global memory before griddepcontrol.wait"}, programmatic);
    expect("one_waits_for_itself", 2, {"thread (1,0,0)", "writes global memory before griddepcontrol.wait"},
           programmatic);
}

void misused_products() {
    const auto pair = [](CopyTest& test) {
        test.dynamic_shared = 7 << 10;
        test.x.resize(1024);
        test.maps[0] = tiled(nullptr, 4, {256}, {256});
        test.maps[0] = tiled(nullptr, 4, {256, 1}, {256, 1});
    };
    const auto product = [&](const char* kernel, std::initializer_list<const char*> words, uint32_t threads = 128) {
        expect(kernel, threads, words, pair);
    };
    const auto nowhere = [&](const char* kernel, std::initializer_list<const char*> words, uint32_t threads = 128,
                             uint32_t items = 0) {
        const auto make = [&] {
            CopyTest test = lines(kernel, threads, 1);
            pair(test);
            test.params.items = items;
            return test;
        };
        expect_fault(make, words, false);
    };
    product("no_fence_before", {"wgmma without wgmma.fence before it"});
    nowhere("exit_under_product", {"exits while products of its warp group are under way"});
    product("sums_of_other_shape", {"wgmma of other columns than those under way"});
    product("sums_shifted", {"wgmma on registers that others under way have in part"});
    product("descriptor_past_end",
            {"wgmma that reads 16 bytes", "past the end of dynamic shared memory of 7168 bytes"});
    product("descriptor_of_static", {"a matrix descriptor of what is not in the block's dynamic shared memory"});
    product("descriptor_within_pattern", {"a matrix descriptor that begins at line 1 of a swizzle's eight"});
    product("descriptors_differ", {"wgmma of other operands than those of the warp group's other threads"});
    product("some_have_waited", {"only some of its threads have waited"});
    product("some_have_committed", {"committed different numbers of groups"});
    const auto three_warps = [&](CopyTest& test) {
        pair(test);
        test.params.items = 96;
    };
    expect("multiply_first", 96, {"wgmma by warps that are no whole group of four"}, three_warps);
    nowhere("multiply_first", {"deadlock", "96 threads in wgmma.mma_async"}, 128, 96);
    if (!SEES_ACCESSES) {
        CopyTest test = lines("sums_read_early", 128, 1);
        pair(test);
        poisoned(test);
        return;
    }
    product("sums_cleared_after_fence", {"wgmma without wgmma.fence since thread (", "last touched its sums"});
    product("sums_changed_between", {"wgmma without wgmma.fence since thread (77,0,0) last touched its sums"});
    const std::initializer_list<const char*> early = {"reads 4 bytes of registers that a wgmma under way has",
                                                      "before wgmma.wait_group"};
    product("sums_read_early", early);
    product("other_group_waited_for", early);
    product("not_committed", early);
    product("operand_changed_after_fence", {"wgmma without wgmma.fence since thread (", "registers of its operand"});
    product("operand_changed_under_way", {"writes 4 bytes of registers that a wgmma under way has"});
    product("operands_not_fenced", {"wgmma that reads 16 bytes", "without fence.proxy.async after it"});
    product("operands_not_awaited", {"race: wgmma reads 16 bytes", "nothing orders the two"});
    product("one_warp_waits", {"race: wgmma reads 16 bytes", "a bulk copy wrote"});
    product("released_under_product", {"race: a bulk copy writes 16 bytes", "wgmma read"}, 256);
    product("operand_overwritten", {"race: writes 16 bytes", "wgmma read"});
    // The columns of the second pair begin at 5120.
    product("later_operand_overwritten", {"race: writes 16 bytes at byte 5120 of dynamic", "wgmma read"});
}

}  // namespace

void misused_hopper() {
    waits();
    arrivals();
    copies();
    copies_out();
    clusters();
    named_barriers();
    registers();
    dependent_launches();
    misused_products();
}
