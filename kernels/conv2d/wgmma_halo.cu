// architectures: 90a
// Convolution on wgmma from patches with their halo: wgmma_halo.cuh.
#include "wgmma_halo.cuh"
#include "wgmma_weight_grad_halo.cuh"

namespace conv2d {

RIR_KERNEL_CLUSTER(conv2d_wgmma_halo_64_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<HaloForward<64, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_halo_96_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<HaloForward<96, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_halo_128_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<HaloForward<128, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_halo_192_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<HaloForward<192, 2, 1>>)

RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_halo_64_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<HaloDataGrad<64, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_halo_96_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<HaloDataGrad<96, 1, 2>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_halo_128_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<HaloDataGrad<128, 2, 1>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_halo_192_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<HaloDataGrad<192, 2, 1>>)

RIR_KERNEL_RING(conv2d_weight_grad_wgmma_halo_64_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_weight_grad_halo<HaloWeightGrad<64>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_halo_96_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_weight_grad_halo<HaloWeightGrad<96>>)

}  // namespace conv2d
