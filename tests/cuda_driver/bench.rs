//! `rir bench` on a card: the roof, operations checked and timed, and whole steps.

use std::time::Duration;

use rir::bench::report::{layers, ops};
use rir::bench::{self, Bench, Network, Rates, Settings, rates};
use rir::device::Device;
use rir::device::cuda::images::images;
use rir::device::cuda::{CardDriver, CudaDevice, Options};
use rir::graph::{Fusions, Precision, StateLayout};

use super::stand_in::with_driver;
use super::tiny;

fn network() -> Network {
    Network {
        description: tiny::model(),
        image: [8, 8, 3],
        classes: 3,
        batch: 4,
        precision: Precision::Bf16,
        fusions: Fusions::ALL,
    }
}

fn on_card(measure: impl FnOnce(&Bench<'_>)) {
    let open = |layout: &StateLayout, precision, kernels| {
        let options = Options { kernels, ..Options::default() };
        let card = CardDriver::open(0, images())?;
        Ok(Box::new(CudaDevice::new(Box::new(card), layout, precision, options)?) as Box<dyn Device>)
    };
    let rates = Rates {
        copy_gb_s: 1.0,
        driver_copy_gb_s: Some(1.0),
        matrix_tflop_s: Some(1e-3),
        multiply_add_tflop_s: 1e-3,
    };
    let settings = Settings { warmup: 1, repeats: Some(2), time: Duration::from_millis(1), deadline: None };
    measure(&Bench {
        factory: &open,
        apart: None,
        kernels: None,
        settings,
        rates: Some(rates),
        watch: &|_| (),
    });
}

with_driver! {
    fn the_roof("MEMORY" = "8388608", "MULTIPROCESSORS" = "1") {
        let mut card = CardDriver::open(0, images()).unwrap();
        let rates = rates::of_card(&mut card).unwrap();
        let all = [rates.copy_gb_s, rates.driver_copy_gb_s.unwrap(), rates.matrix_tflop_s.unwrap()];
        assert!(all.iter().all(|rate| rate.is_finite() && *rate > 0.0), "{rates:?}");
        assert!(rates.multiply_add_tflop_s > 0.0, "{rates:?}");
    }
}

with_driver! {
    fn operations("L2" = "65536") {
        on_card(|bench| {
            let findings = ops(bench, &network(), Some("two_stream_update")).unwrap();
            assert!(findings.failed.is_empty() && findings.rows.len() > 1, "{:?}", findings.failed);
            for row in &findings.rows {
                let launched = row["launched"].as_array().unwrap();
                // Which of the update's kernels is the shape's affair.
                let update = launched.iter().any(|kernel| kernel.as_str().unwrap().starts_with("two_stream_update_"));
                assert!(update && row["cold"]["median_us"].as_f64() > Some(0.0), "{row}");
            }
            let findings = layers(bench, &network(), Some("group1")).unwrap();
            assert!(findings.failed.is_empty() && findings.rows.len() >= 6, "{:?}", findings.failed);
        });
    }
}

with_driver! {
    fn steps("L2" = "65536") {
        on_card(|bench| {
            let findings = bench::fusion::fusion(bench, &network(), Some("fused")).unwrap();
            assert!(findings.failed.is_empty() && findings.rows.len() == 2, "{:?}", findings.failed);
            let [fused, unfused] = [0, 1].map(|n| findings.rows[n]["launches"].as_u64().unwrap());
            assert!(0 < fused && fused < unfused, "{fused} {unfused}");
            assert!(findings.rows[0]["plan"]["median_us"].as_f64() > Some(0.0), "{}", findings.rows[0]);
        });
    }
}
