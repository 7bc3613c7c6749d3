// Form `wgmma-cluster`: clusters of two blocks, one tile below the other, which read the same columns. Each block
// copies half of them, to both (multicast), so that a multiprocessor asks L2 for half as many filters. A stage is empty
// when both blocks have used it: whoever copies waits for both.
#pragma once

#include "wgmma_persistent.cuh"

namespace conv2d {

constexpr uint32_t CLUSTER = 2;

template <typename Product, typename Beside>
__device__ __forceinline__ void wgmma_cluster(const typename Product::Params& p, const Beside& beside) {
    using Shared = WgmmaShared<Product, CONSUMERS>;
    RIR_SHARED_DYNAMIC(Shared, shared);
    make_ring<Product>(p, shared, CLUSTER * Product::Tile::GROUPS * (GROUP_THREADS / WARP));
    __syncwarp();
    ptx::cluster_arrive();
    ptx::cluster_wait();
    ptx::wait_for_launch_before();
    wgmma_tiles<Product, CLUSTER>(p, shared, ptx::block_of_cluster(), beside);
    // A block's shared memory lasts until the other has written and said all.
    __syncwarp();
    ptx::cluster_arrive();
    ptx::cluster_wait();
}

template <typename Product>
__device__ __forceinline__ void wgmma_cluster(const typename Product::Params& p) {
    wgmma_cluster<Product>(p, [](const Product&) {});
}

}  // namespace conv2d
