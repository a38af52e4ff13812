//! Vectors: exact scan, HNSW graph, filters, planner, storage.

pub mod landmarks;
