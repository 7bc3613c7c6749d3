// architectures: 90a
// Convolution on wgmma, its simplest form: wgmma.cuh.
#include "wgmma.cuh"

namespace conv2d {

RIR_KERNEL_RING(conv2d_wgmma_64_bf16, WgmmaForwardParams, 2 * GROUP_THREADS, wgmma<WgmmaForward<64, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_96_bf16, WgmmaForwardParams, 2 * GROUP_THREADS, wgmma<WgmmaForward<96, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_128_bf16, WgmmaForwardParams, 2 * GROUP_THREADS, wgmma<WgmmaForward<128, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_192_bf16, WgmmaForwardParams, 2 * GROUP_THREADS, wgmma<WgmmaForward<192, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_64_span32_bf16, WgmmaForwardParams, 2 * GROUP_THREADS, wgmma<WgmmaForward<64, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_96_span32_bf16, WgmmaForwardParams, 2 * GROUP_THREADS, wgmma<WgmmaForward<96, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_128_span32_bf16, WgmmaForwardParams, 2 * GROUP_THREADS, wgmma<WgmmaForward<128, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_wgmma_192_span32_bf16, WgmmaForwardParams, 2 * GROUP_THREADS, wgmma<WgmmaForward<192, 32, 2, 1>>)

RIR_KERNEL_RING(conv2d_data_grad_wgmma_64_bf16, WgmmaDataGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaDataGrad<64, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_96_bf16, WgmmaDataGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaDataGrad<96, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_128_bf16, WgmmaDataGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaDataGrad<128, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_192_bf16, WgmmaDataGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaDataGrad<192, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_64_span32_bf16, WgmmaDataGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaDataGrad<64, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_96_span32_bf16, WgmmaDataGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaDataGrad<96, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_128_span32_bf16, WgmmaDataGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaDataGrad<128, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_192_span32_bf16, WgmmaDataGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaDataGrad<192, 32, 2, 1>>)

RIR_KERNEL_RING(conv2d_weight_grad_wgmma_64_bf16, WgmmaWeightGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaWeightGrad<64, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_96_bf16, WgmmaWeightGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaWeightGrad<96, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_128_bf16, WgmmaWeightGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaWeightGrad<128, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_192_bf16, WgmmaWeightGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaWeightGrad<192, 64, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_64_span32_bf16, WgmmaWeightGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaWeightGrad<64, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_96_span32_bf16, WgmmaWeightGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaWeightGrad<96, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_128_span32_bf16, WgmmaWeightGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaWeightGrad<128, 32, 2, 1>>)
RIR_KERNEL_RING(conv2d_weight_grad_wgmma_192_span32_bf16, WgmmaWeightGradParams, 2 * GROUP_THREADS,
                wgmma<WgmmaWeightGrad<192, 32, 2, 1>>)

}  // namespace conv2d
