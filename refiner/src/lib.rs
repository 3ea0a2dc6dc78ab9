//! Silver and gold.
