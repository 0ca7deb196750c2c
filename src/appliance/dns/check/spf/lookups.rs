//! The DNS lookups that an SPF record takes (RFC 7208 section 4.6.4,
//! <https://www.rfc-editor.org/rfc/rfc7208#section-4.6.4>).
//!
//! Ten are allowed, and two that find nothing; with more of them receivers
//! call the whole record invalid, and do not say why.

/// Lookups that receivers make.
pub const LOOKUPS_MAX: usize = 10;
/// Lookups that may find nothing.
pub const VOID_MAX: usize = 2;

/// A lookup: its term, and the terms of the records above it that lead there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The term as it is written.
    pub term: String,
    /// From the domain's own record downwards.
    pub by: Vec<String>,
}

impl Lookup {
    /// The term, and what leads to it.
    pub fn words(&self) -> String {
        match self.by.as_slice() {
            [] => self.term.clone(),
            by => format!("{} (reached by {})", self.term, by.join(", ")),
        }
    }

    /// The term of the domain's own record.
    fn top(&self) -> &str {
        self.by.first().unwrap_or(&self.term)
    }
}

/// Why a record cannot be followed to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A term that is none, in the record of this domain.
    Term(String, String),
    /// What another record is expected of has none.
    NoRecord(Lookup, String),
    /// It has several.
    Records(Lookup, String),
    /// A record leads back to itself.
    Circle(Lookup),
    /// One `mx` leads to too many mail servers.
    Servers(Lookup),
    /// Nobody answered.
    Unknown,
}

/// What following a record found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// Every lookup, in its order.
    pub lookups: Vec<Lookup>,
    /// Those that found nothing.
    pub void: Vec<Lookup>,
    /// What ended it early.
    pub trouble: Option<Trouble>,
    /// Whether a term depends on the message, so that it may match or not.
    pub guessed: bool,
}

impl Walk {
    /// The lookup that is one too many.
    pub fn excess(&self) -> Option<&Lookup> {
        self.lookups.get(LOOKUPS_MAX)
    }

    /// The lookup without an answer that is one too many.
    pub fn void_excess(&self) -> Option<&Lookup> {
        self.void.get(VOID_MAX)
    }

    /// How many lookups each term of the domain's own record takes.
    pub fn costs(&self) -> Vec<(String, usize)> {
        let mut costs: Vec<(String, usize)> = Vec::new();
        for lookup in &self.lookups {
            match costs.iter_mut().find(|(term, _)| term == lookup.top()) {
                Some((_, count)) => *count += 1,
                None => costs.push((lookup.top().to_owned(), 1)),
            }
        }
        costs
    }
}
