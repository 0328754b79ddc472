"""Ways to run the encoder's LLM, behind one interface: exact for any architecture, packed for Llamas."""
