"""Training images on the device: drawn, normalised and changed there as a recipe says, by PyTorch's random numbers."""

import torch


def normalisation(kind, pixels):
    """(mean [32, 32, 3], factor [3]) of (pixel / 255 - mean) * factor, fitted to bytes [N, 32, 32, 3]."""
    size = pixels.shape[1:]
    mean, factor = torch.zeros(size), torch.ones(size[-1])
    if kind == "per-pixel-mean":
        mean = (pixels.sum(0, dtype=torch.int64).double() / (255 * len(pixels))).float()
    elif kind == "per-channel":
        values = torch.arange(256, dtype=torch.float64) / 255
        for channel in range(size[-1]):
            share = torch.bincount(pixels[..., channel].flatten().cpu(), minlength=256) / pixels[..., 0].numel()
            average = (share * values).sum()
            deviation = (share * (values - average) ** 2).sum().sqrt()
            mean[..., channel], factor[channel] = average, 1 / deviation if deviation > 0 else 1.0
    return mean.to(pixels.device), factor.to(pixels.device)


def mirrored(at, last):
    """Places beyond 0 and `last` mirrored there, the edge not repeated."""
    return last - (last - at.abs()).abs()


class Batches:
    """A training set as one run draws from it.

    pixels, labels   bytes [N, H, W, 3] and [N], on the device
    augment          the recipe's table
    dtype            of the images that a batch holds
    """

    def __init__(self, pixels, labels, normalisation, augment, dtype, generator):
        self.pixels, self.labels, self.augment, self.dtype = pixels, labels, augment, dtype
        self.mean, self.factor = normalisation
        self.generator = generator
        self.first_flips = self.coins(len(labels))

    def coins(self, count):
        return torch.rand(count, generator=self.generator, device=self.pixels.device) < 0.5

    def integers(self, low, high, count):
        """Uniform from low to high, both included."""
        return torch.randint(low, high + 1, (count,), generator=self.generator, device=self.pixels.device)

    def epoch(self, number, batch):
        """Every image once in a new order: (images [batch, 3, H, W], labels); the last partial batch is dropped."""
        order = torch.randperm(len(self.labels), generator=self.generator, device=self.pixels.device)
        for start in range(0, len(order) - batch + 1, batch):
            which = order[start : start + batch]
            yield self.drawn(which, self.flips(which, number)), self.labels[which]

    def flips(self, which, epoch):
        """Whether each image is mirrored in this epoch: a coin, or the other way than in the epoch before."""
        kind = self.augment["flip"]
        if kind == "alternating":
            return self.first_flips[which] ^ bool(epoch % 2)
        return self.coins(len(which)) if kind else torch.zeros_like(which, dtype=torch.bool)

    def drawn(self, which, flips):
        """Cropped out of its padding, mirrored, and with a square cut out."""
        count, pad = len(which), self.augment["pad"]
        height, width = self.pixels.shape[1:3]
        device = self.pixels.device
        y = torch.arange(height, device=device).expand(count, -1)  # [N, H]
        x = torch.arange(width, device=device).expand(count, -1)  # [N, W]
        from_y = y + self.integers(-pad, pad, count)[:, None]
        from_x = torch.where(flips[:, None], width - 1 - x, x) + self.integers(-pad, pad, count)[:, None]
        if self.augment["border"] == "reflect":
            from_y, from_x = mirrored(from_y, height - 1), mirrored(from_x, width - 1)
        inside_y, inside_x = (from_y >= 0) & (from_y < height), (from_x >= 0) & (from_x < width)
        kept = inside_y[:, :, None] & inside_x[:, None, :]  # [N, H, W]
        if self.augment["cutout"]:
            side = self.augment["cutout"]
            top, left = (self.integers(0, extent - 1, count)[:, None] - side // 2 for extent in (height, width))
            cut_y, cut_x = (y >= top) & (y < top + side), (x >= left) & (x < left + side)
            kept = kept & ~(cut_y[:, :, None] & cut_x[:, None, :])
        from_y, from_x = from_y.clamp(0, height - 1)[:, :, None], from_x.clamp(0, width - 1)[:, None, :]
        # A pixel is compared with the mean of the place that it had in the image.
        images = self.normalised(self.pixels[which[:, None, None], from_y, from_x], self.mean[from_y, from_x])
        return self.as_input(images * kept[..., None])

    def normalised(self, pixels, mean):
        return (pixels.float() / 255 - mean) * self.factor

    def as_input(self, images):
        """[N, H, W, 3] as [N, 3, H, W] with channels last in memory."""
        return images.permute(0, 3, 1, 2).to(self.dtype)

    def plain(self, pixels):
        """Images for evaluation."""
        return self.as_input(self.normalised(pixels, self.mean))
