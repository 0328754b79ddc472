"""How items are scored against a history: raw embeddings -> item vectors, histories -> session vectors.

`projection` and `item_space` make the item vectors, `semantic_term` the part of the score that compares texts, and
`session` the session vectors. `attribution` says which items of a history a recommendation comes from, and
`first_clicks` fits a new item to its first sessions.
"""
