//! CSV tables with one or two levels of column names, read row by row.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::fault::{Fault, FaultReason, Faults, excerpt};
use crate::catalog::CatalogError;

/// A column's name: `["", "parent"]` in a plain table, `["track", "genres"]` under pandas'
/// MultiIndex header.
pub(super) type ColumnName = [&'static str; 2];

/// A table being read.
pub(super) struct Table {
    path: PathBuf,
    file: &'static str,
    reader: Reader<File>,
    /// Both levels of every column's name.
    names: Vec<[String; 2]>,
    /// A data row that was read while the header was looked for.
    early: Option<ByteRecord>,
}

/// A column of a table: where it is and what to call it in a fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    index: usize,
    name: ColumnName,
}

/// One row with the place to note its faults.
pub(super) struct Row<'a> {
    file: &'static str,
    line: u64,
    record: ByteRecord,
    faults: &'a mut Faults,
}

impl Table {
    /// Opens a table with one header row.
    pub(super) fn open(path: &Path, file: &'static str) -> Result<Self, CatalogError> {
        let mut reader = reader(path)?;
        let header = read(&mut reader, path)?.ok_or_else(|| no_header(path, 1))?;
        let names = header
            .iter()
            .map(|name| [String::new(), text(name)])
            .collect();
        Ok(Self {
            path: path.to_owned(),
            file,
            reader,
            names,
            early: None,
        })
    }

    /// Opens a table with the three header rows that pandas writes for two levels of names: the
    /// outer names, the inner names, and a row that names only the index.
    pub(super) fn open_two_level(path: &Path, file: &'static str) -> Result<Self, CatalogError> {
        let mut reader = reader(path)?;
        let mut row = || read(&mut reader, path)?.ok_or_else(|| no_header(path, 3));
        let (outer, inner, index) = (row()?, row()?, read(&mut reader, path)?);
        let mut names = Vec::with_capacity(inner.len());
        let mut group = String::new();
        for (at, name) in inner.iter().enumerate() {
            // Some tools write an outer name only above the first of its columns.
            let above = outer.get(at).map(text).unwrap_or_default();
            if !above.is_empty() {
                group = above;
            }
            names.push([group.clone(), text(name)]);
        }
        // Without a name for the index pandas writes two header rows.
        let early = index.filter(|row| {
            row.get(0)
                .is_some_and(|id| id.first().is_some_and(u8::is_ascii_digit))
        });
        Ok(Self {
            path: path.to_owned(),
            file,
            reader,
            names,
            early,
        })
    }

    /// The column of that name, the first of several.
    pub(super) fn column(&self, name: ColumnName) -> Option<Column> {
        let index = self.names.iter().position(|known| known == &name)?;
        Some(Column { index, name })
    }

    /// The column of that name, which has to be there.
    pub(super) fn require(&self, name: ColumnName) -> Result<Column, CatalogError> {
        self.column(name)
            .ok_or_else(|| CatalogError::MissingColumn {
                path: self.path.clone(),
                column: label(name),
            })
    }

    /// The first column, which is the index of a pandas table.
    pub(super) const fn index(name: &'static str) -> Column {
        Column {
            index: 0,
            name: ["", name],
        }
    }

    /// The next row that has the header's number of fields; none at the end, or where the file
    /// cannot be read on.
    pub(super) fn next<'a>(&mut self, faults: &'a mut Faults) -> Option<Row<'a>> {
        loop {
            let line = self.reader.position().line();
            let mut fault = |line, reason| {
                faults.push(Fault {
                    file: self.file,
                    line,
                    column: None,
                    reason,
                });
            };
            let record = match self.early.take() {
                Some(record) => record,
                None => {
                    let mut record = ByteRecord::new();
                    match self.reader.read_byte_record(&mut record) {
                        Ok(true) => record,
                        Ok(false) => return None,
                        Err(error) => {
                            fault(line, FaultReason::Unreadable(error.to_string()));
                            return None;
                        }
                    }
                }
            };
            let line = record.position().map_or(line, csv::Position::line);
            let (expected, found) = (self.names.len(), record.len());
            if expected != found {
                fault(line, FaultReason::FieldCount { expected, found });
                continue;
            }
            return Some(Row {
                file: self.file,
                line,
                record,
                faults,
            });
        }
    }
}

impl Row<'_> {
    /// The line on which the row begins.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The field's text, trimmed; none where it is empty or the table has no such column.
    pub(super) fn text(&mut self, column: Option<Column>) -> Option<String> {
        let column = column?;
        let bytes = self.record.get(column.index)?;
        let value = match std::str::from_utf8(bytes) {
            Ok(text) => text.trim().to_owned(),
            Err(_) => {
                let text = String::from_utf8_lossy(bytes).trim().to_owned();
                self.fault(column, FaultReason::NotUtf8);
                text
            }
        };
        (!value.is_empty()).then_some(value)
    }

    /// What `parse` makes of the field; none and a fault where it makes nothing of it.
    pub(super) fn parse<T>(
        &mut self,
        column: Option<Column>,
        parse: impl FnOnce(&str) -> Option<T>,
        reason: impl FnOnce(String) -> FaultReason,
    ) -> Option<T> {
        let text = self.text(column)?;
        let value = parse(&text);
        if let (None, Some(column)) = (&value, column) {
            self.fault(column, reason(excerpt(&text)));
        }
        value
    }

    /// The integer in a field, which pandas may have written as `76.0`.
    pub(super) fn integer(&mut self, column: Option<Column>) -> Option<i64> {
        self.parse(column, integer, FaultReason::NotANumber)
    }

    /// The id in a field that has to be there; a fault and none otherwise.
    pub(super) fn id(&mut self, column: Column) -> Option<i64> {
        let text = self.text(Some(column)).unwrap_or_default();
        let id = integer(&text).filter(|id| *id >= 0);
        if id.is_none() {
            self.fault(column, FaultReason::BadId(excerpt(&text)));
        }
        id
    }

    pub(super) fn fault(&mut self, column: Column, reason: FaultReason) {
        self.faults.push(Fault {
            file: self.file,
            line: self.line,
            column: Some(label(column.name)),
            reason,
        });
    }
}

fn integer(text: &str) -> Option<i64> {
    text.strip_suffix(".0").unwrap_or(text).parse().ok()
}

fn label([outer, inner]: ColumnName) -> String {
    if outer.is_empty() {
        inner.to_owned()
    } else {
        format!("{outer}.{inner}")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn reader(path: &Path) -> Result<Reader<File>, CatalogError> {
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    Ok(ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(file))
}

fn read(reader: &mut Reader<File>, path: &Path) -> Result<Option<ByteRecord>, CatalogError> {
    let mut record = ByteRecord::new();
    match reader.read_byte_record(&mut record) {
        Ok(more) => Ok(more.then_some(record)),
        Err(source) => Err(CatalogError::Csv {
            path: path.to_owned(),
            source,
        }),
    }
}

fn no_header(path: &Path, rows: usize) -> CatalogError {
    CatalogError::MissingHeader {
        path: path.to_owned(),
        rows,
    }
}

pub(super) fn io_error(path: &Path, source: io::Error) -> CatalogError {
    CatalogError::Io {
        path: path.to_owned(),
        source,
    }
}
