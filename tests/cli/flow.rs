//! From training to prediction.
