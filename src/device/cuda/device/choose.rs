//! Choices of kernels on a device: what is in force, and another table in its place.

use super::{CudaDevice, Options};
use crate::device::cuda::driver::Driver;
use crate::device::cuda::{Choices, Chosen, Table, launch};
use crate::device::{Choose, PlanId};
use crate::error::{Error, Result};
use crate::version::KERNELS_HASH;

/// How a device chooses, and what its choices hold for: a table without nodes.
///
/// # Errors
/// If the card failed, or the table of `options` does not hold for it.
pub(super) fn of_driver(driver: &mut dyn Driver, options: &Options) -> Result<(Choices, Chosen)> {
    let properties = driver.properties()?;
    let own = Chosen {
        card: properties.card.unwrap_or(properties.name),
        driver: properties.driver,
        kernels_hash: KERNELS_HASH.into(),
        nodes: Table::new(),
    };
    let mut choices = Choices {
        multiprocessors: driver.multiprocessors(),
        shared_limit: driver.shared_limit(),
        ascending: options.ascending,
        ..Choices::new(options.kernels, driver.generation())
    };
    if let Some(table) = &options.choices {
        table.holds_for(&own.card, &own.kernels_hash, choices.generation).map_err(|why| {
            Error::usage(format!(
                "the choices of kernels do not hold here: {why}; measure with rir bench tune"
            ))
        })?;
        choices.table = table.nodes.clone();
    }
    Ok((choices, own))
}

impl Choose for CudaDevice {
    fn choices(&self) -> &Choices {
        &self.choices
    }

    fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    fn choose(&mut self, table: Table) -> Result<()> {
        let choices = Choices { table, ..self.choices.clone() };
        self.plans.iter().flatten().try_for_each(|loaded| choices.check(&loaded.plan.graph))?;
        self.choices = choices;
        self.chosen.nodes.clear();
        for id in (0..self.plans.len()).map(PlanId) {
            // Captured of other launches.
            self.forget_step(id);
            if let Some(loaded) = &mut self.plans[id.0] {
                loaded.launches = launch::of_plan(&loaded.plan, &loaded.memory, &self.choices, loaded.table)?;
                self.chosen.nodes.extend(self.choices.of_graph(&loaded.plan.graph));
            }
        }
        Ok(())
    }
}

impl CudaDevice {
    /// The forms of convolution that run, and how they came to be chosen.
    pub(super) fn convolutions(&self) -> String {
        let nodes = &self.chosen.nodes;
        let mut forms: Vec<_> = nodes.values().map(|choice| choice.kernels).collect();
        forms.sort_unstable();
        forms.dedup();
        let names: Vec<String> = forms.iter().map(ToString::to_string).collect();
        let tabled = nodes.keys().filter(|key| self.choices.table.contains_key(*key)).count();
        let whose = match tabled {
            0 => String::new(),
            n => format!(", {n} of {} kinds by a table of choices", nodes.len()),
        };
        format!("{}{whose}", names.join(" and "))
    }
}
