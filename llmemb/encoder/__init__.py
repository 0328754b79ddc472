"""The encoder: prompts -> raw embeddings `(N, h)`, by an LLM cut to its first layers.

It takes items or texts and a base LLM, and gives float32 vectors. `engines` run the LLM.
"""
