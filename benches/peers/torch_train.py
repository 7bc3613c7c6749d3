"""Trains in PyTorch by the recipe of one of our runs, to hold our loss curves against; compare_curves.py does that.

    torch_train.py --run runs/NAME --seeds 3 --json torch.json
        The network, recipe, precision, length and data of that run, which its config.toml tells.

    torch_train.py --recipe paper --model rir-18-wide --data DIR --precision bf16 --epochs 4 --seeds 3 --json torch.json
        A recipe and a model by name or .toml file, and the folder that holds CIFAR's binary files.

The same network, the same arithmetic (bf16: weights and activations are rounded where autocast rounds them; master
weights, batch norm, logits and the loss are f32), the same distributions of weights, orders, crops, flips and cuts, but
PyTorch's own random numbers: curves agree as those of two seeds do, not bit by bit. A line of `lines` is one of our
metrics.jsonl: mean losses over a twentieth of an epoch, and of whole epochs with the evaluation after them.
`training_seconds` is the time of steps alone, as in our lines. Needs PyTorch 2.6 or newer.
"""

import argparse
import os
import sys
import time

import recipe as recipes
import record
from description import parameter_count

STARTED = time.monotonic()
TYPES = {"f32": "float32", "bf16": "bfloat16"}
# Images that are evaluated at once.
EVALUATED = 500


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", metavar="FOLDER", help="a run of ours: everything below that is not given is its")
    parser.add_argument("--recipe", help="a built-in recipe's name, or a .toml file")
    parser.add_argument("--model", help="a named model, or a .toml file")
    parser.add_argument("--data", metavar="FOLDER", help="where CIFAR's binary files are")
    parser.add_argument("--precision", choices=TYPES, help="default: f32")
    parser.add_argument("--epochs", type=int, help="passes over the training set; the schedule keeps its shape")
    parser.add_argument("--steps", type=int, help="steps, in place of epochs")
    parser.add_argument("--batch-size", type=int, help="images a step")
    parser.add_argument("--lr", type=float, help="learning rate")
    parser.add_argument("--subset", type=int, help="so many training images, the same number of each class")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from the first on")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--time-limit", type=float, default=float("inf"), metavar="SECONDS", help="make no step after")
    parser.add_argument("--json", help="write the result to this file, after every seed")
    args = parser.parse_args()
    if not args.run and not (args.recipe and args.model and args.data):
        parser.error("give --run, or --recipe, --model and --data")
    if args.epochs and args.steps:
        parser.error("give --epochs or --steps, not both")
    numbers = (args.epochs, args.steps, args.batch_size, args.subset, args.seeds, args.threads)
    if any(number is not None and number < 1 for number in numbers):
        parser.error("--epochs, --steps, --batch-size, --subset, --seeds and --threads must be at least 1")
    return args


def settings(args):
    """What is trained: the run's config.toml, overridden by the options. Raises ValueError or OSError."""
    import cifar

    run = recipes.read_config(args.run) if args.run else {}
    recipe = recipes.read_recipe(args.recipe) if args.recipe else run["recipe"]
    recipe["batch-size"] = args.batch_size or recipe["batch-size"]
    recipe["learning-rate"] = args.lr or recipe["learning-rate"]
    usual = os.path.basename(str(run.get("data", "")))
    wanted = next((name for name, (folder, *_rest) in cifar.SETS.items() if usual == folder), None)
    data, folder = cifar.find(args.data or run["data"], wanted)
    classes = cifar.classes(data)
    if args.model:
        model = recipes.read_model(args.model, classes)
    else:
        model = recipes.description(run["model"], classes)
    length = run.get("length", {"epochs": recipe["epochs"]})
    length = {"epochs": args.epochs} if args.epochs else {"steps": args.steps} if args.steps else length
    return {
        "recipe": recipe, "model": model, "data": data, "folder": folder, "length": length,
        "precision": args.precision or run.get("precision", "f32"), "subset": args.subset or run.get("subset", 0),
        "evaluate_every": run.get("evaluate-every", 1),
    }


# ---------------------------------------------------------------------------------------------------- training


class Lookahead:
    """Slow weights that go a share of the way to the fast ones now and then, which then begin anew from there."""

    def __init__(self, training, lookahead):
        self.lookahead = lookahead
        self.fast = [training.master(name) for name in training.leaves] if lookahead else []
        self.slow = [weight.detach().clone() for weight in self.fast]

    def after(self, step, total):
        import torch

        share = recipes.lookahead_share(self.lookahead, step, total)
        if share is not None:
            with torch.no_grad():
                torch._foreach_lerp_(self.slow, self.fast, share)
                torch._foreach_copy_(self.fast, self.slow)


