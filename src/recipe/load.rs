//! Reading a recipe and the tables it names, from disk or from the binary.
