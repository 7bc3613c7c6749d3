//! A reader of the few Python pickles that CIFAR comes in. It executes nothing.
//!
//! A pickle is a program for a stack machine that may call any Python function; this reader knows only the
//! opcodes that build dictionaries, lists, tuples, numbers and strings, and reads numpy's four constructors
//! and `_codecs.encode` as data. Whatever else a pickle names is refused by name. Objects live in one arena
//! and refer to each other by index, so neither depth nor cycles matter; the number of opcodes bounds memory.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::error::{Error, Result};

/// Opcodes in one file; the largest official one has a quarter of a million.
const MAX_OPCODES: usize = 2_000_000;

type Id = usize;

/// A Python object; `Id`s point into the arena.
#[derive(Debug, Clone)]
enum Object<'a> {
    None,
    Integer(i64),
    /// `str` and `bytes` alike: Python 2 wrote one where Python 3 reads the other.
    Text(Cow<'a, [u8]>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Function(Function),
    /// `numpy.dtype('u1')`, the only element type there is a use for.
    Bytes,
    /// A numpy array of bytes, without a state until that is set.
    Array(Option<Array>),
}

/// The state of an array: it refers to its text, since many arrays may share one.
#[derive(Debug, Clone, Copy)]
struct Array {
    rows: usize,
    columns: usize,
    column_major: bool,
    data: Id,
}

/// The functions that are read as data.
#[derive(Debug, Clone, Copy)]
enum Function {
    Reconstruct,
    NdArray,
    DType,
    Encode,
}

/// A pickled dictionary with text keys.
pub(super) struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    entries: HashMap<Vec<u8>, Id>,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle of protocol 2, 3 or 4 that holds a dictionary.
    pub fn read(source: &'a [u8]) -> Result<Self> {
        let mut machine = Machine { source, at: 0, encodable: source.len(), ..Machine::default() };
        let root = machine.run().map_err(|error| error.at(format_args!("pickle, byte {}", machine.at)))?;
        let Object::Dict(pairs) = &machine.objects[root] else {
            return Err(Error::data("the pickle holds no dictionary"));
        };
        let mut entries = HashMap::new();
        for &(key, value) in pairs {
            if let Object::Text(key) = &machine.objects[key] {
                entries.insert(key.to_vec(), value);
            }
        }
        Ok(Self { objects: machine.objects, entries })
    }

    /// The two-dimensional array of bytes under `key`: its columns, and its elements row by row.
    pub fn array(&self, key: &str) -> Result<(usize, Cow<'_, [u8]>)> {
        if let Object::Array(Some(array)) = self.get(key)?
            && let Object::Text(data) = &self.objects[array.data]
        {
            let rows = if array.column_major {
                transpose(data, array.rows).into()
            } else {
                Cow::Borrowed(&data[..])
            };
            return Ok((array.columns, rows));
        }
        Err(Error::data(format!("'{key}' in the pickle is no numpy array of bytes")))
    }

    /// The list of integers under `key`.
    pub fn integers(&self, key: &str) -> Result<Vec<i64>> {
        self.list(key, "integers", |item| match item {
            Object::Integer(value) => Some(*value),
            _ => None,
        })
    }

    /// The list of strings under `key`.
    pub fn strings(&self, key: &str) -> Result<Vec<String>> {
        self.list(key, "strings", |item| match item {
            Object::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        })
    }

    fn list<T>(&self, key: &str, what: &str, convert: impl Fn(&Object) -> Option<T>) -> Result<Vec<T>> {
        let items = match self.get(key)? {
            Object::List(items) => items.iter().map(|&id| convert(&self.objects[id])).collect(),
            _ => None,
        };
        items.ok_or_else(|| Error::data(format!("'{key}' in the pickle is no list of {what}")))
    }

    fn get(&self, key: &str) -> Result<&Object<'a>> {
        let id = self.entries.get(key.as_bytes());
        id.map(|&id| &self.objects[id]).ok_or_else(|| Error::data(format!("the pickle has no '{key}'")))
    }
}

