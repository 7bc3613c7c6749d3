//! TensorBoard's event files: length-framed protocol buffers with masked CRC-32C checksums.
//!
//! Framing (tensorflow.org, "TFRecord and tf.train.Example"), little-endian: length u64, masked checksum of those 8
//! bytes u32, the message, its masked checksum u32. Messages: tensorflow/core/util/event.proto and
//! tensorflow/core/framework/summary.proto, of which scalars need the fields below.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use byteorder::{LittleEndian, WriteBytesExt};
use prost::Message;

use super::append::Appender;
use crate::error::{Error, Result};

/// Every event file has this in its name.
const PREFIX: &str = "events.out.tfevents.";

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

/// A run's event file.
#[derive(Debug)]
pub(super) struct Events {
    file: Appender,
}

impl Events {
    /// Opens the event file of `folder`, cut to `keep` bytes, or begins one.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(folder: &Path, keep: u64) -> Result<Self> {
        let existing = find(folder);
        let new = || folder.join(format!("{PREFIX}{:010.0}.rir", now()));
        let mut events = Self { file: Appender::open(existing.unwrap_or_else(new), keep)? };
        if events.file.sync()? == 0 {
            events.event(0, What::FileVersion("brain.Event:2".into()))?;
        }
        Ok(events)
    }

    /// Writes scalars by name.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<()> {
        let value =
            scalars.iter().map(|(tag, x)| Scalar { tag: tag.clone(), simple_value: *x as f32 }).collect();
        self.event(step, What::Summary(Summary { value }))
    }

    fn event(&mut self, step: u64, what: What) -> Result<()> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        let record = framed(&event.encode_to_vec());
        self.file.append(&record.map_err(|e| Error::usage(format!("cannot write TensorBoard's file: {e}")))?)
    }

    /// Brings the file to the disk and returns its length in bytes.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn sync(&mut self) -> Result<u64> {
        self.file.sync()
    }
}

/// The first event file of a folder, by name.
fn find(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path());
    entries.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(PREFIX))).min()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}

/// A record around a message.
fn framed(message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut record = Vec::with_capacity(message.len() + 16);
    record.write_u64::<LittleEndian>(message.len() as u64)?;
    let checksum = masked_crc(&record);
    record.write_u32::<LittleEndian>(checksum)?;
    record.extend_from_slice(message);
    record.write_u32::<LittleEndian>(masked_crc(message))?;
    Ok(record)
}

/// CRC-32C, rotated and shifted so that the checksum of data which holds checksums stays a good one.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use byteorder::{ByteOrder, ReadBytesExt};

    /// Takes a file apart by the format's definition.
    fn read(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let header = &bytes[..8];
            let length = LittleEndian::read_u64(header) as usize;
            assert_eq!(LittleEndian::read_u32(&bytes[8..]), masked_crc(header));
            let message = &bytes[12..12 + length];
            bytes = &bytes[12 + length..];
            assert_eq!(bytes.read_u32::<LittleEndian>().unwrap(), masked_crc(message));
            events.push(Event::decode(message).unwrap());
        }
        events
    }

    #[test]
    fn what_is_written_reads_back_and_resumes() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::open(folder.path(), 0).unwrap();
        events.write(3, &[("train/loss".into(), 0.25), ("learning_rate".into(), 0.1)]).unwrap();
        let seen = events.sync().unwrap();
        events.write(4, &[("train/loss".into(), 9.0)]).unwrap();
        drop(events);
        let mut events = Events::open(folder.path(), seen).unwrap();
        events.write(4, &[("train/loss".into(), 0.125)]).unwrap();
        let read = read(&std::fs::read(events.file.path()).unwrap());
        assert_eq!(read[0].what, Some(What::FileVersion("brain.Event:2".into())));
        let scalars = |e: &Event| match &e.what {
            Some(What::Summary(s)) => s.value.iter().map(|v| (v.tag.clone(), v.simple_value)).collect(),
            _ => vec![],
        };
        assert_eq!((read[1].step, scalars(&read[1])[0].clone()), (3, ("train/loss".into(), 0.25)));
        assert_eq!((read.len(), read[2].step, scalars(&read[2])[0].1), (3, 4, 0.125));
        assert!(read[1].wall_time > 1.7e9);
    }

    /// CRC-32C of "123456789" is 0xE3069283 (RFC 3720's polynomial); the mask is the format's.
    #[test]
    fn the_mask_is_the_formats() {
        // The upper 17 bits of the checksum below its lower 15, and the format's constant added.
        let rotated: u32 = 0xE306_9283 >> 15 | (0xE306_9283 & 0x7FFF) << 17;
        assert_eq!(masked_crc(b"123456789"), rotated.wrapping_add(0xA282_EAD8));
        // The bytes of an event as another implementation of protocol buffers would write them.
        let event = Event { wall_time: 1.0, step: 2, what: Some(What::FileVersion("brain.Event:2".into())) };
        let expected = b"\x09\0\0\0\0\0\0\xf0\x3f\x10\x02\x1a\x0dbrain.Event:2";
        assert_eq!(event.encode_to_vec(), expected);
        let scalar = Scalar { tag: "a".into(), simple_value: 1.0 };
        let event =
            Event { wall_time: 0.0, step: 0, what: Some(What::Summary(Summary { value: vec![scalar] })) };
        assert_eq!(event.encode_to_vec(), b"\x2a\x0a\x0a\x08\x0a\x01a\x15\0\0\x80\x3f");
    }
}
