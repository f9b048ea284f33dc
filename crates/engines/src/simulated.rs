//! GPUs that do not exist, in this process.
