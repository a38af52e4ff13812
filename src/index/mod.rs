//! Vectors: exact scan, HNSW graph, filters, planner, storage.
