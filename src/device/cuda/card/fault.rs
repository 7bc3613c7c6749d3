//! What an error of the CUDA driver means, and how it is said.

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

/// What a failed call means for the calls after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// This call alone failed.
    Refused,
    /// A kernel failed, perhaps long before the call that says so. The driver answers every later call the same.
    Faulted,
    /// The card is gone, or its memory is not to be trusted.
    Lost,
}

pub(super) fn meaning(result: CUresult) -> Meaning {
    match result {
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
        | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
        | CUresult::CUDA_ERROR_ASSERT
        | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
        | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
        | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
        | CUresult::CUDA_ERROR_INVALID_PC
        | CUresult::CUDA_ERROR_LAUNCH_FAILED => Meaning::Faulted,
        CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE
        | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
        | CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE
        | CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED
        | CUresult::CUDA_ERROR_DEINITIALIZED
        | CUresult::CUDA_ERROR_SYSTEM_NOT_READY
        | CUresult::CUDA_ERROR_EXTERNAL_DEVICE
        | CUresult::CUDA_ERROR_UNKNOWN => Meaning::Lost,
        _ => Meaning::Refused,
    }
}

/// The driver's own words, and the name to look up.
pub(in crate::device::cuda) fn words(error: &DriverError) -> String {
    let name =
        error.error_name().map_or_else(|_| format!("{:?}", error.0), |n| n.to_string_lossy().into_owned());
    match error.error_string() {
        Ok(text) => format!("{} ({name})", text.to_string_lossy()),
        Err(_) => name,
    }
}

/// The sentence for an error that shows while the driver is to do `what` on `card`. `launch` is what ran, where every
/// launch is waited for.
pub(super) fn sentence(
    card: &str,
    what: &str,
    launch: Option<&str>,
    meaning: Meaning,
    words: &str,
) -> String {
    match (meaning, launch) {
        (Meaning::Refused, _) => format!("{card}: the CUDA driver refused to {what}: {words}"),
        (Meaning::Faulted, Some(launch)) => format!(
            "{card}: {launch} failed: {words}; rir check --device emu runs its operation where every access is checked"
        ),
        (Meaning::Faulted, None) => format!(
            "{card}: a kernel failed, seen when about to {what}: {words}; run again with --no-graph --sync, \
             which names the node and its kernel"
        ),
        (Meaning::Lost, _) => format!(
            "{card}: the card was lost, seen when about to {what}: {words}; nvidia-smi shows whether it is back"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_what_helps() {
        assert_eq!(meaning(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS), Meaning::Faulted);
        assert_eq!(meaning(CUresult::CUDA_ERROR_ECC_UNCORRECTABLE), Meaning::Lost);
        assert_eq!(meaning(CUresult::CUDA_ERROR_OUT_OF_MEMORY), Meaning::Refused);
        let said = |launch, meaning| sentence("cuda:0 (H100)", "synchronise", launch, meaning, "it broke");
        assert!(said(None, Meaning::Faulted).contains("--no-graph --sync"));
        assert!(
            said(Some("relu, kernel relu_f32"), Meaning::Faulted)
                .contains("kernel relu_f32 failed: it broke")
        );
        assert!(said(None, Meaning::Lost).contains("nvidia-smi"));
        assert!(said(None, Meaning::Refused).contains("refused to synchronise: it broke"));
    }
}
