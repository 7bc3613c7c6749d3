//! Data sets: reading, splitting, augmenting and loading them.
