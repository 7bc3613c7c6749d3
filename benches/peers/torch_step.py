"""One training step of torch_model.py: weights rounded, loss, gradients, and the recipe's SGD, in few launches.

Weights of convolutions are kept twice: the f32 master that SGD updates, and the network's own, in the type of the
activations, rewritten from it at every step by one multi-tensor launch. (Autocast makes the same roundings, by three
launches a layer.) The update is PyTorch's fused SGD. All this is f64 where the model is checked.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.sgd import sgd

from description import has_identity
from torch_model import STREAMS, FourConvolutions, Network, identity

# How a step is run: the form of generalized layers, torch.compile's mode, whether the step is captured and replayed.
FORMS = {
    "eager": (False, None, False),
    "graphs": (False, None, True),
    "compiled": (False, "max-autotune", False),
    "compiled-graphs": (False, "max-autotune-no-cudagraphs", True),
    "four-eager": (True, None, False),
    "four-graphs": (True, None, True),
    "four-compiled": (True, "max-autotune", False),
}


class MeanLoss(nn.Module):
    """Images [N, 3, H, W] and labels [N] to the mean cross-entropy of a network's logits, both in the wide type."""

    def __init__(self, network, label_smoothing):
        super().__init__()
        self.network, self.label_smoothing = network, label_smoothing

    def forward(self, images, labels):
        return F.cross_entropy(self.network(images), labels, label_smoothing=self.label_smoothing)


