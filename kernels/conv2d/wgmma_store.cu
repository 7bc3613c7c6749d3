// architectures: 90a
// Convolution on wgmma whose tiles go out by bulk copies: wgmma_store.cuh.
#include "wgmma_store.cuh"

namespace conv2d {

RIR_KERNEL_CLUSTER(conv2d_wgmma_store_64_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredForward<64, 64, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_store_96_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredForward<96, 64, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_store_128_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredForward<128, 64, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_store_192_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredForward<192, 64, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_store_64_span32_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredForward<64, 32, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_store_96_span32_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredForward<96, 32, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_store_128_span32_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredForward<128, 32, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_store_192_span32_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredForward<192, 32, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_store_halo_64_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredHaloForward<64, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_store_halo_96_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredHaloForward<96, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_store_halo_128_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredHaloForward<128, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_store_halo_192_bf16, StoreForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredHaloForward<192, 2, 1>>)

RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_64_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredDataGrad<64, 64, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_96_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredDataGrad<96, 64, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_128_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredDataGrad<128, 64, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_192_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredDataGrad<192, 64, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_64_span32_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredDataGrad<64, 32, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_96_span32_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredDataGrad<96, 32, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_128_span32_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredDataGrad<128, 32, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_192_span32_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredDataGrad<192, 32, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_halo_64_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredHaloDataGrad<64, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_halo_96_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredHaloDataGrad<96, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_halo_128_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredHaloDataGrad<128, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_store_halo_192_bf16, StoreDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_store<StoredHaloDataGrad<192, 2, 1>>)

}  // namespace conv2d
