//! Block formats, and the loops over blocks. The only home of SIMD. No files, threads, allocation or models.
