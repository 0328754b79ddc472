"""Ways to run the encoder's LLM, behind one interface."""
