//! Name servers that do not do their work.
