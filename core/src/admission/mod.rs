//! Admission: every field of what comes in is checked, and an error names it.
