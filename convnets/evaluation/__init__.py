"""The papers' test protocols, metrics, and the evaluator that counts each example once."""