class Training:
    """A network with what its training keeps: masters, velocities, and where gradients are widened.

    narrow, wide   types of activations and convolution weights, and of everything else
    """

    def __init__(self, desc, device, narrow, wide, four=False, label_smoothing=0.0):
        self.network = Network(desc, four).to(device, wide).to(memory_format=torch.channels_last)
        self.loss = MeanLoss(self.network, label_smoothing)
        self.masters, self.identities = {}, {}
        for name, parameter in self.network.named_parameters():
            if parameter.dim() == 4:
                self.masters[name] = parameter.detach().clone(memory_format=torch.preserve_format)
                parameter.data = parameter.data.to(narrow)
        if has_identity(desc) and not four:
            layers = [name for name in self.masters if ".layer" in name]
            self.identities = {name: identity(desc, self.masters[name]) for name in layers}
        self.leaves = dict(self.network.named_parameters())
        # The gradients as SGD reads them, laid out like their masters.
        self.wide_grads = {name: torch.zeros_like(master) for name, master in self.masters.items()}
        self.velocities = {name: torch.zeros_like(self.master(name)) for name in self.leaves}

    def master(self, name):
        """What SGD updates for this parameter."""
        return self.masters.get(name, self.leaves[name])

    # ----------------------------------------------------------------------------------------------- a step

    @torch.no_grad()
    def refresh(self):
        """The network's weights from their masters: W + E, rounded."""
        sources = dict(self.masters)
        if self.identities:
            names = list(self.identities)
            summed = torch._foreach_add([self.masters[n] for n in names], [self.identities[n] for n in names])
            sources |= zip(names, summed)
        copy_all([self.leaves[n] for n in sources], list(sources.values()))

    def gradients(self, images, labels):
        """(loss, name -> gradient) of a batch, with the weights as last refreshed."""
        loss = self.loss(images, labels)
        return loss.detach(), dict(zip(self.leaves, torch.autograd.grad(loss, list(self.leaves.values()))))

    @torch.no_grad()
    def update(self, grads, learning_rate, momentum, weight_decay, nesterov=False, decay_scale=True, shift_rate=1.0):
        """v = momentum v + g; w = w - learning_rate v; W and linear weights decay to 0, batch norm's scales to 1.

        decay_scale    whether scales decay at all
        shift_rate     factor of the learning rate for shifts and biases, which never decay
        """
        names = list(self.masters)
        copy_all([self.wide_grads[n] for n in names], [grads[n] for n in names])
        grads = {**grads, **self.wide_grads}
        scales = [n for n in self.leaves if n.endswith(".bn.weight")]
        shifts = [n for n in self.leaves if n.endswith(".bias")]
        if decay_scale:
            # Fused SGD adds weight_decay * scale; less weight_decay that is the decay toward 1.
            grads |= zip(scales, torch._foreach_sub([grads[n] for n in scales], weight_decay))
        undecayed = [] if decay_scale else scales
        decayed = [n for n in self.leaves if n not in (*undecayed, *shifts)]
        shared = dict(momentum=momentum, dampening=0.0, nesterov=nesterov, maximize=False)
        for names, decay, rate in (
            (decayed, weight_decay, learning_rate), (undecayed, 0.0, learning_rate),
            (shifts, 0.0, learning_rate * shift_rate),
        ):
            if names:
                sources = (self.master, grads.__getitem__, self.velocities.__getitem__)
                lists = ([source(n) for n in names] for source in sources)
                sgd(*lists, fused=True, weight_decay=decay, lr=rate, **shared)

    def step(self, images, labels, learning_rate=0.1, momentum=0.9, weight_decay=2e-4, **options):
        """A whole step; returns the loss before it. `options` are those of `update`."""
        self.refresh()
        loss, grads = self.gradients(images, labels)
        self.update(grads, learning_rate, momentum, weight_decay, **options)
        return loss

    # ---------------------------------------------------------------------------------------------- tensors

    @torch.no_grad()
    def load(self, tensors):
        """Takes parameters and running statistics by checkpoint name; W without E."""
        for name, module in self.network.named_modules():
            if isinstance(module, FourConvolutions):
                parts = module.split(tensors.pop(f"{name}.weight"))
                tensors |= {f"{name}.{stream}": part for stream, part in parts.items()}
        own = {name: self.master(name) for name in self.leaves} | dict(self.network.named_buffers())
        if set(own) != set(tensors):
            raise ValueError(f"the model does not share {', '.join(sorted(set(own) ^ set(tensors)))} with the file")
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                shapes = f"{tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
                raise ValueError(f"{name} has the shape {shapes}")
            tensor.copy_(tensors[name])
        self.refresh()

    def joined(self, by_name):
        """A dict of parameters or gradients with checkpoint names: four weights as the one."""
        by_name = dict(by_name)
        for name, module in self.network.named_modules():
            if isinstance(module, FourConvolutions):
                parts = {stream: by_name.pop(f"{name}.{stream}") for stream in STREAMS}
                by_name[f"{name}.weight"] = module.join(parts)
        return by_name

    @torch.no_grad()
    def initialise(self, generator):
        """He's normal distribution (fan in) for weights; scales 1, shifts and biases 0."""
        for name in self.leaves:
            master = self.master(name)
            if master.dim() > 1:
                scale = (2 / master[0].numel()) ** 0.5
                master.copy_(torch.randn(master.shape, generator=generator, device=master.device) * scale)
            else:
                master.fill_(1.0 if name.endswith(".bn.weight") else 0.0)
        self.refresh()


def copy_all(targets, sources):
    """targets = sources, element by element, in one launch for each kind of filter.

    Lists whose strides differ take a launch a tensor, and a 1x1 filter has several strides that mean the same.
    """
    for is_1x1 in (False, True):
        chosen = [i for i, t in enumerate(targets) if (t.shape[-1] == 1) == is_1x1]
        if chosen:
            torch._foreach_copy_([targets[i] for i in chosen], [sources[i] for i in chosen])


def runner(training, form, images, labels):
    """A function of no arguments that makes one step of `form` and returns the loss; warm where that is captured."""
    _four, mode, captured = FORMS[form]
    if mode:
        training.loss = torch.compile(training.loss, mode=mode, dynamic=False)
    if not captured:

        def step():
            if mode:
                torch.compiler.cudagraph_mark_step_begin()
            return training.step(images, labels)

        return step
    # Autotuning, compilation and the allocator's growth all happen before the capture, on a stream of their own.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(4):
            training.step(images, labels)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = training.step(images, labels)

    def replay():
        graph.replay()
        return loss

    return replay
