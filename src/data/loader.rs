//! Batches, prepared by a background thread while the device computes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use super::{Augment, AugmentDraw, Images, Normaliser, epoch_order, write_sample};
use crate::error::{Error, Result};

/// Batches ready before they are asked for. One hides the preparation, a second the jitter.
const READY: usize = 2;

/// A batch of samples, as a network takes them. Dropping it hands its memory back to the loader.
#[derive(Debug, Default)]
pub struct Batch {
    /// The epoch it belongs to.
    pub epoch: u32,
    /// Its place in the epoch, from 0.
    pub step: usize,
    /// The normalised images, (N, H, W, C).
    pub images: Vec<f32>,
    /// The class of each image, (N).
    pub labels: Vec<i32>,
    home: Option<Sender<Buffers>>,
}

/// The memory of a batch.
type Buffers = (Vec<f32>, Vec<i32>);

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            // A loader that is gone needs no memory back.
            let _ = home.send((std::mem::take(&mut self.images), std::mem::take(&mut self.labels)));
        }
    }
}

/// How training batches are drawn.
#[derive(Debug, Clone, Copy)]
pub struct TrainOptions {
    /// The augmentation of every sample.
    pub augment: Augment,
    /// The seed of orders and augmentation.
    pub seed: u64,
    /// Samples a batch.
    pub batch: usize,
    /// The epoch of the first batch.
    pub epoch: u32,
    /// The step in that epoch of the first batch; the number of steps of an epoch means the next epoch's
    /// first.
    pub step: usize,
}

/// An iterator over the batches of a set, prepared in the background and in a fixed order.
///
/// Dropping it stops the thread.
#[derive(Debug)]
pub struct Loader {
    ready: Option<Receiver<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Training batches without end, epoch after epoch, from a step on; an epoch's last partial batch is
    /// dropped.
    ///
    /// Batch `step` of an epoch holds samples `step * batch..` of [`epoch_order`], changed as
    /// [`Augment::draw`] says: a loader started at a step continues exactly what another would have given.
    ///
    /// # Errors
    /// When the batch is zero or larger than the set, the step lies beyond the epoch, or the augmentation or
    /// the normalisation does not suit the images.
    pub fn train(images: Arc<Images>, normaliser: Arc<Normaliser>, options: TrainOptions) -> Result<Self> {
        let TrainOptions { augment, seed, batch, epoch, step } = options;
        check(&images, &normaliser, batch)?;
        augment.check(images.height, images.width)?;
        if batch > images.len() {
            return Err(Error::data(format!(
                "a batch of {batch} is larger than the training set of {} images; use a smaller batch",
                images.len()
            )));
        }
        let steps = images.len() / batch;
        if step > steps {
            return Err(Error::data(format!(
                "cannot start at step {step}: an epoch of {} images in batches of {batch} has {steps} steps",
                images.len()
            )));
        }
        Self::spawn(move |outlet| {
            let mut first = step;
            for epoch in epoch.. {
                let order = epoch_order(seed, epoch, images.len());
                for step in first..steps {
                    let samples = order[step * batch..][..batch]
                        .iter()
                        .map(|&index| (index as usize, Some(augment.draw(seed, epoch, index))));
                    if !outlet.send(&images, &normaliser, (epoch, step), samples) {
                        return;
                    }
                }
                first = 0;
            }
        })
    }

    /// The set once, in order and without augmentation, the last partial batch included.
    ///
    /// # Errors
    /// When the batch is zero, the set empty, or the normalisation does not suit the images.
    pub fn evaluation(images: Arc<Images>, normaliser: Arc<Normaliser>, batch: usize) -> Result<Self> {
        check(&images, &normaliser, batch)?;
        if images.is_empty() {
            return Err(Error::data("there is no image to evaluate on"));
        }
        Self::spawn(move |outlet| {
            for (step, first) in (0..images.len()).step_by(batch).enumerate() {
                let samples = (first..images.len().min(first + batch)).map(|index| (index, None));
                if !outlet.send(&images, &normaliser, (0, step), samples) {
                    return;
                }
            }
        })
    }

