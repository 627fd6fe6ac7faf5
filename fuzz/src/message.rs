//! How an input writes down what comes with headers: lines of `name: value`, an empty line, and
//! the rest.

/// An input taken apart.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// In their order; values may be any bytes but a line's end.
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
    pub(crate) rest: &'a [u8],
}

impl<'a> Message<'a> {
    /// `None` when there is no empty line.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
        let lines = bytes[..end].split(|byte| *byte == b'\n');
        Some(Self {
            headers: lines.filter_map(header).collect(),
            rest: &bytes[end + 2..],
        })
    }

    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        let found = self.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

/// A line whose name is text without zeros, as every client hands it over.
fn header(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.windows(2).position(|pair| pair == b": ")?;
    let name = std::str::from_utf8(&line[..colon]).ok()?;
    (!name.contains('\0')).then_some((name, &line[colon + 2..]))
}
