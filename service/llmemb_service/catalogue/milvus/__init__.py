"""Milvus as the index of a catalogue, instead of FAISS in this process."""
