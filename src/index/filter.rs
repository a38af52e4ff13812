//! Which tracks may come back: a closed language that every engine can carry out.

use serde::{Deserialize, Serialize};

use super::IndexError;
use crate::track::TrackId;

/// What a filter can ask about. All values are `i64`; a track may have several values of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The track's own id; every track has exactly one.
    Track,
    /// Artist ids.
    Artist,
    /// Album ids.
    Album,
    /// Genre ids.
    Genre,
    /// Licence ids.
    Licence,
    /// Year of release.
    Year,
    /// Length in whole seconds.
    DurationSeconds,
}

impl Field {
    /// All fields, each at the position of its [`Field::tag`].
    pub const ALL: [Self; 7] = [
        Self::Track,
        Self::Artist,
        Self::Album,
        Self::Genre,
        Self::Licence,
        Self::Year,
        Self::DurationSeconds,
    ];

    /// The number that stands for the field in files and in SQL. Never given to another field.
    pub const fn tag(self) -> u8 {
        self as u8
    }

    /// The field of a [`Field::tag`].
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.get(usize::from(tag)).copied()
    }
}

/// A condition on a track's field values.
///
/// `In` and `Range` hold if any one value of the field satisfies them; so a track without the
/// field fails both and passes their `Not`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Every track.
    All,
    /// All of these hold; of none: every track.
    And(Vec<Filter>),
    /// At least one of these holds; of none: no track.
    Or(Vec<Filter>),
    /// This does not hold.
    Not(Box<Filter>),
    /// Some value of the field is one of these.
    In(Field, Vec<i64>),
    /// Some value of the field is in the range, both ends included.
    Range {
        /// The field.
        field: Field,
        /// The least value that passes; none: no lower end.
        min: Option<i64>,
        /// The greatest value that passes; none: no upper end.
        max: Option<i64>,
    },
}

/// A filter as SQL: a condition with its values apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlFilter {
    /// A boolean expression over the table `items`, its values as `$1`, `$2`, ...
    pub condition: String,
    /// What to bind, in order.
    pub values: Vec<i64>,
}

impl Filter {
    /// The deepest nesting that engines take: filters come from requests, and evaluating one recurses.
    pub const MAX_DEPTH: usize = 64;

    /// Values that one statement can bind: SQLite's `SQLITE_MAX_VARIABLE_NUMBER`, below PostgreSQL's 65,535.
    pub const MAX_SQL_VALUES: usize = 32_766;

    /// Whether a track passes, looked at by itself.
    pub fn matches(&self, id: TrackId, fields: &[(Field, i64)]) -> bool {
        let any = |field: Field, passes: &dyn Fn(i64) -> bool| match field {
            Field::Track => passes(i64::from(id.0)),
            _ => fields.iter().any(|&(f, value)| f == field && passes(value)),
        };
        match self {
            Self::All => true,
            Self::And(parts) => parts.iter().all(|part| part.matches(id, fields)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(id, fields)),
            Self::Not(part) => !part.matches(id, fields),
            Self::In(field, values) => any(*field, &|value| values.contains(&value)),
            Self::Range { field, min, max } => any(*field, &|value| {
                min.is_none_or(|min| min <= value) && max.is_none_or(|max| value <= max)
            }),
        }
    }

    /// Refuses what is nested too deeply to be evaluated.
    ///
    /// # Errors
    /// [`IndexError::FilterTooDeep`] beyond [`Filter::MAX_DEPTH`].
    pub fn check(&self) -> Result<(), IndexError> {
        if self.is_within(Self::MAX_DEPTH) {
            return Ok(());
        }
        Err(IndexError::FilterTooDeep {
            limit: Self::MAX_DEPTH,
        })
    }

    fn is_within(&self, depth: usize) -> bool {
        let Some(below) = depth.checked_sub(1) else {
            return false;
        };
        match self {
            Self::All | Self::In(..) | Self::Range { .. } => true,
            Self::Not(part) => part.is_within(below),
            Self::And(parts) | Self::Or(parts) => parts.iter().all(|part| part.is_within(below)),
        }
    }

    /// The filter as a condition for an SQL engine, SQLite and PostgreSQL alike.
    ///
    /// It speaks of two tables: `items (id)`, one row a track, which the condition is for, and
    /// `item_fields (item, field, value)`, one row for each value, `field` being [`Field::tag`].
    ///
    /// # Errors
    /// [`IndexError::FilterTooDeep`]; [`IndexError::TooManyValues`] beyond [`Filter::MAX_SQL_VALUES`].
    pub fn to_sql(&self) -> Result<SqlFilter, IndexError> {
        self.check()?;
        let mut sql = SqlFilter {
            condition: String::new(),
            values: Vec::new(),
        };
        sql.push(self);
        if sql.values.len() > Self::MAX_SQL_VALUES {
            return Err(IndexError::TooManyValues {
                found: sql.values.len(),
                limit: Self::MAX_SQL_VALUES,
            });
        }
        Ok(sql)
    }
}

impl SqlFilter {
    fn push(&mut self, filter: &Filter) {
        match filter {
            Filter::All => self.text("TRUE"),
            Filter::And(parts) => self.join(parts, " AND ", "TRUE"),
            Filter::Or(parts) => self.join(parts, " OR ", "FALSE"),
            Filter::Not(part) => {
                self.text("NOT (");
                self.push(part);
                self.text(")");
            }
            // `IN ()` is no SQL on PostgreSQL.
            Filter::In(_, values) if values.is_empty() => self.text("FALSE"),
            Filter::In(field, values) => self.exists(*field, |sql, column| {
                sql.text(column);
                sql.text(" IN (");
                for (position, &value) in values.iter().enumerate() {
                    sql.text(if position == 0 { "" } else { ", " });
                    sql.bind(value);
                }
                sql.text(")");
            }),
            Filter::Range { field, min, max } => self.exists(*field, |sql, column| {
                sql.text("TRUE");
                for (end, sign) in [(min, " >= "), (max, " <= ")] {
                    if let &Some(end) = end {
                        sql.text(" AND ");
                        sql.text(column);
                        sql.text(sign);
                        sql.bind(end);
                    }
                }
            }),
        }
    }

    fn exists(&mut self, field: Field, condition: impl FnOnce(&mut Self, &str)) {
        if field == Field::Track {
            self.text("(");
            condition(self, "items.id");
        } else {
            self.text(
                "EXISTS (SELECT 1 FROM item_fields AS f WHERE f.item = items.id AND f.field = ",
            );
            self.bind(i64::from(field.tag()));
            self.text(" AND ");
            condition(self, "f.value");
        }
        self.text(")");
    }

    fn join(&mut self, parts: &[Filter], operator: &str, of_none: &str) {
        if parts.is_empty() {
            return self.text(of_none);
        }
        self.text("(");
        for (position, part) in parts.iter().enumerate() {
            self.text(if position == 0 { "" } else { operator });
            self.push(part);
        }
        self.text(")");
    }

    fn bind(&mut self, value: i64) {
        self.values.push(value);
        self.condition.push_str(&format!("${}", self.values.len()));
    }

    fn text(&mut self, text: &str) {
        self.condition.push_str(text);
    }
}