/// The stack machine.
#[derive(Default)]
struct Machine<'a> {
    source: &'a [u8],
    at: usize,
    objects: Vec<Object<'a>>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Bytes that `_codecs.encode` may still make: re-encoding one long string over and over must not fill
    /// memory.
    encodable: usize,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id> {
        if self.source.first() != Some(&0x80) {
            return Err(Error::data("this is no pickle of protocol 2, 3 or 4"));
        }
        for _ in 0..MAX_OPCODES {
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
        Err(Error::data(format!("it has more than {MAX_OPCODES} opcodes; no CIFAR file does")))
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            // PROTO, FRAME
            0x80 => match self.take(1)?[0] {
                2..=4 => {}
                other => {
                    return Err(Error::data(format!(
                        "protocol {other} is not read; save it with protocol 2, 3 or 4"
                    )));
                }
            },
            0x95 => drop(self.take(8)?),
            // MARK, POP
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Integer(1)),
            0x89 => self.push(Object::Integer(0)),
            // BININT, BININT1, BININT2, LONG1
            b'J' => self.integer(4)?,
            b'K' => self.unsigned(1)?,
            b'M' => self.unsigned(2)?,
            0x8a => {
                let length = self.length(1)?;
                self.integer(length)?;
            }
            // SHORT_BINSTRING, BINSTRING, SHORT_BINBYTES, BINBYTES, BINBYTES8, *BINUNICODE*
            b'U' | b'C' | 0x8c => self.text(1)?,
            b'T' | b'B' | b'X' => self.text(4)?,
            0x8e | 0x8d => self.text(8)?,
            // EMPTY_LIST, EMPTY_DICT, EMPTY_TUPLE, TUPLE, TUPLE1 to TUPLE3
            b']' => self.push(Object::List(vec![])),
            b'}' => self.push(Object::Dict(vec![])),
            b')' => self.push(Object::Tuple(vec![])),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Object::Tuple(items));
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push(Object::Tuple(items));
            }
            // APPEND, APPENDS, SETITEM, SETITEMS
            b'a' => {
                let items = self.pop_many(1)?;
                self.extend_list(items)?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.extend_list(items)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.extend_dict(&items)?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.extend_dict(&items)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => self.remember(1)?,
            b'r' => self.remember(4)?,
            0x94 => {
                self.memo.insert(self.memo.len() as u32, self.top()?);
            }
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            // GLOBAL, STACK_GLOBAL, REDUCE, BUILD
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let pair = self.pop_many(2)?;
                let (module, name) = (self.text_of(pair[0])?.to_vec(), self.text_of(pair[1])?.to_vec());
                self.global(&module, &name)?;
            }
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            other => return Err(Error::data(format!("opcode 0x{other:02x} does not occur in CIFAR files"))),
        }
        Ok(())
    }

    // Bytes.

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let bytes =
            self.source[self.at..].get(..count).ok_or_else(|| Error::data("the file ends too early"))?;
        self.at += count;
        Ok(bytes)
    }

    /// An unsigned number of `width` bytes, little-endian.
    fn length(&mut self, width: usize) -> Result<usize> {
        let value = self.take(width)?.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).map_err(|_| Error::data(format!("a length of {value} is too large")))
    }

    fn line(&mut self) -> Result<&'a [u8]> {
        let rest = &self.source[self.at..];
        let end = rest.iter().take(256).position(|&byte| byte == b'\n');
        let line = self.take(end.ok_or_else(|| Error::data("a name does not end"))?)?;
        self.at += 1;
        Ok(line)
    }

    fn unsigned(&mut self, width: usize) -> Result<()> {
        let value = self.length(width)?;
        self.push(Object::Integer(value as i64));
        Ok(())
    }

    fn integer(&mut self, width: usize) -> Result<()> {
        if width > 8 {
            return Err(Error::data(format!("a number of {width} bytes is too large")));
        }
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        // Shifted up and down again, the number's own sign bit fills the bytes above it.
        let unused = 64 - 8 * width as u32;
        let value = i64::from_le_bytes(bytes).checked_shl(unused).map_or(0, |value| value >> unused);
        self.push(Object::Integer(value));
        Ok(())
    }

    fn text(&mut self, width: usize) -> Result<()> {
        let length = self.length(width)?;
        let text = self.take(length)?;
        self.push(Object::Text(Cow::Borrowed(text)));
        Ok(())
    }

    // The stack.

    fn push(&mut self, object: Object<'a>) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(underflow)
    }

    fn pop(&mut self) -> Result<Id> {
        Ok(self.pop_many(1)?[0])
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start =
            self.stack.len().checked_sub(count).filter(|&start| start >= floor).ok_or_else(underflow)?;
        Ok(self.stack.split_off(start))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        Ok(self.stack.split_off(mark))
    }

    fn extend_list(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        match &mut self.objects[list] {
            Object::List(list) => list.extend(items),
            _ => return Err(Error::data("it appends to something that is no list")),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[Id]) -> Result<()> {
        let dict = self.top()?;
        match &mut self.objects[dict] {
            Object::Dict(dict) if items.len().is_multiple_of(2) => {
                dict.extend(items.chunks_exact(2).map(|p| (p[0], p[1])))
            }
            _ => return Err(Error::data("it sets entries of something that is no dictionary")),
        }
        Ok(())
    }

    fn remember(&mut self, width: usize) -> Result<()> {
        let key = self.length(width)? as u32;
        self.memo.insert(key, self.top()?);
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Result<()> {
        let key = self.length(width)? as u32;
        let id = self.memo.get(&key).ok_or_else(|| Error::data(format!("memo {key} is empty")))?;
        self.stack.push(*id);
        Ok(())
    }

    fn text_of(&self, id: Id) -> Result<&[u8]> {
        match &self.objects[id] {
            Object::Text(text) => Ok(text),
            _ => Err(Error::data("a text is expected here")),
        }
    }

    fn tuple_of(&self, id: Id) -> Result<Vec<&Object<'a>>> {
        match &self.objects[id] {
            Object::Tuple(items) if items.len() <= 8 => {
                Ok(items.iter().map(|&id| &self.objects[id]).collect())
            }
            _ => Err(Error::data("a short tuple is expected here")),
        }
    }

    // What stands in for Python's calls.

    fn global(&mut self, module: &[u8], name: &[u8]) -> Result<()> {
        let function = match (module, name) {
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => Function::Reconstruct,
            (b"numpy", b"ndarray") => Function::NdArray,
            (b"numpy", b"dtype") => Function::DType,
            (b"_codecs", b"encode") => Function::Encode,
            _ => {
                return Err(Error::data(format!(
                    "it names {}.{}, which no CIFAR file does; do not open it in Python, it could run \
                     anything",
                    String::from_utf8_lossy(module),
                    String::from_utf8_lossy(name)
                )));
            }
        };
        self.push(Object::Function(function));
        Ok(())
    }

    /// Calls the function below the top with the tuple on top.
    fn reduce(&mut self) -> Result<()> {
        let call = self.pop_many(2)?;
        let result = match (&self.objects[call[0]], self.tuple_of(call[1])?.as_slice()) {
            (Object::Function(Function::Reconstruct), [Object::Function(Function::NdArray), ..]) => {
                Object::Array(None)
            }
            (Object::Function(Function::DType), [Object::Text(kind), ..]) => match kind.as_ref() {
                b"u1" | b"|u1" => Object::Bytes,
                other => {
                    let kind = String::from_utf8_lossy(other);
                    return Err(Error::data(format!(
                        "an array has the type '{kind}'; CIFAR's are bytes ('u1')"
                    )));
                }
            },
            (Object::Function(Function::Encode), [Object::Text(text), Object::Text(encoding)])
                if encoding.as_ref() == b"latin1" =>
            {
                Object::Text(Cow::Owned(latin1(text, self.encodable)?))
            }
            _ => return Err(Error::data("it calls a function in a way that no CIFAR file does")),
        };
        if let Object::Text(text) = &result {
            self.encodable -= text.len();
        }
        self.push(result);
        Ok(())
    }

    /// Sets the state of the object below the top to the tuple on top.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let target = self.top()?;
        let data = match &self.objects[state] {
            Object::Tuple(items) => items.last().copied().unwrap_or(state),
            _ => state,
        };
        let array = match (&self.objects[target], self.tuple_of(state)?.as_slice()) {
            // A byte has no byte order or fields: nothing to set.
            (Object::Bytes, _) => return Ok(()),
            (
                Object::Array(_),
                [_, Object::Tuple(shape), Object::Bytes, Object::Integer(column_major), Object::Text(text)],
            ) => {
                let size = |id: &Id| match self.objects[*id] {
                    Object::Integer(size) => usize::try_from(size).ok(),
                    _ => None,
                };
                match (shape.len(), shape.first().and_then(size), shape.last().and_then(size)) {
                    (2, Some(rows), Some(columns)) if rows.checked_mul(columns) == Some(text.len()) => {
                        Array { rows, columns, column_major: *column_major != 0, data }
                    }
                    (dimensions, ..) => {
                        return Err(Error::data(format!(
                            "the shape of an array, of {dimensions} dimensions, does not fit its {} bytes",
                            text.len()
                        )));
                    }
                }
            }
            _ => return Err(Error::data("it sets a state that no CIFAR file has")),
        };
        self.objects[target] = Object::Array(Some(array));
        Ok(())
    }
}

fn underflow() -> Error {
    Error::data("it takes from an empty stack")
}

/// UTF-8 text as one byte a character, at most `limit` bytes.
fn latin1(text: &[u8], limit: usize) -> Result<Vec<u8>> {
    let text = std::str::from_utf8(text).map_err(|_| Error::data("a text is not UTF-8"))?;
    let bytes = text.chars().map(|c| u8::try_from(u32::from(c))).collect::<Result<Vec<u8>, _>>();
    bytes
        .ok()
        .filter(|bytes| bytes.len() <= limit)
        .ok_or_else(|| Error::data("a text cannot be encoded as latin1"))
}

/// Column-major `data` of `rows` rows as row-major.
fn transpose(data: &[u8], rows: usize) -> Vec<u8> {
    (0..rows).flat_map(|row| data.iter().skip(row).step_by(rows)).copied().collect()
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
