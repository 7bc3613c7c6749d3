// architectures: 90a
// Convolution on wgmma in clusters: wgmma_cluster.cuh.
#include "wgmma_cluster.cuh"

namespace conv2d {

RIR_KERNEL_CLUSTER(conv2d_wgmma_cluster_64_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaForward<64, 64, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_cluster_96_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaForward<96, 64, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_cluster_128_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaForward<128, 64, 2, 1, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_cluster_192_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaForward<192, 64, 2, 1, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_cluster_64_span32_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaForward<64, 32, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_cluster_96_span32_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaForward<96, 32, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_cluster_128_span32_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaForward<128, 32, 2, 1, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_wgmma_cluster_192_span32_bf16, WgmmaForwardParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaForward<192, 32, 2, 1, CLUSTER>>)

RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_cluster_64_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaDataGrad<64, 64, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_cluster_96_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaDataGrad<96, 64, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_cluster_128_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaDataGrad<128, 64, 2, 1, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_cluster_192_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaDataGrad<192, 64, 2, 1, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_cluster_64_span32_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaDataGrad<64, 32, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_cluster_96_span32_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaDataGrad<96, 32, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_cluster_128_span32_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaDataGrad<128, 32, 2, 1, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_data_grad_wgmma_cluster_192_span32_bf16, WgmmaDataGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaDataGrad<192, 32, 2, 1, CLUSTER>>)

RIR_KERNEL_CLUSTER(conv2d_weight_grad_wgmma_cluster_64_bf16, WgmmaWeightGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaWeightGrad<64, 64, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_weight_grad_wgmma_cluster_96_bf16, WgmmaWeightGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaWeightGrad<96, 64, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_weight_grad_wgmma_cluster_128_bf16, WgmmaWeightGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaWeightGrad<128, 64, 2, 1, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_weight_grad_wgmma_cluster_192_bf16, WgmmaWeightGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaWeightGrad<192, 64, 2, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_weight_grad_wgmma_cluster_64_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaWeightGrad<64, 32, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_weight_grad_wgmma_cluster_96_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaWeightGrad<96, 32, 1, 2, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_weight_grad_wgmma_cluster_128_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaWeightGrad<128, 32, 2, 1, CLUSTER>>)
RIR_KERNEL_CLUSTER(conv2d_weight_grad_wgmma_cluster_192_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS, CLUSTER,
                   wgmma_cluster<WgmmaWeightGrad<192, 32, 2, 2, CLUSTER>>)

}  // namespace conv2d