def chosen(labels, subset, generator):
    """Indices of so many images, the same number of each class; all without a subset."""
    import torch

    if not subset:
        return torch.arange(len(labels), device=labels.device)
    order = torch.randperm(len(labels), generator=generator, device=labels.device)
    kinds = labels.unique()
    parts = [order[labels[order] == kind][: subset // len(kinds)] for kind in kinds]
    return torch.cat(parts).sort().values


def evaluate(training, batches, pixels, labels):
    """(mean loss without smoothing, accuracy in per cent) by the running statistics."""
    import torch
    import torch.nn.functional as F

    training.refresh()
    training.network.eval()
    loss = correct = 0.0
    with torch.no_grad():
        for start in range(0, len(labels), EVALUATED):
            part = slice(start, start + EVALUATED)
            logits = training.network(batches.plain(pixels[part]))
            loss += F.cross_entropy(logits, labels[part], reduction="sum").item()
            correct += (logits.argmax(1) == labels[part]).sum().item()
    training.network.train()
    return loss / len(labels), 100 * correct / len(labels)


def train(args, what, images, seed):
    """One seed's run: its lines, whether it finished, and its seconds."""
    import torch

    from torch_batches import Batches, normalisation
    from torch_step import Training

    recipe, began = what["recipe"], time.perf_counter()
    narrow = getattr(torch, TYPES[what["precision"]])
    generator = torch.Generator(args.device).manual_seed(seed)
    training = Training(what["model"], args.device, narrow, torch.float32, label_smoothing=recipe["label-smoothing"])
    training.initialise(generator)
    which = chosen(images["train"][1], what["subset"], generator)
    pixels, labels = (tensor[which] for tensor in images["train"])
    fitted = normalisation(recipe["preprocess"], pixels)
    batches = Batches(pixels, labels, fitted, recipe["augment"], narrow, generator)
    per_epoch, total = recipes.steps_of(what["length"], len(labels), recipe["batch-size"])
    every, lookahead = recipes.line_every(per_epoch), Lookahead(training, recipe["lookahead"])
    options = dict(
        nesterov=recipe["nesterov"], decay_scale=recipe["decay-scale"], shift_rate=recipe["shift-rate"],
    )
    run = {"seed": seed, "finished": False, "train_images": len(labels), "total_steps": total, "lines": []}
    step, spent = 0, 0.0
    while step < total:
        epoch, epoch_losses, losses, since = step // per_epoch, [], [], time.perf_counter()
        for inputs, targets in batches.epoch(epoch, recipe["batch-size"]):
            rate = recipes.rate(recipe, step, total)
            rates = rate, recipe["momentum"], recipe["weight-decay"]
            losses.append(training.step(inputs, targets, *rates, **options))
            step += 1
            lookahead.after(step, total)
            is_over = step % per_epoch == 0 or step == total
            if not is_over and (step % per_epoch) % every:
                continue
            loss = torch.stack(losses).mean().item()  # waits for the card
            spent, since = spent + time.perf_counter() - since, time.perf_counter()
            epoch_losses += [loss] * len(losses)
            losses = []
            line = {"kind": "step", "step": step, "epoch": epoch + 1, "learning_rate": rate, "train_loss": loss}
            seconds = {"training_seconds": spent, "seconds": time.perf_counter() - began}
            run["lines"].append(line | seconds)
            if not loss == loss or abs(loss) == float("inf"):
                return run | {"diverged": step}
            if is_over:
                line |= {"kind": "epoch", "train_loss": sum(epoch_losses) / len(epoch_losses)}
                if step == total or (epoch + 1) % what["evaluate_every"] == 0:
                    loss, accuracy = evaluate(training, batches, *images["test"])
                    line |= {"test_loss": loss, "test_accuracy": accuracy}
                run["lines"].append(line | seconds | {"seconds": time.perf_counter() - began})
                break
            if time.monotonic() - STARTED > args.time_limit:
                return run
    return run | {"finished": True}


# -------------------------------------------------------------------------------------------------------- main


def heading(args, what):
    """Who trained what."""
    settings = {key: value for key, value in what.items() if key != "folder"}
    return {
        **record.heading("torch_train.py", args.device), **settings, "parameters": parameter_count(what["model"]),
        "runs": [], "not_run": [], "failed": [],
    }


def tell(run):
    """One line of what a seed came to."""
    last = run["lines"][-1] if run["lines"] else {}
    accuracy = f", test accuracy {last['test_accuracy']:.2f} %" if "test_accuracy" in last else ""
    steps = f"{last.get('step', 0)} of {run['total_steps']} steps"
    print(f"seed {run['seed']}: {steps}, {last.get('training_seconds', 0):.1f} s of steps{accuracy}", flush=True)


def main():
    args = arguments()
    try:
        import torch

        what = settings(args)
    except ImportError as error:
        sys.exit(f"torch_train.py: this Python has no PyTorch ({error}); install it with: pip install torch")
    except (ValueError, OSError) as error:
        sys.exit(f"torch_train.py: {error}")
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch_train.py: PyTorch sees no card; --device cpu trains without one")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    try:
        import cifar

        images = {
            split: tuple(tensor.to(args.device) for tensor in cifar.load(what["data"], what["folder"], split))
            for split in ("train", "test")
        }
        result = heading(args, what)
        for seed in range(args.seed, args.seed + args.seeds):
            if time.monotonic() - STARTED > args.time_limit:
                result["not_run"].append(f"seed {seed}: no time was left")
                continue
            run = train(args, what, images, seed)
            result["runs"].append(run)
            tell(run)
            if "diverged" in run:
                result["failed"].append(f"seed {seed}: the loss is not finite after step {run['diverged']}")
            elif not run["finished"]:
                result["not_run"].append(f"seed {seed}: the time was over after step {run['lines'][-1]['step']}")
            record.write(args.json, result)
    except (ValueError, OSError) as error:
        sys.exit(f"torch_train.py: {error}")
    record.write(args.json, result)
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
