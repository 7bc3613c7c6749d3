// architectures: 90a
// Convolution on wgmma with persistent blocks: wgmma_persistent.cuh.
#include "wgmma_persistent.cuh"

namespace conv2d {

RIR_KERNEL_RING(conv2d_wgmma_persistent_64_bf16, WgmmaForwardParams, ROLES_THREADS,
                wgmma_persistent<WgmmaForward<64, 64, 1, 2>>)
RIR_KERNEL_RING(conv2d_wgmma_persistent_96_bf16, WgmmaForwardParams, ROLES_THREADS,
                wgmma_persistent<WgmmaForward<96, 64, 1, 2>>)
RIR_KERNEL_RING(conv2d_wgmma_persistent_128_bf16, WgmmaForwardParams, ROLES_THREADS,
                wgmma_persistent<WgmmaForward<128, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_persistent_192_bf16, WgmmaForwardParams, ROLES_THREADS,
                wgmma_persistent<WgmmaForward<192, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_persistent_64_span32_bf16, WgmmaForwardParams, ROLES_THREADS,
                wgmma_persistent<WgmmaForward<64, 32, 1, 2>>)
RIR_KERNEL_RING(conv2d_wgmma_persistent_96_span32_bf16, WgmmaForwardParams, ROLES_THREADS,
                wgmma_persistent<WgmmaForward<96, 32, 1, 2>>)
RIR_KERNEL_RING(conv2d_wgmma_persistent_128_span32_bf16, WgmmaForwardParams, ROLES_THREADS,
                wgmma_persistent<WgmmaForward<128, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_persistent_192_span32_bf16, WgmmaForwardParams, ROLES_THREADS,
                wgmma_persistent<WgmmaForward<192, 32, 2, 1>>)

RIR_KERNEL_RING(conv2d_data_grad_wgmma_persistent_64_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaDataGrad<64, 64, 1, 2>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_persistent_96_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaDataGrad<96, 64, 1, 2>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_persistent_128_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaDataGrad<128, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_persistent_192_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaDataGrad<192, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_persistent_64_span32_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaDataGrad<64, 32, 1, 2>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_persistent_96_span32_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaDataGrad<96, 32, 1, 2>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_persistent_128_span32_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaDataGrad<128, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_persistent_192_span32_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaDataGrad<192, 32, 2, 1>>)

RIR_KERNEL_RING(conv2d_weight_grad_wgmma_persistent_64_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaWeightGrad<64, 64, 1, 2>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_persistent_96_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaWeightGrad<96, 64, 1, 2>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_persistent_128_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaWeightGrad<128, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_persistent_192_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaWeightGrad<192, 64, 2, 2>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_persistent_64_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaWeightGrad<64, 32, 1, 2>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_persistent_96_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaWeightGrad<96, 32, 1, 2>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_persistent_128_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaWeightGrad<128, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_persistent_192_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_persistent<WgmmaWeightGrad<192, 32, 2, 2>>)

}  // namespace conv2d
