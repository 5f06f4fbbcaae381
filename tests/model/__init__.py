"""The whole of one circuit against an independent model, and proof that the model notices."""
