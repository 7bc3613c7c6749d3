//! The reference as a device: the oracle for whole plans.

use super::{Context, Tensor, evaluate, store};
use crate::device::{Device, PlanId, StepInputs};
use crate::error::{Error, Result};
use crate::graph::{
    Graph, Node, ParameterKind, Placement, Plan, Precision, Region, Segment, StateLayout, ValueId,
};
use crate::ops::Op;

/// Runs plans by [`evaluate`], node after node, and rounds every value to its storage type.
///
/// Every value has memory of its own, so a mistake of the planner cannot show here, and would show as a difference
/// between this device and another.
#[derive(Debug)]
pub struct ReferenceDevice {
    layout: StateLayout,
    precision: Precision,
    parameters: Vec<Tensor>,
    momentum: Vec<Tensor>,
    gradients: Vec<Tensor>,
    running: Vec<Tensor>,
    slow: Vec<Tensor>,
    plans: Vec<Option<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    plan: Plan,
    /// One tensor a value; those of values in the State are not used.
    values: Vec<Tensor>,
}

impl ReferenceDevice {
    /// A State of zeros.
    pub fn new(layout: &StateLayout, precision: Precision) -> Self {
        let zeros: Vec<Tensor> = layout.parameters.iter().map(|p| Tensor::zeros(p.shape.clone())).collect();
        Self {
            precision,
            parameters: zeros.clone(),
            momentum: zeros.clone(),
            gradients: zeros.clone(),
            slow: zeros,
            running: layout.running.iter().map(|r| Tensor::zeros([r.channels])).collect(),
            layout: layout.clone(),
            plans: Vec::new(),
        }
    }

    fn region(&mut self, region: Region) -> &mut Vec<Tensor> {
        match region {
            Region::Parameters => &mut self.parameters,
            Region::Momentum => &mut self.momentum,
            Region::Gradients => &mut self.gradients,
            Region::Running => &mut self.running,
            Region::Slow => &mut self.slow,
        }
    }

    fn loaded(&mut self, id: PlanId) -> &mut Loaded {
        self.plans[id.0].as_mut().expect("an unloaded plan is not used again")
    }

    fn tensor(&mut self, id: PlanId, value: ValueId) -> &mut Tensor {
        match self.loaded(id).plan.placements[value.0] {
            Placement::State(region, index) => &mut self.region(region)[index],
            Placement::Workspace(_) => &mut self.loaded(id).values[value.0],
        }
    }

    fn set(&mut self, id: PlanId, value: ValueId, result: Tensor) {
        let dtype = self.loaded(id).plan.graph.value(value).dtype;
        *self.tensor(id, value) = result.stored(dtype);
    }

    fn run_node(&mut self, id: PlanId, node: &Node, step: &StepInputs) {
        let inputs: Vec<Tensor> = node.inputs.iter().map(|&v| self.tensor(id, v).clone()).collect();
        let mut arguments: Vec<&Tensor> = inputs.iter().collect();
        if let Op::Sgd(op) = &node.op {
            arguments.extend(self.parameters.iter().chain(&self.momentum));
            arguments.extend(self.slow.iter().filter(|_| op.lookahead));
        }
        let kinds: Vec<ParameterKind> = self.layout.parameters.iter().map(|p| p.kind).collect();
        let context = Context { precision: self.precision, step: *step, kinds: &kinds };
        let results = evaluate(&node.op, &arguments, &context);
        match &node.op {
            Op::Sgd(op) => {
                let master = self.precision.master();
                let mut results = results.into_iter().map(|t| t.stored(master));
                let mut next = || results.by_ref().take(kinds.len()).collect();
                (self.parameters, self.momentum) = (next(), next());
                if op.lookahead {
                    self.slow = next();
                }
            }
            Op::UpdateRunning(_) => {
                for (&running, result) in node.inputs[1..].iter().zip(results) {
                    self.set(id, running, result);
                }
            }
            _ => {
                for (&output, result) in node.outputs.iter().zip(results) {
                    self.set(id, output, result);
                }
            }
        }
    }
}

/// `Ok` where `data` fills `tensor`.
fn fill(tensor: &mut Tensor, data: impl ExactSizeIterator<Item = f64>) -> Result<()> {
    if data.len() != tensor.data.len() {
        return Err(Error::device(format!("{} numbers do not fill {}", data.len(), tensor.shape)));
    }
    tensor.data = data.collect();
    Ok(())
}

impl Device for ReferenceDevice {
    fn name(&self) -> String {
        "reference".into()
    }

    fn load(&mut self, plan: Plan) -> Result<PlanId> {
        if plan.graph.state != self.layout {
            return Err(Error::device("the plan was made for another State"));
        }
        let values = plan.graph.values.iter().map(|v| Tensor::zeros(v.shape.clone())).collect();
        self.plans.push(Some(Loaded { plan, values }));
        Ok(PlanId(self.plans.len() - 1))
    }

    fn plan(&self, id: PlanId) -> &Plan {
        &self.plans[id.0].as_ref().expect("an unloaded plan is not used again").plan
    }

    fn unload(&mut self, id: PlanId) {
        self.plans[id.0] = None;
    }

    fn write_batch(&mut self, id: PlanId, images: &[f32], labels: &[i32]) -> Result<()> {
        let (at_images, at_labels) = (self.plan(id).images(), self.plan(id).labels());
        if let Some(v) = at_images {
            fill(self.tensor(id, v), images.iter().map(|&x| f64::from(x)))?;
        }
        if let Some(v) = at_labels {
            fill(self.tensor(id, v), labels.iter().map(|&x| f64::from(x)))?;
        }
        Ok(())
    }

    fn write(&mut self, id: PlanId, value: ValueId, data: &[f64]) -> Result<()> {
        let dtype = self.plan(id).graph.value(value).dtype;
        fill(self.tensor(id, value), data.iter().map(|&x| store(dtype, x)))
    }

    fn read(&mut self, id: PlanId, value: ValueId) -> Result<Vec<f64>> {
        Ok(self.tensor(id, value).data.clone())
    }

    fn write_state(&mut self, region: Region, index: usize, data: &[f64]) -> Result<()> {
        let master = self.precision.master();
        fill(&mut self.region(region)[index], data.iter().map(|&x| store(master, x)))
    }

    fn read_state(&mut self, region: Region, index: usize) -> Result<Vec<f64>> {
        Ok(self.region(region)[index].data.clone())
    }

    fn poison(&mut self, id: PlanId) -> Result<()> {
        self.loaded(id).values.iter_mut().for_each(|t| t.data.fill(f64::NAN));
        Ok(())
    }

    fn run(&mut self, id: PlanId, segment: Segment, inputs: &StepInputs) -> Result<()> {
        for n in self.plan(id).segment(segment) {
            let node = self.plan(id).graph.nodes[n].clone();
            self.run_node(id, &node, inputs);
        }
        Ok(())
    }

    fn scratch(&self) -> fn(&Graph, &Node) -> usize {
        |_, _| 0
    }
}
