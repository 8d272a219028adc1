//! Reading what `numpy.save` wrote: the header by `npyz`, the data as bytes.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::{Path, PathBuf};

use npyz::{DType, Order, TypeChar, TypeStr};
use shm_core::{ColumnSpec, ColumnType, Schema};

use crate::Error;

/// A `.npy` file whose header was read and found to fit its size.
#[derive(Debug)]
pub struct NpyFile {
    path: PathBuf,
    pub schema: Schema,
    pub rows: usize,
    data_offset: u64,
}

impl NpyFile {
    pub fn open(path: &Path) -> Result<NpyFile, Error> {
        let name = path.display();
        let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
        if !file.metadata()?.is_file() {
            return Err(format!("{name}: not a file").into());
        }
        let size = file.metadata()?.len();
        let mut reader = BufReader::new(file);
        let header = npyz::NpyHeader::from_reader(&mut reader)
            .map_err(|error| format!("{name}: not a .npy file ({error})"))?;
        let data_offset = reader.stream_position()?;
        if header.uses_pickled_array() {
            let why = "it holds Python objects, which live in one process only";
            return Err(format!("{name}: {why}; save numbers").into());
        }
        if header.order() == Order::Fortran {
            return Err(format!(
                "{name}: Fortran order is not supported; save numpy.ascontiguousarray(a)"
            )
            .into());
        }
        let rows = match header.shape() {
            [rows] => *rows,
            shape => {
                let n = shape.len();
                return Err(
                    format!("{name}: the array has {n} dimensions; only one is supported").into()
                );
            }
        };
        let schema = schema_of(&header.dtype()).map_err(|why| format!("{name}: {why}"))?;
        check_size(path, rows, schema.stride, size.saturating_sub(data_offset))?;
        Ok(NpyFile { path: path.to_owned(), schema, rows: rows as usize, data_offset })
    }

    /// The data, from its first byte on.
    pub fn data(&self) -> Result<File, Error> {
        let open = || {
            let mut file = File::open(&self.path)?;
            file.seek(std::io::SeekFrom::Start(self.data_offset))?;
            Ok(file)
        };
        open().map_err(|error: std::io::Error| format!("{}: {error}", self.path.display()).into())
    }
}

fn check_size(path: &Path, rows: u64, stride: usize, have: u64) -> Result<(), Error> {
    let name = path.display();
    if rows == 0 || stride == 0 {
        return Err(format!("{name}: the array is empty").into());
    }
    match rows.checked_mul(stride as u64) {
        Some(need) if need <= have => Ok(()),
        need => {
            let need = need.map_or_else(|| "too many".to_owned(), |need| need.to_string());
            Err(format!("{name}: truncated: {rows} records need {need} bytes, there are {have}")
                .into())
        }
    }
}

/// The columns of a structured array, or the one nameless column of a plain one.
fn schema_of(dtype: &DType) -> Result<Schema, String> {
    let size_of = |dtype: &DType| dtype.num_bytes().ok_or("a type too large for this machine");
    let fields = match dtype {
        DType::Record(fields) => fields.as_slice(),
        DType::Plain(_) => {
            let column =
                ColumnSpec { name: String::new(), offset: 0, column_type: column_type(dtype) };
            return Ok(Schema { stride: size_of(dtype)?, columns: vec![column] });
        }
        DType::Array(..) => return Err("arrays of arrays are not supported".to_owned()),
    };
    let mut columns = Vec::new();
    let mut offset = 0;
    for field in fields {
        columns.push(ColumnSpec {
            name: field.name.clone(),
            offset,
            column_type: column_type(&field.dtype),
        });
        offset += size_of(&field.dtype)?;
    }
    Ok(Schema { stride: offset, columns })
}

fn column_type(dtype: &DType) -> ColumnType {
    let DType::Plain(plain) = dtype else {
        return ColumnType::Other(format!("{} (nested)", dtype.descr()));
    };
    let size = plain.size_field() as u8;
    let native = plain.endianness() != npyz::Endianness::Big || size == 1;
    match plain.type_char() {
        _ if !native => ColumnType::Other(format!("big-endian {plain}")),
        TypeChar::Int if size <= 8 => ColumnType::Int(size),
        TypeChar::Uint if size <= 8 => ColumnType::Uint(size),
        TypeChar::Float if matches!(size, 4 | 8) => ColumnType::Float(size),
        TypeChar::Bool => ColumnType::Uint(1),
        _ => ColumnType::Other(in_words(plain)),
    }
}

fn in_words(plain: &TypeStr) -> String {
    let what = match plain.type_char() {
        TypeChar::ByteStr | TypeChar::UnicodeStr => "text",
        TypeChar::DateTime => "dates",
        TypeChar::TimeDelta => "time spans",
        TypeChar::Complex => "complex numbers",
        TypeChar::Object => "Python objects",
        TypeChar::RawData => "raw bytes",
        _ => "an unsupported type",
    };
    format!("{what} ({plain})")
}
