//! From a kernel's name to its function on the card.

use std::ffi::CString;

use cudarc::driver::{result, sys};

use super::{CardDriver, described, open};
use crate::device::cuda::images::Image;
use crate::device::cuda::launch::Launch;
use crate::error::{Error, Result};

/// The image of a family, and its module once one of its kernels was asked for.
pub(super) struct Module {
    pub(super) image: Image,
    pub(super) loaded: Option<sys::CUmodule>,
}

#[derive(Clone, Copy)]
pub(super) struct Function {
    pub(super) handle: sys::CUfunction,
    /// Bytes of its one parameter; `None`, where the driver cannot tell.
    pub(super) params: Option<usize>,
    /// Bytes of dynamic shared memory that it was allowed.
    pub(super) dynamic_shared: u32,
    /// Whether it waits for the launches before it by itself.
    pub(super) waits: bool,
}

impl CardDriver {
    /// The function of a kernel, its module loaded, with as much dynamic shared memory as the launch wants.
    pub(super) fn prepare(&mut self, launch: &Launch) -> Result<Function> {
        let known = self.functions.get(&launch.kernel).copied();
        let mut function = match known {
            Some(function) => function,
            None => self.find(&launch.kernel)?,
        };
        let bytes = launch.params.len();
        if let Some(expected) = function.params.filter(|&expected| expected != bytes) {
            return Err(Error::device(format!(
                "{}: {} passes {bytes} bytes of parameters, and the kernel takes {expected}: launch code and kernel \
                 differ, which is a bug",
                self.name,
                described(launch)
            )));
        }
        if launch.dynamic_shared > function.dynamic_shared {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = i32::try_from(launch.dynamic_shared).unwrap_or(i32::MAX);
            let what = format!("give {} {bytes} bytes of shared memory", described(launch));
            self.call(&what, None, |_| {
                // SAFETY: the function is of a module that stays loaded as long as this driver.
                unsafe { result::function::set_function_attribute(function.handle, attribute, bytes) }
            })?;
            function.dynamic_shared = launch.dynamic_shared;
        }
        self.functions.insert(launch.kernel.clone(), function);
        Ok(function)
    }

    fn find(&mut self, kernel: &str) -> Result<Function> {
        let n = self.modules.iter().position(|m| m.image.kernels.contains(&kernel)).ok_or_else(|| {
            Error::device(format!(
                "{}: this build holds no kernel {kernel} for the card: build rir again",
                self.name
            ))
        })?;
        let image = self.modules[n].image;
        let module = match self.modules[n].loaded {
            Some(module) => module,
            None => {
                let mut bytes = image.load()?;
                // PTX is read up to its end as a C string.
                bytes.push(0);
                let what = format!("load the kernels of {}", image.family);
                // SAFETY: the whole of a cubin, or PTX with its end marked, as nvcc wrote it.
                let module =
                    self.call(&what, None, |_| unsafe { result::module::load_data(bytes.as_ptr().cast()) })?;
                self.modules[n].loaded = Some(module);
                module
            }
        };
        let symbol =
            CString::new(kernel).map_err(|_| Error::device(format!("'{kernel}' is no kernel's name")))?;
        let checks_params = self.checks_params;
        self.call(&format!("find kernel {kernel}"), None, |_| {
            // SAFETY: a module that was loaded above, and stays loaded.
            let handle = unsafe { result::module::get_function(module, symbol)? };
            let params = checks_params.then(|| {
                let (mut offset, mut size) = (0, 0);
                // SAFETY: the function was found above; both places are written before they are read.
                unsafe {
                    sys::cuFuncGetParamInfo(handle, 0, &raw mut offset, &raw mut size).result().map(|()| size)
                }
            });
            let waits = open::waits_in(&image);
            Ok(Function { handle, params: params.transpose()?, dynamic_shared: 0, waits })
        })
    }
}
