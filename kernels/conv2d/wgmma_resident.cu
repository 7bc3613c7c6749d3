// architectures: 90a
// Convolution on wgmma with filters that stay: wgmma_resident.cuh.
#include "wgmma_resident.cuh"

namespace conv2d {

RIR_KERNEL_RING(conv2d_wgmma_resident_64_bf16, WgmmaForwardParams, ROLES_THREADS, wgmma_resident<ResidentForward<64>>)
RIR_KERNEL_RING(conv2d_wgmma_resident_96_bf16, WgmmaForwardParams, ROLES_THREADS, wgmma_resident<ResidentForward<96>>)

RIR_KERNEL_RING(conv2d_data_grad_wgmma_resident_64_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_resident<ResidentDataGrad<64>>)
RIR_KERNEL_RING(conv2d_data_grad_wgmma_resident_96_bf16, WgmmaDataGradParams, ROLES_THREADS,
                wgmma_resident<ResidentDataGrad<96>>)

}  // namespace conv2d
