//! Where the records come from: generated, or a file of numpy's.

use std::io::Read;

use shm_core::{Array, ColumnType, Frozen, Schema};

use crate::Error;
use crate::kernel::Place;
use crate::npy::NpyFile;
use crate::options::Options;
use crate::records::Record;

/// The records and the column to sum.
#[derive(Debug)]
pub struct Source {
    origin: Origin,
    pub rows: usize,
    /// Name of the column; empty for an array without names.
    pub column: String,
    pub place: Place,
}

#[derive(Debug)]
enum Origin {
    Generated,
    File(NpyFile),
}

impl Source {
    pub fn open(options: &Options) -> Result<Source, Error> {
        let (origin, rows, schema) = match &options.file {
            None => (Origin::Generated, options.rows, Schema::of::<Record>()),
            Some(path) => {
                let file = NpyFile::open(path)?;
                let (rows, schema) = (file.rows, file.schema.clone());
                (Origin::File(file), rows, schema)
            }
        };
        let (column, place) = choose(&schema, options.column.as_deref())?;
        Ok(Source { origin, rows, column, place })
    }

    /// Bytes of all records.
    pub fn bytes(&self) -> usize {
        self.rows * self.place.stride
    }

    /// The records in shared memory, frozen; made or read straight there, never twice in memory.
    pub fn frozen(&self) -> Result<Frozen<u8>, Error> {
        match &self.origin {
            Origin::Generated => {
                let mut array = Array::<Record>::zeroed(self.rows)?;
                Record::fill(&mut array, 0);
                Ok(array.freeze()?.to_bytes())
            }
            Origin::File(file) => Ok(Array::read_frozen(self.bytes(), &mut file.data()?)?),
        }
    }

    /// The records in this process's private memory.
    pub fn private(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(self.bytes())
            .map_err(|_| format!("{} bytes of memory for the copy cannot be had", self.bytes()))?;
        match &self.origin {
            Origin::Generated => {
                for i in 0..self.rows {
                    let Record { date, val, label } = Record::generate(i);
                    bytes.extend_from_slice(&date.to_le_bytes());
                    bytes.extend_from_slice(&val.to_le_bytes());
                    bytes.extend_from_slice(&label);
                }
            }
            Origin::File(file) => {
                file.data()?.take(self.bytes() as u64).read_to_end(&mut bytes)?;
                if bytes.len() < self.bytes() {
                    let (need, have) = (self.bytes(), bytes.len());
                    return Err(format!("the file shrank to {have} of {need} bytes").into());
                }
            }
        }
        Ok(bytes)
    }
}

/// The column asked for, or the first one of floats; its place, if it can be summed.
fn choose(schema: &Schema, column: Option<&str>) -> Result<(String, Place), Error> {
    let is_float = |column_type: &ColumnType| matches!(column_type, ColumnType::Float(_));
    let spec = match column {
        Some(name) => schema.column(name)?,
        None if schema.columns.len() == 1 => &schema.columns[0],
        None => schema
            .columns
            .iter()
            .find(|spec| is_float(&spec.column_type))
            .ok_or("no column of floats: choose one with --column")?,
    };
    if let ColumnType::Other(what) = &spec.column_type {
        return Err(format!("column {:?} holds {what}, which cannot be summed", spec.name).into());
    }
    let place =
        Place { offset: spec.offset, stride: schema.stride, column_type: spec.column_type.clone() };
    Ok((spec.name.clone(), place))
}
