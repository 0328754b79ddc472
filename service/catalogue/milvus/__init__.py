"""The base of a catalogue in Milvus, in place of FAISS in this process."""
