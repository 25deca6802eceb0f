//! A column of a trace: one value for all rows as long as they agree, an array from the first that differs.

/// See the head of this file.
#[derive(Debug, Clone)]
pub enum Column<T> {
    /// Every row has this value.
    Same(T),
    /// One value a row.
    Each(Vec<T>),
}

impl<T: Default> Default for Column<T> {
    fn default() -> Self {
        Column::Same(T::default())
    }
}

impl<T: Copy + PartialEq> Column<T> {
    /// The value of a row.
    #[inline]
    pub fn at(&self, row: usize) -> T {
        match self {
            Column::Same(value) => *value,
            Column::Each(values) => values[row],
        }
    }

    /// Appends the value of row number `row`, which is the number of rows so far.
    #[inline]
    pub fn push(&mut self, row: usize, value: T) {
        match self {
            Column::Each(values) => values.push(value),
            Column::Same(same) if row == 0 => *same = value,
            Column::Same(same) if *same == value => {}
            Column::Same(same) => {
                let mut values = vec![*same; row];
                values.push(value);
                *self = Column::Each(values);
            }
        }
    }

    /// Changes the value of the last of `rows` rows.
    pub fn set_last(&mut self, rows: usize, value: T) {
        if let (Column::Same(same), true) = (&*self, rows > 1) {
            if *same == value {
                return;
            }
            *self = Column::Each(vec![*same; rows]);
        }
        match self {
            Column::Same(same) => *same = value,
            Column::Each(values) => values[rows - 1] = value,
        }
    }

    /// Bytes that its values take.
    pub fn held(&self) -> usize {
        match self {
            Column::Same(_) => 0,
            Column::Each(values) => size_of_val(values.as_slice()),
        }
    }

    /// The column of these rows.
    pub fn of_rows(&self, rows: &[u32]) -> Self {
        match self {
            Column::Same(value) => Column::Same(*value),
            Column::Each(values) => Column::Each(rows.iter().map(|&row| values[row as usize]).collect()),
        }
    }

    /// The value of all rows, if they are known to agree.
    pub fn same(&self) -> Option<T> {
        match self {
            Column::Same(value) => Some(*value),
            Column::Each(_) => None,
        }
    }
}

/// Columns are equal if their rows are; how they are held doesn't matter. Columns of different lengths may compare equal if one is
/// a single value.
impl<T: Copy + PartialEq> PartialEq for Column<T> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Column::Same(one), Column::Same(other)) => one == other,
            (Column::Each(one), Column::Each(other)) => one == other,
            (Column::Same(same), Column::Each(values)) | (Column::Each(values), Column::Same(same)) => {
                values.iter().all(|value| value == same)
            }
        }
    }
}

impl<T: Copy + Eq> Eq for Column<T> {}