    fn spawn(work: impl FnOnce(Outlet) + Send + 'static) -> Result<Self> {
        let (sender, ready) = sync_channel(READY);
        let (home, returned) = channel();
        let thread = std::thread::Builder::new()
            .name("loader".into())
            .spawn(move || work(Outlet { sender, home, returned }))
            .map_err(|error| Error::data(format!("cannot start the loading thread: {error}")))?;
        Ok(Self { ready: Some(ready), thread: Some(thread) })
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if let Ok(batch) = self.ready.as_ref()?.recv() {
            return Some(Ok(batch));
        }
        // No batch and no sender: the thread has finished its set, or it has failed.
        let failed = self.thread.take()?.join().is_err();
        failed.then(|| {
            Err(Error::data("the loading thread failed; the run can be resumed from its checkpoint"))
        })
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // With the receiver gone the thread's next batch has nowhere to go, and it ends.
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's end of the channels.
struct Outlet {
    sender: SyncSender<Batch>,
    home: Sender<Buffers>,
    returned: Receiver<Buffers>,
}

impl Outlet {
    /// Prepares the batch of `samples` and waits until there is room for it; false when nobody wants it any
    /// more.
    fn send(
        &self,
        images: &Images,
        normaliser: &Normaliser,
        (epoch, step): (u32, usize),
        samples: impl ExactSizeIterator<Item = (usize, Option<AugmentDraw>)>,
    ) -> bool {
        let (mut pixels, mut labels) = self.returned.try_recv().unwrap_or_default();
        pixels.resize(samples.len() * images.sample_len(), 0.0);
        labels.clear();
        for ((index, draw), out) in samples.zip(pixels.chunks_exact_mut(images.sample_len())) {
            write_sample(images, index, draw, normaliser, out);
            labels.push(i32::from(images.labels[index]));
        }
        self.sender.send(Batch { epoch, step, images: pixels, labels, home: Some(self.home.clone()) }).is_ok()
    }
}

/// What both kinds of loader need.
fn check(images: &Images, normaliser: &Normaliser, batch: usize) -> Result<()> {
    if batch == 0 {
        return Err(Error::usage("a batch holds at least one image"));
    }
    normaliser.check(images.height, images.width, images.channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Preprocess;

    fn set() -> (Arc<Images>, Arc<Normaliser>) {
        let pixels = (0..25 * 4 * 4 * 3).map(|i| (i * 7 % 251) as u8).collect();
        let images = Images::new(4, 4, 3, pixels, (0..25).map(|i| i % 3).collect()).unwrap();
        let normaliser = Normaliser::fit(Preprocess::PerPixelMean, &images).unwrap();
        (Arc::new(images), Arc::new(normaliser))
    }

    const OPTIONS: TrainOptions = TrainOptions { augment: CROP, seed: 11, batch: 4, epoch: 0, step: 0 };
    const CROP: Augment = Augment { pad: 2, flip: crate::data::Flip::Random, ..Augment::NONE };

    type Plain = (u32, usize, Vec<f32>, Vec<i32>);

    fn plain(batch: Result<Batch>) -> Plain {
        let mut batch = batch.unwrap();
        (batch.epoch, batch.step, std::mem::take(&mut batch.images), std::mem::take(&mut batch.labels))
    }

    /// What the loader should give, computed here one sample at a time.
    fn reference(count: usize) -> Vec<Plain> {
        let (images, normaliser) = set();
        (0..count)
            .map(|i| {
                let (epoch, step) = ((i / 6) as u32, i % 6);
                let (mut pixels, mut labels) = (vec![], vec![]);
                for &index in &epoch_order(11, epoch, 25)[step * 4..][..4] {
                    let mut sample = vec![f32::NAN; 48];
                    let draw = CROP.draw(11, epoch, index);
                    write_sample(&images, index as usize, Some(draw), &normaliser, &mut sample);
                    pixels.extend(sample);
                    labels.push(i32::from(images.labels[index as usize]));
                }
                (epoch, step, pixels, labels)
            })
            .collect()
    }

    #[test]
    fn training_batches_are_the_sequential_ones_over_epochs() {
        let (images, normaliser) = set();
        let loader = Loader::train(images, normaliser, OPTIONS).unwrap();
        assert_eq!(loader.take(15).map(plain).collect::<Vec<_>>(), reference(15));
    }

    #[test]
    fn memory_comes_back_without_a_trace_of_its_last_batch() {
        let (images, normaliser) = set();
        let loader = Loader::train(images, normaliser, OPTIONS).unwrap();
        for (batch, expected) in loader.zip(reference(15)) {
            let batch = batch.unwrap();
            assert_eq!((batch.step, &batch.images, &batch.labels), (expected.1, &expected.2, &expected.3));
        }
    }

    #[test]
    fn a_loader_resumes_at_any_step() {
        let expected = reference(15);
        for start in 0..15 {
            let (images, normaliser) = set();
            let options = TrainOptions { epoch: start as u32 / 6, step: start % 6, ..OPTIONS };
            let loader = Loader::train(images, normaliser, options).unwrap();
            assert_eq!(loader.take(15 - start).map(plain).collect::<Vec<_>>(), expected[start..]);
        }
        let (images, normaliser) = set();
        let mut at_end = Loader::train(images, normaliser, TrainOptions { step: 6, ..OPTIONS }).unwrap();
        assert_eq!(plain(at_end.next().unwrap()), expected[6]);
    }

    #[test]
    fn evaluation_sees_every_image_once_and_the_last_partial_batch() {
        let (images, normaliser) = set();
        for batch in [1, 4, 25, 100] {
            let loader = Loader::evaluation(images.clone(), normaliser.clone(), batch).unwrap();
            let batches: Vec<_> = loader.map(plain).collect();
            assert_eq!(batches.len(), 25usize.div_ceil(batch));
            assert_eq!(batches.last().unwrap().3.len(), if batch == 4 { 1 } else { batch.min(25) });
            let mut expected = vec![0.0; 25 * 48];
            for (index, out) in expected.chunks_exact_mut(48).enumerate() {
                write_sample(&images, index, None, &normaliser, out);
            }
            assert_eq!(batches.iter().flat_map(|b| b.2.clone()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn dropping_a_loader_stops_its_thread() {
        let (images, normaliser) = set();
        drop(Loader::train(images.clone(), normaliser.clone(), OPTIONS).unwrap());
        let mut loader = Loader::train(images.clone(), normaliser, OPTIONS).unwrap();
        let kept = loader.next().unwrap().unwrap();
        drop(loader);
        assert_eq!(Arc::strong_count(&images), 1, "the threads have let go of the images");
        assert_eq!(kept.labels.len(), 4);
    }

    #[test]
    fn what_cannot_be_loaded_is_refused() {
        let message = |options: TrainOptions| {
            let (images, normaliser) = set();
            Loader::train(images, normaliser, options).unwrap_err().to_string()
        };
        assert_eq!(
            message(TrainOptions { batch: 26, ..OPTIONS }),
            "a batch of 26 is larger than the training set of 25 images; use a smaller batch"
        );
        assert_eq!(message(TrainOptions { batch: 0, ..OPTIONS }), "a batch holds at least one image");
        assert!(message(TrainOptions { step: 7, ..OPTIONS }).contains("step 7"));
        assert!(message(TrainOptions { augment: Augment { pad: 4, ..CROP }, ..OPTIONS }).contains("padding"));
        let (images, normaliser) = set();
        let none = Arc::new(images.subset(&[]));
        assert!(Loader::evaluation(none, normaliser.clone(), 4).is_err());
        let other = Arc::new(Images::new(2, 2, 1, vec![0; 4], vec![0]).unwrap());
        assert!(Loader::evaluation(other, normaliser, 4).unwrap_err().to_string().contains("do not fit"));
    }
}
