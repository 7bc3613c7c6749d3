// architectures: 90a
// Convolution on wgmma with warp specialisation: wgmma_ws.cuh.
#include "wgmma_ws.cuh"

namespace conv2d {

RIR_KERNEL_RING(conv2d_wgmma_ws_64_bf16, WgmmaForwardParams, ROLES_THREADS, wgmma_ws<WgmmaForward<64, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_ws_96_bf16, WgmmaForwardParams, ROLES_THREADS, wgmma_ws<WgmmaForward<96, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_ws_128_bf16, WgmmaForwardParams, ROLES_THREADS, wgmma_ws<WgmmaForward<128, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_ws_192_bf16, WgmmaForwardParams, ROLES_THREADS, wgmma_ws<WgmmaForward<192, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_ws_64_span32_bf16, WgmmaForwardParams, ROLES_THREADS, wgmma_ws<WgmmaForward<64, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_ws_96_span32_bf16, WgmmaForwardParams, ROLES_THREADS, wgmma_ws<WgmmaForward<96, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_ws_128_span32_bf16, WgmmaForwardParams, ROLES_THREADS,
                wgmma_ws<WgmmaForward<128, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_ws_192_span32_bf16, WgmmaForwardParams, ROLES_THREADS,
                wgmma_ws<WgmmaForward<192, 32, 2, 1>>)

RIR_KERNEL_RING(conv2d_data_grad_wgmma_ws_64_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaDataGrad<64, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_ws_96_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaDataGrad<96, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_ws_128_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaDataGrad<128, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_ws_192_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaDataGrad<192, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_ws_64_span32_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaDataGrad<64, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_ws_96_span32_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaDataGrad<96, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_ws_128_span32_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaDataGrad<128, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_ws_192_span32_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaDataGrad<192, 32, 2, 1>>)

RIR_KERNEL_RING(conv2d_weight_grad_wgmma_ws_64_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaWeightGrad<64, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_ws_96_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaWeightGrad<96, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_ws_128_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaWeightGrad<128, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_ws_192_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaWeightGrad<192, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_ws_64_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaWeightGrad<64, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_ws_96_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaWeightGrad<96, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_ws_128_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaWeightGrad<128, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_ws_192_span32_bf16, WgmmaWeightGradParams, ROLES_THREADS,
                wgmma_ws<WgmmaWeightGrad<192, 32, 2, 1>>)

}  // namespace conv2d
