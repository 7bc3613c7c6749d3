//! The device on a card: operations, and whole training runs whose steps are captured graphs.

use rir::check::{Case, Rows, run_cases, table};
use rir::device::Device;
use rir::device::cuda::emulator::EmulatorDriver;
use rir::device::cuda::images::images;
use rir::device::cuda::{CardDriver, CudaDevice, Generation, Options};
use rir::graph::{Precision, StateLayout};
use rir::train::{Environment, Length, TrainOptions, train};

use super::stand_in::with_driver;
use super::tiny;

/// Every fortieth row: launch code and kernels are held to all of them by the emulator, here it is the way to them.
fn some_rows() -> impl Iterator<Item = Case> {
    table(Rows::Kernels(Generation::Hopper), None).step_by(40)
}

with_driver! {
    fn operations() {
        let open = |layout: &StateLayout, precision, kernels| {
            let options = Options { kernels, ..Options::default() };
            let card = CardDriver::open(0, images())?;
            Ok(Box::new(CudaDevice::new(Box::new(card), layout, precision, options)?) as Box<dyn Device>)
        };
        let report = run_cases(some_rows(), &open);
        let failed: Vec<_> = report.cases.iter().filter(|case| !case.passed).collect();
        assert!(failed.is_empty() && report.passed > 20, "{failed:?}");
    }
}

/// A run of two epochs, on the card or straight on the emulator.
fn run(folder: &std::path::Path, on_card: bool, options: Options) {
    let open = |_: &str, layout: &StateLayout, precision: Precision| {
        let driver: Box<dyn super::Driver> = match on_card {
            true => Box::new(CardDriver::open(0, images())?.synchronous(options.sync)),
            false => Box::new(EmulatorDriver::new(0)),
        };
        Ok(Box::new(CudaDevice::new(driver, layout, precision, options.clone())?) as Box<dyn Device>)
    };
    let environment = Environment { open_data: &tiny::data, open_device: &open };
    let run = TrainOptions { length: Some(Length::Epochs(2)), ..tiny::options(folder) };
    assert!(train(&run, &environment).unwrap().finished);
}

with_driver! {
    fn a_training_run_is_the_emulators_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        run(&path("emulator"), false, Options::default());
        run(&path("graph"), true, Options::default());
        run(&path("launches"), true, Options { graph: false, sync: true, ..Options::default() });
        let tensors = |name| {
            let checkpoint = tiny::checkpoint(&path(name).join("checkpoint.safetensors"));
            (checkpoint.tensors, checkpoint.momentum)
        };
        for name in ["graph", "launches"] {
            assert_eq!(tensors(name), tensors("emulator"), "{name}");
            assert_eq!(tiny::metrics(&path(name)), tiny::metrics(&path("emulator")), "{name}");
        }
    }
}

with_driver! {
    fn a_batch_that_does_not_fit_says_which_does("MEMORY" = "400000") {
        let folder = tempfile::tempdir().unwrap();
        let open = |_: &str, layout: &StateLayout, precision: Precision| {
            let card = CardDriver::open(0, images())?;
            Ok(Box::new(CudaDevice::new(Box::new(card), layout, precision, Options::default())?) as Box<dyn Device>)
        };
        let environment = Environment { open_data: &tiny::data, open_device: &open };
        let run = TrainOptions { batch_size: Some(53), ..tiny::options(folder.path()) };
        let said = train(&run, &environment).unwrap_err().to_string();
        assert!(said.contains("a batch of 53 images needs"), "{said}");
        assert!(said.contains("use a batch of at most"), "{said}");
    }
}
